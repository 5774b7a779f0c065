# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders: /mnt/<pool> of the appliance is a folder below the root that the simulator was given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

MNT = "/mnt"


class Paths:
    """Where the folders of the appliance really are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def real(self, path: str) -> Path:
        """Return the real place of a path of the appliance."""
        normal = os.path.normpath(path)
        if normal == MNT or normal.startswith(f"{MNT}/"):
            return self.root / normal.removeprefix(MNT).lstrip("/")
        # Nothing outside /mnt is shown: the appliance's system is not simulated.
        return self.root / ".outside" / normal.lstrip("/")

    def shown(self, real: Path) -> str:
        """Return the path of the appliance for a real place."""
        try:
            return os.path.join(MNT, real.relative_to(self.root)).rstrip("/")
        except ValueError:
            return str(real)

    def resolve(self, path: str) -> str:
        """Return a path of the appliance with links followed."""
        return self.shown(Path(os.path.realpath(self.real(path))))

    def dataset(self, name: str) -> Path:
        """Return the folder of a dataset."""
        return self.root / name

    def create(self, name: str) -> None:
        """Make the folder of a dataset, if it is not there."""
        folder = self.dataset(name)
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o755)

    def remove(self, name: str) -> None:
        """Remove the folder of a dataset with all that is in it."""
        shutil.rmtree(self.dataset(name), ignore_errors=True)

    def used(self, name: str, children: Iterable[str]) -> int:
        """Return the bytes of a dataset's own files; the folders of its children are not part of it."""
        others = {str(self.dataset(child)) for child in children}
        total = 0
        for folder, folders, files in os.walk(self.dataset(name)):
            folders[:] = [entry for entry in folders if os.path.join(folder, entry) not in others]
            for entry in files:
                try:
                    total += os.lstat(os.path.join(folder, entry)).st_blocks * 512
                except FileNotFoundError:  # removed while we look
                    continue
        return total


def below(path: str, parent: str) -> bool:
    """Return whether a path or a dataset is another one or lies in it."""
    return path == parent or path.startswith(f"{parent.rstrip('/')}/")
