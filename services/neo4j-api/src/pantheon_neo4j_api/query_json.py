# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as the Query API writes them: plain JSON, or typed JSON that loses nothing."""

from __future__ import annotations

import base64
import datetime
import math
import re
from collections.abc import Mapping
from typing import Any

from .values import Date, Duration, LocalDateTime, LocalTime, Node, Path, Point, Relationship


def plain(value: Any) -> Any:
    """Return a value as plain JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Node):
        return {"elementId": str(value.id), "labels": list(value.labels), "properties": plain(value.properties)}
    if isinstance(value, Relationship):
        return {
            "elementId": str(value.id),
            "startNodeElementId": str(value.start),
            "endNodeElementId": str(value.end),
            "type": value.type,
            "properties": plain(value.properties),
        }
    if isinstance(value, Path):
        return [plain(item) for item in walk(value)]
    return shown(value)


def typed(value: Any) -> dict[str, Any]:
    """Return a value as typed JSON."""
    kind, content = _typed(value)
    return {"$type": kind, "_value": content}


def _typed(value: Any) -> tuple[str, Any]:
    if value is None:
        return "Null", None
    if isinstance(value, bool):
        return "Boolean", value
    if isinstance(value, int):
        return "Integer", str(value)
    if isinstance(value, float):
        return "Float", {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), str(value))
    if isinstance(value, str):
        return "String", value
    if isinstance(value, list):
        return "List", [typed(item) for item in value]
    if isinstance(value, Mapping):
        return "Map", _typed_map(value)
    if isinstance(value, Node):
        properties = _typed_map(value.properties)
        return "Node", {"_element_id": str(value.id), "_labels": list(value.labels), "_properties": properties}
    if isinstance(value, Relationship):
        return "Relationship", {
            "_element_id": str(value.id),
            "_start_node_element_id": str(value.start),
            "_end_node_element_id": str(value.end),
            "_type": value.type,
            "_properties": _typed_map(value.properties),
        }
    if isinstance(value, Path):
        return "Path", [typed(item) for item in walk(value)]
    return type(value).__name__, shown(value)


def _typed_map(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: typed(item) for key, item in value.items()}


def walk(path: Path) -> list[Any]:
    """Return nodes and relationships of a path in turn."""
    steps: list[Any] = list(path.nodes[:1])
    for relationship, node in zip(path.relationships, path.nodes[1:], strict=True):
        steps += [relationship, node]
    return steps


def shown(value: Any) -> Any:
    """Return a point or a time as text; anything else as it is."""
    if isinstance(value, Point):
        return f"SRID={value.srid};POINT ({value.x} {value.y})"
    if isinstance(value, Date):
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=value.days))
    if isinstance(value, LocalTime):
        return str((datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value.nanoseconds // 1000)).time())
    if isinstance(value, LocalDateTime):
        return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=value.seconds)).isoformat()
    if isinstance(value, Duration):
        return f"P{value.months}M{value.days}DT{value.seconds}S"
    return value


def untyped(value: Any) -> Any:
    """Return a parameter that came as typed JSON.

    Raises:
        ValueError: Its type is not known here; the text says which.
    """
    if not isinstance(value, Mapping) or "$type" not in value:
        return value
    kind, content = value["$type"], value["_value"]
    if kind in ("Null", "Boolean", "String"):
        return content
    if kind == "Integer":
        return int(content)
    if kind == "Float":
        return float(content)
    if kind == "List":
        return [untyped(item) for item in content]
    if kind == "Map":
        return {key: untyped(item) for key, item in content.items()}
    if kind == "Base64":
        return base64.b64decode(content)
    if kind == "Point" and (found := re.fullmatch(r"SRID=(\d+);POINT ?\((\S+) (\S+)\)", str(content))):
        return Point(float(found[2]), float(found[3]), int(found[1]))
    if kind == "Date":
        return Date((datetime.date.fromisoformat(str(content)) - datetime.date(1970, 1, 1)).days)
    if kind == "LocalDateTime":
        seconds = (datetime.datetime.fromisoformat(str(content)) - datetime.datetime(1970, 1, 1)).total_seconds()
        return LocalDateTime(int(seconds), round(seconds % 1 * 10**9))
    raise ValueError(f"a {kind} {content!r} cannot be a parameter here")
