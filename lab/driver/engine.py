# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine of this computer: found, started if it sleeps, and asked through its own command."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import process
from .process import LabError
from .settings import LABEL, Paths

_ENGINE_MARK = "dockerd.json"
_DOCKER_PID = Path("/var/run/docker.pid")
_CONTAINERD_PID = Path("/var/run/docker/containerd/containerd.pid")


@functools.cache
def docker() -> str:
    """Return the path of Docker's command; the distribution's own comes first, because it brings its builder."""
    return "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else shutil.which("docker") or "docker"


def ask(*arguments: str, timeout: float = 60.0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a Docker command; a failure is a result."""
    return process.capture([docker(), *arguments], timeout=timeout, stdin=stdin)


def tell(*arguments: str, timeout: float = 120.0, stdin: str | None = None, remedy: str = "") -> str:
    """Run a Docker command; a failure is an error."""
    return process.output([docker(), *arguments], timeout=timeout, stdin=stdin, remedy=remedy)


def inspect(kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what Docker knows about these objects; those that do not exist are left out."""
    if not names:
        return []
    found: list[dict[str, Any]] = json.loads(ask(kind, "inspect", *names).stdout or "[]")
    return found


def ours(kind: str) -> list[str]:
    """Return the ids of the lab's containers, networks or volumes."""
    command = {
        "container": ("container", "ls", "--all", "--quiet", "--no-trunc"),
        "network": ("network", "ls", "--quiet", "--no-trunc"),
        "volume": ("volume", "ls", "--quiet"),
    }[kind]
    return tell(*command, "--filter", f"label={LABEL}=true").split()


def started_here(paths: Paths) -> int | None:
    """Return the process id of the dockerd that the lab started, while that one runs."""
    mark = paths.state / _ENGINE_MARK
    try:
        noted = json.loads(mark.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    pid = int(noted["pid"])
    # A process id is used again some day: only the same start time is the same process.
    return pid if _start_time(pid) == noted["start_time"] else None


def _start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields: list[str] = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] == "Z" else fields[19]


def answers() -> bool:
    """Return whether an engine answers."""
    return ask("version", "--format", "{{.Server.Version}}", timeout=20).returncode == 0


def start(paths: Paths) -> str:
    """Start the engine that is installed and return how; an engine that answers is never touched."""
    if Path("/run/systemd/system").is_dir():
        process.output(["systemctl", "start", "docker"], timeout=120, remedy="`journalctl -u docker` says why.")
        how = "started docker.service"
    else:
        how = _start_detached(paths)
    deadline = time.monotonic() + 60
    while not answers():
        if time.monotonic() > deadline:
            raise LabError(
                "Docker does not answer one minute after its start",
                "Start Docker yourself, see that `docker version` shows a server, and run `make lab` again.",
                paths.logs / "dockerd.log",
            )
        time.sleep(0.5)
    return how


def _start_detached(paths: Paths) -> str:
    program = shutil.which("dockerd")
    if program is None:
        raise LabError(
            "Docker's command is here but its engine (dockerd) is not", "Install it: apt-get install docker.io"
        )
    forget_dead(_DOCKER_PID, "dockerd")
    forget_dead(_CONTAINERD_PID, "containerd")
    paths.logs.mkdir(parents=True, exist_ok=True)
    with (paths.logs / "dockerd.log").open("ab") as log:
        engine = subprocess.Popen(
            [program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    mark = json.dumps({"pid": engine.pid, "start_time": _start_time(engine.pid)})
    process.write_atomically(paths.state / _ENGINE_MARK, mark + "\n")
    return "started dockerd"


def forget_dead(file: Path, program: str) -> bool:
    """Remove the pid file of a program that was killed; return whether it was removed.

    Its number may belong to another process by now, and the engine would take that one for itself and not start.
    """
    try:
        pid = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    try:
        running = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        running = ""
    if running == program:
        return False
    file.unlink(missing_ok=True)
    return True


def stop_started_here(paths: Paths) -> str:
    """Stop the dockerd that the lab started, unless others use it by now; return what was done."""
    pid = started_here(paths)
    if pid is None:
        return "Docker stays as it is: the lab did not start it."
    if tell("container", "ls", "--quiet").strip():
        return "Docker goes on: the lab started it, but containers that are not the lab's run on it."
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while _start_time(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    return "Stopped the dockerd that the lab had started."


_UNCONFINED = ("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined")
RIGHTS: tuple[tuple[str, ...], ...] = (
    ("--privileged",),
    ("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", *_UNCONFINED),
    ("--cap-add=ALL", *_UNCONFINED),
)
"""What may give a machine its rights, best first. Where the user who runs the engine lacks a capability, one generation of
Docker refuses --privileged, and another refuses to name the missing capability."""


def rights(image: str) -> list[str]:
    """Return the options that give a machine its rights on this engine: the first that works, tried with a local image."""
    complaint = ""
    for options in RIGHTS:
        trial = ask("run", "--rm", "--network", "none", "--entrypoint", "/bin/true", *options, image)
        if trial.returncode == 0:
            return list(options)
        complaint = (trial.stderr or trial.stdout).strip().splitlines()[0]
    raise LabError(
        f"This Docker engine gives containers too few rights: {complaint}",
        "The lab's machines need an engine that runs as root on Linux (not rootless, not Docker Desktop).",
    )
