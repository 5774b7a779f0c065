# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's libnfs through ctypes: one context is one connection."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import socket
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from .client import Attributes, Busy, Connection, Entry, Lost, NfsError, Refused, Unreachable
from .options import Settings

#: File name of the library, whether pread and pwrite take the buffer first (changed in libnfs 6), and how much one write may
#: hold: libnfs 4 (libnfs13) has 4 KiB for a whole request.
LIBRARIES = (
    ("libnfs.so.14", False, 1 << 20),
    ("libnfs.so.13", False, 3072),
    ("libnfs.so.16", True, 1 << 20),
    ("libnfs.so.17", True, 1 << 20),
)
PACKAGES = "libnfs13 (Debian 12) or libnfs14 (Debian 13)"
CONNECT_SECONDS = 5.0

# A path is bytes to the server. Latin-1 carries every byte as one character, so names that are not UTF-8 work as well.
ENCODING = "latin-1"

_STATE = frozenset([
    "EXPIRED", "STALE_CLIENTID", "STALE_STATEID", "BAD_STATEID", "OLD_STATEID", "BAD_SEQID", "ADMIN_REVOKED",
    "LEASE_MOVED", "STALE", "FHEXPIRED", "BADHANDLE", "WRONGSEC", "MOVED",
])  # fmt: skip
_BUSY = frozenset(["DELAY", "GRACE", "RESOURCE"])
#: libnfs turns what version 3 does not know into ERANGE, and a few into wrong numbers: the name in its message is right.
_NUMBERS = {
    "PERM": errno.EPERM, "NOENT": errno.ENOENT, "IO": errno.EIO, "NXIO": errno.ENXIO, "ACCESS": errno.EACCES,
    "EXIST": errno.EEXIST, "XDEV": errno.EXDEV, "NOTDIR": errno.ENOTDIR, "ISDIR": errno.EISDIR, "INVAL": errno.EINVAL,
    "FBIG": errno.EFBIG, "NOSPC": errno.ENOSPC, "ROFS": errno.EROFS, "MLINK": errno.EMLINK, "NOTEMPTY": errno.ENOTEMPTY,
    "NAMETOOLONG": errno.ENAMETOOLONG, "DQUOT": errno.EDQUOT, "STALE": errno.ESTALE, "NOTSUPP": errno.EOPNOTSUPP,
    "ATTRNOTSUPP": errno.EOPNOTSUPP, "SHARE_DENIED": errno.EACCES, "DENIED": errno.EAGAIN, "LOCKED": errno.EAGAIN,
    "SYMLINK": errno.ELOOP, "BADNAME": errno.EINVAL, "BADCHAR": errno.EINVAL, "BADOWNER": errno.EINVAL,
    "FILE_OPEN": errno.EBUSY, "OPENMODE": errno.EACCES, "BADTYPE": errno.EINVAL, "WRONG_TYPE": errno.EINVAL,
    "EXPIRED": errno.EIO,
}  # fmt: skip
_STATUS = re.compile(r"NFS4ERR_([A-Z0-9_]+)")


class _Stat(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks",
            "atime", "mtime", "ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used",
        )
    ]  # fmt: skip


class _Time(Structure):
    _fields_ = [("sec", c_int64), ("usec", c_int64)]


class _Dirent(Structure):
    pass


_Dirent._fields_ = [
    ("next", POINTER(_Dirent)), ("name", c_char_p), ("inode", c_uint64), ("type", c_uint32), ("mode", c_uint32),
    ("size", c_uint64), ("atime", _Time), ("mtime", _Time), ("ctime", _Time), ("uid", c_uint32), ("gid", c_uint32),
    ("nlink", c_uint32), ("dev", c_uint64), ("rdev", c_uint64), ("blksize", c_uint64), ("blocks", c_uint64),
    ("used", c_uint64), ("atime_nsec", c_uint32), ("mtime_nsec", c_uint32), ("ctime_nsec", c_uint32),
]  # fmt: skip


