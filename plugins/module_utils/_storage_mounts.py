# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NFS mounts of a machine as systemd units: planned as a whole, then applied mount by mount.

Private to the collection. Two rules run through it. What lies on a mount is only ever looked at by a child process that is
left behind when it does not come back: a server that is gone stops whoever touches its mount. And our units are known by
their first line; everything else that has to do with mounts belongs to somebody else and is never changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import stat
import struct
import subprocess
import time
import typing as t

MARKER = "# Managed by Ansible (pantheon.ai.storage_mounts): changes are overwritten."
UNITS = "/etc/systemd/system"
OTHER_UNITS = ("/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
READAHEAD = "/etc/nfs.conf.d/pantheon.conf"
LOCK_FILE = "/run/pantheon-storage-mounts.lock"
FUSE_TYPE = "fuse.pantheon-nfs"
FUSE_HELPER = "/usr/sbin/mount.fuse.pantheon-nfs"
KERNEL_HELPER = "/sbin/mount.nfs"
KINDS = ("mount", "automount", "timer")
WANTS = {"automount": "remote-fs.target", "timer": "timers.target"}

#: What a mount over a network that serves weights is given, whoever mounts it; options of the owner replace these by name.
NFS_OPTIONS = (
    "vers=4.2", "proto=tcp", "hard", "noatime", "nconnect=4", "rsize=1048576", "wsize=1048576", "_netdev", "nofail",
)  # fmt: skip
BIND_OPTIONS = ("bind",)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@:+=-]+)+\Z")
_SOURCE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):(/[A-Za-z0-9_.@:+=/-]*)\Z")
_OPTION = re.compile(r"[A-Za-z0-9_.-]+(?:=[A-Za-z0-9_.:/@+-]*)?\Z")
_SYSTEM = frozenset(
    ["/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",
     "/var", "/var/lib", "/mnt", "/srv"]
)  # fmt: skip
_REFUSED = re.compile(
    r"no such export, or does not grant|access denied|Permission denied|No such file or directory|Operation not permitted"
    r"|Protocol not supported|bad option|only NFSv4|only sec=sys|wrong fs type|is not there\. Install|could not be mounted"
)

_GETFLAGS, _SETFLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10

Json = t.Dict[str, t.Any]


class StorageError(Exception):
    """Nothing was changed; every problem is named, with what to do."""


class Action(t.NamedTuple):
    """One change: what a person reads, and what it looks like before and after."""

    text: str
    diff: t.Optional[Json] = None


class Entry(t.NamedTuple):
    """A line of the kernel's list of mounts."""

    path: str
    kind: str
    source: str
    read_only: bool
    device: str
    root: str
    follows: bool = False  # taken away with the mount that it is a copy of


class Wanted(t.NamedTuple):
    """A mount as it shall be."""

    name: str
    source: str
    path: str
    read_only: bool
    backend: str
    kind: str
    unit: str  # without its ending
    options: str


# -- pure helpers -----------------------------------------------------------------------------------------------------


def escape_path(path: str) -> str:
    """Return the name that systemd gives a unit for a path, without its ending."""
    text = path.strip("/")
    out = []
    for index, char in enumerate(text):
        if char == "/":
            out.append("-")
        elif re.match(r"[A-Za-z0-9:_]", char) or (char == "." and index):
            out.append(char)
        else:
            out.append("".join("\\x%02x" % byte for byte in char.encode()))
    return "".join(out) or "-"


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def parse_mountinfo(text: str) -> list[Entry]:
    """Read /proc/self/mountinfo; a later line for the same path lies on top."""
    entries = []
    for line in text.splitlines():
        left, _rest, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(rest) < 3:
            continue
        read_only = "ro" in fields[5].split(",") or "ro" in rest[2].split(",")
        follows = any(field.startswith(("shared:", "master:")) for field in fields[6:])
        entries.append(
            Entry(
                _unescape(fields[4]), rest[0], _unescape(rest[1]), read_only, fields[2], _unescape(fields[3]), follows
            )
        )
    return entries


def merge_options(defaults: t.Sequence[str], own: t.Sequence[str]) -> list[str]:
    """Return the defaults with the owner's options; one of the same name takes the place of the default."""
    result = list(defaults)
    for option in own:
        name = option.split("=", 1)[0]
        opposite = name[2:] if name.startswith("no") else "no" + name
        result = [known for known in result if known.split("=", 1)[0] not in (name, opposite)]
        result.append(option)
    return result


