# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real NFS: the client, libnfs and FUSE of this computer against nfs-ganesha on its loopback.

Needs root, /dev/fuse, and Debian's nfs-ganesha, nfs-ganesha-vfs, python3-fusepy and libnfs13 or libnfs14; skipped without.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pantheon_nfs_fuse import binding

PYTHON = "/usr/bin/python3"  # Debian's own: it has Debian's fusepy
SOURCE = Path(__file__).resolve().parents[1] / "src"
LEASE = 5

CONFIGURATION = """
NFS_CORE_PARAM {{ Protocols = 4; mount_path_pseudo = true; Enable_NLM = false; Enable_RQUOTA = false; NFS_Port = {port};
  Bind_addr = 127.0.0.1; {more} }}
NFSv4 {{ Graceless = true; Lease_Lifetime = {lease}; Only_Numeric_Owners = true; RecoveryBackend = fs; }}
EXPORT_DEFAULTS {{ Access_Type = None; SecType = sys; }}
EXPORT {{ Export_Id = 1; Path = {folder}; Pseudo = /mnt/tank/models; FSAL {{ Name = VFS; }}
  CLIENT {{ Clients = 127.0.0.1; Access_Type = RW; Squash = no_root_squash; }} }}
EXPORT {{ Export_Id = 2; Path = {folder}; Pseudo = /mnt/tank/private; FSAL {{ Name = VFS; }}
  CLIENT {{ Clients = 192.0.2.1; Access_Type = RW; Squash = no_root_squash; }} }}
"""


