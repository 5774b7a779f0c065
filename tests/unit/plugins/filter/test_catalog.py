# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the collection, on plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.pantheon.ai.plugins.filter.catalog import FilterModule
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import read_catalog

REPOSITORY = Path(__file__).resolve().parents[4]
FILTERS = FilterModule().filters()
GROUPS = {"machines": ["one", "two"], "litellm": ["one", "two"], "edge_proxy": ["two"], "open_webui": ["one"]}
ADDRESSES = {"one": "10.0.0.1", "two": "10.0.0.2"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return read_catalog(REPOSITORY / "catalog", None).services


def test_routes(services: dict[str, Any]) -> None:
    routes = FILTERS["to_routes"](services, GROUPS, ADDRESSES, "example.test")
    assert [route["hosts"] for route in routes] == [["llm.example.test"], ["chat.example.test"]]
    assert [upstream["address"] for upstream in routes[0]["upstreams"]] == ["litellm-one:4000", "litellm-two:4000"]


def test_host_networks(services: dict[str, Any]) -> None:
    routes = FILTERS["to_routes"](services, GROUPS, ADDRESSES, network="host")
    assert [upstream["address"] for upstream in routes[0]["upstreams"]] == ["10.0.0.1:4000", "10.0.0.2:4000"]


def test_dns(services: dict[str, Any]) -> None:
    records = FILTERS["to_dns"](services, GROUPS, ADDRESSES, "example.test")
    assert {"name": "llm.example.test", "address": "10.0.0.2", "service": "litellm"} in records


def test_prometheus_and_databases_and_traefik(services: dict[str, Any]) -> None:
    targets = FILTERS["to_prometheus"](services, GROUPS)
    assert {target["labels"]["job"] for target in targets} == {"litellm", "edge-proxy"}
    assert [entry["name"] for entry in FILTERS["to_databases"](services, GROUPS)] == ["open_webui"]
    traefik = FILTERS["to_traefik"](services, GROUPS, domain="example.test")
    assert traefik["http"]["routers"]["litellm"]["rule"] == "Host(`llm.example.test`)"


@pytest.mark.parametrize("name", sorted(set(FILTERS) - {"layered"}))
def test_wrong_input_is_explained(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"pantheon\.ai\.catalog"):
        FILTERS[name]([], GROUPS)


def test_layered() -> None:
    layers = [
        {"name": "a", "value": 1, "keep": True},
        {"name": "b", "value": 2},
        {"name": "c", "value": 3},
        {"name": "a", "value": 4},
        {"name": "b", "state": "absent"},
        {"name": "c", "value": 5, "state": "ignore"},
    ]
    assert FILTERS["layered"](layers) == [{"name": "a", "value": 4, "keep": True}, {"name": "c", "value": 3}]
    assert layers[0] == {"name": "a", "value": 1, "keep": True}
    with pytest.raises(AnsibleFilterError, match="has no name"):
        FILTERS["layered"]([{"value": 1}])


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_every_filter_is_documented(name: str) -> None:
    document = yaml.safe_load((REPOSITORY / "plugins/filter" / f"{name}.yml").read_text())
    assert document["DOCUMENTATION"]["name"] == name
    assert f"pantheon.ai.{name}" in document["EXAMPLES"] and yaml.safe_load(document["EXAMPLES"])
    assert document["RETURN"]["_value"]["sample"]