def unit_texts(wanted: Wanted, trigger: str, seconds: int) -> dict[str, str]:
    """Return the text of each unit of a mount, by its ending."""
    head = "%s\n[Unit]\nDescription=Storage %s (%s)\n" % (MARKER, wanted.name, wanted.source)
    network = "" if wanted.backend == "bind" else "Requires=network-online.target\nAfter=network-online.target\n"
    texts = {
        # Without a limit of starts: each access while the server is away is one, and the mount has to come back by itself.
        "mount": head + network + "StartLimitIntervalSec=0\n\n[Mount]\nWhat=%s\nWhere=%s\nType=%s\nOptions=%s\nTimeoutSec=%d\n"
        % (wanted.source, wanted.path, wanted.kind, wanted.options, seconds)
    }  # fmt: skip
    if trigger == "automount":
        texts["automount"] = head + "StartLimitIntervalSec=0\n\n[Automount]\nWhere=%s\n\n[Install]\nWantedBy=%s\n" % (
            wanted.path,
            WANTS["automount"],
        )
    else:
        texts["timer"] = (
            head + "\n[Timer]\n# This machine has no automounts: try until it holds, and again whenever it is gone.\n"
            "OnActiveSec=0\nOnUnitInactiveSec=15\nAccuracySec=1\nUnit=%s.mount\n\n[Install]\nWantedBy=%s\n"
            % (wanted.unit, WANTS["timer"])
        )
    return texts


def readahead_text(kib: int) -> str:
    """Return the settings of nfsrahead, which udev runs for every new mount of the kernel's client."""
    return "%s\n[nfsrahead]\nnfs=%d\nnfs4=%d\n" % (MARKER, kib, kib)


def own_options(mount: Json) -> list[str]:
    """Return the options of the owner without those that say what the units do anyway; lines for fstab carry them."""
    mode = "rw" if mount.get("read_only") is False else "ro"
    return [
        option
        for option in mount.get("options") or []
        if option != mode
        and not option.startswith(("x-systemd.automount", "x-systemd.mount-timeout=", "x-systemd.requires="))
    ]


def split_source(source: str) -> tuple[str, str]:
    """Return server and export; both empty if it is not an export."""
    match = _SOURCE.match(source)
    return (match.group(1), match.group(2)) if match else ("", "")


def validate(mounts: t.Sequence[Json], backend: str) -> list[str]:
    """Return everything that is wrong with the wanted mounts."""
    problems: list[str] = []
    names: set[str] = set()
    paths: dict[str, str] = {}
    streams: dict[str, tuple[str, str]] = {}
    for index, mount in enumerate(mounts):
        name, path, source = mount["name"], mount["path"], mount["source"]
        where = "mounts[%d] (%s)" % (index, name)
        if not _NAME.match(name):
            problems.append("%s: name %r: use lower-case letters, digits, '-', '_' and '.'." % (where, name))
        elif name in names:
            problems.append("%s: name %s is used twice. Give each mount its own." % (where, name))
        names.add(name)
        if not _PATH.match(path) or os.path.normpath(path) != path:
            problems.append(
                "%s: path %r: an absolute path without spaces, '..' or a final slash is wanted." % (where, path)
            )
        elif path in _SYSTEM:
            problems.append(
                "%s: path %s belongs to the system. Use a directory of its own, such as /models." % (where, path)
            )
        else:
            for other, holder in paths.items():
                if path == other or path.startswith(other + "/") or other.startswith(path + "/"):
                    problems.append(
                        "%s: path %s and path %s of %s lie in each other. Use paths side by side."
                        % (where, path, other, holder)
                    )
            paths[path] = name
        chosen = mount.get("backend") or backend
        if chosen == "bind":
            if not source.startswith("/") or not _PATH.match(source):
                problems.append(
                    "%s: source %r: with backend bind, a directory of this machine is wanted." % (where, source)
                )
        elif not split_source(source)[0]:
            problems.append(
                "%s: source %r: server:/path is wanted, with an IPv6 address in brackets." % (where, source)
            )
        for option in own_options(mount):
            problems += _option_problems(where, option, chosen)
        for key in ("uid", "gid"):
            if mount.get(key) is not None and not 0 <= mount[key] <= 2**32 - 2:
                problems.append("%s: %s %d: a number from 0 to 4294967294 is wanted." % (where, key, mount[key]))
        if chosen != "bind":
            server = split_source(source)[0]
            count = dict(option.partition("=")[::2] for option in merge_options(NFS_OPTIONS, own_options(mount)))
            value = count.get("nconnect", "1")
            if server and streams.setdefault(server, (value, name))[0] != value:
                problems.append(
                    "%s: nconnect=%s, but %s=%s for %s on the same server. The first mount decides for all: use one value."
                    % (where, value, "nconnect", streams[server][0], streams[server][1])
                )
    return problems