class _Statvfs(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "fsid", "flag", "namemax",
        )
    ]  # fmt: skip


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "nfs_init_context": (c_void_p, ()),
    "nfs_get_error": (c_char_p, (c_void_p,)),
    "nfs_get_fd": (c_int, (c_void_p,)),
    "nfs_set_version": (c_int, (c_void_p, c_int)),
    "nfs_set_uid": (None, (c_void_p, c_int)),
    "nfs_set_gid": (None, (c_void_p, c_int)),
    "nfs_set_autoreconnect": (None, (c_void_p, c_int)),
    "nfs_set_timeout": (None, (c_void_p, c_int)),
    "nfs_set_dircache": (None, (c_void_p, c_int)),
    "nfs4_set_client_name": (None, (c_void_p, c_char_p)),
    "nfs4_set_verifier": (None, (c_void_p, c_char_p)),
    "nfs_parse_url_dir": (c_void_p, (c_void_p, c_char_p)),
    "nfs_destroy_url": (None, (c_void_p,)),
    "nfs_mount": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_lstat64": (c_int, (c_void_p, c_char_p, POINTER(_Stat))),
    "nfs_opendir": (c_int, (c_void_p, c_char_p, POINTER(c_void_p))),
    "nfs_readdir": (POINTER(_Dirent), (c_void_p, c_void_p)),
    "nfs_closedir": (None, (c_void_p, c_void_p)),
    "nfs_open": (c_int, (c_void_p, c_char_p, c_int, POINTER(c_void_p))),
    "nfs_open2": (c_int, (c_void_p, c_char_p, c_int, c_int, POINTER(c_void_p))),
    "nfs_close": (c_int, (c_void_p, c_void_p)),
    "nfs_fsync": (c_int, (c_void_p, c_void_p)),
    "nfs_truncate": (c_int, (c_void_p, c_char_p, c_uint64)),
    "nfs_ftruncate": (c_int, (c_void_p, c_void_p, c_uint64)),
    "nfs_fchmod": (c_int, (c_void_p, c_void_p, c_int)),
    "nfs_fchown": (c_int, (c_void_p, c_void_p, c_int, c_int)),
    "nfs_chown": (c_int, (c_void_p, c_char_p, c_int, c_int)),
    "nfs_mkdir2": (c_int, (c_void_p, c_char_p, c_int)),
    "nfs_mknod": (c_int, (c_void_p, c_char_p, c_int, c_int)),
    "nfs_rmdir": (c_int, (c_void_p, c_char_p)),
    "nfs_unlink": (c_int, (c_void_p, c_char_p)),
    "nfs_rename": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_link": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_symlink": (c_int, (c_void_p, c_char_p, c_char_p)),
    "nfs_readlink": (c_int, (c_void_p, c_char_p, c_char_p, c_int)),
    "nfs_lchmod": (c_int, (c_void_p, c_char_p, c_int)),
    "nfs_lutimes": (c_int, (c_void_p, c_char_p, POINTER(_Time))),
    "nfs_statvfs64": (c_int, (c_void_p, c_char_p, POINTER(_Statvfs))),
}
_OFFSET_FIRST = (c_void_p, c_void_p, c_uint64, c_uint64, c_void_p)
_BUFFER_FIRST = (c_void_p, c_void_p, c_void_p, c_size_t, c_uint64)


class LibraryMissing(Exception):
    """There is no usable libnfs."""


class Library:
    """The functions of libnfs, with the differences between its versions taken out."""

    def __init__(self, handle: Any, buffer_first: bool, write_most: int) -> None:
        self.handle, self.buffer_first, self.write_most = handle, buffer_first, write_most
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(handle, name)
            function.restype, function.argtypes = result, arguments
        for name in ("nfs_pread", "nfs_pwrite"):
            function = getattr(handle, name)
            function.restype, function.argtypes = c_int, _BUFFER_FIRST if buffer_first else _OFFSET_FIRST

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)

    def pread(self, context: Any, handle: Any, buffer: Any, count: int, offset: int) -> int:
        """Read into a buffer; the order of the arguments depends on the version."""
        if self.buffer_first:
            return int(self.handle.nfs_pread(context, handle, buffer, count, offset))
        return int(self.handle.nfs_pread(context, handle, offset, count, buffer))

    def pwrite(self, context: Any, handle: Any, data: bytes, offset: int) -> int:
        """Write bytes, or the first part of them."""
        data = data[: self.write_most]
        if self.buffer_first:
            return int(self.handle.nfs_pwrite(context, handle, data, len(data), offset))
        return int(self.handle.nfs_pwrite(context, handle, offset, len(data), data))


