# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted state of a machine: planned as a whole, then applied in one order.

Private to the collection. Everything is compared before anything is changed, so check mode and the real run report the
same actions. What has to follow a change (the restart of a unit) is noted on disk before the change is made and struck
out when it is done: a run that is killed in between is finished by the next one.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import functools
import glob
import grp
import json
import os
import pwd
import re
import stat
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._machine_docker import (
    COMPOSE_PACKAGES,
    ENGINE_PACKAGES,
    ENGINE_PATHS,
    KEYRING,
    PLUGIN_PATHS,
    SOURCES,
    UPSTREAM_FINGERPRINT,
    UPSTREAM_URL,
    Engine,
    EngineClient,
    EngineUnavailable,
    MachineError,
    choose_engine,
    engine_facts,
    fingerprints,
    no_swarm,
    repository_file,
    swarm_facts,
)

STATE_FILE = "/var/lib/pantheon/machine_state.json"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
LOCK_FILE = "/run/pantheon-machine-state.lock"

# The order in which planned actions are applied.
STOP, EARLY, PACKAGES, ACCOUNTS, FILES, KERNEL, UNITS, REMOVE = range(8)

HEADER = "# Managed by Ansible (pantheon.ai): changes are overwritten."
HIDDEN = "(not shown)\n"
SHELL = "/bin/bash"
#: Kernel settings outside net.* that belong to a container (its IPC namespace), not to its host.
NAMESPACED = re.compile(r"^(net\..+|kernel\.(shm(all|max|mni|_rmid_forced)|msg(max|mnb|mni)|sem)|fs\.mqueue\..+)$")

Json = t.Dict[str, t.Any]


class Action(t.NamedTuple):
    """One planned change: when, what a person reads, how it is done, and what it looks like before and after."""

    phase: int
    text: str
    apply: t.Callable[[], None]
    diff: t.Optional[dict[str, str]] = None


