# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records and forwards on each release."""

from __future__ import annotations

from typing import Any

import pytest

NYX = {"name": "nyx.lab.internal", "value": "10.0.0.11"}
HADES = {"name": "hades.lab.internal", "value": "10.0.0.12", "aliases": ["llm.lab.internal"]}


def hosts(router: Any) -> dict[str, Any]:
    found: Any = router.get("unbound/settings/get")["unbound"]["hosts"]["host"]
    return dict(found) if found else {}


def live(router: Any) -> set[tuple[str, str, str]]:
    answer = router.get("unbound/diagnostics/listlocaldata")
    assert answer["status"] == "ok"
    return {(row["name"].rstrip("."), row["rrtype"], row["value"]) for row in answer["data"]}


def test_wrong_parameters_write_nothing(router: Any) -> None:
    result = router.call(
        "dns_records", owner="aip", records=[{"name": "a.b", "value": "x"}, {"name": "c d", "value": "::1"}]
    )
    assert result["failed"] is True
    assert "records[0] a.b" in result["msg"] and "records[1]" in result["msg"]
    assert router.simulator.writes() == []


def test_the_whole_life_of_records(router: Any) -> None:
    arguments: dict[str, Any] = {"owner": "aip", "records": [NYX, HADES]}
    planned = router.call("dns_records", check=True, **arguments)
    assert planned["changed"] is True and router.simulator.writes() == [] and hosts(router) == {}
    assert len(planned["diff"]["after"].splitlines()) == 3

    made = router.call("dns_records", **arguments)
    assert made["created"] == planned["created"] and made["diff"] == planned["diff"]
    assert (made["applied"], made["verified"], made["rolled_back"]) == (True, True, False)
    assert made["requests"] <= 6 and len(hosts(router)) == 3
    assert {entry["uuid"] for found in made["records"].values() for entry in found} == set(hosts(router))
    assert ("nyx.lab.internal", "A", "10.0.0.11") in live(router)

    again = router.call("dns_records", **arguments)
    assert (again["changed"], again["requests"]) == (False, 2)

    arguments["records"] = [{**NYX, "value": "10.0.0.21"}, HADES]
    moved = router.call("dns_records", **arguments)
    assert moved["updated"] == ["nyx.lab.internal A 10.0.0.21"] and moved["requests"] <= 6
    assert moved["created"] == moved["deleted"] == []
    served = live(router)
    assert ("nyx.lab.internal", "A", "10.0.0.21") in served and ("nyx.lab.internal", "A", "10.0.0.11") not in served
    assert router.call("dns_records", **arguments)["changed"] is False

    gone = router.call("dns_records", owner="aip", state="exact", records=[NYX])
    assert len(gone["deleted"]) == 2
    assert gone["requests"] <= (6 if router.number >= (26, 1) else 4 + 2)
    assert len(hosts(router)) == 1
    assert router.call("dns_records", owner="aip", state="exact", records=[NYX])["changed"] is False
    assert router.call("dns_records", owner="aip", state="absent", records=[NYX])["changed"] is True
    assert hosts(router) == {}
    assert router.call("dns_records", owner="aip", state="absent", records=[NYX])["changed"] is False


def test_all_types(router: Any) -> None:
    records: list[dict[str, Any]] = [
        {"name": "v6.lab.internal", "value": "fd00::1"},
        {"name": "rr.lab.internal", "value": ["10.0.0.1", "10.0.0.2"]},
        {"name": "*.apps.lab.internal", "value": "10.0.0.9"},
        {"name": "lab.internal", "type": "MX", "value": "mail.lab.internal", "priority": 5},
    ]
    if router.number >= (25, 7):
        records.append({"name": "_x.lab.internal", "type": "TXT", "value": "v=1 two words"})
    if router.number >= (25, 7):
        records.append({"name": "short.lab.internal", "value": "10.0.0.8", "ttl": 60})
    made = router.call("dns_records", owner="aip", records=records)
    assert made.get("msg") is None and made["verified"] is True and made["requests"] <= 6
    assert router.call("dns_records", owner="aip", records=records)["changed"] is False
    assert ("apps.lab.internal", "A", "10.0.0.9") in live(router)


