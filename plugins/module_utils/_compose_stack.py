# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile the compose stacks of one machine. Private to this collection; standard library only.

The order of the steps is what makes a run that is killed anywhere converge when it is run again:

1. files of others in our way are saved beside themselves;
2. the manifest takes ownership of old and new files and notes since when changes are pending;
3. files are removed and written, each atomically;
4. compose brings the project up;
5. the manifest drops the pending note and the files that are gone.

Whether a project has to be brought up is read from its containers (label ai.pantheon.config) and from that note, never
from "did this run write a file".
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
import typing as t
from datetime import datetime, timezone

from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import (
    Container,
    Docker,
    DockerError,
    DockerUnavailable,
)

MANIFEST = ".pantheon.json"
MANIFEST_VERSION = 1
BACKUP_SUFFIX = ".before-pantheon"
SECRET = re.compile(r"@@secret:([A-Za-z0-9_.-]+)@@")
HIDDEN = "********"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=")
_NETWORK_MISSING = re.compile(
    r"network \S+ (?:declared as external, but could not be found|not found)"
    r"|[Cc]ould not attach to network|attaching to network failed|network sandbox for container .* not found"
)
_DRY_RECREATE = re.compile(r"Container (\S+)\s+Recreate\b")
_REGISTRY_UNREACHABLE = (
    r"(?:pull|registry|/v2/|failed to resolve).*(?:no such host|connection refused|i/o timeout|network is unreachable"
    r"|no route to host|request canceled|certificate|server gave http response)"
)
_NAME_CONFLICT = re.compile(r"is already in use by container|removal of container \S+ is already in progress")

LOCK_SECONDS = 30.0
NETWORK_SECONDS = 60.0
CONFLICT_TRIES = 3
STABLE_SECONDS = 2.0  # how long a service without a health check must run
UNHEALTHY_SECONDS = 10.0  # how long unhealthy must last before it counts
MOST_RESTARTS = 5  # a service that restarts as often while we wait is broken
COMPOSE_SECONDS = 3600.0  # images of models' servers are tens of gigabytes
PARALLEL = 4
MOUNT_SECONDS = 40.0  # systemd gives an attempt to mount 30 seconds
ANSWER_SECONDS = 10.0


class StackError(Exception):
    """The run cannot start, or cannot go on at all. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class StackFailure(Exception):
    """One stack failed; the others go on.

    Args:
        reason: what is wrong, in one sentence.
        remedy: what to do.
        service: the service of the stack, where one is known.
        logs: the last lines that it wrote.
    """

    def __init__(self, reason: str, remedy: str = "", service: str = "", logs: t.Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.service, self.logs = reason, remedy, service, list(logs)


class Redactor:
    """Hide secrets in whatever leaves the machine: those of this run and those that the old files still hold."""

    def __init__(self, secrets: t.Iterable[str] = ()) -> None:
        self.values: t.Set[str] = set()
        self._pattern: t.Optional[t.Pattern[str]] = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Hide this value from now on; of several lines (keys, certificates) each one that is long enough."""
        lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
        for value in [secret.strip(), *(line for line in lines if len(line) >= 16)]:
            if len(value) >= 4 and value not in self.values:
                self.values.add(value)
                self._pattern = None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if not self.values:
            return text
        if self._pattern is None:
            longest_first = sorted(self.values, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(re.escape(value) for value in longest_first))
        return self._pattern.sub(HIDDEN, text)

    def clean(self, value: t.Any) -> t.Any:
        """Return the data with every string in it redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(item) for item in value]
        return value


# --- what is wanted -------------------------------------------------------------------------------------------------


class WantedFile(t.NamedTuple):
    """A file as it shall be; `template` is its text with secrets still as placeholders."""

    path: str
    template: str
    content: bytes
    mode: int
    uid: int
    gid: int
    sensitive: bool


class Wanted(t.NamedTuple):
    """A stack as it shall be."""

    name: str
    tier: str
    project: str
    networks: t.Tuple[str, ...]
    files: t.Tuple[WantedFile, ...]
    services: t.Dict[str, float]  # seconds that a service may take to start
    config: str
    requires: t.Tuple[str, ...]
    storage: t.Tuple[str, ...] = ()  # where the NAS has to be mounted before a container starts


def check_path(stack: str, path: str) -> str:
    """Return a path inside a stack's directory unchanged; refuse one that leaves it or is kept for ourselves."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise StackError(
            f"stack {stack}: files[].path {path!r} does not lie inside the stack's directory",
            "Use a relative path without '..'.",
        )
    if parts[-1] == MANIFEST or parts[-1].endswith((BACKUP_SUFFIX, ".pantheon-new")):
        raise StackError(f"stack {stack}: files[].path {path!r} is a name that Pantheon keeps for itself", "Rename it.")
    return path


def parse_wanted(raw: t.Dict[str, t.Any], secrets: t.Dict[str, str]) -> Wanted:
    """Check one stack of the module's parameters and put the secrets into its files.

    Raises:
        StackError: a field is missing or wrong, or a placeholder names a secret that was not handed over.
    """
    name = raw["name"]
    if not _NAME.match(name):
        raise StackError(f"stacks[].name {name!r} is not a name", "Use lower-case letters, digits, '-' and '_'.")

    def fill(found: t.Match[str]) -> str:
        if found.group(1) not in secrets:
            raise StackError(
                f"stack {name}: no value for the secret {found.group(1)!r}", "Run the secrets step of site.yml."
            )
        return secrets[found.group(1)]

    files = []
    for item in raw["files"]:
        try:
            mode = int(str(item["mode"]), 8)
        except ValueError:
            raise StackError(
                f"stack {name}: {item['path']}: mode {item['mode']!r} is not octal", 'Write it like "0640".'
            ) from None
        files.append(
            WantedFile(
                path=check_path(name, item["path"]),
                template=item["content"],
                content=SECRET.sub(fill, item["content"]).encode(),
                mode=mode,
                uid=int(item.get("uid") or 0),
                gid=int(item.get("gid") or 0),
                sensitive=bool(item.get("sensitive")) or SECRET.search(item["content"]) is not None,
            )
        )
    return Wanted(
        name=name,
        tier=raw["tier"],
        project=raw.get("project") or f"pantheon-{name}",
        networks=tuple(raw.get("networks") or ()),
        files=tuple(sorted(files)),
        services={
            service: float((settings or {}).get("start_seconds") or 0) for service, settings in raw["services"].items()
        },
        config=raw["config"],
        requires=tuple(raw.get("requires") or ()),
        storage=tuple(raw.get("storage") or ()),
    )


