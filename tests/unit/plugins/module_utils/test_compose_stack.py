# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconciling stacks, with real files and an engine that behaves like Docker and compose."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _compose_stack
from ansible_collections.pantheon.ai.plugins.module_utils._compose_stack import (
    Compose,
    ComposeStacks,
    Options,
    Plan,
    Redactor,
    StackError,
    Units,
    explain,
    failure_text,
    parse_wanted,
    path_answers,
    secrets_in,
    waves,
)
from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import Container, DockerUnavailable

NEW, OLD = "new-secret-Zq81-of-this-run", "old-secret-Xk27-on-the-disk"
UID, GID = os.getuid(), os.getgid()


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Engine:
    """Docker and compose of a machine: what compose does is derived from the files, like the real thing."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root, self.clock = root, clock
        self.boxes: dict[str, dict[str, Any]] = {}
        self.definitions: dict[str, list[str]] = {}  # services of a project, when they are not just its name
        self.named_volumes: dict[str, list[str]] = {}
        self.calls: list[list[str]] = []
        self.mount: Callable[[], None] = lambda: None
        self.server = True  # whether the one behind a mount answers
        self.answers: list[tuple[int, str]] = []  # of the next calls of compose, in place of its work
        self.broken: dict[str, dict[str, Any]] = {}  # what a service looks like when it starts
        self.down = False
        self.numbers = itertools.count(1)  # projects come up side by side: counting has to be one step

    # -- compose

    def run(
        self, command: Sequence[str], directory: str, environment: dict[str, str], timeout: float
    ) -> tuple[int, str]:
        self.calls.append(list(command))
        if self.answers:
            status, output = self.answers.pop(0)
            if status:
                return status, output
        if command[0] == "systemd-escape":
            return 0, command[-1].strip("/").replace("/", "-") + ".mount\n"
        if command[:2] == ["systemctl", "start"]:
            self.mount()
            return 0, ""
        if command[0] == "systemctl":
            return self.systemctl(command)
        arguments = list(command[command.index("--project-name") + 1 :])
        project, verb = arguments[0], arguments[1]
        name = project.removeprefix("pantheon-")
        services = self.definitions.get(project, [name])
        if verb == "--dry-run":
            return 0, "".join(
                f" DRY-RUN MODE -  Container {project}-{box['service']}-1  "
                + ("Running\n" if box["hash"] == self.hash(Path(directory), box["service"]) else "Recreate\n")
                for box in list(self.boxes.values())
                if box["project"] == project
            )
        assert verb == "up"
        chosen = [argument for argument in arguments[2:] if not argument.startswith("--")]
        for service in chosen or services:
            self.up_service(project, service, Path(directory), "--force-recreate" in arguments)
        if "--remove-orphans" in arguments:
            for key, box in list(self.boxes.items()):
                if box["project"] == project and box["service"] not in services:
                    del self.boxes[key]
        return 0, ""

    def hash(self, directory: Path, service: str) -> str:
        text = "".join(
            (directory / file).read_text()
            for file in ("compose.yml", "compose.override.yml", ".env")
            if (directory / file).exists()
        )
        return hashlib.sha256(f"{service} {text}".encode()).hexdigest()

    def up_service(self, project: str, service: str, directory: Path, force: bool) -> None:
        wanted = self.hash(directory, service)
        mine = [box for box in list(self.boxes.values()) if (box["project"], box["service"]) == (project, service)]
        if len(mine) == 1 and mine[0]["hash"] == wanted and not force:
            if mine[0]["state"] != "running":
                mine[0].update(state="running", status="Up 2 seconds (healthy)")
            return
        for box in mine:
            del self.boxes[box["id"]]
        self.start(project, service, directory)

    def start(self, project: str, service: str, directory: Path, **values: Any) -> dict[str, Any]:
        override = (directory / "compose.override.yml").read_text()
        found = re.search(r"ai\.pantheon\.config: (\w+)", override)
        box = {
            "id": f"id{next(self.numbers)}",
            "project": project,
            "service": service,
            "config": found.group(1) if found else "",
            "hash": self.hash(directory, service),
            "state": "running",
            "status": "Up 5 minutes (healthy)",
            "networks": ("pantheon-ai",),
            "created": int(self.clock()) + 1,
            "inspect": {"RestartCount": 0, "State": {"Running": True}},
            "logs": [],
            "mounted": {
                str(path.relative_to(directory)): path.stat().st_ino for path in (directory / "files").rglob("*")
            },
            **self.broken.get(service, {}),
            **values,
        }
        self.boxes[box["id"]] = box
        return box

    def box(self, service: str) -> dict[str, Any]:
        (found,) = [box for box in list(self.boxes.values()) if box["service"] == service]
        return found

    # -- systemd

    def systemctl(self, command: Sequence[str]) -> tuple[int, str]:
        wants = self.root / "etc/systemd/system/docker.service.wants"
        wants.mkdir(parents=True, exist_ok=True)
        for unit in command[2:]:
            if command[1] == "enable":
                (wants / unit).symlink_to("/etc/systemd/system/pantheon-stack@.service")
            else:
                (wants / unit).unlink()
        return 0, ""

    # -- the API

    def containers(self, project: str | None = None) -> list[Container]:
        if self.down:
            raise DockerUnavailable("no Docker engine listens on docker.sock")
        return [
            Container(
                box["id"],
                f"{box['project']}-{box['service']}-1",
                box["project"],
                box["service"],
                box["config"],
                box["hash"],
                box["state"],
                box["status"],
                tuple(box["networks"]),
                box["created"],
            )
            for box in list(self.boxes.values())
            if project in (None, box["project"])
        ]

    def inspect(self, container: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.boxes[container]["inspect"]
        return answer

    def logs(self, container: str, lines: int) -> list[str]:
        answer: list[str] = self.boxes[container]["logs"][-lines:]
        return answer

    def remove_container(self, container: str) -> None:
        del self.boxes[container]

    def networks(self, project: str) -> list[str]:
        return []

    def remove_network(self, name: str) -> None:
        raise AssertionError(name)

    def volumes(self, project: str) -> list[str]:
        return list(self.named_volumes.get(project, []))

    def remove_volume(self, name: str) -> None:
        for volumes in self.named_volumes.values():
            if name in volumes:
                volumes.remove(name)


def stack(name: str = "litellm", config: str = "one", tier: str = "compute", **values: Any) -> dict[str, Any]:
    """Return a stack as the action hands it over."""
    files = {
        "compose.yml": f"services: {{{name}: {{image: example/{name}:1}}}}\n",
        "compose.override.yml": f"services: {{{name}: {{labels: {{ai.pantheon.config: {config}}}}}}}\n",
        ".env": "KEEP_ALIVE=5m\nMASTER_KEY=@@secret:master@@\n",
        "files/etc/app/config.yaml": "model_list: []\n",
        **values.pop("files", {}),
    }
    return {
        "name": name,
        "tier": tier,
        "project": f"pantheon-{name}",
        "networks": ["pantheon-ai"],
        "services": {name: {"start_seconds": 10}},
        "config": config,
        "files": [
            {
                "path": path,
                "content": content,
                "mode": "0600" if path == ".env" else "0644",
                "uid": UID,
                "gid": GID,
                "sensitive": path == ".env",
            }
            for path, content in files.items()
            if content is not None
        ],
        **values,
    }


class Machine:
    """A machine to reconcile, again and again."""

    def __init__(self, path: Path) -> None:
        self.fs = path
        self.root = path / "opt/pantheon"
        self.clock = Clock()
        self.engine = Engine(path, self.clock)
        (path / "run/systemd/system").mkdir(parents=True)
        units = path / "etc/systemd/system"
        units.mkdir(parents=True)
        (units / "pantheon-stack@.service").write_text("[Unit]\n")

    def run(self, *stacks: dict[str, Any], check: bool = False, secret: str = NEW, **options: Any) -> dict[str, Any]:
        secrets = {"master": secret}
        settings = Options(
            root=str(self.root),
            stacks=[parse_wanted(item, secrets) for item in stacks],
            keep=options.pop("keep", [item["name"] for item in stacks]),
            machine="orpheus",
            check_mode=check,
            **options,
        )
        return ComposeStacks(
            settings,
            self.engine,
            Compose(run=self.engine.run),
            Units(str(self.fs), self.engine.run, lambda _path: self.engine.server),
            Redactor(secrets.values()),
            self.clock,
            self.clock.sleep,
        ).run()

    def ups(self) -> list[str]:
        return [call[call.index("--project-name") + 1] for call in self.engine.calls if "up" in call]

    def tree(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.name != ".pantheon.json"
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


AUTOFS = "40 1 0:35 / /models rw,relatime shared:1 - autofs systemd-1 rw,fd=49\n"
NAS = "41 40 0:60 / /models ro,nosuid shared:2 - fuse.pantheon-nfs nas:/mnt/tank/models rw,user_id=0\n"


def mounts(machine: Machine, text: str) -> None:
    (machine.fs / "proc/self").mkdir(parents=True, exist_ok=True)
    (machine.fs / "proc/self/mountinfo").write_text(text)


def test_containers_start_where_the_storage_is_mounted(machine: Machine) -> None:
    mounts(machine, AUTOFS + NAS)
    assert actions(machine.run(stack("litellm", storage=["/models"]))) == {"litellm": "created"}
    assert not [call for call in machine.engine.calls if call[0] == "systemd-escape"]


def test_storage_that_is_not_mounted_yet_is_mounted_first(machine: Machine) -> None:
    mounts(machine, AUTOFS)
    machine.engine.mount = lambda: mounts(machine, AUTOFS + NAS)
    assert actions(machine.run(stack("litellm", storage=["/models"]))) == {"litellm": "created"}
    assert ["systemctl", "start", "models.mount"] in machine.engine.calls


def test_without_its_storage_a_stack_says_so_and_what_runs_is_left_alone(machine: Machine) -> None:
    mounts(machine, AUTOFS + NAS)
    machine.run(stack("litellm", storage=["/models"]), stack("redis"))
    before = dict(machine.engine.boxes)
    mounts(machine, AUTOFS)
    changed = stack("litellm", config="two", storage=["/models"])
    result = machine.run(changed, stack("redis"))
    (failure,) = result["failures"]
    assert (failure["stack"], failure["reason"]) == ("litellm", "the storage /models is not mounted on orpheus")
    assert actions(result) == {"litellm": "none", "redis": "none"}
    assert machine.engine.boxes == before
    assert machine.ups().count("pantheon-litellm") == 1
    # It is not forgotten: the next run goes on when the NAS is back.
    mounts(machine, AUTOFS + NAS)
    assert actions(machine.run(changed, stack("redis"))) == {"litellm": "recreated", "redis": "none"}


def test_storage_that_does_not_answer_would_stop_docker(machine: Machine) -> None:
    mounts(machine, AUTOFS + NAS)
    machine.engine.server = False
    result = machine.run(stack("litellm", storage=["/models"]))
    assert result["failures"][0]["reason"] == "the storage /models does not answer on orpheus"
    assert machine.ups() == []


def test_a_path_answers_or_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_answers(str(tmp_path)) is True
    assert path_answers(str(tmp_path / "missing")) is False
    slow = tmp_path / "stat"
    slow.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    began = time.monotonic()
    assert path_answers(str(tmp_path), 0.3) is False
    assert time.monotonic() - began < 5


def test_a_stack_that_runs_needs_no_storage_for_a_run_without_a_change(machine: Machine) -> None:
    mounts(machine, AUTOFS + NAS)
    machine.run(stack("litellm", storage=["/models"]))
    mounts(machine, AUTOFS)
    result = machine.run(stack("litellm", storage=["/models"]))
    assert (result["changed"], result["failures"]) == (False, [])


def test_check_mode_mounts_nothing(machine: Machine) -> None:
    mounts(machine, AUTOFS)
    assert machine.run(stack("litellm", storage=["/models"]), check=True)["changed"] is True
    assert not [call for call in machine.engine.calls if call[:2] == ["systemctl", "start"]]


def without_health(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a check and a real run have to agree on: everything but the health of containers to come."""
    stacks = json.loads(json.dumps(result["stacks"]))
    for item in stacks.values():
        for service in item["services"].values():
            del service["health"]
    return {"changed": result["changed"], "diff": result["diff"], "stacks": stacks}


