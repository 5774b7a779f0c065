# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query engine: filters and options that every query method takes."""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from .errors import MatchNotFound

Row = dict[str, Any]

MAX_DEPTH = 3
MAX_LIMIT = 10000
_ABSENT = object()
_DATE = ".$date"


def _text_test(test: Callable[[str, str], bool], wanted: bool) -> Callable[[Any, Any], bool]:
    def apply(source: Any, value: Any) -> bool:
        return source is not None and test(source, value) is wanted

    return apply


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "~": lambda source, value: re.match(value, source or ""),
    "in": lambda source, value: source in value,
    "nin": lambda source, value: source is not None and source not in value,  # codespell:ignore nin
    "rin": lambda source, value: source is not None and value in source,  # codespell:ignore rin
    "rnin": lambda source, value: source is not None and value not in source,
    "^": _text_test(str.startswith, True),
    "!^": _text_test(str.startswith, False),
    "$": _text_test(str.endswith, True),
    "!$": _text_test(str.endswith, False),
}


def _split(path: str) -> tuple[str, str]:
    """Return the first part of a dotted path and the rest; a dot after a backslash belongs to the name."""
    head = ""
    while True:
        left, dot, rest = path.partition(".")
        if not dot:
            return head + left, rest
        if left.endswith("\\"):
            head += left[:-1] + dot
            path = rest
        else:
            return head + left, rest


def _branches(value: Any) -> list[list[Any]]:
    """Return the branches of an OR, each as a list of conditions that must all hold."""
    return [branch if isinstance(branch[0], list) else [branch] for branch in value]


def validate_filters(filters: Any, depth: int = 0) -> None:
    """Refuse filters that the engine does not know; the texts are the appliance's."""
    if depth > MAX_DEPTH:
        raise ValueError("query-filters max recursion depth exceeded")
    for condition in filters:
        if len(condition) == 2:
            name, value = condition
            if name != "OR":
                raise ValueError(f"Invalid operation: {name}")
            if not value:
                raise ValueError("OR filter requires at least one branch.")
            for branch in _branches(value):
                validate_filters(branch, depth + 1)
            continue
        if len(condition) != 3:
            raise ValueError(f"Invalid filter {condition}")
        name, written, value = condition
        op = written
        if op[0] == "C":
            op = op[1:]
            if op == "~":
                raise ValueError(f"Invalid case-insensitive operation: {written}")
        if op not in OPERATORS:
            raise ValueError(f"Invalid operation: {written}")
        for operand, other in ((name, value), (value, name)):
            if isinstance(operand, str) and operand.endswith(_DATE):
                if op not in ("=", "!=", ">", ">=", "<", "<="):
                    raise ValueError(f"{op}: invalid timestamp operation.")
                try:
                    dt.datetime.fromisoformat(other)
                except (TypeError, ValueError):
                    raise ValueError(f"{other}: must be an ISO-8601 formatted timestamp string") from None


def validate_options(options: Row) -> None:
    """Refuse options that contradict each other or are out of bounds."""
    if options.get("get") and options.get("limit", 0) > 1:
        raise ValueError("Invalid options combination. `get` implies a single result.")
    if options.get("get") and options.get("offset"):
        raise ValueError("Invalid options combination. `get` implies a single result.")
    if options.get("limit", 0) > MAX_LIMIT:
        raise ValueError(f"Options limit must be between 1 and {MAX_LIMIT}")
    for select in options.get("select", []):
        if isinstance(select, str):
            continue
        if len(select) != 2:
            raise ValueError(
                f"{select}: A select as list may only contain two parameters: the name of the parameter being "
                "selected, and the name to which to assign it in resulting data."
            )
        for position, part in zip(("first", "second"), select, strict=True):
            if not isinstance(part, str):
                raise ValueError(f"{select}: {position} item must be a string.")  # noqa: TRY004 - the middleware raises this one


