# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading: overrides, defaults, settings, machines; and the three inventories of this repository."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.pantheon.ai.plugins.plugin_utils import _catalog_files
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import check_site, services_on
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import merge
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, inventory_folder, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

REPOSITORY = Path(__file__).resolve().parents[3]
Workshop = Any


def test_merging_is_deep_for_mappings_and_replaces_everything_else() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}
    result = merge(base, {"a": {"y": [3]}, "b": {"n": 1}, "c": None})
    assert result == {"a": {"x": 1, "y": [3]}, "b": {"n": 1}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"z": 1}}


def test_defaults_come_from_the_schema(workshop: Workshop) -> None:
    workshop.add("tool", ["nyx"], secrets=[{"name": "s"}], files=[{"path": "/etc/x", "secret": "s"}])
    tool = workshop.load().services["tool"]
    assert tool["image"]["registry"] == "docker.io"
    assert tool["placement"] == {"group": "tool", "mode": "each", "gpu": "none"}
    assert tool["secrets"] == [{"name": "s", "kind": "password", "length": 40, "prefix": ""}]
    assert tool["files"] == [{"path": "/etc/x", "secret": "s", "mode": "0640", "uid": 0, "gid": 0}]
    assert tool["endpoints"] == {"http": {"port": 9000, "protocol": "http", "scope": "mesh"}}
    assert (tool["requires"], tool["environment"], tool["enabled"]) == ([], {}, True)


def test_defaults_are_not_shared_between_services(workshop: Workshop) -> None:
    services = workshop.load().services
    services["redis"]["databases"].append("x")
    assert services["ollama"]["databases"] == []


def test_an_override_wins_and_is_the_source_of_messages(workshop: Workshop) -> None:
    path = workshop.override("redis", {"resources": {"memory_mb": 99}})
    site = workshop.load()
    assert site.services["redis"]["resources"] == {"memory_mb": 99, "limit_memory": True}
    assert site.source("redis") == str(path)
    assert site.source("ollama").endswith("catalog/services/ollama.yml")