# --- the manifest: what is ours -------------------------------------------------------------------------------------


class Manifest:
    """What Pantheon owns in a stack's directory (`.pantheon.json`)."""

    def __init__(self, name: str, raw: t.Optional[t.Dict[str, t.Any]] = None) -> None:
        raw = raw or {}
        self.tier: str = raw.get("tier", "")
        self.project: str = raw.get("project", f"pantheon-{name}")
        self.files: t.Dict[str, t.Dict[str, str]] = raw.get("files", {})
        self.pending_since: t.Optional[int] = raw.get("pending_since")
        self.services: t.Dict[str, str] = raw.get("services", {})  # compose's own hash of each service, as we left it

    def text(self) -> str:
        """Return the manifest as it is written."""
        data: t.Dict[str, t.Any] = {
            "comment": "Written by Pantheon: the files of this directory that it may change and remove.",
            "version": MANIFEST_VERSION,
            "tier": self.tier,
            "project": self.project,
            "files": self.files,
            "services": self.services,
        }
        if self.pending_since is not None:
            data["pending_since"] = self.pending_since
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def read_manifest(directory: str) -> t.Tuple[t.Optional[Manifest], str]:
    """Return the manifest of a directory, None without one, and a warning for one that cannot be read."""
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, encoding="utf-8") as stream:
            raw = json.load(stream)
        if (
            not isinstance(raw, dict)
            or raw.get("version") != MANIFEST_VERSION
            or not isinstance(raw.get("files"), dict)
        ):
            raise ValueError(f"it is not a manifest of version {MANIFEST_VERSION}")
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except ValueError as error:
        return None, f"{path} is ignored ({error}): files that differ are saved as *{BACKUP_SUFFIX} and written again."
    return Manifest(os.path.basename(directory), raw), ""


def owned(wanted: Wanted) -> t.Dict[str, t.Dict[str, str]]:
    """Return the manifest's entries of a stack's files. A sensitive one keeps its text with placeholders, to show
    later what changed in it without showing a value."""
    entries = {}
    for file in wanted.files:
        entries[file.path] = {"sha256": hashlib.sha256(file.content).hexdigest()}
        if file.sensitive:
            entries[file.path]["template"] = file.template
    return entries


# --- files ----------------------------------------------------------------------------------------------------------


def write_atomic(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Put content in place of whatever path names, completely or not at all, also through a power cut.

    The temporary name is always the same: one that a killed run left is overwritten by the next.
    """
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.pantheon-new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        _set_metadata(descriptor, mode, uid, gid)
        os.fsync(descriptor)
    os.replace(temporary, path)


def _set_metadata(target: t.Union[int, str], mode: int, uid: int, gid: int) -> None:
    found = os.stat(target)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(target, uid, gid)
        found = os.stat(target)  # changing the owner clears the set-id bits
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(target, mode)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(mode: int, uid: int, gid: int) -> str:
    return f"mode {mode:04o}, owner {uid}:{gid}"


def shown_template(template: str) -> str:
    """Return a text with placeholders as people shall see it."""
    return SECRET.sub(lambda found: f"<secret {found.group(1)}>", template)


def masked(text: str) -> str:
    """Return a text of which nothing is known but that it is sensitive: names of settings without their values."""
    lines = []
    for line in text.splitlines():
        found = _ASSIGNMENT.match(line)
        lines.append(f"{found.group(1)}=<hidden>" if found else "<hidden>" if line.strip() else "")
    return "\n".join(lines) + "\n" if lines else ""


def secrets_in(template: str, text: str) -> t.List[str]:
    """Return the values that stand in a text where its template has placeholders: old secrets, to be hidden too."""
    if SECRET.fullmatch(template.strip()):
        return [text]
    found: t.List[str] = []
    lines = text.splitlines()
    for wanted in template.splitlines():
        if not SECRET.search(wanted):
            continue
        literals = SECRET.split(wanted)[::2]
        if sum(len(literal.strip()) for literal in literals) < 3:
            continue  # such a pattern would match any line, and hide half of the output
        pattern = re.compile("(.+?)".join(re.escape(literal) for literal in literals) + r"\Z")
        key = _ASSIGNMENT.match(wanted)
        for line in lines:
            match = pattern.match(line)
            if match:
                found.extend(match.groups())
            elif key and line.startswith(key.group(0)):
                found.append(line[len(key.group(0)) :].strip("\"'"))
    return found


class FileChange(t.NamedTuple):
    """What happens to one file."""

    path: str
    action: str  # created, changed, removed
    content: bool  # whether its content changes, not only mode or owner
    foreign: bool  # whether what is there now is not ours, and has to be saved
    before: str  # for the diff
    after: str
    note: str  # for the header of the diff


def _before(entry: t.Optional[t.Dict[str, str]], sensitive: bool, content: bytes) -> str:
    """Return the content on disk as the diff may show it."""
    text = content.decode("utf-8", "replace")
    if entry is not None and "template" in entry:
        if hashlib.sha256(content).hexdigest() == entry.get("sha256"):
            return shown_template(entry["template"])
        return masked(text)
    return masked(text) if sensitive else text


def plan_file(
    directory: str, file: WantedFile, entry: t.Optional[t.Dict[str, str]], redactor: Redactor
) -> t.Optional[FileChange]:
    """Compare a wanted file with the disk; `entry` is the manifest's, None for a file that is not ours."""
    path = os.path.join(directory, file.path)
    after = shown_template(file.template) if file.sensitive else file.template
    new = _describe(file.mode, file.uid, file.gid)
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return FileChange(file.path, "created", True, False, "", after, new)
    if not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode) and not os.listdir(path):
            # Docker makes such a directory when the source of a bind mount is missing.
            return FileChange(file.path, "changed", True, False, "(an empty directory)\n", after, new)
        return FileChange(file.path, "changed", True, True, "(not a regular file)\n", after, new)
    old = _describe(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    with open(path, "rb") as stream:
        content = stream.read()
    if content == file.content:
        if old == new:
            return None
        return FileChange(file.path, "changed", False, False, old + "\n", new + "\n", "")
    text = content.decode("utf-8", "replace")
    for template in (file.template, (entry or {}).get("template", "")):
        for secret in secrets_in(template, text):
            redactor.add(secret)
    if entry is None:
        before = "(a file that Pantheon did not write)\n"
    else:
        before = _before(entry, file.sensitive, content)
        if before == after:
            after += "# values of secrets changed\n"
    return FileChange(
        file.path, "changed", True, entry is None, before, after, new if old == new else f"{old} -> {new}"
    )


def plan_removed(directory: str, path: str, entry: t.Dict[str, str], redactor: Redactor) -> t.Optional[FileChange]:
    """Plan the removal of a file that is ours and no longer wanted; None when it is gone already."""
    full = os.path.join(directory, path)
    try:
        found = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None  # somebody put something else in its place: not ours
    with open(full, "rb") as stream:
        content = stream.read()
    if "template" in entry:
        for secret in secrets_in(entry["template"], content.decode("utf-8", "replace")):
            redactor.add(secret)
    return FileChange(path, "removed", True, False, _before(entry, False, content), "", "")


def check_parents(directory: str, wanted: Wanted, removed: t.Container[str]) -> None:
    """Refuse to write through a link or below a file: that would leave the stack's directory, or fail half-way."""
    seen: t.Set[str] = set()
    for file in wanted.files:
        parent = os.path.dirname(file.path)
        while parent and parent not in seen:
            seen.add(parent)
            full = os.path.join(directory, parent)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if not stat.S_ISDIR(os.lstat(full).st_mode) and parent not in removed:
                    raise StackFailure(
                        f"{full} is not a directory, and {file.path} has to be written below it",
                        f"Move {full} away; Pantheon does not follow links inside a stack's directory.",
                    )
            parent = os.path.dirname(parent)


def save_foreign(path: str) -> str:
    """Keep what stands at path under another name, and return that name. A second run keeps the first copy."""
    number = 1
    while True:
        backup = path + BACKUP_SUFFIX + ("" if number == 1 else f".{number}")
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                if os.path.lexists(backup):
                    raise FileExistsError
                os.rename(path, backup)
            else:
                os.link(path, backup, follow_symlinks=False)  # the original stays until it is replaced atomically
            return backup
        except FileExistsError:
            old, new = os.lstat(backup), os.lstat(path)
            if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino):
                return backup  # an interrupted run saved it already
            number += 1


