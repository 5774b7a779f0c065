# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DHCP reservations, firewall aliases and rules, and the facts of the router, on each release."""

from __future__ import annotations

from typing import Any

import pytest

MAC = "52:54:00:12:34:11"


def kea(router: Any) -> str:
    """Make Kea the DHCP server, with one subnet."""
    answer = router.post("kea/dhcpv4/add_subnet", {"subnet4": {"subnet": "10.0.0.0/24"}})
    router.post("kea/dhcpv4/set", {"dhcpv4": {"general": {"enabled": "1", "interfaces": "lan"}}})
    return str(answer["uuid"])


# -- reservations ------------------------------------------------------------------------------------------------------


def test_wrong_reservations_write_nothing(router: Any) -> None:
    kea(router)
    result = router.call(
        "dhcp_reservations",
        owner="aip",
        backend="kea",
        reservations=[{"mac": "x", "address": "10.0.0.1"}, {"mac": MAC, "address": "192.168.77.1"}],
    )
    assert (
        "reservations[0]: mac 'x'" in result["msg"]
        and "lies in no subnet of Kea (there are: 10.0.0.0/24)" in result["msg"]
    )
    assert router.simulator.writes() == []


@pytest.mark.parametrize("backend", ["kea", "dnsmasq", "auto"])
def test_the_whole_life_of_reservations(router: Any, backend: str) -> None:
    if backend == "dnsmasq":
        if router.number < (25, 1):
            assert "25.1.2" in router.call("dhcp_reservations", owner="aip", backend=backend)["msg"]
            return
        router.post("dnsmasq/settings/set", {"dnsmasq": {"enable": "1"}})
    else:
        kea(router)
        if router.number > (25, 0):
            router.post("dnsmasq/settings/set", {"dnsmasq": {"enable": "0"}})
    entry = {"mac": MAC.upper().replace(":", "-"), "address": "10.0.0.11", "hostname": "nyx"}
    arguments: dict[str, Any] = {"owner": "aip", "backend": backend, "domain": "lab.internal", "reservations": [entry]}
    arguments["reservations"].append({"mac": "52:54:00:12:34:12", "address": "10.0.0.12"})
    planned = router.call("dhcp_reservations", check=True, **arguments)
    assert planned.get("msg") is None and planned["changed"] is True and router.simulator.writes() == []
    made = router.call("dhcp_reservations", **arguments)
    assert made.get("msg") is None and made["diff"] == planned["diff"] and made["verified"] is True
    assert made["backend"] == ("dnsmasq" if backend == "dnsmasq" else "kea")
    assert made["requests"] <= (8 if backend == "auto" else 6)
    assert len(made["created"]) == 2
    again = router.call("dhcp_reservations", **arguments)
    assert again["changed"] is False and again["requests"] <= (4 if backend == "auto" else 2)
    assert all(found[0]["uuid"] for found in again["reservations"].values())
    entry["address"] = "10.0.0.21"
    assert len(router.call("dhcp_reservations", **arguments)["updated"]) == 1
    assert router.call("dhcp_reservations", **arguments)["changed"] is False
    # Another network card for the same address is the same reservation.
    entry["mac"] = "52:54:00:12:34:99"
    swapped = router.call("dhcp_reservations", state="exact", **arguments)
    assert (
        swapped.get("msg") is None and len(swapped["updated"]) == 1 and swapped["created"] == swapped["deleted"] == []
    )
    assert router.call("dhcp_reservations", state="exact", **arguments)["changed"] is False
    gone = router.call("dhcp_reservations", owner="aip", backend=backend, state="exact", reservations=[])
    assert len(gone["deleted"]) == 2
    again = router.call("dhcp_reservations", owner="aip", backend=backend, state="exact", reservations=[])
    assert again["changed"] is False


def test_reservations_of_others_stay(router: Any) -> None:
    subnet = kea(router)
    other = {"subnet": subnet, "ip_address": "10.0.0.50", "hw_address": "52:54:00:00:00:01", "description": "by hand"}
    assert router.post("kea/dhcpv4/add_reservation", {"reservation": other})["result"] == "saved"
    arguments: dict[str, Any] = {"owner": "aip", "backend": "kea"}
    taken = router.call("dhcp_reservations", reservations=[{"mac": MAC, "address": "10.0.0.50"}], **arguments)
    assert "the address belongs to" in taken["msg"] and router.simulator.writes() == []
    same = [{"mac": "52:54:00:00:00:01", "address": "10.0.0.50"}]
    assert router.call("dhcp_reservations", reservations=same, **arguments)["changed"] is False
    moved = [{"mac": "52:54:00:00:00:01", "address": "10.0.0.51"}]
    assert "unmanaged_conflict" in router.call("dhcp_reservations", reservations=moved, **arguments)["msg"]
    assert router.call("dhcp_reservations", reservations=[], state="exact", **arguments)["changed"] is False


