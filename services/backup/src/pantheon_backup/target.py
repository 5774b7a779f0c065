# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of the backups: is it there, and is it the right one."""

from __future__ import annotations

import re
from pathlib import Path

from pantheon_backup.model import BackupError, Target, TargetAway
from pantheon_backup.process import Runner

MOUNTS = Path("/proc/self/mountinfo")
#: Seconds after which a NAS that does not answer is away.
PATIENCE = 30


def demand(target: Target, runner: Runner, mounts: Path = MOUNTS) -> None:
    """Raise :class:`TargetAway` unless the place is there, mounted if it has to be, and can be written."""
    path = str(target.path)
    # By a program of its own: a call to a NAS that is away may never come back. It also wakes a mount that is made on use.
    try:
        seen = runner.run(["stat", "--format", "%F", f"{path}/."], timeout=PATIENCE, check=False)
    except BackupError:
        raise TargetAway(
            f"{path} does not answer within {PATIENCE} seconds. Look at the NAS, or at its mount."
        ) from None
    if target.mount and not is_mounted(path, mounts):
        raise TargetAway(f"{path} is not mounted, and nothing is written to the disk in its place. Look at the NAS.")
    if seen.status or seen.text != "directory":
        if target.mount:
            raise TargetAway(f"{path} is not a directory that can be used. Look at the NAS, or at its mount.")
        made = runner.run(["mkdir", "--parents", "--mode", "0711", path], timeout=PATIENCE, check=False)
        if made.status:
            raise TargetAway(f"{path} cannot be made. Look at pantheon_backup.path in the inventory.")
    try:
        made = runner.run(["mkdir", "--parents", "--mode", "0700", f"{path}/sets"], timeout=PATIENCE, check=False)
    except BackupError:
        raise TargetAway(
            f"{path} does not answer within {PATIENCE} seconds. Look at the NAS, or at its mount."
        ) from None
    if made.status:
        words = made.err.strip()[-200:]
        raise TargetAway(f"{path} cannot be written ({words}). Allow this machine to write there as root.")


def is_mounted(path: str, mounts: Path = MOUNTS) -> bool:
    """Say whether a file system is mounted at a path, other than the one that only waits for a first use."""
    found = False
    for line in mounts.read_text("utf-8", errors="surrogateescape").splitlines():
        before, _dash, after = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), before.split()[4])
        if place == path:
            found = after.split()[0] != "autofs"
    return found
