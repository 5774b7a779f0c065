# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true of this computer before the lab begins: every problem is one sentence and one remedy."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import BRIDGE, DISK_AGAIN_GB, DISK_GB, LABEL, MEMORY_GB, NETWORK, SUBNET

PACKAGES = {
    "docker": "docker.io",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Commands that the lab uses, with the Debian package of each."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}"


@dataclass(frozen=True)
class Computer:
    """What the checks look at; tests write one down, `look` reads this computer."""

    system: str
    root: bool
    apt: bool
    commands: frozenset[str]
    venv_module: bool
    engine_answers: bool
    lab_exists: bool
    disk_path: str
    disk_free: int
    memory: int
    inotify_instances: int
    routes: tuple[tuple[str, ipaddress.IPv4Network], ...]


def parse_routes(text: str) -> tuple[tuple[str, ipaddress.IPv4Network], ...]:
    """Read /proc/net/route: interface and network of every route but the default ones."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        address, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[column], 16))) for column in (1, 7))
        network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
        if network.prefixlen > 0:
            routes.append((fields[0], network))
    return tuple(routes)


def missing_packages(computer: Computer) -> list[str]:
    """Return the Debian packages that the lab must install; Docker's only where there is no Docker at all."""
    wanted = {package for command, package in PACKAGES.items() if command not in computer.commands}
    if not computer.venv_module:
        wanted.add("python3-venv")
    return sorted(wanted)


def gigabytes(size: int) -> str:
    """Return a size in GB with one decimal."""
    return f"{size / 1e9:.1f} GB"


def check_computer(computer: Computer) -> list[Problem]:
    """Return everything that keeps the lab from starting on this computer."""
    if computer.system != "Linux":
        return [
            Problem(
                f"The lab needs Linux, and this is {computer.system}.", "Run it in a Debian or Ubuntu virtual machine."
            )
        ]
    problems = []
    packages = missing_packages(computer)
    if packages and not computer.apt:
        problems.append(
            Problem(f"Programs are missing ({', '.join(packages)}) and there is no apt-get.", "Install them.")
        )
    for_root = list(packages) if computer.apt else []
    if not computer.engine_answers:
        for_root.append("a running Docker engine")
    if computer.inotify_instances < 512:
        for_root.append("a higher fs.inotify.max_user_instances")
    if for_root and not computer.root:
        problems.append(
            Problem(f"The lab must set up {', '.join(for_root)} and you are not root.", "Run `sudo make lab`.")
        )
    need = DISK_AGAIN_GB if computer.lab_exists else DISK_GB
    if computer.disk_free < need * 1e9:
        problems.append(
            Problem(
                f"{gigabytes(computer.disk_free)} are free in {computer.disk_path} and the lab needs {need} GB.",
                "Free some space (`docker system df` shows what Docker holds), or use --force.",
            )
        )
    # A computer sold with 8 GB shows a little less.
    if computer.memory < (MEMORY_GB - 0.7) * 1e9:
        problems.append(
            Problem(
                f"This computer has {gigabytes(computer.memory)} of memory and the lab needs {MEMORY_GB} GB.",
                "Use a larger one, or --force to try.",
            )
        )
    problems += check_routes(computer.routes, computer.lab_exists)
    return problems


def check_routes(routes: Iterable[tuple[str, ipaddress.IPv4Network]], lab_exists: bool) -> list[Problem]:
    """Return who else uses the lab's addresses or the name of its bridge.

    A route as wide as 10.0.0.0/8 (a company's VPN) is no problem: the lab's own, narrower route wins.
    """
    problems = []
    for interface, network in routes:
        if interface == BRIDGE:
            if not lab_exists:
                problems.append(
                    Problem(
                        f"A network interface {BRIDGE} exists that the lab did not make.",
                        f"Remove it: ip link delete {BRIDGE}",
                    )
                )
        elif network.overlaps(SUBNET) and network.prefixlen >= 16:
            problems.append(
                Problem(
                    f"The lab's network {SUBNET} overlaps {network} on the interface {interface}.",
                    f"Take {interface} down while you use the lab.",
                )
            )
    return problems


def check_networks(networks: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Return which other Docker networks use the lab's name, bridge or addresses."""
    problems = []
    for network in networks:
        name, labels = network["Name"], network.get("Labels") or {}
        if labels.get(LABEL) == "true":
            continue
        remedy = f"Remove it if nobody needs it: docker network rm {name}"
        if name == NETWORK or (network.get("Options") or {}).get("com.docker.network.bridge.name") == BRIDGE:
            problems.append(
                Problem(f"The Docker network {name} has the name of the lab's and is not the lab's.", remedy)
            )
            continue
        for pool in (network.get("IPAM") or {}).get("Config") or []:
            subnet = ipaddress.ip_network(pool.get("Subnet") or "::/128", strict=False)
            if isinstance(subnet, ipaddress.IPv4Network) and subnet.overlaps(SUBNET):
                problems.append(Problem(f"The Docker network {name} uses {subnet}, the lab's addresses.", remedy))
    return problems


def look(*, root: bool, engine_answers: bool, lab_exists: bool, docker_root: str) -> Computer:
    """Read what the checks need from this computer."""
    place = Path(docker_root)
    while not place.exists():
        place = place.parent
    memory = 0
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            memory = int(line.split()[1]) * 1024
    return Computer(
        system="Linux",
        root=root,
        apt=shutil.which("apt-get") is not None,
        commands=frozenset(command for command in PACKAGES if shutil.which(command)),
        venv_module=_has_venv(),
        engine_answers=engine_answers,
        lab_exists=lab_exists,
        disk_path=docker_root,
        disk_free=shutil.disk_usage(place).free,
        memory=memory,
        inotify_instances=int(Path("/proc/sys/fs/inotify/max_user_instances").read_text(encoding="ascii")),
        routes=parse_routes(Path("/proc/net/route").read_text(encoding="ascii")),
    )


def _has_venv() -> bool:
    try:
        import ensurepip
        import venv
    except ImportError:
        return False
    # Debian splits the bundled pip off: the module is there and its wheels are not.
    return bool(venv and ensurepip.version())
