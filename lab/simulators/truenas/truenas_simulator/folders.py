# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders: stat, chown and setperm, on the real folders of the datasets."""

from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CallError, ValidationErrors
from .registry import Call, method
from .schema import Field

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]


def _kind(mode: int) -> str:
    if st.S_ISLNK(mode):
        return "SYMLINK"
    if st.S_ISDIR(mode):
        return "DIRECTORY"
    return "FILE" if st.S_ISREG(mode) else "OTHER"


def stat_row(nas: Nas, path: str) -> Row:
    """Return what is known of a path."""
    if path.startswith("EXTERNAL"):
        raise CallError(f"{path} is external to TrueNAS", errno.EXDEV)
    if not path.startswith("/"):
        raise CallError(f"{path}: path must be absolute", errno.EINVAL)
    real = nas.paths.real(path)
    try:
        found = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError):
        raise CallError(f"Path {path} not found", errno.ENOENT) from None
    kind = _kind(found.st_mode)
    dataset = nas.datasets.of_path(os.path.normpath(path))
    owner = nas.owner_of(path, found)
    return {
        "realpath": nas.paths.resolve(path) if kind == "SYMLINK" else os.path.abspath(path),
        "type": kind,
        "size": found.st_size,
        "allocation_size": found.st_blocks * 512,
        "mode": found.st_mode,
        "uid": owner[0],
        "gid": owner[1],
        "atime": found.st_atime,
        "mtime": found.st_mtime,
        "ctime": found.st_ctime,
        "btime": found.st_ctime,
        "mount_id": sorted(nas.datasets.all).index(dataset) + 100 if dataset else 1,
        "dev": found.st_dev,
        "inode": found.st_ino,
        "nlink": found.st_nlink,
        "is_mountpoint": dataset is not None and os.path.normpath(path) == f"/mnt/{dataset}",
        "is_ctldir": "/.zfs" in path,
        "attributes": ["MOUNT_ROOT"] if dataset and os.path.normpath(path) == f"/mnt/{dataset}" else [],
        "user": nas.user_name(owner[0]),
        "group": nas.group_name(owner[1]),
        "acl": False,
    }


@method("filesystem.stat", {"path": Field(models.filled())}, roles=("FILESYSTEM_ATTRS_READ",))
async def stat(call: Call, path: str) -> Row:
    """Return what is known of a path."""
    return stat_row(call.nas, path)


@method("filesystem.statfs", {"path": Field(models.filled())}, roles=("FILESYSTEM_ATTRS_READ",))
async def statfs(call: Call, path: str) -> Row:
    """Return the file system of a path."""
    nas = call.nas
    if not path.startswith("/mnt/"):
        raise CallError('Path must start with "/mnt/"')
    if path == "/mnt/":
        raise CallError('Path must include more than "/mnt/"')
    dataset = nas.datasets.of_path(os.path.normpath(path))
    if dataset is None or not nas.paths.real(path).exists():
        raise CallError("Path not found.", errno.ENOENT)
    row = nas.datasets.instance(dataset)
    free = row["available"]["parsed"]
    total = free + row["used"]["parsed"]
    acl = {"POSIX": "POSIXACL", "NFSV4": "NFS4ACL"}.get(row["acltype"]["value"], "NOACL")
    result: Row = {
        "flags": [
            "RO" if row["readonly"]["value"] == "ON" else "RW",
            "XATTR",
            acl,
            "CASESENSITIVE" if row["casesensitivity"]["value"] == "SENSITIVE" else "CASEINSENSITIVE",
            *(["NOATIME"] if row["atime"]["value"] == "OFF" else []),
        ],
        "fstype": "zfs",
        "source": dataset,
        "dest": f"/mnt/{dataset}",
        "blocksize": row["recordsize"]["parsed"],
        "total_blocks": total // row["recordsize"]["parsed"],
        "free_blocks": free // row["recordsize"]["parsed"],
        "avail_blocks": free // row["recordsize"]["parsed"],
        "files": 1000000,
        "free_files": 1000000,
        "name_max": 255,
        "fsid": f"{abs(hash(dataset)):x}",
        "total_bytes": total,
        "free_bytes": free,
        "avail_bytes": free,
    }
    for key in ("total_blocks", "free_blocks", "avail_blocks", "total_bytes", "free_bytes", "avail_bytes"):
        result[f"{key}_str"] = str(result[key])
    return result


