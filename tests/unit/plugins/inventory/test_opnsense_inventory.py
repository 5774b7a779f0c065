# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of what a router knows: building it, and reading a file with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from ansible_collections.pantheon.ai.plugins.inventory import opnsense
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Forbidden, Missing, WrongKey


class Router:
    """Answers for each path; what is not there is missing."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[str]()
        self.requests = 0
        self.apply_timeout = 1.0

    def get(self, path: str, query: Any = None) -> Any:
        self.asked.append(path)
        answer = self.answers.get(path, Missing(f"no {path}", "Update."))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing to close."""

    def post(self, path: str, data: Any = None, *, repeatable: bool = False, slow: bool = False) -> Any:
        raise AssertionError("an inventory writes nothing")

    def another(self) -> Any:
        raise AssertionError("one connection is enough")

    def renew(self) -> None:
        raise AssertionError("one connection is enough")

    def endpoints(self) -> tuple[str, str, int]:
        raise AssertionError("nobody asks")


def override(host: str, domain: str, server: str, description: str = "", **others: Any) -> dict[str, Any]:
    kind = "AAAA" if ":" in server else "A"
    rr = {"A": {"selected": int(kind == "A")}, "AAAA": {"selected": int(kind == "AAAA")}}
    return {
        "enabled": "1",
        "hostname": host,
        "domain": domain,
        "server": server,
        "rr": rr,
        "description": description,
        **others,
    }


ANSWERS: dict[str, Any] = {
    "unbound/settings/get": {
        "unbound": {
            "hosts": {
                "host": {
                    "1": override("NYX", "lab.internal", "10.0.0.11", "GPU [aip]"),
                    "2": override("nyx", "lab.internal", "FD00::11"),
                    "3": override("*", "apps.lab.internal", "10.0.0.9"),
                    "4": override("off", "lab.internal", "10.0.0.8", enabled="0"),
                    "5": override("nas", "other.net", "10.0.0.20", "x [else]"),
                }
            }
        }
    },
    "kea/dhcpv4/search_reservation": {
        "rows": [
            {"ip_address": "10.0.0.11", "hw_address": "AA:BB:CC:00:00:01", "hostname": "nyx", "description": ""},
            {"ip_address": "10.0.0.31", "hw_address": "AA:BB:CC:00:00:03", "hostname": "", "description": ""},
        ]
    },
    "dnsmasq/leases/search": {
        "rows": [
            {"address": "10.0.0.77", "hwaddr": "aa:bb:cc:00:00:07", "hostname": "*"},
            {"address": "10.0.0.78", "hwaddr": "aa:bb:cc:00:00:08", "hostname": "evil name {{ 1 }}"},
            {"address": "10.0.0.79", "hwaddr": "aa:bb:cc:00:00:09", "hostname": "phone"},
        ]
    },
    "diagnostics/interface/search_arp": {"rows": [{"ip": "10.0.0.20", "mac": "aa:bb:cc:00:00:20", "hostname": ""}]},
}
ALL = ["kea_reservations", "unbound", "dnsmasq_leases", "arp"]


def machines(sources: list[str], **options: Any) -> dict[str, dict[str, Any]]:
    router = Router(ANSWERS)
    found = [entry for source in sources for entry in opnsense.fetch(router, source)]
    given = {"domains": [], "owners": [], "unnamed": False, "short": False, **options}
    return {machine["name"]: machine["variables"] for machine in opnsense.build(found, **given)}


def test_what_belongs_together_becomes_one_machine() -> None:
    found = machines(ALL)
    assert list(found) == ["nas.other.net", "nyx.lab.internal", "phone"]
    nyx = found["nyx.lab.internal"]
    assert nyx == {
        "ansible_host": "10.0.0.11",
        "opnsense_name": "nyx.lab.internal",
        "opnsense_domain": "lab.internal",
        "opnsense_addresses": ["10.0.0.11", "fd00::11"],
        "opnsense_mac": "aa:bb:cc:00:00:01",
        "opnsense_owners": ["aip"],
        "opnsense_description": "GPU",
        "opnsense_sources": ["kea_reservations", "unbound"],
    }
    assert found["nas.other.net"]["opnsense_mac"] == "aa:bb:cc:00:00:20", "the neighbour is known by its address"


def test_filters() -> None:
    assert list(machines(ALL, domains=["Lab.internal."])) == ["nyx.lab.internal"]
    assert list(machines(ALL, owners=["else"])) == ["nas.other.net"]
    assert set(machines(ALL, unnamed=True)) >= {"10.0.0.31", "10.0.0.77", "10.0.0.78"}
    assert list(machines(ALL, short=True)) == ["nas", "nyx", "phone"]


