# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a statement without understanding it, and parameters written as Cypher.

FalkorDB takes parameters as literals before the statement: `CYPHER name="value" MATCH ...`. Points and times are no literals;
a parameter that holds one is written where the statement uses it.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import Neo4jError
from .values import WGS84, Date, Duration, LocalDateTime, LocalTime, Point

_SKIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:``|[^`])*`""",
    re.DOTALL,
)
_PARAMETER = re.compile(r"\$(?:`(?P<quoted>[^`]+)`|(?P<plain>\w+))")
_LEAST = -(2**63)
_NAME = re.compile(r"[^\W\d]\w*\Z")
_WRITES = re.compile(
    r"\b(?:CREATE|MERGE|SET|DELETE|REMOVE|DROP|FOREACH|LOAD)\b|\bdb\.idx\.\w+\.(?:create|drop)\w*|\bdb\.(?:create|drop)\w*",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"\s*(?:CREATE|DROP)\s+(?:\w+\s+){0,2}(?:INDEX|CONSTRAINT)\b", re.IGNORECASE)
_MODE = re.compile(r"\s*(EXPLAIN|PROFILE)\b", re.IGNORECASE)


def bare(statement: str) -> str:
    """Return a statement without comments, texts and quoted names, so that words in it are words of the language."""
    return _SKIPPED.sub(lambda match: " " if match.group().startswith(("//", "/*")) else '""', statement)


def may_write(statement: str) -> bool:
    """Return whether a statement holds a word that changes something; a name that is such a word counts as well."""
    return _WRITES.search(bare(statement)) is not None


def changes_schema(statement: str) -> bool:
    """Return whether a statement makes or removes an index or a constraint."""
    return _SCHEMA.match(bare(statement)) is not None


def split_mode(statement: str) -> tuple[str, str]:
    """Return EXPLAIN, PROFILE or nothing, and the statement without it."""
    blank = _SKIPPED.sub(
        lambda match: " " * len(match.group()) if match.group().startswith(("//", "/*")) else match.group(), statement
    )
    found = _MODE.match(blank)
    return (found.group(1).upper(), statement[found.end() :]) if found else ("", statement)


def with_parameters(statement: str, parameters: Mapping[str, Any]) -> str:
    """Return the statement with its parameters in front of it, as FalkorDB wants them."""
    inline = {key: literal(value) for key, value in parameters.items() if not _simple(value)}
    if inline:
        statement = _inlined(statement, inline)
    written = " ".join(f"{name(key)}={literal(value)}" for key, value in parameters.items() if key not in inline)
    return f"CYPHER {written} {statement}" if written else statement


def _simple(value: Any) -> bool:
    """Return whether a value is a literal for FalkorDB."""
    if isinstance(value, Mapping):
        return all(_simple(item) for item in value.values())
    if isinstance(value, list):
        return all(_simple(item) for item in value)
    return value is None or (isinstance(value, (bool, int, float, str, bytes)) and value != _LEAST)


def _inlined(statement: str, values: Mapping[str, str]) -> str:
    """Return a statement with values in the place of parameters; what looks like one in a text or a comment stays."""

    def put(match: re.Match[str]) -> str:
        value = values.get(match["quoted"] or match["plain"])
        return match.group() if value is None else value

    pieces: list[str] = []
    position = 0
    for skipped in re.finditer(rf"(?<!\$)(?:{_SKIPPED.pattern})", statement, re.DOTALL):
        pieces += [_PARAMETER.sub(put, statement[position : skipped.start()]), skipped.group()]
        position = skipped.end()
    return "".join([*pieces, _PARAMETER.sub(put, statement[position:])])


def name(text: str) -> str:
    """Return a name as Cypher; one that is no plain word is quoted."""
    if _NAME.match(text):
        return text
    if "`" in text or not text:
        raise _refused(f"The name {text!r} of a parameter or key")
    return f"`{text}`"


def literal(value: Any) -> str:
    """Return a value as Cypher.

    Raises:
        Neo4jError: FalkorDB has no such value.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name(str(key))}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (bytes, bytearray)):
        raise _refused("Bytes")
    if isinstance(value, Sequence):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return _graph_value(value)


def _integer(value: int) -> str:
    if value == _LEAST:
        # Its positive half is no integer of 64 bits.
        return f"(-{2**63 - 1} - 1)"
    if not _LEAST < value < 2**63:
        raise _refused(f"The integer {value}, which has more than 64 bits,")
    return str(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise _refused(f"The number {value}")
    shown = repr(value)
    mantissa, _mark, exponent = shown.partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def text(value: str) -> str:
    """Return a text as Cypher."""
    if "\x00" in value:
        raise _refused("A text with a zero byte")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _graph_value(value: Any) -> str:
    if isinstance(value, Point):
        if value.srid != WGS84:
            raise _refused(f"A point of the reference system {value.srid}")
        return f"point({{latitude: {_float(float(value.y))}, longitude: {_float(float(value.x))}}})"
    try:
        if isinstance(value, Date):
            return f'date("{datetime.date(1970, 1, 1) + datetime.timedelta(days=value.days)}")'
        if isinstance(value, LocalTime):
            return f'localtime("{_clock(value.nanoseconds)}")'
        if isinstance(value, LocalDateTime):
            day, rest = divmod(value.seconds, 86400)
            date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
            return f'localdatetime("{date}T{_clock(rest * 10**9 + value.nanoseconds)}")'
    except OverflowError:
        raise _refused("A day before the year 1 or after 9999") from None
    if isinstance(value, Duration):
        return _duration(value)
    raise _refused(f"A value of the type {type(value).__name__}")


def _clock(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    if rest:
        # FalkorDB counts whole seconds; a part of one would be lost without a word.
        raise _refused("A time with a part of a second")
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _duration(value: Duration) -> str:
    if value.nanoseconds:
        raise _refused("A duration with a part of a second")
    parts = {"months": value.months, "days": value.days, "seconds": value.seconds}
    return "duration({" + ", ".join(f"{key}: {number}" for key, number in parts.items()) + "})"


def _refused(what: str) -> Neo4jError:
    return Neo4jError(
        "Neo.ClientError.Statement.TypeError", f"{what} cannot be a parameter: FalkorDB has no such value."
    )
