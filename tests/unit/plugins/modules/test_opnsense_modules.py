# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OPNsense modules as modules: what they document, take and give, and how they fail."""

from __future__ import annotations

import importlib
import json
import socket
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.doc_fragments.opnsense import ModuleDocFragment
from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_module
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import CONNECTION_ARGUMENTS

NAMES = ["dns_records", "dns_forwards", "dhcp_reservations", "firewall_aliases", "firewall_rules", "info"]
CONNECTION = {"host": "127.0.0.1", "api_key": "the-key-xyz", "api_secret": "the-secret-xyz"}
NEEDED: dict[str, dict[str, Any]] = {name: {"owner": "aip"} for name in NAMES if name != "info"}


def module(name: str) -> ModuleType:
    return importlib.import_module(f"ansible_collections.pantheon.ai.plugins.modules.opnsense_{name}")


def call(name: str, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args({**NEEDED.get(name, {}), **arguments}), pytest.raises(SystemExit):
        module(name).main()
    output = capsys.readouterr().out
    assert "the-secret-xyz" not in output
    result: dict[str, Any] = json.loads(output)
    return result


def options(documentation: str) -> dict[str, Any]:
    """Return the documented options, with those of the fragments."""
    doc = yaml.safe_load(documentation)
    found: dict[str, Any] = {}
    for fragment in doc["extends_documentation_fragment"]:
        attribute = "DOCUMENTATION" if fragment == "pantheon.ai.opnsense" else fragment.rsplit(".", 1)[1].upper()
        found.update(yaml.safe_load(getattr(ModuleDocFragment, attribute))["options"])
    return {**found, **doc["options"]}


def documented(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **{key: option[key] for key in ("type", "elements", "choices", "default") if key in option},
            **({"required": True} if option.get("required") else {}),
            **({"options": documented(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in found.items()
    }


def specified(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **{key: value for key, value in option.items() if key not in ("no_log", "options", "fallback")},
            **({"options": specified(option["options"])} if "options" in option else {}),
        }
        for name, option in found.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_documentation_says_what_the_module_takes(name: str) -> None:
    spec = _opnsense_module.arguments(module(name).ARGUMENTS)
    assert documented(options(module(name).DOCUMENTATION)) == specified(spec)
    assert spec["api_key"]["no_log"] is spec["api_secret"]["no_log"] is True


@pytest.mark.parametrize("name", NAMES)
def test_documentation_is_complete(name: str) -> None:
    doc = yaml.safe_load(module(name).DOCUMENTATION)
    assert set(doc["attributes"]) == {"check_mode", "diff_mode", "idempotent"}
    returned = yaml.safe_load(module(name).RETURN)
    assert all({"description", "returned", "type"} <= set(value) for value in returned.values())
    assert all("sample" in value or "contains" in value for value in returned.values())
    examples = module(name).EXAMPLES
    assert "delegate_to: localhost" in examples and "run_once: true" in examples
    assert yaml.safe_load(examples)


@pytest.mark.parametrize("name", NAMES)
def test_each_option_of_the_connection_has_a_variable(name: str) -> None:
    text = module(name).DOCUMENTATION + ModuleDocFragment.DOCUMENTATION
    for option in CONNECTION_ARGUMENTS.values():
        assert f"E({option['env']})" in text


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_of_the_connection_are_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(name, capsys, host="http://x/", port=0, api_secret="the-secret-xyz")
    assert result["failed"] is True
    for part in ("host 'http://x/'", "api_key not given"):
        assert part in result["msg"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", [True, False])
def test_a_router_that_is_not_there_is_one_sentence(name: str, check: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = call(name, capsys, port=port, _ansible_check_mode=check, **CONNECTION)
    assert "No router answers at 127.0.0.1" in result["msg"]
    assert (result["failure"], result["changed"], result["requests"]) == ("unreachable", False, 0)


def test_the_connection_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPNSENSE_HOST", "127.0.0.1")
    monkeypatch.setenv("OPNSENSE_PORT", "1")
    monkeypatch.setenv("OPNSENSE_API_KEY", "the-key-xyz")
    monkeypatch.setenv("OPNSENSE_API_SECRET", "the-secret-xyz")
    assert "127.0.0.1 port 1" in call("info", capsys)["msg"]


@pytest.mark.parametrize(("given", "expected"), [(True, "true"), (False, "false"), ("auto", "auto")])
def test_a_pointer_may_be_given_as_a_boolean(
    given: Any, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def work(client: Any, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
        seen.append(params["records"][0]["ptr"])
        return {"changed": False}

    monkeypatch.setattr(module("dns_records"), "work", work)
    call("dns_records", capsys, records=[{"name": "a.b", "value": "10.0.0.1", "ptr": given}], **CONNECTION)
    assert seen == [expected]


def test_plain_transport_over_a_network_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: shown.append(text))
    monkeypatch.setattr(module("info"), "work", lambda *_: {"changed": False, "warnings": ["of the router"]})
    call("info", capsys, scheme="http", **{**CONNECTION, "host": "192.0.2.1"})
    assert "without encryption" in shown[0] and shown[1:] == ["of the router"]
    shown.clear()
    call("info", capsys, scheme="http", **CONNECTION)
    assert shown == ["of the router"]
