# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines look like after the role gpu_rocm, with replayed cards."""

from __future__ import annotations

import json
import re

import pytest
import testinfra
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]

RULES = "/etc/udev/rules.d/70-pantheon-gpu-rocm.rules"


@pytest.fixture
def other(request: pytest.FixtureRequest, host: Host) -> Host:
    """Another machine of the same inventory."""
    inventory = request.config.getoption("ansible_inventory")
    return testinfra.get_host(f"ansible://{request.param}", ansible_inventory=inventory)


def test_groups_own_the_nodes_and_the_account_is_in_them(host: Host) -> None:
    rules = host.file(RULES).content_string
    for node in ("kfd", "renderD*"):
        assert re.search(rf'^KERNEL=="{re.escape(node)}".*GROUP="render", MODE="0660"$', rules, re.MULTILINE)
    assert {"video", "render"} <= set(host.user("games").groups)


def test_limit_of_the_shared_memory_is_in_pages(host: Host) -> None:
    assert "options ttm pages_limit=16777216" in host.file("/etc/modprobe.d/pantheon-gpu-rocm.conf").content_string


def test_unattended_upgrades_leave_the_driver_alone(host: Host) -> None:
    listed = re.findall(
        r'^\S+:: "([^"]+)";$', host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist"), re.MULTILINE
    )
    assert any(re.match(pattern, "amdgpu-dkms") for pattern in listed if pattern)


def test_nothing_was_installed_where_everything_works(host: Host) -> None:
    assert not host.file("/etc/apt/sources.list.d/pantheon-gpu-rocm.sources").exists
    assert not host.package("amdgpu-dkms").is_installed


@pytest.mark.parametrize("other", ["pantheon-test-b"], indirect=True)
def test_machine_without_a_card_has_nothing_and_the_way_back_left_nothing(other: Host) -> None:
    assert not other.file(RULES).exists
    assert not other.file("/etc/apt/apt.conf.d/53pantheon-gpu-rocm").exists


@pytest.mark.parametrize("other", ["pantheon-test-b"], indirect=True)
def test_driver_of_amd_is_wanted_where_there_is_none(other: Host) -> None:
    wanted = json.loads(other.file("/opt/gpu-replay/wanted-rocm.json").content_string)
    assert [package["name"] for package in wanted["packages"]] == ["linux-headers-amd64", "amdgpu-dkms"]
    source = wanted["files"][0]
    assert source["early"] is True
    assert "URIs: https://repo.radeon.com/amdgpu/30.10/ubuntu\nSuites: noble\n" in source["content"]