def test_short_names_that_would_be_the_same_stay_long() -> None:
    entries = [opnsense.entry("unbound", name, "10.0.0.1", "", "") for name in ("a.b", "a.c", "d.e")]
    found = opnsense.build(entries, [], [], False, True)
    assert [machine["name"] for machine in found] == ["a.b", "a.c", "d"]


def test_each_source_costs_one_request() -> None:
    for source in ("unbound", "kea_reservations", "dnsmasq_leases"):
        router = Router(ANSWERS)
        assert opnsense.fetch(router, source)
        assert len(router.asked) == 1
    router = Router(
        {**ANSWERS, "hostdiscovery/service/search": {"rows": [{"ip_address": "10.0.0.1", "ether_address": "x"}]}}
    )
    assert opnsense.fetch(router, "arp")[0]["addresses"] == ["10.0.0.1"] and len(router.asked) == 1


# -- end to end --------------------------------------------------------------------------------------------------------

FILE = """
plugin: pantheon.ai.opnsense
host: router.test
api_key: k
api_secret: "{{ 'se' ~ 'cret' }}"
sources: [kea_reservations, unbound, dnsmasq_leases]
keyed_groups:
  - key: opnsense_domain
    prefix: domain
groups:
  pantheon: "'aip' in opnsense_owners"
compose:
  shown: opnsense_addresses | length
"""


class Loaded:
    """An inventory file that was read, and the routers that were asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch, self.folder = monkeypatch, folder
        self.answers = dict(ANSWERS)
        self.routers: list[Router] = []
        self.settings: list[Any] = []
        monkeypatch.setattr(opnsense, "Client", self.client)

    def client(self, settings: Any) -> Router:
        self.settings.append(settings)
        self.routers.append(Router(self.answers))
        return self.routers[-1]

    def read(self, extra: str = "") -> InventoryManager:
        path = self.folder / "lab.opnsense.yml"
        path.write_text(FILE + extra)
        return InventoryManager(DataLoader(), [str(path)])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loaded:
    from ansible.plugins.loader import inventory_loader

    plugin = inventory_loader.get("pantheon.ai.opnsense")
    assert plugin is not None
    module = __import__("sys").modules[type(plugin).__module__]
    state = Loaded(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "Client", state.client)
    monkeypatch.setattr("ansible.inventory.manager.C.INVENTORY_ENABLED", ["pantheon.ai.opnsense"])
    monkeypatch.setattr("ansible.inventory.manager.C.INVENTORY_ANY_UNPARSED_IS_FAILED", True)
    return state


def test_a_file_is_read(loaded: Loaded) -> None:
    inventory = loaded.read()
    assert set(inventory.hosts) == {"nyx.lab.internal", "nas.other.net", "phone"}
    assert inventory.hosts["nyx.lab.internal"].get_vars()["shown"] == 2
    groups = inventory.get_groups_dict()
    assert groups["pantheon"] == ["nyx.lab.internal"]
    assert groups["domain_lab_internal"] == ["nyx.lab.internal"]
    assert loaded.settings[0].secret == "secret", "options may be templates"


def test_the_cache_saves_the_requests(loaded: Loaded, tmp_path: Path) -> None:
    cache = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {tmp_path}/cache\n"
    first = loaded.read(cache)
    second = loaded.read(cache)
    assert set(first.hosts) == set(second.hosts) and len(loaded.routers) == 1


def test_a_source_that_may_not_be_read_is_left_out(loaded: Loaded) -> None:
    loaded.answers["kea/dhcpv4/search_reservation"] = Forbidden("403", "Give the privilege.")
    assert "nyx.lab.internal" in loaded.read().hosts


@pytest.mark.parametrize("error", [Forbidden("403 x", "Give it."), Missing("gone", "Update.")])
def test_strict_makes_it_an_error(loaded: Loaded, error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    loaded.answers["kea/dhcpv4/search_reservation"] = error
    with pytest.raises(AnsibleError, match="Completely failed"):
        loaded.read("strict: true\n")
    assert str(error) in capsys.readouterr().err


def test_a_wrong_key_is_tried_once(loaded: Loaded) -> None:
    loaded.answers = {path: WrongKey("wrong key", "Correct it.") for path in loaded.answers}
    assert not loaded.read().hosts
    assert loaded.routers[0].asked == ["kea/dhcpv4/search_reservation"]


def test_only_files_of_that_name_are_read(tmp_path: Path) -> None:
    plugin = opnsense.InventoryModule()
    for name, expected in (("opnsense.yml", True), ("x.opnsense.yaml", True), ("hosts.yml", False)):
        (tmp_path / name).write_text("")
        assert plugin.verify_file(str(tmp_path / name)) is expected
