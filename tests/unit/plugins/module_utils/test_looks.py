# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several modules asked in one start of Python: only those with nothing to do have an answer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import (
    _compose_stack_call,
    _looks,
    _ollama_models,
    _postgresql_cluster,
    _postgresql_databases,
    _storage_call,
)
from ansible_collections.pantheon.ai.plugins.module_utils._looks import look
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

Asked = list[tuple[dict[str, Any], bool]]


def answering(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> Asked:
    """Let ollama_models come to this outcome, and return the list of what it is asked."""
    asked: Asked = []

    def perform(params: dict[str, Any], check_mode: bool) -> Outcome:
        asked.append((params, check_mode))
        return outcome

    monkeypatch.setattr(_ollama_models, "perform", perform)
    return asked


def test_it_asks_in_check_mode_with_the_defaults_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, Outcome({"changed": False, "models": {}}, idle=True))
    answers = look([{"module": "ollama_models", "parameters": {"models": ["m"]}}])
    assert answers == [{"module": "ollama_models", "result": {"changed": False, "models": {}}}]
    ((params, check_mode),) = asked
    assert check_mode is True
    assert (params["models"], params["service"], params["wait"]) == (["m"], "ollama", 30)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome({"changed": True}, idle=False),
        Outcome({"changed": False}, ["taken as empty"], idle=True),
        Outcome({}, (), "no answer", idle=True),
    ],
)
def test_what_is_not_plainly_in_order_has_no_answer(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    asked = answering(monkeypatch, outcome)
    assert look([{"module": "ollama_models", "parameters": {}}]) == []
    assert len(asked) == 1


def test_wrong_parameters_are_left_to_the_call_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, Outcome({}, idle=True))
    assert look([{"module": "ollama_models", "parameters": {"no_such_option": []}}]) == []
    assert asked == []


@pytest.mark.parametrize("module", [_compose_stack_call, _ollama_models, _postgresql_cluster, _postgresql_databases])
def test_every_module_that_machine_state_may_ask_is_known(module: Any) -> None:
    name = module.__name__.rsplit("._", 1)[1].removesuffix("_call")
    arguments, perform = _looks._module(name)
    assert arguments is module.ARGUMENTS
    assert perform is module.perform


@pytest.mark.parametrize(
    ("available", "digest", "known"),
    [(True, "right", True), (False, "right", False), (True, "wrong", False), (True, None, False)],
)
def test_storage_is_in_order_with_its_mounts_and_the_files_of_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: bool, digest: str | None, known: bool
) -> None:
    mounts = {"models": {"backend": "fuse", "available": available}}

    class State:
        def __init__(self, *_arguments: Any) -> None:
            self.warnings: list[str] = []
            self.failures: list[str] = []

        def reconcile(self) -> dict[str, Any]:
            return {"changed": False, "actions": [], "mounts": mounts}

    monkeypatch.setattr(_storage_call, "StorageMounts", State)
    file = tmp_path / "client.py"
    if digest:
        file.write_text("client\n")
    content = b"client\n" if digest == "right" else b"another\n"
    parameters = {"mounts": [], "client": {str(file): hashlib.sha256(content).hexdigest()}}
    answers = look([{"module": "storage_mounts", "parameters": parameters}])
    assert [answer["result"]["mounts"] for answer in answers] == ([mounts] if known else [])


def test_another_module_is_refused() -> None:
    with pytest.raises(ValueError, match="'shell' is none of"):
        look([{"module": "shell", "parameters": {}}])


def test_a_machine_without_stacks_is_in_order(tmp_path: Path) -> None:
    (answer,) = look([{"module": "compose_stack", "parameters": {"root": str(tmp_path)}}])
    assert (answer["result"]["changed"], answer["result"]["stacks"]) == (False, {})


def test_a_stack_that_is_not_there_has_no_answer_and_nothing_is_written(tmp_path: Path) -> None:
    wanted = {
        "name": "redis",
        "tier": "data",
        "services": {"redis": {}},
        "config": "c",
        "files": [{"path": "a", "content": "x"}],
    }
    parameters = {"root": str(tmp_path), "docker_socket": str(tmp_path / "no.sock"), "stacks": [wanted]}
    assert look([{"module": "compose_stack", "parameters": parameters}]) == []
    assert list(tmp_path.iterdir()) == []