def _prepare(call: Call, schema: str, data: Row) -> tuple[int, int, ValidationErrors]:
    """Find the owner and check the path; what is wrong is noted."""
    nas, errors = call.nas, ValidationErrors()
    uid = -1 if data["uid"] is None else data["uid"]
    gid = -1 if data["gid"] is None else data["gid"]
    if data["user"]:
        user = nas.find_user(data["user"])
        if user is None:
            errors.add(f"{schema}.user", f"{data['user']}: user does not exist")
        else:
            uid = user["uid"]
    if data["group"]:
        group = nas.find_group(data["group"])
        if group is None:
            errors.add(f"{schema}.group", f"{data['group']}: group does not exist")
        else:
            gid = group["gid"]
    _check_path(nas, schema, data, errors)
    return uid, gid, errors


def _check_path(nas: Nas, schema: str, data: Row, errors: ValidationErrors) -> None:
    path = data["path"]
    found = stat_row(nas, path)
    real = found["realpath"]
    dataset = nas.datasets.of_path(real)
    if found["type"] == "FILE" and data["options"]["recursive"]:
        errors.add(f"{schema}.path", "Recursive operations on a file are invalid.")
    elif found["is_ctldir"]:
        errors.add(f"{schema}.path", "Permissions changes in ZFS control directory (.zfs) are not permitted")
    elif not real.startswith("/mnt/"):
        errors.add(
            f"{schema}.path",
            f"Changes to permissions on paths that are not beneath the directory /mnt are not permitted: {path}",
        )
    elif real.count("/") == 2:
        errors.add(f"{schema}.path", f'The specified path is a ZFS pool mountpoint "({path})" ')
    elif dataset and nas.datasets.value(dataset, "readonly")[0] == "on":
        errors.add(f"{schema}.path", f"{path}: dataset underlying path has the readonly property enabled.")


def _targets(nas: Nas, path: str, options: Row) -> Iterator[tuple[str, Path]]:
    """Yield the path and, if wanted, all below it; other datasets only with traverse."""
    real = nas.paths.real(path)
    yield path, real
    if not options["recursive"]:
        return
    mounts = {f"/mnt/{name}" for name in nas.datasets.all}
    for folder, folders, files in os.walk(real):
        shown = nas.paths.shown(Path(folder))
        if not options["traverse"]:
            folders[:] = [name for name in folders if os.path.join(shown, name) not in mounts]
        for name in (*folders, *files):
            yield os.path.join(shown, name), Path(folder, name)


@method(
    "filesystem.chown",
    models.filesystem_chown(),
    roles=("FILESYSTEM_ATTRS_WRITE",),
    write=True,
    lock=lambda arguments: "perm_change",
)
async def chown(call: Call, data: Row) -> None:
    """Change the owner."""
    job = call.job
    assert job is not None
    job.set_progress(0, "Preparing to change owner.")
    uid, gid, errors = _prepare(call, "filesystem.chown", data)
    errors.check()
    if data["options"]["recursive"]:
        job.set_progress(10, f"Recursively changing owner of {data['path']}.")
    for path, real in _targets(call.nas, data["path"], data["options"]):
        call.nas.set_owner(path, real, uid, gid)
    job.set_progress(100, "Finished changing owner.")


@method(
    "filesystem.setperm",
    models.filesystem_setperm(),
    roles=("FILESYSTEM_ATTRS_WRITE",),
    write=True,
    lock=lambda arguments: "perm_change",
)
async def setperm(call: Call, data: Row) -> None:
    """Change mode and owner."""
    job, nas = call.job, call.nas
    assert job is not None
    job.set_progress(0, "Preparing to set permissions.")
    uid, gid, errors = _prepare(call, "filesystem.setperm", data)
    mode = None if data["mode"] is None else int(data["mode"], 8)
    if mode == 0:
        errors.add("filesystem.setperm.mode", "Empty permissions are not permitted.")
    errors.check()
    if data["options"]["recursive"]:
        job.set_progress(10, f"Recursively setting permissions on {data['path']}.")
    for path, real in _targets(nas, data["path"], data["options"]):
        nas.set_owner(path, real, uid, gid)
        if mode is not None and not real.is_symlink():
            # As a copy of the ACL of the folder gives it: files do not become executable by it.
            real.chmod(mode if real.is_dir() or path == data["path"] else mode & ~0o111)
    job.set_progress(100, "Finished setting permissions.")