def load() -> Library:
    """Load libnfs."""
    for name, buffer_first, write_most in LIBRARIES:
        with contextlib.suppress(OSError):
            return Library(ctypes.CDLL(name), buffer_first, write_most)
    raise LibraryMissing(f"libnfs is not there. Install {PACKAGES}.")


def translate(result: int, text: str) -> NfsError:
    """Turn a negative result and its message into what has to be done about it.

    libnfs returns the numbers of NFS version 3: what only version 4 has, an expired lease above all, comes as -34 (ERANGE).
    """
    found = _STATUS.search(text)
    if found:
        status = found.group(1)
        number = _NUMBERS.get(status, errno.EIO)
        if status in _BUSY:
            return Busy(errno.EAGAIN, text)
        if status in _STATE:
            return Lost(number, text, state=True)
        return NfsError(number, text)
    if "Failed to encode" in text:
        # A request that does not fit will not fit the next time either.
        return NfsError(errno.EIO, text)
    if "Insufficient ACCESS" in text:
        return NfsError(errno.EACCES, text)
    number = -result if 0 < -result < 200 else errno.EIO
    if number == errno.ERANGE:
        return Lost(errno.EIO, text, state=True)
    if result == -1:
        # Not even sent. If that is not because of the connection, it will not be the next time either.
        return Lost(errno.EIO, text, state=True)
    # Without a status there was no answer: timed out (EINTR), connection closed (EIO, EFAULT).
    if number in (errno.EINTR, errno.EIO, errno.EFAULT, errno.ETIMEDOUT, errno.ENOMEM):
        return Lost(errno.EIO, f"the connection was lost ({text})" if text else "the connection was lost")
    return NfsError(number, text)


