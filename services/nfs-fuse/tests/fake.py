# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in memory, with the habits of libnfs over NFSv4.0 that matter: one state for each file, and a lease."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Any

from pantheon_nfs_fuse.client import Attributes, Entry, Lost, NfsError, Refused, Unreachable


@dataclass
class Inode:
    """A file: what is on disk, and what only the server's memory holds."""

    disk: bytearray = field(default_factory=bytearray)
    memory: bytearray = field(default_factory=bytearray)
    mode: int = 0o600
    times: tuple[int, int] = (666, 666)
    owner: tuple[int, int] = (0, 0)
    kind: int = 0o100000


@dataclass
class Handle:
    """An open file of one connection."""

    path: str
    flags: int
    valid: bool = True


class Server:
    """The server; `down` and `refuses` are its faults, `trouble` is raised by the next calls."""

    def __init__(self) -> None:
        self.files: dict[str, Inode] = {}
        self.down = False
        self.refuses = False
        self.trouble: list[NfsError] = []
        self.connections: list[Fake] = []
        self.calls: list[str] = []
        self.write_most = 4
        #: False: libnfs 5, which changes the owner of the directory that a name is in.
        self.chown_as_told = False

    def connect(self) -> Fake:
        if self.down:
            raise Unreachable("no NFS server answers at nas port 2049 (Connection refused)")
        if self.refuses:
            raise Refused("the server has no such export")
        self.connections.append(Fake(self))
        return self.connections[-1]

    def restart(self) -> None:
        """What was not committed is lost, and so is what the server knew of its clients."""
        for inode in self.files.values():
            inode.memory = bytearray(inode.disk)
        self.expire("the connection was closed", state=False)

    def expire(self, text: str = "NFS4ERR_EXPIRED", state: bool = True) -> None:
        for connection in self.connections:
            connection.lost = connection.lost or Lost(errno.EIO, text, state)


class Fake:
    """A connection to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lost: Lost | None = None
        self.abandoned = False
        self.states: dict[str, list[Handle]] = {}

    def _call(self, name: str, path: str = "") -> None:
        assert not self.abandoned, "a connection that was given up must not be used"
        self.server.calls.append(f"{name} {path}".strip())
        if self.server.down:
            raise Lost(errno.EIO, "the connection was closed")
        if self.lost:
            raise self.lost
        if self.server.trouble:
            raise self.server.trouble.pop(0)

    def _inode(self, path: str) -> Inode:
        try:
            return self.server.files[path]
        except KeyError:
            raise NfsError(errno.ENOENT, "NFS4ERR_NOENT") from None

    def _end_state(self, path: str) -> None:
        """The server knows one state for each file and owner: a close ends all handles of it."""
        for handle in self.states.pop(path, []):
            handle.valid = False

    def _open_file(self, handle: Handle) -> Inode:
        if not handle.valid:
            raise Lost(errno.EIO, "NFS4ERR_BAD_STATEID", state=True)
        return self._inode(handle.path)

    def lstat(self, path: str) -> Attributes:
        self._call("lstat", path)
        inode = self._inode(path)
        return {"st_mode": inode.kind | inode.mode, "st_size": len(inode.memory), "st_uid": inode.owner[0],
                "st_gid": inode.owner[1], "st_ino": 7}  # fmt: skip

    def readdir(self, path: str) -> list[Entry]:
        self._call("readdir", path)
        return [(name[1:], {"st_ino": 0, "st_mode": 0o100644}) for name in self.server.files]

    def open(self, path: str, flags: int) -> Handle:
        self._call("open", path)
        self._inode(path)
        handle = Handle(path, flags)
        self.states.setdefault(path, []).append(handle)
        return handle

    def create(self, path: str, flags: int, mode: int) -> Handle:
        self._call("create", path)
        if path in self.server.files:
            raise NfsError(errno.EEXIST, "NFS4ERR_EXIST")
        self.server.files[path] = Inode()
        handle = Handle(path, flags)
        self.states.setdefault(path, []).append(handle)
        return handle

    def read(self, handle: Handle, size: int, offset: int) -> bytes:
        self._call("read", handle.path)
        return bytes(self._open_file(handle).memory[offset : offset + min(size, 5)])

    def write(self, handle: Handle, data: bytes, offset: int) -> int:
        self._call("write", handle.path)
        inode, data = self._open_file(handle), data[: self.server.write_most]
        if handle.flags & os.O_ACCMODE == os.O_RDONLY:
            raise NfsError(errno.EACCES, "NFS4ERR_OPENMODE")
        inode.memory.extend(bytes(max(0, offset + len(data) - len(inode.memory))))
        inode.memory[offset : offset + len(data)] = data
        return len(data)

    def commit(self, handle: Handle) -> None:
        self._call("commit", handle.path)
        inode = self._open_file(handle)
        inode.disk = bytearray(inode.memory)

    def close(self, handle: Handle) -> None:
        self._call("close", handle.path)
        self._open_file(handle)
        self._end_state(handle.path)

    def truncate(self, path: str, length: int) -> None:
        self._call("truncate", path)
        del self._inode(path).memory[length:]
        self._end_state(path)

    def truncate_open(self, handle: Handle, length: int) -> None:
        self._call("truncate_open", handle.path)
        if handle.flags & os.O_ACCMODE == os.O_RDONLY:
            raise NfsError(errno.EACCES, "NFS4ERR_OPENMODE")
        del self._open_file(handle).memory[length:]

    def chmod(self, path: str, mode: int) -> None:
        self._call("chmod", path)
        if self._inode(path).kind == 0o040000:
            raise NfsError(errno.EISDIR, "NFS4ERR_ISDIR")
        self._inode(path).mode = mode
        self._end_state(path)

    def chmod_open(self, handle: Handle, mode: int) -> None:
        self._call("chmod_open", handle.path)
        self._open_file(handle).mode = mode

    def chown_open(self, handle: Handle, uid: int, gid: int) -> None:
        self._call("chown_open", handle.path)
        self._open_file(handle).owner = (uid, gid)

    def mkdir(self, path: str, mode: int) -> None:
        self._call("mkdir", path)
        self.server.files[path] = Inode(mode=mode, kind=0o040000)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._call("chown", path)
        self._inode(path if self.server.chown_as_told else path.rpartition("/")[0]).owner = (uid, gid)

    def utimens(self, path: str, accessed: int, modified: int) -> None:
        self._call("utimens", path)
        self._inode(path).times = (accessed, modified)
        self._end_state(path)

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        self._inode(path)
        del self.server.files[path]

    def rename(self, old: str, new: str) -> None:
        self._call("rename", old)
        inode = self._inode(old)
        del self.server.files[old]
        self.server.files[new] = inode
        for handle in self.states.get(old, []):
            handle.path = new
        self.states[new] = self.states.pop(old, [])

    def statfs(self) -> dict[str, int]:
        self._call("statfs")
        return {"f_bsize": 4096, "f_blocks": 10}

    def abandon(self) -> None:
        self.abandoned = True

    def _never(self, *arguments: Any) -> Any:
        raise AssertionError("not used by these tests")

    mknod = rmdir = link = symlink = readlink = _never
