# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that a person and TrueNAS write differently come into one form."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_normalise as normal


@pytest.mark.parametrize(
    ("value", "size"),
    [
        *(("1048576", 2**20), ("1M", 2**20), ("1m", 2**20), ("1MiB", 2**20), ("1 MB", 2**20), (2**20, 2**20)),
        *(
            ("500G", 500 * 2**30),
            ("1.5T", 3 * 2**39),
            (None, 0),
            ("0", 0),
            ("none", 0),
            ("", 0),
            ("9007199254740993", 2**53 + 1),
        ),
    ],
)
def test_sizes(value: Any, size: int) -> None:
    assert normal.size(value) == size


@pytest.mark.parametrize("value", ["1X", "G", "-1", "1,5G", "much"])
def test_a_wrong_size_is_told(value: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        normal.size(value)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *(("recordsize", "1048576", "1M"), ("recordsize", "128k", "128K"), ("recordsize", "512", "512")),
        *(
            ("recordsize", "inherit", "INHERIT"),
            ("quota", "1G", 2**30),
            ("quota", "0", 0),
            ("compression", "lz4", "LZ4"),
        ),
        *(("compression", "False", "OFF"), ("compression", "zstd-19", "ZSTD-19"), ("atime", "False", "OFF")),
        *(
            ("atime", "yes", "ON"),
            ("acltype", "posixacl", "POSIX"),
            ("acltype", "off", "OFF"),
            ("acltype", "nfsv4", "NFSV4"),
        ),
        *(("sync", "always", "ALWAYS"), ("copies", "2", 2), ("comments", "  Mixed Case ", "Mixed Case")),
        *(
            ("special_small_block_size", "16K", 16384),
            ("checksum", "sha256", "SHA256"),
            ("deduplication", False, "OFF"),
        ),
    ],
)
def test_a_property_as_a_person_writes_it(name: str, value: Any, wanted: Any) -> None:
    assert normal.wanted_property(name, value) == wanted


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("recordsize", "3K", "power of two"), ("recordsize", "32M", "power of two"), ("quota", "5M", "less than 1G")),
        *(("compression", "zip", "no compression"), ("compression", "zstd-20", "no compression")),
        *(
            ("atime", "maybe", "neither on nor off"),
            ("acltype", "acl", "not one of"),
            ("copies", "two", "whole number"),
        ),
    ],
)
def test_a_wrong_property_is_told(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normal.wanted_property(name, value)


def entry(parsed: Any, raw: Any, value: Any, source: str = "LOCAL") -> dict[str, Any]:
    return {"parsed": parsed, "rawvalue": raw, "value": value, "source": source, "source_info": None}


@pytest.mark.parametrize(
    ("name", "row", "wanted", "actual"),
    [
        ("recordsize", entry(2**20, "1048576", "1M"), "1M", "1M"),
        ("recordsize", entry(2**17, "131072", "128K", "DEFAULT"), "INHERIT", "INHERIT"),
        ("recordsize", entry(2**17, "131072", "128K"), "INHERIT", "128K"),
        ("quota", entry(None, "0", None), 0, 0),
        ("quota", entry(2**30, "1073741824", "1 GiB"), 2**30, 2**30),
        ("atime", entry(False, "off", "OFF"), "OFF", "OFF"),
        ("atime", entry(True, "on", None), "ON", "ON"),
        ("compression", entry("lz4", "lz4", "lz4"), "LZ4", "LZ4"),
        ("acltype", entry("posixacl", "posixacl", "POSIXACL"), "POSIX", "POSIX"),
        ("comments", entry("Text", "Text", "TEXT"), "Text", "Text"),
        ("comments", None, "", ""),
        ("quota", None, 0, 0),
        ("copies", entry("2", "2", "2"), 2, 2),
        ("sync", None, "ALWAYS", None),
        ("sync", None, "INHERIT", "INHERIT"),
    ],
)
def test_a_property_as_the_nas_tells_it(name: str, row: Any, wanted: Any, actual: Any) -> None:
    assert normal.actual_property(name, {} if row is None else {name: row}, wanted) == actual


def test_a_comment_among_the_user_properties_counts() -> None:
    assert normal.actual_property("comments", {"user_properties": {"comments": entry("A", "A", "A")}}, "A") == "A"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        *(("10.1.2.3/16", "10.1.0.0/16"), ("172.31.77.5/24", "172.31.77.0/24"), ("10.0.0.5", "10.0.0.5/32")),
        *(("fd00::1/64", "fd00::/64"), ("10.0.0.0/255.255.255.0", "10.0.0.0/24")),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert normal.network(text) == network


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "0.0.0.0"])
def test_a_network_for_everybody_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allow_everyone"):
        normal.network(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [("Zelus.Example.LAN.", "zelus.example.lan"), ("*.Example.lan", "*.example.lan"), ("@Admins", "@Admins")],
)
def test_hosts(text: str, host: str) -> None:
    assert normal.host(text) == host


