# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from typing import Any

import pytest

from lab.driver.preflight import Computer, check_computer, check_networks, check_routes, missing_packages, parse_routes

GOOD = Computer(
    system="Linux",
    root=True,
    apt=True,
    commands=frozenset({"docker", "ssh", "ssh-keygen"}),
    venv_module=True,
    engine_answers=True,
    lab_exists=False,
    disk_path="/var/lib/docker",
    disk_free=50 * 10**9,
    memory=16 * 10**9,
    inotify_instances=1024,
    routes=(),
)


def problems_of(**changes: Any) -> list[str]:
    return [str(problem) for problem in check_computer(dataclasses.replace(GOOD, **changes))]


def test_a_good_computer_has_no_problem() -> None:
    assert problems_of() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"disk_free": 12_340_000_000},
            (
                "12.3 GB are free in /var/lib/docker and the lab needs 20 GB. "
                "Free some space (`docker system df` shows what Docker holds), or use --force."
            ),
        ),
        (
            {"memory": 4_100_000_000},
            "This computer has 4.1 GB of memory and the lab needs 8 GB. Use a larger one, or --force to try.",
        ),
        (
            {"root": False, "commands": frozenset({"ssh", "ssh-keygen"}), "engine_answers": False},
            "The lab must set up docker.io, a running Docker engine and you are not root. Run `sudo make lab`.",
        ),
        (
            {"root": False, "inotify_instances": 128},
            "The lab must set up a higher fs.inotify.max_user_instances and you are not root. Run `sudo make lab`.",
        ),
        (
            {"apt": False, "venv_module": False},
            "Programs are missing (python3-venv) and there is no apt-get. Install them.",
        ),
        (
            {"system": "Darwin"},
            "The lab needs Linux, and this is Darwin. Run it in a Debian or Ubuntu virtual machine.",
        ),
        (
            {"routes": (("eth1", IPv4Network("10.77.0.0/16")),)},
            (
                "The lab's network 10.77.0.0/24 overlaps 10.77.0.0/16 on the interface eth1. "
                "Take eth1 down while you use the lab."
            ),
        ),
        (
            {"routes": (("plab0", IPv4Network("10.77.0.0/24")),)},
            "A network interface plab0 exists that the lab did not make. Remove it: ip link delete plab0",
        ),
    ],
)
def test_each_problem_is_a_sentence_with_a_remedy(changes: dict[str, Any], sentence: str) -> None:
    assert problems_of(**changes) == [sentence]


def test_all_problems_come_at_once() -> None:
    assert len(problems_of(disk_free=10**9, memory=10**9, root=False, engine_answers=False)) == 3


def test_what_the_lab_itself_uses_is_not_held_against_it() -> None:
    lab_is_up = {"lab_exists": True, "disk_free": 8 * 10**9, "routes": (("plab0", IPv4Network("10.77.0.0/24")),)}
    assert problems_of(**lab_is_up) == []


def test_a_computer_sold_with_eight_gigabytes_is_enough() -> None:
    assert problems_of(memory=int(7.6 * 10**9)) == []


def test_no_root_is_needed_where_nothing_must_be_set_up() -> None:
    assert problems_of(root=False) == []


def test_docker_is_installed_only_where_there_is_none() -> None:
    assert missing_packages(GOOD) == []
    bare = dataclasses.replace(GOOD, commands=frozenset(), venv_module=False)
    assert missing_packages(bare) == ["docker.io", "openssh-client", "python3-venv"]


def test_routes_are_read_from_the_kernels_table() -> None:
    table = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
    )
    assert parse_routes(table) == (("eth0", IPv4Network("192.168.0.0/24")), ("tun0", IPv4Network("10.0.0.0/8")))


def test_a_wide_route_of_a_vpn_is_no_problem() -> None:
    assert check_routes([("tun0", IPv4Network("10.0.0.0/8"))], lab_exists=False) == []


def network(name: str, subnet: str, **more: Any) -> dict[str, Any]:
    return {"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}, "Labels": {}, "Options": {}, **more}


def test_networks_of_others_are_named_and_ours_is_not() -> None:
    ours = network("pantheon-lab", "10.77.0.0/24", Labels={"ai.pantheon.lab": "true"})
    others = [
        network("bridge", "172.17.0.0/16"),
        network("v6", "fd00::/64"),
        network("host", "", IPAM={"Config": None}),
    ]
    assert check_networks([ours, *others]) == []


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (network("home", "10.77.0.128/25"), "The Docker network home uses 10.77.0.128/25, the lab's addresses."),
        (
            network("pantheon-lab", "172.30.0.0/16"),
            "The Docker network pantheon-lab has the name of the lab's and is not the lab's.",
        ),
        (
            network("x", "172.30.0.0/16", Options={"com.docker.network.bridge.name": "plab0"}),
            "The Docker network x has the name of the lab's and is not the lab's.",
        ),
    ],
)
def test_a_network_in_the_way_is_a_problem(other: dict[str, Any], sentence: str) -> None:
    (problem,) = check_networks([other])
    assert problem.what == sentence
    assert problem.remedy == f"Remove it if nobody needs it: docker network rm {other['Name']}"