def actions(result: dict[str, Any]) -> dict[str, str]:
    return {
        service: values["action"] for item in result["stacks"].values() for service, values in item["services"].items()
    }


def agree(machine: Machine, *stacks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Check, then run; both must tell the same, the check must not touch anything, and a third run nothing more."""
    before = {path: os.lstat(path).st_mtime_ns for path in sorted(machine.fs.rglob("*"))}
    boxes = json.dumps(machine.engine.boxes, sort_keys=True)
    predicted = machine.run(*stacks, check=True, **options)
    assert {path: os.lstat(path).st_mtime_ns for path in sorted(machine.fs.rglob("*"))} == before
    assert json.dumps(machine.engine.boxes, sort_keys=True) == boxes
    real = machine.run(*stacks, **options)
    assert without_health(predicted) == without_health(real)
    assert real["failures"] == []
    again = machine.run(*stacks, **options)
    assert (again["changed"], again["diff"]) == (False, [])
    return real


def test_first_run_creates_everything_with_its_modes(machine: Machine) -> None:
    result = agree(machine, stack(), stack("ollama"))
    assert result["stacks"]["litellm"]["files"] == {
        ".env": "created",
        "compose.override.yml": "created",
        "compose.yml": "created",
        "files/etc/app/config.yaml": "created",
    }
    assert result["stacks"]["litellm"]["services"]["litellm"] == {
        "action": "created",
        "health": "healthy",
        "reason": "it has no container",
    }
    assert result["stacks"]["litellm"]["unit"] == "enabled"
    environment = machine.root / "litellm/.env"
    assert environment.read_text() == f"KEEP_ALIVE=5m\nMASTER_KEY={NEW}\n"
    assert environment.stat().st_mode & 0o777 == 0o600
    assert (machine.root / "litellm/.pantheon.json").stat().st_mode & 0o777 == 0o600
    assert (machine.fs / "etc/systemd/system/docker.service.wants/pantheon-stack@litellm.service").is_symlink()


def test_a_run_without_changes_calls_no_program_and_writes_nothing(machine: Machine) -> None:
    machine.run(stack(), stack("ollama"))
    machine.engine.calls.clear()
    before = {path: os.lstat(path).st_mtime_ns for path in machine.fs.rglob("*")}
    assert machine.run(stack(), stack("ollama"))["changed"] is False
    assert machine.engine.calls == []
    assert {path: os.lstat(path).st_mtime_ns for path in machine.fs.rglob("*")} == before


def test_only_the_stack_that_changed_is_touched(machine: Machine) -> None:
    machine.run(stack(), stack("ollama"))
    machine.engine.calls.clear()
    ollama = machine.engine.box("ollama")["id"]
    changed = stack(config="two", files={".env": "KEEP_ALIVE=10m\nMASTER_KEY=@@secret:master@@\n"})
    result = agree(machine, changed, stack("ollama"))
    assert result["stacks"]["litellm"]["files"] == {".env": "changed", "compose.override.yml": "changed"}
    assert actions(result) == {"litellm": "recreated", "ollama": "none"}
    assert machine.ups() == ["pantheon-litellm"]
    assert machine.engine.box("ollama")["id"] == ollama


def test_the_diff_shows_a_setting_and_never_a_secret(machine: Machine) -> None:
    machine.run(stack(), secret=OLD)
    changed = stack(config="two", files={".env": "KEEP_ALIVE=10m\nMASTER_KEY=@@secret:master@@\n"})
    result = agree(machine, changed)
    (entry,) = [
        entry for entry in result["diff"] if entry["before_header"].startswith(str(machine.root / "litellm/.env"))
    ]
    assert entry["before"] == "KEEP_ALIVE=5m\nMASTER_KEY=<secret master>\n"
    assert entry["after"] == "KEEP_ALIVE=10m\nMASTER_KEY=<secret master>\n"
    text = json.dumps(result)
    assert OLD not in text
    assert NEW not in text


def test_a_rotated_secret_is_a_change_that_shows_no_value(machine: Machine) -> None:
    machine.run(stack(), secret=OLD)
    result = agree(machine, stack(config="two"))
    (entry,) = [entry for entry in result["diff"] if ".env" in entry["before_header"]]
    assert entry["after"] == entry["before"] + "# values of secrets changed\n"
    assert OLD not in json.dumps(result)
    assert (machine.root / "litellm/.env").read_text().endswith(f"MASTER_KEY={NEW}\n")


def test_an_edited_file_with_secrets_is_masked_and_put_right(machine: Machine) -> None:
    machine.run(stack())
    path = machine.root / "litellm/.env"
    path.write_text("# mine\nKEEP_ALIVE=typed-by-hand\nMASTER_KEY=typed-secret-4711\n")
    result = agree(machine, stack())
    assert result["diff"][0]["before"] == "<hidden>\nKEEP_ALIVE=<hidden>\nMASTER_KEY=<hidden>\n"
    assert "typed" not in json.dumps(result)
    assert actions(result) == {"litellm": "none"}


def test_an_edited_mounted_file_is_put_right_and_seen_by_the_container(machine: Machine) -> None:
    machine.run(stack())
    (machine.root / "litellm/files/etc/app/config.yaml").write_text("edited\n")
    result = agree(machine, stack())
    assert actions(result) == {"litellm": "recreated"}
    inode = (machine.root / "litellm/files/etc/app/config.yaml").stat().st_ino
    assert machine.engine.box("litellm")["mounted"]["files/etc/app/config.yaml"] == inode


def test_a_wrong_mode_is_put_right_without_a_restart(machine: Machine) -> None:
    machine.run(stack())
    path = machine.root / "litellm/.env"
    path.chmod(0o644)
    result = agree(machine, stack())
    assert result["stacks"]["litellm"]["files"] == {".env": "changed"}
    assert actions(result) == {"litellm": "none"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert result["diff"][0]["before"].startswith("mode 0644")


@pytest.mark.parametrize(
    ("drift", "action", "reason"),
    [
        ({"config": "other"}, "recreated", "its configuration changed"),
        ({"state": "exited", "status": "Exited (0) 1 hour ago"}, "started", "its container is exited"),
        ({"state": "paused"}, "recreated", "its container is paused"),
        ({"state": "restarting"}, "recreated", "its container is restarting"),
        ({"status": "Up 1 hour (unhealthy)"}, "recreated", "its container is unhealthy"),
        ({"networks": ()}, "recreated", "its container is not on the network pantheon-ai"),
        ({"hash": "made by hand"}, "recreated", "its container was made from other files"),
    ],
)
def test_drift_of_a_container(machine: Machine, drift: dict[str, Any], action: str, reason: str) -> None:
    machine.run(stack(), stack("ollama"))
    machine.engine.box("litellm").update(drift)
    if drift.get("config"):
        machine.engine.box("litellm")["hash"] = "other"
    result = agree(machine, stack(), stack("ollama"))
    assert actions(result) == {"litellm": action, "ollama": "none"}
    assert result["stacks"]["litellm"]["services"]["litellm"]["reason"] == reason


def test_a_container_that_is_gone_is_created(machine: Machine) -> None:
    machine.run(stack())
    machine.engine.boxes.clear()
    assert actions(agree(machine, stack())) == {"litellm": "created"}


def test_a_second_container_of_a_service_is_cleared_away(machine: Machine) -> None:
    machine.run(stack())
    machine.engine.start("pantheon-litellm", "litellm", machine.root / "litellm")
    assert actions(agree(machine, stack())) == {"litellm": "recreated"}
    assert len(machine.engine.boxes) == 1


def test_an_upgraded_compose_hashes_differently_and_nothing_restarts(machine: Machine) -> None:
    machine.run(stack())
    manifest = json.loads((machine.root / "litellm/.pantheon.json").read_text())
    manifest["services"]["litellm"] = "hash of an older compose"
    (machine.root / "litellm/.pantheon.json").write_text(json.dumps(manifest))
    assert machine.run(stack())["changed"] is False
    machine.engine.calls.clear()
    assert machine.run(stack())["changed"] is False
    assert machine.engine.calls == []


def test_a_service_that_left_the_stack_is_removed(machine: Machine) -> None:
    machine.engine.definitions["pantheon-litellm"] = ["litellm", "sidecar"]
    machine.run(stack(services={"litellm": {}, "sidecar": {}}))
    machine.engine.definitions["pantheon-litellm"] = ["litellm"]
    result = agree(machine, stack(config="two", services={"litellm": {}}))
    assert actions(result) == {"litellm": "recreated", "sidecar": "removed"}


def test_a_file_that_left_the_stack_is_removed_with_its_directories(machine: Machine) -> None:
    machine.run(stack())
    result = agree(machine, stack(config="two", files={"files/etc/app/config.yaml": None}))
    assert result["stacks"]["litellm"]["files"]["files/etc/app/config.yaml"] == "removed"
    assert not (machine.root / "litellm/files").exists()


def test_a_file_can_become_a_directory(machine: Machine) -> None:
    machine.run(stack(files={"files/etc/app/config.yaml": None, "files/etc/app": "old\n"}))
    agree(machine, stack(config="two"))
    assert (machine.root / "litellm/files/etc/app/config.yaml").read_text() == "model_list: []\n"


def test_a_foreign_file_is_kept_and_warned_about(machine: Machine) -> None:
    (machine.root / "litellm").mkdir(parents=True)
    (machine.root / "litellm/compose.yml").write_text("password: hunter-2-of-somebody\n")
    result = machine.run(stack())
    backup = machine.root / "litellm/compose.yml.before-pantheon"
    assert backup.read_text() == "password: hunter-2-of-somebody\n"
    assert result["warnings"] == [
        f"{machine.root}/litellm/compose.yml was not written by Pantheon: it is kept as compose.yml.before-pantheon."
    ]
    assert "hunter-2" not in json.dumps(result)
    assert machine.run(stack())["changed"] is False
    (machine.root / "litellm/.pantheon.json").unlink()
    (machine.root / "litellm/compose.yml").write_text("another one\n")
    machine.run(stack())
    assert backup.read_text() == "password: hunter-2-of-somebody\n"
    assert (machine.root / "litellm/compose.yml.before-pantheon.2").read_text() == "another one\n"


def test_a_link_in_the_place_of_a_file_is_not_followed(machine: Machine, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched\n")
    (machine.root / "litellm").mkdir(parents=True)
    (machine.root / "litellm/compose.yml").symlink_to(victim)
    machine.run(stack())
    assert victim.read_text() == "untouched\n"
    assert not (machine.root / "litellm/compose.yml").is_symlink()
    assert (machine.root / "litellm/compose.yml.before-pantheon").is_symlink()


def test_a_link_in_the_place_of_a_directory_fails_that_stack_only(machine: Machine, tmp_path: Path) -> None:
    (machine.root / "litellm").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (machine.root / "litellm/files").symlink_to(tmp_path / "elsewhere")
    result = machine.run(stack(), stack("ollama"))
    (failure,) = result["failures"]
    assert failure["stack"] == "litellm"
    assert "litellm/files is not a directory" in failure["reason"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert actions(result) == {"ollama": "created"}


def test_an_empty_directory_that_docker_made_is_replaced(machine: Machine) -> None:
    machine.run(stack())
    path = machine.root / "litellm/files/etc/app/config.yaml"
    path.unlink()
    path.mkdir()
    result = agree(machine, stack())
    assert path.is_file()
    assert result["warnings"] == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "", "a/../b", ".pantheon.json", "x.before-pantheon"])
def test_paths_that_leave_the_directory_are_refused(path: str) -> None:
    with pytest.raises(StackError, match="stack litellm"):
        parse_wanted(stack(files={path: "x"}), {"master": NEW})


def test_a_secret_without_value_is_named() -> None:
    with pytest.raises(StackError, match="no value for the secret 'master'"):
        parse_wanted(stack(), {})


# --- removal --------------------------------------------------------------------------------------------------------


def test_a_stack_that_is_no_longer_wanted_is_removed_and_its_data_kept(machine: Machine) -> None:
    machine.run(stack(), stack("ollama"))
    machine.engine.named_volumes["pantheon-litellm"] = ["pantheon_litellm_data"]
    result = agree(machine, stack("ollama"), tiers=["compute"])
    assert result["stacks"]["litellm"]["state"] == "absent"
    assert actions(result) == {"litellm": "removed", "ollama": "none"}
    assert result["stacks"]["litellm"]["unit"] == "disabled"
    assert not (machine.root / "litellm").exists()
    assert machine.engine.named_volumes["pantheon-litellm"] == ["pantheon_litellm_data"]
    assert not list(machine.fs.rglob("pantheon-stack@litellm.service"))


def test_volumes_are_removed_when_asked(machine: Machine) -> None:
    machine.run(stack())
    machine.engine.named_volumes["pantheon-litellm"] = ["pantheon_litellm_data"]
    result = machine.run(state="absent", remove_volumes=True)
    assert result["stacks"]["litellm"]["volumes_removed"] == ["pantheon_litellm_data"]
    assert machine.engine.named_volumes["pantheon-litellm"] == []


def test_other_tiers_and_foreign_directories_stay(machine: Machine) -> None:
    machine.run(stack("redis", tier="data"), stack())
    (machine.root / "mine").mkdir()
    (machine.root / "mine/compose.yml").write_text("services: {}\n")
    result = machine.run(state="absent", tiers=["compute"])
    assert list(result["stacks"]) == ["litellm"]
    assert sorted(path.name for path in machine.root.iterdir()) == ["mine", "redis"]


def test_a_stack_that_moved_to_another_tier_is_not_removed_by_its_old_one(machine: Machine) -> None:
    machine.run(stack("tool", tier="compute"))
    assert machine.run(tiers=["compute"], keep=["tool"])["stacks"] == {}
    result = agree(machine, stack("tool", tier="tools"), tiers=["tools"])
    assert result["changed"] is False
    assert json.loads((machine.root / "tool/.pantheon.json").read_text())["tier"] == "tools"


def test_only_restricts_removal_too(machine: Machine) -> None:
    machine.run(stack(), stack("ollama"))
    assert list(machine.run(only=["ollama"], state="absent")["stacks"]) == ["ollama"]
    assert (machine.root / "litellm").is_dir()


def test_files_of_people_survive_a_removal(machine: Machine) -> None:
    machine.run(stack())
    (machine.root / "litellm/notes.txt").write_text("mine\n")
    result = machine.run(state="absent")
    assert result["stacks"]["litellm"]["kept"] == ["notes.txt"]
    assert [path.name for path in (machine.root / "litellm").iterdir()] == ["notes.txt"]
    assert machine.run(state="absent") == machine.run(state="absent", check=True)
    assert machine.run(state="absent")["changed"] is False


def test_a_removal_on_a_machine_without_anything_is_no_change(machine: Machine) -> None:
    machine.engine.down = True
    assert machine.run(state="absent")["changed"] is False
    assert not machine.root.exists()


# --- interrupted runs -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What kill -9 does: no handler runs."""


def interrupt(monkeypatch: pytest.MonkeyPatch, machine: Machine, after: int) -> None:
    """Kill the run before its step number `after`; every call that changes the machine is a step."""
    steps = 0

    def step(name: str, original: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            if steps == after:
                raise Killed(name)
            steps += 1
            return original(*arguments, **options)

        return wrapped

    for module, name in ((os, "replace"), (os, "unlink"), (os, "link"), (os, "rmdir"), (os, "chmod"), (os, "fsync")):
        monkeypatch.setattr(module, name, step(name, getattr(module, name)))
    for name in ("run", "remove_container", "remove_volume"):
        monkeypatch.setattr(machine.engine, name, step(name, getattr(machine.engine, name)))


@pytest.mark.parametrize("change", ["deploy", "update", "restore", "remove"])
def test_a_run_that_is_killed_anywhere_converges(tmp_path: Path, change: str) -> None:
    wanted = stack(
        config="two",
        files={
            "files/etc/app/config.yaml": "model_list: [a]\n",
            "files/etc/app/more.yaml": "x\n",
            ".env": "KEEP_ALIVE=9m\nMASTER_KEY=@@secret:master@@\n",
        },
    )
    points, finished = 0, False
    while not finished:
        machine = Machine(tmp_path / str(points))
        stacks = () if change == "remove" else (wanted,)
        options: dict[str, Any] = {"state": "absent", "remove_volumes": True} if change == "remove" else {}
        foreign = machine.root / "litellm/compose.yml"
        if change == "deploy":
            foreign.parent.mkdir(parents=True)
            foreign.write_text("foreign\n")
        else:
            machine.run(stack(files={"files/etc/old/config.yaml": "old\n"}), secret=OLD)
            machine.engine.named_volumes["pantheon-litellm"] = ["v"]
            if change == "restore":
                machine.run(wanted)
                (machine.root / "litellm/files/etc/app/config.yaml").write_text("edited\n")
        machine.clock.sleep(60)
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, machine, points)
            try:
                machine.run(*stacks, **options)
                finished = True
            except Killed:
                points += 1
        machine.clock.sleep(60)
        assert machine.run(*stacks, **options)["failures"] == []
        again = machine.run(*stacks, **options)
        assert (again["changed"], again["diff"]) == (False, []), points
        if change == "remove":
            # Killed after the manifest went, its directory may be left, but empty.
            assert [path for path in machine.root.rglob("*") if not path.is_dir()] == []
            assert machine.engine.boxes == {}
            assert machine.engine.named_volumes["pantheon-litellm"] == []
            continue
        tree = machine.tree()
        if change == "deploy":
            assert tree.pop("litellm/compose.yml.before-pantheon") == "foreign\n"
        assert tree == {
            f"litellm/{item['path']}": item["content"].replace("@@secret:master@@", NEW) for item in wanted["files"]
        }
        box = machine.engine.box("litellm")
        assert box["config"] == "two"
        assert box["hash"] == machine.engine.hash(machine.root / "litellm", "litellm")
        for path, inode in box["mounted"].items():
            assert (machine.root / "litellm" / path).stat().st_ino == inode
    assert points > (5 if change == "restore" else 8)


def test_files_that_were_written_and_not_applied_are_drift(machine: Machine) -> None:
    machine.run(stack())
    machine.clock.sleep(60)
    machine.engine.answers = [(1, "docker: something broke")]
    first = machine.run(stack(config="two"))
    assert "something broke" in first["failures"][0]["reason"]
    result = agree(machine, stack(config="two"))
    assert result["stacks"]["litellm"]["files"] == {}
    assert actions(result) == {"litellm": "recreated"}


def test_two_runs_do_not_meet(machine: Machine) -> None:
    import fcntl

    machine.root.mkdir(parents=True)
    descriptor = os.open(machine.root, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(StackError, match="another run works on"):
            machine.run(stack())
    finally:
        os.close(descriptor)
    assert machine.run(stack())["changed"] is True


# --- health ---------------------------------------------------------------------------------------------------------


def test_a_service_that_never_becomes_healthy_fails_with_its_redacted_log(machine: Machine) -> None:
    machine.run(stack(), secret=OLD)
    machine.engine.broken["litellm"] = {
        "status": "Up 3 seconds (health: starting)",
        "inspect": {"State": {"Running": True, "Health": {"Log": [{"ExitCode": 1, "Output": f"refused {NEW}\n"}]}}},
        "logs": ["first", f"connecting with {NEW}", f"and with {OLD}"],
    }
    result = machine.run(stack(config="two"), stack("ollama"), wait_timeout=30)
    (failure,) = result["failures"]
    assert (failure["stack"], failure["service"], failure["machine"]) == ("litellm", "litellm", "orpheus")
    assert re.match(
        r"it is not healthy after 4[01] s; the last health check ended with 1: refused \*+$", failure["reason"]
    )
    assert failure["logs"] == ["first", "connecting with ********", "and with ********"]
    assert "docker compose logs litellm" in failure["remedy"]
    assert actions(result) == {"litellm": "recreated", "ollama": "created"}
    text = json.dumps(result) + failure_text(result["failures"])
    assert NEW not in text
    assert OLD not in text
    assert "orpheus" in text


def test_out_of_memory_is_named(machine: Machine) -> None:
    machine.engine.broken["litellm"] = {
        "state": "exited",
        "status": "Exited (137) 1 second ago",
        "inspect": {
            "State": {"Running": False, "ExitCode": 137, "OOMKilled": True},
            "HostConfig": {"Memory": 512 * 2**20, "RestartPolicy": {"Name": "no"}},
        },
    }
    (failure,) = machine.run(stack())["failures"]
    assert "exit code is 137" in failure["reason"]
    assert "want of memory (limit 512 MB)" in failure["reason"]
    assert failure["remedy"].startswith("Raise resources.memory_mb of litellm")


def test_a_service_that_restarts_again_and_again_fails_early(machine: Machine) -> None:
    machine.engine.broken["litellm"] = {
        "state": "restarting",
        "status": "Restarting (1) 1 second ago",
        "inspect": {"RestartCount": 6, "State": {"Restarting": True, "ExitCode": 1}},
    }
    begun = machine.clock()
    (failure,) = machine.run(stack(), wait_timeout=600)["failures"]
    assert failure["reason"] == "it restarted 6 times; its exit code is 1"
    assert machine.clock() - begun < 30


def test_unhealthy_has_a_moment_to_recover(machine: Machine) -> None:
    machine.engine.broken["litellm"] = {"status": "Up 1 minute (unhealthy)"}
    recover_at = machine.clock() + 5
    sleep = machine.clock.sleep

    def recovering(seconds: float) -> None:
        sleep(seconds)
        if machine.clock() >= recover_at:
            machine.engine.box("litellm")["status"] = "Up 1 minute (healthy)"

    machine.clock.sleep = recovering  # type: ignore[method-assign]
    assert machine.run(stack())["failures"] == []


def test_unhealthy_that_lasts_fails(machine: Machine) -> None:
    machine.engine.broken["litellm"] = {"status": "Up 1 minute (unhealthy)"}
    (failure,) = machine.run(stack(), wait_timeout=600)["failures"]
    assert failure["reason"] == "it is unhealthy"


def started(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def test_a_service_without_a_check_has_to_run_for_two_seconds(machine: Machine) -> None:
    begun = machine.clock()
    machine.engine.broken["litellm"] = {
        "status": "Up Less than a second",
        "inspect": {"RestartCount": 0, "State": {"Running": True, "StartedAt": started(begun)}},
    }
    assert machine.run(stack())["failures"] == []
    assert 2.0 <= machine.clock() - begun < 4.0


def test_a_container_that_is_still_starting_is_waited_for(machine: Machine) -> None:
    machine.run(stack())
    machine.engine.box("litellm")["status"] = "Up 2 seconds (health: starting)"
    result = machine.run(stack(), wait_timeout=5)
    assert result["changed"] is False
    assert "not healthy" in result["failures"][0]["reason"]


def test_a_container_without_its_network_fails(machine: Machine) -> None:
    machine.engine.broken["litellm"] = {"networks": ()}
    (failure,) = machine.run(stack())["failures"]
    assert failure["reason"] == "it is not on the network pantheon-ai"


# --- compose --------------------------------------------------------------------------------------------------------

MISSING = "network pantheon-ai declared as external, but could not be found"


def test_a_network_that_is_not_yet_known_is_waited_for(machine: Machine) -> None:
    machine.engine.answers = [(0, ""), (1, MISSING), (1, MISSING)]  # the first is systemctl's
    assert machine.run(stack())["failures"] == []
    assert len(machine.ups()) == 3


def test_a_network_that_never_comes_is_an_error_with_a_remedy(machine: Machine) -> None:
    machine.engine.answers = [(0, "")] + [(1, MISSING)] * 100
    begun = machine.clock()
    (failure,) = machine.run(stack())["failures"]
    assert "network is not known to this machine" in failure["reason"]
    assert "role overlay" in failure["remedy"]
    assert machine.clock() - begun < 90


def test_a_name_conflict_with_the_unit_of_the_stack_is_tried_again(machine: Machine) -> None:
    machine.engine.answers = [(0, ""), (1, 'The container name "/x" is already in use by container "abc"')]
    assert machine.run(stack())["failures"] == []


@pytest.mark.parametrize(
    ("output", "reason", "remedy"),
    [
        ("manifest for ghcr.io/x/y:9 not found: manifest unknown", "an image does not exist", "image.tag"),
        (
            'failed to do request: Head "https://ghcr.io/v2/x": dial tcp: lookup ghcr.io: no such host',
            "the registry cannot be reached",
            "pantheon_images",
        ),
        ("pull access denied for x, repository does not exist", "the registry refuses", "docker login"),
        ("toomanyrequests: You have reached your pull rate limit", "the registry limits", "mirror"),
        ("write /var/lib/docker/tmp: no space left on device", "the disk is full", "docker system df"),
        ("Bind for 0.0.0.0:443 failed: port is already allocated", "a port that it publishes is taken", "ss -ltnp"),
        ("docker: 'compose' is not a docker command.", "Docker with compose v2 is not installed", "role docker"),
        ("services.x Additional property foo is not allowed", "docker compose up failed: services.x", "docker compose"),
    ],
)
def test_errors_of_compose_become_sentences(output: str, reason: str, remedy: str) -> None:
    said, advice = explain(output, "pantheon-x")
    assert said.startswith(reason)
    assert remedy in advice


def test_the_environment_of_the_caller_does_not_reach_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_KEY", "from the shell")
    assert "MASTER_KEY" not in Compose("/run/docker.sock").environment
    assert Compose("/run/docker.sock").environment["DOCKER_HOST"] == "unix:///run/docker.sock"


def test_a_failing_stack_does_not_stop_the_others(machine: Machine) -> None:
    run = machine.engine.run

    def failing(command: Sequence[str], *rest: Any) -> tuple[int, str]:
        return (1, f"bad value {NEW}") if "pantheon-litellm" in command else run(command, *rest)

    machine.engine.run = failing  # type: ignore[method-assign,assignment]
    result = machine.run(stack(), stack("ollama"), stack("redis"))
    assert [failure["stack"] for failure in result["failures"]] == ["litellm"]
    assert actions(result) == {"litellm": "none", "ollama": "created", "redis": "created"}
    assert NEW not in json.dumps(result)


def test_stacks_come_after_what_they_require() -> None:
    plans = []
    for name, requires in (("open-webui", ["litellm"]), ("litellm", ["redis"]), ("redis", []), ("other", ["absent"])):
        plans.append(Plan(name, "/x", parse_wanted(stack(name, requires=requires), {"master": NEW}), None))
    assert [[plan.name for plan in wave] for wave in waves(plans)] == [["redis", "other"], ["litellm"], ["open-webui"]]


# --- machines that lack something -----------------------------------------------------------------------------------


def test_check_mode_on_a_fresh_machine_reports_everything_as_created(machine: Machine) -> None:
    machine.engine.down = True
    (machine.fs / "etc/systemd/system/pantheon-stack@.service").unlink()
    result = machine.run(stack(), check=True)
    assert actions(result) == {"litellm": "created"}
    assert result["stacks"]["litellm"]["unit"] == "enabled"
    assert "as if it had no container" in result["notes"][0]
    assert not machine.root.exists()


def test_a_real_run_without_docker_fails_with_a_remedy(machine: Machine) -> None:
    machine.engine.down = True
    with pytest.raises(StackError, match="orpheus: no Docker engine") as caught:
        machine.run(stack())
    assert "role docker" in caught.value.remedy


def test_a_machine_without_systemd_is_told_so(machine: Machine) -> None:
    (machine.fs / "run/systemd/system").rmdir()
    result = agree(machine, stack())
    assert result["stacks"]["litellm"]["unit"] == "none"
    assert result["notes"] == ["systemd does not run this machine: stacks are not started at boot"]


def test_a_broken_manifest_is_a_warning(machine: Machine) -> None:
    machine.run(stack())
    (machine.root / "litellm/.pantheon.json").write_text("{broken")
    result = machine.run(stack())
    assert result["changed"] is False
    assert "is ignored" in result["warnings"][0]
    assert machine.run(stack())["warnings"] == []


# --- secrets --------------------------------------------------------------------------------------------------------


def test_old_secrets_are_found_inside_their_lines() -> None:
    template = "URL=postgres://u:@@secret:pg@@@db/x\nKEY=@@secret:key@@\nPLAIN=1\n"
    text = 'URL=postgres://u:hidden-one@db/x\nKEY="hidden-two"\nPLAIN=1\n'
    assert secrets_in(template, text) == ["hidden-one", '"hidden-two"']
    assert secrets_in("@@secret:pem@@\n", "-----BEGIN KEY-----\nabc\n") == ["-----BEGIN KEY-----\nabc\n"]
    assert secrets_in("- @@secret:x@@\n", "- everything\n- else\n") == []


def test_each_line_of_a_key_is_redacted() -> None:
    redactor = Redactor(["-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nshort\n-----END KEY-----\n"])
    assert redactor.text("error near MIIEvQIBADANBgkqhkiG9w0B, short") == "error near ********, short"


def test_a_longer_secret_is_hidden_before_a_shorter_one_inside_it() -> None:
    assert Redactor(["abcdef", "abcdefghij"]).text("abcdefghij abcdef") == "******** ********"


def test_nothing_is_left_open_by_a_failing_write(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_compose_stack, "write_atomic", full)
    (failure,) = machine.run(stack())["failures"]
    assert "No space left on device" in failure["reason"]
