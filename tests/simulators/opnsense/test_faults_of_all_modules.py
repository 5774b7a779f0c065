# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module meets every fault once: the sentence, what is on the router then, and that the next run makes it good."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.simulators.sweep import Sweep

from .conftest import Router, Simulator, fresh

MACS = [f"52:54:00:12:34:{number}" for number in (11, 12, 13)]
UNTOUCHED = "untouched"
"""The router holds what it held before."""
WRITTEN = "written"
"""Something is saved, not all of it, and nothing of it is active."""
WANTED = "wanted"
"""The router holds and uses what is wanted; only the look at it failed."""
RECOVERS = "recovers"
"""The module makes it good by itself."""


class Case(NamedTuple):
    """A module, what it is told before and during the fault, and its requests by what they are for."""

    module: str
    place: tuple[str, ...]
    first: dict[str, Any]
    second: dict[str, Any]
    stages: dict[str, str]
    privilege: str
    repairs: bool = False


RECORDS = Case(
    "dns_records",
    ("unbound", "hosts", "host"),
    {"records": [{"name": "a.lab.internal", "value": "10.0.0.1"}, {"name": "b.lab.internal", "value": "10.0.0.2"}]},
    {"records": [{"name": "a.lab.internal", "value": "10.0.0.9"}, {"name": "c.lab.internal", "value": "10.0.0.3"}]},
    {
        "read": "unbound/settings/get",
        "write": "unbound/settings/set",
        "delete": "unbound/settings/del",
        "apply": "unbound/service/reconfigure",
        "look": "unbound/diagnostics",
    },
    "Services: Unbound",
    repairs=True,
)
FORWARDS = Case(
    "dns_forwards",
    ("unbound", "dots", "dot"),
    {"forwards": [{"domain": "a.internal", "server": "10.0.0.1"}, {"domain": "b.internal", "server": "10.0.0.2"}]},
    {"forwards": [{"domain": "a.internal", "server": "10.0.0.9"}, {"domain": "c.internal", "server": "10.0.0.3"}]},
    {**RECORDS.stages, "look": "unbound/service/status"},
    "Services: Unbound",
)
RESERVATIONS = Case(
    "dhcp_reservations",
    ("dhcpv4", "reservations", "reservation"),
    {
        "backend": "kea",
        "reservations": [{"mac": MACS[0], "address": "10.0.0.11"}, {"mac": MACS[1], "address": "10.0.0.12"}],
    },
    {
        "backend": "kea",
        "reservations": [{"mac": MACS[0], "address": "10.0.0.19"}, {"mac": MACS[2], "address": "10.0.0.13"}],
    },
    {
        "read": "kea/dhcpv4/search",
        "write": "kea/dhcpv4/set",
        "delete": "kea/dhcpv4/del",
        "apply": "kea/service/reconfigure",
        "look": "kea/service/status",
    },
    "Services: DHCP: Kea(v4)",
)
HOSTS = Case(
    "dhcp_reservations",
    ("dnsmasq", "hosts"),
    {**RESERVATIONS.first, "domain": "lab.internal", "backend": "dnsmasq"},
    {**RESERVATIONS.second, "domain": "lab.internal", "backend": "dnsmasq"},
    {
        "read": "dnsmasq/settings/get",
        "write": "dnsmasq/settings/set",
        "delete": "dnsmasq/settings/del",
        "apply": "dnsmasq/service/reconfigure",
        "look": "dnsmasq/service/status",
    },
    "Services: Dnsmasq DNS/DHCP: Settings",
)
ALIASES = Case(
    "firewall_aliases",
    ("alias", "aliases", "alias"),
    {"aliases": [{"name": "a", "content": ["10.0.0.1"]}, {"name": "b", "content": ["10.0.0.2"]}]},
    {"aliases": [{"name": "a", "content": ["10.0.0.9"]}, {"name": "c", "content": ["10.0.0.3"]}]},
    {
        "read": "firewall/alias/export",
        "write": "firewall/alias/import",
        "delete": "firewall/alias/del",
        "apply": "firewall/alias/reconfigure",
    },
    "Firewall: Alias: Edit",
)
RULES = Case(
    "firewall_rules",
    ("filter", "rules", "rule"),
    {"rules": [{"name": "a", "source": ["10.0.0.1"]}, {"name": "b", "source": ["10.0.0.2"]}]},
    {"rules": [{"name": "a", "source": ["10.0.0.9"]}, {"name": "c", "source": ["10.0.0.3"]}]},
    {
        "read": "firewall/filter/get",
        "write": "firewall/filter/set",
        "delete": "firewall/filter/del",
        "apply": "firewall/filter/apply",
        "look": "firewall/filter/get",
    },
    "Firewall: Rules",
)
NAMES = Case(
    "dns_records",
    ("dnsmasq", "hosts"),
    {"backend": "dnsmasq", **RECORDS.first},
    {"backend": "dnsmasq", **RECORDS.second},
    HOSTS.stages,
    "Services: Dnsmasq DNS/DHCP: Settings",
)
CASES = {
    "records": RECORDS,
    "forwards": FORWARDS,
    "kea": RESERVATIONS,
    "dnsmasq": HOSTS,
    "names": NAMES,
    "aliases": ALIASES,
    "rules": RULES,
}

