# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Neo4j: its memory, its password and its backup, in production and where something stands in for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import networks_of, secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

Workshop = Any


def files(workshop: Workshop, host: str = "thanatos") -> dict[str, str]:
    (stack,) = render_stacks(workshop.load(), host, only=["neo4j"])
    return {file["path"]: file["content"] for file in stack["files"]}


def environment(workshop: Workshop) -> dict[str, str]:
    lines = files(workshop)[".env"].splitlines()
    return dict(line.partition("=")[::2] for line in lines if not line.startswith("#"))


@pytest.mark.parametrize(
    ("memory", "heap", "pages"), [(2048, "921m", "512m"), (1024, "460m", "256m"), (65536, "29491m", "16384m")]
)
def test_the_memory_of_the_catalog_is_shared(workshop: Workshop, memory: int, heap: str, pages: str) -> None:
    workshop.override("neo4j", {"resources": {"memory_mb": memory}})
    found = environment(workshop)
    assert found["NEO4J_server_memory_heap_initial__size"] == heap
    assert found["NEO4J_server_memory_heap_max__size"] == heap
    assert found["NEO4J_server_memory_pagecache_size"] == pages
    assert (int(heap[:-1]) + int(pages[:-1])) / memory <= 0.7, "Java needs some for itself"


def test_too_little_memory_is_refused_with_a_number(workshop: Workshop) -> None:
    workshop.override("neo4j", {"resources": {"memory_mb": 512}})
    (problem,) = workshop.problems()
    assert "neo4j is given 512 MB of memory: give it 1024 MB or more" in problem.message


def test_a_stand_in_is_no_java_program(workshop: Workshop) -> None:
    workshop.override(
        "neo4j", {"resources": {"memory_mb": 256}, "stand_in": {"kind": "engine", "text": "something else"}}
    )
    assert not [name for name in environment(workshop) if "memory" in name]
    assert workshop.problems() == []


def test_the_password_is_one_secret_and_the_rest_is_as_documented(workshop: Workshop) -> None:
    found = environment(workshop)
    assert found["NEO4J_AUTH"] == "neo4j/@@secret:neo4j_password@@"
    assert found["NEO4J_dbms_usage__report_enabled"] == "false"
    assert not [name for name in found if "PLUGINS" in name or "LICENSE" in name]
    assert secrets_of(workshop.load())["neo4j_password"]["length"] >= 8, "Neo4j takes no shorter one"
    assert all("neo4j_password" not in content for name, content in files(workshop).items() if name != ".env")
    compose = yaml.safe_load(files(workshop)["compose.yml"])["services"]["neo4j"]
    assert compose["image"] == "docker.io/library/neo4j:2026.07.1-community"
    assert compose["healthcheck"]["test"] == ["CMD", "bash", "/usr/local/etc/neo4j/neo4j.sh", "health"]


@pytest.mark.parametrize(("network", "address"), [("overlay", "neo4j:7687"), ("host", "10.1.0.12:7687")])
def test_drivers_are_sent_to_where_others_reach_it(workshop: Workshop, network: str, address: str) -> None:
    workshop.settings["pantheon_network"] = network
    assert environment(workshop)["NEO4J_server_bolt_advertised__address"] == address


def test_a_service_that_requires_it_shares_a_network_with_it(workshop: Workshop) -> None:
    assert networks_of(workshop.load(), "neo4j") == []
    workshop.add("reader", ["nyx"], requires=["neo4j"], environment={"URI": "neo4j://${address:neo4j.bolt}"})
    site = workshop.load()
    assert networks_of(site, "neo4j") == networks_of(site, "reader") == ["pantheon-data"]


def test_the_backup_stops_it_and_needs_no_shell_for_the_dump(workshop: Workshop) -> None:
    backup = workshop.load().services["neo4j"]["backup"]
    assert (backup["kind"], backup["offline"]) == ("command", True)
    for name in ("dump", "load"):
        # As the user of the image, or the server could not open its files afterwards.
        assert backup[name][:3] == ["su-exec", "neo4j:neo4j", "neo4j-admin"]
    assert "--to-stdout" in backup["dump"]
    assert {"--from-stdin", "--overwrite-destination=true"} <= set(backup["load"])