@pytest.mark.parametrize(
    ("networks", "hosts", "message"),
    [
        (["10.0.0.0/8", "10.1.0.0/16"], [], "overlap"),
        (["10.0.0.0/8", "10.0.0.0/8"], [], "10.0.0.0/8 is there twice"),
        ([], ["a", "a"], "a is there twice"),
        (["10.0.0.5/32"], ["10.0.0.5"], "10.0.0.5 is in networks already"),
    ],
)
def test_clients_of_one_share_that_disagree(networks: list[str], hosts: list[str], message: str) -> None:
    assert message in normal.clients(networks, hosts)[0]


def test_a_host_inside_a_wider_network_is_fine() -> None:
    assert normal.clients(["10.0.0.0/24", "fd00::/64"], ["10.0.0.5", "zelus"]) == []


@pytest.mark.parametrize(("value", "mode"), [("0775", "0775"), ("775", "0775"), ("0600", "0600"), ("640", "0640")])
def test_modes(value: str, mode: str) -> None:
    assert normal.mode(value) == mode


@pytest.mark.parametrize("value", ["509", "493", 504, "0000", "2775", "07755", "u=rw", "999"])
def test_a_mode_that_yaml_turned_into_a_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="four octal digits in quotes"):
        normal.mode(value)


@pytest.mark.parametrize(
    ("value", "full"),
    [
        (None, None),
        ({}, "00 * * * * 00:00 23:59"),
        ({"minute": "0", "hour": "03", "dow": "1,05"}, "00 3 * * 1,5 00:00 23:59"),
        ({"minute": "*/15", "begin": "6:30", "end": "22:00:00"}, "*/15 * * * * 06:30 22:00"),
        ({"minute": "05", "hour": "00"}, "05 0 * * * 00:00 23:59"),
        ({"minute": "30", "hour": "10-20/2"}, "30 10-20/2 * * * 00:00 23:59"),
    ],
)
def test_schedules(value: Any, full: str | None) -> None:
    result = normal.schedule(value)
    assert (" ".join(result.values()) if result else None) == full


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        *((None, (None, None)), ("", (None, None)), ("root", ("root", None)), ("root:wheel", ("root", "wheel"))),
        ({"user": "a", "group": "b"}, ("a", "b")),
        ({"user": "a"}, ("a", None)),
    ],
)
def test_accounts(value: Any, pair: tuple[str | None, str | None]) -> None:
    assert normal.account(value) == pair


@pytest.mark.parametrize(("value", "message"), [(":wheel", "needs a user"), ({"name": "x"}, "use user and group")])
def test_a_wrong_account_is_told(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normal.account(value)


@pytest.mark.parametrize(
    ("name", "pool", "full"),
    [
        *(("models", "tank", "tank/models"), ("tank/models", "tank", "tank/models"), ("tank", "tank", "tank")),
        *(("/a/b/", "tank", "tank/a/b"), ("tankard", "tank", "tank/tankard"), ("x/y", "", "x/y")),
    ],
)
def test_names_of_datasets(name: str, pool: str, full: str) -> None:
    assert normal.dataset_name(name, pool) == full


@pytest.mark.parametrize(
    "name",
    [
        "tank",
        "tank/.system",
        "tank/.system/cores",
        "tank/ix-apps",
        "tank/ix-applications/x",
        "tank/.ix-virt",
        "tank/a@b",
    ],
)
def test_what_is_never_touched(name: str) -> None:
    assert normal.forbidden_dataset(name)


def test_what_may_be_touched() -> None:
    assert not normal.forbidden_dataset("tank/models.v2/ix_mine-1")


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ((["10.0.0.0/24"], []), (["10.0.0.128/25"], []), "10.0.0.0/24 and 10.0.0.128/25"),
        (([], ["a", "b"]), ([], ["b"]), "b"),
        ((["10.0.0.0/24"], []), ([], ["10.0.0.5"]), ""),
        (([], []), ([], []), "everybody"),
        ((["fd00::/64"], []), (["10.0.0.0/24"], []), ""),
    ],
)
def test_clients_that_two_shares_have_in_common(first: Any, second: Any, common: str) -> None:
    def frozen(pair: Any) -> Any:
        return frozenset(pair[0]), frozenset(pair[1])

    assert normal.conflict(frozen(first), frozen(second)) == common
