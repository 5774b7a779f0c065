# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers for one purpose: of a service's image, with its settings, apart from the service, and gone afterwards.

They are made from what the service itself is made from, its compose project, so that a drill proves something about the
service: same image, environment, files and limits. What they must not have is taken away: networks and ports, the names of
the service, its health check, graphics cards, directories of the machine and of the NAS.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

from pantheon_backup.model import BackupError, Context, Job, Json
from pantheon_backup.process import Completed, Runner, demand

#: On everything that is made here; the value is the name of the machine.
LABEL = "ai.pantheon.scratch"
#: What a service has and its copy must not have.
DROPPED = (
    "build", "container_name", "cpuset", "depends_on", "deploy", "device_cgroup_rules", "devices", "dns", "dns_search",
    "env_file", "expose", "external_links", "extra_hosts", "gpus", "healthcheck", "hostname", "links", "networks", "pid",
    "ports", "profiles", "restart", "runtime", "stop_grace_period", "volumes_from",
)  # fmt: skip
NEW, SERVICE = "new", "service"
#: How directories of scratch volumes begin that lie beside those of the service.
HIDDEN = ".scratch-"


@dataclass(frozen=True)
class Mount:
    """A directory of the machine that a scratch container sees in addition, read-only unless it says otherwise."""

    source: str
    target: str
    read_only: bool = True


