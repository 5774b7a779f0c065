# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second disks of lab machines, with a losetup that only remembers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.driver import disks, process
from lab.driver.machines import machine_specs
from lab.driver.process import LabError
from lab.driver.settings import Paths


class Loops:
    """The loop devices of a computer."""

    def __init__(self) -> None:
        self.table: dict[str, str] = {}
        self.taken: set[str] = set()

    def output(self, command: Sequence[str], **_more: Any) -> str:
        if "--associated" in command:
            return "".join(f"{device}\n" for device, file in self.table.items() if file == command[2])
        if "--detach" in command:
            del self.table[command[-1]]
            return ""
        device = next(
            f"/dev/loop{number}" for number in range(9) if f"/dev/loop{number}" not in {*self.table, *self.taken}
        )
        self.table[device] = command[-1]
        return f"{device}\n"

    def capture(self, command: Sequence[str], **_more: Any) -> subprocess.CompletedProcess[str]:
        if command[1] in {*self.table, *self.taken}:
            return subprocess.CompletedProcess(command, 1, "", "busy")
        self.table[command[1]] = command[2]
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Loops:
    found = Loops()
    monkeypatch.setattr(process, "output", found.output)
    monkeypatch.setattr(process, "capture", found.capture)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return found


def test_a_disk_is_made_once_and_keeps_its_content(tmp_path: Path, loops: Loops) -> None:
    paths = Paths(tmp_path)
    assert disks.attach(paths, {"erebus": 2, "zelus": 1}) == {"erebus": "/dev/loop0", "zelus": "/dev/loop1"}
    file = tmp_path / ".lab/disks/erebus.img"
    assert file.stat().st_size == 2 << 20
    file.write_bytes(b"content")
    assert disks.attach(paths, {"erebus": 9})["erebus"] == "/dev/loop0"
    assert file.read_bytes() == b"content"


def test_after_a_boot_of_the_computer_it_has_the_same_device(tmp_path: Path, loops: Loops) -> None:
    paths = Paths(tmp_path)
    loops.taken = {"/dev/loop0"}
    assert disks.attach(paths, {"erebus": 1}) == {"erebus": "/dev/loop1"}
    loops.table.clear()
    loops.taken.clear()
    assert disks.attach(paths, {"erebus": 1}) == {"erebus": "/dev/loop1"}, "its machine is not made anew"
    loops.table.clear()
    loops.taken = {"/dev/loop0", "/dev/loop1"}
    assert disks.attach(paths, {"erebus": 1}) == {"erebus": "/dev/loop2"}


def test_down_leaves_nothing(tmp_path: Path, loops: Loops) -> None:
    paths = Paths(tmp_path)
    assert disks.remove(paths) == 0
    disks.attach(paths, {"erebus": 1, "zelus": 1})
    assert disks.remove(paths) == 2
    assert loops.table == {} and list((tmp_path / ".lab/disks").iterdir()) == []


def test_without_disks_nothing_is_done_and_no_machine_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "output", lambda *command, **more: pytest.fail("nothing may be run"))
    assert disks.attach(Paths(tmp_path), {}) == {}
    plain = machine_specs({"erebus": "10.77.0.11"}, "node:1", [])
    assert machine_specs({"erebus": "10.77.0.11"}, "node:1", [], None, {"zelus": "/dev/loop0"}) == plain
    (with_disk,) = machine_specs({"erebus": "10.77.0.11"}, "node:1", [], None, {"erebus": "/dev/loop0"})
    assert "--device=/dev/loop0:/dev/pantheon-disk" in with_disk.options


def test_only_root_attaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="pantheon_lab_disk_mb of erebus: only root"):
        disks.attach(Paths(tmp_path), {"erebus": 1})