class Context:
    """One connection to the server, with its own client id."""

    def __init__(self, library: Library, context: Any) -> None:
        self._library, self._context = library, context

    def abandon(self) -> None:
        """Give the connection up.

        The context is not destroyed: calls that were cut off have left pointers into stack frames that are gone, and libnfs
        would write to them. What leaks is small, and only after the server was away.
        """
        descriptor = int(self._library.nfs_get_fd(self._context))
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _check(self, result: int) -> int:
        if result < 0:
            raise translate(result, (self._library.nfs_get_error(self._context) or b"").decode(errors="replace"))
        return result

    def lstat(self, path: str) -> Attributes:
        """Attributes of a name; links are not followed."""
        stat = _Stat()
        self._check(self._library.nfs_lstat64(self._context, path.encode(ENCODING), byref(stat)))
        return {
            "st_ino": stat.ino, "st_mode": stat.mode, "st_nlink": stat.nlink, "st_uid": stat.uid, "st_gid": stat.gid,
            "st_rdev": stat.rdev, "st_size": stat.size, "st_blocks": -(-stat.used // 512),
            "st_atime": stat.atime * 10**9 + stat.atime_nsec,
            "st_mtime": stat.mtime * 10**9 + stat.mtime_nsec,
            "st_ctime": stat.ctime * 10**9 + stat.ctime_nsec,
        }  # fmt: skip

    def readdir(self, path: str) -> list[Entry]:
        """Names in a directory, with attributes."""
        library, found = self._library, c_void_p()
        self._check(library.nfs_opendir(self._context, path.encode(ENCODING), byref(found)))
        entries: list[Entry] = []
        try:
            while True:
                entry = library.nfs_readdir(self._context, found)
                if not entry:
                    return entries
                item = entry.contents
                name = item.name.decode(ENCODING)
                if name in (".", ".."):
                    continue
                # The mode comes without the kind of file in it.
                mode = item.mode if item.mode & 0o170000 else item.mode | _KINDS.get(item.type, 0)
                entries.append((name, {
                    # Not item.inode: over version 4 libnfs does not set it.
                    "st_ino": 0, "st_mode": mode, "st_nlink": item.nlink, "st_uid": item.uid,
                    "st_gid": item.gid, "st_rdev": item.rdev, "st_size": item.size, "st_blocks": -(-item.used // 512),
                    "st_atime": item.atime.sec * 10**9 + item.atime_nsec,
                    "st_mtime": item.mtime.sec * 10**9 + item.mtime_nsec,
                    "st_ctime": item.ctime.sec * 10**9 + item.ctime_nsec,
                }))  # fmt: skip
        finally:
            library.nfs_closedir(self._context, found)

    def open(self, path: str, flags: int) -> Any:
        """Open a file that exists."""
        handle = c_void_p()
        self._check(self._library.nfs_open(self._context, path.encode(ENCODING), flags, byref(handle)))
        return handle

    def create(self, path: str, flags: int, mode: int) -> Any:
        """Make a file. Not nfs_creat: over version 4 that one opens it without the right to write."""
        handle, name = c_void_p(), path.encode(ENCODING)
        self._check(self._library.nfs_open2(self._context, name, flags | os.O_CREAT, mode & 0o7777, byref(handle)))
        return handle

    def read(self, handle: Any, size: int, offset: int) -> bytes:
        """Read up to size bytes."""
        buffer = ctypes.create_string_buffer(size)
        count = self._check(self._library.pread(self._context, handle, buffer, size, offset))
        return buffer.raw if count == size else buffer.raw[:count]

    def write(self, handle: Any, data: bytes, offset: int) -> int:
        """Write; returns how much the server took."""
        return self._check(self._library.pwrite(self._context, handle, data, offset))

    def commit(self, handle: Any) -> None:
        """Have the server put on disk what was written."""
        self._check(self._library.nfs_fsync(self._context, handle))

    def close(self, handle: Any) -> None:
        """Close a file."""
        self._check(self._library.nfs_close(self._context, handle))

    def truncate(self, path: str, length: int) -> None:
        """Set the length of a file."""
        self._check(self._library.nfs_truncate(self._context, path.encode(ENCODING), length))

    def truncate_open(self, handle: Any, length: int) -> None:
        """Set the length of an open file."""
        self._check(self._library.nfs_ftruncate(self._context, handle, length))

    def chmod_open(self, handle: Any, mode: int) -> None:
        """Set the mode of an open file."""
        self._check(self._library.nfs_fchmod(self._context, handle, mode & 0o7777))

    def chown_open(self, handle: Any, uid: int, gid: int) -> None:
        """Set both owners of an open file."""
        self._check(self._library.nfs_fchown(self._context, handle, uid, gid))

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        self._check(self._library.nfs_mkdir2(self._context, path.encode(ENCODING), mode & 0o7777))

    def mknod(self, path: str, mode: int, device: int) -> None:
        """Make a device."""
        self._check(self._library.nfs_mknod(self._context, path.encode(ENCODING), mode, device))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        self._check(self._library.nfs_rmdir(self._context, path.encode(ENCODING)))

    def unlink(self, path: str) -> None:
        """Remove a name."""
        self._check(self._library.nfs_unlink(self._context, path.encode(ENCODING)))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step."""
        self._check(self._library.nfs_rename(self._context, old.encode(ENCODING), new.encode(ENCODING)))

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        self._check(self._library.nfs_link(self._context, old.encode(ENCODING), new.encode(ENCODING)))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        self._check(self._library.nfs_symlink(self._context, target.encode(ENCODING), path.encode(ENCODING)))

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads."""
        buffer = ctypes.create_string_buffer(4097)
        self._check(self._library.nfs_readlink(self._context, path.encode(ENCODING), buffer, 4096))
        return buffer.value.decode(ENCODING)

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode."""
        self._check(self._library.nfs_lchmod(self._context, path.encode(ENCODING), mode & 0o7777))

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set both owners by name: up to libnfs 5 those of the directory that the name is in, which need not exist."""
        self._check(self._library.nfs_chown(self._context, path.encode(ENCODING), uid, gid))

    def utimens(self, path: str, accessed: int, modified: int) -> None:
        """Set the times, given in nanoseconds; libnfs takes microseconds."""
        times = (_Time * 2)(*(_Time(*divmod(value // 1000, 10**6)) for value in (accessed, modified)))
        self._check(self._library.nfs_lutimes(self._context, path.encode(ENCODING), times))

    def statfs(self) -> dict[str, int]:
        """Size and free space of the export."""
        found = _Statvfs()
        self._check(self._library.nfs_statvfs64(self._context, b"/", byref(found)))
        return {
            "f_bsize": found.bsize, "f_frsize": found.frsize, "f_blocks": found.blocks, "f_bfree": found.bfree,
            "f_bavail": found.bavail, "f_files": found.files, "f_ffree": found.ffree, "f_favail": found.ffree,
            "f_namemax": 255,
        }  # fmt: skip


#: Kinds of files in the numbers of NFS (nfs_ftype4) and in those of a mode.
_KINDS = {
    1: 0o100000,
    2: 0o040000,
    3: 0o060000,
    4: 0o020000,
    5: 0o120000,
    6: 0o140000,
    7: 0o010000,
}


def client_name(settings: Settings) -> bytes:
    """A name that no other mount has: libnfs' own (process and second) meets itself on machines that boot together."""
    machine = ""
    with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
        machine = file.read().strip()
    return f"pantheon-nfs {os.uname().nodename} {machine} {settings.mountpoint}".encode()[:1000]


def connect(library: Library, settings: Settings) -> Connection:
    """Mount the export."""
    where = f"{settings.server} port {settings.port}"
    try:
        # libnfs waits as long as the kernel tries to reach a machine that is off: minutes.
        socket.create_connection((settings.server, settings.port), CONNECT_SECONDS).close()
    except OSError as error:
        raise Unreachable(f"no NFS server answers at {where} ({error.strerror or error})") from error
    context = library.nfs_init_context()
    if not context:
        raise Unreachable("libnfs has no memory")
    library.nfs_set_version(context, 4)
    library.nfs_set_uid(context, settings.uid)
    library.nfs_set_gid(context, settings.gid)
    # Everything that happens to a connection is dealt with in client.py: libnfs would wait inside a call, where neither the
    # end of the mount nor a signal reaches us.
    library.nfs_set_autoreconnect(context, 0)
    library.nfs_set_timeout(context, int(settings.timeout) * 1000)
    library.nfs_set_dircache(context, 0)
    # The same name with a new verifier tells the server at once that what the old connection held is void.
    library.nfs4_set_client_name(context, client_name(settings))
    library.nfs4_set_verifier(context, secrets.token_hex(4).encode())
    if settings.port != 2049:
        server = f"[{settings.server}]" if ":" in settings.server else settings.server
        url = library.nfs_parse_url_dir(context, f"nfs://{server}/?nfsport={settings.port}".encode())
        if url:
            library.nfs_destroy_url(url)
    made = Context(library, context)
    result = library.nfs_mount(context, settings.server.encode(), settings.export.encode(ENCODING, "replace"))
    if result < 0:
        text = (library.nfs_get_error(context) or b"").decode(errors="replace")
        made.abandon()
        reason = translate(result, text)
        if isinstance(reason, Busy) or (isinstance(reason, Lost) and not reason.state):
            raise Unreachable(f"the NFS server at {where} does not serve yet ({text})") from reason
        raise Refused(
            "the server has no such export, or does not grant it to this machine "
            f"({(_STATUS.search(text) or [text])[0]})"
        ) from reason
    return made