class Counting(Mapping[str, Any]):
    """Host variables that count who is asked for."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Any:
        self.asked.append(name)
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __contains__(self, name: object) -> bool:
        return name in self.data

    def __len__(self) -> int:
        return len(self.data)


def test_only_machines_that_are_asked_for_are_read(workshop: Workshop) -> None:
    workshop.hosts = counting = Counting(workshop.hosts)
    site = workshop.load()
    render_stacks(site, "nyx")
    render_stacks(site, "nyx")
    assert counting.asked == ["nyx"]
    with pytest.raises(KeyError):
        site.machines["poseidon"]


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "nyx"),
        ({"ansible_host": "10.0.0.1"}, "10.0.0.1"),
        ({"ansible_host": "10.0.0.1", "pantheon_address": "10.0.0.2"}, "10.0.0.2"),
    ],
)
def test_addresses(workshop: Workshop, variables: dict[str, Any], address: str) -> None:
    workshop.hosts["nyx"] = variables
    machine = workshop.load().machines["nyx"]
    assert (machine.address, machine.memory_mb, machine.gpu) == (address, None, "none")


def test_settings_that_are_templates_are_resolved(workshop: Workshop) -> None:
    from ansible.template import trust_as_template

    workshop.settings["pantheon_domain"] = trust_as_template("{{ base }}.test")
    workshop.settings["base"] = "example"
    site = load_site(workshop.variables(), DataLoader(), catalog=workshop.catalog)
    assert (site.settings.domain, type(site.settings.domain)) == ("example.test", str)


def test_the_folder_of_the_inventory(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    file = folder / "hosts.yml"
    file.touch()
    assert inventory_folder({"inventory_dir": str(folder)}) == folder
    # The implicit localhost has no inventory_dir.
    assert inventory_folder({"ansible_inventory_sources": [str(file)]}) == folder
    assert inventory_folder({"ansible_inventory_sources": ["localhost,"]}) is None
    assert inventory_folder({}) is None
    other = tmp_path / "other"
    (other / "catalog").mkdir(parents=True)
    assert inventory_folder({"ansible_inventory_sources": [str(folder), str(other)]}) == other
    # Of several sources without a catalog, the one that names the machines.
    third = tmp_path / "third"
    third.mkdir()
    variables = {
        "ansible_inventory_sources": [str(folder), str(third)],
        "groups": {"machines": ["one"]},
        "hostvars": {"one": {"inventory_dir": str(third)}},
    }
    assert inventory_folder(variables) == third


def test_loading_and_rendering_take_little_time(workshop: Workshop) -> None:
    workshop.load()  # the schema is compiled once per process
    best = min(_cpu_seconds(workshop) for _run in range(5))
    assert best < 0.05, f"{best * 1000:.0f} ms"


def _cpu_seconds(workshop: Workshop) -> float:
    start = time.process_time()
    render_stacks(workshop.load(), "orpheus")
    return time.process_time() - start


def test_a_thousand_machines_cost_linear_time(workshop: Workshop) -> None:
    names = [f"node{number}" for number in range(1000)]
    workshop.groups["machines"] += names
    workshop.groups["ollama"] += names
    workshop.groups["compute"] += names
    workshop.hosts |= {name: {"ansible_host": "10.2.0.1", "pantheon_memory_mb": 65536} for name in names}
    start = time.process_time()
    site = workshop.load()
    assert check_site(site) == []
    render_stacks(site, "node500")
    assert time.process_time() - start < 2


# --- the inventories of this repository -------------------------------------------------------------------------------


def variables_of(environment: str) -> dict[str, Any]:
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(REPOSITORY / "inventories" / environment)])
    manager = VariableManager(loader=loader, inventory=inventory)
    host = inventory.get_hosts("machines")[0]
    variables: dict[str, Any] = manager.get_vars(host=host)
    variables["hostvars"] = HostVars(inventory=inventory, variable_manager=manager, loader=loader)
    return variables


@pytest.mark.parametrize("environment", ["homelab", "lab", "single"])
@pytest.mark.parametrize("network", ["overlay", "host"])
def test_each_inventory_can_be_deployed(environment: str, network: str) -> None:
    site = load_site({**variables_of(environment), "pantheon_network": network}, DataLoader())
    assert [str(problem) for problem in check_site(site)] == []
    for machine in site.machines:
        names = [stack["name"] for stack in render_stacks(site, machine)]
        assert names == services_on(site, machine)
    deployed = {name for machine in site.machines for name in services_on(site, machine)}
    assert deployed == set(site.services)
    assert deployed == {
        *("etcd", "postgresql", "postgresql-witness", "postgresql-router", "postgresql-pool"),
        *("redis", "redis-sentinel", "redis-router", "qdrant", "neo4j"),
        *("ollama", "litellm", "open-webui", "edge-proxy"),
    }


def test_the_lab_says_what_stands_in() -> None:
    site = load_site(variables_of("lab"), DataLoader())
    for name, data in site.services.items():
        assert data["image"]["registry"] == "10.77.0.5:5000", name
        assert "stand_in" in data, name
    for environment in ("homelab", "single"):
        site = load_site(variables_of(environment), DataLoader())
        assert not [name for name, data in site.services.items() if "stand_in" in data]


def test_the_lab_fits_its_memory() -> None:
    site = load_site(variables_of("lab"), DataLoader())
    total = sum(
        site.services[name]["resources"]["memory_mb"] for host in site.machines for name in services_on(site, host)
    )
    assert total < 8192


def test_every_file_names_its_schema() -> None:
    for path in (REPOSITORY / "catalog/services").glob("*.yml"):
        lines = path.read_text().splitlines()
        assert lines[:2] == ["---", "# yaml-language-server: $schema=../service.schema.json"], path
        assert yaml.safe_load(path.read_text())["name"] == path.stem


def test_an_error_of_a_plugin_is_its_text() -> None:
    with pytest.raises(SiteError) as caught:
        load_site({"pantheon_network": "x"}, catalog=REPOSITORY / "catalog")
    assert str(caught.value).startswith("The site has 1 problem:\n- group_vars/all: pantheon_network = ")


def test_a_missing_package_is_named(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_catalog_files, "jsonschema", None)
    with pytest.raises(AnsibleError, match="The Python package jsonschema is missing"):
        workshop.load()
