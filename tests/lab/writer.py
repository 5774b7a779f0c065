# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A steady writer that runs in the container of a service, with the address and password that the service itself has.

Handed to python3 on its standard input. Writes one row after the other for the given number of seconds, each in its own
transaction, and prints one JSON object: the numbers that the server acknowledged with their times, and the errors.
"""

import json
import os
import sys
import time

try:
    import psycopg  # type: ignore[import-not-found]  # Open WebUI has it
except ModuleNotFoundError:
    import psycopg2 as psycopg  # type: ignore[import-not-found,import-untyped,unused-ignore]  # the image of PostgreSQL has it

seconds, name = float(sys.argv[1]), sys.argv[2]
acknowledged: list[tuple[int, float]] = []
errors: list[tuple[float, str]] = []
began = time.monotonic()
connection = None
number = 0
while time.monotonic() - began < seconds:
    try:
        if connection is None:
            connection = psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5)
            connection.autocommit = True
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
print(json.dumps({"acknowledged": acknowledged, "errors": errors, "seconds": time.monotonic() - began}))