def test_what_the_release_lacks_is_said(router: Any) -> None:
    result = router.call("dns_records", owner="aip", records=[{"name": "t.lab.internal", "type": "TXT", "value": "x"}])
    if router.number >= (25, 7):
        assert result["created"]
    else:
        assert "25.7.4" in result["msg"] and router.simulator.writes() == []


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"hostname": "a", "domain": "other.net", "rr": "A", "server": "::1"}, "type A with an IPv6"),
        ({"hostname": "*", "domain": "lab.internal", "rr": "A", "server": "10.0.0.1"}, "below the wildcard"),
        ({"hostname": "*", "domain": "internal", "rr": "A", "server": "10.0.0.1"}, "own domain"),
    ],
)
def test_what_others_left_and_stops_the_server_is_refused(router: Any, record: dict[str, str], part: str) -> None:
    assert router.post("unbound/settings/add_host_override", {"host": record})["result"] == "saved"
    result = router.call("dns_records", owner="aip", records=[NYX])
    assert result["failed"] is True and part in result["msg"]
    assert router.simulator.writes() == []


def test_records_of_others_stay(router: Any) -> None:
    record = {"hostname": "nyx", "domain": "lab.internal", "rr": "A", "server": "10.0.0.99", "description": "by hand"}
    router.post("unbound/settings/add_host_override", {"host": record})
    result = router.call("dns_records", owner="aip", records=[NYX])
    assert "unmanaged_conflict" in result["msg"] and router.simulator.writes() == []
    same = router.call("dns_records", owner="aip", records=[{**NYX, "value": "10.0.0.99"}], apply=False)
    assert (same["changed"], same["foreign"]) == (False, ["nyx.lab.internal A 10.0.0.99"])
    assert router.call("dns_records", owner="aip", state="exact", records=[], apply=False)["changed"] is False
    adopted = router.call("dns_records", owner="aip", records=[NYX], unmanaged_conflict="adopt")
    assert adopted["updated"] == ["nyx.lab.internal A 10.0.0.11"] and len(hosts(router)) == 1


def test_saved_and_not_applied_is_repaired(router: Any) -> None:
    assert router.call("dns_records", owner="aip", records=[NYX], apply=False)["applied"] is False
    assert ("nyx.lab.internal", "A", "10.0.0.11") not in live(router)
    repaired = router.call("dns_records", owner="aip", records=[NYX])
    assert (repaired["changed"], repaired["applied"], repaired["verified"]) == (True, True, True)
    assert router.call("dns_records", owner="aip", records=[NYX])["changed"] is False


def test_a_server_that_goes_down_is_brought_back(router: Any) -> None:
    router.call("dns_records", owner="aip", records=[HADES])
    before = {uuid: host["server"] for uuid, host in hosts(router).items()}
    router.simulator.faults({"kind": "service_fails", "match": "reconfigure", "times": 1})
    result = router.call("dns_records", owner="aip", records=[NYX, {**HADES, "value": "10.0.0.33"}])
    assert result["failed"] is True and result["rolled_back"] is True
    assert "nyx.lab.internal A 10.0.0.11" in result["msg"] and "hades.lab.internal A 10.0.0.33" in result["msg"]
    assert {uuid: host["server"] for uuid, host in hosts(router).items()} == before
    assert ("hades.lab.internal", "A", "10.0.0.12") in live(router)


def test_a_thousand_records(router: Any) -> None:
    records = [{"name": f"m{n}.lab.internal", "value": f"10.1.{n // 250}.{n % 250 + 1}"} for n in range(1000)]
    assert router.call("dns_records", owner="aip", records=records)["requests"] <= 6
    assert router.call("dns_records", owner="aip", records=records)["requests"] == 2
    records[3]["value"] = "10.9.9.9"
    changed = router.call("dns_records", owner="aip", records=records)
    assert changed["requests"] <= 6 and changed["updated"] == ["m3.lab.internal A 10.9.9.9"]
    less = router.call(
        "dns_records", owner="aip", records=records[: 700 if router.number >= (26, 1) else 990], state="exact"
    )
    assert len(less["deleted"]) == (300 if router.number >= (26, 1) else 10)
    if router.number >= (26, 1):
        assert less["requests"] <= 6


def test_a_disabled_resolver_is_said(router: Any) -> None:
    router.post("unbound/settings/set", {"unbound": {"general": {"enabled": "0"}}})
    result = router.call("dns_records", owner="aip", records=[NYX])
    assert "disabled in the general settings" in result["msg"] and router.simulator.writes() == []


FAULTS = [
    ({"kind": "unauthorized", "match": "unbound/settings/get", "times": 1}, "does not know this API key", 1),
    ({"kind": "forbidden", "match": "unbound/settings/get", "times": 1}, "Services: Unbound", 1),
    ({"kind": "error", "match": "unbound/settings/get", "times": 1}, "refused", 1),
    ({"kind": "empty", "match": "unbound/settings/get", "times": 1}, "does not have", 1),
    ({"kind": "drop", "match": "unbound/settings/get", "times": 2}, "broke during GET", 2),
]


