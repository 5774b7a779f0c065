# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON with the appliance's extra types: dates, times, sets and addresses."""

from __future__ import annotations

import calendar
import datetime as dt
import ipaddress
import json
from typing import Any


class _Encoder(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, dt.datetime):
            value = o.astimezone(dt.timezone.utc) if o.tzinfo else o
            return {"$date": calendar.timegm(value.timetuple()) * 1000 + value.microsecond // 1000}
        if isinstance(o, dt.date):
            return {"$type": "date", "$value": o.isoformat()}
        if isinstance(o, dt.time):
            return {"$time": str(o)}
        if isinstance(o, (set, frozenset)):
            return {"$set": list(o)}
        if isinstance(o, ipaddress.IPv4Interface):
            return {"$ipv4_interface": str(o)}
        if isinstance(o, ipaddress.IPv6Interface):
            return {"$ipv6_interface": str(o)}
        return super().default(o)


def _hook(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        if "$date" in value:
            return dt.datetime.fromtimestamp(value["$date"] / 1000, tz=dt.timezone.utc)
        if "$time" in value:
            return dt.time.fromisoformat(value["$time"])
        if "$set" in value:
            return set(value["$set"])
        if "$ipv4_interface" in value:
            return ipaddress.IPv4Interface(value["$ipv4_interface"])
        if "$ipv6_interface" in value:
            return ipaddress.IPv6Interface(value["$ipv6_interface"])
    if len(value) == 2 and value.get("$type") == "date" and "$value" in value:
        return dt.date.fromisoformat(value["$value"])
    return value


def dumps(value: Any) -> str:
    """Return the JSON text of a value."""
    return json.dumps(value, cls=_Encoder)


def loads(text: str) -> Any:
    """Read JSON; what is not JSON, or not a valid extra type, is a ValueError."""
    try:
        return json.loads(text, object_hook=_hook)
    except json.JSONDecodeError:
        raise
    except (TypeError, OverflowError, ArithmeticError) as error:
        raise ValueError(f"Error parsing: {error}") from error
