# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pantheon-ollama-health`: exit code 0 if the API and the router behind it answer. Imports nothing heavy."""

from __future__ import annotations

import http.client
import json
import sys

from .settings import Settings, SettingsError


def check(host: str, port: int, timeout: float = 4.0) -> str:
    """Ask the server for its version and for the loaded models, which it has from the router.

    Args:
        host: address of the server.
        port: its port.
        timeout: seconds for each answer.

    Returns:
        What was found, for people.

    Raises:
        OSError: There is no answer.
        ValueError: The answer is a wrong one.
    """
    answers = []
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        for path, key in (("/api/version", "version"), ("/api/ps", "models")):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"GET {path} answered {response.status}: {body[:300].decode(errors='replace')}")
            answers.append(json.loads(body)[key])
    finally:
        connection.close()
    return f"version {answers[0]}, {len(answers[1])} models loaded"


def main() -> int:
    """Command line: check the server of this container."""
    try:
        settings = Settings.from_environment()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        print(check(host, settings.port))
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException, SettingsError) as error:
        print(f"unhealthy: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