SENTENCES: dict[str, tuple[str, ...]] = {
    "drop": ("broke during", "un again"),
    "unauthorized": ("does not know this API key", "Create a key under System: Access: Users"),
    "forbidden": ("may not use", "Give its user the privilege '"),
    "error": ("The router refused", "look at System: Log Files: Backend"),
    "empty": ("does not have", "Update the router"),
    "slow": ("did not answer", "raise timeout", "run again"),
    "service_fails": ("went down when these", "The old state was restored and the server runs again", "Log File"),
}
"""What is wrong, and what to do about it."""

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"kind": "drop", "times": 2},
    "drop once": {"kind": "drop"},
    "drop after": {"kind": "drop", "after": True},
    "unauthorized": {"kind": "unauthorized"},
    # Both spellings of an action are tried where there are two.
    "forbidden": {"kind": "forbidden", "times": 2},
    "error": {"kind": "error"},
    "empty": {"kind": "empty"},
    "slow": {"kind": "slow", "seconds": 0.65},
    "service_fails": {"kind": "service_fails"},
}


def outcome(case: Case, stage: str, fault: str) -> str:
    """Return what is to be on the router after a fault: the contract of the modules in one table."""
    singly = case in (RESERVATIONS, RULES)
    if stage == "read":
        # Releases that do not show the rules as a whole are asked for each.
        others = fault == "empty" and case is RULES
        return RECOVERS if fault in ("drop once", "drop after") or others else UNTOUCHED
    if fault in ("drop once", "drop after"):
        # A write that makes something new is not repeated; an import by name, a delete and a restart are.
        if stage != "write" or case is ALIASES:
            return RECOVERS
        return WRITTEN if fault == "drop after" and case.repairs else UNTOUCHED
    if stage == "write":
        if fault == "empty" and singly:
            return RECOVERS  # as on a release without the bulk write
        return WANTED if fault == "slow" and case.repairs else UNTOUCHED
    if stage in ("delete", "apply"):
        if fault == "slow" and case.repairs:
            return WANTED  # the restart comes after all
        return WRITTEN if case.repairs and fault != "service_fails" else UNTOUCHED
    return WANTED


def stages() -> list[tuple[str, str, str]]:
    """Return the cases: module, what the request is for, fault."""
    found = []
    for name, case in CASES.items():
        for stage in case.stages:
            if case is RULES and stage == "look":
                continue
            # Waiting is what takes time here, and what is late is always the same.
            waits = stage == "read" or stage != "look" and case in (RECORDS, FORWARDS)
            faults = [fault for fault in FAULTS if fault != "service_fails" and (fault != "slow" or waits)]
            if case is NAMES:
                # The same code as for reservations: only what could be left half done.
                faults = ["error", "drop after"] if stage in ("write", "delete", "apply") else []
            elif stage == "look":
                faults = ["drop", "drop once", "error"]
            elif stage == "apply" and case not in (ALIASES, RULES):
                faults.append("service_fails")
            found += [(name, stage, fault) for fault in faults]
    return found


def rows(router: Router, case: Case, *above: str) -> list[tuple[tuple[str, str], ...]]:
    """Return the entries of a module without their uuids, as they are saved, or below another place."""
    found = router.simulator.control("GET", "/state")
    for name in (*above, *case.place):
        found = found.get(name) or {}
    return sorted(tuple(sorted(row.items())) for row in found.values())


def prepare(router: Router, case: Case) -> None:
    """Put the router into the known state: two entries, active."""
    if case is RESERVATIONS:
        router.post("kea/dhcpv4/add_subnet", {"subnet4": {"subnet": "10.0.0.0/24"}})
        router.post("kea/dhcpv4/set", {"dhcpv4": {"general": {"enabled": "1", "interfaces": "lan"}}})
    made = router.call(case.module, owner="aip", **case.first)
    assert made.get("msg") is None and made["applied"] is True
    assert rows(router, case) == rows(router, case, "running", "loaded") != []


