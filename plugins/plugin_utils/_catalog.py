# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The derivations, all pure functions of a Site: the one module that others import (private to this collection)."""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_compose import (
    dump_env,
    encrypted_volume,
    encrypted_volumes,
    image_of,
    named_volumes,
    project_of,
    quote_env,
    storage_paths,
    to_compose,
    to_env,
    to_override,
    volume_name,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    EDGE_SERVICE,
    GATEWAY_SERVICE,
    NETWORK_PREFIX,
    OLLAMA_SERVICE,
    SECRET_PATTERN,
    SEGMENTS,
    TIERS,
    ReferenceFault,
    address_of,
    container_addresses,
    models_of,
    networks_of,
    placed,
    published_port,
    resolve,
    secret_values,
    secrets_of,
    services_on,
    settings_of,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._checks import check_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._edge import (
    Route,
    Upstream,
    to_dns,
    to_prometheus,
    to_routes,
    to_traefik_dynamic,
    to_traefik_static,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._gateway import gateway_keys, gateway_models
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

__all__ = [
    "EDGE_SERVICE",
    "GATEWAY_SERVICE",
    "NETWORK_PREFIX",
    "OLLAMA_SERVICE",
    "SECRET_PATTERN",
    "SEGMENTS",
    "TIERS",
    "ReferenceFault",
    "Route",
    "Upstream",
    "address_of",
    "check_site",
    "container_addresses",
    "dump_env",
    "encrypted_volume",
    "encrypted_volumes",
    "gateway_keys",
    "gateway_models",
    "image_of",
    "models_of",
    "named_volumes",
    "networks_of",
    "placed",
    "project_of",
    "published_port",
    "quote_env",
    "resolve",
    "secret_values",
    "secrets_of",
    "services_on",
    "settings_of",
    "storage_paths",
    "to_compose",
    "to_databases",
    "to_dns",
    "to_env",
    "to_override",
    "to_prometheus",
    "to_routes",
    "to_traefik_dynamic",
    "to_traefik_static",
    "volume_name",
]


def to_databases(site: Site, service: str = "postgresql") -> list[dict[str, t.Any]]:
    """Return the databases that the placed services want in *service*: name, user, secret, extensions."""
    return [
        {
            "name": entry["name"],
            "user": entry["user"],
            "secret": entry["secret"],
            "extensions": list(entry["extensions"]),
        }
        for name, data in sorted(site.services.items())
        if placed(site, name)
        for entry in data["databases"]
        if entry["service"] == service
    ]
