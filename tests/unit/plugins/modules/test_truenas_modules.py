# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TrueNAS modules: what they take and give, and how they fail before anything is sent."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.doc_fragments.truenas import ModuleDocFragment
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_module as common

NAMES = (
    "truenas_dataset",
    "truenas_info",
    "truenas_nfs_service",
    "truenas_nfs_share",
    "truenas_nfs_storage",
    "truenas_replication_task",
    "truenas_snapshot_task",
)
KEY = "7-" + "s" * 64
CONNECTION = {"host": "nas.example.lan", "username": "pantheon", "api_key": KEY}
NEEDED: dict[str, dict[str, Any]] = {
    "truenas_dataset": {"name": "tank/a"},
    "truenas_info": {},
    "truenas_nfs_service": {"enabled": True},
    "truenas_nfs_share": {"dataset": "tank/a", "networks": ["10.0.0.0/8"]},
    "truenas_nfs_storage": {"pool": "tank"},
    "truenas_replication_task": {
        "name": "r",
        "source_datasets": ["tank/a"],
        "target_dataset": "tank/b",
        "name_regex": "x.*",
    },
    "truenas_snapshot_task": {"dataset": "tank/a"},
}


def load(name: str) -> Any:
    return importlib.import_module(f"ansible_collections.pantheon.ai.plugins.modules.{name}")


def call(capsys: pytest.CaptureFixture[str], name: str, /, **arguments: Any) -> dict[str, Any]:
    """Run a module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        load(name).main()
    text = capsys.readouterr().out
    assert "s" * 64 not in text
    result: dict[str, Any] = json.loads(text)
    return result


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Reduce documented options to what the argument specification says."""
    return {
        name: {
            **{key: option[key] for key in ("type", "elements", "choices", "default", "aliases") if key in option},
            **({"required": True} if option.get("required") else {}),
            **({"options": documented(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in options.items()
    }


def specified(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **{key: value for key, value in argument.items() if key not in ("no_log", "options", "fallback")},
            **({"options": specified(argument["options"])} if "options" in argument else {}),
        }
        for name, argument in arguments.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_documentation_says_what_the_module_takes(name: str) -> None:
    module = load(name)
    documentation = yaml.safe_load(module.DOCUMENTATION)
    fragments = documentation["extends_documentation_fragment"]
    options = dict(documentation["options"])
    options.update(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"])
    if "pantheon.ai.truenas.owner" in fragments:
        options.update(yaml.safe_load(ModuleDocFragment.OWNER)["options"])
    assert documented(options) == specified({**common.CONNECTION, **module.ARGUMENTS})
    assert set(documentation["attributes"]) == {"check_mode", "diff_mode", "idempotent"}


@pytest.mark.parametrize("name", NAMES)
def test_every_result_has_a_sample_and_every_example_names_the_module(name: str) -> None:
    module = load(name)
    returns = yaml.safe_load(module.RETURN)
    assert all("sample" in value and "description" in value for value in returns.values())
    assert {"calls", "server", "code", "problems"} <= set(returns)
    tasks = yaml.safe_load(module.EXAMPLES)
    mine = [task[f"pantheon.ai.{name}"] for task in tasks if f"pantheon.ai.{name}" in task]
    assert len(mine) >= 2
    known = {**common.CONNECTION, **module.ARGUMENTS}
    assert all(set(options) <= set(known) for options in mine)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_not_sent_without_encryption(capsys: pytest.CaptureFixture[str], name: str) -> None:
    result = call(capsys, name, **CONNECTION, **NEEDED[name], scheme="ws")
    assert result["failed"]
    assert "scheme: ws would send the API key to nas.example.lan without encryption" in result["msg"]
    assert result["calls"] == []
    assert result["invocation"]["module_args"]["api_key"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


@pytest.mark.parametrize("name", NAMES)
def test_the_key_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments = {key: value for key, value in CONNECTION.items() if key != "api_key"}
    result = call(capsys, name, **arguments, **NEEDED[name], scheme="ws")
    assert any(problem.startswith("api_key: give the API key") for problem in result["problems"])
    monkeypatch.setenv("TRUENAS_API_KEY", KEY)
    result = call(capsys, name, **arguments, **NEEDED[name], scheme="ws")
    assert [problem.split(":")[0] for problem in result["problems"]] == ["scheme"]


def test_mistakes_in_the_connection_and_in_the_state_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(
        capsys,
        "truenas_nfs_storage",
        **{**CONNECTION, "tls_fingerprint": "zz", "api_key": "7-x", "timeout": 0},
        pool="tank",
        datasets=[{"name": "tank"}],
        shares=[{"dataset": "a"}],
    )
    assert [problem.split(":")[0] for problem in result["problems"]] == [
        "timeout",
        "tls_fingerprint",
        "datasets[0] (tank) name",
        "shares[0] (tank/a) networks",
    ]
    assert result["code"] == "invalid"
    assert "4 problems, nothing was changed" in result["msg"]


def test_permissions_may_also_be_called_so_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(
        capsys,
        "truenas_nfs_storage",
        **CONNECTION,
        pool="tank",
        datasets=[{"name": "a", "permissions": {"mode": "509"}}],
    )
    assert "owner.mode: '509' is not a mode" in result["msg"]