@final
class Scratch:
    """A place for scratch containers of a job's service; use it with ``with``.

    *volumes* is ``new``: each named volume of the service is an empty one, kept from container to container until the end
    of the block and then removed; or ``service``: the service's own volumes (only while the service is stopped).
    *mounts* are directories that the containers see in addition. *environment* is added to the service's.

    One container runs at a time: :meth:`run` for a program that ends, or :meth:`start` for one that stays, in which
    :meth:`exec_in` runs others. There is no network: use the loopback device inside, or ``exec_in``, or the namespaces of
    :attr:`pid`.
    """

    def __init__(
        self,
        context: Context,
        *,
        purpose: str = "drill",
        volumes: str = NEW,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.context = context
        self.job: Job = context.job
        self.project = f"pantheon-{purpose}-{self.job.name}"
        #: The name of the container, for all of docker's commands.
        self.container = self.project
        self._purpose, self._volumes, self._mounts = purpose, volumes, tuple(mounts)
        self._environment = dict(environment or {})
        self._directory = context.work / self.project
        self._service: Json = {}
        #: Name of the volume in the compose file -> name in the engine, of the service's own and of those used here.
        self._real: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def __enter__(self) -> Scratch:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._read()
            remove(self.context.runner, self.context.config.machine, self.project)
            if self._volumes == NEW:
                for name, real in self._real.items():
                    self._make_volume(self._names[name], real)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    # -- for jobs ------------------------------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        user: str = "",
        timeout: float | None = 3600,
        check: bool = True,
    ) -> Completed:
        """Run a program in a new container to its end; without the image's entrypoint, as the image's user or *user*."""
        command = self.command(argv, env=env, user=user, stdin=stdin is not None)
        try:
            return self.context.run(command, stdin=stdin, timeout=timeout, check=check)
        finally:
            self._remove_container()

    def command(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        stdin: bool = True,
    ) -> list[str]:
        """Return the command that does what :meth:`run` does, to be the end of a pipe (``restic.load``, ``restic.save``).

        *env* goes through the compose file, which only root can read. Call :meth:`remove` when the command has ended.
        """
        self._remove_container()
        compose = self._write(argv, user=user, env=env)
        interactive = [] if stdin else ["--interactive=false"]
        return [*compose, "run", "--rm", "--no-deps", "--name", self.container, *interactive, "--no-TTY", self.job.name]

    def start(self, argv: Sequence[str] | None = None, *, env: Mapping[str, str] | None = None, user: str = "") -> None:
        """Start a container that stays: with the service's own entrypoint and command, or with *argv* alone."""
        self._remove_container()
        compose = self._write(argv, user=user, env=env)
        self.context.run(
            [*compose, "run", "--detach", "--no-deps", "--name", self.container, self.job.name], timeout=300
        )

    def exec_in(
        self,
        argv: Sequence[str],
        *,
        user: str = "",
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 3600,
        check: bool = True,
    ) -> Completed:
        """Run a program in the container that :meth:`start` started."""
        return self.context.exec_in(self.container, argv, user=user, stdin=stdin, env=env, timeout=timeout, check=check)

    def wait_until(self, argv: Sequence[str], seconds: float = 120, *, user: str = "") -> Completed:
        """Wait until a program in the container ends with 0; an error if the container ends, or the time does."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.exec_in(argv, user=user, check=False, timeout=max(5.0, seconds))
            if done.status == 0:
                return done
            if not self.alive():
                raise BackupError(f"The scratch container of {self.job.name} ended by itself: {self.logs()}")
            if time.monotonic() >= deadline:
                raise BackupError(
                    f"The scratch container of {self.job.name} was not ready after {seconds:.0f} seconds: {self.logs()}"
                )
            time.sleep(0.5)

    def alive(self) -> bool:
        """Say whether the container runs."""
        asked = ["docker", "inspect", "--format", "{{.State.Running}}", self.container]
        return self.context.run(asked, check=False, timeout=60).text == "true"

    def logs(self, lines: int = 5) -> str:
        """Return the last lines that the container wrote, as one."""
        done = self.context.run(["docker", "logs", "--tail", str(lines), self.container], check=False, timeout=60)
        return " | ".join((done.text + "\n" + done.err).split("\n")).strip(" |")[-600:]

    @property
    def pid(self) -> int:
        """The process of the container on the machine, whose namespaces can be entered."""
        asked = ["docker", "inspect", "--format", "{{.State.Pid}}", self.container]
        return int(self.context.run(asked, timeout=60).text)

    def volume(self, name: str) -> Path:
        """Return where a volume lies on the machine; *name* as in the catalog, for example ``data``."""
        if name not in self._names:
            known = ", ".join(sorted(self._names)) or "none"
            raise BackupError(f"The service {self.job.name} has no volume {name}; it has {known}.")
        return volume_path(self.context.runner, self._names[name])

    def remove(self) -> None:
        """Remove the container that runs, or ran; the volumes stay until the end of the block."""
        self._remove_container()

    # -- how -----------------------------------------------------------------------------------------------------------

    def _labels(self) -> dict[str, str]:
        return {LABEL: self.context.config.machine, f"{LABEL}.of": self.project}

    def _read(self) -> None:
        """Find out what the service is made of."""
        project = compose_config(self.context.runner, self.job)
        service = dict(project["services"][self.job.name])
        for name in DROPPED:
            service.pop(name, None)
        used = {}
        mounts = []
        for mount in service.get("volumes", []):
            if mount.get("type") == "volume" and mount.get("source"):
                used[mount["source"]] = project["volumes"][mount["source"]].get("name", mount["source"])
                mounts.append(mount)
            elif mount.get("type") == "bind" and _inside(mount.get("source", ""), self.job.directory):
                mounts.append(mount)  # its own files: read-only, and part of what it is
            elif mount.get("type") == "tmpfs":
                mounts.append(mount)
        for extra in self._mounts:
            bind = {"create_host_path": False}
            mounts.append(
                {"type": "bind", "source": escaped(extra.source), "target": extra.target, "read_only": extra.read_only,
                 "bind": bind}
            )  # fmt: skip
        service |= {"volumes": mounts, "network_mode": "none", "restart": "no", "pull_policy": "never"}
        # Not the service's labels: whoever looks for the service must not find its copy.
        service["labels"] = self._labels()
        service["environment"] = {
            **service.get("environment", {}),
            **{name: escaped(value) for name, value in self._environment.items()},
        }
        self._service = service
        prefix = f"pantheon_{self._purpose}_{self.job.name}_"
        self._real = used
        self._names = {name: prefix + name if self._volumes == NEW else real for name, real in used.items()}

    def _make_volume(self, name: str, real: str) -> None:
        """Make an empty volume where the service's own lies: what is encrypted there must not be plain here."""
        labels = self._labels()
        options: list[str] = []
        own = volume_path(self.context.runner, real)
        if _is_elsewhere(self.context.runner, real):
            place = own.parent / f"{HIDDEN}{name}"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            status = own.stat()
            os.chown(place, status.st_uid, status.st_gid)
            place.chmod(status.st_mode & 0o7777)
            labels[f"{LABEL}.directory"] = str(place)
            options = ["--opt", "type=none", "--opt", "o=bind", "--opt", f"device={place}"]
        marks = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
        self.context.run(["docker", "volume", "create", *marks, *options, name])

    def _write(self, argv: Sequence[str] | None, *, user: str, env: Mapping[str, str] | None) -> list[str]:
        """Write the compose file of the next container; returns the beginning of the command for it."""
        service = dict(self._service)
        if env:
            service["environment"] = {
                **service["environment"],
                **{name: escaped(value) for name, value in env.items()},
            }
        if argv is not None:
            # An empty entrypoint is taken for none at all, that is for the image's: the program itself becomes it.
            service |= {"entrypoint": [escaped(argv[0])], "command": [escaped(part) for part in argv[1:]]}
        if user:
            service["user"] = user
        project = {
            "name": self.project,
            "services": {self.job.name: service},
            "volumes": {name: {"external": True, "name": real} for name, real in self._names.items()},
        }
        file = self._directory / "compose.json"
        # It holds the environment of the service, secrets included.
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(project, stream)
        return ["docker", "compose", "--file", str(file), "--project-name", self.project]

    def _remove_container(self) -> None:
        self.context.run(["docker", "rm", "--force", "--volumes", self.container], check=False, timeout=120)

    def _leave(self) -> None:
        with contextlib.suppress(BackupError):
            remove(self.context.runner, self.context.config.machine, self.project)
        shutil.rmtree(self._directory, ignore_errors=True)


