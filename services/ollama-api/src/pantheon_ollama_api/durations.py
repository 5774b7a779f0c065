# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Go writes them ("1h30m", "250ms"), which Ollama's API takes."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class DurationError(ValueError):
    """The text is not a duration."""


def parse_keep_alive(value: object) -> float:
    """Seconds from a keep_alive value.

    Args:
        value: a number of seconds, or a Go duration.

    Returns:
        Seconds; any negative number means for ever.

    Raises:
        DurationError: The value is neither.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise DurationError(f"unsupported type: {value!r}")
    if isinstance(value, (int, float)):
        return float(value)
    text = value.strip()
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.removeprefix("-").removeprefix("+")
    if rest == "0":
        return 0.0
    if not rest:
        raise DurationError(f'time: invalid duration "{value}"')
    seconds, position = 0.0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            wrong = "missing unit in duration" if rest[position:].replace(".", "", 1).isdigit() else "invalid duration"
            raise DurationError(f'time: {wrong} "{value}"')
        seconds += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    return sign * seconds