# --- services -------------------------------------------------------------------------------------------------------


class ServicePlan(t.NamedTuple):
    """What happens to one service, and why."""

    action: str  # none, created, recreated, started, removed
    reason: str
    force: bool = False  # compose would see no reason to recreate it


def plan_service(
    wanted: Wanted,
    manifest: t.Optional[Manifest],
    containers: t.Sequence[Container],
    mounted_changed: bool,
    applied_elsewhere: t.Callable[[Container], bool],
) -> ServicePlan:
    """Decide what one wanted service needs.

    Args:
        wanted: its stack.
        manifest: the stack's manifest, None on the first run.
        containers: the service's containers.
        mounted_changed: whether a file that containers mount is replaced now: a running one would keep the old inode.
        applied_elsewhere: whether a container differs from the files, though its label fits (see `ComposeStacks`).
    """
    if not containers:
        return ServicePlan("created", "it has no container")
    if len(containers) > 1:
        return ServicePlan("recreated", "it has more than one container", True)
    container = containers[0]
    if container.config != wanted.config:
        return ServicePlan("recreated", "its configuration changed")
    if mounted_changed:
        return ServicePlan("recreated", "a file that it mounts changed", True)
    since = manifest.pending_since if manifest else None
    if since is not None and container.created <= since:
        return ServicePlan("recreated", "an earlier run was interrupted", True)
    if container.state in ("paused", "restarting", "dead", "removing"):
        return ServicePlan("recreated", f"its container is {container.state}", True)
    lacking = sorted(set(wanted.networks) - set(container.networks))
    if lacking:
        return ServicePlan("recreated", f"its container is not on the network {', '.join(lacking)}", True)
    if container.health == "unhealthy":
        return ServicePlan("recreated", "its container is unhealthy", True)
    if applied_elsewhere(container):
        return ServicePlan("recreated", "its container was made from other files", True)
    if container.state != "running":
        return ServicePlan("started", f"its container is {container.state}")
    return ServicePlan("none", "")


def settling(container: Container) -> bool:
    """Whether it is too early to say that a running container works."""
    return container.health == "starting" or (
        container.health == "none" and re.match(r"Up (?:Less than a|1) second\b", container.status) is not None
    )


class Plan:
    """Everything that is to be done with one stack. Check mode reports it, a real run carries it out."""

    def __init__(self, name: str, directory: str, wanted: t.Optional[Wanted], manifest: t.Optional[Manifest]) -> None:
        self.name, self.directory, self.wanted, self.manifest = name, directory, wanted, manifest
        self.project = wanted.project if wanted else manifest.project if manifest else f"pantheon-{name}"
        self.files: t.List[FileChange] = []
        self.services: t.Dict[str, ServicePlan] = {}
        self.containers: t.Dict[str, t.List[Container]] = {}
        self.volumes: t.List[str] = []
        self.unit = "none"  # enabled, disabled
        self.settle = False  # nothing to do, but a container is still starting
        self.stale_record = False  # the manifest is out of date, and nothing else
        self.failure: t.Optional[StackFailure] = None
        self.blocked = False  # it failed while planning: nothing is done
        self.health: t.Dict[str, str] = {}
        self.kept: t.List[str] = []

    @property
    def acts(self) -> bool:
        """Whether containers are touched."""
        return any(service.action != "none" for service in self.services.values())

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        if self.blocked:
            return False
        return bool(self.files or self.acts or self.volumes or self.unit != "none") or self.wanted is None

    @property
    def idle(self) -> bool:
        """Return whether nothing is to be done for the stack, nothing to be written down and nothing to be waited for."""
        working = all(health in ("healthy", "running") for health in self.health.values())
        return working and not (self.changed or self.settle or self.stale_record or self.failure)

    def report(self) -> t.Dict[str, t.Any]:
        """Return the result of this stack."""
        services = {}
        for name, service in self.services.items():
            services[name] = {"action": service.action, "health": self.health.get(name, "unknown")}
            if service.reason:
                services[name]["reason"] = service.reason
        return {
            "changed": self.changed,
            "state": "present" if self.wanted else "absent",
            "files": {change.path: change.action for change in self.files},
            "services": services,
            "volumes_removed": self.volumes,
            "unit": self.unit,
            "kept": self.kept,
        }

    def diff(self) -> t.List[t.Dict[str, str]]:
        """Return what Ansible shows with --diff."""
        entries = []
        for change in self.files:
            header = os.path.join(self.directory, change.path) + (f" ({change.note})" if change.note else "")
            entries.append(
                {"before_header": header, "after_header": header, "before": change.before, "after": change.after}
            )
        before, after = [], []
        for name, service in sorted(self.services.items()):
            if service.action != "none":
                states = ", ".join(container.state for container in self.containers.get(name, ())) or "absent"
                before.append(f"{name}: {states}\n")
                after.append(f"{name}: {service.action} ({service.reason})\n")
        for volume in self.volumes:
            before.append(f"volume {volume}: present\n")
            after.append(f"volume {volume}: removed\n")
        if self.unit != "none":
            before.append(f"start at boot: {'disabled' if self.unit == 'enabled' else 'enabled'}\n")
            after.append(f"start at boot: {self.unit}\n")
        if before:
            header = f"services of {self.project}"
            entries.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": "".join(before),
                    "after": "".join(after),
                }
            )
        return entries


