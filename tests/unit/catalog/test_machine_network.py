# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that use the network of their machine: where they run, how they are reached, and who may."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    address_of,
    networks_of,
    placed,
    resolve,
    secrets_of,
    to_compose,
    to_override,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._firewall import firewall

Workshop = Any

STORE = {"network": "machine", "tier": "data", "endpoints": {"sql": {"port": 7001, "protocol": "tcp"}}}
DOOR = {
    "network": "machine",
    "tier": "data",
    "placement": {"mode": "beside"},
    "requires": ["store"],
    "endpoints": {"sql": {"port": 7002, "protocol": "tcp", "scope": "node"}},
}
APP = {"environment": {"STORE": "${address:door.sql}"}, "requires": ["door"]}


@pytest.fixture
def made(workshop: Workshop) -> Workshop:
    """A store on two machines, a door to it beside each application, and an application on one more machine."""
    services = workshop.catalog / "services"
    for path in [*services.glob("postgresql*.yml"), *services.glob("redis*.yml")]:
        path.unlink()
    for name in ("etcd", "open-webui", "litellm"):
        (services / f"{name}.yml").unlink()
    workshop.groups.pop("open_webui")
    workshop.groups.pop("litellm")
    workshop.add("store", ["erebus", "thanatos"], **STORE)
    workshop.add("door", None, **DOOR)
    workshop.add("app", ["orpheus"], **APP)
    return workshop


def test_a_service_beside_others_runs_where_they_run(made: Workshop) -> None:
    assert made.problems() == []
    assert placed(made.load(), "door") == ["orpheus"]
    made.groups["app"] = ["orpheus", "nyx"]
    assert placed(made.load(), "door") == ["orpheus", "nyx"], "in the order of the inventory"


def test_a_circle_of_requirements_is_said_and_not_walked(made: Workshop) -> None:
    path = made.catalog / "services" / "door.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"requires": ["app"]}))
    assert [problem.value for problem in made.problems() if "cycle" in problem.message] == ["app -> door -> app"]


def test_addresses(made: Workshop) -> None:
    site = made.load()
    assert address_of(site, "store", "sql", "thanatos") == "10.1.0.12:7001"
    assert address_of(site, "store", "sql", seen_from="thanatos") == "10.1.0.12:7001", "its own"
    assert resolve(site, "door", "${address:store.sql}", "orpheus") == "10.1.0.11:7001", "else the first"
    assert resolve(site, "app", "${address:door.sql}", "orpheus") == "door:7002"
    assert resolve(site, "store", "${address:door.sql}", "erebus") == "127.0.0.1:7002", "the same network"


def test_compose(made: Workshop) -> None:
    site = made.load()
    store = to_compose(site, "store")["services"]["store"]
    assert store["network_mode"] == "host"
    assert "networks" not in store
    assert networks_of(site, "store") == networks_of(site, "app") == []
    added = to_override(site, "store", "erebus")["services"]["store"]
    assert "ports" not in added
    assert "networks" not in added
    app = to_compose(site, "app")["services"]["app"]
    assert app["extra_hosts"] == ["door:host-gateway"]
    assert "network_mode" not in app
    assert "extra_hosts" not in to_compose(site, "door")["services"]["door"]


def test_two_services_on_one_port_of_a_machine(made: Workshop) -> None:
    made.add("rival", ["erebus"], **STORE)
    assert [problem.field for problem in made.problems()] == ["endpoints.sql"]


def test_a_machine_known_by_name_cannot_be_bound_to(made: Workshop) -> None:
    made.hosts["thanatos"]["ansible_host"] = "thanatos.example.test"
    assert [problem.field for problem in made.problems()] == ["thanatos.pantheon_address"]


def test_a_certificate_for_all_machines_of_a_group(made: Workshop) -> None:
    certificate = {
        "name": "store_tls",
        "kind": "certificate",
        "ca": "store_ca",
        "names": ["${machines:store}", "localhost"],
    }
    made.edit("store", {"secrets": [{"name": "store_ca", "kind": "ca", "internal": True}, certificate]})
    assert made.problems() == []
    assert secrets_of(made.load())["store_tls"]["names"] == [
        "erebus",
        "10.1.0.11",
        "thanatos",
        "10.1.0.12",
        "localhost",
    ]
    certificate["names"] = ["${machines:nobody}"]
    made.edit("store", {"secrets": [{"name": "store_ca", "kind": "ca"}, certificate]})
    assert [problem.value for problem in made.problems()] == ["${machines:nobody}"]


def test_the_firewall_guards_these_ports_and_no_others(made: Workshop) -> None:
    site = made.load()
    rules = firewall(site, "erebus")
    assert "tcp dport { 7001 } jump mesh" in rules
    assert "jump node" not in rules, "the door is not here"
    assert "elements = { 10.1.0.11, 10.1.0.12, 10.1.0.13" in rules
    assert "tcp dport { 7002 } jump node" in firewall(site, "orpheus")
    for host in ("erebus", "nyx"):
        assert "ip daddr @machines4 tcp dport { 7001 } drop" in firewall(site, host), "for containers of every machine"


def test_no_such_service_no_firewall(made: Workshop) -> None:
    for name in ("store", "door", "app"):
        (made.catalog / "services" / f"{name}.yml").unlink()
    assert firewall(made.load(), "erebus") == ""


def test_nft_takes_the_rules(made: Workshop) -> None:
    program = shutil.which("nft")
    if program is None:
        pytest.skip("nft is not installed")
    made.hosts["thanatos"]["ansible_host"] = "fd00::12"
    checked = subprocess.run(
        [program, "--check", "--file", "-"],
        input=firewall(made.load(), "erebus"),
        text=True,
        capture_output=True,
        check=False,
    )
    if "not permitted" in checked.stderr:
        pytest.skip("nft needs root")
    assert checked.returncode == 0, checked.stderr
