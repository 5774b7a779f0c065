# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge: one route table, and Traefik's two files from it; every name in them resolves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    to_routes,
    to_traefik_dynamic,
    to_traefik_static,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

SCHEMAS = Path(__file__).resolve().parents[3] / "catalog" / "schemas"
Workshop = Any


def faults(schema: str, data: dict[str, Any]) -> list[str]:
    definition = json.loads((SCHEMAS / f"traefik-{schema}.schema.json").read_text())
    Draft202012Validator.check_schema(definition)
    return [error.message for error in Draft202012Validator(definition).iter_errors(data)]


def unresolved(static: dict[str, Any], dynamic: dict[str, Any]) -> list[str]:
    """Return what is named in the configuration and does not exist."""
    http, points = dynamic["http"], static["entryPoints"]
    missing = [static[key]["entryPoint"] for key in ("ping",) if static[key]["entryPoint"] not in points]
    missing += [entry for entry in [static["metrics"]["prometheus"]["entryPoint"]] if entry not in points]
    for point in points.values():
        target = point.get("http", {}).get("redirections", {}).get("entryPoint", {}).get("to")
        missing += [target] if target and target not in points else []
    for router in http["routers"].values():
        missing += [name for name in router["entryPoints"] if name not in points]
        missing += [name for name in router["middlewares"] if name not in http["middlewares"]]
        missing += [router["service"]] if router["service"] not in http["services"] else []
    return missing


def test_routes(site: Site) -> None:
    assert to_routes(site) == [
        {
            "name": "litellm",
            "service": "litellm",
            "hosts": ["llm.example.test"],
            "auth": "app",
            "sticky": False,
            "health_path": "/health/liveliness",
            "upstreams": [
                {"machine": "orpheus", "address": "litellm-orpheus:4000"},
                {"machine": "kratos", "address": "litellm-kratos:4000"},
            ],
        },
        {
            "name": "open-webui",
            "service": "open-webui",
            "hosts": ["chat.example.test"],
            "auth": "app",
            "sticky": True,
            "health_path": "/health",
            "upstreams": [{"machine": "orpheus", "address": "open-webui-orpheus:8080"}],
        },
    ]


def test_health_of_another_endpoint_proves_nothing_about_the_route(workshop: Workshop) -> None:
    workshop.override(
        "litellm",
        {
            "endpoints": {"admin": {"port": 4001}},
            "health": {"http": {"endpoint": "admin", "path": "/"}},
            "dns": {"aliases": ["gateway"]},
        },
    )
    route = to_routes(workshop.load())[0]
    assert route["health_path"] is None
    assert route["hosts"] == ["llm.example.test", "gateway.example.test"]
    dynamic = to_traefik_dynamic(workshop.load())
    assert dynamic["http"]["routers"]["litellm"]["rule"] == "Host(`llm.example.test`) || Host(`gateway.example.test`)"
    assert "healthCheck" not in dynamic["http"]["services"]["litellm"]["loadBalancer"]
    assert faults("dynamic", dynamic) == []


@pytest.mark.parametrize("network", ["overlay", "host"])
def test_traefik_is_valid_and_every_name_resolves(workshop: Workshop, network: str) -> None:
    workshop.settings["pantheon_network"] = network
    site = workshop.load()
    static, dynamic = to_traefik_static(site), to_traefik_dynamic(site)
    assert faults("static", static) == []
    assert faults("dynamic", dynamic) == []
    assert unresolved(static, dynamic) == []


def test_the_resolver_and_the_schemas_find_planted_faults(site: Site) -> None:
    static, dynamic = to_traefik_static(site), to_traefik_dynamic(site)
    router = dynamic["http"]["routers"]["litellm"]
    router.update(service="gone", middlewares=["lost"], entryPoints=["nowhere"])
    static["ping"] = {"entryPoint": "nowhere"}
    assert unresolved(static, dynamic) == ["nowhere", "nowhere", "lost", "gone"]
    router["prioritty"] = 1
    assert faults("dynamic", dynamic) == ["Additional properties are not allowed ('prioritty' was unexpected)"]
    static["entryPoints"]["web"]["addrs"] = ":80"
    assert faults("static", static) == ["Additional properties are not allowed ('addrs' was unexpected)"]


def test_what_traefik_is_told(site: Site) -> None:
    static, dynamic = to_traefik_static(site), to_traefik_dynamic(site)
    assert static["entryPoints"]["web"]["http"]["redirections"]["entryPoint"] == {
        "to": "websecure",
        "scheme": "https",
        "permanent": True,
    }
    balancer = dynamic["http"]["services"]["litellm"]["loadBalancer"]
    assert balancer["servers"] == [{"url": "http://litellm-orpheus:4000"}, {"url": "http://litellm-kratos:4000"}]
    assert balancer["healthCheck"]["path"] == "/health/liveliness"
    assert "sticky" not in balancer
    assert dynamic["http"]["services"]["open-webui"]["loadBalancer"]["sticky"]["cookie"]["secure"] is True
    assert dynamic["http"]["middlewares"]["security-headers"]["headers"]["stsSeconds"] >= 31536000
    # Without status codes it retries only what no instance has received, so a POST is never sent twice.
    assert dynamic["http"]["middlewares"]["retry"]["retry"].keys() == {"attempts", "initialInterval"}
    assert all("retry" in router["middlewares"] for router in dynamic["http"]["routers"].values())
    timeouts = static["entryPoints"]["websecure"]["transport"]["respondingTimeouts"]
    assert (timeouts["readTimeout"], timeouts["writeTimeout"]) == ("0s", "0s"), "streams have no limit"


def test_the_files_of_the_edge_are_where_its_configuration_looks(site: Site) -> None:
    paths = {entry["path"] for entry in site.services["edge-proxy"]["files"]}
    certificate = to_traefik_dynamic(site)["tls"]["certificates"][0]
    assert {certificate["certFile"], certificate["keyFile"]} <= paths
    assert to_traefik_static(site)["providers"]["file"]["filename"] in paths
