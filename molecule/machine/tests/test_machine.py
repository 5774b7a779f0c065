# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine looks like after the role machine: all of its parts in one call."""

from __future__ import annotations

import json

from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-b"]


def test_the_part_of_base(host: Host) -> None:
    assert host.file("/etc/localtime").linked_to == "/usr/share/zoneinfo/Europe/Paris"
    assert host.package("unattended-upgrades").is_installed


def test_the_part_of_docker(host: Host) -> None:
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["log-opts"]["max-size"] == "7m"
    assert host.file("/etc/systemd/system/pantheon-stack@.service").exists
    docker = host.service("docker")
    assert docker.is_running
    assert docker.is_enabled
