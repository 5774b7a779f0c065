# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement, addresses, networks, names, secrets, databases and the gateway."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    ReferenceFault,
    address_of,
    container_addresses,
    gateway_keys,
    gateway_models,
    models_of,
    networks_of,
    placed,
    resolve,
    secret_values,
    secrets_of,
    services_on,
    to_databases,
    to_dns,
    to_prometheus,
    to_routes,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

Workshop = Any


def test_placement(workshop: Workshop, site: Site) -> None:
    assert placed(site, "litellm") == ["orpheus", "kratos"]
    assert placed(site, "postgresql") == ["erebus", "thanatos"]
    workshop.add("single", ["nyx", "hades"], placement={"group": "single", "mode": "one"})
    assert placed(workshop.load(), "single") == ["nyx"], "mode one: the first"
    assert placed(site, "redis-router") == ["orpheus", "kratos"], "mode beside: with those who require it"
    assert placed(site, "postgresql-router") == placed(site, "postgresql-pool") == ["orpheus"]


def test_services_on_a_machine_in_the_order_of_deployment(workshop: Workshop, site: Site) -> None:
    beside = ["postgresql-pool", "postgresql-router", "redis-router"]
    assert services_on(site, "orpheus") == [*beside, "litellm", "ollama", "open-webui"]
    assert services_on(site, "orpheus", ["data"]) == beside
    assert services_on(site, "orpheus", ["edge"]) == []
    workshop.groups = {**workshop.groups, "edge_proxy": ["erebus"], "litellm": ["erebus"]}
    assert services_on(workshop.load(), "erebus") == [
        *("etcd", "postgresql", "postgresql-witness", "qdrant", "redis", "redis-router", "redis-sentinel"),
        "litellm",
        "edge-proxy",
    ]


def test_addresses_on_overlay_networks(site: Site) -> None:
    assert address_of(site, "litellm", "api") == "litellm:4000"
    assert address_of(site, "ollama", "api", "nyx") == "ollama-nyx:11434"
    assert address_of(site, "ollama", "api", seen_from="nyx") == "ollama:11434"


def test_fixed_addresses_in_the_upper_half(workshop: Workshop, site: Site) -> None:
    found = container_addresses(site, "pantheon-ai")
    assert set(found) == {
        *((service, host) for service in ("ollama", "litellm", "open-webui") for host in placed(site, service)),
    } & set(found)
    assert ("ollama", "nyx") in found
    upper = ip_network("10.90.24.0/21")
    assert all(ip_address(address) in upper for address in found.values())
    assert len(set(found.values())) == len(found)
    workshop.settings["pantheon_overlay_networks"] = {"pantheon-ai": "10.200.0.0/24"}
    moved = container_addresses(workshop.load(), "pantheon-ai")
    assert all(ip_address(address) in ip_network("10.200.0.128/25") for address in moved.values())


def test_a_new_service_moves_no_other(workshop: Workshop, site: Site) -> None:
    before = container_addresses(site, "pantheon-ai")
    for number in range(20):
        workshop.add(f"tool-{number}", ["nyx"], requires=["litellm"])
    after = container_addresses(workshop.load(), "pantheon-ai")
    moved = {member for member, address in before.items() if after[member] != address}
    assert len(after) == len(before) + 20
    assert moved == set()


def test_names_that_come_to_the_same_address_all_get_one(workshop: Workshop) -> None:
    workshop.settings["pantheon_overlay_networks"] = {"pantheon-ai": "10.200.0.0/24"}
    for number in range(50):
        workshop.add(f"tool-{number}", ["nyx"], requires=["litellm"])
    found = container_addresses(workshop.load(), "pantheon-ai")
    assert len(found) > 50
    assert len(set(found.values())) == len(found)
    assert "10.200.0.255" not in found.values(), "the broadcast address"


def test_too_many_containers_for_a_network(workshop: Workshop) -> None:
    workshop.settings["pantheon_overlay_networks"] = {"pantheon-ai": "10.200.0.0/24"}
    for number in range(70):
        workshop.add(f"tool-{number}", ["nyx"], requires=["litellm"])
    assert [(problem.field, problem.value) for problem in workshop.problems()] == [
        ("pantheon_overlay_networks.pantheon-ai", "10.200.0.0/24")
    ]


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"pantheon-else": "10.1.0.0/20"}, "is no network of the platform"),
        ({"pantheon-ai": "10.1.0.1/20"}, "is no network"),
        ({"pantheon-ai": "10.1.0.0/25"}, "has too few addresses"),
        ({"pantheon-ai": "10.90.0.0/16"}, "overlaps with"),
    ],
)
def test_wrong_subnets_are_named(workshop: Workshop, networks: dict[str, str], message: str) -> None:
    workshop.settings["pantheon_overlay_networks"] = networks
    problems = workshop.problems()
    assert problems
    assert all(message in problem.message for problem in problems)
    assert all(problem.field.startswith("pantheon_overlay_networks.") for problem in problems)


