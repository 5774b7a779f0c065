# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines look like after the role gpu_nvidia, with replayed cards."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]

PIN = "/etc/apt/preferences.d/pantheon-gpu-nvidia"
BLACKLIST = "/etc/apt/apt.conf.d/53pantheon-gpu-nvidia"


@pytest.fixture
def other(request: pytest.FixtureRequest, host: Host) -> Host:
    """Another machine of the same inventory."""
    inventory = request.config.getoption("ansible_inventory")
    return testinfra.get_host(f"ansible://{request.param}", ansible_inventory=inventory)


def settings(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.file("/etc/docker/daemon.json").content_string)
    return found


def test_docker_knows_the_runtime_and_manages_its_cgroups_itself(host: Host) -> None:
    assert settings(host)["runtimes"]["nvidia"] == {"args": [], "path": "nvidia-container-runtime"}
    assert "nvidia" in json.loads(host.check_output("docker info --format '{{json .Runtimes}}'"))
    assert host.check_output("docker info --format '{{.CgroupDriver}}'") == "cgroupfs"


def test_settings_of_the_owner_are_kept(host: Host) -> None:
    assert settings(host)["bip"] == "172.31.255.1/24", "what the image of the machine set has to stay"


def test_branch_of_the_driver_that_runs_is_kept(host: Host) -> None:
    assert "Pin: version 550.*\n" in host.file(PIN).content_string
    assert host.run("apt-cache policy").rc == 0, "apt can read the pins"


def test_unattended_upgrades_leave_driver_and_toolkit_alone(host: Host) -> None:
    listed = re.findall(
        r'^\S+:: "([^"]+)";$', host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist"), re.MULTILINE
    )
    for package in ("nvidia-kernel-dkms", "libnvidia-ml1", "libcuda1", "nvidia-container-toolkit"):
        assert any(re.match(pattern, package) for pattern in listed if pattern), package


def test_nothing_was_installed_where_everything_works(host: Host) -> None:
    assert not host.file("/etc/apt/sources.list.d/pantheon-gpu-nvidia.sources").exists
    assert not host.package("nvidia-container-toolkit").is_installed


@pytest.mark.parametrize("other", ["pantheon-test-b"], indirect=True)
def test_machine_without_a_card_is_left_alone(other: Host) -> None:
    assert not other.file(PIN).exists
    assert not other.file(BLACKLIST).exists
    assert "nvidia" not in settings(other).get("runtimes", {})


@pytest.mark.parametrize("other", ["pantheon-test-c"], indirect=True)
def test_what_the_role_brought_is_taken_back(other: Host) -> None:
    assert not other.file(PIN).exists
    assert "exec-opts" not in settings(other)
    assert settings(other)["runtimes"] == {"owner": {"path": "/usr/bin/runc"}}
    assert other.service("docker").is_running


@pytest.mark.parametrize("other", ["pantheon-test-c"], indirect=True)
def test_driver_and_toolkit_are_wanted_where_there_is_none(other: Host) -> None:
    wanted = json.loads(other.file("/opt/gpu-replay/wanted.json").content_string)
    packages = [package["name"] for package in wanted["packages"]]
    assert "nvidia-container-toolkit" in packages
    assert "nvidia-kernel-dkms" in packages
    assert "nvidia-driver" not in packages, "nothing draws on a screen"
    files = {file["path"]: file for file in wanted["files"]}
    assert (
        "Components: contrib non-free non-free-firmware\n"
        in (files["/etc/apt/sources.list.d/pantheon-gpu-nvidia.sources"]["content"])
    )
    toolkit = files["/etc/apt/sources.list.d/pantheon-nvidia-container-toolkit.sources"]
    assert "Signed-By: /etc/apt/keyrings/nvidia-container-toolkit.asc" in toolkit["content"]
    assert all(file["early"] for path, file in files.items() if path.endswith(".sources")), "before the packages"
