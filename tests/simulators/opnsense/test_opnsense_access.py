# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a key without all privileges can do, and the inventory of what the router knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from .conftest import RELEASES, Router, Simulator

NYX = {"name": "nyx.lab.internal", "value": "10.0.0.11"}
MAC = "52:54:00:12:34:11"
USERS = [
    {"name": "dns", "key": "pantheon-key", "secret": "pantheon-secret", "privileges": ["page-services-unbound"]},
    {"name": "read", "key": "read-key", "secret": "s3", "privileges": ["page-all", "user-config-readonly"]},
    {"name": "overrides", "key": "ov-key", "secret": "s4", "privileges": ["page-services-dnsresolver-overrides"]},
    {
        "name": "wildcards",
        "key": "dash-key",
        "secret": "s5",
        "privileges": ["page-services-unbound", "page-system-login-logout"],
    },
]


@pytest.fixture(params=[RELEASES[0], RELEASES[-1]])
def limited(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Router]:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"users": USERS}))
    simulator = Simulator(request.param, tmp_path / "state", "--config", str(config))
    yield Router(simulator, capsys)
    simulator.stop()


def test_one_privilege_is_enough_for_records_and_forwards(limited: Router) -> None:
    assert limited.call("dns_records", owner="aip", records=[NYX])["verified"] is True
    assert limited.call("dns_records", owner="aip", records=[NYX])["requests"] == 2
    assert (
        limited.call("dns_forwards", owner="aip", forwards=[{"domain": "a.b", "server": "10.0.0.1"}])["verified"]
        is True
    )
    found = limited.call("info")["opnsense"]
    assert found["privileges"]["unbound"] is True and "Lobby: Dashboard" in found["missing_privileges"]


def test_a_wildcard_needs_one_privilege_more_or_the_domain(limited: Router) -> None:
    wildcard = {"name": "*.apps.lab.internal", "value": "10.0.0.9"}
    result = limited.call("dns_records", owner="aip", records=[wildcard])
    assert "Lobby: Dashboard" in result["msg"] and "system_domain" in result["msg"]
    assert limited.simulator.writes() == []
    result = limited.call("dns_records", owner="aip", records=[wildcard], api_key="dash-key", api_secret="s5")
    assert result["verified"] is True and result["requests"] <= 7, (
        "the other spelling costs one request on old releases"
    )
    assert limited.call("dns_records", owner="aip", records=[], state="exact")["changed"] is True
    assert limited.call("dns_records", owner="aip", records=[wildcard], system_domain="internal")["verified"] is True


def test_what_a_key_lacks_is_named(limited: Router) -> None:
    result = limited.call("dns_records", owner="aip", records=[NYX], api_key="ov-key", api_secret="s4")
    assert "privilege 'Services: Unbound'" in result["msg"] and result["failure"] == "forbidden"
    result = limited.call("firewall_aliases", owner="aip", aliases=[{"name": "a", "content": ["10.0.0.1"]}])
    assert "privilege 'Firewall: Alias: Edit'" in result["msg"]
    result = limited.call(
        "dhcp_reservations", owner="aip", backend="kea", reservations=[{"mac": MAC, "address": "10.0.0.1"}]
    )
    assert "privilege 'Services: DHCP: Kea(v4)'" in result["msg"] and result["requests"] == 2


def test_a_key_that_may_only_read_is_quoted(limited: Router) -> None:
    result = limited.call("dns_records", owner="aip", records=[NYX], api_key="read-key", api_secret="s3")
    assert "denied for write access" in result["msg"] and result["changed"] is False
    assert limited.call("dns_records", check=True, owner="aip", records=[NYX], api_key="read-key", api_secret="s3")[
        "changed"
    ]


def test_the_inventory(router: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.inventory.manager.C.INVENTORY_ENABLED", ["pantheon.ai.opnsense"])
    router.call("dns_records", owner="aip", records=[NYX, {"name": "*.apps.lab.internal", "value": "10.0.0.9"}])
    answer = router.post("kea/dhcpv4/add_subnet", {"subnet4": {"subnet": "10.0.0.0/24"}})
    other = {"subnet": answer["uuid"], "ip_address": "10.0.0.50", "hw_address": "52:54:00:00:00:01", "hostname": "tv"}
    router.post("kea/dhcpv4/add_reservation", {"reservation": other})
    leases = [{"address": "10.0.0.77", "hwaddr": "52:54:00:00:00:77", "hostname": "phone", "if": "vtnet0"}]
    router.simulator.control("PUT", "/state", {"leases": {"kea": leases, "dnsmasq": leases}})
    router.simulator.control("DELETE", "/log")
    sources = ["unbound", "kea_reservations", "kea_leases", "arp"] + (
        ["dnsmasq_leases"] if router.number > (25, 0) else []
    )
    file = tmp_path / "lab.opnsense.yml"
    file.write_text(
        json.dumps(
            {
                "plugin": "pantheon.ai.opnsense",
                "sources": sources,
                "strict": True,
                "groups": {"ours": "'aip' in opnsense_owners"},
                **{name: value for name, value in router.defaults.items() if name != "apply_timeout"},
            }
        )
    )
    inventory = InventoryManager(DataLoader(), [str(file)])
    assert {"nyx.lab.internal", "tv", "phone"} <= set(inventory.hosts)
    assert inventory.get_groups_dict()["ours"] == ["nyx.lab.internal"]
    assert inventory.hosts["nyx.lab.internal"].get_vars()["ansible_host"] == "10.0.0.11"
    assert inventory.hosts["tv"].get_vars()["opnsense_mac"] == "52:54:00:00:00:01"
    requests = [entry["path"] for entry in router.simulator.log()]
    assert len(requests) <= len(sources) + 1, requests
    assert router.simulator.writes() == []
