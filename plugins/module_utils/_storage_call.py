# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module storage_mounts without Ansible: its arguments, and what one call comes to. Private to this collection."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome
from ansible_collections.pantheon.ai.plugins.module_utils._storage_mounts import (
    Machine,
    StorageError,
    StorageMounts,
    needed,
)

BACKENDS = ["auto", "kernel", "fuse", "bind"]
ARGUMENTS: t.Dict[str, t.Any] = {
    "mounts": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "path": {"type": "str", "required": True},
            "read_only": {"type": "bool", "default": True},
            "options": {"type": "list", "elements": "str", "default": []},
            "backend": {"type": "str", "choices": BACKENDS},
            "uid": {"type": "int"},
            "gid": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
    "backend": {"type": "str", "choices": BACKENDS, "default": "auto"},
    "readahead_kib": {"type": "int", "default": 16384},
    "mount_timeout": {"type": "int", "default": 30},
    "wait": {"type": "float", "default": 15},
    "detect_only": {"type": "bool", "default": False},
}

LOOK_ARGUMENTS: t.Dict[str, t.Any] = {
    **ARGUMENTS,
    # The files of the NFS client that the role installs, with their SHA-256: they are compared where the client is used.
    "client": {"type": "dict", "default": {}},
}


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Bring the mounts of the machine into their state."""
    machine = Machine()
    if params["detect_only"]:
        found = needed(machine, params["mounts"], params["backend"], check_mode)
        return Outcome({"changed": False, "actions": [], **found}, idle=not found["backends"])
    state = StorageMounts(machine, params, check_mode)
    try:
        result = state.reconcile()
    except StorageError as error:
        return Outcome({}, state.warnings, str(error))
    except PermissionError as error:
        return Outcome({}, state.warnings, "%s. Run as root (become: true)." % error)
    result["ansible_facts"] = {"pantheon_storage": result["mounts"]}
    idle = not result["changed"] and all(fact["available"] for fact in result["mounts"].values())
    return Outcome(result, state.warnings, " ".join(state.failures), idle)


def look(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Say whether the whole role would find nothing to do: client, units and mounts."""
    outcome = perform(params, check_mode)
    if not outcome.idle or all(fact["backend"] != "fuse" for fact in outcome.result["mounts"].values()):
        return outcome
    return outcome._replace(idle=all(_digest(path) == wanted for path, wanted in params["client"].items()))


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return ""
