# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, the translation of libnfs, the operations of FUSE, and the start."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake import Server

from pantheon_nfs_fuse import __main__ as program
from pantheon_nfs_fuse import binding
from pantheon_nfs_fuse.client import Busy, Client, Lost, NfsError
from pantheon_nfs_fuse.filesystem import Filesystem
from pantheon_nfs_fuse.options import UsageError, parse

PRODUCTION = (
    "vers=4.2,proto=tcp,hard,noatime,nconnect=4,rsize=1048576,wsize=1048576,_netdev,nofail,x-systemd.automount,"
    "x-systemd.mount-timeout=30s,x-systemd.requires=network-online.target"
)


def test_a_line_for_the_kernel_is_taken_as_it_is() -> None:
    settings = parse(["nas:/mnt/tank/models/", "/models", "-o", f"ro,{PRODUCTION}", "-t", "fuse.pantheon-nfs"])
    assert (settings.server, settings.export, settings.mountpoint) == ("nas", "/mnt/tank/models", "/models")
    assert (settings.read_only, settings.kernel, settings.warnings) == (True, ("noatime",), ())
    assert settings.source == "nas:/mnt/tank/models"


def test_options_of_ours() -> None:
    settings = parse(
        ["[fd00::1]:/x", "/m", "-o", "rw,uid=950,gid=951,port=3049,actimeo=60,timeo=600", "-o", "exec", "-d"]
    )
    assert (settings.uid, settings.gid, settings.port, settings.attributes) == (950, 951, 3049, 60.0)
    assert (settings.server, settings.source, settings.timeout) == ("fd00::1", "[fd00::1]:/x", 30.0)
    assert (settings.foreground, settings.fake, settings.read_only) == (True, False, False)
    assert parse(["nas:/x", "/m", "-fo", "noac"][:2] + ["-o", "noac", "-f"]).attributes == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nas", "/m"], "'nas' is not an export"),
        (["nas:x", "/m"], "is not an export"),
        (["nas:/x"], "a source and a mountpoint are wanted"),
        (["nas:/x", "/m", "-o"], "-o needs a value"),
        (["nas:/x", "/m", "-q"], "unknown flag -q"),
        (["nas:/x", "/m", "-o", "vers=3"], "only NFSv4 is spoken here"),
        (["nas:/x", "/m", "-o", "sec=krb5p"], "only sec=sys is spoken here"),
        (["nas:/x", "/m", "-o", "xprtsec=tls"], "TLS is not spoken here"),
        (["nas:/x", "/m", "-o", "uid=root"], "option uid=root: a number between 0"),
        (["nas:/x", "/m", "-o", "port=0"], "a number between 1 and 65535"),
    ],
)
def test_what_must_not_be_dropped_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        parse(arguments)
    assert program.main(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_soft_and_unknown_options_are_said() -> None:
    warnings = parse(["nas:/x", "/m", "-o", "soft,colour=blue"]).warnings
    assert warnings == (
        "option soft is not followed: operations wait for the server, as with hard",
        "option colour=blue is not known here and dropped",
    )


@pytest.mark.parametrize(
    ("result", "text", "kind", "number"),
    [
        (-34, "NFS4: (path /) failed with NFS4ERR_EXPIRED(-5)", Lost, errno.EIO),
        (-22, "WRITE failed with NFS4ERR_BAD_STATEID(-22)", Lost, errno.EIO),
        (-34, "something new", Lost, errno.EIO),
        (-5, "", Lost, errno.EIO),
        (-4, "Command timed out", Lost, errno.EIO),
        (-1, "nfs_x_async failed", Lost, errno.EIO),
        (-34, "failed with NFS4ERR_GRACE(-5)", Busy, errno.EAGAIN),
        (-2, "failed with NFS4ERR_NOENT(-2)", NfsError, errno.ENOENT),
        (-34, "failed with NFS4ERR_FILE_OPEN(-22)", NfsError, errno.EBUSY),
        (-30, "failed with NFS4ERR_ROFS(-30)", NfsError, errno.EROFS),
        (-1, "failed with NFS4ERR_PERM(-1)", NfsError, errno.EPERM),
        (-22, "Insufficient ACCESS. Wanted 1 but got 0.", NfsError, errno.EACCES),
        (-1, "ZDR error: Failed to encode COMPOUND4args", NfsError, errno.EIO),
    ],
)
def test_results_of_libnfs_mean_something(result: int, text: str, kind: type, number: int) -> None:
    error = binding.translate(result, text)
    assert (type(error), error.errno) == (kind, number)


def test_a_lease_counts_as_an_answer_and_silence_does_not() -> None:
    lease, silence = binding.translate(-34, "NFS4ERR_EXPIRED"), binding.translate(-5, "closed")
    assert isinstance(lease, Lost)
    assert isinstance(silence, Lost)
    assert (lease.state, silence.state) == (True, False)


class Function:
    """A function of a C library that remembers what it was called with."""

    def __init__(self) -> None:
        self.restype: Any = None
        self.argtypes: Any = None
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> int:
        self.calls.append(arguments)
        return 3


class C:
    """A library that has every function."""

    def __getattr__(self, name: str) -> Function:
        function = Function()
        setattr(self, name, function)
        return function


@pytest.mark.parametrize("buffer_first", [True, False])
def test_the_order_of_arguments_follows_the_version(buffer_first: bool) -> None:
    library = binding.Library(C(), buffer_first, 3)
    library.pread("context", "handle", "buffer", 10, 20)
    library.pwrite("context", "handle", b"abcdef", 20)
    middle = [("buffer", 10, 20), (b"abc", 3, 20)] if buffer_first else [(20, 10, "buffer"), (20, 3, b"abc")]
    assert library.nfs_pread.calls == [("context", "handle", *middle[0])]
    assert library.nfs_pwrite.calls == [("context", "handle", *middle[1])]
    assert library.nfs_pread.argtypes[2] is (ctypes.c_void_p if buffer_first else ctypes.c_uint64)


def test_no_libnfs_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "LIBRARIES", (("libnfs-that-is-not-there.so.1", False, 1),))
    with pytest.raises(binding.LibraryMissing, match="Install libnfs13"):
        binding.load()


