# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Qdrant: alone, and as a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

Workshop = Any

MEMBERS = ["erebus", "thanatos", "hephaestus"]
PEERS = {"endpoints": {"peers": {"port": 6335, "protocol": "grpc"}}}


def environment(workshop: Workshop, host: str) -> dict[str, str]:
    """Return the .env of Qdrant on a machine."""
    (stack,) = render_stacks(workshop.load(), host, only=["qdrant"])
    (text,) = (file["content"] for file in stack["files"] if file["path"] == ".env")
    return dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))


def cluster(workshop: Workshop, network: str = "host") -> None:
    workshop.groups["qdrant"] = list(MEMBERS)
    workshop.settings["pantheon_network"] = network
    workshop.override("qdrant", PEERS)


def test_one_machine_is_no_cluster(workshop: Workshop) -> None:
    found = environment(workshop, "erebus")
    assert not {"QDRANT__CLUSTER__ENABLED", "QDRANT_URI", "QDRANT_BOOTSTRAP"} & set(found)
    assert found["QDRANT__TELEMETRY_DISABLED"] == "true"
    assert found["QDRANT__SERVICE__API_KEY"] == "@@secret:qdrant_api_key@@"
    assert found["QDRANT__SERVICE__READ_ONLY_API_KEY"] == "@@secret:qdrant_read_only_key@@"
    assert found["QDRANT__STORAGE__SNAPSHOTS_PATH"].startswith("/qdrant/storage/")


def test_three_machines_are_a_cluster_that_the_first_begins(workshop: Workshop) -> None:
    cluster(workshop)
    assert workshop.problems() == []
    first, second = environment(workshop, "erebus"), environment(workshop, "thanatos")
    for found in (first, second, environment(workshop, "hephaestus")):
        assert found["QDRANT__CLUSTER__ENABLED"] == "true"
        assert found["QDRANT__CLUSTER__P2P__PORT"] == "6335"
        assert found["QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR"] == "2"
    assert first["QDRANT_URI"] == second["QDRANT_BOOTSTRAP"] == "http://10.1.0.11:6335"
    assert second["QDRANT_URI"] == "http://10.1.0.12:6335"
    assert "QDRANT_BOOTSTRAP" not in first


def test_on_overlay_networks_members_have_names(workshop: Workshop) -> None:
    cluster(workshop, "overlay")
    workshop.add("reader", ["nyx"], requires=["qdrant"])
    assert workshop.problems() == []
    found = environment(workshop, "hephaestus")
    assert found["QDRANT_URI"] == "http://qdrant-hephaestus:6335"
    assert found["QDRANT_BOOTSTRAP"] == "http://qdrant-erebus:6335"


@pytest.mark.parametrize(
    ("network", "members", "override", "said"),
    [
        ("host", MEMBERS[:2], PEERS, "2 machines, which cannot agree when one is gone"),
        ("host", MEMBERS, {}, "add endpoints: {peers: {port: 6335, protocol: grpc}}"),
        ("overlay", MEMBERS, PEERS, "they share no network as long as no service requires qdrant"),
    ],
)
def test_a_cluster_that_cannot_work_is_a_problem(
    workshop: Workshop, network: str, members: list[str], override: dict[str, Any], said: str
) -> None:
    cluster(workshop, network)
    workshop.groups["qdrant"] = members
    workshop.override("qdrant", override)
    (problem,) = workshop.problems()
    assert (problem.field, said in str(problem)) == ("derived_environment", True)
    with pytest.raises(SiteError, match="qdrant runs on"):
        render_stacks(workshop.load(), "erebus", only=["qdrant"])


def test_a_function_that_does_not_exist_is_a_problem(workshop: Workshop) -> None:
    workshop.add("tool", ["nyx"], derived_environment="nonsense")
    (problem,) = workshop.problems()
    assert "qdrant_environment" in problem.remedy