@pytest.mark.parametrize(("fault", "part", "requests"), FAULTS)
def test_each_fault_becomes_a_sentence(newest: Any, fault: dict[str, Any], part: str, requests: int) -> None:
    newest.simulator.faults(fault)
    result = newest.call("dns_records", owner="aip", records=[NYX])
    assert result["failed"] is True and part in result["msg"]
    assert result["requests"] == requests and newest.simulator.writes() == []


def test_a_dropped_read_and_a_dropped_restart_are_repeated(newest: Any) -> None:
    newest.simulator.faults(
        {"kind": "drop", "match": "unbound/settings/get", "times": 1},
        {"kind": "drop", "match": "reconfigure", "times": 1},
    )
    assert newest.call("dns_records", owner="aip", records=[NYX])["verified"] is True


def test_a_dropped_write_is_not_repeated_and_the_next_run_goes_on(newest: Any) -> None:
    newest.simulator.faults({"kind": "drop", "match": "unbound/settings/set", "times": 1})
    result = newest.call("dns_records", owner="aip", records=[NYX])
    assert "not sent again" in result["msg"]
    assert newest.call("dns_records", owner="aip", records=[NYX])["verified"] is True
    assert len(hosts(newest)) == 1


def test_a_wrong_secret(router: Any) -> None:
    result = router.call("dns_records", owner="aip", records=[NYX], api_secret="wrong-wrong")
    assert "does not know this API key" in result["msg"] and "wrong-wrong" not in result["msg"]
    assert result["failure"] == "unauthorized" and result["requests"] == 1


def test_the_fingerprint_is_checked(newest: Any) -> None:
    good = newest.simulator.ready["fingerprint"]
    arguments: dict[str, Any] = {"owner": "aip", "records": [], "ca_path": None, "tls_server_name": None}
    assert newest.call("dns_records", tls_fingerprint=good, **arguments)["changed"] is False
    result = newest.call("dns_records", tls_fingerprint="00" * 32, **arguments)
    assert result["failure"] == "untrusted" and newest.simulator.log() == []
    result = newest.call("dns_records", **arguments)
    assert result["failure"] == "untrusted" and "tls_server_name" in result["msg"]


def test_forwards(router: Any) -> None:
    arguments: dict[str, Any] = {"owner": "aip", "forwards": [{"domain": "lan.internal", "server": "10.0.0.53@5353"}]}
    assert "server is empty" in router.call("dns_forwards", owner="aip", forwards=[{"domain": "a.b"}])["msg"]
    planned = router.call("dns_forwards", check=True, **arguments)
    assert planned["changed"] is True and router.simulator.writes() == []
    made = router.call("dns_forwards", **arguments)
    assert made["diff"] == planned["diff"] and made["verified"] is True and made["requests"] <= 6
    assert router.call("dns_forwards", **arguments)["requests"] <= 2
    arguments["forwards"][0]["server"] = "10.0.0.54"
    assert router.call("dns_forwards", **arguments)["updated"] == ["lan.internal -> 10.0.0.54@53"]
    assert router.call("dns_forwards", **arguments)["changed"] is False
    arguments["state"] = "absent"
    assert router.call("dns_forwards", **arguments)["deleted"] == ["lan.internal -> 10.0.0.54@53"]
    assert router.call("dns_forwards", **arguments)["changed"] is False


def test_records_in_dnsmasq(router: Any) -> None:
    arguments: dict[str, Any] = {"owner": "aip", "backend": "dnsmasq", "records": [HADES, NYX]}
    if router.number < (25, 1):
        assert "25.1.2" in router.call("dns_records", **arguments)["msg"]
        return
    router.post("dnsmasq/settings/set", {"dnsmasq": {"enable": "1"}})
    planned = router.call("dns_records", check=True, **arguments)
    assert planned["changed"] is True and router.simulator.writes() == []
    made = router.call("dns_records", **arguments)
    assert made.get("msg") is None and made["verified"] is True and made["requests"] <= 6
    assert router.call("dns_records", **arguments)["requests"] == 2
    arguments["records"] = [{**HADES, "value": "10.0.0.13"}, NYX]
    assert len(router.call("dns_records", **arguments)["updated"]) == 1
    assert router.call("dns_records", **arguments)["changed"] is False
    gone = router.call("dns_records", owner="aip", backend="dnsmasq", state="exact", records=[])
    assert len(gone["deleted"]) == 2
    assert router.call("dns_records", owner="aip", backend="dnsmasq", state="exact", records=[])["changed"] is False
