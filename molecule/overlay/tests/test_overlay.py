# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three machines form one swarm, and containers on its networks reach each other by name."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import testinfra
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]

NETWORKS = {"pantheon-edge": "10.90.0.0/20", "pantheon-ai": "10.90.16.0/20", "pantheon-data": "10.90.32.0/20"}
MACHINES = ("pantheon-test-a", "pantheon-test-b", "pantheon-test-c")
IMAGE = "pantheon-test/tools:1"


def machine(name: str) -> Host:
    return testinfra.get_host(f"docker://{name}")


@pytest.fixture(scope="module")
def containers() -> Iterator[None]:
    """A container per machine on the network of the data services, with an alias of its own."""
    for name in MACHINES:
        machine(name).run(
            f"docker rm -f reach; docker run -d --name reach --network pantheon-data --network-alias on-{name} {IMAGE}"
        )
    yield
    for name in MACHINES:
        machine(name).run("docker rm -f reach")


def anchors(name: str) -> list[str]:
    """Running containers of the anchor on a machine; swarm starts them after the role has gone on."""
    service = "label=com.docker.swarm.service.name=pantheon-anchor"
    names: str = machine(name).check_output(f"docker ps --filter {service} --format '{{{{.Names}}}}'")
    return names.splitlines()


def test_all_three_are_managers_and_one_leads(host: Host) -> None:
    nodes = host.check_output("docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'").splitlines()
    assert sorted(line.split()[0] for line in nodes) == list(MACHINES)
    assert all(line.split()[1] == "Ready" for line in nodes)
    assert sorted(line.split()[2] for line in nodes) == ["Leader", "Reachable", "Reachable"]


@pytest.mark.parametrize("name", NETWORKS)
def test_network_has_its_subnet_and_takes_containers(host: Host, name: str) -> None:
    shown = host.check_output(
        f"docker network inspect {name} --format '{{{{.Driver}}}} {{{{.Attachable}}}} {{{{(index .IPAM.Config 0).Subnet}}}}'"
    )
    assert shown == f"overlay true {NETWORKS[name]}"


@pytest.mark.parametrize("name", MACHINES)
def test_anchor_makes_every_network_known_on_every_machine(name: str) -> None:
    known = machine(name).check_output("docker network ls --filter driver=overlay --format '{{.Name}}'").split()
    assert set(NETWORKS) <= set(known)
    deadline = time.monotonic() + 30
    while not (anchor := anchors(name)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(anchor) == 1


@pytest.mark.parametrize("source", MACHINES)
@pytest.mark.parametrize("target", MACHINES)
def test_container_reaches_another_machine_by_name(containers: None, source: str, target: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        answer = machine(source).run(f"docker exec reach /usr/bin/ping -c 1 -W 2 on-{target}")
        if answer.rc == 0 or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert answer.rc == 0, answer.stdout + answer.stderr
    assert "(10.90." in answer.stdout
