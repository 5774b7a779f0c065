# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What router and NAS should hold follows from catalog and inventory."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._appliances import (
    dhcp_reservations,
    dns_records,
    firewall_aliases,
    mounts_of,
    nas_datasets,
    nas_shares,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError

from .conftest import Workshop


@pytest.fixture
def house(workshop: Workshop) -> Workshop:
    """The site with a router, a NAS and a writer of the library."""
    workshop.groups |= {
        "appliances": ["prometheus", "poseidon"],
        "opnsense": ["prometheus"],
        "truenas": ["poseidon"],
        "model_library": ["thanatos"],
    }
    workshop.hosts |= {"prometheus": {"ansible_host": "10.1.0.1"}, "poseidon": {"ansible_host": "10.1.0.2"}}
    return workshop


def records(house: Workshop) -> dict[tuple[str, str], dict[str, Any]]:
    return {(record["name"], record["type"]): record for record in dns_records(house.load())}


def test_every_machine_appliance_and_service_has_a_name(house: Workshop) -> None:
    found = records(house)
    assert found["erebus.example.test", "A"]["value"] == ["10.1.0.11"]
    assert found["poseidon.example.test", "A"]["value"] == ["10.1.0.2"]
    assert found["chat.example.test", "A"]["value"] == ["10.1.0.17"]  # the edge, not the machine that runs it
    names = {name for name, _kind in found}
    assert {f"{host}.example.test" for host in house.hosts} <= names


def test_only_machines_have_a_way_back_from_their_address(house: Workshop) -> None:
    found = records(house)
    assert found["hephaestus.example.test", "A"]["ptr"] == "true"
    assert found["chat.example.test", "A"]["ptr"] == "false"


def test_a_service_on_two_edges_has_both_addresses_in_one_record(house: Workshop) -> None:
    house.groups["edge"] = house.groups["edge_proxy"] = ["hephaestus", "thanatos"]
    assert records(house)["chat.example.test", "A"]["value"] == ["10.1.0.17", "10.1.0.12"]


def test_an_address_of_the_new_kind_is_another_type(house: Workshop) -> None:
    house.hosts["erebus"]["pantheon_address"] = "fd00::11"
    found = records(house)
    assert found["erebus.example.test", "AAAA"]["value"] == ["fd00::11"]
    assert ("erebus.example.test", "A") not in found


@pytest.mark.parametrize("address", ["erebus.home.arpa", "127.0.0.1"])
def test_what_is_no_address_of_the_network_has_no_record(house: Workshop, address: str) -> None:
    house.hosts["erebus"]["ansible_host"] = address
    assert not [name for name, _kind in records(house) if name.startswith("erebus.")]


def test_reservations_are_for_known_hardware_addresses(house: Workshop) -> None:
    house.hosts["erebus"]["pantheon_mac"] = "52-54-00-AB-CD-EF"
    assert dhcp_reservations(house.load()) == [
        {"mac": "52:54:00:ab:cd:ef", "address": "10.1.0.11", "hostname": "erebus", "domain": "example.test"}
    ]


def test_a_wrong_hardware_address_is_refused(house: Workshop) -> None:
    house.hosts["erebus"]["pantheon_mac"] = "52:54:00"
    with pytest.raises(SiteError, match=r"pantheon_mac = .52:54:00.*52:54:00:12:34:56"):
        dhcp_reservations(house.load())


def test_aliases_of_the_firewall(house: Workshop) -> None:
    aliases = {alias["name"]: alias for alias in firewall_aliases(house.load())}
    assert aliases["pantheon_machines"]["content"] == [f"10.1.0.{number}" for number in range(11, 18)]
    assert aliases["pantheon_edge"]["content"] == ["10.1.0.17"]
    assert aliases["pantheon_nas"]["content"] == ["10.1.0.2"]
    assert aliases["pantheon_edge_ports"] == {
        "name": "pantheon_edge_ports",
        "type": "port",
        "content": ["80", "443"],
        "description": "ports of the edge",
    }
    assert all(len(name) <= 31 for name in aliases)


def test_the_library_has_one_writer_and_the_rest_reads(house: Workshop) -> None:
    site = house.load()
    assert [dataset["name"] for dataset in nas_datasets(site)] == ["models", "shared", "backups"]
    shares = {(share["dataset"], share["read_only"]): share for share in nas_shares(site)}
    assert shares["models", False]["networks"] == ["10.1.0.12"]
    assert "10.1.0.12" not in shares["models", True]["networks"]
    assert len(shares["models", True]["networks"]) == 6
    assert len(shares["shared", False]["networks"]) == 7
    assert len(shares["backups", False]["networks"]) == 7
    assert ("shared", True) not in shares and ("backups", True) not in shares


def test_nobody_is_admitted_by_leaving_the_list_empty(house: Workshop) -> None:
    house.groups["model_library"] = []
    assert all(share["networks"] or share["hosts"] for share in nas_shares(house.load()))


def test_a_machine_known_by_name_is_admitted_by_name(house: Workshop) -> None:
    house.hosts["thanatos"]["ansible_host"] = "thanatos.home.arpa"
    (writer,) = [share for share in nas_shares(house.load()) if share["dataset"] == "models" and not share["read_only"]]
    assert (writer["networks"], writer["hosts"]) == ([], ["thanatos.home.arpa"])


def test_mounts_say_who_may_write(house: Workshop) -> None:
    site = house.load()
    assert mounts_of(site, "erebus") == [
        {"name": "models", "source": "10.1.0.2:/mnt/tank/models", "path": "/models", "read_only": True},
        {"name": "shared", "source": "10.1.0.2:/mnt/tank/shared", "path": "/shared", "read_only": False},
        {"name": "backups", "source": "10.1.0.2:/mnt/tank/backups", "path": "/backups/nas", "read_only": False},
    ]
    assert [mount["read_only"] for mount in mounts_of(site, "thanatos")] == [False, False, False]


def test_without_a_nas_nothing_is_mounted(house: Workshop) -> None:
    del house.groups["truenas"]
    assert mounts_of(house.load(), "erebus") == []


def test_storage_of_the_owner(house: Workshop) -> None:
    house.settings |= {
        "pantheon_pool": "data",
        "pantheon_storage": [{"name": "ai/media", "path": "/media", "writers": ["nyx"], "options": ["noatime"]}],
    }
    site = house.load()
    assert mounts_of(site, "nyx") == [
        {
            "name": "ai-media",
            "source": "10.1.0.2:/mnt/data/ai/media",
            "path": "/media",
            "read_only": False,
            "options": ["noatime"],
        }
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("models", r"pantheon_storage\[0\] = .models.*is not a mapping"),
        ({"name": "m", "path": "models"}, r"pantheon_storage\[0\].path = .models"),
        ({"name": "../m", "path": "/m"}, r"pantheon_storage\[0\].name"),
        ({"name": "m", "path": "/m/../etc"}, r"pantheon_storage\[0\].path"),
        (
            {"name": "m", "path": "/m", "writers": ["hephaistos"]},
            r"writers = .hephaistos.*neither a machine nor a group",
        ),
        ({"name": "m", "path": "/m", "writers": "nyx"}, r"pantheon_storage\[0\].writers.*is not a list"),
        ({"name": "m", "path": "/m", "writer": ["nyx"]}, r"pantheon_storage\[0\].writer .*unknown key"),
    ],
)
def test_faults_of_the_storage_are_named(house: Workshop, entry: Any, words: str) -> None:
    house.settings["pantheon_storage"] = [entry]
    with pytest.raises(SiteError, match=words):
        house.load()
