# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: the derivations on plain data, for playbooks that have a catalog of their own; see the .yml beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.pantheon.ai.plugins.plugin_utils import _catalog as catalog
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Machine, Settings, Site, plain


def _site(
    services: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    addresses: Mapping[str, str] | None,
    domain: str,
    network: str,
) -> Site:
    if not isinstance(services, Mapping) or not isinstance(groups, Mapping):
        raise AnsibleFilterError(
            "Give the services as the lookup pantheon.ai.catalog returns them ('services'), and the variable groups."
        )
    known = {str(group): [str(host) for host in hosts] for group, hosts in groups.items()}
    hosts = known.get("machines") or known.get("all", [])
    wanted = plain(addresses or {})
    return Site(
        services=plain(services),
        groups=known,
        machines={host: Machine(host, wanted.get(host, host), None, "none") for host in hosts},
        settings=Settings(
            domain=str(domain),
            network=str(network),
            root="/opt/pantheon",
            timezone="Etc/UTC",
            admin_email="",
            images={},
            models=[],
            environment="",
        ),
    )


def _filter(derive: Callable[[Site], Any]) -> Callable[..., Any]:
    def call(
        services: Mapping[str, Any],
        groups: Mapping[str, Sequence[str]],
        addresses: Mapping[str, str] | None = None,
        domain: str = "pantheon.home.arpa",
        network: str = "overlay",
    ) -> Any:
        return derive(_site(services, groups, addresses, domain, network))

    return call


def layered(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries with later ones merged over earlier ones by name, without the absent ones."""
    merged: dict[str, dict[str, Any]] = {}
    for entry in plain(list(entries)):
        if not isinstance(entry, dict) or "name" not in entry:
            raise AnsibleFilterError(f"pantheon.ai.layered: {entry!r} has no name. Write mappings with a name.")
        if entry.get("state") != "ignore":
            merged[entry["name"]] = merged.get(entry["name"], {}) | entry
    return [entry for entry in merged.values() if entry.get("state", "present") == "present"]


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "layered": layered,
            "to_databases": _filter(catalog.to_databases),
            "to_dns": _filter(catalog.to_dns),
            "to_prometheus": _filter(catalog.to_prometheus),
            "to_routes": _filter(catalog.to_routes),
            "to_traefik": _filter(catalog.to_traefik_dynamic),
        }
