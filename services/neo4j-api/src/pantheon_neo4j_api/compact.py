# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FalkorDB's answers, decoded: names for numbers, values of a graph for lists of lists."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .resp import EngineError
from .values import Date, LocalDateTime, LocalTime, Node, Path, Point, Relationship, Result

#: The kinds of names that answers give as numbers, and the procedure that lists each.
PROCEDURES = {"labels": "db.labels()", "types": "db.relationshipTypes()", "keys": "db.propertyKeys()"}

_COUNTERS = {
    "nodes created": "nodes-created",
    "nodes deleted": "nodes-deleted",
    "relationships created": "relationships-created",
    "relationships deleted": "relationships-deleted",
    "properties set": "properties-set",
    "properties removed": "properties-set",
    "labels added": "labels-added",
    "labels removed": "labels-removed",
    "indices created": "indexes-added",
    "indices deleted": "indexes-removed",
}


class UnknownNameError(Exception):
    """An answer holds a number whose name was not read yet."""


class Names:
    """The names of one graph; numbers are given once and never change."""

    def __init__(self, query: Callable[[str], Awaitable[list[str]]]) -> None:
        self._query = query
        self._known: dict[str, list[str]] = {kind: [] for kind in PROCEDURES}

    async def refresh(self) -> None:
        """Read all names."""
        for kind, procedure in PROCEDURES.items():
            self._known[kind] = await self._query(procedure)

    def of(self, kind: str, number: int) -> str:
        """Return the name behind a number.

        Raises:
            UnknownNameError: It has to be read first.
        """
        try:
            return self._known[kind][number]
        except IndexError:
            raise UnknownNameError(f"{kind} {number}") from None


def to_result(answer: Sequence[Any], names: Names) -> Result:
    """Return the answer to a query that was asked with --compact.

    Raises:
        UnknownNameError: See Names.
        EngineError: The query failed when a part of the answer was already there.
    """
    for part in answer:
        if isinstance(part, EngineError):
            raise part
    result = Result()
    if len(answer) == 3:
        result.fields = [str(column[1]) for column in answer[0]]
        decoder = _Decoder(names)
        for row in answer[1]:
            result.rows.append([decoder.value(cell) for cell in row])
    for line in answer[-1]:
        _count(result, str(line))
    return result


def _count(result: Result, line: str) -> None:
    label, _colon, rest = line.partition(":")
    label = label.strip().lower()
    if label in _COUNTERS:
        key = _COUNTERS[label]
        result.counters[key] = result.counters.get(key, 0) + int(float(rest.strip()))
    elif label.endswith("internal execution time"):
        found = re.search(r"[\d.]+", rest)
        result.milliseconds = round(float(found.group())) if found else 0


class _Decoder:
    def __init__(self, names: Names) -> None:
        self.names = names

    def value(self, cell: Any) -> Any:
        """Return a value: a pair of its type and its content."""
        if isinstance(cell, EngineError):
            raise cell
        kind, content = cell[0], cell[1]
        decode = _TYPES.get(kind)
        if decode is None:
            raise EngineError(f"the engine returned a value of the unknown type {kind}")
        return decode(self, content)

    def properties(self, entries: Sequence[Any]) -> dict[str, Any]:
        return {self.names.of("keys", entry[0]): self.value(entry[1:]) for entry in entries}

    def node(self, content: Sequence[Any]) -> Node:
        number, labels, properties = content
        return Node(number, [self.names.of("labels", label) for label in labels], self.properties(properties))

    def relationship(self, content: Sequence[Any]) -> Relationship:
        number, kind, start, end, properties = content
        return Relationship(number, self.names.of("types", kind), start, end, self.properties(properties))

    def path(self, content: Sequence[Any]) -> Path:
        nodes, relationships = (self.value(part) for part in content)
        return Path(nodes, relationships)

    def map(self, content: Sequence[Any]) -> dict[str, Any]:
        return {str(key): self.value(item) for key, item in zip(content[::2], content[1::2], strict=True)}


def _no_duration() -> None:
    raise EngineError(
        "type mismatch: a duration cannot be returned, because the engine does not keep its months, days and seconds apart"
    )


_TYPES: dict[int, Callable[[_Decoder, Any], Any]] = {
    1: lambda _decoder, _content: None,
    2: lambda _decoder, content: str(content),
    3: lambda _decoder, content: int(content),
    4: lambda _decoder, content: content == "true",
    5: lambda _decoder, content: float(content),
    6: lambda decoder, content: [decoder.value(item) for item in content],
    7: _Decoder.relationship,
    8: _Decoder.node,
    9: _Decoder.path,
    10: _Decoder.map,
    11: lambda _decoder, content: Point(float(content[1]), float(content[0])),
    12: lambda _decoder, content: [float(number) for number in content],
    13: lambda _decoder, content: LocalDateTime(int(content)),
    14: lambda _decoder, content: Date(int(content) // 86400),
    15: lambda _decoder, content: LocalTime(int(content) % 86400 * 10**9),
    16: lambda _decoder, _content: _no_duration(),
}
