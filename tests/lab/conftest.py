# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the deployed lab: run `make lab` first. They change, break and reboot machines, and leave the lab as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "pantheon-lab-"


@dataclass(frozen=True)
class Play:
    """One run of ansible-playbook."""

    status: int
    seconds: float
    stats: dict[str, dict[str, int]]
    results: dict[str, list[tuple[str, dict[str, Any]]]]  # per host: task and result, in order
    problems: str

    def changed(self) -> dict[str, int]:
        """The hosts on which something changed, and how much."""
        return {host: row["changed"] for host, row in self.stats.items() if row["changed"]}

    def troubled(self) -> dict[str, dict[str, int]]:
        """The hosts that failed or were not reached."""
        return {host: row for host, row in self.stats.items() if row["failures"] or row["unreachable"]}

    def changed_tasks(self) -> list[tuple[str, str]]:
        """Which tasks changed something, for the message of a failed test."""
        return [(host, task) for host, rows in self.results.items() for task, result in rows if result.get("changed")]

    def effects(self) -> dict[str, dict[str, Any]]:
        """What the stacks changed: {"machine/service": {"files": {path: state}, "services": {name: action}}}."""
        found: dict[str, dict[str, Any]] = {}
        for host, rows in self.results.items():
            for _task, result in rows:
                for name, stack in (result.get("stacks") or {}).items():
                    services = {
                        key: value["action"]
                        for key, value in stack.get("services", {}).items()
                        if value["action"] != "none"
                    }
                    if stack.get("files") or services:
                        found[f"{host}/{name}"] = {"files": stack.get("files", {}), "services": services}
        return found


@dataclass(frozen=True)
class Container:
    """One container of a service on a machine."""

    started: str
    status: str
    health: str


