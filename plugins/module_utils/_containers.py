# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the running container of a service by the labels that compose sets (private to the collection)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import typing as t

NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class ContainerError(Exception):
    """The container cannot be found or used; remedy says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class NotRunning(ContainerError):
    """Docker answers (or is not installed yet), and the container is not there."""


Runner = t.Callable[..., t.Tuple[int, str, str]]
"""Run a command: (arguments, standard input, time-out in seconds) -> exit status, standard output, standard error."""


def run(command: t.Sequence[str], stdin: str = "", timeout: float = 30) -> t.Tuple[int, str, str]:
    """Run a command without a shell. A program that is missing or too slow raises ContainerError."""
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            universal_newlines=True,
            check=False,
        )
    except FileNotFoundError:
        raise NotRunning(
            f"{command[0]} is not installed", "Run playbooks/machines.yml, which installs Docker."
        ) from None
    except subprocess.TimeoutExpired:
        raise ContainerError(
            f"`{' '.join(command[:3])} ...` gave no answer in {timeout:.0f} s",
            "Look at the load of the machine and at `systemctl status docker`.",
        ) from None
    return done.returncode, done.stdout, done.stderr


def find(runner: Runner, project: str, service: str, docker: str = "docker") -> str:
    """Return the id of the running container of this compose service.

    Raises NotRunning when there is none, and ContainerError when Docker does not answer.
    """
    status, output, errors = runner(
        [
            docker,
            "ps",
            "--quiet",
            "--no-trunc",
            "--filter",
            "status=running",
            "--filter",
            f"label=com.docker.compose.project={project}",
            "--filter",
            f"label=com.docker.compose.service={service}",
        ],
        "",
        30,
    )
    if status != 0:
        raise ContainerError(f"Docker does not answer: {errors.strip()}", "Look at `systemctl status docker`.")
    ids = output.split()
    if not ids:
        raise NotRunning(
            f"no container of the compose project {project}, service {service}, is running",
            f"Look at `docker compose -p {project} ps --all` and its logs, or run site.yml with --tags {service}.",
        )
    return ids[0]


def process_of(runner: Runner, project: str, service: str, docker: str = "docker") -> int:
    """Return the id of the first process of the service's running container. Raises as find does."""
    container = find(runner, project, service, docker)
    status, output, _errors = runner([docker, "inspect", "--format", "{{.State.Pid}}", container], "", 30)
    if status != 0 or not output.strip().isdigit() or int(output) == 0:
        raise NotRunning(f"the container of {service} stopped just now", f"Look at `docker compose -p {project} logs`.")
    return int(output)


@contextlib.contextmanager
def network_of(pid: int) -> t.Iterator[None]:
    """Be in the network of the process for a while. Raises ContainerError."""
    own = os.getpid()
    home = os.open(f"/proc/{own}/ns/net", os.O_RDONLY)
    try:
        enter_network(pid)
        try:
            yield
        finally:
            if ctypes.CDLL(None, use_errno=True).setns(home, NEW_NETWORK) != 0:
                raise ContainerError(
                    f"the network of process {pid} cannot be left ({os.strerror(ctypes.get_errno())})",
                    "Run again, as root on the machine (become: true).",
                )
    finally:
        os.close(home)


def enter_network(pid: int) -> None:
    """Move this thread, and those that it starts, into the network of the process. Raises ContainerError."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 on only
    remedy = "Run as root on the machine (become: true)."
    try:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    except OSError as error:
        raise ContainerError(f"the network of process {pid} cannot be opened ({error.strerror})", remedy) from None
    try:
        if libc.setns(descriptor, NEW_NETWORK) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise ContainerError(f"the network of process {pid} cannot be entered ({reason})", remedy)
    finally:
        os.close(descriptor)