def test_no_dhcp_server_is_said(router: Any) -> None:
    router.post("kea/dhcpv4/set", {"dhcpv4": {"general": {"enabled": "0"}}})
    if router.number > (25, 0):
        router.post("dnsmasq/settings/set", {"dnsmasq": {"enable": "0"}})
    result = router.call("dhcp_reservations", owner="aip", reservations=[{"mac": MAC, "address": "10.0.0.11"}])
    assert "neither Dnsmasq nor Kea is enabled" in result["msg"] and router.simulator.writes() == []


# -- aliases -----------------------------------------------------------------------------------------------------------


def test_wrong_aliases_write_nothing(router: Any) -> None:
    wrong = [{"name": "a-b", "content": ["10.0.0.1"]}, {"name": "pass", "content": ["10.0.0.1"]}, {"name": "empty"}]
    result = router.call("firewall_aliases", owner="aip", aliases=wrong)
    for part in ("aliases[0] a-b", "aliases[1] pass", "aliases[2] empty"):
        assert part in result["msg"]
    assert router.simulator.writes() == []


def test_the_whole_life_of_aliases(router: Any) -> None:
    machines: dict[str, Any] = {"name": "machines", "content": ["10.0.0.12", "10.0.0.11"]}
    nets: dict[str, Any] = {"name": "nets", "type": "network", "content": ["10.0.0.0/24"], "description": "all of them"}
    web: dict[str, Any] = {"name": "web", "type": "port", "content": ["443", "8000:8010"]}
    arguments: dict[str, Any] = {"owner": "aip", "aliases": [machines, nets, web]}
    planned = router.call("firewall_aliases", check=True, **arguments)
    assert planned.get("msg") is None and planned["changed"] is True and router.simulator.writes() == []
    made = router.call("firewall_aliases", **arguments)
    assert made.get("msg") is None and made["applied"] is True and made["diff"] == planned["diff"]
    assert made["requests"] <= 6 and all(made["aliases"].values())
    machines["content"].reverse()
    assert router.call("firewall_aliases", **arguments)["requests"] == 1
    assert router.call("firewall_aliases", **arguments)["changed"] is False
    machines["content"].append("10.0.0.13")
    assert router.call("firewall_aliases", **arguments)["updated"] == ["machines"]
    assert router.call("firewall_aliases", **arguments)["changed"] is False
    exact = router.call("firewall_aliases", owner="aip", state="exact", aliases=[nets])
    assert exact["deleted"] == ["machines", "web"]
    assert router.call("firewall_aliases", owner="aip", state="exact", aliases=[nets])["changed"] is False
    assert router.call("firewall_aliases", owner="aip", state="absent", aliases=[nets])["deleted"] == ["nets"]
    assert router.call("firewall_aliases", owner="aip", state="absent", aliases=[nets])["changed"] is False


def test_what_the_router_does_not_accept_in_an_alias_is_named(router: Any) -> None:
    aliases = [
        {"name": "good", "type": "network", "content": ["10.0.0.0/24"]},
        {"name": "bad", "type": "network", "content": ["xyz"]},
    ]
    result = router.call("firewall_aliases", owner="aip", aliases=aliases)
    assert "aliases[1] bad: content:" in result["msg"] and "aliases[0]" not in result["msg"]
    assert router.get("firewall/alias/export")["aliases"]["alias"] in ([], {})


def test_an_alias_in_use_is_kept_and_named(router: Any) -> None:
    arguments: dict[str, Any] = {
        "owner": "aip",
        "aliases": [{"name": "used", "content": ["10.0.0.1"]}, {"name": "free", "content": ["10.0.0.2"]}],
    }
    router.call("firewall_aliases", **arguments)
    rule = {"enabled": "1", "action": "pass", "interface": "lan", "source_net": "used", "description": "mine"}
    assert router.post("firewall/filter/add_rule", {"rule": rule})["result"] == "saved"
    result = router.call("firewall_aliases", state="exact", owner="aip", aliases=[])
    assert result["in_use"] == ["used"] and result["deleted"] == ["free"]
    assert "used: " in result["msg"] and "in use by" in result["msg"] and "source_net" in result["msg"]


def test_aliases_of_others_stay(router: Any) -> None:
    mine = {"name": "mine", "type": "host", "content": "10.0.0.1", "enabled": "1"}
    assert router.post("firewall/alias/add_item", {"alias": mine})["result"] == "saved"
    arguments: dict[str, Any] = {"owner": "aip"}
    same = router.call("firewall_aliases", aliases=[{"name": "mine", "content": ["10.0.0.1"]}], **arguments)
    assert (same["changed"], same["foreign"]) == (False, ["mine"])
    other = router.call("firewall_aliases", aliases=[{"name": "mine", "content": ["10.0.0.2"]}], **arguments)
    assert "unmanaged_conflict" in other["msg"] and router.simulator.writes() == []
    assert router.call("firewall_aliases", aliases=[], state="exact", **arguments)["changed"] is False


# -- rules -------------------------------------------------------------------------------------------------------------

WEB = {
    "name": "lan to web",
    "interface": ["lan"],
    "protocol": "TCP",
    "source": ["10.1.0.0/24"],
    "destination": ["10.0.0.11"],
}
WEB_PORT = {**WEB, "destination_port": "8443"}
BLOCK = {
    "name": "guests stay out",
    "action": "block",
    "interface": ["lan"],
    "destination": ["10.0.0.0/24"],
    "log": True,
}