def _option_problems(where: str, option: str, backend: str) -> list[str]:
    name, _rest, value = option.partition("=")
    if not _OPTION.match(option):
        return ["%s: option %r: one option per entry, without spaces and commas." % (where, option)]
    if name in ("ro", "rw"):
        return ["%s: option %s contradicts read_only, which decides. Leave it out." % (where, name)]
    if name in ("soft", "softerr"):
        return ["%s: option %s: a soft mount cuts files short when the server is slow. Leave it out." % (where, name)]
    if name.startswith("x-systemd.") or name in ("auto", "noauto", "bind", "rbind"):
        return ["%s: option %s: the units are written by this module. Leave it out." % (where, name)]
    if name in ("uid", "gid"):
        return ["%s: option %s: use the key %s of the mount." % (where, name, name)]
    if backend != "bind" and name in ("vers", "nfsvers") and not value.startswith("4"):
        return ["%s: option %s: NFSv4 is wanted: 4, 4.0, 4.1 or 4.2." % (where, option)]
    return []


# -- the machine ------------------------------------------------------------------------------------------------------


class Child:
    """A program that may never come back."""

    def __init__(self, command: t.Sequence[str]) -> None:
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )

    def wait(self, deadline: float) -> tuple[t.Optional[int], str]:
        """Return status and errors, or None for the status if it has not ended by then; it is left behind."""
        try:
            _out, errors = self._process.communicate(timeout=max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # It may sit in the kernel, where no signal reaches it: told to end, never waited for.
            with contextlib.suppress(OSError):
                self._process.kill()
            return None, ""
        return self._process.returncode, errors.decode(errors="replace").strip()


class Machine:
    """The machine: everything that is read, written or run goes through here. Tests give another root."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def at(self, path: str) -> str:
        """Return where a path of the machine lies."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> t.Optional[str]:
        """Return the text of a file, None if there is none."""
        try:
            with open(self.at(path), encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Say whether there is something."""
        return os.path.exists(self.at(path))

    def find(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""
        found = glob.glob(self.at(pattern))
        return sorted(path if self.root == "/" else "/" + os.path.relpath(path, self.root) for path in found)

    def write(self, path: str, text: str) -> None:
        """Replace a file in one step."""
        target = self.at(path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        fresh = os.path.join(os.path.dirname(target), ".%s.pantheon" % os.path.basename(target))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(fresh, target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(path))

    def status(self, path: str) -> t.Optional[os.stat_result]:
        """Return the status of a path that nothing is mounted on."""
        try:
            return os.lstat(self.at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listdir(self, path: str) -> list[str]:
        """Return what a directory holds that nothing is mounted on."""
        return os.listdir(self.at(path))

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it."""
        os.makedirs(self.at(path), mode=0o755, exist_ok=True)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with contextlib.suppress(OSError):
            os.rmdir(self.at(path))

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode of a directory."""
        os.chmod(self.at(path), mode)

    def immutable(self, path: str, wanted: t.Optional[bool] = None) -> t.Optional[bool]:
        """Return whether a directory is immutable, after making it so or not; None where the file system cannot tell."""
        try:
            handle = os.open(self.at(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            flags = struct.unpack("i", fcntl.ioctl(handle, _GETFLAGS, struct.pack("i", 0)))[0]
            if wanted is not None and bool(flags & _IMMUTABLE) != wanted:
                flags = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
                fcntl.ioctl(handle, _SETFLAGS, struct.pack("i", flags))
            return bool(flags & _IMMUTABLE)
        except OSError:
            return None
        finally:
            os.close(handle)

    def child(self, *command: str) -> Child:
        """Start a program that may never come back."""
        return Child(command)

    def run(self, *command: str, seconds: float = 30) -> tuple[int, str]:
        """Run a program; returns status and output. One that does not come back in time has failed."""
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(os.environ, LC_ALL="C"),
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            return 127, "%s is not installed" % command[0]
        except subprocess.TimeoutExpired:
            return 124, "%s did not end within %g s" % (" ".join(command), seconds)
        return done.returncode, (done.stdout + (done.stderr if done.returncode else b"")).decode(errors="replace")

    def mounts(self) -> list[Entry]:
        """Return what is mounted. The kernel's list is read; no mount is looked at."""
        return parse_mountinfo(self.read("/proc/self/mountinfo") or "")

    def holders(self, path: str, device: str) -> list[str]:
        """Return the processes that use a mount, as 'number (name)'. Only links of /proc are read."""
        found = []
        mine = self._link("/proc/self/ns/mnt")
        for folder in glob.glob(self.at("/proc/[0-9]*")):
            number = os.path.basename(folder)
            name = (self.read("/proc/%s/comm" % number) or "").strip()
            places = [self._link("%s/%s" % (folder, kind)) for kind in ("cwd", "root", "exe")]
            with contextlib.suppress(OSError):
                places += [self._link("%s/fd/%s" % (folder, item)) for item in os.listdir(folder + "/fd")]
            if any(place == path or place.startswith(path + "/") for place in places):
                found.append("%s (%s)" % (number, name))
            elif self._link("%s/ns/mnt" % folder) not in ("", mine):
                # A container keeps its own copy of the mount; a service of systemd's in a sandbox has one that goes along.
                inside = parse_mountinfo(self.read("/proc/%s/mountinfo" % number) or "")
                if any(entry.device == device and not entry.follows for entry in inside):
                    found.append("%s (%s, in a container)" % (number, name))
        return sorted(found, key=lambda text: int(text.split(" ", 1)[0]))

    def _link(self, path: str) -> str:
        try:
            return os.readlink(path)
        except OSError:
            return ""


# -- which client -----------------------------------------------------------------------------------------------------


def detect_backend(machine: Machine, check_mode: bool) -> tuple[str, str]:
    """Return the client that this machine can use, and why; empty if there is none."""
    if re.search(r"^(?:nodev)?\s*nfs4$", machine.read("/proc/filesystems") or "", re.MULTILINE):
        return "kernel", "the kernel has NFS"
    if not machine.run("modprobe", *(["--dry-run"] if check_mode else []), "nfs")[0]:
        return "kernel", "the kernel has NFS as a module"
    if machine.exists("/dev/fuse"):
        return "fuse", "the kernel has no NFS, and there is /dev/fuse"
    return "", "the kernel has no NFS (no module nfs), and there is no /dev/fuse"


def missing_parts(machine: Machine, backend: str) -> str:
    """Return what has to be installed for a client; empty if nothing is missing."""
    if backend == "kernel" and not (machine.exists(KERNEL_HELPER) or machine.exists("/usr/sbin/mount.nfs")):
        return "backend kernel: %s is not there. Install nfs-common." % KERNEL_HELPER
    if backend == "fuse":
        if not machine.exists("/dev/fuse"):
            return "backend fuse: /dev/fuse is not there. Load the module fuse, or give the container the device."
        if not machine.exists(FUSE_HELPER):
            return "backend fuse: %s is not there. The role pantheon.ai.storage installs it." % FUSE_HELPER
        if not machine.find("/usr/lib/*/libnfs.so.1[3467]") and not machine.find("/usr/lib/libnfs.so.1[3467]"):
            return "backend fuse: libnfs is not there. Install libnfs13 (Debian 12) or libnfs14 (Debian 13)."
    return ""


def needed(machine: Machine, mounts: t.Sequence[Json], backend: str, check_mode: bool) -> Json:
    """Return which clients a list of mounts needs on this machine, and the packages of the distribution for them."""
    chosen = {mount.get("backend") or backend for mount in present(mounts)}
    detected = backend
    if "auto" in chosen or backend == "auto":
        detected = detect_backend(machine, check_mode)[0]
        if "auto" in chosen:
            chosen = (chosen - {"auto"}) | ({detected} if detected else set())
    packages = []
    if "kernel" in chosen:
        packages.append({"name": "nfs-common"})
    if "fuse" in chosen:
        # libnfs 4 has another name; nothing is installed beside a version that is there.
        release = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)\"?$", machine.read("/etc/os-release") or "", re.MULTILINE))
        old = (release.get("ID"), release.get("VERSION_ID")) in (("debian", "12"), ("ubuntu", "22.04"))
        packages += [{"name": "libnfs13|libnfs14" if old else "libnfs14|libnfs13"}, {"name": "python3-fusepy"}]
    return {"detected": detected, "backends": sorted(chosen - {"bind"}), "packages": packages}


