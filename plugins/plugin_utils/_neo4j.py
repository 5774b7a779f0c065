# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Neo4j shares the memory of its container (private to this collection)."""

from __future__ import annotations

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import ReferenceFault
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

SERVICE = "neo4j"
#: Of the memory: Java's objects, and the cached pages of the store. The rest is for Java itself, threads and buffers.
HEAP_PERCENT = 45
PAGES_PERCENT = 25
#: Below this Neo4j starts, and ends with the first larger question.
LEAST_MB = 1024


def neo4j_environment(site: Site, host: str) -> dict[str, str]:
    """Return the memory settings of Neo4j on *host*, of what its container is given.

    Raises :class:`ReferenceFault` where that is too little. A stand-in is no Java program and gets none.
    """
    data = site.services[SERVICE]
    if "stand_in" in data:
        return {}
    memory = int(data["resources"]["memory_mb"])
    if memory < LEAST_MB:
        raise ReferenceFault(
            f"{SERVICE} is given {memory} MB of memory: give it {LEAST_MB} MB or more in resources.memory_mb"
        )
    heap = f"{memory * HEAP_PERCENT // 100}m"
    return {
        "NEO4J_server_memory_heap_initial__size": heap,
        "NEO4J_server_memory_heap_max__size": heap,
        "NEO4J_server_memory_pagecache_size": f"{memory * PAGES_PERCENT // 100}m",
    }
