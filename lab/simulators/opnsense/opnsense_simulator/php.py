# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The behaviours of PHP that show through in OPNsense's answers: JSON text, truth, number and form rules."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_uuid(text: str) -> bool:
    """OPNsense's own rule: a version 4 UUID in lower case."""
    return UUID.fullmatch(text) is not None


def to_string(value: Any) -> str:
    """What PHP's `(string)` makes of a JSON scalar."""
    if value is None or value is False:
        return ""
    if value is True:
        return "1"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def is_empty(value: Any) -> bool:
    """PHP's `empty()`: the text "0" is empty too."""
    return value in (None, False, "", "0", 0) or value == [] or value == {}


def is_numeric(text: str) -> bool:
    """PHP's `is_numeric()` for text, without the exotic forms."""
    return re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", text) is not None


def _arrays(value: Any) -> Any:
    """A PHP array becomes a JSON list when its keys are 0, 1, 2 ..., and so does every empty one."""
    if isinstance(value, Mapping):
        if list(value) == [str(index) for index in range(len(value))]:
            return [_arrays(item) for item in value.values()]
        return {key: _arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_arrays(item) for item in value]
    return value


def encode(value: Any) -> bytes:
    """`json_encode()` as the API calls it: escaped slashes, ASCII only."""
    return json.dumps(_arrays(value), separators=(",", ":")).replace("/", "\\/").encode("ascii")


def encode_pretty(value: Any) -> bytes:
    """`json_encode(JSON_PRETTY_PRINT)`, for the export of aliases."""
    return json.dumps(_arrays(value), indent=4).replace("/", "\\/").encode("ascii")


def parse_form(text: str) -> dict[str, Any]:
    """A query string or form body, with PHP's brackets: host[hostname]=a becomes a nested array."""
    result: dict[str, Any] = {}
    for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        match = re.match(r"([^\[]+)((?:\[[^\]]*\])*)$", name)
        keys = [name] if match is None else [match.group(1), *re.findall(r"\[([^\]]*)\]", match.group(2))]
        target = result
        for key in keys[:-1]:
            key = key or str(len(target))
            if not isinstance(target.get(key), dict):
                target[key] = {}
            target = target[key]
        target[keys[-1] or str(len(target))] = value
    return result


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """The key of SORT_NATURAL | SORT_FLAG_CASE: numbers inside text count as numbers."""
    parts = re.findall(r"\d+|\D+", text.casefold())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def integer(value: Any, default: int) -> int:
    """`intval()` of a parameter, with a default when the parameter is absent."""
    if value is None:
        return default
    match = re.match(r"\s*[+-]?\d+", to_string(value))
    return int(match.group()) if match else 0
