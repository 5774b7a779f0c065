# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of encrypted_volume: where the key comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.pantheon.ai.plugins.action import encrypted_volume
from ansible_collections.pantheon.ai.plugins.plugin_utils._encryption import key_of

DATA = {"name": "data", "device": "/dev/sdb", "path": "/srv/data"}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {"encryption_key": "a-secret"}
    monkeypatch.setattr(encrypted_volume, "load_secrets", lambda folder, loader: values)
    return values


def call(folder: Path, check: bool = False, **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what reaches the module, and what the task returns."""
    task = MagicMock(Task, async_val=0, args={**DATA, **arguments}, check_mode=check, diff=False, environment=None)
    action = encrypted_volume.ActionModule(
        task=task,
        connection=MagicMock(),
        play_context=MagicMock(check_mode=check),
        loader=DataLoader(),
        templar=MagicMock(),
        shared_loader_obj=MagicMock(),
    )
    sent: dict[str, Any] = {}

    def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert module_name == "pantheon.ai.encrypted_volume"
        assert task_vars["ansible_no_target_syslog"] is True
        sent.update(module_args)
        return {"changed": False, "invocation": {"module_args": dict(module_args)}}

    action._execute_module = execute
    result = action.run(task_vars={"inventory_hostname": "erebus", "inventory_dir": str(folder)})
    return sent, result


def test_the_key_is_made_for_machine_and_volume(tmp_path: Path, secrets: dict[str, str]) -> None:
    sent, result = call(tmp_path)
    assert sent == {**DATA, "key": key_of("a-secret", "erebus", "data")}
    assert "invocation" not in result, "it would repeat the key"
    assert call(tmp_path, key_machine="old")[0]["key"] == key_of("a-secret", "old", "data")
    assert call(tmp_path, state="unlocked")[0]["key"] == sent["key"]


def test_a_given_key_is_taken(tmp_path: Path, secrets: dict[str, str]) -> None:
    assert call(tmp_path, key="mine")[0]["key"] == "mine"


@pytest.mark.parametrize("state", ["locked", "absent"])
def test_to_lock_needs_no_key(tmp_path: Path, secrets: dict[str, str], state: str) -> None:
    assert "key" not in call(tmp_path, state=state)[0]


def test_a_missing_secret_is_said_before_the_machine_is_touched(tmp_path: Path, secrets: dict[str, str]) -> None:
    secrets.clear()
    with pytest.raises(AnsibleActionFail, match="has no value for encryption_key. Run the secrets step"):
        call(tmp_path)
    (tmp_path / "secrets.yml").touch()
    assert "key" not in call(tmp_path, check=True)[0]


def test_check_mode_before_the_first_run(tmp_path: Path) -> None:
    assert "key" not in call(tmp_path, check=True)[0]
