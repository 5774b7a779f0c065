# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of compose_stack, with the catalog of the project and an inventory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.pantheon.ai.plugins.action import compose_stack
from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import stack_keys

VALUE = "value-of-a-secret-Lm42"


class Secrets(dict[str, str]):
    """Every secret has a value."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return f"{VALUE}-{name}"


class Changed(Secrets):
    """Every secret has another value."""

    def __missing__(self, name: str) -> str:
        return f"changed-{name}"


class Action:
    """Runs the action with variables as Ansible would give them, and keeps what reaches the module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.folder = folder
        self.secrets: dict[str, str] = Secrets()
        self.sent: list[dict[str, Any]] = []
        self.module_vars: dict[str, Any] = {}
        self.answer: dict[str, Any] = {"changed": True, "stacks": {}, "invocation": {"module_args": {}}}
        (folder / "hosts.yml").write_text("all: {}\n")
        (folder / "secrets.yml").write_text("x\n")
        self.variables: dict[str, Any] = {
            "inventory_hostname": "one",
            "inventory_dir": str(folder),
            "groups": {"all": ["one", "two"], "machines": ["one", "two"], "redis": ["one"], "litellm": ["one"]},
            "hostvars": {"one": {"ansible_host": "10.0.0.1"}, "two": {"ansible_host": "10.0.0.2"}},
            "pantheon_domain": "test.internal",
            "pantheon_network": "host",
        }
        self.variables["groups"]["ollama"] = ["two"]
        monkeypatch.setattr(compose_stack, "load_secrets", lambda *_arguments: self.secrets)

    def run(self, check: bool = False, variables: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        task = Task.load({"name": "stacks", "action": "pantheon.ai.compose_stack", "args": arguments})
        task.check_mode = check
        loader = DataLoader()
        plugin = compose_stack.ActionModule(
            task=task,
            connection=MagicMock(),
            play_context=MagicMock(check_mode=check),
            loader=loader,
            templar=MagicMock(),
            shared_loader_obj=MagicMock(),
        )

        def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert module_name == "pantheon.ai.compose_stack"
            self.sent.append(module_args)
            self.module_vars = task_vars
            return dict(self.answer)

        self.monkeypatch.setattr(plugin, "_execute_module", execute)
        result: dict[str, Any] = plugin.run(task_vars={**self.variables, **(variables or {})})
        return result


@pytest.fixture
def action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Action:
    return Action(tmp_path, monkeypatch)


def test_one_call_carries_everything_of_the_host(action: Action) -> None:
    action.run()
    (sent,) = action.sent
    assert [stack["name"] for stack in sent["stacks"]] == ["redis", "redis-router", "litellm"]
    assert sent["keep"] == ["redis", "redis-router", "litellm"]
    assert (sent["machine"], sent["root"], sent["only"], sent["tiers"]) == ("one", "/opt/pantheon", None, None)


def test_files_carry_placeholders_and_secrets_travel_apart(action: Action) -> None:
    result = action.run()
    (sent,) = action.sent
    assert VALUE not in str(sent["stacks"])
    assert sent["secrets"]["litellm_redis_password"] == f"{VALUE}-litellm_redis_password"
    assert VALUE not in str(result)
    assert "invocation" not in result
    assert action.module_vars["ansible_no_target_syslog"] is True


def test_the_hash_stands_in_the_label(action: Action) -> None:
    action.run()
    for stack in action.sent[0]["stacks"]:
        (override,) = [file["content"] for file in stack["files"] if file["path"] == "compose.override.yml"]
        assert len(stack["config"]) == 64
        assert stack["config"] in override
        assert "@@config-hash@@" not in override


def test_tiers_and_what_stays(action: Action) -> None:
    action.run(tiers=["data"])
    (sent,) = action.sent
    assert [stack["name"] for stack in sent["stacks"]] == ["redis", "redis-router"]
    assert sent["keep"] == ["redis", "redis-router", "litellm"]


def test_what_is_required_on_the_same_machine_is_passed_on(action: Action) -> None:
    action.run()
    requires = {stack["name"]: stack["requires"] for stack in action.sent[0]["stacks"]}
    assert "redis-router" in requires["litellm"]
    assert "redis" in requires["redis-router"]


@pytest.mark.parametrize(
    ("given", "run_tags", "skip_tags", "expected"),
    [
        (None, ["all"], [], None),
        (None, ["redis", "data"], [], ["redis"]),
        (None, ["data"], [], None),
        (None, ["all"], ["redis"], ["litellm"]),
        (None, ["redis", "litellm"], ["redis"], ["litellm"]),
        (["litellm"], ["redis"], ["litellm"], ["litellm"]),
        ([], ["redis"], [], []),
    ],
)
def test_tags_choose_services(
    given: list[str] | None, run_tags: list[str], skip_tags: list[str], expected: list[str] | None
) -> None:
    assert compose_stack.chosen(given, run_tags, skip_tags, ["redis", "litellm"]) == expected


def test_tags_of_the_run_reach_the_module(action: Action) -> None:
    action.run(variables={"ansible_run_tags": ["litellm"], "ansible_skip_tags": []})
    (sent,) = action.sent
    assert ([stack["name"] for stack in sent["stacks"]], sent["only"]) == (["litellm"], ["litellm"])


def test_a_missing_secret_is_named_with_its_service_and_the_remedy(action: Action) -> None:
    action.secrets = {}
    with pytest.raises(AnsibleActionFail, match=r"\blitellm_redis_password \(of redis, litellm\).*preflight"):
        action.run()
    assert action.sent == []


def test_check_mode_goes_on_before_the_secrets_are_made(action: Action) -> None:
    (action.folder / "secrets.yml").unlink()
    action.secrets = {}
    result = action.run(check=True)
    assert action.sent[0]["secrets"]["litellm_redis_password"] == compose_stack.NOT_YET
    assert "litellm_redis_password" in result["warnings"][0]


def test_secrets_without_a_folder_to_keep_them(action: Action) -> None:
    with pytest.raises(AnsibleActionFail, match="neither a file nor a folder"):
        action.run(variables={"inventory_dir": None})


def test_a_faulty_catalog_fails_before_the_machine_is_touched(action: Action) -> None:
    (action.folder / "catalog").mkdir()
    (action.folder / "catalog/redis.yml").write_text("imagee: {}\n")
    with pytest.raises(AnsibleError, match="imagee"):
        action.run()
    assert action.sent == []


def test_an_unknown_service_is_refused(action: Action) -> None:
    with pytest.raises(AnsibleError, match="rediss"):
        action.run(only=["rediss"])


def test_removing_needs_neither_secrets_nor_the_catalog_entry(action: Action) -> None:
    action.secrets = {}
    action.run(state="absent", only=["left-the-catalog"], remove_volumes=True)
    (sent,) = action.sent
    assert (sent["state"], sent["only"], sent["remove_volumes"]) == ("absent", ["left-the-catalog"], True)
    assert "stacks" not in sent
    assert "keep" not in sent


def seen(action: Action, **changes: Any) -> dict[str, Any]:
    """Return variables of a run in which machine_state has looked at what the action would send."""
    action.run()
    parameters = action.sent.pop()
    reports = {stack["name"]: {"changed": False, "state": "present"} for stack in parameters["stacks"]}
    look = {"module": "compose_stack", "keys": stack_keys(parameters), "result": {"changed": False, "stacks": reports}}
    return {"docker_result": {"looks": [look]}, **changes}


def test_what_was_seen_as_wanted_is_not_asked_again(action: Action) -> None:
    variables = seen(action)
    result = action.run(variables=variables, tiers=["data"])
    assert action.sent == []
    assert (result["changed"], list(result["stacks"])) == (False, ["redis", "redis-router"])
    assert result["looks"] == variables["docker_result"]["looks"]  # for the tiers that follow
    assert VALUE not in str(result)


def test_another_secret_is_another_question(action: Action) -> None:
    variables = seen(action)
    action.secrets = Changed()
    action.run(variables=variables)
    assert len(action.sent) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"pantheon_root": "/srv/pantheon"},
        {"pantheon_images": {"redis": "redis:8.9.9"}},
        {"pantheon_timezone": "Europe/Rome"},
    ],
)
def test_another_setting_is_another_question(action: Action, setting: dict[str, Any]) -> None:
    variables = seen(action)
    action.run(variables={**variables, **setting})
    assert len(action.sent) == 1


def test_a_call_that_was_needed_ends_the_use_of_looks(action: Action) -> None:
    variables = seen(action)
    result = action.run(variables={**variables, "stacks_result": {"changed": True, "stacks": {}}})
    assert len(action.sent) == 1
    assert "looks" not in result


def test_removing_is_never_answered_from_a_look(action: Action) -> None:
    action.run(variables=seen(action), state="absent")
    assert len(action.sent) == 1


def test_a_stack_that_was_not_looked_at_is_asked(action: Action) -> None:
    variables = seen(action)
    del variables["docker_result"]["looks"][0]["keys"]["litellm"]
    action.run(variables=variables, tiers=["data"])
    assert action.sent == []
    action.run(variables=variables, tiers=["compute"])
    assert len(action.sent) == 1
