# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content hashes: an image is built again exactly when something that goes into it has changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LENGTH = 16
_SKIPPED = {"__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv"}


def digest(*parts: Any) -> str:
    """Return a short hash over values that JSON can say."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:LENGTH]


def files_below(folder: Path) -> list[Path]:
    """Return the files of a build context in a fixed order, without the caches of tools."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.endswith(".egg-info"))
        found += [Path(parent, name) for name in names if not name.endswith(".pyc")]
    return sorted(found)


def context_files(context: Path, extra: Iterable[Path]) -> dict[str, Path]:
    """Return the files of a build context by their name in it: the context's own and those of the extra paths."""
    files = {str(path.relative_to(context)): path for path in files_below(context)}
    for path in extra:
        if path.is_dir():
            files |= {str(Path(path.name, below.relative_to(path))): below for below in files_below(path)}
        else:
            files[path.name] = path
    return dict(sorted(files.items()))


def hash_files(files: dict[str, Path]) -> str:
    """Return a hash over names, contents and the right to execute; owners and times do not matter."""
    total = hashlib.sha256()
    for name, path in files.items():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        total.update(f"{name}\0{executable}\0{content}\n".encode())
    return total.hexdigest()[:LENGTH]


def write_tar(files: dict[str, Path], target: Path, folders: Iterable[str] = ()) -> None:
    """Write a build context as a tar that depends on nothing but the files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in files.items():
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(content))