def test_wrong_rules_write_nothing(router: Any) -> None:
    wrong = [
        {"name": "a [b]"},
        {"name": "x", "destination_port": "80"},
        {"name": "y", "source": ["fd00::/64"]},
        {"name": "z", "sequence": 0},
    ]
    result = router.call("firewall_rules", owner="aip", rules=wrong)
    for part in (
        "rules[0]",
        "rules[1] x: destination_port needs protocol",
        "rules[2] y: source fd00::/64",
        "rules[3] z",
    ):
        assert part in result["msg"]
    assert router.simulator.writes() == []


def test_the_whole_life_of_rules(router: Any) -> None:
    arguments: dict[str, Any] = {"owner": "aip", "rules": [WEB_PORT, BLOCK]}
    planned = router.call("firewall_rules", check=True, **arguments)
    assert planned.get("msg") is None and planned["changed"] is True and router.simulator.writes() == []
    made = router.call("firewall_rules", **arguments)
    assert made.get("msg") is None and made["diff"] == planned["diff"]
    assert (made["applied"], made["verified"], made["rolled_back"]) == (True, True, False)
    assert made["protected"] == ("reachability" if router.number >= (26, 7) else "savepoint")
    if router.number >= (26, 7):
        assert made["requests"] <= 7
    assert all(made["rules"].values())
    assert router.call("firewall_rules", **arguments)["requests"] == 1
    again = router.call("firewall_rules", **arguments)
    assert again["changed"] is False, again["diff"]
    arguments["rules"] = [{**WEB_PORT, "destination_port": "9000-9010"}, BLOCK]
    assert router.call("firewall_rules", **arguments)["updated"] == ["lan to web"]
    assert router.call("firewall_rules", **arguments)["changed"] is False
    exact = router.call("firewall_rules", owner="aip", state="exact", rules=[WEB_PORT])
    assert exact["deleted"] == ["guests stay out"]
    assert router.call("firewall_rules", owner="aip", state="absent", rules=[WEB_PORT])["deleted"] == ["lan to web"]
    assert router.call("firewall_rules", owner="aip", state="absent", rules=[WEB_PORT])["changed"] is False


def test_rules_of_others_stay(router: Any) -> None:
    rule = {"enabled": "1", "action": "pass", "interface": "lan", "source_net": "10.1.0.1", "description": "lan to web"}
    uuid = router.post("firewall/filter/add_rule", {"rule": rule})["uuid"]
    router.call("firewall_rules", owner="other", rules=[WEB_PORT])
    router.call("firewall_rules", owner="aip", rules=[WEB_PORT])
    result = router.call("firewall_rules", owner="aip", state="exact", rules=[])
    assert result["deleted"] == ["lan to web"]
    assert router.get(f"firewall/filter/get_rule/{uuid}")["rule"]["description"] == "lan to web"
    assert router.call("firewall_rules", owner="other", rules=[WEB_PORT])["changed"] is False


def test_the_rule_that_carries_the_connection_is_not_touched(newest: Any) -> None:
    api = {
        "name": "api",
        "protocol": "TCP",
        "destination": ["(self)"],
        "destination_port": str(newest.defaults["port"]),
    }
    assert newest.call("firewall_rules", owner="aip", rules=[api])["verified"] is True
    for arguments in ({"state": "exact", "rules": []}, {"rules": [{**api, "enabled": False}]}):
        for check in (True, False):
            result = newest.call("firewall_rules", check=check, owner="aip", **arguments)
            assert "rule api would be" in result["msg"] and "carries the connection" in result["msg"]
            assert newest.simulator.writes() == []


def test_the_rules_are_confirmed_only_when_the_router_answers(router: Any) -> None:
    router.call("firewall_rules", owner="aip", rules=[WEB_PORT])
    paths = [entry["path"] for entry in router.simulator.log()]
    confirmed = [path for path in paths if "ancel" in path]
    assert len(confirmed) == (0 if router.number >= (26, 7) else 1)


# -- info --------------------------------------------------------------------------------------------------------------


def test_info(router: Any) -> None:
    found = router.call("info")["opnsense"]
    assert found["release"] == router.release
    assert (found["name"], found["system_domain"]) == ("OPNsense.internal", "internal")
    can = found["capabilities"]
    assert can["record_txt"] is (router.number >= (25, 7))
    assert can["delete_lists"] is can["record_ptr"] is (router.number >= (26, 1))
    assert can["rule_savepoints"] is (router.number < (26, 7))
    assert can["dnsmasq"] is (router.number >= (25, 1))
    assert found["services"]["unbound"] == {"enabled": True, "status": "running"}
    assert found["missing_privileges"] == []
    assert router.simulator.writes() == []


def test_info_says_what_the_key_lacks(newest: Any) -> None:
    newest.simulator.faults({"kind": "forbidden", "match": "system", "times": 2})
    found = newest.call("info")["opnsense"]
    assert found["privileges"]["system"] is False and found["missing_privileges"] == ["Lobby: Dashboard"]
    assert found["version"] == ""