def _lookup(row: Any, path: str) -> tuple[Any, str | None]:
    """Return the value at a path; for a `*` in a list the list itself and the path that remains."""
    current, rest = row, path
    while rest:
        name, rest = _split(rest)
        if isinstance(current, dict):
            current = current.get(name, _ABSENT)
        elif isinstance(current, (list, tuple)):
            if not name.isdigit():
                if name == "*":
                    return current, rest
                raise ValueError(f"{name}: must be array index or wildcard character")
            current = current[int(name)] if int(name) < len(current) else None
    return current, None


def _fold(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, (list, tuple)):
        return [item.casefold() for item in value]
    raise ValueError(f"{type(value)}: support for casefolding object type not implemented.")


def _matches(row: Any, condition: Sequence[Any]) -> bool:
    if len(condition) == 2:
        return any(all(_matches(row, part) for part in branch) for branch in _branches(condition[1]))
    name, op, value = condition
    if isinstance(name, str) and name.endswith(_DATE):
        name, value = name.removesuffix(_DATE), dt.datetime.fromisoformat(value)
        if value.tzinfo is None:
            value = value.replace(tzinfo=dt.timezone.utc)
    source, rest = _lookup(row, name)
    if source is _ABSENT:
        return False
    if rest is not None:
        return any(_matches(entry, [rest, op, value]) for entry in source)
    if op[0] == "C":
        op, source, value = op[1:], _fold(source), _fold(value)
    return bool(OPERATORS[op](source, value))


def select_fields(row: Row, select: Sequence[Any]) -> Row:
    """Return only the selected fields; a pair renames, a dotted path keeps its nesting."""
    result: Row = {}
    for wanted in select:
        path, name = wanted if isinstance(wanted, list) else (wanted, None)
        keys: list[str] = []
        current: Any = row
        rest = path
        while rest:
            key, rest = _split(rest)
            if isinstance(current, dict):
                current = current.get(key, _ABSENT)
                keys.append(key)
            elif isinstance(current, (list, tuple)):
                raise ValueError("Selecting by list index is not supported")  # noqa: TRY004 - the middleware raises this one
        if current is _ABSENT:
            continue
        if name is not None:
            result[name] = current
            continue
        target = result
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = current
    return result


def order_rows(rows: list[Row], order_by: Sequence[str]) -> list[Row]:
    """Return the rows in order; each name of the list sorts what the one before it left."""

    def key(name: str) -> Callable[[Row], Any]:
        def value(row: Row) -> Any:
            found = _lookup(row, name)[0]
            return None if found is _ABSENT else found

        return value

    for order in order_by:
        nulls = ""
        for prefix in ("nulls_first:", "nulls_last:"):
            if order.startswith(prefix):
                nulls, order = prefix, order.removeprefix(prefix)
        reverse = order.startswith("-")
        name = order.removeprefix("-")
        if nulls:
            without = [row for row in rows if row.get(name) is None]
            rest = sorted((row for row in rows if row.get(name) is not None), key=key(name), reverse=reverse)
            rows = without + rest if nulls == "nulls_first:" else rest + without
        else:
            rows = sorted(rows, key=key(name), reverse=reverse)
    return rows


def filter_list(rows: Sequence[Row], filters: Sequence[Any], options: Row) -> Any:
    """Apply filters and options to rows: a list, one row (get) or a number (count)."""
    validate_filters(filters)
    validate_options(options)
    found = [row for row in rows if all(_matches(row, condition) for condition in filters)]
    select = options.get("select") or []
    if select:
        found = [select_fields(row, select) for row in found]
    if options.get("count"):
        return len(found)
    found = order_rows(found, options.get("order_by") or [])
    if options.get("get"):
        if not found:
            raise MatchNotFound()
        return found[0]
    if options.get("offset"):
        found = found[options["offset"] :]
    if options.get("limit"):
        return found[: options["limit"]]
    return found
