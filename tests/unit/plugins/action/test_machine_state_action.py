# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of machine_state: secrets come into files here, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.pantheon.ai.plugins.action import machine_state
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError

VALUE = "value-of-a-secret-Lm42"
PLAIN = {"path": "/etc/plain", "content": "nothing to hide"}
SECRET = {"path": "/etc/pantheon/backup.json", "content": '{"password": "@@secret:backup_password@@"}', "mode": "0600"}


class Run:
    """One call of the action; keeps what reaches the module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "hosts.yml").write_text("all: {}\n")
        self.folder, self.monkeypatch = folder, monkeypatch
        self.sent: dict[str, Any] = {}
        self.variables_sent: dict[str, Any] = {}
        self.asked = 0
        self.secrets: dict[str, str] | None = {"backup_password": VALUE}

        def load_secrets(*_arguments: Any) -> dict[str, str]:
            self.asked += 1
            if self.secrets is None:
                raise SecretsError("there are no secrets for this environment yet")
            return self.secrets

        monkeypatch.setattr(machine_state, "load_secrets", load_secrets)

    def call(self, files: list[dict[str, Any]] | None, check: bool = False) -> dict[str, Any]:
        arguments = {} if files is None else {"files": files}
        task = Task.load({"name": "x", "action": "pantheon.ai.machine_state", "args": arguments})
        task.check_mode = check
        plugin = machine_state.ActionModule(
            task=task,
            connection=MagicMock(),
            play_context=MagicMock(check_mode=check),
            loader=DataLoader(),
            templar=MagicMock(),
            shared_loader_obj=MagicMock(),
        )

        def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert module_name == "pantheon.ai.machine_state"
            self.sent, self.variables_sent = module_args, task_vars
            return {"changed": True, "invocation": {"module_args": module_args}}

        self.monkeypatch.setattr(plugin, "_execute_module", execute)
        result: dict[str, Any] = plugin.run(task_vars={"inventory_dir": str(self.folder), "inventory_hostname": "one"})
        return result


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_a_placeholder_becomes_the_secret_and_its_file_stays_out_of_the_diff(run: Run) -> None:
    result = run.call([PLAIN, SECRET])
    assert run.sent["files"] == [PLAIN, {**SECRET, "content": f'{{"password": "{VALUE}"}}', "sensitive": True}]
    assert VALUE not in str(result)
    assert run.variables_sent["ansible_no_target_syslog"] is True


@pytest.mark.parametrize("files", [None, [], [PLAIN]])
def test_without_a_placeholder_no_secret_is_read(run: Run, files: list[dict[str, Any]] | None) -> None:
    run.call(files)
    assert run.asked == 0
    assert run.sent == ({} if files is None else {"files": files})


def test_a_missing_secret_is_named_with_its_file_and_its_remedy(run: Run) -> None:
    run.secrets = {}
    with pytest.raises(AnsibleActionFail, match=r"secrets\.yml has no value for: backup_password.*preflight\.yml"):
        run.call([SECRET])
    run.secrets = None
    with pytest.raises(AnsibleActionFail, match="no secrets for this environment"):
        run.call([SECRET])
    assert run.sent == {}


def test_before_the_first_run_check_mode_shows_the_file_as_changed(run: Run) -> None:
    run.secrets = {}
    result = run.call([SECRET], check=True)
    assert "@@" not in run.sent["files"][0]["content"]
    assert run.sent["files"][0]["sensitive"] is True
    assert any("backup_password" in warning for warning in result["warnings"])
