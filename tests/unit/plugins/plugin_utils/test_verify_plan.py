# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is verified, derived from the inventories that ship with the project."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import placed, secrets_of, services_on
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify import Plan, Probe, make_plan, segment_probes

INVENTORIES = Path(__file__).resolve().parents[4] / "inventories"


def site_of(name: str) -> Site:
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(INVENTORIES / name)])
    manager = VariableManager(loader=loader, inventory=inventory)
    hostvars: dict[str, Any] = {str(host.name): manager.get_vars(host=host) for host in inventory.get_hosts()}
    first = next(iter(hostvars.values()))
    return load_site({**first, "groups": inventory.get_groups_dict(), "hostvars": hostvars}, loader)


def plan_of(
    site: Site, connections: dict[str, int | None] | None = None, controllers: frozenset[str] = frozenset()
) -> Plan:
    return make_plan(site, secrets_of(site), connections, controllers)


@pytest.fixture(scope="module")
def lab() -> Site:
    return site_of("lab")


def test_everything_comes_from_the_catalog_and_the_inventory(lab: Site) -> None:
    plan = plan_of(lab)
    assert [(edge.machine, edge.address, edge.https, edge.http) for edge in plan.edges] == [
        (machine, lab.machines[machine].address, 443, 80) for machine in placed(lab, "edge-proxy")
    ]
    assert plan.interface == f"chat.{lab.settings.domain}"
    assert plan.gateway == f"llm.{lab.settings.domain}"
    assert {plan.interface, plan.gateway} <= set(plan.names)
    assert (plan.admin_secret, plan.key_secret) == ("open_webui_admin_password", "verify_gateway_key")
    assert plan.ca_secrets == ("edge_ca_certificate",)
    assert {plan.admin_secret, plan.key_secret} <= set(secrets_of(lab))
    assert plan.urls["open-webui"] == f"https://{plan.interface}"
    assert {host.name for host in plan.hosts} == set(lab.groups["machines"])


def test_each_model_has_the_deployments_of_its_machines(lab: Site) -> None:
    models = {model.name: model for model in plan_of(lab).models}
    assert set(models) == {model["name"] for model in lab.settings.models}
    for name, model in models.items():
        assert model.ids == {f"{name}@{machine}" for machine in model.machines}
        assert model.machines


def test_only_the_edge_is_open_from_outside(lab: Site) -> None:
    plan = plan_of(lab)
    for ports in plan.ports:
        expected = {80, 443} if ports.machine in placed(lab, "edge-proxy") else set()
        assert set(ports.public) == expected
        assert {2379, 2380, 4000, 5432, 6379, 6390, 6432, 8008, 8080, 11434, 26379} <= set(ports.closed)
        assert not set(ports.public) & set(ports.closed)
        assert ports.skip == ""


def probes(site: Site, host: str, source: str, target: str) -> set[str]:
    return {probe.expect for probe in segment_probes(site, host) if probe.source == source and probe.target == target}


def test_segments_follow_what_services_require(lab: Site) -> None:
    gateway = placed(lab, "litellm")[0]
    model_machine = placed(lab, "ollama")[-1]
    edge = placed(lab, "edge-proxy")[0]
    assert probes(lab, gateway, "litellm", "ollama") == {"open"}
    assert probes(lab, model_machine, "ollama", "open-webui") == set(), "they share a network"
    for source, machine, target in (("ollama", model_machine, "edge-proxy"), ("edge-proxy", edge, "ollama")):
        assert probes(lab, machine, source, target) == {"closed"}
        address = lab.machines[placed(lab, target)[0]].address
        assert probes(lab, machine, source, address) == {"closed"}, "neither by name nor through the machine"


def test_what_uses_the_network_of_its_machine_is_closed_to_containers(lab: Site) -> None:
    """Also to the gateway: its way to Redis is the router beside it, which is in none of the segments either."""
    gateway = placed(lab, "litellm")[0]
    model_machine = placed(lab, "ollama")[-1]
    edge = placed(lab, "edge-proxy")[0]
    ports = {"redis": {6379}, "redis-sentinel": {26379}, "postgresql": {5432, 8008}, "etcd": {2379, 2380}}
    for source, machine in (("litellm", gateway), ("ollama", model_machine), ("edge-proxy", edge)):
        found = [probe for probe in segment_probes(lab, machine) if probe.source == source]
        for target, wanted in ports.items():
            assert not [probe for probe in found if probe.target == target], "it has no name in a network"
            for host in placed(lab, target):
                address = lab.machines[host].address
                closed = {probe.port for probe in found if (probe.target, probe.expect) == (address, "closed")}
                assert wanted <= closed, (source, target, host)
    assert probes(lab, gateway, "litellm", "redis-router") == set()


def test_the_network_of_a_machine_is_no_segment(lab: Site) -> None:
    """Such a service reaches what its machine reaches, so there is nothing that has to be closed to it."""
    assert {"etcd", "postgresql", "redis"} <= set(services_on(lab, "thanatos"))
    assert segment_probes(lab, "thanatos") == []
    gateway = placed(lab, "litellm")[0]
    assert "redis-router" in services_on(lab, gateway)
    sources = {probe.source for probe in segment_probes(lab, gateway)}
    assert "litellm" in sources
    assert not [source for source in sources if lab.services[source]["network"] == "machine"]


def test_a_machine_without_services_has_no_probes(lab: Site) -> None:
    idle = [name for name in lab.machines if not any(name in placed(lab, service) for service in lab.services)]
    assert idle
    assert all(segment_probes(lab, name) == [] for name in idle)


def test_host_networks_have_no_segments_and_no_closed_ports(lab: Site) -> None:
    site = replace(lab, settings=replace(lab.settings, network="host"))
    plan = plan_of(site)
    assert plan.probes == {}
    assert all("pantheon_network is host" in ports.skip for ports in plan.ports)


def test_the_machine_that_looks_cannot_see_itself_from_outside(lab: Site) -> None:
    here, elsewhere = list(lab.machines)[:2]
    plan = plan_of(lab, {here: None, elsewhere: None}, frozenset({here}))
    assert [host.port for host in plan.hosts if host.name == here] == [None]
    # Managed another way than over ssh, but elsewhere: its ports are looked at.
    skipped = {ports.machine for ports in plan.ports if ports.skip}
    assert skipped == {here}


def test_a_machine_of_the_platform_may_reach_the_database_of_another(lab: Site) -> None:
    def closed(controllers: frozenset[str]) -> set[int]:
        ports = plan_of(lab, controllers=controllers).ports
        return {port for one in ports if one.machine == "erebus" for port in one.closed}

    assert {2379, 5432, 6379, 8008, 6432} <= closed(frozenset()), "from elsewhere"
    inside = closed(frozenset({"workstation"}))
    assert not {2379, 5432, 6379, 8008} & inside
    assert 6432 in inside, "the pool is for its own machine only"


def test_an_expected_answer_of_the_inventory_is_used(lab: Site) -> None:
    models = [{**model, "answer": f"I am {model['name']}"} for model in lab.settings.models]
    plan = plan_of(replace(lab, settings=replace(lab.settings, models=models)))
    assert {model.name: model.answer for model in plan.models} == {
        model["name"]: f"I am {model['name']}" for model in models
    }


@pytest.mark.parametrize("name", ["homelab", "single"])
def test_the_other_inventories_have_a_plan(name: str) -> None:
    site = site_of(name)
    plan = plan_of(site)
    assert plan.edges
    assert plan.interface.endswith(site.settings.domain)
    assert plan.models
    assert all(isinstance(probe, Probe) for probes_of in plan.probes.values() for probe in probes_of)