# --- what is outside: compose, systemd ------------------------------------------------------------------------------

RunCommand = t.Callable[[t.Sequence[str], str, t.Dict[str, str], float], t.Tuple[int, str]]


def run_command(
    command: t.Sequence[str], directory: str, environment: t.Dict[str, str], timeout: float
) -> t.Tuple[int, str]:
    """Run a program and return its status and everything that it wrote; 124 when it took too long."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return 124, output.decode("utf-8", "replace") + f"\n{command[0]} took longer than {timeout:.0f} s"
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    return done.returncode, done.stdout.decode("utf-8", "replace")


class Compose:
    """`docker compose` for one machine.

    Args:
        socket: the socket of the engine.
        run: runs a command; tests pass a fake.
    """

    def __init__(self, socket: str = "/var/run/docker.sock", run: RunCommand = run_command) -> None:
        self.run = run
        path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
        self.docker = shutil.which("docker", path=path) or "docker"
        # Nothing else of the caller's environment: a variable there would win over the same one in `.env`.
        self.environment = {"PATH": path, "LC_ALL": "C.UTF-8", "DOCKER_HOST": f"unix://{socket}"}
        for name in ("HOME", "DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def _call(self, project: str, directory: str, timeout: float, *arguments: str) -> t.Tuple[int, str]:
        command = [self.docker, "compose", "--ansi", "never", "--project-name", project, *arguments]
        return self.run(command, directory, self.environment, timeout)

    def up(self, project: str, directory: str, force: t.Sequence[str], others: bool) -> t.Tuple[int, str]:
        """Bring a project up: recreate the services of `force` in any case, then, with `others`, what else differs."""
        base = ["up", "--detach", "--no-build", "--quiet-pull"]
        status, output = 0, ""
        if force:
            status, output = self._call(
                project, directory, COMPOSE_SECONDS, *base, "--no-deps", "--force-recreate", *force
            )
        if others and status == 0:
            status, output = self._call(project, directory, COMPOSE_SECONDS, *base, "--remove-orphans")
        return status, output

    def would_recreate(self, project: str, directory: str) -> t.Optional[t.Set[str]]:
        """Return the containers that compose itself would recreate for the files on disk; None when it cannot say."""
        status, output = self._call(project, directory, 60.0, "--dry-run", "up", "--detach", "--no-build")
        return set(_DRY_RECREATE.findall(output)) if status == 0 else None


def explain(output: str, project: str) -> t.Tuple[str, str]:
    """Turn the output of a failed `docker compose up` into a sentence and a remedy."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = " ".join(lines[-3:]) or "docker compose said nothing"
    lowered = output.lower()
    for pattern, reason, remedy in (
        (
            r"is not a docker command|unknown (?:shorthand )?flag|is not installed",
            "Docker with compose v2 is not installed",
            "Run the role docker on this machine.",
        ),
        (
            r"no space left on device",
            "the disk is full",
            "Free space (docker system df shows what Docker holds), then run again.",
        ),
        (
            r"toomanyrequests|rate limit",
            "the registry limits how many images may be pulled",
            "Wait, log in to the registry, or set pantheon_images to a mirror.",
        ),
        (
            r"manifest unknown|manifest for .* not found|no matching manifest|repository .* not found",
            "an image does not exist in its registry, or not for this machine's architecture",
            "Correct image.tag in the catalog, or pantheon_images in the inventory.",
        ),
        (
            r"unauthorized|pull access denied|authentication required|denied: ",
            "the registry refuses to hand out an image",
            "Check the name of the image; log in with docker login where it is private.",
        ),
        (
            _REGISTRY_UNREACHABLE,
            "the registry cannot be reached",
            "Check network, DNS and proxy of this machine, or set pantheon_images to a registry that it reaches.",
        ),
        (
            r"port is already allocated|address already in use",
            "a port that it publishes is taken",
            "Find the program with `ss -ltnp`, and stop it or change the endpoint's port in the catalog.",
        ),
        (
            r"is already in use by container",
            "a container that is not ours has its name",
            f"Remove that container, or rename it; then run again. Containers of {project} are ours.",
        ),
    ):
        if re.search(pattern, lowered, re.DOTALL):
            return f"{reason}: {said}", remedy
    if _NETWORK_MISSING.search(output):
        return (
            f"a network is not known to this machine: {said}",
            "Run the role overlay: a worker knows a network once the anchor service runs there, and managers must answer.",
        )
    return f"docker compose up failed: {said}", "Run `docker compose up` in its directory to see all of its output."


