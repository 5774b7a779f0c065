# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that unlocks at boot, with a kernel and programs that only remember."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _encrypted_tool as tool

KEY = "k" * 40
IDENTIFIER = "179e0d42c35e30fcf3199aa2e3af8a3d"


class Kernel:
    """What the program asks, and what it gets."""

    def __init__(self, folder: Path, method: str) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.found = {"UUID": "u-1", "LABEL": tool.label_of(IDENTIFIER), "TYPE": "ext4"}
        self.mounts: list[str] = []
        self.policy: str | None = IDENTIFIER
        self.keys: set[str] = set()
        self.fsck = 0
        self.passphrase = KEY
        self.volume: tool.Volume = {
            "name": "data",
            "method": method,
            "device": str(folder / "sdb"),
            "directory": "",
            "path": "/srv/data",
            "unlock": "file",
            "uuid": "u-1",
            "identifier": IDENTIFIER if method == "fscrypt" else "",
        }
        (folder / "sdb").touch()

    def run(self, *command: str, given: str | None = None, seconds: float = 120) -> tuple[int, str]:
        if command[0] == "blkid":
            return 0, "".join(f"{key}={value}\n" for key, value in self.found.items())
        self.calls.append(" ".join(command).replace(str(self.folder), ""))
        if command[0] == "e2fsck":
            return self.fsck, "bad block"
        if command[0] == "mount":
            self.mounts.append(command[-1])
        if command[0] == "umount":
            self.mounts.remove(command[-1])
        if command[:2] == ("cryptsetup", "open"):
            if given != self.passphrase:
                return 2, "No key available with this passphrase."
            Path(tool.mapper_of(self.volume)).touch()
        if command[:2] == ("cryptsetup", "close"):
            os.unlink(tool.mapper_of(self.volume))
        return 0, ""


