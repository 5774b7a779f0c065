# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and what they include."""

from __future__ import annotations

from collections.abc import Iterable

_READ_WRITE = (
    *("ACCOUNT", "DATASET", "FILESYSTEM_ATTRS", "KEYCHAIN_CREDENTIAL", "REPLICATION_TASK", "SHARING_FTP"),
    *("SHARING_ISCSI", "SHARING_NFS", "SHARING_NVME_TARGET", "SHARING_SMB", "SNAPSHOT", "SNAPSHOT_TASK"),
    *("SYSTEM_GENERAL", "SYSTEM_PRODUCT", "REPLICATION_TASK_CONFIG"),
)
SHARING = ("ISCSI", "NFS", "NVME_TARGET", "SMB", "FTP")

INCLUDES: dict[str, tuple[str, ...]] = {
    **{f"{name}_WRITE": (f"{name}_READ",) for name in _READ_WRITE},
    "REPLICATION_TASK_WRITE_PULL": ("REPLICATION_TASK_WRITE",),
    "POOL_READ": ("POOL_SCRUB_READ",),
    "POOL_WRITE": ("POOL_READ", "POOL_SCRUB_WRITE"),
    "POOL_SCRUB_WRITE": ("POOL_SCRUB_READ",),
    "FILESYSTEM_FULL_CONTROL": ("FILESYSTEM_ATTRS_WRITE", "FILESYSTEM_DATA_WRITE"),
    "FILESYSTEM_DATA_WRITE": ("FILESYSTEM_DATA_READ",),
    "SHARING_READ": tuple(f"SHARING_{name}_READ" for name in SHARING),
    "SHARING_WRITE": tuple(f"SHARING_{name}_WRITE" for name in SHARING),
    "REPLICATION_ADMIN": (
        *("KEYCHAIN_CREDENTIAL_WRITE", "REPLICATION_TASK_CONFIG_WRITE", "REPLICATION_TASK_WRITE"),
        *("SNAPSHOT_TASK_WRITE", "SNAPSHOT_WRITE"),
    ),
    "SHARING_ADMIN": ("READONLY_ADMIN", "DATASET_WRITE", "SHARING_WRITE", "FILESYSTEM_ATTRS_WRITE", "SERVICE_READ"),
    "READONLY_ADMIN": (
        *(f"{name}_READ" for name in _READ_WRITE),
        *("POOL_READ", "SERVICE_READ", "SHARING_READ", "FILESYSTEM_DATA_READ"),
    ),
}
KNOWN = frozenset(
    {
        "FULL_ADMIN",
        "SERVICE_READ",
        "SERVICE_WRITE",
        "DATASET_DELETE",
        "SNAPSHOT_DELETE",
        *INCLUDES,
        *(included for includes in INCLUDES.values() for included in includes),
    }
)


def expand(roles: Iterable[str]) -> frozenset[str]:
    """Return the roles with everything they include."""
    result: set[str] = set()
    waiting = list(roles)
    while waiting:
        role = waiting.pop()
        if role not in result:
            result.add(role)
            waiting += INCLUDES.get(role, ())
    return frozenset(result)