def test_addresses_on_host_networks(workshop: Workshop) -> None:
    workshop.settings["pantheon_network"] = "host"
    workshop.override("litellm", {"endpoints": {"api": {"published": 4001}}})
    site = workshop.load()
    assert address_of(site, "litellm", "api") == "10.1.0.13:4001"
    assert address_of(site, "litellm", "api", "kratos") == "10.1.0.14:4001"
    assert address_of(site, "litellm", "api", seen_from="kratos") == "10.1.0.14:4001", "its own instance"
    assert address_of(site, "litellm", "api", seen_from="nyx") == "10.1.0.13:4001", "else the first"
    workshop.hosts["hephaestus"]["pantheon_address"] = "fd00::1"
    assert address_of(workshop.load(), "edge-proxy", "ping") == "[fd00::1]:8081"
    workshop.groups["edge_proxy"] = []
    with pytest.raises(ReferenceFault, match="edge-proxy runs on no machine"):
        address_of(workshop.load(), "edge-proxy", "ping")


def test_networks(workshop: Workshop, site: Site) -> None:
    on_machine = {
        *("etcd", "postgresql", "postgresql-witness", "postgresql-router", "postgresql-pool"),
        *("redis", "redis-sentinel", "redis-router"),
    }
    assert {name: networks_of(site, name) for name in site.services} == {
        **{name: [] for name in on_machine},
        # Nothing requires them yet.
        "neo4j": [],
        "qdrant": [],
        "ollama": ["pantheon-ai"],
        # What they require of the data tier is beside them, on the network of their machine.
        "litellm": ["pantheon-ai", "pantheon-edge"],
        "open-webui": ["pantheon-ai", "pantheon-edge"],
        "edge-proxy": ["pantheon-edge"],
    }
    workshop.add("lonely", ["nyx"])
    workshop.add("store", ["erebus"], tier="data")
    workshop.add("reader", ["nyx"], requires=["store", "redis-router"])
    workshop.add("both", ["nyx"], requires=["store", "ollama"])
    workshop.add("web", ["nyx"], route={"endpoint": "http", "host": "web", "auth": "none"})
    site = workshop.load()
    assert networks_of(site, "lonely") == []
    assert networks_of(site, "store") == networks_of(site, "reader") == ["pantheon-data"]
    assert networks_of(site, "both") == ["pantheon-data", "pantheon-ai"]
    assert networks_of(site, "web") == ["pantheon-edge"]
    workshop.settings["pantheon_network"] = "host"
    assert networks_of(workshop.load(), "litellm") == []


def test_references(site: Site) -> None:
    text = "http://:${secret:litellm_master_key}@${address:ollama.api}/0 ${host:ollama.api} ${port:ollama.api}"
    assert resolve(site, "litellm", text) == "http://:@@secret:litellm_master_key@@@ollama:11434/0 ollama 11434"
    text = "${address:redis-router.redis} ${host:redis-router.redis} ${port:redis-router.redis}"
    assert resolve(site, "litellm", text) == "redis-router:6390 redis-router 6390", "the one of its machine"
    assert resolve(site, "litellm", "${machine:name} ${machine:address}", "nyx") == "nyx 10.1.0.15"
    assert resolve(site, "litellm", "${setting:domain} ${setting:chat_model}") == "example.test small"
    assert resolve(site, "litellm", "$HOME ${HOME} ${HOME:-/root} $$") == "$HOME ${HOME} ${HOME:-/root} $$"


def test_secrets(site: Site) -> None:
    secrets = secrets_of(site)
    assert secrets["litellm_master_key"] == {"kind": "key", "length": 40, "prefix": "sk-"}
    assert secrets["edge_certificate"] == {
        "kind": "certificate",
        "length": 40,
        "prefix": "",
        "ca": "edge_ca",
        "names": ["example.test", "*.example.test"],
    }
    assert list(secrets) == sorted(secrets)
    assert secret_values("edge_ca", secrets["edge_ca"]) == ["edge_ca_key", "edge_ca_certificate"]
    name = "redis_replication_password"
    assert secrets[name] == {"kind": "password", "length": 40, "prefix": ""}
    assert secret_values(name, secrets[name]) == [name]


def test_what_runs_nowhere_has_no_secrets_databases_or_keys(workshop: Workshop) -> None:
    workshop.groups["open_webui"] = []
    site = workshop.load()
    assert not [name for name in secrets_of(site) if name.startswith("open_webui")]
    assert to_databases(site) == []
    assert [key["alias"] for key in gateway_keys(site)["keys"]] == ["master", "verify"]
    assert [route["service"] for route in to_routes(site)] == ["litellm"]


