# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewall aliases and rules, against a router made of dictionaries."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_firewall as firewall
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Missing,
    OpnsenseError,
    Refused,
    Unreachable,
)

RULE = {
    "enabled": "1",
    "sequence": "1",
    "action": "pass",
    "quick": "1",
    "interface": "",
    "direction": "in",
    "ipprotocol": "inet",
    "protocol": "any",
    "source_net": "any",
    "source_not": "0",
    "source_port": "",
    "destination_net": "any",
    "destination_not": "0",
    "destination_port": "",
    "gateway": "",
    "log": "0",
    "description": "",
}


class Router:
    """Rules and aliases of a router. A rule named 'cut' shuts out new connections when it is loaded."""

    def __init__(self, savepoints: bool = False, whole_list: bool = True) -> None:
        self.savepoints, self.whole_list = savepoints, whole_list
        self.requests = 0
        self.apply_timeout = 5.0
        self.rules: dict[str, dict[str, str]] = {}
        self.loaded: dict[str, dict[str, str]] = {}
        self.saved: dict[str, dict[str, str]] | None = None
        self.aliases: dict[str, dict[str, str]] = {}
        self.used: dict[str, str] = {}
        self.log: list[tuple[str, str]] = []
        self.renewed = 0
        self.recovers = True
        self.tries = 0
        self.new = False
        self.counter = 0

    def renew(self) -> None:
        self.renewed += 1

    def another(self) -> Router:
        other = object.__new__(Router)
        other.__dict__.update(self.__dict__, requests=0, new=True)
        other.__dict__["origin"] = self
        return other

    def endpoints(self) -> tuple[str, str, int]:
        return "10.0.0.5", "10.0.0.1", 443

    @property
    def writes(self) -> list[str]:
        return [path for method, path in self.log if method == "POST"]

    def uuid(self) -> str:
        self.counter += 1
        return f"00000000-0000-0000-0000-{self.counter:012d}"

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        self.requests += 1
        self.log.append(("GET", path))
        if self.new:
            origin: Router = self.__dict__["origin"]
            origin.tries += 1
            if any(rule["description"].startswith("cut") for rule in origin.loaded.values()):
                if origin.saved is not None and origin.recovers and origin.tries > 20:
                    origin.loaded, origin.rules = dict(origin.saved), dict(origin.saved)
                raise Unreachable("no answer")
            return {"rule": {}}
        if path == "firewall/filter/get" and self.whole_list:
            found = {u: {**r, "interface": {"lan": {"value": "LAN", "selected": 1}}} for u, r in self.rules.items()}
            return {"filter": {"rules": {"rule": found or []}}}
        if path == "firewall/filter/search_rule":
            shown = [{"uuid": u, "description": r["description"], "action": "Pass"} for u, r in self.rules.items()]
            return {"rows": [{"legacy": True, "description": "auto [aip]"}, *shown]}
        if path.startswith("firewall/filter/get_rule/"):
            return {"rule": self.rules[path.rpartition("/")[2]]}
        if path == "firewall/filter/savepoint" and self.savepoints:
            return {"status": "error"}
        if path == "firewall/alias/export":
            return {"aliases": {"alias": {u: dict(a) for u, a in self.aliases.items()} or []}}
        raise Missing(path)

    def post(self, path: str, data: Any = None, *, repeatable: bool = False, slow: bool = False) -> Any:
        self.requests += 1
        self.log.append(("POST", path))
        action, _rest, key = path.rpartition("/")
        if path == "firewall/filter/set":
            for uuid, fields in data["filter"]["rules"]["rule"].items():
                assert all(isinstance(value, str) for value in fields.values())
                self.rules[uuid if uuid in self.rules else self.uuid()] = {**RULE, **self.rules.get(uuid, {}), **fields}
            return {"result": "saved"}
        if path == "firewall/filter/add_rule":
            uuid = self.uuid()
            self.rules[uuid] = {**RULE, **data["rule"]}
            return {"result": "saved", "uuid": uuid}
        if action == "firewall/filter/set_rule":
            self.rules[key] = {**RULE, **self.rules.get(key, {}), **data["rule"]}
            return {"result": "saved"}
        if action == "firewall/filter/del_rule":
            keys = [key] if self.savepoints else key.split(",")
            gone = [self.rules.pop(one, None) for one in keys]
            return {"result": "deleted" if gone[-1] else "not found"}
        if path == "firewall/filter/savepoint":
            self.saved = dict(self.rules)
            return {"status": "ok", "revision": "1700000000.5"}
        if path.startswith("firewall/filter/apply"):
            self.loaded, self.tries = dict(self.rules), 0
            return {"status": "OK\n\n"}
        if path.startswith("firewall/filter/cancel_rollback/"):
            self.saved = None
            return {"status": "OK"}
        if path == "firewall/alias/import":
            return self.bring(data["data"]["aliases"]["alias"])
        if action == "firewall/alias/del_item":
            for uuid in key.split(","):
                users = self.used.get(self.aliases[uuid]["name"], "") if uuid in self.aliases else ""
                users = users if users in {a["name"] for a in self.aliases.values()} | {"rule"} else ""
                if users:
                    raise Refused("refused", "", "Alias in use", f"in use by {users}")
            if "," in key and self.savepoints:
                return {"result": "not found"}
            return {"result": "deleted" if [self.aliases.pop(one, None) for one in key.split(",")][-1] else "not found"}
        if path == "firewall/alias/reconfigure":
            return {"status": "ok"}
        raise Missing(path)

    def bring(self, aliases: dict[str, dict[str, str]]) -> Any:
        problems = {f"{key}.content": "not a network" for key, alias in aliases.items() if "xyz" in alias["content"]}
        if problems:
            return {"status": "failed", "validations": problems}
        for alias in aliases.values():
            assert "," not in alias["content"]
            uuid = next((u for u, a in self.aliases.items() if a["name"] == alias["name"]), self.uuid())
            self.aliases[uuid] = {**self.aliases.get(uuid, {}), **alias}
        return {"status": "ok"}


