# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PackStream, the encoding of Bolt's messages."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError
from .values import Date, Duration, LocalDateTime, LocalTime, Node, Path, Point, Relationship

_DEPTH = 200


@dataclass(frozen=True)
class Structure:
    """A structure: what it is, and its fields."""

    tag: int
    fields: list[Any]


def pack(value: Any, version: tuple[int, int]) -> bytes:
    """Return the encoding of a value for a version of Bolt: 5.0 added the element id to nodes and relationships."""
    out = bytearray()
    _pack(out, value, version)
    return bytes(out)


def _pack(out: bytearray, value: Any, version: tuple[int, int]) -> None:
    if value is None:
        out.append(0xC0)
    elif value is True:
        out.append(0xC3)
    elif value is False:
        out.append(0xC2)
    elif isinstance(value, int):
        _pack_integer(out, value)
    elif isinstance(value, float):
        out.append(0xC1)
        out += struct.pack(">d", value)
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        _pack_head(out, len(data), 0x80, (0xD0, 0xD1, 0xD2))
        out += data
    elif isinstance(value, (bytes, bytearray)):
        _pack_head(out, len(value), None, (0xCC, 0xCD, 0xCE))
        out += value
    elif isinstance(value, Structure):
        out += bytes((0xB0 + len(value.fields), value.tag))
        for item in value.fields:
            _pack(out, item, version)
    elif isinstance(value, Mapping):
        _pack_head(out, len(value), 0xA0, (0xD8, 0xD9, 0xDA))
        for key, item in value.items():
            _pack(out, str(key), version)
            _pack(out, item, version)
    elif isinstance(value, Sequence):
        _pack_head(out, len(value), 0x90, (0xD4, 0xD5, 0xD6))
        for item in value:
            _pack(out, item, version)
    else:
        _pack(out, structure(value, version), version)


def _pack_integer(out: bytearray, value: int) -> None:
    if -16 <= value < 128:
        out += struct.pack(">b", value)
    elif -128 <= value < 128:
        out += struct.pack(">Bb", 0xC8, value)
    elif -(2**15) <= value < 2**15:
        out += struct.pack(">Bh", 0xC9, value)
    elif -(2**31) <= value < 2**31:
        out += struct.pack(">Bi", 0xCA, value)
    else:
        out += struct.pack(">Bq", 0xCB, value)


def _pack_head(out: bytearray, length: int, tiny: int | None, marks: tuple[int, int, int]) -> None:
    if tiny is not None and length < 16:
        out.append(tiny + length)
    elif length < 2**8:
        out += struct.pack(">BB", marks[0], length)
    elif length < 2**16:
        out += struct.pack(">BH", marks[1], length)
    else:
        out += struct.pack(">BI", marks[2], length)


def structure(value: Any, version: tuple[int, int]) -> Structure:
    """Return a value of a graph as a structure."""
    elements = version >= (5, 0)
    if isinstance(value, Node):
        fields = [value.id, list(value.labels), dict(value.properties)]
        return Structure(0x4E, [*fields, str(value.id)] if elements else fields)
    if isinstance(value, Relationship):
        fields = [value.id, value.start, value.end, value.type, dict(value.properties)]
        return Structure(0x52, [*fields, str(value.id), str(value.start), str(value.end)] if elements else fields)
    if isinstance(value, Path):
        return _path(value, elements)
    if isinstance(value, Point):
        return Structure(0x58, [value.srid, float(value.x), float(value.y)])
    if isinstance(value, Date):
        return Structure(0x44, [value.days])
    if isinstance(value, LocalTime):
        return Structure(0x74, [value.nanoseconds])
    if isinstance(value, LocalDateTime):
        return Structure(0x64, [value.seconds, value.nanoseconds])
    if isinstance(value, Duration):
        return Structure(0x45, [value.months, value.days, value.seconds, value.nanoseconds])
    raise TypeError(f"{type(value).__name__} cannot be sent over Bolt")


