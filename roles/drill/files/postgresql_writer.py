# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A steady writer that runs in the container of a service, with the address and password that the service itself has.

Handed to python3 on its standard input. Its first argument says what to do:

    SECONDS TABLE         write one row after the other, each in its own transaction; then read them all back
    check TABLE RANGES    look up these numbers ("1-500,502-900") on the primary and on a standby
    drop TABLE            remove the table

It prints one JSON object. A row counts as acknowledged when the server has confirmed its transaction.
"""

import json
import os
import sys
import time
from typing import Any

try:
    import psycopg  # type: ignore[import-not-found]  # Open WebUI has it
except ModuleNotFoundError:
    import psycopg2 as psycopg  # type: ignore[import-not-found,import-untyped,unused-ignore]  # the image of PostgreSQL has it

READ_BACK_SECONDS = 60.0


def connect(read_only: bool = False) -> Any:
    """Connect as the service does; NAME_ro is the same database on a standby."""
    address, mark, options = os.environ["DATABASE_URL"].partition("?")
    connection = psycopg.connect(f"{address}{'_ro' if read_only else ''}{mark}{options}", connect_timeout=5)
    connection.autocommit = True
    return connection


def numbers_of(name: str, read_only: bool = False) -> set[int]:
    """Return the numbers that are there; wait for a server if there is none."""
    until = time.monotonic() + READ_BACK_SECONDS
    while True:
        try:
            connection = connect(read_only)
            cursor = connection.cursor()
            cursor.execute(f"SELECT number FROM {name}")
            found = {int(row[0]) for row in cursor.fetchall()}
            connection.close()
            return found
        except psycopg.Error:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def write(seconds: float, name: str) -> dict[str, object]:
    """Write for so long."""
    acknowledged: list[tuple[int, float]] = []
    errors: list[tuple[float, str]] = []
    started, began = time.time(), time.monotonic()
    connection = None
    number = 0
    while time.monotonic() - began < seconds:
        try:
            if connection is None:
                connection = connect()
                cursor = connection.cursor()
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} (number integer PRIMARY KEY)")
            number += 1
            # What was not acknowledged may be there or not: its number is never used again.
            cursor.execute(f"INSERT INTO {name} VALUES ({number})")
            acknowledged.append((number, time.monotonic() - began))
            time.sleep(0.02)
        except psycopg.Error as error:
            errors.append((time.monotonic() - began, str(error).strip().splitlines()[0][:200]))
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(0.05)
    ended = time.monotonic() - began
    there = numbers_of(name) if acknowledged else set()
    return {
        "acknowledged": acknowledged,
        "errors": errors,
        "seconds": ended,
        "started": started,
        "missing": [one for one, _moment in acknowledged if one not in there],
    }


def check(name: str, ranges: str) -> dict[str, object]:
    """Look the numbers up on both sides."""
    wanted: set[int] = set()
    for part in filter(None, ranges.split(",")):
        first, _dash, last = part.partition("-")
        wanted.update(range(int(first), int(last or first) + 1))
    return {
        "missing": sorted(wanted - numbers_of(name)),
        "missing_on_standby": sorted(wanted - numbers_of(name, read_only=True)),
    }


def drop(name: str) -> dict[str, object]:
    """Remove the table."""
    connect().cursor().execute(f"DROP TABLE IF EXISTS {name}")
    return {"dropped": name}


if sys.argv[1] == "check":
    print(json.dumps(check(sys.argv[2], sys.argv[3])))
elif sys.argv[1] == "drop":
    print(json.dumps(drop(sys.argv[2])))
else:
    print(json.dumps(write(float(sys.argv[1]), sys.argv[2])))