def missing() -> str:
    """Say what this computer lacks."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    if not shutil.which("ganesha.nfsd"):
        return "needs nfs-ganesha and nfs-ganesha-vfs"
    if subprocess.run([PYTHON, "-c", "import fusepy"], capture_output=True, check=False).returncode:
        return "needs python3-fusepy"
    for name in ("libnfs.so.13", "libnfs.so.14"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            return ""
    return "needs libnfs13 or libnfs14"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing")


class Lab:
    """A server and a client."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.export, self.mountpoint = folder, folder / "export", folder / "mount"
        for path in (self.export, self.mountpoint):
            path.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.server: subprocess.Popen[bytes] | None = None
        self.client: subprocess.Popen[bytes] | None = None
        version = subprocess.run(["ganesha.nfsd", "-v"], capture_output=True, text=True, check=False).stdout
        more = "" if " V4" in version or "= 4." in version else "allow_set_io_flusher_fail = true;"
        text = CONFIGURATION.format(port=self.port, lease=LEASE, folder=self.export, more=more)
        (folder / "ganesha.conf").write_text(text)

    def start(self) -> None:
        log = self.folder / "ganesha.log"
        command = ["ganesha.nfsd", "-F", "-L", str(log), "-f", str(self.folder / "ganesha.conf")]
        self.server = subprocess.Popen(
            [*command, "-p", str(self.folder / "pid"), "-N", "EVENT"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                time.sleep(0.5)  # it listens a moment before it knows its exports
                return
            time.sleep(0.2)
        pytest.skip(f"nfs-ganesha does not start here: {log.read_text()[-300:] if log.exists() else 'no log'}")

    def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def mount(self, export: str = "/mnt/tank/models", options: str = "rw") -> subprocess.CompletedProcess[str]:
        """Mount in the background, as mount(8) does."""
        return subprocess.run(
            [PYTHON, "-m", "pantheon_nfs_fuse", f"127.0.0.1:{export}", str(self.mountpoint),
             "-o", f"{options},port={self.port},vers=4.2,nconnect=4"],
            env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def mounted(self) -> bool:
        return f" {self.mountpoint} " in Path("/proc/self/mountinfo").read_text()

    def end(self) -> None:
        """Nothing may stay, whatever happened: without the client, whoever waits for it is released."""
        for number in self.clients():
            os.kill(number, signal.SIGKILL)
        if self.mounted():
            subprocess.run(["umount", "--lazy", str(self.mountpoint)], check=False, timeout=20)
        self.stop()

    def clients(self) -> list[int]:
        """The client processes of this test."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"pantheon_nfs_fuse" in words and os.fsencode(self.mountpoint) in words:
                    found.append(int(folder.name))
        return found

    def work(self, script: str) -> subprocess.Popen[str]:
        """Start a program that uses the mount; the test itself must never touch it."""
        return subprocess.Popen(
            [PYTHON, "-c", f"import os, time\nos.chdir({str(self.mountpoint)!r})\n{script}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def do(self, script: str) -> str:
        process = self.work(script)
        try:
            output, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.end()
            pytest.fail(f"did not come back:\n{script}")
        assert process.returncode == 0, output
        return output


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    try:
        lab.start()
        yield lab
    finally:
        lab.end()


WORK = """
data = os.urandom(300_000)
open('big', 'wb').write(data)
assert open('big', 'rb').read() == data
assert os.stat('big').st_mode & 0o777 == 0o644
open('a', 'w').write('x')
with open('a', 'a') as f: f.write('yz')
os.rename('a', 'b'); os.symlink('b', 'l'); os.link('b', 'h')
assert open('l').read() == 'xyz' and os.readlink('l') == 'b'
assert os.stat('b').st_ino == os.stat('h').st_ino and os.stat('b').st_nlink == 2
os.chmod('b', 0o750); os.chown('b', 1000, -1); os.utime('b', ns=(10**18 + 5000, 2 * 10**18 + 7000))
s = os.stat('b')
assert (s.st_mode & 0o777, s.st_uid, s.st_gid, s.st_atime_ns, s.st_mtime_ns) == (0o750, 1000, 0, 10**18 + 5000, 2 * 10**18 + 7000)
before = os.stat('.')
os.chown('h', 1001, 1002)
assert (os.stat('h').st_uid, os.stat('h').st_gid) == (1001, 1002)
assert (os.stat('.').st_uid, os.stat('.').st_gid) == (before.st_uid, before.st_gid)
open('empty', 'w').close()
assert abs(os.stat('empty').st_mtime - time.time()) < 60
f = open('big', 'r+b'); f.truncate(5); f.write(b'ab'); f.flush(); os.fsync(f.fileno()); f.close()
assert open('big', 'rb').read()[:2] == b'ab' and os.path.getsize('big') == 5
one = open('two', 'w+'); other = open('two'); one.write('1'); one.flush(); other.close(); one.write('2'); one.flush()
os.utime('two', (5, 5)); os.chmod('two', 0o600); one.write('3'); one.close()
assert open('two').read() == '123'
os.mkdir('d', 0o700)
for i in range(300): open(f'd/{i}', 'w').close()
assert sorted(map(int, os.listdir('d'))) == list(range(300))
assert all(e.is_file() for e in os.scandir('d'))
for i in range(300): os.unlink(f'd/{i}')
os.rmdir('d')
try: os.open('b', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
except FileExistsError: pass
else: raise AssertionError('exclusive')
open(b'\\xff\\xfe', 'w').close()
assert b'\\xff\\xfe' in os.listdir(b'.')
v = os.statvfs('.')
assert v.f_blocks > v.f_bavail > 0 and v.f_namemax == 255
"""


def test_files_links_attributes_and_directories(lab: Lab) -> None:
    done = lab.mount()
    assert (done.returncode, done.stderr) == (0, "")
    line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(lab.mountpoint) in line)
    assert "fuse.pantheon-nfs 127.0.0.1:/mnt/tank/models rw" in line
    assert "default_permissions" in line
    lab.do(WORK)
    assert (lab.export / "two").read_text() == "123"
    assert (lab.export / "b").stat().st_uid == 1001
    assert lab.export.stat().st_uid == 0, "the owner of the directory was changed instead of the file's"
    subprocess.run(["umount", str(lab.mountpoint)], check=True, timeout=20)
    deadline = time.monotonic() + 10
    while lab.clients() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lab.clients() == []


def test_another_user_has_what_he_makes(lab: Lab) -> None:
    """A directory given to him, and in it files and directories of his own, which nobody else reads; as pgBackRest needs it."""
    assert lab.mount().returncode == 0
    lab.do("os.mkdir('e'); os.mkdir('e/his', 0o700)")
    said = lab.do("try: os.chown('e/his', 999, 998)\nexcept OSError as e: print(e.strerror)")
    if said.strip() == "Operation not supported" and binding.load()._name.startswith("libnfs.so.13"):
        pytest.skip("libnfs13 cannot give a directory away, and says so")
    assert ((lab.export / "e").stat().st_uid, (lab.export / "e/his").stat().st_uid) == (0, 999)
    assert lab.export.stat().st_uid == 0
    lab.do(
        "os.setgid(998); os.setuid(999); os.makedirs('e/his/a/b', 0o700); open('e/his/a/b/f.tmp', 'w').write('x' * 9000)\n"
        "os.rename('e/his/a/b/f.tmp', 'e/his/a/b/f'); assert len(open('e/his/a/b/f').read()) == 9000\n"
        "os.chmod('e/his/a/b/f', 0o600); assert len(open('e/his/a/b/f').read()) == 9000"
    )
    for name in ("a", "a/b", "a/b/f"):
        made = (lab.export / "e/his" / name).stat()
        assert (made.st_uid, made.st_gid) == (999, 998), name
    assert (lab.export / "e").stat().st_uid == 0


def test_a_read_only_mount_and_the_permissions_of_others(lab: Lab) -> None:
    (lab.export / "a").write_text("x")
    (lab.export / "secret").write_text("x")
    (lab.export / "secret").chmod(0o600)
    assert lab.mount(options="ro").returncode == 0
    assert "Read-only file system" in lab.do("try: open('b', 'w')\nexcept OSError as e: print(e)")
    denied = lab.do("os.setuid(65534)\nprint(open('a').read())\ntry: open('secret')\nexcept OSError as e: print(e)")
    assert denied.startswith("x\n[Errno 13]")


@pytest.mark.parametrize("export", ["/mnt/tank/missing", "/mnt/tank/private"])
def test_an_export_that_is_not_given_is_status_1_and_a_sentence(lab: Lab, export: str) -> None:
    done = lab.mount(export)
    assert done.returncode == 1
    assert "the server has no such export, or does not grant it to this machine (NFS4ERR_NOENT)" in done.stderr
    assert not lab.mounted()


def test_the_lease_runs_out_with_an_open_file(lab: Lab) -> None:
    assert lab.mount().returncode == 0
    lab.do(
        f"f = open('a', 'w+'); f.write('abc'); f.flush(); time.sleep({LEASE + 4}); f.write('def'); f.flush(); f.seek(0)\n"
        "assert f.read() == 'abcdef'\nopen('b', 'w').write('1')\nassert open('b').read() == '1'"
    )


def test_the_server_is_killed_and_comes_back(lab: Lab) -> None:
    assert lab.mount().returncode == 0
    lab.do("open('a', 'w').write('before')")
    lab.stop()
    waiting = lab.work("f = open('a', 'r+'); print(f.read()); f.write('+after'); f.close()")
    time.sleep(2)
    assert waiting.poll() is None, "an operation has to wait for the server"
    lab.start()
    output, _ = waiting.communicate(timeout=60)
    assert output == "before\n"
    assert (lab.export / "a").read_text() == "before+after"


@pytest.mark.parametrize("way", ["umount", "SIGTERM"])
def test_the_mount_can_be_taken_away_while_the_server_is_gone(lab: Lab, way: str) -> None:
    assert lab.mount().returncode == 0
    lab.do("open('a', 'w').write('x')")
    lab.stop()
    if way == "umount":
        subprocess.run(["umount", "--no-canonicalize", str(lab.mountpoint)], check=True, timeout=20)
    else:
        waiting = lab.work("open('a').read()")
        time.sleep(1)
        for number in lab.clients():
            os.kill(number, signal.SIGTERM)
        waiting.communicate(timeout=20)
        assert waiting.returncode == 1
    deadline = time.monotonic() + 10
    while (lab.mounted() or lab.clients()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (lab.mounted(), lab.clients()) == (False, [])


def test_no_server_is_status_1_within_seconds(lab: Lab) -> None:
    lab.stop()
    began = time.monotonic()
    done = lab.mount()
    assert done.returncode == 1
    assert "no NFS server answers at 127.0.0.1 port" in done.stderr
    assert time.monotonic() - began < 10