def path_answers(path: str, seconds: float = ANSWER_SECONDS) -> bool:
    """Return whether the file system at a path answers within its time.

    A process that waits for a server that is gone cannot even be killed, so one that does is not waited for: it ends when
    the server comes back.
    """
    child = subprocess.Popen(
        ["stat", "--file-system", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if child.returncode is None:
        child.kill()
    return child.returncode == 0


class Units:
    """The systemd units that bring stacks up again at boot.

    Args:
        root: the root of the file system; tests pass another.
        run: runs a command; tests pass a fake.
        answers: says whether a path can be read; tests pass a fake.
    """

    TEMPLATE = "pantheon-stack@.service"

    def __init__(
        self, root: str = "/", run: RunCommand = run_command, answers: t.Callable[[str], bool] = path_answers
    ) -> None:
        self.root, self.run, self.answers = root, run, answers
        etc = os.path.join(root, "etc/systemd/system")
        try:
            wants = [os.path.join(etc, name) for name in os.listdir(etc) if name.endswith(".wants")]
            self._enabled = {link for folder in wants for link in os.listdir(folder)}
        except (FileNotFoundError, NotADirectoryError):
            self._enabled = set()

    @staticmethod
    def unit(name: str) -> str:
        """Return the unit of a stack."""
        return f"pantheon-stack@{name}.service"

    def managed(self) -> bool:
        """Whether systemd runs this machine."""
        return os.path.isdir(os.path.join(self.root, "run/systemd/system"))

    def available(self) -> bool:
        """Whether the template unit is installed."""
        folders = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
        return any(os.path.exists(os.path.join(self.root, folder, self.TEMPLATE)) for folder in folders)

    def lacking(self, path: str) -> str:
        """Return what keeps the storage at a path from being used, empty if nothing does; try to mount it first.

        The path is only touched by a process of its own: a server that is gone stops whoever touches its mount.
        """
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        if path not in self._mounts():
            status, unit = self.run(
                ["systemd-escape", "--path", "--suffix=mount", path], "/", environment, ANSWER_SECONDS
            )
            if status == 0:
                self.run(["systemctl", "start", unit.strip()], "/", environment, MOUNT_SECONDS)
        if path not in self._mounts():
            return "is not mounted"
        return "" if self.answers(path) else "does not answer"

    def _mounts(self) -> t.Set[str]:
        found = set()
        with open(os.path.join(self.root, "proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                left, separator, right = line.partition(" - ")
                fields = left.split(" ")
                if separator and len(fields) > 4 and not right.startswith("autofs "):
                    found.add(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), fields[4]))
        return found

    def enabled(self, name: str) -> bool:
        """Whether a stack is started at boot. Reads links instead of asking systemctl, which takes 10 ms each."""
        return self.unit(name) in self._enabled

    def switch(self, verb: str, names: t.Sequence[str]) -> None:
        """Enable or disable the units of several stacks with one call."""
        if names:
            command = ["systemctl", verb, *(self.unit(name) for name in names)]
            environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
            status, output = self.run(command, "/", environment, 60.0)
            if status != 0:
                raise StackError(
                    f"{' '.join(command)} failed: {output.strip()}", "See `systemctl status` on the machine."
                )


# --- the run --------------------------------------------------------------------------------------------------------


class Options(t.NamedTuple):
    """The parameters of a run; `docs/compose_stack.md` and the module document them."""

    root: str
    stacks: t.Sequence[Wanted]
    keep: t.Container[str] = ()
    tiers: t.Optional[t.Sequence[str]] = None
    only: t.Optional[t.Sequence[str]] = None
    state: str = "present"
    remove_volumes: bool = False
    wait_timeout: float = 120.0
    log_lines: int = 20
    machine: str = "this machine"
    check_mode: bool = False


class ComposeStacks:
    """The compose stacks of one machine.

    Args:
        options: what is wanted.
        docker: the engine.
        compose: `docker compose`.
        units: systemd.
        redactor: holds the secrets of this run; learns those of the files on disk.
        clock, sleep: time; tests pass their own.
    """

    def __init__(
        self,
        options: Options,
        docker: Docker,
        compose: Compose,
        units: Units,
        redactor: Redactor,
        clock: t.Callable[[], float] = time.time,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self.options, self.docker, self.compose, self.units = options, docker, compose, units
        self.redactor, self.clock, self.sleep = redactor, clock, sleep
        self.warnings: t.List[str] = []
        self.notes: t.List[str] = []

    def run(self) -> t.Dict[str, t.Any]:
        """Reconcile, and return the module's result; with `failures` when a stack failed.

        Raises:
            StackError: nothing can be done on this machine.
        """
        with self._lock():
            plans = self._plan()
            if not self.options.check_mode:
                self._carry_out(plans)
        failures = []
        for plan in plans:
            if plan.failure:
                failures.append(
                    {
                        "stack": plan.name,
                        "service": plan.failure.service,
                        "machine": self.options.machine,
                        "reason": plan.failure.reason,
                        "remedy": plan.failure.remedy,
                        "logs": plan.failure.logs,
                    }
                )
        result: t.Dict[str, t.Any] = {
            "changed": any(plan.changed for plan in plans),
            "stacks": {plan.name: plan.report() for plan in plans},
            "diff": [entry for plan in plans for entry in plan.diff()],
            "failures": failures,
            "warnings": self.warnings,
            "notes": self.notes,
            "idle": all(plan.idle for plan in plans),
        }
        cleaned: t.Dict[str, t.Any] = self.redactor.clean(result)
        return cleaned

    @contextlib.contextmanager
    def _lock(self) -> t.Iterator[None]:
        """Keep two runs from meeting: a second one waits, then gives up with a sentence."""
        root = self.options.root
        if self.options.check_mode or (self.options.state == "absent" and not os.path.isdir(root)):
            yield
            return
        os.makedirs(root, mode=0o755, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = self.clock() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.clock() >= deadline:
                        raise StackError(
                            f"another run works on {root} of {self.options.machine}",
                            "Wait for it to end, or stop it; then run again.",
                        ) from None
                    self.sleep(0.5)
            yield
        finally:
            os.close(descriptor)

    # -- planning

    def _containers(self, needed: bool) -> t.Tuple[bool, t.Dict[str, t.List[Container]]]:
        """Return whether the engine answers, and its containers by project."""
        try:
            listing = self.docker.containers()
        except DockerUnavailable as error:
            if not needed:
                return False, {}
            if self.options.check_mode:
                self.notes.append(f"{error}: every service is reported as if it had no container yet")
                return False, {}
            raise StackError(
                f"{self.options.machine}: {error}", "Run the role docker on it, or start its docker.service."
            ) from error
        projects: t.Dict[str, t.List[Container]] = {}
        for container in listing:
            projects.setdefault(container.project, []).append(container)
        return True, projects

    def _plan(self) -> t.List[Plan]:
        options = self.options
        only = None if options.only is None else set(options.only)
        wanted = {
            stack.name: stack
            for stack in (options.stacks if options.state == "present" else ())
            if only is None or stack.name in only
        }
        present: t.Dict[str, t.Tuple[str, t.Optional[Manifest]]] = {
            name: (os.path.join(options.root, name), None) for name in wanted
        }
        if os.path.isdir(options.root):
            for name in os.listdir(options.root):
                directory = os.path.join(options.root, name)
                manifest, warning = read_manifest(directory)
                if warning:
                    self.warnings.append(warning)
                if name in wanted or (
                    manifest is not None
                    and (options.state == "absent" or name not in options.keep)
                    and (options.tiers is None or manifest.tier in options.tiers)
                    and (only is None or name in only)
                ):
                    present[name] = directory, manifest
        answers, projects = self._containers(needed=bool(present))
        plans = []
        for name, (directory, manifest) in sorted(present.items()):
            plan = Plan(name, directory, wanted.get(name), manifest)
            try:
                containers = projects.get(plan.project, [])
                if plan.wanted is None:
                    self._plan_removal(plan, containers, answers)
                else:
                    self._plan_present(plan, plan.wanted, containers)
                    self._plan_unit(plan, answers)
            except StackFailure as failure:
                self._block(plan, failure)
            except (OSError, DockerError) as error:
                self._block(plan, StackFailure(f"it cannot be examined: {error}", f"Look at {directory}."))
            plans.append(plan)
        return plans

    @staticmethod
    def _block(plan: Plan, failure: StackFailure) -> None:
        plan.failure, plan.blocked = failure, True
        plan.files, plan.services, plan.volumes, plan.unit = [], {}, [], "none"

    def _plan_present(self, plan: Plan, wanted: Wanted, containers: t.Sequence[Container]) -> None:
        entries = plan.manifest.files if plan.manifest else {}
        for file in wanted.files:
            change = plan_file(plan.directory, file, entries.get(file.path), self.redactor)
            if change:
                plan.files.append(change)
        paths = {file.path for file in wanted.files}
        for path in sorted(set(entries) - paths):
            change = plan_removed(plan.directory, check_path(plan.name, path), entries[path], self.redactor)
            if change:
                plan.files.append(change)
        check_parents(plan.directory, wanted, {change.path for change in plan.files if change.action == "removed"})
        plan.files.sort(key=lambda change: change.path)

        for container in containers:
            plan.containers.setdefault(container.service, []).append(container)
        mounted = any(change.content and change.path.startswith("files/") for change in plan.files)
        asked: t.List[t.Optional[t.Set[str]]] = []

        def applied_elsewhere(container: Container) -> bool:
            """Somebody ran compose here with other files: the label fits, compose's own hash does not. A compose that
            was upgraded hashes differently, so it is asked before a container is blamed."""
            recorded = plan.manifest.services.get(container.service) if plan.manifest else None
            if recorded is None or recorded == container.compose_hash:
                return False
            if any(change.content for change in plan.files):
                return True  # what is on disk is not what is wanted: nobody to ask
            if not asked:
                asked.append(self.compose.would_recreate(plan.project, plan.directory))
            if asked[0] is None or container.name in asked[0]:
                return True
            plan.stale_record = True
            return False

        for service in wanted.services:
            found = plan.containers.get(service, [])
            plan.services[service] = plan_service(wanted, plan.manifest, found, mounted, applied_elsewhere)
            plan.health[service] = self._health(found)
            plan.settle = plan.settle or any(settling(container) for container in found)
        for service in plan.containers:
            if service not in wanted.services:
                plan.services[service] = ServicePlan("removed", "it is no longer part of the stack")
        manifest = plan.manifest
        plan.stale_record = plan.stale_record or (
            manifest is None
            or manifest.tier != wanted.tier
            or manifest.project != wanted.project
            or manifest.files != owned(wanted)
            or manifest.pending_since is not None
        )

    def _plan_unit(self, plan: Plan, answers: bool) -> None:
        if not self.units.managed():
            note = "systemd does not run this machine: stacks are not started at boot"
        elif not self.units.available() and not (self.options.check_mode and not answers):
            # In check mode on a fresh machine the role docker would have installed it by now.
            note = f"{Units.TEMPLATE} is not installed (the role docker does that): stacks are not started at boot"
        else:
            if not self.units.enabled(plan.name):
                plan.unit = "enabled"
            return
        if note not in self.notes:
            self.notes.append(note)

    def _plan_removal(self, plan: Plan, containers: t.Sequence[Container], answers: bool) -> None:
        for path, entry in sorted((plan.manifest.files if plan.manifest else {}).items()):
            change = plan_removed(plan.directory, check_path(plan.name, path), entry, self.redactor)
            if change:
                plan.files.append(change)
        for container in containers:
            plan.containers.setdefault(container.service, []).append(container)
            plan.services[container.service] = ServicePlan("removed", "the stack is no longer wanted here")
        if self.options.remove_volumes and answers:
            plan.volumes = self.docker.volumes(plan.project)
        if self.units.enabled(plan.name):
            plan.unit = "disabled"
        plan.kept = self._foreign(plan)

    def _foreign(self, plan: Plan) -> t.List[str]:
        """Return what stands in a stack's directory and is not ours: a removal leaves it, and says so."""
        ours = set(plan.manifest.files if plan.manifest else ()) | {MANIFEST}
        found = []
        for folder, _folders, names in os.walk(plan.directory):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), plan.directory)
                if path not in ours and not name.endswith(".pantheon-new"):
                    found.append(path)
        return sorted(found)

    @staticmethod
    def _health(containers: t.Sequence[Container]) -> str:
        if not containers:
            return "absent"
        container = containers[0]
        return container.health if container.state == "running" and container.health != "none" else container.state

    # -- carrying out

    def _carry_out(self, plans: t.Sequence[Plan]) -> None:
        self.units.switch("disable", [plan.name for plan in plans if plan.unit == "disabled" and not plan.failure])
        self.units.switch("enable", [plan.name for plan in plans if plan.unit == "enabled" and not plan.failure])
        busy = []
        for plan in plans:
            if plan.failure:
                continue
            if plan.changed or plan.settle:
                busy.append(plan)
            elif plan.stale_record and plan.wanted:
                self._guard(plan, self._record)
        for wave in waves(busy):
            if len(wave) == 1:
                self._guard(wave[0], self._apply)
                continue
            # Imported here: the run that changes nothing does not need it.
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
                list(pool.map(lambda plan: self._guard(plan, self._apply), wave))

    def _guard(self, plan: Plan, step: t.Callable[[Plan], None]) -> None:
        """Run a step of one stack; its failure is the stack's, not the run's."""
        try:
            step(plan)
        except StackFailure as failure:
            plan.failure = failure
        except StackError as error:
            plan.failure = StackFailure(str(error), error.remedy)
        except DockerError as error:
            plan.failure = StackFailure(f"Docker says: {error}", f"See `docker ps -a` on {self.options.machine}.")
        except OSError as error:
            plan.failure = StackFailure(f"its files cannot be written: {error}", f"Look at {plan.directory}.")

    def _apply(self, plan: Plan) -> None:
        if plan.wanted is None:
            self._remove(plan)
            return
        if plan.files:
            self._write(plan, plan.wanted)
        if plan.acts:
            try:
                self._require_storage(plan.wanted)
                self._up(plan)
            finally:
                self._observe(plan)
        if plan.files or plan.acts or plan.stale_record:
            self._record(plan)
        if plan.acts or plan.settle:
            self._wait(plan, plan.wanted)

    def _require_storage(self, wanted: Wanted) -> None:
        """Refuse to start containers on a directory in which the NAS is not mounted, which they would see, and fill, empty; or
        on one that does not answer, which would stop Docker.

        Raises:
            StackFailure: what is missing. What runs is left alone.
        """
        for path in wanted.storage:
            lacking = self.units.lacking(path)
            if lacking:
                raise StackFailure(
                    f"the storage {path} {lacking} on {self.options.machine}",
                    f"Look at `journalctl -u '*.mount'` there and at the NAS, and run this again when {path} can be read.",
                )

    def _write(self, plan: Plan, wanted: Wanted) -> None:
        os.makedirs(plan.directory, mode=0o755, exist_ok=True)
        for change in plan.files:
            if change.foreign:
                path = os.path.join(plan.directory, change.path)
                backup = save_foreign(path)
                self.warnings.append(f"{path} was not written by Pantheon: it is kept as {os.path.basename(backup)}.")
        manifest = plan.manifest or Manifest(plan.name)
        mine = Manifest(plan.name)
        mine.tier, mine.project, mine.services = wanted.tier, wanted.project, manifest.services
        mine.files = {**owned(wanted), **manifest.files}  # the old hash until the new content is there
        mine.pending_since = int(self.clock())
        self._write_manifest(plan, mine)

        for change in plan.files:
            if change.action == "removed":
                self._unlink(plan.directory, change.path)
        by_path = {file.path: file for file in wanted.files}
        folders = {plan.directory}
        for change in plan.files:
            if change.action == "removed":
                continue
            file, path = by_path[change.path], os.path.join(plan.directory, change.path)
            if not change.content:
                _set_metadata(path, file.mode, file.uid, file.gid)
                continue
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            write_atomic(path, file.content, file.mode, file.uid, file.gid)
            folders.add(os.path.dirname(path))
        for folder in folders:
            _sync_directory(folder)

    @staticmethod
    def _unlink(directory: str, path: str) -> None:
        """Remove one of our files, and the directories that are empty now."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(os.path.join(directory, path))
        parent = os.path.dirname(path)
        while parent:
            try:
                os.rmdir(os.path.join(directory, parent))
            except OSError:
                break  # not empty, or gone already
            parent = os.path.dirname(parent)

    @staticmethod
    def _write_manifest(plan: Plan, manifest: Manifest) -> None:
        write_atomic(
            os.path.join(plan.directory, MANIFEST), manifest.text().encode(), 0o600, os.geteuid(), os.getegid()
        )
        plan.manifest = manifest

    def _record(self, plan: Plan) -> None:
        """Write down what is there now; nothing is pending any more."""
        wanted = t.cast(Wanted, plan.wanted)
        manifest = Manifest(plan.name)
        manifest.tier, manifest.project, manifest.files = wanted.tier, wanted.project, owned(wanted)
        containers = self.docker.containers(plan.project)
        manifest.services = {
            container.service: container.compose_hash
            for container in containers
            if container.config == wanted.config and container.compose_hash
        }
        self._write_manifest(plan, manifest)

    def _up(self, plan: Plan) -> None:
        force = sorted(name for name, service in plan.services.items() if service.force)
        others = any(service.action != "none" and not service.force for service in plan.services.values())
        deadline, conflicts = self.clock() + NETWORK_SECONDS, 0
        while True:
            status, output = self.compose.up(plan.project, plan.directory, force, others)
            if status == 0:
                return
            if _NAME_CONFLICT.search(output) and conflicts < CONFLICT_TRIES:
                conflicts += 1  # the unit of the stack works on the same project, after a boot
            elif not _NETWORK_MISSING.search(output) or self.clock() >= deadline:
                raise StackFailure(*explain(output, plan.project))
            self.sleep(3.0)

    def _observe(self, plan: Plan) -> None:
        """Replace what was planned for the services by what happened to them."""
        after: t.Dict[str, t.List[Container]] = {}
        for container in self.docker.containers(plan.project):
            after.setdefault(container.service, []).append(container)
        for name, service in list(plan.services.items()):
            old, new = plan.containers.get(name, []), after.get(name, [])
            if not new:
                action = "removed" if old else "none"
            elif {container.id for container in new} - {container.id for container in old}:
                action = "recreated" if old else "created"
            elif any(c.state == "running" for c in new) and not any(c.state == "running" for c in old):
                action = "started"
            else:
                action = "none"
            plan.services[name] = service._replace(action=action)
            plan.health[name] = self._health(new)

    # -- removing

    def _remove(self, plan: Plan) -> None:
        # Through the engine and not with `compose down`: that needs the files, which an interrupted run may have
        # removed already.
        for containers in plan.containers.values():
            for container in containers:
                self.docker.remove_container(container.id)
        for network in self.docker.networks(plan.project):
            self.docker.remove_network(network)
        for volume in plan.volumes:
            self.docker.remove_volume(volume)
        for change in plan.files:
            self._unlink(plan.directory, change.path)
        for name in plan.containers:
            plan.health[name] = "absent"
        # Last of all: as long as the manifest is there, an interrupted removal goes on with the next run.
        self._unlink(plan.directory, MANIFEST)
        with contextlib.suppress(OSError):
            os.rmdir(plan.directory)

    # -- waiting

    def _wait(self, plan: Plan, wanted: Wanted) -> None:
        """Wait until every service of a stack works.

        Raises:
            StackFailure: one does not, with the reason and its last log lines.
        """
        begun = self.clock()
        waiting = {
            name: begun + self.options.wait_timeout + start_seconds for name, start_seconds in wanted.services.items()
        }
        restarts: t.Dict[str, int] = {}
        unhealthy: t.Dict[str, float] = {}
        pause = 0.2
        while waiting:
            containers = {container.service: container for container in self.docker.containers(plan.project)}
            for name in list(waiting):
                container = containers.get(name)
                if container is None:
                    raise StackFailure("it has no container", self._remedy(plan, name), name)
                plan.health[name] = self._health([container])
                if self._works(container, restarts, unhealthy):
                    lacking = sorted(set(wanted.networks) - set(container.networks))
                    if lacking:
                        raise self._failure(plan, container, f"it is not on the network {', '.join(lacking)}")
                    del waiting[name]
                    continue
                now = self.clock()
                if container.health == "unhealthy" and now - unhealthy.setdefault(name, now) >= UNHEALTHY_SECONDS:
                    raise self._failure(plan, container, "it is unhealthy")
                if restarts.get(name, 0) >= MOST_RESTARTS:
                    raise self._failure(plan, container, f"it restarted {restarts[name]} times")
                if container.state in ("exited", "dead") and self._stays_down(container):
                    raise self._failure(plan, container, "it stopped")
                if now >= waiting[name]:
                    raise self._failure(plan, container, f"it is not healthy after {now - begun:.0f} s")
            if waiting:
                self.sleep(pause)
                pause = min(pause * 1.5, 1.0)

    def _works(self, container: Container, restarts: t.Dict[str, int], unhealthy: t.Dict[str, float]) -> bool:
        if container.state == "running":
            if container.health == "healthy":
                return True
            if container.health != "unhealthy":
                unhealthy.pop(container.service, None)
            if container.health != "none":
                return False
        elif container.state not in ("restarting", "exited"):
            return False
        found = self.docker.inspect(container.id)
        restarts[container.service] = int(found.get("RestartCount") or 0)
        state = found.get("State") or {}
        return bool(state.get("Running")) and not state.get("Restarting") and self._age(state) >= STABLE_SECONDS

    def _age(self, state: t.Dict[str, t.Any]) -> float:
        """Return for how many seconds a container has been running."""
        found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", state.get("StartedAt") or "")
        if not found:
            return 0.0
        begun = datetime.strptime(found.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
        return self.clock() - begun - float(found.group(2) or 0)

    def _stays_down(self, container: Container) -> bool:
        found = self.docker.inspect(container.id)
        state, policy = found.get("State") or {}, (found.get("HostConfig") or {}).get("RestartPolicy") or {}
        if state.get("Running") or state.get("Restarting"):
            return False
        if policy.get("Name") == "on-failure":
            return state.get("ExitCode") == 0
        return policy.get("Name") not in ("always", "unless-stopped")

    def _failure(self, plan: Plan, container: Container, reason: str) -> StackFailure:
        """Collect what a person needs to know about a service that does not work."""
        remedy = self._remedy(plan, container.service)
        try:
            found = self.docker.inspect(container.id)
            state = found.get("State") or {}
            if container.state != "running" or "restarted" in reason:
                reason += f"; its exit code is {state.get('ExitCode')}"
            if state.get("Error"):
                reason += f"; Docker says: {state['Error']}"
            if state.get("OOMKilled"):
                limit = (found.get("HostConfig") or {}).get("Memory") or 0
                reason += "; it was killed for want of memory" + (f" (limit {limit // 2**20} MB)" if limit else "")
                remedy = f"Raise resources.memory_mb of {plan.name} in the catalog. {remedy}"
            checks = (state.get("Health") or {}).get("Log") or []
            if checks:
                said = " ".join(str(checks[-1].get("Output") or "").split())[:500]
                reason += f"; the last health check ended with {checks[-1].get('ExitCode')}: {said or 'no output'}"
            logs = self.docker.logs(container.id, self.options.log_lines) if self.options.log_lines else []
        except DockerError as error:
            logs = [f"(no log: {error})"]
        return StackFailure(reason, remedy, container.service, logs)

    def _remedy(self, plan: Plan, service: str) -> str:
        return f"On {self.options.machine}: cd {plan.directory} && docker compose logs {service}"


def waves(plans: t.Sequence[Plan]) -> t.List[t.List[Plan]]:
    """Order stacks so that each comes after those of the same machine that it requires; one wave may run in parallel."""
    left = list(plans)
    ordered = []
    while left:
        names = {plan.name for plan in left}
        ready = [
            plan for plan in left if plan.wanted is None or not (set(plan.wanted.requires) & (names - {plan.name}))
        ]
        ready = ready or left  # a cycle: the catalog's checks refuse it, here it must only not hang
        ordered.append(ready)
        left = [plan for plan in left if plan not in ready]
    return ordered


def failure_text(failures: t.Sequence[t.Dict[str, t.Any]]) -> str:
    """Return the failures of a run as a message for people."""
    blocks = []
    for failure in failures:
        what = failure["stack"]
        if failure["service"] and failure["service"] != failure["stack"]:
            what += f" (service {failure['service']})"
        block = f"{what} on {failure['machine']}: {failure['reason']}."
        if failure["logs"]:
            block += "\nIts last log lines:\n" + "\n".join(f"  | {line}" for line in failure["logs"])
        if failure["remedy"]:
            block += f"\nWhat to do: {failure['remedy']}"
        blocks.append(block)
    return "\n".join(blocks)