def settles(router: Router, case: Case) -> None:
    """The next run without the fault ends well, all is active then, and the one after it finds nothing to do."""
    router.simulator.faults()
    done = router.call(case.module, owner="aip", state="exact", **case.second)
    assert done.get("msg") is None, done
    saved = rows(router, case)
    assert len(saved) == 2 and saved == rows(router, case, "running", "loaded"), "saved is not active"
    again = router.call(case.module, owner="aip", state="exact", **case.second)
    assert again["changed"] is False and router.simulator.writes() == []


@pytest.mark.parametrize(("name", "stage", "fault"), stages())
def test_each_fault_of_each_module(newest: Router, name: str, stage: str, fault: str) -> None:
    case = CASES[name]
    prepare(newest, case)
    before = rows(newest, case)
    wanted = outcome(case, stage, fault)
    newest.simulator.faults({**FAULTS[fault], "match": case.stages[stage]})
    slow: dict[str, Any] = {"timeout": 0.4, "apply_timeout": 0.4} if fault == "slow" else {}
    result = newest.call(case.module, owner="aip", state="exact", **case.second, **slow)
    taken = any("fault" in entry for entry in newest.simulator.log()) or fault == "service_fails"
    assert taken, "the fault did not reach the module"
    after = rows(newest, case)

    if wanted == RECOVERS:
        assert result.get("msg") is None, result
        assert after == rows(newest, case, "running", "loaded") != before
    else:
        assert result["failed"] is True, result
        for part in SENTENCES[FAULTS[fault]["kind"]]:
            if case is HOSTS and stage == "read" and part == "Update the router":
                part = "Use backend kea"
            assert part in result["msg"], result["msg"]
        if fault == "forbidden":
            assert f"privilege '{case.privilege}" in result["msg"]
    if wanted == UNTOUCHED:
        assert after == before, "something was left half done"
        saved = [path for path in newest.simulator.writes() if "reconfigure" not in path and "apply" not in path]
        if stage in ("delete", "apply") and fault != "service_fails":
            assert "The old state was saved again, so nothing is left half done" in result["msg"]
            assert "un again" in result["msg"]
            assert result["changed"] is False and len(saved) > 1
        if stage == "read":
            assert saved == [] and result["changed"] is False
    elif wanted == WRITTEN:
        assert after != before and rows(newest, case, "running", "loaded") == before
        if stage != "write":
            assert "saved and may not be active; the next run applies it" in result["msg"]
            assert result["changed"] is True
    elif wanted == WANTED and stage == "look":
        assert after == rows(newest, case, "running", "loaded") != before
        assert result["changed"] is True and result["applied"] is True
    settles(newest, case)


# -- releases that write one entry after the other ---------------------------------------------------------------------

Start = Callable[[str], Simulator]


@pytest.mark.parametrize(
    ("release", "name", "match", "fault"),
    [
        ("24.7", "kea", "kea/dhcpv4/set", "drop after"),
        ("24.7", "kea", "kea/dhcpv4/del", "error"),
        ("24.7", "kea", "kea/service/reconfigure", "drop"),
        ("24.7", "forwards", "unbound/settings/del", "drop"),
        ("24.7", "aliases", "firewall/alias/reconfigure", "error"),
        ("26.1", "rules", "firewall/filter/savepoint", "error"),
        ("26.1", "rules", "firewall/filter/set_rule", "drop"),
        ("26.1", "rules", "firewall/filter/add_rule", "drop after"),
        ("26.1", "rules", "firewall/filter/add_rule", "error"),
        ("26.1", "rules", "firewall/filter/del_rule", "unauthorized"),
    ],
)
def test_what_was_written_one_by_one_is_taken_back(
    simulators: Start, capsys: pytest.CaptureFixture[str], release: str, name: str, match: str, fault: str
) -> None:
    router, case = fresh(simulators(release), capsys), CASES[name]
    prepare(router, case)
    before = rows(router, case)
    router.simulator.faults({**FAULTS[fault], "match": match})
    result = router.call(case.module, owner="aip", state="exact", **case.second)
    assert result["failed"] is True and result["changed"] is False, result
    assert all(part in result["msg"] for part in SENTENCES[FAULTS[fault]["kind"]]), result["msg"]
    assert rows(router, case) == before == rows(router, case, "running", "loaded")
    settles(router, case)


