# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same steady writer as postgresql_writer.py, for Redis: keys of the service itself, with its address, user and password.

SECONDS NAME          write one key after the other, which all end by themselves; then read them back
"""

import json
import os
import sys
import time

import redis  # type: ignore[import-not-found]  # the service has it

READ_BACK_SECONDS = 60.0

seconds, name = float(sys.argv[1]), sys.argv[2]
acknowledged: list[tuple[int, float]] = []
errors: list[tuple[float, str]] = []
client = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2, socket_connect_timeout=2)
started, began = time.time(), time.monotonic()
number = 0
while time.monotonic() - began < seconds:
    number += 1
    try:
        client.set(f"open-webui:{name}:{number}", number, ex=900)
        acknowledged.append((number, time.monotonic() - began))
        time.sleep(0.02)
    except redis.RedisError as error:
        errors.append((time.monotonic() - began, str(error)[:200]))
        time.sleep(0.05)
ended = time.monotonic() - began
until = time.monotonic() + READ_BACK_SECONDS
while True:
    try:
        missing = sum(client.get(f"open-webui:{name}:{number}") is None for number, _moment in acknowledged)
        break
    except redis.RedisError:
        if time.monotonic() > until:
            raise
        time.sleep(0.5)
print(
    json.dumps(
        {"acknowledged": acknowledged, "errors": errors, "missing": missing, "seconds": ended, "started": started}
    )
)