def escaped(text: str) -> str:
    """Return a text for a compose file, where a dollar sign would start a variable."""
    return text.replace("$", "$$")


def _inside(path: str, directory: str) -> bool:
    return bool(directory) and Path(directory) in Path(path).parents


def compose_config(runner: Runner, job: Job) -> Json:
    """Return the compose project of a job's service, with everything filled in, as docker compose understands it."""
    if not job.directory or not Path(job.directory, "compose.yml").is_file():
        raise BackupError(
            f"{job.directory or job.name}: there is no compose.yml. Deploy {job.name} with site.yml first."
        )
    files = ["--file", "compose.yml"]
    if Path(job.directory, "compose.override.yml").is_file():
        files += ["--file", "compose.override.yml"]
    asked = ["docker", "compose", "--project-directory", job.directory]
    files = [part if part.startswith("--") else str(Path(job.directory, part)) for part in files]
    project: Json = runner.run([*asked, *files, "config", "--format", "json"], timeout=120).json()
    if job.name not in project.get("services", {}):
        raise BackupError(f"{job.directory}/compose.yml has no service {job.name}. Deploy it anew with site.yml.")
    return project


def volumes_of(runner: Runner, job: Job) -> dict[str, Path]:
    """Return where the named volumes of a job's service lie on the machine, by their names in the catalog."""
    project = compose_config(runner, job)
    found = {}
    for mount in project["services"][job.name].get("volumes", []):
        if mount.get("type") == "volume" and mount.get("source"):
            name = mount["source"]
            found[name] = volume_path(runner, project["volumes"][name].get("name", name))
    return found


def volume_path(runner: Runner, name: str) -> Path:
    """Return where a volume of the engine lies on the machine."""
    volume = _inspected(runner, name)
    # The engine mounts a directory elsewhere only while a container uses the volume.
    return Path(volume["Options"]["device"] if _bound(volume) else volume["Mountpoint"])


def _inspected(runner: Runner, name: str) -> dict[str, Any]:
    done = runner.run(["docker", "volume", "inspect", name], timeout=60, check=False)
    if done.status:
        raise BackupError(f"The volume {name} is not there. Deploy the service with site.yml first.")
    volume: dict[str, Any] = done.json()[0]
    return volume


def _bound(volume: Mapping[str, Any]) -> bool:
    """Say whether a volume of the engine is a directory elsewhere."""
    options = volume.get("Options") or {}
    return "bind" in options.get("o", "").split(",") and bool(options.get("device"))