@pytest.fixture
def server() -> Server:
    return Server()


def mounted(server: Server, read_only: bool = False) -> Filesystem:
    client = Client(server.connect)
    client.start()
    return Filesystem(client, read_only)


def test_operations_of_fuse(server: Server) -> None:
    system = mounted(server)
    info = SimpleNamespace(flags=os.O_RDWR, fh=0)
    system("create", "/a", 0o644, info)
    assert system("write", "/a", b"abc", 0, info) == 3
    assert system("flush", "/a", info) == 0
    assert bytes(server.files["/a"].disk) == b"abc", "a close has to reach the disk of the server"
    assert system("getattr", "/a")["st_size"] == 3
    assert [(name, attributes and attributes["st_ino"]) for name, attributes, _ in system("readdir", "/", 0)] == [
        (".", None), ("..", None), ("a", 0xFFFFFFFF),
    ]  # fmt: skip
    system("rename", "/a", "/b")
    assert system("read", "/b", 9, 0, info) == b"abc"
    system("release", "/b", info)
    system("unlink", "/b")
    with pytest.raises(OSError, match="NOENT"):
        system("getattr", "/b")
    with pytest.raises(NfsError) as caught:
        system("mknod", "/pipe", 0o010644, 0)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_read_only_mount_refuses_every_change(server: Server) -> None:
    writer = mounted(server)
    info = SimpleNamespace(flags=os.O_RDWR, fh=0)
    writer.create("/a", 0o644, info)
    system = mounted(server, read_only=True)
    before = len(server.calls)
    changes: list[tuple[Any, ...]] = [
        ("create", "/n", 0o644, info), ("open", "/a", info), ("write", "/a", b"x", 0, info), ("truncate", "/a", 0),
        ("mkdir", "/n", 0o755), ("mknod", "/n", 0o644, 0), ("rmdir", "/a"), ("unlink", "/a"), ("rename", "/a", "/b"),
        ("link", "/b", "/a"), ("symlink", "/b", "/a"), ("chmod", "/a", 0), ("chown", "/a", 1, 1), ("utimens", "/a", None),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(NfsError) as caught:
            system(*change)
        assert caught.value.errno == errno.EROFS, change[0]
    assert len(server.calls) == before
    info.flags = os.O_RDONLY
    assert system.open("/a", info) == 0


def test_what_somebody_makes_belongs_to_him(server: Server) -> None:
    client = Client(server.connect)
    client.start()
    system = Filesystem(client, False, caller=lambda: (999, 998))
    info = SimpleNamespace(flags=os.O_RDWR, fh=0)
    system("create", "/a", 0o640, info)
    system("write", "/a", b"abc", 0, info)
    system("flush", "/a", info)
    system("mkdir", "/d", 0o750)
    assert (server.files["/a"].owner, server.files["/d"].owner) == ((999, 998), (999, 998))
    assert bytes(server.files["/a"].disk) == b"abc"


def test_what_does_not_exist_is_not_an_operation(server: Server) -> None:
    system = mounted(server)
    for name in ("lock", "getxattr", "setxattr", "access", "ioctl"):
        assert not hasattr(system, name), f"fusepy would take {name} for the operation of that name"


def test_the_own_mount_is_found_in_the_list_of_the_kernel(tmp_path: Path) -> None:
    settings = parse(["nas:/x", "/srv/my models"])
    table = tmp_path / "mountinfo"
    table.write_text("9 1 0:9 / /srv/my\\040models rw - fuse.pantheon-nfs nas:/x rw\n")
    assert program.is_mounted(settings, str(table))
    table.write_text("9 1 0:9 / /srv/my\\040models rw - autofs systemd-1 rw\n")
    assert not program.is_mounted(settings, str(table))


def test_a_start_that_fails_says_why_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Any, ready: Any) -> None:
        raise program.Refused("the server has no such export")

    monkeypatch.setattr(program, "serve", fail)
    for flags in ([], ["-d"]):
        assert program.main(["nas:/x", "/m", *flags]) == 1
        assert "mount.fuse.pantheon-nfs: nas:/x on /m: the server has no such export" in capfd.readouterr().err


def test_the_caller_returns_when_the_mount_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "serve", lambda settings, ready: ready())
    assert program.main(["nas:/x", "/m"]) == 0
    assert program.main(["nas:/x", "/m", "-f", "-d"]) == 0