# -- aliases -----------------------------------------------------------------------------------------------------------


def aliases(router: Router, wanted: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    router.log.clear()
    router.requests = 0
    base = {"owner": "aip", "state": "present", "unmanaged_conflict": "fail", "apply": True, "aliases": wanted}
    return firewall.Aliases(router, {**base, **others}, check_mode).run()


A: dict[str, Any] = {"name": "a", "content": ["10.0.0.2", "10.0.0.1"]}


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"name": "a" * 32, "content": ["x"]}, "1 to 31"),
        ({"name": "__a", "content": ["x"]}, "one single _"),
        ({"name": "1a", "content": ["x"]}, "begin with a letter"),
        ({"name": "bogons", "content": ["x"]}, "keeps for itself"),
        ({"name": "a"}, "content is empty"),
        ({"name": "a", "content": ["10.0.0.1,10.0.0.2"]}, "several entries"),
    ],
)
def test_a_wrong_alias_is_refused(wrong: dict[str, Any], part: str) -> None:
    router = Router()
    with pytest.raises(OpnsenseError, match=r"aliases\[0\]") as caught:
        aliases(router, [wrong])
    assert part in str(caught.value) and router.writes == []


@pytest.mark.parametrize("check_mode", [True, False])
def test_both_modes_report_the_same_change_of_aliases(check_mode: bool) -> None:
    router = Router()
    aliases(router, [A, {"name": "b", "content": ["10.0.0.9"]}])
    result = aliases(
        router,
        [{"name": "a", "content": ["10.0.0.3"]}, {"name": "c", "type": "port", "content": ["80"]}],
        check_mode,
        state="exact",
    )
    assert (result["created"], result["updated"], result["deleted"]) == (["c"], ["a"], ["b"])
    assert result["diff"]["after"] == "a host {10.0.0.3} ; [aip]\nc port {80} ; [aip]\n"
    assert bool(router.writes) is not check_mode


@pytest.mark.parametrize(
    "same",
    [
        {"name": "a", "content": ["10.0.0.1", "10.0.0.2", "10.0.0.1"]},
        {"name": "a", "content": [" 10.0.0.2", "10.0.0.1 "], "type": "host", "enabled": True},
    ],
)
def test_order_and_repetitions_do_not_matter(same: dict[str, Any]) -> None:
    router = Router()
    aliases(router, [A])
    again = aliases(router, [same])
    assert (again["changed"], again["requests"]) == (False, 1)