def _is_elsewhere(runner: Runner, name: str) -> bool:
    return _bound(_inspected(runner, name))


def remove(runner: Runner, machine: str, project: str = "") -> None:
    """Remove scratch containers and volumes of this machine: of one project, or all that a killed run left."""
    chosen = ["--filter", f"label={LABEL}={machine}"]
    if project:
        chosen += ["--filter", f"label={LABEL}.of={project}"]
    containers = runner.run(["docker", "ps", "--all", "--quiet", *chosen], timeout=60).text.split()
    if containers:
        runner.run(["docker", "rm", "--force", "--volumes", *containers], timeout=300)
    volumes = runner.run(["docker", "volume", "ls", "--quiet", *chosen], timeout=60).text.split()
    if volumes:
        folders = []
        for name in volumes:
            labels = _inspected(runner, name).get("Labels") or {}
            folders.append(labels.get(f"{LABEL}.directory", ""))
        runner.run(["docker", "volume", "rm", "--force", *volumes], timeout=300)
        for folder in folders:
            if Path(folder).name.startswith(HIDDEN):
                shutil.rmtree(folder, ignore_errors=True)


# -- the service itself -------------------------------------------------------------------------------------------------


def stop_service(context: Context, seconds: float = 300) -> None:
    """Stop the service's container, in order; it stays, and can be started again."""
    context.run(["docker", "stop", context.job.container], timeout=seconds)


def start_service(context: Context, seconds: float = 300) -> None:
    """Start the service's container after :func:`stop_service`, and wait until it is healthy."""
    # If this program was interrupted while it stopped the container, the engine is still about to: a start before that would be
    # taken for done. On a container that is stopped this does nothing.
    context.run(["docker", "stop", context.job.container], check=False, timeout=seconds)
    context.run(["docker", "start", context.job.container], timeout=120)
    wait_healthy(context, seconds)


@contextlib.contextmanager
def stopped_for_backup(context: Context) -> Iterator[None]:
    """Keep the service stopped in the block, and start it again whatever happens.

    If this program is killed, :func:`recover` does; if the machine is, the unit of the stack does at the next boot.
    """
    name = context.job.container
    mark = marks_of(context.runtime) / name
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    context.log(f"{context.job.name} is stopped for its backup.")
    mark.touch()
    try:
        stop_service(context)
        yield
    finally:
        start_service(context)
        mark.unlink()


def marks_of(runtime: Path) -> Path:
    """Return the folder with a file for each container that is stopped for its backup."""
    return runtime / "stopped"


def recover(runner: Runner, machine: str, runtime: Path, log: Callable[[str], None]) -> None:
    """Tidy up after a run that was killed: start what it had stopped, remove what it had made."""
    marks = marks_of(runtime)
    for mark in sorted(marks.iterdir()) if marks.is_dir() else []:
        log(f"{mark.name} was left stopped by a run that was killed; it is started.")
        # The engine may still be about to stop it: it would take a start before that for done.
        runner.run(["docker", "stop", mark.name], check=False, timeout=300)
        if runner.run(["docker", "start", mark.name], check=False, timeout=120).status == 0:
            mark.unlink()
    remove(runner, machine)


def is_running(context: Context) -> bool:
    """Say whether the service's container runs."""
    asked = ["docker", "inspect", "--format", "{{.State.Running}}", context.job.container]
    return context.run(asked, check=False, timeout=60).text == "true"


def wait_healthy(context: Context, seconds: float = 300) -> None:
    """Wait until the service's container says that it is healthy."""
    name = context.job.container
    asked = [
        "docker",
        "inspect",
        "--format",
        "{{.State.Running}} {{if .State.Health}}{{.State.Health.Status}}{{end}}",
        name,
    ]
    deadline = time.monotonic() + seconds
    while True:
        done = context.run(asked, timeout=60, check=False)
        demand(done)
        if done.text in ("true healthy", "true "):
            return
        if time.monotonic() >= deadline:
            raise BackupError(f"{name} is not healthy after {seconds:.0f} seconds. Look at: docker logs {name}")
        time.sleep(1)
