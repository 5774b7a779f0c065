# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module machine_state: what it takes, what it gives, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.module_utils import _machine_state
from ansible_collections.pantheon.ai.plugins.modules import machine_state


def call(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        machine_state.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Reduce documented options to what the argument specification says."""
    return {
        name: {
            **{key: option[key] for key in ("type", "elements", "choices", "default") if key in option},
            **({"required": True} if option.get("required") else {}),
            **({"options": documented(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in options.items()
    }


def specified(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **{key: value for key, value in argument.items() if key not in ("no_log", "options")},
            **({"options": specified(argument["options"])} if "options" in argument else {}),
        }
        for name, argument in arguments.items()
    }


def test_documentation_says_what_the_module_takes() -> None:
    documentation = yaml.safe_load(machine_state.DOCUMENTATION)
    assert documented(documentation["options"]) == specified(machine_state.ARGUMENTS)


def test_every_result_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, gather=["docker"], _ansible_check_mode=True)
    internal = {"changed", "invocation", "diff"}
    assert set(result) - internal | {"looks"} == set(yaml.safe_load(machine_state.RETURN))


def test_it_looks_ahead_only_if_the_machine_itself_is_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [{"module": "compose_stack", "parameters": {"root": str(tmp_path)}}]
    answers = call(capsys, looks=looks, _ansible_check_mode=True)["looks"]
    assert [(answer["module"], answer["result"]["changed"]) for answer in answers] == [("compose_stack", False)]
    to_do = {"files": [{"path": str(tmp_path / "a.conf"), "content": "a", "owner": "root", "group": "root"}]}
    assert "looks" not in call(capsys, looks=looks, **to_do, _ansible_check_mode=True)


def test_file_in_check_mode_and_for_real(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_machine_state, "STATE_FILE", str(tmp_path / "state.json"))
    monkeypatch.setattr(_machine_state, "LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(
        _machine_state.MachineState, "_owner", lambda self, item: (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    )
    wanted = {"files": [{"path": str(tmp_path / "a.conf"), "content": "a\n"}]}
    dry = call(capsys, **wanted, _ansible_check_mode=True)
    assert not (tmp_path / "a.conf").exists()
    real = call(capsys, **wanted)
    assert (dry["changed"], dry["actions"], dry["diff"]) == (True, real["actions"], real["diff"])
    assert (tmp_path / "a.conf").read_text() == "a\n"
    assert call(capsys, **wanted)["changed"] is False


def test_failure_names_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.json").write_text("{nonsense")
    result = call(capsys, json_files=[{"path": str(tmp_path / "d.json"), "merge": {"a": 1}}], _ansible_check_mode=True)
    assert result["failed"] is True
    assert f"{tmp_path}/d.json is not valid JSON" in result["msg"]
    assert result["remedy"].startswith("Repair it")