@pytest.mark.parametrize(
    ("kind", "values", "content"),
    [
        ("network", ["10.0.0.0/24", "!10.0.0.5", "FD00::/64"], "!10.0.0.5\n10.0.0.0/24\nfd00::/64"),
        ("port", ["8000-8010"], "8000:8010"),
        ("geoip", ["de"], "DE"),
        ("mac", ["AA:BB:CC"], "aa:bb:cc"),
        ("asn", ["AS64500"], "64500"),
        ("urltable", ["https://X.net/A"], "https://X.net/A"),
        ("host", ["Nyx.Lab", "Other_Alias"], "Other_Alias\nnyx.lab"),
    ],
)
def test_content_has_one_form(kind: str, values: list[str], content: str) -> None:
    assert firewall.alias_content(kind, values) == content


def test_nested_aliases_are_deleted_in_an_order_that_works() -> None:
    router = Router()
    aliases(router, [A, {"name": "b", "content": ["a"]}, {"name": "c", "content": ["10.0.0.1"]}])
    router.used = {"a": "b"}
    assert aliases(router, [], state="exact")["deleted"] == ["a", "b", "c"]
    assert router.aliases == {}


def test_aliases_in_use_are_kept_and_named_and_the_rest_is_done() -> None:
    router = Router()
    aliases(router, [A, {"name": "b", "content": ["10.0.0.4"]}])
    router.used = {"a": "rule"}
    with pytest.raises(OpnsenseError, match="a: in use by rule") as caught:
        aliases(router, [{"name": "c", "content": ["10.0.0.3"]}], state="exact")
    assert caught.value.result["deleted"] == ["b"] and caught.value.result["in_use"] == ["a"]
    assert router.writes[-1] == "firewall/alias/reconfigure"
    assert sorted(alias["name"] for alias in router.aliases.values()) == ["a", "c"]


def test_validations_of_aliases_name_the_entry() -> None:
    with pytest.raises(OpnsenseError, match=r"aliases\[1\] b: content: not a network"):
        aliases(Router(), [A, {"name": "b", "type": "network", "content": ["xyz"]}])


# -- rules -------------------------------------------------------------------------------------------------------------


def rules(router: Router, wanted: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    router.log.clear()
    router.requests = 0
    seconds = iter(range(100000))
    base = {"owner": "aip", "state": "present", "apply": True, "rules": wanted}
    return firewall.Rules(router, {**base, **others}, check_mode, lambda _: None, lambda: float(next(seconds))).run()


WEB: dict[str, Any] = {"name": "web", "interface": ["lan"], "protocol": "tcp", "destination": ["10.0.9.1"]}
CUT: dict[str, Any] = {"name": "cut", "interface": ["lan"], "action": "block"}


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"name": ""}, "name has to be given"),
        ({"name": "a | b"}, "name has to be given"),
        ({"name": "a", "destination_port": "80"}, "needs protocol TCP"),
        ({"name": "a", "source": ["any", "10.0.0.1"]}, "cannot be any together"),
        ({"name": "a", "source": ["10.0.0.1", "10.0.0.2"], "source_not": True}, "single source"),
        ({"name": "a", "destination": ["fd00::1"]}, "does not fit ipprotocol inet"),
        ({"name": "a", "sequence": 1000000}, "sequence 1000000"),
        ({"name": "a", "description": "x\n"}, None),
        ({"name": "a", "description": "x\ny"}, "line break"),
    ],
)
def test_a_wrong_rule_is_refused(wrong: dict[str, Any], part: str | None) -> None:
    router = Router()
    if part is None:
        assert rules(router, [wrong])["changed"] is True
        return
    with pytest.raises(OpnsenseError, match=r"rules\[0\]") as caught:
        rules(router, [wrong])
    assert part in str(caught.value) and router.writes == []


@pytest.mark.parametrize("savepoints", [False, True])
@pytest.mark.parametrize("whole_list", [False, True])
def test_the_life_of_a_rule(savepoints: bool, whole_list: bool) -> None:
    router = Router(savepoints, whole_list)
    router.rules["mine"] = {**RULE, "description": "web"}
    planned = rules(router, [WEB], check_mode=True)
    assert planned["created"] == ["web"] and router.writes == []
    made = rules(router, [WEB])
    assert (made["applied"], made["verified"], made["protected"]) == (
        True,
        True,
        "savepoint" if savepoints else "reachability",
    )
    assert made["diff"] == planned["diff"] and made["rules"]["web"] in router.rules
    assert router.renewed == 1
    if savepoints:
        assert router.writes == [
            "firewall/filter/savepoint",
            "firewall/filter/add_rule",
            "firewall/filter/apply/1700000000.5",
            "firewall/filter/cancel_rollback/1700000000.5",
        ]
    else:
        assert router.writes == ["firewall/filter/set", "firewall/filter/apply"]
    again = rules(router, [WEB])
    assert again["changed"] is False and router.writes == [], again["diff"]
    assert rules(router, [{**WEB, "log": True, "description": "why"}])["updated"] == ["web"]
    assert rules(router, [{**WEB, "log": True, "description": "why"}])["changed"] is False
    assert rules(router, [], state="exact")["deleted"] == ["web"]
    assert rules(router, [WEB], state="absent")["changed"] is False
    assert list(router.rules) == ["mine"]


