# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it: its exit, and that no secret leaves it by any way."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.module_utils import _compose_stack_call
from ansible_collections.pantheon.ai.plugins.module_utils._compose_stack import Compose, Units
from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import Container, DockerUnavailable
from ansible_collections.pantheon.ai.plugins.modules import compose_stack

NEW = "new-secret-Zq81-of-this-run"
OLD = "old-secret-Xk27-on-the-disk"
FOUND = "found-secret-Jw55-in-an-edited-file"


class Engine:
    """An engine whose compose starts one container, and which repeats secrets wherever it can."""

    def __init__(self) -> None:
        self.boxes: list[Container] = []
        self.status = "Up 1 minute (healthy)"
        self.output = (0, "")
        self.missing = False

    def run(self, command: Sequence[str], directory: str, _environment: Any, _timeout: float) -> tuple[int, str]:
        if "up" in command and not self.output[0]:
            config = re.search(r"config: (\w+)", Path(directory, "compose.override.yml").read_text())
            assert config
            number = f"id{len(command)}-{config.group(1)}"
            self.boxes = [
                Container(
                    number, "n", "pantheon-litellm", "litellm", config.group(1), "h", "running", self.status, (), 2**40
                )
            ]
        return self.output

    def containers(self, project: str | None = None) -> list[Container]:
        if self.missing:
            raise DockerUnavailable("no Docker engine listens on docker.sock")
        return [box for box in self.boxes if project in (None, box.project)]

    def inspect(self, container: str) -> dict[str, Any]:
        return {"State": {"Running": True, "Error": f"error {OLD}", "Health": {"Log": [{"Output": f"check {NEW}"}]}}}

    def logs(self, container: str, lines: int) -> list[str]:
        return [f"log with {NEW}", f"log with {OLD}", f"log with {FOUND}"][-lines:]


class Runner:
    """Runs the module's main and keeps everything that it let out."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys, self.engine = root / "opt", capsys, Engine()
        self.logged: list[str] = []
        monkeypatch.setattr(_compose_stack_call, "DockerApi", lambda _socket: self.engine)
        monkeypatch.setattr(_compose_stack_call, "Compose", lambda socket: Compose(socket, self.engine.run))
        monkeypatch.setattr(_compose_stack_call, "Units", lambda: Units(str(root)))
        monkeypatch.setattr(AnsibleModule, "_log_to_syslog", lambda _self, text: self.logged.append(text))
        # The journal comes first where its Python package is there.
        monkeypatch.setattr("ansible.module_utils.basic.has_journal", False)

    def run(self, secret: str = NEW, config: str = "one", check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "root": str(self.root),
            "machine": "orpheus",
            "secrets": {"master": secret},
            "keep": ["litellm"],
            "stacks": [stack(config)],
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            **options,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            compose_stack.main()
        self.output = self.capsys.readouterr().out
        result: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return result

    def hides(self, *secrets: str) -> bool:
        everything = self.output + "\n".join(self.logged)
        return not any(secret in everything for secret in secrets)


def stack(config: str) -> dict[str, Any]:
    contents = {
        "compose.yml": "services: {}\n",
        "compose.override.yml": f"labels: ai.pantheon.config: {config}\n",
        ".env": "PLAIN=1\nMASTER=@@secret:master@@\nURL=redis://:@@secret:master@@@redis/0\n",
    }
    owner = {"uid": os.getuid(), "gid": os.getgid(), "mode": "0600", "sensitive": False}
    return {
        "name": "litellm",
        "tier": "compute",
        "services": {"litellm": {"start_seconds": 1}},
        "config": config,
        "files": [{"path": path, "content": content, **owner} for path, content in contents.items()],
    }


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(tmp_path, monkeypatch, capsys)


def test_a_run_reports_without_a_secret(runner: Runner) -> None:
    result = runner.run()
    assert result["changed"] is True
    assert result["stacks"]["litellm"]["services"]["litellm"]["action"] == "created"
    assert (runner.root / "litellm/.env").read_text().splitlines()[1] == f"MASTER={NEW}"
    assert any("MASTER=<secret master>" in entry["after"] for entry in result["diff"])
    assert runner.hides(NEW)
    assert runner.logged, "nothing was logged: the test would see no secret there"


def test_rotating_and_failing_reports_neither_the_new_nor_the_old_secret(runner: Runner) -> None:
    runner.run(secret=OLD)
    runner.engine.status = "Up 1 second (unhealthy)"
    result = runner.run(config="two", wait_timeout=0)
    assert result["failed"] is True
    assert "litellm on orpheus" in result["msg"]
    assert "log with ********" in result["msg"]
    assert runner.hides(NEW, OLD)


def test_a_secret_that_somebody_typed_into_our_file_is_hidden_too(runner: Runner) -> None:
    runner.run()
    path = runner.root / "litellm/.env"
    path.write_text(path.read_text().replace(NEW, FOUND))
    for check in (True, False):
        result = runner.run(check=check)
        assert result["stacks"]["litellm"]["files"] == {".env": "changed"}
        assert runner.hides(NEW, FOUND)


def test_errors_of_compose_are_redacted(runner: Runner) -> None:
    runner.engine.output = (1, f"invalid interpolation: {NEW}")
    result = runner.run()
    assert "invalid interpolation: ********" in result["msg"]
    assert runner.hides(NEW)


def test_check_mode_and_real_run_report_the_same(runner: Runner) -> None:
    predicted, real = runner.run(check=True), runner.run()
    assert predicted["diff"] == real["diff"]
    assert predicted["changed"] is real["changed"] is True
    assert runner.run()["changed"] is False


def test_without_docker_the_error_names_machine_and_remedy(runner: Runner) -> None:
    runner.engine.missing = True
    result = runner.run()
    assert result["failed"] is True
    assert result["msg"].startswith("orpheus: no Docker engine")
    assert "role docker" in result["msg"]
    assert runner.run(check=True)["changed"] is True


def test_no_diff_unless_asked(runner: Runner) -> None:
    assert "diff" not in runner.run(_ansible_diff=False)


def test_documentation_and_argument_spec_agree() -> None:
    def compare(documented: dict[str, Any], specified: dict[str, Any]) -> None:
        assert sorted(documented) == sorted(specified)
        for name, option in documented.items():
            spec = specified[name]
            for key in ("type", "elements", "default", "choices"):
                assert option.get(key) == spec.get(key), f"{name}.{key}"
            assert option.get("required", False) == spec.get("required", False), name
            compare(option.get("suboptions", {}), spec.get("options", {}))

    compare(yaml.safe_load(compose_stack.DOCUMENTATION)["options"], _compose_stack_call.ARGUMENTS)
    assert yaml.safe_load(compose_stack.EXAMPLES)
    assert "sample" in yaml.safe_load(compose_stack.RETURN)["stacks"]