class Lab:
    """The ten machines, as a person at the Docker host sees them."""

    def __init__(self, inventory: Path) -> None:
        self.inventory = inventory
        hosts = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())
        children = hosts["all"]["children"]
        self.machines: list[str] = sorted(children["machines"]["hosts"])
        groups = children["appliances"]["children"]
        self.appliances: list[str] = sorted(name for group in groups.values() for name in group["hosts"])

    def play(
        self, *arguments: str, playbook: str = "site.yml", inventory: Path | None = None, limit: float = 600
    ) -> Play:
        """Run a playbook and read its results."""
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            str(inventory or self.inventory),
            playbook,
            *arguments,
        ]
        environment = os.environ | {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_FORCE_COLOR": "false"}
        began = time.monotonic()
        answer = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        seconds = time.monotonic() - began
        # The verdict prints its table before the results, and a task may print braces.
        begin = re.search(r"^\{$", answer.stdout, re.MULTILINE)
        if begin is None:
            pytest.fail(
                f"{' '.join(command)} ended with status {answer.returncode} and said:\n{answer.stdout}\n{answer.stderr}"
            )
        said = json.loads(answer.stdout[begin.start() :])
        results: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        bad: list[str] = []
        for play in said["plays"]:
            for task in play["tasks"]:
                for host, result in task["hosts"].items():
                    results.setdefault(host, []).append((task["task"]["name"], result))
                    if result.get("failed") or result.get("unreachable"):
                        bad.append(f"{host}: {task['task']['name']}: {result.get('msg')}")
        return Play(answer.returncode, seconds, said["stats"], results, "\n".join(bad) + answer.stderr)

    def on(self, machine: str, command: str, limit: float = 60, check: bool = True) -> str:
        """Run a shell command on a machine, without ssh."""
        return docker("exec", PREFIX + machine, "sh", "-c", command, limit=limit, check=check)

    def containers(self, machines: list[str] | None = None) -> dict[str, Container]:
        """The containers of the platform's services: {"machine/container": ...}."""
        form = "{{.Name}} {{.State.StartedAt}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}"
        script = f"docker ps -aq --filter label=com.docker.compose.project | xargs -r docker inspect --format '{form}'"
        found: dict[str, Container] = {}
        for machine in machines or self.machines:
            for line in self.on(machine, script, check=False).splitlines():
                name, started, status, health = line.split()
                found[f"{machine}/{name.lstrip('/')}"] = Container(started, status, health)
        return found

    def wait(self, condition: Callable[[], object], seconds: float, what: str | Callable[[], str]) -> float:
        """Wait until a condition holds; how long it took. What is wrong may be worked out when it is known to be."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if condition():
                return time.monotonic() - began
            time.sleep(2)
        pytest.fail(f"after {seconds:g} s: {what if isinstance(what, str) else what()}")

    def settled(self, wanted: set[str]) -> bool:
        """Whether exactly these containers run, and every one with a health check is healthy."""
        return not self.unsettled(wanted)

    def unsettled(self, wanted: set[str]) -> dict[str, str]:
        """Which containers are missing, too many, not running or not healthy: {"machine/container": what is wrong}."""
        now = self.containers()
        return {
            **dict.fromkeys(wanted - set(now), "is missing"),
            **dict.fromkeys(set(now) - wanted, "is not wanted"),
            **{
                name: f"{one.status}, {one.health}"
                for name, one in now.items()
                if one.status != "running" or one.health not in ("healthy", "none")
            },
        }

    def assert_no_address_twice(self) -> None:
        """No two containers have the same address on a network between the machines."""
        form = "{{range $name, $one := .NetworkSettings.Networks}}{{$name}}={{$one.IPAddress}} {{end}}"
        script = f"docker ps -q --filter label=com.docker.compose.project | xargs -r docker inspect --format '{form}'"
        found = [
            pair for machine in self.machines for pair in self.on(machine, script).split() if not pair.endswith("=")
        ]
        assert found
        assert len(set(found)) == len(found), sorted(found)

    def recovers(self, seconds: float = 120) -> float:
        """Wait until the verdict is good; how long it took.

        After a boot, machines tell each other the names and addresses in their networks again, so a name may be unknown
        somewhere for a while although every container is healthy.
        """
        last: list[Play] = []

        def good() -> bool:
            last[:] = [self.play(playbook="playbooks/verify.yml")]
            return last[0].status == 0

        began = time.monotonic()
        while not good():
            if time.monotonic() - began > seconds:
                pytest.fail(f"after {seconds:g} s the verdict is still bad:\n{last[0].problems}")
        return time.monotonic() - began

    def booted(self, machine: str) -> bool:
        """Whether a machine and its Docker engine are up."""
        if docker("inspect", "--format", "{{.State.Running}}", PREFIX + machine, check=False).strip() != "true":
            return False
        script = "test -S /run/systemd/private && systemctl is-active --quiet ssh && docker version --format {{.Server.Version}}"
        return bool(self.on(machine, script, check=False).strip())


def docker(*arguments: str, limit: float = 120, check: bool = True) -> str:
    """Run docker on the host of the lab."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=limit, check=False)
    if check and answer.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments)} ended with status {answer.returncode}: {answer.stderr.strip()}")
    return answer.stdout


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab that `make lab` brought up. Without it nothing here can be shown, so its absence is a failure."""
    running = docker("ps", "--filter", "label=ai.pantheon.lab=true", "--format", "{{.Names}}").split()
    wanted = Lab(ROOT / "inventories" / "lab")
    missing = [machine for machine in wanted.machines if PREFIX + machine not in running]
    if missing:
        pytest.fail(f"these machines of the lab do not run: {', '.join(missing)}. Run `make lab` first.")
    return wanted


@pytest.fixture
def changed_inventory(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a copy of the lab's inventory in which the environment of one service has more variables, or more is different."""
    # The copy has the same name and the same ways to the keys and the certificate of the lab.
    folder = tmp_path / "inventories" / "lab"
    shutil.copytree(ROOT / "inventories" / "lab", folder)
    for shared in (".lab", "artifacts"):
        (tmp_path / shared).symlink_to(ROOT / shared)

    def change(service: str, environment: dict[str, str], **more: Any) -> Path:
        override = folder / "catalog" / f"{service}.yml"
        override.parent.mkdir(exist_ok=True)
        content = (yaml.safe_load(override.read_text()) if override.is_file() else None) or {}
        content["environment"] = content.get("environment", {}) | environment
        content |= more
        override.write_text(yaml.safe_dump(content))
        return folder

    yield change
