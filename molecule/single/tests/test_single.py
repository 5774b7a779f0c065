# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole platform on one machine: what the verdict says of it, and what its containers say themselves."""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts" / "inventory"
ADDRESS = "10.78.0.33"
INNER_PORTS = (4000, 5432, 6333, 6379, 7474, 7687, 8080, 11434)
SERVICES = {
    "edge-proxy",
    "etcd",
    "litellm",
    "neo4j",
    "ollama",
    "open-webui",
    "postgresql",
    "postgresql-pool",
    "postgresql-router",
    "postgresql-witness",
    "qdrant",
    "redis",
    "redis-router",
    "redis-sentinel",
}


@pytest.fixture(scope="module")
def verdict() -> dict[str, Any]:
    """What the role verify wrote at the end of the last run of site.yml."""
    content: dict[str, Any] = json.loads((ARTIFACTS / "verdict.json").read_text(encoding="utf-8"))
    return content


def test_the_verdict_is_good(verdict: dict[str, Any]) -> None:
    assert verdict["ok"] is True
    assert [check for check in verdict["checks"] if check["state"] == "failed"] == []


def test_the_verdict_looked_at_everything_that_matters(verdict: dict[str, Any]) -> None:
    """A verdict of skipped checks would be good as well."""
    states = Counter(check["state"] for check in verdict["checks"])
    skipped = {check["name"] for check in verdict["checks"] if check["state"] == "skipped"}
    # Without ssh, verify cannot say whether the machine itself answers.
    assert skipped <= {"machine pantheon"}
    assert states["ok"] >= 20
    names = " ".join(check["name"] for check in verdict["checks"])
    for part in ("TLS chat.", "sign in to Open WebUI", "vectors of lab-embed", "networks of open-webui"):
        assert part in names


@pytest.mark.parametrize(("port", "is_open"), [(80, True), (443, True), *((port, False) for port in INNER_PORTS)])
def test_only_the_edge_answers_from_outside(port: int, is_open: bool) -> None:
    with socket.socket() as client:
        client.settimeout(2)
        assert (client.connect_ex((ADDRESS, port)) == 0) is is_open


def test_the_model_spoke_through_the_whole_chain(verdict: dict[str, Any]) -> None:
    assert verdict["answers"]
    assert all("I am lab-small" in answer for answer in verdict["answers"].values())


def test_exactly_the_services_run_and_are_healthy(host: Host) -> None:
    shown = host.check_output(
        "docker ps --all --filter label=ai.pantheon.service "
        "--format '{{.Label \"ai.pantheon.service\"}} {{.State}} {{.Status}}'"
    )
    found = {line.split()[0]: line for line in shown.splitlines()}
    assert set(found) == SERVICES
    assert [line for line in found.values() if " running " not in line or "(healthy)" not in line] == []


def test_only_the_edge_is_published(host: Host) -> None:
    published = host.check_output("docker ps --format '{{.Label \"ai.pantheon.service\"}} {{.Ports}}'").splitlines()
    assert {line.split()[0] for line in published if "->" in line} == {"edge-proxy"}


def test_the_swarm_has_one_machine(host: Host) -> None:
    assert host.check_output("docker node ls --format '{{.Status}} {{.ManagerStatus}}'") == "Ready Leader"
