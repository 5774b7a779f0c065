# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes of a machine below tmp_path, with disks, a kernel and a systemd that only remember."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _encrypted_tool as tool
from ansible_collections.pantheon.ai.plugins.module_utils import _encrypted_volume as code
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome
from ansible_collections.pantheon.ai.plugins.module_utils._storage_mounts import Entry

KEY, OTHER = "k" * 40, "o" * 40
#: What the kernel called the first key (Linux 6.18, FS_IOC_ADD_ENCRYPTION_KEY).
IDENTIFIER = "179e0d42c35e30fcf3199aa2e3af8a3d"
UNITS = "/etc/systemd/system"
DATA: dict[str, Any] = {
    "name": "data",
    "device": "/dev/sdb",
    "directory": None,
    "path": "/srv/data",
    "method": "auto",
    "unlock": "file",
    "key": KEY,
    "key_machine": "",
    "wipe": "",
    "volumes": [],
    "docker_root": "/var/lib/docker",
    "state": "present",
}


class Machine(code.Machine):
    """A machine in a folder. Its disks are dictionaries of what blkid would say."""

    def __init__(self, root: Path, luks: bool = False) -> None:
        super().__init__(str(root))
        self.calls: list[str] = []
        self.given: list[str] = []
        self.disks: dict[str, dict[str, str]] = {"/dev/sdb": {}}
        self.slots: dict[str, str] = {}
        self.policies: dict[str, str] = {}
        self.keys: set[str] = set()
        self.table: dict[str, str] = {}
        self.active: set[str] = set()
        self.frozen: set[str] = set()
        self.used = ""
        self.users: list[str] = []
        self.sealed = ""
        self.broken = ""
        for place in ("/dev", UNITS, "/sys/fs/ext4/features", "/srv"):
            os.makedirs(self.at(place))
        self.put("/dev/sdb", "")
        self.put("/sys/fs/ext4/features/encryption", "")
        if luks:
            os.makedirs(self.at("/sys/module/dm_crypt"))
            self.put("/dev/mapper/control", "")

    def put(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        Path(self.at(path)).write_text(text)

    def text(self, path: str) -> str:
        return Path(self.at(path)).read_text()

    def is_block(self, path: str) -> bool:
        return path in self.disks

    def in_use(self, device: str) -> str:
        return self.used

    def mounts(self) -> list[Entry]:
        return [Entry(path, "ext4", source, False, source, "/data") for path, source in self.table.items()]

    def immutable(self, path: str, wanted: bool | None = None) -> bool | None:
        if wanted is not None:
            (self.frozen.add if wanted else self.frozen.discard)(path)
        return path in self.frozen

    def holders(self, path: str, device: str) -> list[str]:
        return self.users

    def policy_of(self, path: str) -> str | None:
        return self.policies.get(path)

    def set_policy(self, path: str, identifier: str) -> None:
        self.calls.append(f"set policy {path}")
        self.policies[path] = identifier

    def is_unlocked(self, volume: tool.Volume) -> bool:
        if volume["method"] == "luks":
            return tool.base_of(volume) in self.table and self.exists(tool.mapper_of(volume))
        return volume["identifier"] in self.keys

    def mount_base(self, volume: tool.Volume, source: str) -> None:
        self.calls.append(f"mount {source}")
        self.table[tool.base_of(volume)] = source

    def unlock(self, volume: tool.Volume, key: str) -> None:
        if volume["method"] == "luks":
            if not self.exists(tool.mapper_of(volume)):
                tool.open_luks(volume, key, self.tell)
            self.mount_base(volume, tool.mapper_of(volume))
            return
        if self.policies.get(self.at(tool.inner_of(volume))) != tool.identifier_of(tool.master_key(key)):
            raise tool.wrong_key(volume)
        self.keys.add(volume["identifier"])

    def program(self) -> str:
        return "# the program\n"

    def tell(self, *command: str, given: str | None = None, seconds: float = 120) -> tuple[int, str]:
        line = " ".join(command)
        if command[0] == "blkid":
            found = self.disks.get(command[-1], {})
            return (0, "".join(f"{key}={value}\n" for key, value in found.items())) if found else (2, "")
        if command[:2] == ("systemctl", "is-active"):
            return (0 if command[-1] in self.active else 3), ""
        if command[0] == "modprobe":
            return 1, "not found"
        if command[:2] == ("systemd-creds", "decrypt"):
            return (0, self.sealed) if self.sealed else (1, "no such file")
        if "--test-passphrase" in command:
            return (0 if self.slots.get(command[-1]) == given else 2), ""
        self.calls.append(line)
        if given is not None:
            self.given.append(given)
        if self.broken and line.startswith(self.broken):
            return 1, "it broke"
        return self._do(command, given)

    def _do(self, command: tuple[str, ...], given: str | None) -> tuple[int, str]:
        def option(name: str) -> str:
            return command[command.index(name) + 1]

        if command[0] == "wipefs":
            self.disks[command[-1]] = {}
        elif command[0] == "mkfs.ext4":
            found = {"TYPE": "ext4"}
            if "-U" in command:
                found |= {"UUID": option("-U"), "LABEL": option("-L")}
            self.disks[command[-1]] = found
        elif command[:2] == ("cryptsetup", "luksFormat"):
            self.disks[command[-1]] = {"TYPE": "crypto_LUKS", "UUID": option("--uuid"), "LABEL": option("--label")}
            self.slots[command[-1]] = given or ""
        elif command[:2] == ("cryptsetup", "open"):
            if self.slots.get(command[-2]) != given:
                return 2, "No key available with this passphrase."
            self.put(f"/dev/mapper/{command[-1]}", "")
        elif command[:2] == ("systemd-creds", "encrypt"):
            self.sealed = given or ""
            return 0, "sealed blob"
        elif command[:2] == ("systemctl", "enable"):
            link = self.at(f"{UNITS}/multi-user.target.wants/{command[2]}")
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(f"{UNITS}/{command[2]}", link)
        elif command[:2] == ("systemctl", "start"):
            self.active.add(command[2])
            if command[2].endswith(".mount"):
                text = self.text(f"{UNITS}/{command[2]}").splitlines()
                unit = dict(line.split("=", 1) for line in text if "=" in line)
                self.table[unit["Where"]] = self.table.get(os.path.dirname(unit["What"]), unit["What"])
        elif command[:2] == ("systemctl", "stop"):
            self.active.discard(command[2])
            if command[2].endswith(".mount"):
                self.table.pop("/srv/data", None)
            else:
                self.power_off()
        return 0, ""

    def power_off(self) -> None:
        """What is left after a boot that unlocks nothing."""
        self.keys.clear()
        self.table.clear()
        self.active.clear()
        if os.path.exists(self.at("/dev/mapper/pantheon-data")):
            os.unlink(self.at("/dev/mapper/pantheon-data"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def run(machine: Machine, check: bool = False, **more: Any) -> Outcome:
    machine.calls.clear()
    return code.perform({**DATA, **more}, check, machine)


def good(machine: Machine, check: bool = False, **more: Any) -> dict[str, Any]:
    outcome = run(machine, check, **more)
    assert outcome.error == ""
    return outcome.result


NEW = [
    "protect /srv/data",
    "format /dev/sdb (fscrypt)",
    "write /etc/pantheon/encryption/data.key",
    "write /usr/local/lib/pantheon/pantheon_encryption.py",
    "write /etc/pantheon/encryption/data.json",
    "write /etc/systemd/system/pantheon-encrypted-data.service",
    "write /etc/systemd/system/srv-data.mount",
    "reload systemd",
    "enable pantheon-encrypted-data.service",
    "enable srv-data.mount",
    "unlock data",
    "start pantheon-encrypted-data.service",
    "mount /srv/data",
]


# -- keys -------------------------------------------------------------------------------------------------------------


def test_the_identifier_is_that_of_the_kernel() -> None:
    assert tool.identifier_of(tool.master_key(KEY)) == IDENTIFIER
    assert tool.label_of(IDENTIFIER) == "179e0d42c35e30fc"
    assert len(tool.label_of(IDENTIFIER)) <= 16, "ext4 has no longer labels"
    assert len(tool.master_key(KEY)) == 64


# -- a new disk -------------------------------------------------------------------------------------------------------


def test_a_blank_disk_is_formatted_unlocked_and_mounted(machine: Machine) -> None:
    result = good(machine)
    assert result["actions"] == NEW
    assert result["volume"] == {
        "name": "data",
        "method": "fscrypt",
        "device": "/dev/sdb",
        "path": "/srv/data",
        "unlock": "file",
        "mounted": True,
        "unlocked": True,
    }
    disk = machine.disks["/dev/sdb"]
    assert disk["UUID"].startswith(tool.UUID_PREFIX) and disk["LABEL"] == tool.label_of(IDENTIFIER)
    assert machine.policies == {machine.at("/var/lib/pantheon/encrypted/data/data"): IDENTIFIER}


def test_check_mode_says_the_same_and_touches_nothing(machine: Machine) -> None:
    would = good(machine, check=True)
    assert would["actions"] == NEW
    assert machine.calls == []
    assert machine.disks == {"/dev/sdb": {}}
    assert os.listdir(machine.at(UNITS)) == [] and not machine.exists("/etc/pantheon")
    assert would["diff"] == good(machine)["diff"]


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    good(machine)
    for check in (True, False):
        result = good(machine, check)
        assert (result["changed"], result["actions"]) == (False, [])
        assert "diff" not in result
    assert machine.calls == []


def test_the_key_is_in_no_command_no_diff_and_no_unit(machine: Machine) -> None:
    result = good(machine)
    assert KEY not in json.dumps(result)
    assert not [call for call in machine.calls if KEY in call]
    for path in Path(machine.at("/")).rglob("*"):
        if path.is_file() and path.name != "data.key":
            assert KEY not in path.read_text()
    assert Path(machine.at("/etc/pantheon/encryption/data.key")).stat().st_mode & 0o777 == 0o400
    assert Path(machine.at("/etc/pantheon/encryption")).stat().st_mode & 0o777 == 0o700


def test_the_bare_directory_cannot_be_written(machine: Machine) -> None:
    good(machine)
    assert "/srv/data" in machine.frozen
    assert Path(machine.at("/srv/data")).stat().st_mode & 0o777 == 0


def test_a_killed_run_is_finished_by_the_next(machine: Machine) -> None:
    machine.broken = "systemctl daemon-reload"
    assert "daemon-reload failed" in run(machine).error
    machine.broken = ""
    number = machine.disks["/dev/sdb"]["UUID"]
    result = good(machine)
    assert machine.disks["/dev/sdb"]["UUID"] == number, "formatted once"
    assert "format /dev/sdb (fscrypt)" not in result["actions"]
    assert result["volume"]["mounted"] and result["volume"]["unlocked"]


def test_formatted_and_killed_before_anything_was_noted(machine: Machine) -> None:
    good(machine)
    machine.power_off()
    machine.remove("/etc/pantheon/encryption/data.json")
    machine.policies.clear()  # the directory was not made yet
    result = good(machine)
    assert "format /dev/sdb (fscrypt)" not in result["actions"]
    assert machine.policies == {machine.at("/var/lib/pantheon/encrypted/data/data"): IDENTIFIER}


# -- disks with something on them -------------------------------------------------------------------------------------


def test_a_disk_with_anything_on_it_is_refused(machine: Machine) -> None:
    for there in ({"TYPE": "ext4", "LABEL": "photos"}, {"PTTYPE": "gpt"}, {"TYPE": "swap"}):
        machine.disks["/dev/sdb"] = dict(there)
        outcome = run(machine)
        assert "Nothing was touched." in outcome.error and "wipe: /dev/sdb" in outcome.error
        assert machine.calls == [] and machine.disks["/dev/sdb"] == there
    assert "a partition table (gpt)" in code.describe({"PTTYPE": "gpt"})


def test_several_signatures_count_as_something(machine: Machine) -> None:
    machine.tell = lambda *command, **more: (8, "")  # type: ignore[method-assign]
    assert "several file systems at once" in run(machine).error


def test_wipe_erases_it_once(machine: Machine) -> None:
    machine.disks["/dev/sdb"] = {"TYPE": "ext4", "LABEL": "photos"}
    result = good(machine, wipe="/dev/sdb")
    assert "wipefs --all /dev/sdb" in machine.calls
    assert result["diff"][0]["before"] == "ext4 (label photos)\n"
    assert good(machine, wipe="/dev/sdb")["changed"] is False


@pytest.mark.parametrize("forgotten", [True, False])
def test_wipe_never_erases_a_volume_of_ours(machine: Machine, forgotten: bool) -> None:
    good(machine)
    machine.power_off()
    before = dict(machine.disks["/dev/sdb"])
    if forgotten:  # a new system on the same machine
        machine.remove("/etc/pantheon/encryption/data.json")
    outcome = run(machine, wipe="/dev/sdb", key=OTHER)
    assert "this is not the key that /dev/sdb was encrypted with" in outcome.error
    assert machine.calls == [] and machine.disks["/dev/sdb"] == before


def test_a_disk_in_use_is_refused_whatever_wipe_says(machine: Machine) -> None:
    machine.disks["/dev/sdb"] = {"TYPE": "LVM2_member"}
    machine.used = "it is part of dm-0"
    outcome = run(machine, wipe="/dev/sdb")
    assert outcome.error == ("volume data: /dev/sdb is in use: it is part of dm-0. Choose another device, or free it.")
    assert machine.calls == []


def test_another_disk_under_the_same_name_is_not_taken(machine: Machine) -> None:
    good(machine)
    machine.power_off()
    machine.disks["/dev/sdb"] = {}
    assert "is not its disk" in run(machine).error
    assert "Plug the disk in" in run(machine, check=True).error
    assert machine.calls == []


def test_a_disk_that_is_not_there(machine: Machine) -> None:
    assert "device /dev/sdc is not there" in run(machine, device="/dev/sdc").error


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("luks", [True, False])
@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_key_touches_nothing(tmp_path: Path, luks: bool, check: bool) -> None:
    machine = Machine(tmp_path, luks)
    good(machine)
    machine.power_off()
    outcome = run(machine, check, key=OTHER)
    assert "this is not the key" in outcome.error and "Restore encryption_key" in outcome.error
    assert machine.calls == [] and outcome.result["actions"] == []
    assert machine.text("/etc/pantheon/encryption/data.key") == KEY


def test_without_a_key_only_what_is_open_or_keeps_its_own_goes_on(machine: Machine) -> None:
    assert "a new volume needs a key" in run(machine, key=None).error
    good(machine)
    assert good(machine, key=None)["changed"] is False
    machine.power_off()
    assert "is locked, and no key was given" in run(machine, key=None).error


def test_a_short_key_is_refused(machine: Machine) -> None:
    assert "32 to 512 random characters" in run(machine, key="secret").error
    assert "secret" not in run(machine, key="secret").error


def test_manual_keeps_no_key_and_no_start_at_boot(machine: Machine) -> None:
    good(machine)
    result = good(machine, unlock="manual")
    assert "remove /etc/pantheon/encryption/data.key" in result["actions"]
    assert "disable srv-data.mount" in result["actions"]
    assert not machine.exists("/etc/pantheon/encryption/data.key")
    assert os.listdir(machine.at(f"{UNITS}/multi-user.target.wants")) == []
    assert "Before=docker.service" not in machine.text(f"{UNITS}/srv-data.mount")
    assert good(machine, unlock="manual")["changed"] is False
    back = good(machine)
    assert "write /etc/pantheon/encryption/data.key" in back["actions"] and "enable srv-data.mount" in back["actions"]


def test_unlocked_changes_nothing_else(machine: Machine) -> None:
    assert "was never set up on this machine" in run(machine, state="unlocked").error
    good(machine, unlock="manual")
    machine.power_off()
    would = good(machine, check=True, state="unlocked", unlock="manual")
    result = good(machine, state="unlocked", unlock="manual")
    assert would["actions"] == result["actions"] == NEW[-3:]
    assert good(machine, state="unlocked", unlock="manual")["changed"] is False


def test_tpm2_seals_the_key(machine: Machine) -> None:
    assert "the machine has no TPM" in run(machine, unlock="tpm2").error
    assert machine.calls == []
    machine.put("/dev/tpmrm0", "")
    result = good(machine, unlock="tpm2")
    assert "seal the key to the TPM" in result["actions"]
    assert (
        "systemd-creds encrypt --with-key=tpm2 --tpm2-pcrs=7 --name=pantheon-data - -" in machine.calls
        and machine.sealed == KEY
    )
    assert machine.text("/etc/pantheon/encryption/data.sealed") == "sealed blob"
    assert not machine.exists("/etc/pantheon/encryption/data.key")
    assert good(machine, unlock="tpm2")["changed"] is False


# -- LUKS: the calls of cryptsetup, which this kernel cannot run ------------------------------------------------------


def test_luks_where_the_kernel_has_dm_crypt(tmp_path: Path) -> None:
    machine = Machine(tmp_path, luks=True)
    result = good(machine)
    number = machine.disks["/dev/sdb"]["UUID"]
    assert "format /dev/sdb (luks)" in result["actions"]
    assert [call for call in machine.calls if not call.startswith("systemctl")] == [
        f"cryptsetup luksFormat --batch-mode --type luks2 --uuid {number} --label pantheon-data --key-file - /dev/sdb",
        "cryptsetup open --type luks2 --key-file - /dev/sdb pantheon-data",
        "mkfs.ext4 -q /dev/mapper/pantheon-data",
        "mount /dev/mapper/pantheon-data",
    ]
    assert set(machine.given) == {KEY}
    assert machine.policies == {}
    assert good(machine)["changed"] is False


def test_luks_killed_between_its_two_formats(tmp_path: Path) -> None:
    machine = Machine(tmp_path, luks=True)
    machine.broken = "mkfs.ext4"
    assert "mkfs.ext4 -q /dev/mapper/pantheon-data failed: it broke" in run(machine).error
    machine.broken = ""
    machine.power_off()
    result = good(machine)
    assert "mkfs.ext4 -q /dev/mapper/pantheon-data" in machine.calls
    assert not [call for call in machine.calls if "luksFormat" in call]
    assert result["volume"]["method"] == "luks" and result["volume"]["unlocked"]


def test_a_volume_keeps_its_method(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    good(machine)
    machine.put("/dev/mapper/control", "")
    os.makedirs(machine.at("/sys/module/dm_crypt"))
    assert good(machine)["changed"] is False
    assert "is encrypted with fscrypt, method luks is wanted" in run(machine, method="luks").error


def test_a_container_on_a_kernel_with_dm_crypt_takes_fscrypt(machine: Machine) -> None:
    os.makedirs(machine.at("/sys/module/dm_crypt"))  # but no /dev/mapper/control
    assert good(machine)["volume"]["method"] == "fscrypt"


def test_a_kernel_with_neither(machine: Machine) -> None:
    machine.remove("/sys/fs/ext4/features/encryption")
    assert "neither dm-crypt nor encryption of files" in run(machine).error
    assert machine.calls == []


# -- directories ------------------------------------------------------------------------------------------------------

FOLDER: dict[str, Any] = {"device": None, "directory": "/mnt/disk/secret", "path": "/srv/data"}


def test_a_directory_on_a_file_system_that_can(machine: Machine) -> None:
    os.makedirs(machine.at("/mnt/disk"))
    would = good(machine, check=True, **FOLDER)
    assert not machine.exists("/mnt/disk/secret")
    result = good(machine, **FOLDER)
    assert would["actions"] == result["actions"] and "encrypt /mnt/disk/secret" in result["actions"]
    assert machine.policies == {machine.at("/mnt/disk/secret"): IDENTIFIER}
    assert "What=/mnt/disk/secret" in machine.text(f"{UNITS}/srv-data.mount")
    assert "RequiresMountsFor=/mnt/disk/secret" in machine.text(f"{UNITS}/pantheon-encrypted-data.service")
    assert good(machine, **FOLDER)["changed"] is False
    machine.power_off()
    assert "this is not the key that /mnt/disk/secret" in run(machine, key=OTHER, **FOLDER).error


def test_a_directory_with_something_in_it(machine: Machine) -> None:
    machine.put("/mnt/disk/secret/photo", "")
    assert "only an empty directory can be encrypted" in run(machine, **FOLDER).error


def test_a_file_system_that_cannot(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str | None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(machine, "policy_of", refuse)
    assert "tune2fs -O encrypt" in run(machine, **FOLDER).error


# -- what is in the way -----------------------------------------------------------------------------------------------


def test_what_lies_at_the_path(machine: Machine) -> None:
    machine.put("/srv/data/photo", "")
    assert "/srv/data holds files (photo), which the mount would hide" in run(machine).error
    assert machine.calls == [] and machine.disks == {"/dev/sdb": {}}


def test_a_mount_or_a_unit_of_somebody_else(machine: Machine) -> None:
    machine.table["/srv/data"] = "/dev/sdz"
    assert "is mounted on /srv/data, and not by us" in run(machine).error
    machine.table.clear()
    machine.put(f"{UNITS}/srv-data.mount", "[Mount]\n")
    assert "srv-data.mount is not ours" in run(machine).error


def test_volumes_of_docker_get_directories_and_must_lie_there(machine: Machine) -> None:
    volumes = [{"name": "pantheon_redis_data", "directory": "redis/data"}]
    result = good(machine, volumes=volumes)
    assert result["actions"][-1] == "make /srv/data/redis/data"
    folder = "/var/lib/docker/volumes/pantheon_redis_data"
    os.makedirs(machine.at(folder))
    outcome = run(machine, volumes=volumes)
    assert "there already, unencrypted: pantheon_redis_data." in outcome.error and "docs/encryption.md" in outcome.error
    machine.put(f"{folder}/opts.json", '{"MountType":"none","MountOpts":"bind","MountDevice":"/srv/data/redis/data"}')
    assert good(machine, volumes=volumes)["changed"] is False


def test_another_path_moves_the_mount(machine: Machine) -> None:
    good(machine)
    result = good(machine, path="/srv/other")
    assert "unmount /srv/data" in result["actions"] and "remove /etc/systemd/system/srv-data.mount" in result["actions"]
    assert machine.exists(f"{UNITS}/srv-other.mount") and not machine.exists(f"{UNITS}/srv-data.mount")


# -- locking and taking away ------------------------------------------------------------------------------------------


def test_what_is_in_use_is_not_locked(machine: Machine) -> None:
    good(machine)
    machine.users = ["99 (postgres)"]
    for state in ("locked", "absent"):
        assert "/srv/data is in use by 99 (postgres)" in run(machine, state=state).error
    machine.users = []
    machine.table["/var/lib/docker/volumes/x/_data"] = "/dev/sdb"
    assert "the mount /var/lib/docker/volumes/x/_data" in run(machine, state="locked").error
    assert machine.calls == []


def test_locked_and_absent(machine: Machine) -> None:
    good(machine)
    would = good(machine, check=True, state="absent")["actions"]
    assert good(machine, check=True, state="locked")["actions"] == ["unmount /srv/data", "lock data"]
    locked = good(machine, state="locked")
    assert (locked["volume"]["mounted"], locked["volume"]["unlocked"]) == (False, False)
    assert good(machine, state="locked")["changed"] is False
    good(machine)
    assert good(machine, state="absent")["actions"] == would
    assert good(machine, state="absent")["changed"] is False
    assert not machine.exists("/etc/pantheon/encryption/data.key") and not machine.exists(code.PROGRAM)
    assert [name for name in os.listdir(machine.at(UNITS)) if name != "multi-user.target.wants"] == []
    assert machine.disks["/dev/sdb"]["TYPE"] == "ext4", "the content stays"
    assert "format /dev/sdb (fscrypt)" not in good(machine)["actions"]


def test_the_program_stays_for_another_volume(machine: Machine) -> None:
    machine.disks["/dev/sdc"] = {}
    good(machine)
    good(machine, name="backups", device="/dev/sdc", path="/srv/backups")
    good(machine, state="absent")
    assert machine.exists(code.PROGRAM)


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "Data"}, "use lower-case letters"),
        ({"device": None}, "neither is given. Give one of device and directory."),
        ({"directory": "/mnt/x"}, "both are given"),
        ({"path": "srv"}, "an absolute path"),
        ({"path": "/srv"}, "belongs to the system"),
        ({"wipe": "/dev/sda"}, "wipe /dev/sda is not the device /dev/sdb"),
        ({"device": None, "directory": "/srv/data/x"}, "lie in each other"),
        ({"device": None, "directory": "/mnt/x", "method": "luks"}, "Use fscrypt or auto"),
        ({"volumes": [{"name": "v", "directory": "../x"}]}, "a path below the volume is wanted"),
    ],
)
def test_what_cannot_be_meant_is_refused(machine: Machine, more: dict[str, Any], said: str) -> None:
    outcome = run(machine, **more)
    assert said in outcome.error
    assert machine.calls == []


def test_units_start_before_docker_and_end_after_it() -> None:
    volume = {"name": "data", "path": "/srv/data", "device": "/dev/sdb", "directory": "", "unlock": "file"}
    texts = code.unit_texts(volume)
    for text in texts.values():
        assert "Before=docker.service" in text and "WantedBy=multi-user.target" in text
    mount = texts["/etc/systemd/system/srv-data.mount"]
    assert "Requires=pantheon-encrypted-data.service" in mount
    assert "What=/var/lib/pantheon/encrypted/data/data" in mount and "Options=bind" in mount


def test_the_program_is_the_source_of_the_tool() -> None:
    text = code.Machine().program()
    assert text == Path(tool.__file__).read_text()
    assert "ansible_collections" not in text.split('"""', 2)[2], "it has to run without the collection"