def present(mounts: t.Sequence[Json]) -> list[Json]:
    """Return the mounts that are wanted."""
    return [mount for mount in mounts if (mount.get("state") or "present") == "present"]


# -- the state --------------------------------------------------------------------------------------------------------


class StorageMounts:
    """Compares the mounts of a machine with the wanted ones, and brings them there."""

    def __init__(self, machine: Machine, parameters: Json, check_mode: bool = False) -> None:
        self.machine, self.check_mode = machine, check_mode
        self.mounts: list[Json] = present(parameters.get("mounts") or [])
        self.backend: str = parameters.get("backend") or "auto"
        self.readahead: int = parameters.get("readahead_kib") or 0
        self.mount_timeout: int = parameters.get("mount_timeout") or 30
        self.wait: float = parameters.get("wait") or 15
        self.actions: list[Action] = []
        self.failures: list[str] = []
        self.warnings: list[str] = []
        self._detected: t.Optional[tuple[str, str]] = None

    # -- what is wanted

    def detected(self) -> tuple[str, str]:
        """Return the client of this machine, found once."""
        if self._detected is None:
            self._detected = detect_backend(self.machine, self.check_mode)
        return self._detected

    def _wanted(self) -> list[Wanted]:
        problems = validate(self.mounts, self.backend)
        wanted: list[Wanted] = []
        for mount in self.mounts:
            chosen = mount.get("backend") or self.backend
            if chosen == "auto":
                chosen, reason = self.detected()
                if not chosen:
                    problems.append(
                        "mount %s: %s. Install a kernel with NFS, give the container /dev/fuse, or ask for backend bind."
                        % (mount["name"], reason)
                    )
            missing = missing_parts(self.machine, chosen)
            # In check mode the packages are not there on a machine that is new.
            if missing and not self.check_mode and missing not in problems:
                problems.append(missing)
            wanted.append(self._one(mount, chosen))
        if problems:
            raise StorageError(" ".join(problems))
        return wanted

    def _one(self, mount: Json, backend: str) -> Wanted:
        read_only = mount.get("read_only")
        read_only = True if read_only is None else read_only
        options = merge_options(BIND_OPTIONS if backend == "bind" else NFS_OPTIONS, own_options(mount))
        options.append("ro" if read_only else "rw")
        if backend == "fuse":
            options += ["%s=%d" % (key, mount[key]) for key in ("uid", "gid") if mount.get(key) is not None]
        kind = {"kernel": "nfs4", "fuse": FUSE_TYPE, "bind": "none"}.get(backend, "")
        source = mount["source"]
        if backend != "bind" and len(split_source(source)[1]) > 1:
            source = source.rstrip("/")
        return Wanted(
            mount["name"],
            source,
            mount["path"],
            read_only,
            backend,
            kind,
            escape_path(mount["path"]),
            ",".join(options),
        )

    # -- what is there

    def _own_units(self) -> dict[str, str]:
        """Return the units that we wrote, path -> text."""
        found = {}
        for kind in KINDS:
            for path in self.machine.find("%s/*.%s" % (UNITS, kind)):
                text = self.machine.read(path)
                if text and text.startswith(MARKER):
                    found[path] = text
        return found

    def _conflicts(self, wanted: t.Sequence[Wanted], own: t.Mapping[str, str], mounted: t.Sequence[Entry]) -> list[str]:
        problems = []
        fstab = {}
        for line in (self.machine.read("/etc/fstab") or "").splitlines():
            fields = line.split()
            if len(fields) > 2 and not fields[0].startswith("#"):
                fstab[_unescape(fields[1]).rstrip("/")] = fields[0]
        for mount in wanted:
            if mount.path in fstab:
                problems.append(
                    "mount %s: /etc/fstab mounts %s on %s. Take that line out, or use another path."
                    % (mount.name, fstab[mount.path], mount.path)
                )
                continue
            for kind in KINDS:
                for folder in (UNITS, *OTHER_UNITS):
                    path = "%s/%s.%s" % (folder, mount.unit, kind)
                    if path not in own and self.machine.exists(path):
                        problems.append(
                            "mount %s: %s is not ours. Remove it, or use another path." % (mount.name, path)
                        )
            ours = "%s/%s.mount" % (UNITS, mount.unit) in own
            there = [entry for entry in mounted if entry.path == mount.path and entry.kind != "autofs"]
            if there and not ours:
                problems.append(
                    "mount %s: %s (%s) is mounted on %s, and not by us. Unmount it, or use another path."
                    % (mount.name, there[-1].source, there[-1].kind, mount.path)
                )
            if not there and not any(entry.path == mount.path for entry in mounted):
                problems += self._bare_problems(mount)
        return problems

    def _bare_problems(self, mount: Wanted) -> list[str]:
        status = self.machine.status(mount.path)
        if status is None:
            return []
        if not stat.S_ISDIR(status.st_mode):
            return ["mount %s: %s is not a directory. Move it away." % (mount.name, mount.path)]
        try:
            content = self.machine.listdir(mount.path)
        except OSError as error:
            return ["mount %s: %s cannot be read (%s). Run as root." % (mount.name, mount.path, error.strerror)]
        if content:
            return [
                "mount %s: %s holds files (%s), which the mount would hide. Move them away."
                % (mount.name, mount.path, ", ".join(sorted(content)[:3]))
            ]
        return []

    def _states(self, units: t.Sequence[str]) -> dict[str, dict[str, str]]:
        """Return what systemd says of units, all with one call."""
        if not units:
            return {}
        rc, out = self.machine.run(
            "systemctl", "show", "--property=Id,ActiveState,NeedDaemonReload,UnitFileState,Result", *units
        )
        blocks = [
            dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            for block in out.strip("\n").split("\n\n")
        ]
        if rc or len(blocks) != len(units):
            raise StorageError("systemd does not answer (%s). Is it the init of this machine?" % (out.strip() or rc))
        return dict(zip(units, blocks))  # noqa: B905 - strict came with Python 3.10

    def _entry(self, path: str) -> t.Optional[Entry]:
        """Return what lies on top of a path, without the automount under it."""
        found = [entry for entry in self.machine.mounts() if entry.path == path]
        return found[-1] if found and found[-1].kind != "autofs" else None

    # -- the whole

    @contextlib.contextmanager
    def _lock(self) -> t.Iterator[None]:
        with open(self.machine.at(LOCK_FILE), "w", encoding="ascii") as file:
            deadline = time.monotonic() + 300
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StorageError(
                            "another run has been changing the mounts for too long. Wait for it to end."
                        ) from None
                    time.sleep(0.2)
            yield

    def reconcile(self) -> Json:
        """Bring the mounts into their state; look at each of them; report."""
        if self.check_mode:
            return self._reconcile()
        with self._lock():
            return self._reconcile()

    def _reconcile(self) -> Json:
        wanted = self._wanted()
        own, mounted = self._own_units(), self.machine.mounts()
        problems = self._conflicts(wanted, own, mounted)
        if problems:
            raise StorageError(" ".join(problems))
        trigger = "automount" if self.machine.exists("/dev/autofs") else "timer"
        texts = {
            "%s/%s.%s" % (UNITS, mount.unit, kind): text
            for mount in wanted
            for kind, text in unit_texts(mount, trigger, self.mount_timeout).items()
        }
        names = sorted({os.path.basename(path) for path in list(own) + list(texts)})
        states = self._states(names)
        reload_needed = any(state.get("NeedDaemonReload") == "yes" for state in states.values())

        gone = sorted({_stem(path) for path in own} - {mount.unit for mount in wanted})
        reload_needed |= self._remove(gone, own, states)
        reload_needed |= self._readahead(any(mount.backend == "kernel" for mount in wanted))
        refused: set[str] = set()
        written: set[str] = set()
        for mount in wanted:
            files = {path: text for path, text in texts.items() if _stem(path) == mount.unit}
            stale = [path for path in own if _stem(path) == mount.unit and path not in files]
            if any(own.get(path) != text for path, text in files.items()) or stale:
                if self._write(mount, files, stale, own, states):
                    written.add(mount.unit)
                    reload_needed = True
                else:
                    refused.add(mount.unit)
        if reload_needed:
            self._do("reload systemd", lambda: self._must("systemctl", "daemon-reload"))
        for mount in wanted:
            if mount.unit not in refused:
                self._start(mount, "%s.%s" % (mount.unit, trigger), states, mount.unit in written)
        facts = self._look(wanted, refused)
        result: Json = {
            "changed": bool(self.actions),
            "actions": [action.text for action in self.actions],
            "mounts": facts,
            "detected": self.detected()[0] if self.mounts and self.backend == "auto" else self.backend,
        }
        shown = [action.diff for action in self.actions if action.diff]
        if shown:
            result["diff"] = shown
        return result

    def _do(self, text: str, apply: t.Callable[[], t.Any], diff: t.Optional[Json] = None) -> None:
        """Note a change, and make it unless this is check mode."""
        self.actions.append(Action(text, diff))
        if not self.check_mode:
            apply()

    def _must(self, *command: str) -> None:
        rc, out = self.machine.run(*command, seconds=self.mount_timeout + 30)
        if rc:
            raise StorageError("%s failed: %s" % (" ".join(command), out.strip()[-500:]))

    def _readahead(self, kernel: bool) -> bool:
        now = self.machine.read(READAHEAD)
        text = readahead_text(self.readahead) if kernel and self.readahead else None
        if text == now or (text is None and not (now or "").startswith(MARKER)):
            return False
        if now is not None and not now.startswith(MARKER):
            raise StorageError("%s is not ours. Remove it, or set readahead_kib to 0." % READAHEAD)
        if text is None:
            self._do("remove %s" % READAHEAD, lambda: self.machine.remove(READAHEAD), _diff(READAHEAD, now or "", ""))
        else:
            content = text
            self._do(
                "write %s" % READAHEAD,
                lambda: self.machine.write(READAHEAD, content),
                _diff(READAHEAD, now or "", text),
            )
        return False

    # -- taking away

    def _unmount(self, path: str, unit: str, states: t.Mapping[str, Json], label: str) -> bool:
        """Unmount and stop what would mount it again. Never lazily: whoever uses the mount keeps it, and is named."""
        there = self._entry(path)
        if there is not None:
            holders = self.machine.holders(path, there.device)
            if holders:
                self.failures.append(
                    "%s: %s is in use by %s, so it stays as it is. Stop them, and run this again."
                    % (label, path, ", ".join(holders[:8]))
                )
                return False
        triggers = ["%s.%s" % (unit, kind) for kind in ("timer", "automount")]
        active = [name for name in triggers if states.get(name, {}).get("ActiveState") in ("active", "activating")]
        if there is None and not active:
            return True
        self.actions.append(Action("unmount %s" % path if there else "stop %s" % " ".join(active)))
        if self.check_mode:
            return True
        deadline = time.monotonic() + self.mount_timeout + 5
        if "%s.timer" % unit in active:
            self.machine.run("systemctl", "stop", "%s.timer" % unit)
        # The mount before its automount: an automount that ends takes away, lazily, whatever lies on top of it.
        reason = ""
        while self._entry(path) is not None:
            status, reason = self.machine.child("systemctl", "stop", "%s.mount" % unit).wait(deadline)
            if status is None or time.monotonic() > deadline or (status and self._entry(path) is not None):
                break
        still = self._entry(path)
        if still is not None:
            holders = self.machine.holders(path, still.device)
            self.failures.append(
                "%s: %s could not be unmounted (%s). Stop what uses it, and run this again."
                % (label, path, ", ".join(holders[:8]) or reason or "the server does not answer")
            )
            if "%s.timer" % unit in active:
                self.machine.run("systemctl", "start", "%s.timer" % unit)
            return False
        if "%s.automount" % unit in active:
            self.machine.child("systemctl", "stop", "%s.automount" % unit).wait(time.monotonic() + 30)
        return True

    def _remove(self, units: t.Sequence[str], own: t.Mapping[str, str], states: t.Mapping[str, Json]) -> bool:
        changed = False
        for unit in units:
            files = sorted(path for path in own if _stem(path) == unit)
            text = "".join(own[path] for path in files)
            match = re.search(r"^Where=(.+)$", text, re.MULTILINE)
            where = match.group(1) if match else ""
            if where and not self._unmount(where, unit, states, "mount " + unit):
                continue
            for path in files:
                self._drop_file(path, own[path])
            changed = True
            if where and self.machine.status(where) is not None:
                self._do("give %s back" % where, lambda where=where: self._unprotect(where))  # type: ignore[misc]
        return changed

    def _drop_file(self, path: str, text: str) -> None:
        name = os.path.basename(path)

        def apply() -> None:
            for target in WANTS.values():
                self.machine.remove("%s/%s.wants/%s" % (UNITS, target, name))
            self.machine.remove(path)

        self._do("remove %s" % path, apply, _diff(path, text, ""))

    def _unprotect(self, path: str) -> None:
        if self._entry(path) is not None:
            return
        self.machine.immutable(path, False)
        with contextlib.suppress(OSError):
            self.machine.chmod(path, 0o755)
        self.machine.remove_directory(path)

    # -- setting up

    def _write(
        self,
        mount: Wanted,
        files: t.Mapping[str, str],
        stale: t.Sequence[str],
        own: t.Mapping[str, str],
        states: t.Mapping[str, Json],
    ) -> bool:
        if any(_stem(path) == mount.unit for path in own) and not self._unmount(
            mount.path, mount.unit, states, "mount " + mount.name
        ):
            return False
        self._protect(mount)
        for path in stale:
            self._drop_file(path, own[path])
        for path, text in sorted(files.items()):
            if own.get(path) != text:
                self._do(
                    "write %s" % path,
                    lambda path=path, text=text: self.machine.write(path, text),  # type: ignore[misc]
                    _diff(path, own.get(path, ""), text),
                )
        return True

    def _protect(self, mount: Wanted) -> None:
        """A write to the bare directory has to fail: otherwise it fills the disk of the machine, and nobody notices."""
        if self._entry(mount.path) is not None and self.check_mode:
            return
        path, status = mount.path, self.machine.status(mount.path)
        if status is not None and stat.S_IMODE(status.st_mode) == 0 and self.machine.immutable(path) is not False:
            return

        def apply() -> None:
            self.machine.make_directory(path)
            self.machine.immutable(path, False)
            self.machine.chmod(path, 0)
            self.machine.immutable(path, True)

        before = "" if status is None else "directory, mode %04o\n" % stat.S_IMODE(status.st_mode)
        self._do("protect %s" % path, apply, _diff(path, before, "directory, mode 0000, immutable\n"))

    def _start(self, mount: Wanted, trigger: str, states: t.Mapping[str, Json], written: bool) -> None:
        state = states.get(trigger, {})
        link = "%s/%s.wants/%s" % (UNITS, WANTS[trigger.rsplit(".", 1)[1]], trigger)
        if not os.path.islink(self.machine.at(link)):
            self._do("enable %s" % trigger, lambda: self._must("systemctl", "enable", trigger))
        if not written and state.get("ActiveState") == "active" and state.get("UnitFileState") != "masked":
            return
        if not written:
            # An automount does not start under a mount that is there.
            if self._entry(mount.path) is not None and not self._unmount(
                mount.path, mount.unit, states, "mount " + mount.name
            ):
                return
            if self._entry(mount.path) is None and not any(e.path == mount.path for e in self.machine.mounts()):
                self._protect(mount)

        def apply() -> None:
            self.machine.run("systemctl", "reset-failed", trigger)
            self._must("systemctl", "start", trigger)

        self._do("start %s" % trigger, apply)

    # -- looking

    def _look(self, wanted: t.Sequence[Wanted], refused: set[str]) -> dict[str, Json]:
        """Look at all mounts side by side, for as long as one may take."""
        deadline = time.monotonic() + self.wait
        starting = {}
        if not self.check_mode:
            for mount in wanted:
                if mount.unit not in refused and self._entry(mount.path) is None:
                    starting[mount.unit] = self.machine.child("systemctl", "start", "%s.mount" % mount.unit)
        begun = {unit: child.wait(deadline) for unit, child in starting.items()}
        reading = {
            mount.unit: self.machine.child("ls", "-U", "--", self.machine.at(mount.path) + "/.")
            for mount in wanted
            if self._entry(mount.path) is not None
        }
        # A mount that was there before may take as long as one that is made now.
        deadline = max(deadline, time.monotonic() + min(self.wait, 5))
        read = {unit: child.wait(deadline) for unit, child in reading.items()}
        facts = {}
        for mount in wanted:
            fact, problem, fatal = self._fact(mount, begun.get(mount.unit), read.get(mount.unit))
            facts[mount.name] = fact
            if problem and fatal:
                self.failures.append(problem)
            elif problem:
                self.warnings.append(problem)
        return facts

    def _fact(
        self,
        mount: Wanted,
        begun: t.Optional[tuple[t.Optional[int], str]],
        read: t.Optional[tuple[t.Optional[int], str]],
    ) -> tuple[Json, str, bool]:
        entry = self._entry(mount.path)
        fact: Json = {
            "backend": mount.backend,
            "source": mount.source,
            "path": mount.path,
            "type": entry.kind if entry else "",
            "mounted": entry is not None,
            "read_only": mount.read_only if entry is None else entry.read_only,
            "available": entry is not None and read is not None and read[0] == 0,
            "reason": "",
        }
        if self.check_mode and (entry is None or self.actions):
            fact["available"] = bool(fact["available"])
            return fact, "", False
        label = "mount %s: %s" % (mount.name, mount.path)
        if entry is None:
            reason = self._reason(mount, begun)
            fact["reason"] = reason
            fatal = bool(_REFUSED.search(reason))
            remedy = (
                "Correct the export or its access list on the server." if fatal else "It comes back with the server."
            )
            return fact, "%s is not mounted: %s. %s" % (label, reason.rstrip("."), remedy), fatal
        wrong = self._differs(mount, entry)
        if wrong:
            fact["reason"], fact["available"] = wrong, False
            return fact, "%s: %s. Unmount it, and run this again." % (label, wrong), True
        if not fact["available"]:
            reason = "the server does not answer"
            if read is not None and read[0]:
                reason = read[1].splitlines()[-1] if read[1] else "it cannot be read"
            fact["reason"] = reason
            return fact, "%s is mounted, but %s. It comes back with the server." % (label, reason), False
        return fact, "", False

    def _differs(self, mount: Wanted, entry: Entry) -> str:
        """Say what is mounted instead of what is wanted."""
        if mount.backend != "bind" and (entry.kind, entry.source.rstrip("/")) != (mount.kind, mount.source.rstrip("/")):
            return "%s (%s) is mounted, %s (%s) is wanted" % (entry.source, entry.kind, mount.source, mount.kind)
        if mount.backend == "bind" and not (entry.root == mount.source or mount.source.endswith(entry.root)):
            return "%s of %s is mounted, %s is wanted" % (entry.root, entry.source, mount.source)
        if entry.read_only != mount.read_only:
            return "it is mounted %s" % ("read-only" if entry.read_only else "for writing")
        return ""

    def _reason(self, mount: Wanted, begun: t.Optional[tuple[t.Optional[int], str]]) -> str:
        """Find the sentence of the mount helper, which is in the journal."""
        if begun is not None and begun[0] is None:
            return "the server does not answer within %g s" % self.wait
        _rc, out = self.machine.run(
            "journalctl", "--unit", "%s.mount" % mount.unit, "--lines", "12", "--no-pager", "--output", "cat", seconds=5
        )
        for line in reversed(out.splitlines()):
            # mount.nfs: access denied ... / mount.fuse.pantheon-nfs: nas:/a on /a: no NFS server answers ...
            match = re.match(r"mount(?:\.[a-z0-9.-]+)?: (.*)", line)
            if match:
                return match.group(1).replace("%s on %s: " % (mount.source, mount.path), "").strip()
        return (begun[1].splitlines()[0] if begun and begun[1] else "") or "the mount could not be made"


def _stem(path: str) -> str:
    return os.path.basename(path).rsplit(".", 1)[0]


def _diff(name: str, before: str, after: str) -> Json:
    return {"before_header": name, "after_header": name, "before": before, "after": after}