class System:
    """The machine: everything that is read, written or run goes through here. Tests give another root."""

    def __init__(self, run: t.Callable[..., tuple[int, str, str]], root: str = "/") -> None:
        self._run, self.root = run, root

    def at(self, path: str) -> str:
        """Return where a path of the machine lies."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> t.Optional[str]:
        """Return the text of a file, None if there is none."""
        try:
            with open(self.at(path), encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError as error:
            raise MachineError("%s is a directory, a file is wanted" % path, "Move it away.") from error

    def status(self, path: str) -> t.Optional[os.stat_result]:
        """Return the status of a path itself (links are not followed), None if there is nothing."""
        try:
            return os.lstat(self.at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Say whether there is something at a path."""
        return os.path.exists(self.at(path))

    def write(self, path: str, text: str, mode: int, uid: int, gid: int, check: t.Callable[[str], None]) -> None:
        """Replace a file in one step: a reader sees the old or the new one, also after a crash."""
        target = self.at(path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        # One writer at a time (the lock), so a fixed name serves: what a killed run left is overwritten.
        fresh = os.path.join(os.path.dirname(target), ".%s.pantheon" % os.path.basename(target))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
                file.flush()
                os.fchown(file.fileno(), uid, gid)
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            check(fresh)
            os.replace(fresh, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)

    def run(self, *command: str, environment: t.Optional[dict[str, str]] = None) -> tuple[int, str, str]:
        """Run a command; returns status, output, errors."""
        return self._run(list(command), environ_update=dict({"LC_ALL": "C"}, **(environment or {})))

    def must(self, *command: str, environment: t.Optional[dict[str, str]] = None) -> str:
        """Run a command that has to succeed; returns its output."""
        rc, out, err = self.run(*command, environment=environment)
        if rc:
            raise MachineError("%s failed: %s" % (" ".join(command), _last_lines(err or out)), "")
        return out

    def user(self, name: str) -> t.Optional[pwd.struct_passwd]:
        """Return the account of a user, None if there is none."""
        try:
            return pwd.getpwnam(name)
        except KeyError:
            return None

    def group(self, name: str) -> t.Optional[grp.struct_group]:
        """Return a group, None if there is none."""
        try:
            return grp.getgrnam(name)
        except KeyError:
            return None

    def groups_of(self, name: str) -> set[str]:
        """Return the supplementary groups of a user."""
        return {group.gr_name for group in grp.getgrall() if name in group.gr_mem}

    def sysctl_writable(self, key: str) -> bool:
        """Say whether a kernel setting can be changed from here."""
        path = self.at(sysctl_path(key))
        try:
            return bool(os.stat(path).st_mode & 0o200) and not os.statvfs(path).f_flag & os.ST_RDONLY
        except FileNotFoundError:
            return False

    def fetch(self, url: str) -> str:
        """Download a small text."""
        # Imported here: it costs more than a whole comparison that finds nothing to do. And not Ansible's open_url, which
        # would come along to every machine with each call.
        import urllib.error
        import urllib.request

        try:
            with contextlib.closing(urllib.request.build_opener().open(url, timeout=30)) as answer:
                return str(answer.read(1 << 20).decode("utf-8"))
        except (urllib.error.URLError, OSError, UnicodeDecodeError) as error:
            raise MachineError(
                "%s cannot be fetched: %s" % (url, error), "Give the machine a way out, or set docker_source: existing."
            ) from error


# -- pure helpers -----------------------------------------------------------------------------------------------------


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def sysctl_path(key: str) -> str:
    """Return the file of a kernel setting; a slash in a key stands for a dot in an interface name."""
    return "/proc/sys/" + key.translate({ord("."): "/", ord("/"): "."})


def normal_value(value: t.Any) -> str:
    """Return a kernel setting in one spelling: the kernel separates by tabs, people by spaces."""
    if isinstance(value, bool):
        value = int(value)
    return " ".join(str(value).split())


def installed_packages(status: str, names: t.Iterable[str]) -> dict[str, str]:
    """Return name -> version of those packages that are fully installed, out of dpkg's status file."""
    wanted = set(names)
    found = {}
    for paragraph in status.split("\n\n"):
        if not paragraph.startswith("Package: "):
            paragraph = paragraph.lstrip("\n")
        name = paragraph[9:].split("\n", 1)[0]
        if name in wanted and re.search(r"^Status: \S+ ok installed$", paragraph, re.MULTILINE):
            version = re.search(r"^Version: (\S+)$", paragraph, re.MULTILINE)
            found[name] = version.group(1) if version else ""
    return found


def broken_packages(status: str) -> bool:
    """Say whether dpkg was interrupted: a package is half installed or waits to be configured."""
    return bool(
        re.search(r"^Status: \S+ \S+ (half-installed|unpacked|half-configured|triggers-\w+)$", status, re.MULTILINE)
    )


def merge_json(current: Json, wanted: Json, added: Json, previous: Json) -> tuple[Json, Json, Json]:
    """Merge our keys into a document of somebody else.

    ``added`` holds what an earlier run put there, ``previous`` the owner's values it replaced. Returns the merged
    document with both brought up to date. Mappings are merged, lists are united (the owner's entries first), other
    values are ours while we want them. What we no longer want gives way to the owner's value.
    """
    result: Json = copy.deepcopy(current)
    ours: Json = {}
    theirs: Json = {}
    for key in added:
        if key in wanted or key not in result:
            continue
        value = result[key]
        if isinstance(added[key], dict) and isinstance(value, dict):
            result[key] = merge_json(value, {}, added[key], previous.get(key) or {})[0]
            if not result[key]:
                del result[key]
        elif isinstance(added[key], list) and isinstance(value, list):
            result[key] = [entry for entry in value if entry not in added[key]]
            if not result[key]:
                del result[key]
        elif value == added[key]:
            if key in previous:
                result[key] = previous[key]
            else:
                del result[key]
    for key, value in wanted.items():
        there = result.get(key)
        if isinstance(value, dict) and (there is None or isinstance(there, dict)):
            before = added.get(key) if isinstance(added.get(key), dict) else {}
            result[key], ours[key], theirs[key] = merge_json(there or {}, value, before or {}, previous.get(key) or {})
        elif isinstance(value, list) and (there is None or isinstance(there, list)):
            last = added[key] if isinstance(added.get(key), list) else []
            kept = [entry for entry in there or [] if entry in value or entry not in last]
            result[key] = kept + [entry for entry in value if entry not in kept]
            ours[key] = [entry for entry in value if entry in last or entry not in kept]
        elif key in added or there != value:
            if key in previous:
                theirs[key] = previous[key]
            elif key not in added and key in result:
                theirs[key] = there
            result[key] = ours[key] = copy.deepcopy(value)
    return result, ours, {key: value for key, value in theirs.items() if value != {}}


def key_identity(line: str) -> str:
    """Return what tells one public key from another: type and key, without options and comment."""
    match = re.search(r"\b((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+)\s+([A-Za-z0-9+/=]+)", line)
    return "%s %s" % match.groups() if match else line.strip()


def merge_keys(current: str, wanted: t.Sequence[str], last: t.Sequence[str], exclusive: bool) -> str:
    """Return authorized keys with ours in; keys of an earlier run that are no longer wanted go, others stay."""
    ours = {key_identity(key): key.strip() for key in wanted}
    gone = {key_identity(key) for key in last} - set(ours)
    lines, seen = [], set()
    for line in current.splitlines():
        identity = key_identity(line)
        if identity in ours:
            if identity in seen:
                continue
            seen.add(identity)
            lines.append(ours[identity])
        elif identity not in gone and not (exclusive and line.strip() and not line.startswith("#")):
            lines.append(line)
    lines += [key for identity, key in ours.items() if identity not in seen]
    return "".join(line + "\n" for line in lines)


def os_facts(release: str) -> dict[str, str]:
    """Return id, version and codename out of os-release."""
    values = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)\"?$", release, re.MULTILINE))
    codename = values.get("VERSION_CODENAME") or values.get("UBUNTU_CODENAME") or ""
    return {"id": values.get("ID", ""), "version": values.get("VERSION_ID", ""), "codename": codename}


def parse_units(text: str) -> list[dict[str, str]]:
    """Return the properties that systemctl show printed, one mapping per unit."""
    blocks = text.strip("\n").split("\n\n") if text.strip() else []
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


# -- the state --------------------------------------------------------------------------------------------------------