def kernel_of(folder: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(folder, method)
    monkeypatch.setattr(tool, "BASE", str(folder / "base"))
    monkeypatch.setattr(tool, "FOLDER", str(folder / "etc"))
    monkeypatch.setattr(tool, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(tool, "mounted", lambda: kernel.mounts)
    monkeypatch.setattr(tool, "mapper_of", lambda volume: str(folder / "pantheon-data"))
    monkeypatch.setattr(tool, "policy_of", lambda path: kernel.policy)
    monkeypatch.setattr(tool, "has_key", lambda path, identifier: identifier in kernel.keys)

    def add_key(path: str, master: bytes) -> str:
        kernel.keys.add(tool.identifier_of(master))
        return tool.identifier_of(master)

    monkeypatch.setattr(tool, "add_key", add_key)
    return kernel


@pytest.fixture
def fscrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return kernel_of(tmp_path, "fscrypt", monkeypatch)


@pytest.fixture
def luks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return kernel_of(tmp_path, "luks", monkeypatch)


def test_fscrypt_is_checked_mounted_and_given_its_key(fscrypt: Kernel) -> None:
    tool.unlock(fscrypt.volume, KEY, fscrypt.run)
    assert fscrypt.calls == ["e2fsck -p /sdb", "mount -t ext4 -o nosuid,nodev,noatime /sdb /base/data"]
    assert fscrypt.keys == {IDENTIFIER}
    assert tool.is_unlocked(fscrypt.volume)
    fscrypt.calls.clear()
    tool.unlock(fscrypt.volume, KEY, fscrypt.run)
    assert fscrypt.calls == []


def test_luks_is_opened_and_mounted(luks: Kernel) -> None:
    tool.unlock(luks.volume, KEY, luks.run)
    assert luks.calls == [
        "cryptsetup open --type luks2 --key-file - /sdb pantheon-data",
        "e2fsck -p /pantheon-data",
        "mount -t ext4 -o nosuid,nodev,noatime /pantheon-data /base/data",
    ]
    tool.lock(luks.volume, luks.run)
    assert luks.calls[-2:] == ["umount /base/data", "cryptsetup close pantheon-data"]
    assert not tool.is_unlocked(luks.volume)


@pytest.mark.parametrize("method", ["fscrypt", "luks"])
def test_a_wrong_key_mounts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    kernel = kernel_of(tmp_path, method, monkeypatch)
    with pytest.raises(tool.EncryptionError, match="this is not the key"):
        tool.unlock(kernel.volume, "o" * 40, kernel.run)
    assert kernel.mounts == [] and kernel.keys == set()


def test_a_label_that_fits_is_not_enough(fscrypt: Kernel) -> None:
    fscrypt.policy = "0" * 32
    with pytest.raises(tool.EncryptionError, match="this is not the key"):
        tool.unlock(fscrypt.volume, KEY, fscrypt.run)
    assert fscrypt.keys == set()


def test_another_disk_is_not_mounted(fscrypt: Kernel) -> None:
    fscrypt.found = {"UUID": "u-2", "TYPE": "ext4"}
    with pytest.raises(tool.EncryptionError, match="is not its disk: UUID u-1 was expected, u-2 was found"):
        tool.unlock(fscrypt.volume, KEY, fscrypt.run)
    assert fscrypt.calls == []


def test_a_disk_that_is_not_there(fscrypt: Kernel) -> None:
    os.unlink(fscrypt.volume["device"])
    with pytest.raises(tool.EncryptionError, match="there is no device"):
        tool.unlock(fscrypt.volume, KEY, fscrypt.run)


def test_faults_that_need_a_person_are_not_mounted_over(fscrypt: Kernel) -> None:
    fscrypt.fsck = 1
    tool.mount_base(fscrypt.volume, "/dev/sdb", fscrypt.run)
    fscrypt.fsck = 4
    with pytest.raises(tool.EncryptionError, match="faults on /dev/sdb that need a person"):
        tool.mount_base(fscrypt.volume, "/dev/sdb", fscrypt.run)


def test_the_program_takes_the_key_from_where_it_is_kept(
    fscrypt: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[str] = []
    monkeypatch.setattr(tool, "unlock", lambda volume, key: given.append(key))
    monkeypatch.setattr(tool, "run", lambda *command, **more: (0, "sealed key") if "decrypt" in command else (1, ""))
    folder = Path(tool.FOLDER)
    folder.mkdir()

    def call(unlock: str) -> int:
        Path(tool.config_file("data")).write_text(json.dumps({**fscrypt.volume, "unlock": unlock}))
        return tool.main(["unlock", "data"])

    assert call("manual") == 1
    assert "its key is not on this machine. Run playbooks/unlock.yml" in capsys.readouterr().err
    assert call("file") == 1
    assert "data.key is gone. Run site.yml" in capsys.readouterr().err
    Path(tool.key_file("data")).write_text(KEY)
    assert call("file") == 0 and given == [KEY]


def test_a_sealed_key_is_opened_by_systemd_creds(fscrypt: Kernel) -> None:
    asked: list[tuple[str, ...]] = []

    def creds(*command: str, **more: object) -> tuple[int, str]:
        asked.append(command)
        return 0, KEY

    assert tool.stored_key({**fscrypt.volume, "unlock": "tpm2"}, creds) == KEY
    assert asked == [("systemd-creds", "decrypt", "--name=pantheon-data", tool.sealed_file("data"), "-")]
    with pytest.raises(tool.EncryptionError, match=r"the TPM does not give its key \(no TPM\)"):
        tool.stored_key({**fscrypt.volume, "unlock": "tpm2"}, lambda *command, **more: (1, "no TPM"))


def test_wrong_use_and_unknown_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "FOLDER", str(tmp_path))
    assert tool.main(["open"]) == 2
    assert tool.main(["unlock", "data"]) == 1
    assert "there is no volume data on this machine" in capsys.readouterr().err


def test_a_directory_whose_files_are_open_is_not_said_to_be_locked(
    fscrypt: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = {**fscrypt.volume, "device": "", "directory": "/mnt/secret"}
    monkeypatch.setattr(tool, "remove_key", lambda path, identifier: True)
    with pytest.raises(tool.EncryptionError, match="files in /mnt/secret are open"):
        tool.lock(volume, fscrypt.run)


def test_mounts_are_read_with_their_escapes(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:2 / /srv/a\\040b rw - ext4 /dev/sdb rw\n")
    assert tool.mounted(str(table)) == ["/", "/srv/a b"]