def test_databases(site: Site) -> None:
    assert to_databases(site) == [
        {
            "name": "open_webui",
            "user": "open_webui",
            "secret": "open_webui_database_password",
            "extensions": ["vector"],
        }
    ]


def test_names_of_routed_services_lead_to_the_edge(workshop: Workshop) -> None:
    workshop.override("litellm", {"dns": {"aliases": ["gateway"]}})
    workshop.add("tool", ["nyx", "hades"], dns={"aliases": ["tool"]})
    records = {(record["name"], record["address"]) for record in to_dns(workshop.load())}
    assert records == {
        ("chat.example.test", "10.1.0.17"),
        ("llm.example.test", "10.1.0.17"),
        ("gateway.example.test", "10.1.0.17"),
        ("tool.example.test", "10.1.0.15"),
        ("tool.example.test", "10.1.0.16"),
    }


def test_scrape_targets(site: Site) -> None:
    targets = to_prometheus(site)
    assert [target["targets"] for target in targets] == [
        ["edge-proxy-hephaestus:8082"],
        ["litellm-orpheus:4000"],
        ["litellm-kratos:4000"],
    ]
    assert targets[1]["labels"] == {
        "__metrics_path__": "/metrics/",
        "__scrape_interval__": "15s",
        "instance": "orpheus",
        "job": "litellm",
        "tier": "compute",
    }


def test_models_and_their_machines(workshop: Workshop) -> None:
    workshop.settings["pantheon_models"] = [
        {"name": "everywhere"},
        {"name": "group", "machines": ["litellm"]},
        {"name": "mixed", "machines": ["hades", "litellm"], "role": "embedding"},
    ]
    models = {model["name"]: (model["role"], model["machines"]) for model in models_of(workshop.load())}
    assert models == {
        "everywhere": ("chat", ["orpheus", "kratos", "nyx", "hades"]),
        "group": ("chat", ["orpheus", "kratos"]),
        "mixed": ("embedding", ["orpheus", "kratos", "hades"]),
    }


def test_the_gateway_has_a_deployment_per_model_and_machine(site: Site) -> None:
    config = gateway_models(site)
    found = {entry["model_info"]["id"]: entry for entry in config["model_list"]}
    assert list(found) == [
        "small@orpheus",
        "small@kratos",
        "small@nyx",
        "large@hades",
        "embed@orpheus",
        "embed@kratos",
        "embed@nyx",
        "embed@hades",
    ]
    assert found["small@nyx"]["model_name"] == "small"
    assert found["small@nyx"]["litellm_params"] == {
        "model": "ollama_chat/small",
        "api_base": "http://ollama-nyx:11434",
    }
    assert found["embed@hades"]["litellm_params"]["model"] == "ollama/embed"
    assert found["embed@hades"]["model_info"]["mode"] == "embedding"
    assert config["router_settings"]["redis_host"] == "redis-router"
    assert config["router_settings"]["redis_port"] == 6390
    assert config["router_settings"]["num_retries"] == 2
    assert config["general_settings"]["custom_auth"] == "pantheon_gateway_auth.user_api_key_auth"


def test_machines_with_more_models_than_fit_in_memory_are_not_probed(workshop: Workshop) -> None:
    workshop.settings["pantheon_models"] = [
        *({"name": f"m{number}", "machines": ["orpheus"]} for number in range(3)),
        {"name": "m3", "machines": ["orpheus", "nyx"]},
    ]
    entries = gateway_models(workshop.load())["model_list"]
    disabled = {
        entry["model_info"]["id"] for entry in entries if "disable_background_health_check" in entry["model_info"]
    }
    assert disabled == {"m0@orpheus", "m1@orpheus", "m2@orpheus", "m3@orpheus"}


def test_the_gateway_without_redis(workshop: Workshop) -> None:
    workshop.override("redis-router", {"enabled": False})
    assert "redis_host" not in gateway_models(workshop.load())["router_settings"]


def test_keys_of_the_gateway(workshop: Workshop) -> None:
    workshop.add(
        "tool",
        ["nyx"],
        secrets=[{"name": "tool_key"}],
        gateway_keys=[{"alias": "tool", "secret": "tool_key", "models": ["small"]}],
    )
    keys = gateway_keys(workshop.load())["keys"]
    assert keys[0] == {"alias": "master", "key": "@@secret:litellm_master_key@@", "admin": True, "models": None}
    assert keys[-1] == {"alias": "tool", "key": "@@secret:tool_key@@", "admin": False, "models": ["small"]}
    assert [key["admin"] for key in keys].count(True) == 1