class MachineState:
    """Compares a machine with its wanted state, and brings it there."""

    def __init__(
        self,
        system: System,
        parameters: dict[str, t.Any],
        check_mode: bool = False,
        api: t.Optional[t.Callable[[], EngineClient]] = None,
    ) -> None:
        self.system, self.wanted, self.check_mode = system, parameters, check_mode
        self.api = api or EngineClient
        self.actions: list[Action] = []
        self.not_applied: list[dict[str, str]] = []
        self.notified: dict[str, str] = {}  # unit -> restart or reload
        self.late: set[str] = set()  # units whose settings are written after the packages
        self.reload_systemd = False
        self.dpkg = ""
        self.to_install: list[str] = []
        self.written: set[str] = set()
        self.memory = self._load_memory()
        self.next_memory: Json = copy.deepcopy(self.memory)

    # -- facts

    def facts(self) -> dict[str, t.Any]:
        """Return what the roles need to know about the machine."""
        container = self._container()
        facts: dict[str, t.Any] = {
            "hostname": os.uname().nodename,
            "os": os_facts(self.system.read("/etc/os-release") or ""),
            "virtualization": {"container": bool(container), "type": container or "none"},
            "memory_mb": self._memory_mb(),
        }
        gather = self.wanted.get("gather") or []
        if "docker" in gather or "swarm" in gather:
            facts["docker"], facts["swarm"], facts["networks"] = self._docker_facts("swarm" in gather)
        return facts

    def _container(self) -> str:
        named = (self.system.read("/run/systemd/container") or "").strip()
        if named:
            return named
        if self.system.exists("/.dockerenv"):
            return "docker"
        if self.system.exists("/run/.containerenv"):
            return "podman"
        try:
            match = re.search(r"(?:^|\0)container=([^\0]+)", self.system.read("/proc/1/environ") or "")
        except PermissionError:
            return ""
        return match.group(1) if match else ""

    def _memory_mb(self) -> int:
        match = re.search(r"^MemTotal:\s+(\d+)", self.system.read("/proc/meminfo") or "", re.MULTILINE)
        total = int(match.group(1)) // 1024 if match else 0
        for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            limit = (self.system.read(path) or "").strip()
            if limit.isdigit():
                total = min(total, int(limit) // 1048576)
        return total

    def _engine(self) -> tuple[Engine, str]:
        """Return the engine that is there, and the version of its compose plugin's package."""
        packages = installed_packages(self._dpkg(), list(ENGINE_PACKAGES) + list(COMPOSE_PACKAGES))
        origins = [origin for name, origin in ENGINE_PACKAGES.items() if name in packages]
        there = any(self.system.exists(path) for path in ENGINE_PATHS)
        plugin = next((path for path in PLUGIN_PATHS if self.system.exists(path)), "")
        version = ""
        if plugin:
            version = next((packages[name] for name in COMPOSE_PACKAGES if name in packages), "")
            # Where the distribution's docker-compose is version 1, the plugin is not from that package.
            version = re.sub(r"^\d+:", "", version).split("-")[0].split("+")[0].split("~")[0]
            if not version or version.startswith("1."):
                version = self._compose_version(plugin)
        return Engine(origins[0] if origins else ("other" if there else "none"), bool(plugin)), version

    def _compose_version(self, plugin: str) -> str:
        """Ask a plugin that came without a package; the answer is kept until the file changes."""
        status = os.stat(self.system.at(plugin))
        identity = [plugin, int(status.st_mtime), status.st_size]
        known = self.memory.get("compose") or {}
        if known.get("identity") == identity:
            return str(known["version"])
        rc, out, _err = self.system.run(plugin, "version", "--short")
        version = out.strip().lstrip("v") if rc == 0 else ""
        self.next_memory["compose"] = {"identity": identity, "version": version}
        return version

    def _docker_facts(self, swarm: bool) -> tuple[dict[str, t.Any], dict[str, t.Any], dict[str, t.Any]]:
        engine, compose = self._engine()
        docker = {
            "installed": engine.origin != "none",
            "running": False,
            "version": "",
            "compose_version": compose,
            "origin": engine.origin,
        }
        if not docker["installed"]:
            return docker, no_swarm(), {}
        api = self.api()
        found = engine_facts(api)
        docker.update(running=found["running"], version=found["version"])
        networks: dict[str, t.Any] = {}
        if swarm and found["running"]:
            try:
                networks = swarm_facts(api, found["swarm"], self.wanted.get("swarm_services"))
            except EngineUnavailable as error:
                found["swarm"]["error"] = found["swarm"]["error"] or str(error)
        return docker, found["swarm"], networks

    # -- plan

    def plan(self) -> None:
        """Compare everything; nothing is changed."""
        wanted = self.wanted
        self._plan_engine(wanted.get("docker") or {})
        self._plan_packages(wanted.get("packages") or [])
        self._plan_timezone(wanted.get("timezone"))
        for group in wanted.get("groups") or []:
            self._plan_group(group)
        for user in wanted.get("users") or []:
            self._plan_user(user)
        for directory in wanted.get("directories") or []:
            self._plan_directory(directory)
        for file in wanted.get("files") or []:
            self._plan_file(file)
        for file in wanted.get("json_files") or []:
            self._plan_json(file)
        if wanted.get("sysctl_file"):
            self._plan_sysctl(wanted["sysctl_file"], wanted.get("sysctl") or {})
        self._plan_units(wanted.get("units") or [])

    def _add(self, phase: int, text: str, apply: t.Callable[[], None], diff: t.Optional[dict[str, str]] = None) -> None:
        self.actions.append(Action(phase, text, apply, diff))

    def _notify(self, file: dict[str, t.Any]) -> None:
        for notice in file.get("notify") or []:
            if notice["action"] == "restart" or self.notified.get(notice["unit"]) != "restart":
                self.notified[notice["unit"]] = notice["action"]
            if not file.get("early"):
                self.late.add(notice["unit"])
        if file["path"].startswith("/etc/systemd/system/"):
            self.reload_systemd = True

    # packages and the engine

    def _dpkg(self) -> str:
        if not self.dpkg:
            self.dpkg = self.system.read("/var/lib/dpkg/status") or ""
        return self.dpkg

    def _plan_engine(self, docker: dict[str, t.Any]) -> None:
        state = docker.get("state", "ignore")
        if state == "ignore":
            return
        engine, _version = self._engine()
        if state == "absent":
            names = [*ENGINE_PACKAGES, *COMPOSE_PACKAGES, "docker-cli", "docker-ce-cli", "containerd.io"]
            self.wanted["packages"] = (self.wanted.get("packages") or []) + [
                {"name": name, "state": "absent"} for name in names
            ]
            return
        system = os_facts(self.system.read("/etc/os-release") or "")
        choice = choose_engine(system["id"], system["version"], engine, docker.get("source") or "auto")
        self.wanted["packages"] = [{"name": name} for name in choice.packages] + (self.wanted.get("packages") or [])
        if choice.repository and not self._repository_known():
            self._plan_repository(system, docker.get("repository_url") or UPSTREAM_URL)

    def _repository_known(self) -> bool:
        """Say whether the owner already has Docker's packages among the sources, under whatever name."""
        for path in glob.glob(self.system.at("/etc/apt/sources.list.d/*")) + [self.system.at("/etc/apt/sources.list")]:
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                if path != self.system.at(SOURCES) and re.search(
                    r"^[^#\n]*download\.docker\.com", file.read(), re.MULTILINE
                ):
                    return True
        return False

    def _plan_repository(self, system: dict[str, str], url: str) -> None:
        keyring = self.system.read(KEYRING)
        if keyring is None or UPSTREAM_FINGERPRINT not in fingerprints(keyring):

            def fetch_key() -> None:
                if not self.system.exists(CERTIFICATES):
                    # Without the authorities of the distribution no certificate can be checked.
                    self._install(["ca-certificates"])
                key = self.system.fetch("%s/%s/gpg" % (url.rstrip("/"), system["id"]))
                if fingerprints(key) != [UPSTREAM_FINGERPRINT]:
                    raise MachineError(
                        "%s/%s/gpg does not hold exactly Docker's release key %s"
                        % (url, system["id"], UPSTREAM_FINGERPRINT),
                        "Check docker_repository_url; a mirror has to carry the original key.",
                    )
                self.system.write(KEYRING, key, 0o644, 0, 0, lambda path: None)

            self._add(EARLY, "fetch Docker's release key to %s" % KEYRING, fetch_key)
        machine = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}.get(os.uname().machine, os.uname().machine)
        content = repository_file(system["id"], system["codename"], machine, url)
        self._plan_file({"path": SOURCES, "content": content, "mode": "0644", "early": True})

    def _plan_packages(self, packages: list[dict[str, t.Any]]) -> None:
        if not packages:
            return
        names = {name for package in packages for name in package["name"].split("|")}
        installed = installed_packages(self._dpkg(), names)
        missing, unwanted = [], []
        for package in packages:
            choices = package["name"].split("|")
            if package.get("host_only") and self._host_only("package " + choices[0]):
                continue
            if (package.get("state") or "present") == "present":
                if not any(name in installed for name in choices) and choices[0] not in missing:
                    missing.append(choices[0])
            else:
                unwanted += [name for name in choices if name in installed and name not in unwanted]
        self.to_install = missing
        if unwanted:
            # Before the installation: what is wanted may be in conflict with what is not.
            self._add(
                PACKAGES, "remove packages %s" % " ".join(sorted(unwanted)), lambda: self._remove(sorted(unwanted))
            )
        if missing:
            self._add(PACKAGES, "install %s" % " ".join(sorted(missing)), lambda: self._install(sorted(missing)))

    def _host_only(self, subject: str) -> bool:
        """Say whether something is left out because this is a container, and report it."""
        container = self._container()
        if container:
            reason = "belongs to the host of this container (%s), not to the container" % container
            self.not_applied.append({"subject": subject, "reason": reason})
        return bool(container)

    def _remove(self, names: list[str]) -> None:
        # Never purge: the engine's package would delete all images and volumes with it.
        self._apt("remove", *names)
        self.dpkg = ""

    def _install(self, names: list[str]) -> None:
        if broken_packages(self._dpkg()) or os.listdir(self.system.at("/var/lib/dpkg/updates")):
            # A run that was killed while dpkg worked.
            self._locked("dpkg", "--configure", "-a", "--force-confdef", "--force-confold")
        fresh = self._lists_age() < 3600 and SOURCES not in self.written
        if not fresh:
            self._locked("apt-get", "update", "-q")
        options = ("install", "--no-install-recommends", "--no-remove", *names)
        try:
            self._apt(*options)
        except MachineError:
            if not fresh:
                raise
            # The lists may be older than what the mirror holds.
            self._locked("apt-get", "update", "-q")
            self._apt(*options)
        self.dpkg = ""

    def _lists_age(self) -> float:
        """Return the age of the package lists in seconds; lists that were deleted are infinitely old."""
        stamps = [os.stat(path).st_mtime for path in glob.glob(self.system.at("/var/lib/apt/lists/*Packages*"))]
        if not stamps:
            return float("inf")
        return time.time() - max(stamps + [os.stat(self.system.at("/var/lib/apt/lists")).st_mtime])

    def _apt(self, *arguments: str) -> None:
        timeout = self.wanted.get("lock_timeout") or 300
        self._locked(
            "apt-get", "-y", "-q",
            "-o", "DPkg::Lock::Timeout=%d" % timeout,
            "-o", "Dpkg::Options::=--force-confdef",
            "-o", "Dpkg::Options::=--force-confold",
            *arguments,
        )  # fmt: skip

    def _locked(self, *command: str) -> None:
        """Run a package command; wait while somebody else holds dpkg's or apt's lock."""
        deadline = time.monotonic() + (self.wanted.get("lock_timeout") or 300)
        environment = {
            "DEBIAN_FRONTEND": "noninteractive",
            "NEEDRESTART_SUSPEND": "1",
            "APT_LISTCHANGES_FRONTEND": "none",
        }
        while True:
            rc, out, err = self.system.run(*command, environment=environment)
            if rc == 0:
                return
            busy = re.search(r"Could not get lock|lock is held|is another process using it|frontend lock", err)
            if not busy:
                raise MachineError("%s failed: %s" % (" ".join(command), _last_lines(err or out)), "")
            if time.monotonic() > deadline:
                raise MachineError(
                    "the package manager is busy: %s" % _last_lines(err, 3),
                    "Wait for the other installation to end, or raise lock_timeout.",
                )
            time.sleep(3)

    # time zone

    def _plan_timezone(self, zone: t.Optional[str]) -> None:
        if not zone:
            return
        target = "/usr/share/zoneinfo/" + zone
        if not self.system.exists(target) and "tzdata" not in self.to_install:
            raise MachineError("timezone: %s is not known on this machine" % zone, "Use a name such as Europe/Berlin.")
        link = self.system.at("/etc/localtime")
        now = os.readlink(link) if os.path.islink(link) else ""
        name = self.system.read("/etc/timezone")
        if now.endswith("zoneinfo/" + zone) and name in (None, zone + "\n"):
            return

        def apply() -> None:
            if not self.system.exists(target):
                raise MachineError("timezone: %s is not known on this machine" % zone, "Use a name like Europe/Berlin.")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link + ".pantheon")
            os.symlink(target, link + ".pantheon")
            os.replace(link + ".pantheon", link)
            if self.system.exists("/etc/timezone"):
                self.system.write("/etc/timezone", zone + "\n", 0o644, 0, 0, lambda path: None)

        before = (now.rsplit("zoneinfo/", maxsplit=1)[-1] or "(none)") + "\n"
        self._add(ACCOUNTS, "set the time zone to %s" % zone, apply, _diff("time zone", before, zone + "\n"))

    # accounts

    def _plan_group(self, group: dict[str, t.Any]) -> None:
        name, there = group["name"], self.system.group(group["name"])
        if (group.get("state") or "present") == "absent":
            if there:
                self._add(REMOVE, "delete group %s" % name, lambda: _ignore(self.system.must("groupdel", name)))
        elif there is None:
            command = ["groupadd"] + (["--system"] if group.get("system") else []) + [name]
            self._add(ACCOUNTS, "create group %s" % name, lambda: _ignore(self.system.must(*command)))

    def _plan_user(self, user: dict[str, t.Any]) -> None:
        name, there = user["name"], self.system.user(user["name"])
        if (user.get("state") or "present") == "absent":
            if there:
                # The home directory stays: what a person keeps there is not ours.
                self._add(REMOVE, "delete user %s" % name, lambda: _ignore(self.system.must("userdel", name)))
            self._plan_file({"path": "/etc/sudoers.d/60-pantheon-" + name, "state": "absent"})
            (self.next_memory.setdefault("keys", {})).pop(name, None)
            return
        groups = set(user.get("groups") or [])
        if there is None:
            command = ["useradd", "--create-home", "--shell", user.get("shell") or SHELL]
            if user.get("comment") is not None:
                command += ["--comment", user["comment"]]
            if groups:
                command += ["--groups", ",".join(sorted(groups))]
            command += (["--system"] if user.get("system") else []) + [name]
            self._add(ACCOUNTS, "create user %s" % name, lambda: _ignore(self.system.must(*command)))
        else:
            options: list[str] = []
            if user.get("shell") and there.pw_shell != user["shell"]:
                options += ["--shell", user["shell"]]
            if user.get("comment") is not None and there.pw_gecos != user["comment"]:
                options += ["--comment", user["comment"]]
            lacking = groups - self.system.groups_of(name)
            if lacking:
                options += ["--append", "--groups", ",".join(sorted(lacking))]
            if options:
                self._add(
                    ACCOUNTS,
                    "change user %s (%s)" % (name, " ".join(options)),
                    lambda: _ignore(self.system.must("usermod", *options, name)),
                )
        if user.get("sudo") is not None:
            self._plan_file(
                {
                    "path": "/etc/sudoers.d/60-pantheon-" + name,
                    "content": "%s\n%s ALL=(ALL:ALL) NOPASSWD: ALL\n" % (HEADER, name),
                    "mode": "0440",
                    "validate": "/usr/sbin/visudo -cf %s",
                    "state": "present" if user["sudo"] else "absent",
                }
            )
        if user.get("authorized_keys") is not None:
            self._plan_keys(name, user["authorized_keys"], bool(user.get("exclusive_keys")), there)

    def _plan_keys(self, name: str, keys: list[str], exclusive: bool, there: t.Optional[pwd.struct_passwd]) -> None:
        home = there.pw_dir if there else "/home/" + name
        folder, path = home + "/.ssh", home + "/.ssh/authorized_keys"
        for item in (folder, path):
            status = self.system.status(item)
            if status and stat.S_ISLNK(status.st_mode):
                # Root must not write where a user's link leads.
                raise MachineError("%s is a link" % item, "Replace it by an ordinary directory and file.")
        remembered = self.next_memory.setdefault("keys", {})
        last = list(remembered.get(name) or [])
        before = self.system.read(path) or ""
        known = {key_identity(line) for line in before.splitlines()}
        # A key that was there before us stays when it is taken off our list.
        ours = [key for key in map(key_identity, keys) if key in last or key not in known]
        after = merge_keys(before, keys, last, exclusive)
        if ours:
            remembered[name] = ours
        else:
            remembered.pop(name, None)
        if after == before:
            return

        def apply() -> None:
            account = self.system.user(name)
            if account is None:
                raise MachineError("user %s does not exist after it was created" % name, "")
            where = self.system.at(folder)
            os.makedirs(where, mode=0o700, exist_ok=True)
            os.chown(where, account.pw_uid, account.pw_gid)
            os.chmod(where, 0o700)
            self.system.write(path, after, 0o600, account.pw_uid, account.pw_gid, lambda file: None)

        self._add(ACCOUNTS, "write %s" % path, apply, _diff(path, before, after))

    # files

    def _owner(self, item: dict[str, t.Any]) -> tuple[int, int]:
        owner, group = item.get("owner") or "root", item.get("group") or "root"
        account, entry = self.system.user(owner), self.system.group(group)
        if account is None and not str(owner).isdigit():
            raise MachineError("%s: owner %s does not exist" % (item["path"], owner), "Name an existing user.")
        if entry is None and not str(group).isdigit():
            raise MachineError("%s: group %s does not exist" % (item["path"], group), "Name an existing group.")
        return (account.pw_uid if account else int(owner)), (entry.gr_gid if entry else int(group))

    def _differs(self, item: dict[str, t.Any], status: os.stat_result, mode: int) -> list[str]:
        """Return what differs in mode and owner, in words."""
        found = []
        if stat.S_IMODE(status.st_mode) != mode:
            found.append("mode %04o to %04o" % (stat.S_IMODE(status.st_mode), mode))
        try:
            owner = self._owner(item)
        except MachineError:
            if not self._will_exist(item):
                raise
            found.append("owner")
        else:
            if (status.st_uid, status.st_gid) != owner:
                found.append("owner %d:%d to %d:%d" % (status.st_uid, status.st_gid, *owner))
        return found

    def _will_exist(self, item: dict[str, t.Any]) -> bool:
        """Say whether an owner may come into being in this run: with an account of ours, or with a package."""
        return bool(self.to_install) or any(action.phase == ACCOUNTS for action in self.actions)

    def _plan_directory(self, item: dict[str, t.Any]) -> None:
        path, status = item["path"], self.system.status(item["path"])
        if (item.get("state") or "present") == "absent":
            if status is None:
                return

            def remove() -> None:
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(self.system.at(path))

            if os.listdir(self.system.at(path)):
                self.not_applied.append({"subject": "directory " + path, "reason": "not empty, so it is left in place"})
                return
            self._add(REMOVE, "remove directory %s" % path, remove)
            return
        mode = int(item.get("mode") or "0755", 8)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise MachineError("%s is not a directory" % path, "Move it away.")

        def apply() -> None:
            uid, gid = self._owner(item)
            os.makedirs(self.system.at(path), mode=0o755, exist_ok=True)
            os.chown(self.system.at(path), uid, gid)
            os.chmod(self.system.at(path), mode)

        if status is None:
            self._add(FILES, "create directory %s" % path, apply, _diff(path, "", "directory, mode %04o\n" % mode))
            return
        changes = self._differs(item, status, mode)
        if changes:
            self._add(FILES, "change directory %s (%s)" % (path, ", ".join(changes)), apply)

    def _validate(self, path: str, command: t.Optional[str]) -> t.Callable[[str], None]:
        def check(fresh: str) -> None:
            if not command:
                return
            words = [word.replace("%s", fresh) for word in command.split()]
            if not any(
                os.access(os.path.join(folder, words[0]), os.X_OK)
                for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
            ):
                return  # the program comes with a package that is not there yet
            rc, out, err = self.system.run(*words)
            if rc:
                raise MachineError(
                    "%s would not be valid: %s" % (path, _last_lines(err or out)), "Nothing was replaced."
                )

        return check

    def _plan_file(self, item: dict[str, t.Any]) -> None:
        path, status = item["path"], self.system.status(item["path"])
        early = bool(item.get("early"))
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise MachineError("%s is a directory, a file is wanted" % path, "Move it away.")
        before = self.system.read(path) if status is not None else None
        hidden = bool(item.get("sensitive"))
        if (item.get("state") or "present") == "absent":
            if status is None:
                return

            def remove() -> None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.system.at(path))

            self._add(FILES, "remove %s" % path, remove, _diff(path, HIDDEN if hidden else before or "", ""))
            self._notify(item)
            return
        after, mode = str(item.get("content") or ""), int(item.get("mode") or "0644", 8)

        def write() -> None:
            uid, gid = self._owner(item)
            self.system.write(path, after, mode, uid, gid, self._validate(path, item.get("validate")))
            self.written.add(path)

        def change() -> None:
            os.chown(self.system.at(path), *self._owner(item))
            os.chmod(self.system.at(path), mode)

        phase = EARLY if early else FILES
        if before != after or status is None or stat.S_ISLNK(status.st_mode):
            text = "%s %s" % ("create" if status is None else "write", path)
            shown = _diff(path, HIDDEN if hidden and before else before or "", HIDDEN if hidden else after)
            self._add(phase, text, write, shown)
            self._notify(item)
            return
        changes = self._differs(item, status, mode)
        if changes:
            self._add(phase, "change %s (%s)" % (path, ", ".join(changes)), change)

    def _plan_json(self, item: dict[str, t.Any]) -> None:
        path, before = item["path"], self.system.read(item["path"])
        try:
            current = json.loads(before) if before and before.strip() else {}
        except ValueError as error:
            raise MachineError("%s is not valid JSON: %s" % (path, error), "Repair it; nothing was changed.") from error
        if not isinstance(current, dict):
            raise MachineError("%s does not hold a JSON object" % path, "Repair it; nothing was changed.")
        remembered = self.next_memory.setdefault("json", {})
        known = remembered.get(path) or {}
        wanted = item.get("merge") or {} if (item.get("state") or "present") == "present" else {}
        merged, added, previous = merge_json(current, wanted, known.get("added") or {}, known.get("previous") or {})
        if added or previous:
            remembered[path] = {"added": added, "previous": previous}
        else:
            remembered.pop(path, None)
        if merged == current and (before is not None or not wanted):
            return
        after = json.dumps(merged, indent=2, sort_keys=True) + "\n" if merged else ""
        status = self.system.status(path)
        mode = stat.S_IMODE(status.st_mode) if status else int(item.get("mode") or "0644", 8)

        def write() -> None:
            # The owner's link to a file elsewhere stays a link.
            place = path if self.system.root != "/" else os.path.realpath(path)
            if merged:
                uid, gid = (status.st_uid, status.st_gid) if status else self._owner(item)
                self.system.write(place, after, mode, uid, gid, self._validate(path, item.get("validate")))
            else:
                os.unlink(self.system.at(place))

        shown = _diff(path, _without_passwords(before or ""), _without_passwords(after))
        self._add(
            EARLY if item.get("early") else FILES, "%s %s" % ("merge" if merged else "remove", path), write, shown
        )
        self._notify(item)

    # kernel settings

    def _plan_sysctl(self, path: str, settings: dict[str, t.Any]) -> None:
        container = self._container()
        kept: dict[str, str] = {}
        for key in sorted(settings):
            value = normal_value(settings[key])
            now = self.system.read(sysctl_path(key)) if NAMESPACED.match(key) or not container else None
            if not NAMESPACED.match(key) and self._host_only("sysctl " + key):
                continue
            if now is None:
                reason = "the kernel does not offer it%s" % (" in this container" if container else " (yet)")
                self.not_applied.append({"subject": "sysctl " + key, "reason": reason})
                if not container:
                    kept[key] = value  # it may come with a kernel module; then the next boot sets it
                continue
            if not self.system.sysctl_writable(key):
                self.not_applied.append({"subject": "sysctl " + key, "reason": "read-only on this machine"})
                continue
            kept[key] = value
            if normal_value(now) != value:
                self._add(
                    KERNEL,
                    "set %s from %s to %s" % (key, normal_value(now), value),
                    functools.partial(self._set_sysctl, key, value),
                    _diff("sysctl " + key, normal_value(now) + "\n", value + "\n"),
                )
        lines = [HEADER]
        lines += ["%s = %s" % (key, kept[key]) for key in sorted(kept)]
        state = "present" if kept else "absent"
        self._plan_file({"path": path, "content": "\n".join(lines) + "\n", "mode": "0644", "state": state})

    def _set_sysctl(self, key: str, value: str) -> None:
        try:
            with open(self.system.at(sysctl_path(key)), "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            raise MachineError(
                "sysctl %s cannot be set to %s: %s" % (key, value, error), "Correct the value."
            ) from error

    # units

    def _show(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Return the state of units by name, all with one call."""
        if not names:
            return {}
        properties = "--property=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload"
        rc, out, err = self.system.run("systemctl", "show", properties, *names)
        blocks = parse_units(out)
        if len(blocks) != len(names):
            raise MachineError(
                "systemd does not answer: %s" % (_last_lines(err) or "rc %d" % rc), "Is it running as init?"
            )
        return dict(zip(names, blocks))  # noqa: B905 - strict came with Python 3.10

    def _plan_units(self, units: list[dict[str, t.Any]]) -> None:
        pending: dict[str, str] = self.memory.get("pending") or {}
        for name, action in pending.items():
            if action == "restart" or name not in self.notified:
                self.notified[name] = action
        names = [unit["name"] for unit in units] + list(self.notified)
        shown = self._show(sorted(set(names)))
        wrote_unit = self.reload_systemd
        self.reload_systemd = (
            wrote_unit
            or bool(self.memory.get("daemon_reload"))
            or any(info.get("NeedDaemonReload") == "yes" for info in shown.values())
        )
        if self.reload_systemd:
            self._add(UNITS, "reload systemd", lambda: _ignore(self.system.must("systemctl", "daemon-reload")))
        started: set[str] = set()
        for unit in units:
            self._plan_unit(unit, shown[unit["name"]], started)
        for name, action in sorted(self.notified.items()):
            info = shown[name]
            if name in started or info["LoadState"] == "masked":
                continue
            if info["ActiveState"] not in ("active", "reloading", "activating"):
                continue  # not running: it reads its settings when it starts
            late = " (left over from an interrupted run)" if name in pending and name not in self._fresh() else ""
            self._add(UNITS, "%s %s%s" % (action, name, late), functools.partial(self._again, name, action))
        self.next_memory["pending"] = dict(self.notified)
        self.next_memory["daemon_reload"] = self.reload_systemd

    def _fresh(self) -> set[str]:
        """Return the units that changes planned in this run notify."""
        changed = {action.text.split(" ", 1)[1].split(" (")[0] for action in self.actions if " " in action.text}
        found = set()
        for item in (self.wanted.get("files") or []) + (self.wanted.get("json_files") or []):
            if item["path"] in changed:
                found |= {notice["unit"] for notice in item.get("notify") or []}
        return found

    def _plan_unit(self, unit: dict[str, t.Any], info: dict[str, str], started: set[str]) -> None:
        name, state, enabled = unit["name"], unit.get("state"), unit.get("enabled")
        load, active, boot = info.get("LoadState"), info.get("ActiveState"), info.get("UnitFileState")
        stopping = state == "stopped"
        if unit.get("host_only") and self._host_only("unit " + name):
            return
        if load == "masked":
            if unit.get("masked") is False:
                self._add(UNITS, "unmask %s" % name, lambda: _ignore(self.system.must("systemctl", "unmask", name)))
                boot = "disabled"
            elif not unit.get("masked"):
                if state == "started" or enabled:
                    self.not_applied.append({"subject": "unit " + name, "reason": "masked on this machine"})
                return
        elif load == "not-found":
            # An optional unit that comes with a package of this run is set up by that package.
            if stopping or enabled is False or unit.get("optional"):
                return
            if not self.to_install and not self.reload_systemd:
                raise MachineError("unit %s does not exist" % name, "Install what brings it, or leave it out.")
        if unit.get("masked"):
            if load != "masked":
                self._add(STOP, "mask %s" % name, lambda: _ignore(self.system.must("systemctl", "mask", "--now", name)))
            return
        phase = STOP if stopping else UNITS
        if stopping and active in ("active", "activating", "reloading"):
            self._add(STOP, "stop %s" % name, lambda: _ignore(self.system.must("systemctl", "stop", name)))
        if enabled is not None and boot not in ("static", "generated", "alias", "indirect", "transient"):
            if enabled and boot not in ("enabled", "enabled-runtime"):
                self._add(phase, "enable %s" % name, lambda: _ignore(self.system.must("systemctl", "enable", name)))
            elif not enabled and boot in ("enabled", "enabled-runtime"):
                self._add(phase, "disable %s" % name, lambda: _ignore(self.system.must("systemctl", "disable", name)))
        if state == "started" and active not in ("active", "activating", "reloading"):
            started.add(name)
            self._add(UNITS, "start %s" % name, lambda: self._again(name, "start"))

    def _again(self, name: str, action: str) -> None:
        """Start, restart or reload a unit; says why, if it does not come up."""
        self.system.run("systemctl", "reset-failed", name)
        verb = {"start": "restart" if name in self.late else "start", "restart": "restart"}
        command = verb.get(action, "reload-or-restart")
        rc, _out, err = self.system.run("systemctl", command, name)
        if rc:
            _rc, log, _err = self.system.run(
                "journalctl", "--unit", name, "--lines", "20", "--no-pager", "--output", "cat"
            )
            raise MachineError("%s %s failed: %s" % (command, name, _last_lines(err, 5)), _last_lines(log, 20))

    # -- memory

    def _load_memory(self) -> Json:
        text = self.system.read(STATE_FILE)
        if not text:
            return {}
        try:
            memory = json.loads(text)
        except ValueError:
            return {}  # written in one step, so this is somebody's edit; ours is rebuilt from the machine
        return memory if isinstance(memory, dict) else {}

    def _save_memory(self, memory: Json) -> None:
        kept = {key: value for key, value in memory.items() if value}
        if kept == {key: value for key, value in self.memory.items() if value}:
            return
        text = json.dumps(kept, indent=2, sort_keys=True) + "\n"
        self.system.write(STATE_FILE, text, 0o600, os.geteuid(), os.getegid(), lambda path: None)
        self.memory = kept

    # -- apply

    @contextlib.contextmanager
    def _lock(self) -> t.Iterator[None]:
        """Let one run at a time change the machine."""
        path = self.system.at(LOCK_FILE)
        deadline = time.monotonic() + (self.wanted.get("lock_timeout") or 300)
        with open(path, "w", encoding="ascii") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise MachineError(
                            "another run has been changing this machine for too long", "Wait, or raise lock_timeout."
                        ) from None
                    time.sleep(0.2)
            yield

    def reconcile(self) -> dict[str, t.Any]:
        """Plan, apply (unless in check mode) and report."""
        if self.check_mode:
            self.plan()
        else:
            with self._lock():
                # Read again under the lock: another run may have finished meanwhile.
                self.memory = self._load_memory()
                self.next_memory = copy.deepcopy(self.memory)
                self.plan()
                self._apply()
        result: dict[str, t.Any] = {
            "changed": bool(self.actions),
            "actions": [action.text for action in self._ordered()],
            "not_applied": self.not_applied,
        }
        shown = [action.diff for action in self._ordered() if action.diff]
        if shown:
            result["diff"] = shown
        result.update(self.facts())
        if not self.check_mode:
            self._save_memory(self.next_memory)
        return result

    def _ordered(self) -> list[Action]:
        return sorted(self.actions, key=lambda action: action.phase)

    def _apply(self) -> None:
        if self.actions:
            self._save_memory(self.next_memory)  # what has to follow is known before the first change
            for action in self._ordered():
                action.apply()
            self._settle()
        self.next_memory["pending"] = {}
        self.next_memory["daemon_reload"] = False
        self._save_memory(self.next_memory)

    def _settle(self) -> None:
        """After an installation: a unit that came up with its package must have read the settings written after it."""
        if not self.to_install:
            return
        done = {action.text.split(" ")[1] for action in self.actions if re.match(r"(re)?start |reload ", action.text)}
        for name, action in sorted(self.notified.items()):
            if name in self.late and name not in done:
                self.system.must("systemctl", "try-restart" if action == "restart" else "try-reload-or-restart", name)


def _ignore(_result: t.Any) -> None:
    """Turn an expression into a statement."""


def _without_passwords(text: str) -> str:
    """Hide what stands before the @ of an address: a proxy's user and password."""
    return re.sub(r"://[^/@\s\"]+@", "://***@", text)


def _diff(name: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": name, "after_header": name, "before": before, "after": after}
