# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the simulator: python3 -m truenas_simulator --listen 127.0.0.1:0 --control 127.0.0.1:0 --state DIR."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from . import web
from .certificate import CertificateError
from .nas import Nas, Options
from .registry import RELEASES
from .store import StateError


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="truenas_simulator", description="A stand-in for TrueNAS.")
    add = parser.add_argument
    add("--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT", help="the API over TLS; port 0 is a free one")
    add("--plain", metavar="ADDRESS:PORT", help="the API without TLS too")
    add("--control", default="127.0.0.1:0", metavar="ADDRESS:PORT", help="the control interface for tests")
    add("--state", required=True, type=Path, metavar="DIR", help="where state, certificate and key are kept")
    add("--root", type=Path, metavar="DIR", help="the folder that stands for /mnt (default: mnt below --state)")
    add("--release", default="25.10", choices=RELEASES)
    add("--config", type=Path, metavar="FILE", help="users, keys and what else is there at the start, as JSON")
    add("--auth-delay", type=float, default=1.0, metavar="SECONDS", help="wait before a login is refused")
    add("--rate-delay", type=float, metavar="SECONDS", help="wait before a call is refused as one too many (1 to 10)")
    add(
        "--dataset-rows",
        default="facts",
        choices=("facts", "source"),
        help="source: also the oddities of pool.dataset.query that 25.10.6 has in its source",
    )
    add("--ganesha", type=Path, metavar="FILE", help="run a real NFS server with this configuration file")
    add("--ganesha-command", metavar="COMMAND", help="what to run instead of ganesha.nfsd -F -L STDERR -f FILE")
    add("--ganesha-port", type=int, default=2049, metavar="PORT")
    add("--ganesha-wait", type=float, default=15.0, metavar="SECONDS", help="how long the server may take to answer")
    return parser.parse_args(given)


def read_config(file: Path | None) -> dict[str, Any]:
    """Read the configuration."""
    if file is None:
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise StateError(f"{file} must hold a JSON object")
    return config


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    state = options.state.absolute()
    state.mkdir(parents=True, exist_ok=True)
    nas = Nas(
        Options(
            state=state,
            root=(options.root or state / "mnt").absolute(),
            release=options.release,
            auth_delay=options.auth_delay,
            rate_delay=options.rate_delay,
            dataset_rows=options.dataset_rows,
            ganesha=options.ganesha.absolute() if options.ganesha else None,
            ganesha_command=tuple(shlex.split(options.ganesha_command)) if options.ganesha_command else None,
            ganesha_port=options.ganesha_port,
            ganesha_wait=options.ganesha_wait,
        ),
        read_config(options.config),
    )
    listen, control = web.bind(options.listen), web.bind(options.control)
    plain = web.bind(options.plain) if options.plain else None
    listeners = web.Listeners()
    try:
        await nas.boot()
        await listeners.start(web.api(nas, True), listen, nas.certificate.context())
        await listeners.start(web.control(nas), control)
        if plain:
            await listeners.start(web.api(nas, False), plain)
        ready = {
            "listen": web.url("https", listen),
            "plain": web.url("http", plain) if plain else None,
            "control": web.url("http", control),
            "certificate": str(nas.certificate.file),
            "fingerprint": nas.certificate.fingerprint,
            "release": nas.release,
        }
        print(json.dumps(ready), flush=True)
        await stop.wait()
    finally:
        await nas.shutdown()
        await listeners.stop()


def main() -> int:
    """Run the simulator."""
    try:
        asyncio.run(serve(arguments()))
    except (StateError, CertificateError, OSError) as error:
        print(f"truenas_simulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