def _path(path: Path, elements: bool) -> Structure:
    """A path lists each node and relationship once, and then how it walks them; a negative number is one walked backwards."""
    nodes: dict[int, int] = {}
    unique: list[Node] = []
    relationships: dict[int, int] = {}
    unbound: list[Structure] = []
    steps: list[int] = []
    for node in path.nodes:
        if node.id not in nodes:
            nodes[node.id] = len(unique)
            unique.append(node)
    for position, relationship in enumerate(path.relationships):
        if relationship.id not in relationships:
            relationships[relationship.id] = len(unbound) + 1
            fields = [relationship.id, relationship.type, dict(relationship.properties)]
            unbound.append(Structure(0x72, [*fields, str(relationship.id)] if elements else fields))
        number = relationships[relationship.id]
        forward = relationship.start == path.nodes[position].id
        steps += [number if forward else -number, nodes[path.nodes[position + 1].id]]
    return Structure(0x50, [unique, unbound, steps])


def unpack(data: bytes) -> Any:
    """Return the one value that is encoded in data.

    Raises:
        ProtocolError: It is not the encoding of one value.
    """
    unpacker = _Unpacker(data)
    try:
        value = unpacker.value(0)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError("a message is cut off or holds no text where text belongs") from error
    if unpacker.position != len(data):
        raise ProtocolError("a message holds more than one value")
    return value


class _Unpacker:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def _take(self, length: int) -> bytes:
        piece = self.data[self.position : self.position + length]
        if len(piece) != length:
            raise ProtocolError("a message is cut off")
        self.position += length
        return piece

    def _number(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ProtocolError("a message is nested too deeply")
        mark = self._take(1)[0]
        if mark < 0x80:
            return mark
        if mark >= 0xF0:
            return mark - 0x100
        if mark in _CONSTANTS:
            return _CONSTANTS[mark]
        if mark == 0xC1:
            return struct.unpack(">d", self._take(8))[0]
        if mark in _INTEGERS:
            return self._number(_INTEGERS[mark])
        if mark in _BYTES:
            return self._take(self._number(_BYTES[mark]))
        if mark < 0x90 or mark in _STRINGS:
            length = mark - 0x80 if mark < 0x90 else self._number(_STRINGS[mark])
            return self._take(length).decode()
        if mark < 0xA0 or mark in _LISTS:
            length = mark - 0x90 if mark < 0xA0 else self._number(_LISTS[mark])
            return [self.value(depth + 1) for _number in range(length)]
        if mark < 0xB0 or mark in _MAPS:
            length = mark - 0xA0 if mark < 0xB0 else self._number(_MAPS[mark])
            return self._map(length, depth)
        if mark < 0xC0:
            tag = self._take(1)[0]
            return Structure(tag, [self.value(depth + 1) for _number in range(mark - 0xB0)])
        raise ProtocolError(f"a message holds the unknown mark {mark:#x}")

    def _map(self, length: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _number in range(length):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise ProtocolError("a key of a map is no text")
            found[key] = self.value(depth + 1)
        return found


_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_INTEGERS = {0xC8: ">b", 0xC9: ">h", 0xCA: ">i", 0xCB: ">q"}
_BYTES = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I"}
_STRINGS = {0xD0: ">B", 0xD1: ">H", 0xD2: ">I"}
_LISTS = {0xD4: ">B", 0xD5: ">H", 0xD6: ">I"}
_MAPS = {0xD8: ">B", 0xD9: ">H", 0xDA: ">I"}


def parameter(value: Any) -> Any:
    """Return a parameter with its structures turned into values of a graph, where FalkorDB has such values.

    Raises:
        ValueError: FalkorDB has no such value; the text says which.
    """
    if isinstance(value, Mapping):
        return {key: parameter(item) for key, item in value.items()}
    if isinstance(value, list):
        return [parameter(item) for item in value]
    if not isinstance(value, Structure):
        return value
    tag, fields = value.tag, value.fields
    if tag == 0x58:
        return Point(fields[1], fields[2], fields[0])
    if tag == 0x44:
        return Date(fields[0])
    if tag == 0x74:
        return LocalTime(fields[0])
    if tag == 0x64:
        return LocalDateTime(fields[0], fields[1])
    if tag == 0x45:
        return Duration(*fields)
    names = {
        0x59: "a point in three dimensions",
        0x54: "a time with a time zone",
        0x4E: "a node",
        0x52: "a relationship",
    }
    zoned = {0x46, 0x66, 0x49, 0x69}
    raise ValueError(names.get(tag, "a moment with a time zone" if tag in zoned else f"a structure {tag:#x}"))