def test_rules_whose_loading_was_not_answered_are_taken_back(
    simulators: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    router = fresh(simulators("26.1"), capsys)
    prepare(router, RULES)
    before = rows(router, RULES)
    router.simulator.faults({**FAULTS["drop after"], "match": "firewall/filter/apply"})
    result = router.call(RULES.module, owner="aip", state="exact", **RULES.second)
    assert result["failed"] is True and "Wait 60 s first" in result["msg"], result
    assert "The old state was saved again" in result["msg"] and "broke during" in result["msg"]
    assert rows(router, RULES) == before
    rolled_back(router, before)
    settles(router, RULES)


def test_rules_that_were_not_confirmed_are_taken_back_by_the_router(
    simulators: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    router = fresh(simulators("26.1"), capsys)
    prepare(router, RULES)
    before = rows(router, RULES)
    router.simulator.faults({**FAULTS["forbidden"], "match": "ancel"})
    result = router.call(RULES.module, owner="aip", state="exact", **RULES.second)
    assert result["failed"] is True and "may not use" in result["msg"]
    assert "the router takes them back after 60 s" in result["msg"]
    assert "Wait until they are taken back, then run again" in result["msg"]
    assert rows(router, RULES) != before
    rolled_back(router, before)
    settles(router, RULES)


def rolled_back(router: Router, before: list[tuple[tuple[str, str], ...]]) -> None:
    """Wait until the router runs the old rules again."""
    deadline = time.monotonic() + 5
    while rows(router, RULES, "running", "loaded") != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rows(router, RULES) == before == rows(router, RULES, "running", "loaded")


@pytest.mark.parametrize("fault", ["unauthorized", "forbidden", "error", "empty"])
def test_a_router_that_answers_anything_is_reached(newest: Router, fault: str) -> None:
    newest.simulator.faults({**FAULTS[fault], "match": "firewall/filter/get_rule"})
    result = newest.call(RULES.module, owner="aip", **RULES.first)
    assert result.get("msg") is None and result["verified"] is True, result


def test_an_alias_that_the_router_fails_to_delete_is_not_called_in_use(newest: Router) -> None:
    prepare(newest, ALIASES)
    newest.simulator.faults({"kind": "error", "match": "firewall/alias/del"})
    result = newest.call(ALIASES.module, owner="aip", state="exact", aliases=[])
    assert "Unexpected error" in result["msg"] and "in use" not in result["msg"], result
    settles(newest, ALIASES)


@pytest.mark.parametrize("name", ["forwards", "kea", "dnsmasq"])
def test_without_rollback_it_is_told_what_is_left_to_do(newest: Router, name: str) -> None:
    case = CASES[name]
    prepare(newest, case)
    newest.simulator.faults({"kind": "error", "match": case.stages["apply"]})
    result = newest.call(case.module, owner="aip", state="exact", rollback=False, **case.second)
    assert "What was written may be saved and not active. Press Apply under Services: " in result["msg"], result
    assert result["changed"] is True and rows(newest, case) != rows(newest, case, "running", "loaded")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.repairs])
def test_what_cannot_be_taken_back_is_told(newest: Router, name: str) -> None:
    case = CASES[name]
    prepare(newest, case)
    applied = rows(newest, case, "running", "loaded")
    newest.simulator.faults(
        {"kind": "drop", "match": case.stages["apply"], "times": 2},
        # The reading that looks for what is to be taken back; Kea is asked for its subnets first.
        {"kind": "error", "match": case.stages["read"], "skip": 2 if case is RESERVATIONS else 1},
    )
    result = newest.call(case.module, owner="aip", state="exact", **case.second)
    assert "may be saved and not active, and it could not be taken back" in result["msg"], result
    assert "on the router: another run may see nothing to do" in result["msg"]
    assert result["changed"] is True
    assert rows(newest, case, "running", "loaded") == applied != rows(newest, case)


# -- info --------------------------------------------------------------------------------------------------------------

ASKED = {
    "system": "diagnostics/system/system",
    "unbound": "unbound/settings/get",
    "dnsmasq": "dnsmasq/settings/get",
    "kea": "kea/dhcpv4/get",
    "firewall_aliases": "firewall/alias/export",
    "firewall_rules": "firewall/filter/get",
    "savepoint": "firewall/filter/savepoint",
}


