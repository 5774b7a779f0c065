# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a query returns and what a parameter may be: values of a graph, whatever carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The reference system of a point on earth (WGS 84), the only one that FalkorDB has.
WGS84 = 4326


@dataclass(frozen=True)
class Node:
    """A node."""

    id: int
    labels: Sequence[str]
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Relationship:
    """A relationship."""

    id: int
    type: str
    start: int
    end: int
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Path:
    """A walk: one node more than relationships."""

    nodes: Sequence[Node]
    relationships: Sequence[Relationship]


@dataclass(frozen=True)
class Point:
    """A point; x is the longitude."""

    x: float
    y: float
    srid: int = WGS84


@dataclass(frozen=True)
class Date:
    """A day, as days since 1970."""

    days: int


@dataclass(frozen=True)
class LocalTime:
    """A time of day, in nanoseconds since midnight."""

    nanoseconds: int


@dataclass(frozen=True)
class LocalDateTime:
    """A moment without time zone, as seconds since 1970."""

    seconds: int
    nanoseconds: int = 0


@dataclass(frozen=True)
class Duration:
    """A duration; its parts do not turn into each other."""

    months: int
    days: int
    seconds: int
    nanoseconds: int = 0


@dataclass
class Result:
    """All that a statement returned."""

    fields: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    kind: str = "r"
    plan: dict[str, Any] | None = None
    milliseconds: int = 0