def test_without_apply_the_rules_are_saved_only() -> None:
    router = Router(savepoints=True)
    assert rules(router, [WEB], apply=False)["applied"] is False
    assert router.writes == ["firewall/filter/add_rule"]


def test_rules_that_shut_us_out_are_taken_back_over_the_open_connection() -> None:
    router = Router()
    rules(router, [WEB])
    before = {uuid: dict(rule) for uuid, rule in router.rules.items()}
    with pytest.raises(
        OpnsenseError, match="could no longer be reached, so the old ones were restored: web, cut"
    ) as caught:
        rules(router, [CUT, {**WEB, "log": True}])
    assert caught.value.result["rolled_back"] is True and caught.value.result["verified"] is False
    assert router.rules == router.loaded == before


def test_old_releases_take_the_rules_back_themselves() -> None:
    router = Router(savepoints=True)
    rules(router, [WEB])
    with pytest.raises(OpnsenseError, match="the old ones were restored") as caught:
        rules(router, [CUT])
    assert caught.value.result["rolled_back"] is True
    assert not any("cancel" in path for path in router.writes), "what shuts us out is not confirmed"
    assert [rule["description"] for rule in router.rules.values()] == ["web [aip]"]


def test_a_router_that_stays_away_is_said() -> None:
    router = Router(savepoints=True)
    router.recovers = False
    with pytest.raises(OpnsenseError, match="cannot be reached") as caught:
        rules(router, [CUT])
    assert caught.value.result["rolled_back"] is False and "console" in caught.value.remedy


API: dict[str, Any] = {"name": "api", "protocol": "TCP", "destination": ["(self)"], "destination_port": "443"}


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("arguments", [{"wanted": [], "state": "exact"}, {"wanted": [{**API, "log": True}]}])
def test_the_rule_of_the_own_connection_is_not_touched(arguments: dict[str, Any], check_mode: bool) -> None:
    router = Router()
    rules(router, [API])
    with pytest.raises(OpnsenseError, match="rule api would be (deleted|changed), and carries the connection"):
        rules(router, check_mode=check_mode, **arguments)
    assert router.writes == []


def test_old_releases_may_touch_it() -> None:
    router = Router(savepoints=True)
    rules(router, [API])
    assert rules(router, [], state="exact")["deleted"] == ["api"]


@pytest.mark.parametrize(
    ("fields", "carried"),
    [
        ({}, True),
        ({"enabled": "0"}, False),
        ({"action": "block"}, False),
        ({"direction": "out"}, False),
        ({"ipprotocol": "inet6"}, False),
        ({"ipprotocol": "inet46"}, True),
        ({"protocol": "UDP"}, False),
        ({"protocol": "TCP", "destination_port": "443"}, True),
        ({"protocol": "TCP", "destination_port": "https"}, True),
        ({"protocol": "TCP", "destination_port": "400-500"}, True),
        ({"protocol": "TCP", "destination_port": "8443"}, False),
        ({"protocol": "TCP", "destination_port": "some_ports"}, True),
        ({"source_net": "10.0.0.0/24"}, True),
        ({"source_net": "10.0.0.7"}, False),
        ({"source_net": "10.0.0.7", "source_not": "1"}, True),
        ({"source_net": "10.0.0.5", "source_not": "1"}, False),
        ({"source_net": "lan"}, True),
        ({"destination_net": "10.0.0.1"}, True),
        ({"destination_net": "10.0.9.1"}, False),
        ({"destination_net": "10.0.9.1,lanip"}, True),
    ],
)
def test_which_rule_carries_the_connection(fields: dict[str, str], carried: bool) -> None:
    assert firewall.carries({**RULE, **fields}, "10.0.0.5", "10.0.0.1", 443) is carried