@pytest.mark.parametrize(
    ("area", "fault"),
    # Waiting is what takes time here, and what is late is always the same.
    [(area, fault) for area in ASKED for fault in FAULTS if fault not in ("service_fails", "slow")]
    + [("system", "slow")],
)
def test_each_fault_of_info(newest: Router, area: str, fault: str) -> None:
    newest.simulator.faults({**FAULTS[fault], "match": ASKED[area]})
    slow: dict[str, Any] = {"timeout": 0.4} if fault == "slow" else {}
    result = newest.call("info", **slow)
    if fault in ("drop", "unauthorized", "slow"):
        assert result["failed"] is True
        assert all(part in result["msg"] for part in SENTENCES[FAULTS[fault]["kind"]]), result["msg"]
    else:
        assert result.get("msg") is None, result
        found = result["opnsense"]
        if area == "savepoint":
            assert found["capabilities"]["rule_savepoints"] is (None if fault in ("error", "forbidden") else False)
        elif fault.startswith("drop"):
            assert found["privileges"][area] is True
        elif fault == "forbidden":
            assert found["privileges"][area] is False and len(found["missing_privileges"]) == 1
        elif area != "unbound" or fault == "forbidden":
            # Of Unbound another question follows, and its answer counts too.
            assert found["privileges"][area] is None
    newest.simulator.faults()
    assert newest.simulator.writes() == []
    whole = newest.call("info")["opnsense"]
    assert all(whole["privileges"].values()) and whole["missing_privileges"] == []


@pytest.mark.parametrize("check", [False, True])
def test_info_is_the_same_in_check_mode_and_each_time(newest: Router, check: bool) -> None:
    found = newest.call("info")
    assert found["changed"] is False
    assert newest.call("info", check=check) == found
    assert newest.simulator.writes() == []


@pytest.mark.parametrize("name", [*CASES, "info"])
def test_mistakes_in_the_connection_are_told_together_and_nothing_is_sent(newest: Router, name: str) -> None:
    module, options = ("info", {}) if name == "info" else (CASES[name].module, {"owner": "aip", **CASES[name].first})
    wrong = {"host": "https://router/", "port": 70000, "api_secret": "", "tls_fingerprint": "12:34", "timeout": -1}
    result = newest.call(module, **{**options, **wrong})
    assert result["failed"] is True and result["changed"] is False
    parts = ("host 'https://router/'", "port 70000", "api_secret not given", "not a SHA-256", "timeout has to be")
    for part in (*parts, "Correct these options, or the variables OPNSENSE_*"):
        assert part in result["msg"], result["msg"]
    assert newest.simulator.log() == []


# -- no credential anywhere --------------------------------------------------------------------------------------------

KEA = {"general": {"enabled": "1", "interfaces": "lan"}, "subnets": {"subnet4": [{"subnet": "10.0.0.0/24"}]}}
KEY, SECRET = "unmistakable-key-8f3a61", "unmistakable-secret-c92d47"


@pytest.mark.timeout(300)  # real runs of Ansible, which are slow on a busy machine
def test_no_credential_is_shown_anywhere(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    users = [{"name": "p", "key": KEY, "secret": SECRET, "privileges": ["page-all"]}]
    config.write_text(json.dumps({"users": users, "dhcpv4": KEA}))
    simulator = Simulator("26.7", tmp_path / "state", "--config", str(config))
    try:
        connection = {
            "host": "127.0.0.1",
            "port": int(simulator.ready["listen"].rpartition(":")[2]),
            "tls_fingerprint": simulator.ready["fingerprint"],
            "api_key": KEY,
        }
        sweep = Sweep(tmp_path, [KEY, SECRET, "wrong-" + SECRET, base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()])
        own = {case.module: {"owner": "aip", **case.first} for case in CASES.values() if case is not HOSTS}
        modules = {f"pantheon.ai.opnsense_{name}": own.get(name, {}) for name in (*own, "info")}

        file = tmp_path / "credentials.txt"
        file.write_text(f"key={KEY}\nsecret={SECRET}\n")

        def tasks(secret: str, **more: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = [
                {name: {**connection, "api_secret": secret, **options, **(more if options else {})}}
                for name, options in modules.items()
            ]
            if secret == SECRET:
                # Out of a file, Ansible does not know them as secrets by itself.
                options = found[-1]["pantheon.ai.opnsense_info"]
                del options["api_key"], options["api_secret"]
                options["credentials_file"] = str(file)
            return found

        output = sweep.play(tasks(SECRET) + tasks("wrong-" + SECRET))
        assert f"ignored={len(modules)}" in output, "a module failed with the right key, or none with the wrong one"
        assert output.count("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") >= 2 * len(own), "the invocations are not shown"
        assert output.count("does not know this API key") >= len(modules)
        simulator.faults(*({"kind": "error", "match": f"/{word}", "times": 50} for word in ("del", "get", "export")))
        fault = sweep.play(tasks(SECRET, state="absent"))
        assert fault.count("The router refused") >= len(modules) - 2
        sweep.check(json.dumps([simulator.log(), simulator.control("GET", "/faults")]))
    finally:
        simulator.stop()
