# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second disks of machines, for those that ask for one (pantheon_lab_disk_mb): files of this computer, as loop devices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from . import process
from .process import LabError
from .settings import Paths

DISK = "/dev/pantheon-disk"
"""What the disk is called in its machine."""


def loops_of(file: Path) -> list[str]:
    """Return the loop devices that a file is attached to."""
    return process.output(["losetup", "--associated", str(file), "--output", "NAME", "--noheadings"]).split()


def attach(paths: Paths, wanted: Mapping[str, int]) -> dict[str, str]:
    """Attach the disk of each machine, made where there is none yet; return the device of each.

    *wanted* are megabytes by machine. A disk that is there keeps its size and what is on it.
    """
    if not wanted:
        return {}
    if os.geteuid() != 0:
        raise LabError(
            f"inventories/lab: pantheon_lab_disk_mb of {', '.join(wanted)}: only root attaches loop devices.",
            "Run the lab as root, or take pantheon_lab_disk_mb out.",
        )
    paths.disks.mkdir(parents=True, exist_ok=True)
    devices = {}
    for name, megabytes in wanted.items():
        file = paths.disks / f"{name}.img"
        if not file.exists():
            with file.open("wb") as stream:
                stream.truncate(megabytes << 20)
        found = loops_of(file)
        devices[name] = found[0] if found else _attach(file)
    return devices


def _attach(file: Path) -> str:
    """Attach a file, to the device that it had before if that is free: another one would make its machine anew."""
    note = file.with_suffix(".loop")
    before = note.read_text(encoding="ascii").strip() if note.is_file() else ""
    if before and process.capture(["losetup", before, str(file)]).returncode == 0:
        return before
    device = process.output(["losetup", "--find", "--show", str(file)]).strip()
    process.write_atomically(note, f"{device}\n")
    return device


def remove(paths: Paths) -> int:
    """Detach and remove all disks; return how many there were. Their machines have to be gone."""
    files = sorted(paths.disks.glob("*.img")) if paths.disks.is_dir() else []
    for file in files:
        for device in loops_of(file):
            process.output(["losetup", "--detach", device])
        file.unlink()
        file.with_suffix(".loop").unlink(missing_ok=True)
    return len(files)


def options(device: str | None) -> tuple[str, ...]:
    """Return the options of `docker run` that hand a disk to a machine, none without one."""
    return (f"--device={device}:{DISK}",) if device else ()
