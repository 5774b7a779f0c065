# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine looks like after the role docker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]

COMPOSE = """\
services:
  probe:
    image: pantheon-test/tools:1
    stop_grace_period: 0s
"""


def running(host: Host) -> str:
    names: str = host.check_output("docker ps --filter label=com.docker.compose.project=probe --format '{{.Names}}'")
    return names


@pytest.fixture
def stack(host: Host) -> Iterator[None]:
    """A stack with its unit."""
    host.check_output("mkdir -p /opt/pantheon/probe")
    host.check_output(f"cat > /opt/pantheon/probe/compose.yml <<'END'\n{COMPOSE}END")
    host.check_output("systemctl enable --now pantheon-stack@probe.service")
    yield
    host.run("systemctl disable --now pantheon-stack@probe.service")
    host.run("cd /opt/pantheon/probe && docker compose down --timeout 0; rm -rf /opt/pantheon/probe")


def test_engine_runs_with_compose_v2(host: Host) -> None:
    docker = host.service("docker")
    assert docker.is_running
    assert docker.is_enabled
    assert host.check_output("docker compose version --short").lstrip("v").startswith("2.")


def test_our_settings_are_in_force_and_the_owners_are_kept(host: Host) -> None:
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["log-opts"]["max-size"] == "5m"
    assert settings["max-concurrent-downloads"] == 4
    assert settings["bip"] == "172.31.255.1/24", "what the image of the machine set has to stay"
    assert settings["insecure-registries"], "what the image of the machine set has to stay"
    assert host.check_output("docker info --format '{{.LoggingDriver}}'") == "json-file"
    assert "172.31.255.1" in host.check_output("ip -4 addr show docker0")


def test_directory_of_the_stacks_is_not_open_to_all(host: Host) -> None:
    root = host.file("/opt/pantheon")
    assert root.is_directory
    assert root.mode == 0o750


def test_unit_starts_a_stack_again_with_the_engine(host: Host, stack: None) -> None:
    assert running(host) == "probe-probe-1"
    # As after the race at boot: the container stayed exited, and the engine comes up.
    host.check_output("docker kill probe-probe-1")
    host.check_output("systemctl restart docker.service")
    deadline = time.monotonic() + 30
    while running(host) == "" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert running(host) == "probe-probe-1"
    assert host.service("pantheon-stack@probe").is_running


def test_stopping_the_unit_leaves_the_containers(host: Host, stack: None) -> None:
    host.check_output("systemctl stop pantheon-stack@probe.service")
    assert running(host) == "probe-probe-1"
