# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What FUSE asks for, in terms of the client.

Only the operations that are here exist: for the others (extended attributes, locks) libfuse answers that there are none,
and the kernel does not ask again. Locks are therefore local to the machine.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from .client import Attributes, Client, NfsError

LOG = logging.getLogger("pantheon-nfs")

#: What libfuse takes as "number not known".
UNKNOWN_INODE = 0xFFFFFFFF


class Filesystem:
    """The operations of a mount; fusepy calls them by name."""

    use_ns = True  # times are whole nanoseconds

    def __init__(
        self,
        client: Client,
        read_only: bool,
        ready: Callable[[], None] = lambda: None,
        caller: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self.client, self.read_only, self._ready, self._caller = client, read_only, ready, caller

    def __call__(self, operation: str, *arguments: Any) -> Any:
        return getattr(self, operation)(*arguments)

    def init(self, path: str) -> None:
        """The mount is there."""
        self._ready()

    def destroy(self, path: str) -> None:
        """The mount is gone."""
        self.client.release_all()

    def _change(self) -> None:
        """Before every change: refuse it on a read-only mount."""
        # The kernel refuses it as well; this holds even if somebody remounts it.
        if self.read_only:
            raise NfsError(errno.EROFS, "the mount is read-only")

    def _give_to_caller(self, path: str) -> None:
        """Let what was just made belong to who asked for it: towards the server we are one user for all."""
        uid, gid = self._caller()
        if (uid, gid) == (0, 0):
            return
        try:
            self.client.chown(path, uid, gid)
        except NfsError as error:
            # A directory with libnfs 4: it is there, and whoever may write into it still can.
            if error.errno != errno.EOPNOTSUPP:
                raise

    # -- looking

    def getattr(self, path: str, fi: Any = None) -> Attributes:
        """Attributes of a name."""
        return self.client.call(lambda connection: connection.lstat(path)) or {}

    def readdir(self, path: str, handle: int) -> Iterator[tuple[str, Attributes | None, int]]:
        """Names in a directory, with the attributes that come along."""
        entries = self.client.call(lambda connection: connection.readdir(path)) or []
        yield ".", None, 0
        yield "..", None, 0
        for name, attributes in entries:
            # libnfs leaves the number out over version 4. As 0, every program would take the name for a deleted one.
            yield name, attributes | {"st_ino": attributes["st_ino"] or UNKNOWN_INODE}, 0

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads."""
        return self.client.call(lambda connection: connection.readlink(path)) or ""

    def statfs(self, path: str) -> dict[str, int]:
        """Size and free space."""
        return self.client.call(lambda connection: connection.statfs()) or {}

    # -- files

    def open(self, path: str, fi: Any) -> int:
        """Open a file."""
        if fi.flags & os.O_ACCMODE != os.O_RDONLY:
            self._change()
        fi.fh = self.client.open(path, fi.flags)
        return 0

    def create(self, path: str, mode: int, fi: Any) -> int:
        """Make a file and open it."""
        self._change()
        fi.fh = self.client.create(path, fi.flags, mode)
        self._give_to_caller(path)
        return 0

    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
        """Read."""
        return self.client.read(fi.fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fi: Any) -> int:
        """Write."""
        self._change()
        return self.client.write(fi.fh, data, offset)

    def flush(self, path: str, fi: Any) -> int:
        """At every close of a descriptor: whoever opens the file next, on whatever machine, sees all of it."""
        self.client.commit(fi.fh)
        return 0

    def fsync(self, path: str, datasync: int, fi: Any) -> int:
        """Put it on the server's disk."""
        self.client.commit(fi.fh)
        return 0

    def release(self, path: str, fi: Any) -> int:
        """Close."""
        self.client.release(fi.fh)
        return 0

    def truncate(self, path: str, length: int, fi: Any = None) -> None:
        """Set the length."""
        self._change()
        self.client.truncate(path, length)

    # -- names

    def mknod(self, path: str, mode: int, device: int) -> None:
        """Make a device or a file; libnfs has no pipes and no sockets."""
        self._change()
        if mode & 0o170000 not in (0o020000, 0o060000):
            raise NfsError(errno.EOPNOTSUPP, "only devices can be made")
        self.client.call(lambda connection: connection.mknod(path, mode, device), forgive=errno.EEXIST)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        self._change()
        self.client.call(lambda connection: connection.mkdir(path, mode), forgive=errno.EEXIST)
        self._give_to_caller(path)

    def rmdir(self, path: str) -> None:
        """Remove a directory."""
        self._change()
        self.client.call(lambda connection: connection.rmdir(path), forgive=errno.ENOENT)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._change()
        self.client.call(lambda connection: connection.unlink(path), forgive=errno.ENOENT)

    def rename(self, old: str, new: str) -> None:
        """Give another name, in one step."""
        self._change()
        self.client.call(lambda connection: connection.rename(old, new), forgive=errno.ENOENT)
        self.client.renamed(old, new)

    def link(self, new: str, old: str) -> None:
        """Give a second name."""
        self._change()
        self.client.call(lambda connection: connection.link(old, new), forgive=errno.EEXIST)

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        self._change()
        self.client.call(lambda connection: connection.symlink(target, path), forgive=errno.EEXIST)

    # -- attributes

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode."""
        self._change()
        self.client.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set the owners."""
        self._change()
        self.client.chown(path, uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        """Set the times."""
        self._change()
        accessed, modified = times or (time.time_ns(), time.time_ns())
        self.client.utimens(path, accessed, modified)
