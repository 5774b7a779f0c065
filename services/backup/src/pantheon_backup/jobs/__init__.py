# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of jobs, by the name that the catalog uses."""

from __future__ import annotations

import importlib

from pantheon_backup.model import Kind, UsageError

#: Kind -> module of this package and its class. Loaded when needed: a machine without the service never reads its code.
KINDS: dict[str, tuple[str, str]] = {
    "command": ("command", "Command"),
    "files": ("files", "Files"),
    "postgres": ("postgres", "Postgres"),
    "qdrant": ("qdrant", "Qdrant"),
}


def kind_of(name: str) -> Kind:
    """Return a new object that does jobs of this kind."""
    if name not in KINDS:
        raise UsageError(f"There is no kind of backup {name!r}; known are {', '.join(sorted(KINDS))}.")
    module, class_name = KINDS[name]
    kind: Kind = getattr(importlib.import_module(f"pantheon_backup.jobs.{module}"), class_name)()
    return kind
