# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection that outlives the server: calls wait for it, and open files are opened again.

Nothing here knows libnfs or FUSE. The one lock is held during every call; FUSE calls from one thread only.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

LOG = logging.getLogger("pantheon-nfs")

Result = TypeVar("Result")
Attributes = dict[str, int]
Entry = tuple[str, Attributes]

#: Data that was written and not yet committed; kept, since a server that restarts may have lost it.
PENDING_BYTES = 16 << 20
#: How often one call is sent again because the server had dropped our state.
STATE_TRIES = 3
PAUSE = 0.2


class NfsError(OSError):
    """The server refused a call; errno is what the caller gets."""


class Lost(NfsError):
    """The connection, or what the server knew of us, is gone: a new one is needed.

    Args:
        number: what the caller gets if a new connection does not help.
        state: whether the server answered. A server that does not answer is waited for without end.
    """

    def __init__(self, number: int, text: str, state: bool = False) -> None:
        super().__init__(number, text)
        self.state = state


class Busy(NfsError):
    """The server asks to come again later (it has just started, or works on it)."""


class Unreachable(Exception):
    """No server answers."""


class Refused(Exception):
    """The server answers, and does not give us the export."""


#: A name that no directory has.
NOTHING = ".pantheon-nfs-nothing-of-that-name"


