# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the controller, kept at the target: with the vault's password, it is enough to begin from nothing.

The role backup brings it to one machine as one file, the secrets in it encrypted by the vault as they are on the controller.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pantheon_backup import sets
from pantheon_backup.model import BackupError

FILE = Path("/etc/pantheon/backup-inventory.json")
SECRETS = "secrets.yml"
#: Earlier versions of the encrypted secrets that stay.
VERSIONS = 20


def keep(target: Path, environment: str, set_id: str, log: Callable[[str], None], file: Path = FILE) -> None:
    """Write the inventory to the target, if it is this machine that has it."""
    try:
        data = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise BackupError(f"{file} is not JSON ({error}). Deploy this machine with site.yml again.") from None
    folder = target / "configuration" / environment
    for name, text in data["files"].items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BackupError(f"{file} names {name!r}, which lies outside. Deploy this machine with site.yml again.")
        place = folder / path
        before = place.read_text("utf-8") if place.exists() else None
        if before == text:
            continue
        if before is not None and name == SECRETS:
            sets.write_text(folder / "earlier" / f"{SECRETS}.{set_id}", before)
            for old in sorted((folder / "earlier").glob(f"{SECRETS}.*"))[:-VERSIONS]:
                old.unlink()
        sets.write_text(place, text)
        log(f"The inventory's {name} is kept in {folder}.")
