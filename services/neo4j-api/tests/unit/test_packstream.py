# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encoding of Bolt's messages."""

from __future__ import annotations

from typing import Any

import pytest

from pantheon_neo4j_api.errors import ProtocolError
from pantheon_neo4j_api.packstream import Structure, pack, parameter, unpack
from pantheon_neo4j_api.values import Date, LocalDateTime, LocalTime, Node, Path, Point, Relationship

NEW = (5, 4)
OLD = (4, 4)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, "c0"),
        (True, "c3"),
        (False, "c2"),
        (1, "01"),
        (-16, "f0"),
        (-17, "c8ef"),
        (127, "7f"),
        (128, "c90080"),
        (-128, "c880"),
        (-129, "c9ff7f"),
        (40000, "ca00009c40"),
        (2**31, "cb0000000080000000"),
        (-(2**63), "cb8000000000000000"),
        (1.1, "c13ff199999999999a"),
        ("", "80"),
        ("a", "8161"),
        ("ä", "82c3a4"),
        ("x" * 16, "d010" + "78" * 16),
        (b"\x01\x02", "cc020102"),
        ([1, "a"], "92018161"),
        ({"a": 1}, "a1816101"),
    ],
)
def test_known_encodings(value: Any, encoded: str) -> None:
    assert pack(value, NEW).hex() == encoded
    assert unpack(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("length", [15, 16, 255, 256, 65535, 65536])
def test_lengths(length: int) -> None:
    for value in ("x" * length, [1] * length, {str(number): number for number in range(length)}, b"x" * length):
        assert unpack(pack(value, NEW)) == value


def test_nodes_and_relationships_have_element_ids_since_5_0() -> None:
    node = Node(7, ["A"], {"n": 1})
    assert unpack(pack(node, OLD)) == Structure(0x4E, [7, ["A"], {"n": 1}])
    assert unpack(pack(node, NEW)) == Structure(0x4E, [7, ["A"], {"n": 1}, "7"])
    relationship = Relationship(3, "R", 1, 2, {})
    assert unpack(pack(relationship, OLD)) == Structure(0x52, [3, 1, 2, "R", {}])
    assert unpack(pack(relationship, NEW)) == Structure(0x52, [3, 1, 2, "R", {}, "3", "1", "2"])


def test_a_path_that_walks_backwards_and_comes_by_twice() -> None:
    one, two = Node(10, [], {}), Node(20, [], {})
    there = Relationship(5, "R", 10, 20, {})
    encoded = unpack(pack(Path([one, two, one], [there, there]), NEW))
    assert encoded.tag == 0x50
    nodes, relationships, steps = encoded.fields
    assert [node.fields[0] for node in nodes] == [10, 20]
    assert relationships == [Structure(0x72, [5, "R", {}, "5"])]
    assert steps == [1, 1, -1, 0]


@pytest.mark.parametrize(
    ("value", "tag", "fields"),
    [
        (Point(2.0, 1.0), 0x58, [4326, 2.0, 1.0]),
        (Date(-1), 0x44, [-1]),
        (LocalTime(5), 0x74, [5]),
        (LocalDateTime(6, 7), 0x64, [6, 7]),
    ],
)
def test_points_and_times(value: Any, tag: int, fields: list[Any]) -> None:
    encoded = unpack(pack([value], NEW))
    assert encoded == [Structure(tag, fields)]
    assert parameter({"a": encoded}) == {"a": [value]}


@pytest.mark.parametrize(
    ("tag", "name"), [(0x49, "time zone"), (0x59, "three dimensions"), (0x4E, "a node"), (0x01, "0x1")]
)
def test_what_cannot_be_a_parameter_is_named(tag: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        parameter({"x": Structure(tag, [1, 2, 3, 4])})


@pytest.mark.parametrize("data", ["", "81", "d1ff", "0101", "a10101", "d4ff01", "c7", "81ff", "91" * 300, "cb00"])
def test_broken_messages_are_refused(data: str) -> None:
    with pytest.raises(ProtocolError):
        unpack(bytes.fromhex(data))
