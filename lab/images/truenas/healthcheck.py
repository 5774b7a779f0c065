#!/usr/bin/env python3
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the simulator whether it serves the API, and NFS where that is wanted."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request

CONTROL = "http://127.0.0.1:8600/health"
API = "https://127.0.0.1/api/versions"


def main() -> int:
    """Return 0 if both answer as they should."""
    try:
        with urllib.request.urlopen(CONTROL, timeout=3) as answer:
            healthy = bool(json.load(answer)["healthy"])
        # The certificate is the container's own; what counts here is that TLS answers.
        with urllib.request.urlopen(API, timeout=3, context=ssl._create_unverified_context()) as answer:
            json.load(answer)
    except (OSError, ValueError, KeyError) as error:
        print(error)
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
