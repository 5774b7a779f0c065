# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes, names and scrape targets; the edge's configuration from the same route table (private to this collection)."""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import EDGE_SERVICE, address_of, placed
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

TLS_CERTIFICATE = "/etc/edge/tls/edge.crt"
TLS_KEY = "/etc/edge/tls/edge.key"
TRAEFIK_DYNAMIC = "/etc/traefik/dynamic.yml"

#: A model may think for minutes before its first token; only a connection that cannot be made fails quickly.
DIAL_SECONDS = 5
HEALTH_INTERVAL_SECONDS = 10
HEALTH_TIMEOUT_SECONDS = 5
HSTS_SECONDS = 31536000
#: Until the next check notices a dead instance, a request that no instance has seen yet goes to the next one.
RETRY_ATTEMPTS = 3


class Upstream(t.TypedDict):
    """One instance behind a route."""

    machine: str
    address: str


class Route(t.TypedDict):
    """One row of the route table: public names, and the instances behind them."""

    name: str
    service: str
    hosts: list[str]
    auth: str
    sticky: bool
    health_path: str | None
    upstreams: list[Upstream]


def to_routes(site: Site) -> list[Route]:
    """Return the route table: a row for each routed service that runs somewhere, by name."""
    routes = []
    for service, data in sorted(site.services.items()):
        route = data.get("route")
        hosts = placed(site, service)
        if not route or not hosts:
            continue
        labels = [route["host"], *data.get("dns", {}).get("aliases", [])]
        http = data["health"].get("http")
        # The check must ask the port that the route uses; another endpoint's health proves nothing about it.
        health_path = http["path"] if http and http["endpoint"] == route["endpoint"] else None
        routes.append(
            Route(
                name=service,
                service=service,
                hosts=[f"{label}.{site.settings.domain}" for label in labels],
                auth=route["auth"],
                sticky=route["sticky"],
                health_path=health_path,
                upstreams=[
                    Upstream(machine=host, address=address_of(site, service, route["endpoint"], host)) for host in hosts
                ],
            )
        )
    return routes


def to_dns(site: Site) -> list[dict[str, str]]:
    """Return a record (name, address, service) per name: a routed one leads to the edge, any other to its machines."""
    edge = placed(site, EDGE_SERVICE) if EDGE_SERVICE in site.services else []
    records = []
    for service, data in sorted(site.services.items()):
        hosts = placed(site, service)
        labels = list(data.get("dns", {}).get("aliases", []))
        if "route" in data:
            labels.insert(0, data["route"]["host"])
        targets = (edge if "route" in data else hosts) if hosts else []
        records += [
            {
                "name": f"{label}.{site.settings.domain}",
                "address": site.machines[target].address,
                "service": service,
            }
            for label in labels
            for target in targets
        ]
    return records


def to_prometheus(site: Site) -> list[dict[str, t.Any]]:
    """Return the scrape targets in the form of Prometheus' file_sd: one group per instance."""
    targets = []
    for service, data in sorted(site.services.items()):
        metrics = data.get("metrics")
        if not metrics:
            continue
        for host in placed(site, service):
            targets.append(
                {
                    "targets": [address_of(site, service, metrics["endpoint"], host)],
                    "labels": {
                        "__metrics_path__": metrics["path"],
                        "__scrape_interval__": f"{metrics['interval_seconds']}s",
                        "instance": host,
                        "job": service,
                        "tier": data["tier"],
                    },
                }
            )
    return targets


def to_traefik_static(site: Site) -> dict[str, t.Any]:
    """Return Traefik's static configuration: entry points, file provider, health and metrics."""
    ports = {name: endpoint["port"] for name, endpoint in site.services[EDGE_SERVICE]["endpoints"].items()}
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "INFO", "format": "json"},
        "accessLog": {
            "format": "json",
            # Keys and cookies travel in headers.
            "fields": {"headers": {"defaultMode": "drop"}},
        },
        "ping": {"entryPoint": "ping"},
        "metrics": {"prometheus": {"entryPoint": "metrics", "addRoutersLabels": True}},
        "entryPoints": {
            "web": {
                "address": f":{ports['http']}",
                "http": {"redirections": {"entryPoint": {"to": "websecure", "scheme": "https", "permanent": True}}},
            },
            "websecure": {
                "address": f":{ports['https']}",
                # No limit on reading either: a document for RAG may take minutes to upload.
                "transport": {"respondingTimeouts": {"readTimeout": "0s", "writeTimeout": "0s", "idleTimeout": "180s"}},
            },
            "ping": {"address": f":{ports['ping']}"},
            "metrics": {"address": f":{ports['metrics']}"},
        },
        "serversTransport": {
            "forwardingTimeouts": {
                "dialTimeout": f"{DIAL_SECONDS}s",
                "responseHeaderTimeout": "0s",
                "idleConnTimeout": "90s",
            }
        },
        "providers": {"file": {"filename": TRAEFIK_DYNAMIC, "watch": False}},
    }


def to_traefik_dynamic(site: Site) -> dict[str, t.Any]:
    """Return Traefik's dynamic configuration: a router and a balanced service per route, headers, certificate."""
    routers: dict[str, t.Any] = {}
    services: dict[str, t.Any] = {}
    for route in to_routes(site):
        name = route["name"]
        routers[name] = {
            "rule": " || ".join(f"Host(`{host}`)" for host in route["hosts"]),
            "entryPoints": ["websecure"],
            "middlewares": ["security-headers", "retry"],
            "service": name,
            "tls": {},
        }
        balancer: dict[str, t.Any] = {
            "servers": [{"url": f"http://{upstream['address']}"} for upstream in route["upstreams"]],
            "passHostHeader": True,
            "responseForwarding": {"flushInterval": "10ms"},
        }
        if route["health_path"]:
            balancer["healthCheck"] = {
                "path": route["health_path"],
                "interval": f"{HEALTH_INTERVAL_SECONDS}s",
                "timeout": f"{HEALTH_TIMEOUT_SECONDS}s",
            }
        if route["sticky"]:
            balancer["sticky"] = {
                "cookie": {"name": f"pantheon_{name}", "secure": True, "httpOnly": True, "sameSite": "lax"}
            }
        services[name] = {"loadBalancer": balancer}
    return {
        "http": {
            "routers": routers,
            "services": services,
            "middlewares": {
                "retry": {"retry": {"attempts": RETRY_ATTEMPTS, "initialInterval": "100ms"}},
                "security-headers": {
                    "headers": {
                        "stsSeconds": HSTS_SECONDS,
                        "stsIncludeSubdomains": True,
                        "contentTypeNosniff": True,
                        "referrerPolicy": "strict-origin-when-cross-origin",
                    }
                },
            },
        },
        "tls": {
            "certificates": [{"certFile": TLS_CERTIFICATE, "keyFile": TLS_KEY}],
            "stores": {"default": {"defaultCertificate": {"certFile": TLS_CERTIFICATE, "keyFile": TLS_KEY}}},
            "options": {"default": {"minVersion": "VersionTLS12"}},
        },
    }
