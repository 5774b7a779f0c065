# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading below a root, and commands that hang."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _gpu_evidence as evidence


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


def test_absolute_links_stay_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "run/cdi").mkdir(parents=True)
    (root / "run/cdi/nvidia.yaml").write_text("x")
    (root / "var").mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "etc").mkdir()
    (root / "etc/escape").symlink_to("../../../../../../../etc/passwd")
    (root / "etc/loop").symlink_to("/etc/loop")
    files = evidence.Files(str(root))
    assert files.names("/var/run/cdi") == ["nvidia.yaml"]
    assert files.at("/etc/escape") == str(root / "etc/passwd")
    assert files.read("/etc/escape") is None
    assert files.read("/etc/loop") is None
    assert files.read("/../../etc/passwd") is None


def test_what_cannot_be_read_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "strange").write_bytes(b"\xff\xfe abc\0\n \0")
    files = evidence.Files(str(tmp_path))
    assert [files.read(name) for name in ("/missing", "/folder", "/pipe", "/a\0b")] == [None] * 4
    assert files.names("/missing") == []
    assert files.gid("/missing") is None
    assert files.link_name("/strange") is None
    assert files.read("/strange") == "\ufffd\ufffd abc"


@pytest.mark.parametrize(
    ("text", "number"), [("0x10de", 4318), ("0X030000\n", 196608), ("4098", 4098), ("010", 10), ("x", None), ("", None)]
)
def test_numbers(text: str, number: int | None) -> None:
    assert evidence.to_int(text) == number


def test_versions_are_compared_as_numbers() -> None:
    assert evidence.to_version("10.0") > evidence.to_version("9.0")
    assert evidence.to_version("550.163.01") == (550, 163, 1)
    assert evidence.to_version("[N/A]") == evidence.to_version(None) == ()


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (110501, "gfx1151"),
        (80003, "gfx803"),
        (100300, "gfx1030"),
        (90500, "gfx950"),
    ],
)
def test_names_of_targets(version: int, name: str) -> None:
    assert evidence.gfx_name(version) == name


@pytest.mark.parametrize("text", ["00000000:01:00.0", "00000000:C1:00.0", "0000:01:00.0"])
def test_addresses_of_nvidia_smi_are_brought_into_the_form_of_sysfs(text: str) -> None:
    assert evidence.smi_bus(text) == text.lower()[-12:]
    assert len(evidence.smi_bus(text)) == 12


def test_lines_of_mig_belong_to_the_card_above() -> None:
    text = (
        "GPU 0: NVIDIA A100 (UUID: GPU-1)\n  MIG 1g.5gb     Device  0: (UUID: MIG-1)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-2)\n  MIG 3g.20gb    Device  0: (UUID: MIG-2)\nnoise\n"
    )
    assert evidence.mig_devices(text) == [("GPU-1", "1g.5gb", "MIG-1"), ("GPU-2", "3g.20gb", "MIG-2")]


def test_hanging_command_is_given_up_with_its_children(tmp_path: Path) -> None:
    program(tmp_path / "bin", "nvidia-smi", f"echo early\nsleep 60 &\necho $! > {tmp_path}/child\nsleep 60\n")
    commands = evidence.Commands(evidence.Files("/"), [str(tmp_path / "bin")], timeout=0.5)
    started = time.monotonic()
    answer = commands.run("nvidia-smi")
    assert time.monotonic() - started < 5
    assert answer is not None
    assert (answer.status, answer.timed_out, answer.out) == (None, True, "early\n")
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(child)


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_child_that_keeps_the_streams_open_does_not_hold_up_the_answer(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", "sleep 3 &\necho done\n")
    commands = evidence.Commands(evidence.Files("/"), [str(tmp_path / "bin")], timeout=0.5)
    answer = commands.run("docker")
    assert answer is not None
    assert (answer.status, answer.out) == (0, "done\n")


def test_much_output_is_cut_and_does_not_block(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", "head -c 3000000 /dev/zero | tr '\\0' x\nhead -c 300000 /dev/zero >&2\n")
    answer = evidence.Commands(evidence.Files("/"), [str(tmp_path / "bin")], timeout=10).run("docker")
    assert answer is not None
    assert answer.status == 0
    assert evidence.MOST_BYTES <= len(answer.out) < evidence.MOST_BYTES + 65536


def test_program_that_cannot_be_started_is_an_answer_without_status(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", "").write_text("#!/no/such/interpreter\n")
    answer = evidence.Commands(evidence.Files("/"), [str(tmp_path / "bin")]).run("docker")
    assert answer is not None
    assert answer.status is None
    assert "No such file" in answer.err


def test_only_the_given_folders_are_searched(tmp_path: Path) -> None:
    program(tmp_path / "a", "ls", "echo mine\n")
    files = evidence.Files(str(tmp_path))
    assert evidence.Commands(files, [f"{tmp_path}/none:{tmp_path}/a"]).find("ls") == str(tmp_path / "a/ls")
    assert evidence.Commands(files, [str(tmp_path / "none")]).find("ls") is None
    assert evidence.Commands(files).find("ls") is None, "programs of this machine must not answer for another root"
    assert evidence.Commands(evidence.Files("/")).find("ls") is not None
