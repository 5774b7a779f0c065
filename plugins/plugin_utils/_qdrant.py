# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Qdrant as a cluster (private to this collection)."""

from __future__ import annotations

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    ReferenceFault,
    address_of,
    networks_of,
    placed,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

SERVICE = "qdrant"
#: The endpoint at which the members of a cluster talk to each other; only an inventory with a cluster has it.
PEERS = "peers"
#: Fewer could not agree when one of them is gone.
FEWEST = 3
#: Each part of a new collection is on so many machines.
REPLICAS = 2


def qdrant_environment(site: Site, host: str) -> dict[str, str]:
    """Return what Qdrant on *host* is told about a cluster: nothing where it is alone.

    The first machine of the group begins the cluster, the others ask it for the way in. Once they are members they know
    each other from their own storage, and a first machine that comes back does not begin anew.
    Raises :class:`ReferenceFault` where the inventory asks for a cluster that cannot work.
    """
    members = placed(site, SERVICE)
    if len(members) < 2:
        return {}
    if len(members) < FEWEST:
        raise ReferenceFault(
            f"{SERVICE} runs on {len(members)} machines, which cannot agree when one is gone: put one machine into its group, "
            f"or {FEWEST}"
        )
    endpoint = site.services[SERVICE]["endpoints"].get(PEERS)
    if endpoint is None:
        raise ReferenceFault(
            f"{SERVICE} runs on {len(members)} machines, and its members have no port to talk on: add endpoints: "
            f"{{{PEERS}: {{port: 6335, protocol: grpc}}}} to the override of {SERVICE}"
        )
    if site.settings.network == "overlay" and not networks_of(site, SERVICE):
        raise ReferenceFault(
            f"{SERVICE} runs on {len(members)} machines, and they share no network as long as no service requires {SERVICE}: "
            "put one machine into its group, or let a service require it"
        )
    uris = {member: f"http://{address_of(site, SERVICE, PEERS, member)}" for member in members}
    result = {
        "QDRANT__CLUSTER__ENABLED": "true",
        "QDRANT__CLUSTER__P2P__PORT": str(endpoint["port"]),
        "QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR": str(REPLICAS),
        "QDRANT_URI": uris[host],
    }
    if host != members[0]:
        result["QDRANT_BOOTSTRAP"] = uris[members[0]]
    return result