class Connection(Protocol):
    """One mount of the export. Handles belong to the connection that made them."""

    def lstat(self, path: str) -> Attributes: ...
    def readdir(self, path: str) -> list[Entry]: ...
    def open(self, path: str, flags: int) -> Any: ...
    def create(self, path: str, flags: int, mode: int) -> Any: ...
    def read(self, handle: Any, size: int, offset: int) -> bytes: ...
    def write(self, handle: Any, data: bytes, offset: int) -> int: ...
    def commit(self, handle: Any) -> None: ...
    def close(self, handle: Any) -> None: ...
    def truncate(self, path: str, length: int) -> None: ...
    def truncate_open(self, handle: Any, length: int) -> None: ...
    def chmod_open(self, handle: Any, mode: int) -> None: ...
    def chown_open(self, handle: Any, uid: int, gid: int) -> None: ...
    def mkdir(self, path: str, mode: int) -> None: ...
    def mknod(self, path: str, mode: int, device: int) -> None: ...
    def rmdir(self, path: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def link(self, old: str, new: str) -> None: ...
    def symlink(self, target: str, path: str) -> None: ...
    def readlink(self, path: str) -> str: ...
    def chmod(self, path: str, mode: int) -> None: ...
    def chown(self, path: str, uid: int, gid: int) -> None: ...
    def utimens(self, path: str, accessed: int, modified: int) -> None: ...
    def statfs(self) -> dict[str, int]: ...
    def abandon(self) -> None: ...


@dataclass
class OpenFile:
    """What is needed to open a file again.

    A file is opened once, however many descriptors there are: to the server all of them are one state, which the first
    close would end for the others.
    """

    path: str
    flags: int
    handle: Any = None  # None: it could not be opened again
    users: int = 0
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    pending_bytes: int = 0
    failure: int = 0  # an error of data that had been accepted; told at the next flush or fsync

    def forget_pending(self) -> None:
        """Everything so far is on the server's disk."""
        self.pending.clear()
        self.pending_bytes = 0


class Client:
    """The export, as seen by a program that does not want to know about servers.

    Args:
        connect: makes a connection, or raises Unreachable or Refused.
        wanted: whether somebody still wants us to wait; asked while a server is waited for.
        sleep, clock: replaced by tests.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        wanted: Callable[[], bool] = lambda: True,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, self._wanted, self._sleep, self._clock = connect, wanted, sleep, clock
        self._guard = threading.RLock()
        self._connection: Connection | None = None
        self._files: dict[str, OpenFile] = {}  # by path
        self._numbers: dict[int, OpenFile] = {}
        self._number = 0

    # -- the connection

    def start(self) -> None:
        """Connect for the first time; a server that does not answer is an error here."""
        self._connection = self._connect()

    def call(self, action: Callable[[Connection], Result], forgive: int = 0) -> Result | None:
        """Do something on the server, however often it has to be asked.

        Args:
            action: what to do.
            forgive: an error that only says that an earlier attempt, whose answer was lost, had succeeded.
        """
        with self._guard:
            states, losses = 0, 0
            while True:
                connection = self._connected()
                try:
                    return action(connection)
                except Busy:
                    self._pause(1.0)
                except Lost as error:
                    self._drop(error)
                    if error.state:
                        states += 1
                        if states >= STATE_TRIES:
                            raise
                    else:
                        losses += 1
                    # The first time at once: mostly, the server was only restarted.
                    self._pause(min(0.5 * (states + losses - 1), 3.0))
                except NfsError as error:
                    if losses and forgive and error.errno == forgive:
                        return None
                    raise

    def _drop(self, error: Lost) -> None:
        if self._connection is not None:
            LOG.info("new connection: %s", error.strerror)
            self._connection.abandon()
            self._connection = None
        for file in self._files.values():
            file.handle = None

    def _connected(self) -> Connection:
        """Return the connection; make a new one if there is none, and wait for the server as long as that takes."""
        began, told, pause = self._clock(), False, 0.5
        while self._connection is None:
            try:
                self._adopt(self._connect())
            except Unreachable as error:
                if not told:
                    LOG.warning("%s; operations wait until it answers", error)
                    told = True
                self._pause(pause)
                pause = min(pause * 1.5, 3.0)
            except Refused as error:
                LOG.error("%s", error)
                raise NfsError(errno.ESTALE, str(error)) from error
        if told:
            LOG.warning("the server answers again, after %.0f s", self._clock() - began)
        return self._connection

    def _adopt(self, connection: Connection) -> None:
        """Open every file again on a new connection and send again what may have been lost."""
        try:
            for file in self._files.values():
                self._reopen(connection, file)
        except Lost as error:
            connection.abandon()
            raise Unreachable(f"the server went away again ({error.strerror})") from error
        self._connection = connection

    def _reopen(self, connection: Connection, file: OpenFile) -> None:
        while True:
            try:
                file.handle = connection.open(file.path, file.flags)
                for offset, data in file.pending:
                    self._write_all(connection, file.handle, data, offset)
                return
            except Busy:
                self._pause(1.0)
            except Lost:
                raise
            except NfsError as error:
                LOG.error("%s could not be opened again: %s", file.path, error.strerror)
                if file.pending:
                    file.failure = errno.EIO
                    file.forget_pending()
                file.handle = None
                return

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the moment when nobody wants us to any more."""
        end = self._clock() + seconds
        while True:
            if not self._wanted():
                raise NfsError(errno.EIO, "the mount is being taken away")
            left = end - self._clock()
            if left <= 0:
                return
            self._sleep(min(left, PAUSE))

    # -- open files

    def _file(self, number: int) -> OpenFile:
        try:
            return self._numbers[number]
        except KeyError:
            raise NfsError(errno.EBADF, "no such open file") from None

    def _handle(self, file: OpenFile) -> Any:
        if file.handle is None:
            raise NfsError(errno.ESTALE, f"{file.path} is gone")
        return file.handle

    def _remember(self, file: OpenFile) -> int:
        self._number += 1
        self._numbers[self._number] = self._files[file.path] = file
        file.users += 1
        return self._number

    def open(self, path: str, flags: int) -> int:
        """Open a file that exists; returns its number."""
        with self._guard:
            access, file = flags & os.O_ACCMODE, self._files.get(path)
            if file is None or file.handle is None:
                handle = self.call(lambda connection: connection.open(path, access))
                return self._remember(OpenFile(path, access, handle))
            if file.flags not in (access, os.O_RDWR):
                self._upgrade(file)
            return self._remember(file)

    def _upgrade(self, file: OpenFile) -> None:
        """Open a file for reading and writing that was open for one of them."""

        def again(connection: Connection) -> None:
            file.handle = connection.open(file.path, os.O_RDWR)

        self.call(again)
        file.flags = os.O_RDWR

    def create(self, path: str, flags: int, mode: int) -> int:
        """Make a file and open it."""
        with self._guard:
            access = os.O_RDWR if flags & os.O_ACCMODE == os.O_RDONLY else flags & os.O_ACCMODE
            exclusive = flags & os.O_EXCL
            try:
                handle = self.call(
                    lambda connection: connection.create(path, access | exclusive, mode), forgive=errno.EEXIST
                )
            except NfsError as error:
                # Somebody else made it since the kernel looked. Only who asked for a new file is to hear of that.
                if error.errno != errno.EEXIST or exclusive:
                    raise
                return self.open(path, access)
            if handle is not None:
                self._close(path, handle)
            # libnfs makes every file exclusively, and over NFSv4.0 that leaves the mode to the server, and a random number
            # in the times. Both are set by name, which an open file would not survive.
            now = time.time_ns()
            self.call(lambda connection: connection.utimens(path, now, now))
            self.call(lambda connection: connection.chmod(path, mode))
            return self.open(path, access)

    def _close(self, path: str, handle: Any) -> None:
        """Close on the server. One that is gone has forgotten the file, so it is not waited for."""
        try:
            if self._connection is not None:
                self._connection.close(handle)
        except Lost as error:
            self._drop(error)
        except NfsError as error:
            LOG.info("close of %s: %s", path, error.strerror)

    def read(self, number: int, size: int, offset: int) -> bytes:
        """Read; less than asked for only at the end of the file."""
        with self._guard:
            file = self._file(number)
            parts: list[bytes] = []
            while size > 0:
                wanted, place = size, offset
                part = self.call(lambda connection: connection.read(self._handle(file), wanted, place))  # noqa: B023
                if not part:
                    break
                parts.append(part)
                size -= len(part)
                offset += len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, number: int, data: bytes, offset: int) -> int:
        """Write all of it."""
        with self._guard:
            file = self._file(number)
            self.call(lambda connection: self._write_all(connection, self._handle(file), data, offset))
            file.pending.append((offset, data))
            file.pending_bytes += len(data)
            if file.pending_bytes >= PENDING_BYTES:
                self.commit(number)
            return len(data)

    @staticmethod
    def _write_all(connection: Connection, handle: Any, data: bytes, offset: int) -> None:
        done = 0
        while done < len(data):
            count = connection.write(handle, data[done:] if done else data, offset + done)
            if count <= 0:
                raise NfsError(errno.EIO, "the server wrote nothing")
            done += count

    def commit(self, number: int) -> None:
        """Have everything that was written put on the server's disk."""
        with self._guard:
            self._commit(self._file(number))

    def _commit(self, file: OpenFile) -> None:
        if file.pending:
            # After a restart of the server in between, the new connection has sent everything again first.
            self.call(lambda connection: connection.commit(self._handle(file)))
            file.forget_pending()
        if file.failure:
            failure, file.failure = file.failure, 0
            raise NfsError(failure, "data could not be written again after the server was gone")

    def release(self, number: int) -> None:
        """Forget an open file."""
        with self._guard:
            file = self._numbers.pop(number, None)
            if file is None:
                return
            file.users -= 1
            if file.users:
                return
            if self._files.get(file.path) is file:
                del self._files[file.path]
            if file.handle is not None:
                self._close(file.path, file.handle)

    def release_all(self) -> None:
        """Before the end: close what is open, without waiting."""
        for number in list(self._numbers):
            self.release(number)

    # -- names

    def renamed(self, old: str, new: str) -> None:
        """Follow files that are open: they are opened again by name."""
        with self._guard:
            for path, file in list(self._files.items()):
                if path == old or path.startswith(old.rstrip("/") + "/"):
                    del self._files[path]
                    file.path = new + path[len(old) :]
                    self._files[file.path] = file

    # Changes of a file that is open go through its handle: by name, libnfs would open and close the file for them, and the
    # server would take that close for ours.

    def truncate(self, path: str, length: int) -> None:
        """Set the length of a file; what was written beyond it must not come back with a new connection."""
        with self._guard:
            file = self._files.get(path)
            if file is None or file.handle is None:
                self.call(lambda connection: connection.truncate(path, length))
                return
            self._commit(file)
            if file.flags == os.O_RDONLY:
                self._upgrade(file)
            self.call(lambda connection: connection.truncate_open(self._handle(file), length))

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode."""
        with self._guard:
            file = self._files.get(path)
            if file is None or file.handle is None:
                self._by_name(lambda connection: connection.chmod(path, mode))
            else:
                self.call(lambda connection: connection.chmod_open(self._handle(file), mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set the owners; -1 leaves one as it is, which NFS has no word for.

        Never by name: libnfs 5 then changes the owner of the directory that the file is in. So files are opened for it, and a
        directory is given away by naming something in it that is not there. A link keeps its owners.
        """
        with self._guard:
            now = self.call(lambda connection: connection.lstat(path)) or {}
            uid, gid = now["st_uid"] if uid == -1 else uid, now["st_gid"] if gid == -1 else gid
            if (uid, gid) == (now["st_uid"], now["st_gid"]):
                return
            if stat.S_ISDIR(now["st_mode"]):
                self._chown_directory(path, uid, gid)
                return
            if not stat.S_ISREG(now["st_mode"]):
                raise NfsError(errno.EOPNOTSUPP, "only files and directories can be given to another owner")
            file = self._files.get(path)

            def change(connection: Connection) -> None:
                if file is not None:
                    connection.chown_open(self._handle(file), uid, gid)
                    return
                handle = connection.open(path, os.O_RDONLY)
                try:
                    connection.chown_open(handle, uid, gid)
                finally:
                    self._close(path, handle)

            self.call(change)

    def _chown_directory(self, path: str, uid: int, gid: int) -> None:
        def change(connection: Connection) -> None:
            try:
                connection.chown(f"{path.rstrip('/')}/{NOTHING}", uid, gid)
            except NfsError as error:
                if error.errno != errno.ENOENT:
                    raise
                connection.chown(path, uid, gid)  # this libnfs means what it is told

        self._by_name(change)
        now = self.call(lambda connection: connection.lstat(path)) or {}
        if (now["st_uid"], now["st_gid"]) != (uid, gid):
            raise NfsError(errno.EOPNOTSUPP, "this libnfs cannot give a directory to another owner")

    def utimens(self, path: str, accessed: int, modified: int) -> None:
        """Set the times. libnfs can do that by name only, so an open file has to be opened again."""
        with self._guard:
            file = self._files.get(path)
            if file is not None:
                self._commit(file)
            else:
                now = self.call(lambda connection: connection.lstat(path)) or {}
                if stat.S_ISLNK(now["st_mode"]):
                    # libnfs would set those of the file that the link leads to.
                    raise NfsError(errno.EOPNOTSUPP, "the times of a link cannot be set")

            def change(connection: Connection) -> None:
                connection.utimens(path, accessed, modified)
                if file is not None and file.handle is not None:
                    file.handle = connection.open(path, file.flags)

            self._by_name(change)

    def _by_name(self, action: Callable[[Connection], None]) -> None:
        """Change an attribute by name. libnfs 4 opens what it changes, which a directory cannot be."""
        try:
            self.call(action)
        except NfsError as error:
            if error.errno != errno.EISDIR:
                raise
            raise NfsError(errno.EOPNOTSUPP, "libnfs 4 cannot change a directory") from error
