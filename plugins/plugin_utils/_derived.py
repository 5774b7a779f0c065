# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions that a service file may name under ``files: derived`` (private to this collection)."""

from __future__ import annotations

import json
import typing as t

import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._edge import to_traefik_dynamic, to_traefik_static
from ansible_collections.pantheon.ai.plugins.plugin_utils._gateway import gateway_keys, gateway_models
from ansible_collections.pantheon.ai.plugins.plugin_utils._neo4j import neo4j_environment
from ansible_collections.pantheon.ai.plugins.plugin_utils._postgresql import (
    etcd_config,
    haproxy_config,
    patroni_config,
    pgbackrest_config,
    pgbouncer_config,
    pgbouncer_users,
    witness_config,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._qdrant import qdrant_environment
from ansible_collections.pantheon.ai.plugins.plugin_utils._redis import (
    redis_config,
    redis_router,
    redis_topology,
    redis_users,
    sentinel_config,
    sentinel_topology,
    sentinel_users,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

#: What a function returns for a machine: data, or the text of a file that is neither YAML nor JSON.
Content = dict[str, t.Any] | str

DERIVED: dict[str, t.Callable[[Site, str], Content]] = {
    "etcd_config": etcd_config,
    "gateway_keys": lambda site, _host: gateway_keys(site),
    "gateway_models": lambda site, _host: gateway_models(site),
    "haproxy_config": haproxy_config,
    "patroni_config": patroni_config,
    "pgbackrest_config": pgbackrest_config,
    "pgbouncer_config": pgbouncer_config,
    "pgbouncer_users": pgbouncer_users,
    "redis_config": redis_config,
    "redis_router": redis_router,
    "redis_topology": redis_topology,
    "redis_users": redis_users,
    "sentinel_config": sentinel_config,
    "sentinel_topology": sentinel_topology,
    "sentinel_users": sentinel_users,
    "traefik_dynamic": lambda site, _host: to_traefik_dynamic(site),
    "traefik_static": lambda site, _host: to_traefik_static(site),
    "witness_config": witness_config,
}

#: The functions that a service file may name as ``derived_environment``: what a machine's container is told besides.
ENVIRONMENT: dict[str, t.Callable[[Site, str], dict[str, str]]] = {
    "neo4j_environment": neo4j_environment,
    "qdrant_environment": qdrant_environment,
}

HEADER = "# Managed by Pantheon: changes here are overwritten.\n"


class _BaseDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes each value in full: programs other than ours read these files, and not all of them know anchors."""

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def dump(data: t.Any, path: str) -> str:
    """Return *data* as text: JSON or YAML by the suffix of *path*, the same on every run."""
    if path.endswith(".json"):
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    text: str = yaml.dump(
        data, Dumper=_BaseDumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=4096
    )
    return HEADER + text
