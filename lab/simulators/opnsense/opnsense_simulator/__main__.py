# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m opnsense_simulator"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import certificate
from .app import App
from .control import ControlServer
from .releases import DEFAULT_RELEASE, RELEASES
from .resolver import BuiltIn, Resolver, ResolverError, Unbound, UnboundOptions
from .server import IDLE_SECONDS, Server, listening
from .state import ConfigError, Store


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="opnsense_simulator", description="A server that answers like OPNsense's API."
    )
    add = parser.add_argument
    add(
        "--listen",
        metavar="ADDRESS:PORT",
        type=_address,
        default=("127.0.0.1", 0),
        help="the API over TLS (port 0: any)",
    )
    add("--plain", metavar="ADDRESS:PORT", type=_address, help="the API without TLS too, for tests")
    add(
        "--control",
        metavar="ADDRESS:PORT",
        type=_address,
        default=("127.0.0.1", 0),
        help="the control interface for tests, without a password",
    )
    add("--state", metavar="DIR", type=Path, help="configuration, certificate and key (default: a temporary folder)")
    add(
        "--release",
        choices=sorted(RELEASES),
        default=DEFAULT_RELEASE,
        help="the release to play (default: %(default)s)",
    )
    add("--config", metavar="FILE", type=Path, help="JSON: users and initial content, see README.md")
    add(
        "--auth-delay",
        metavar="SECONDS",
        type=float,
        default=2.0,
        help="how long a wrong key waits (default: %(default)s)",
    )
    add("--rollback-seconds", metavar="SECONDS", type=float, default=60.0, help="when unconfirmed rules are taken back")
    add("--idle-seconds", metavar="SECONDS", type=float, default=IDLE_SECONDS, help="when idle connections are closed")
    add(
        "--lan-address",
        metavar="ADDRESS",
        help="the LAN address of the box; auto: this machine's own (default: as configured)",
    )
    add("--unbound", metavar="DIR", type=Path, help="run a real Unbound with its files in this folder")
    add("--unbound-address", metavar="IP,...", type=_list, default=("127.0.0.1",), help="where Unbound listens")
    add("--unbound-port", metavar="PORT", type=int, default=53, help="its port (default: %(default)s)")
    add(
        "--upstream",
        metavar="IP[@PORT],...",
        type=_list,
        default=_list(os.environ.get("UPSTREAM_DNS", "")),
        help="resolvers for everything else (default: the variable UPSTREAM_DNS; without any, other names don't exist)",
    )
    return parser.parse_args()


def _own_address() -> str | None:
    """The address that this machine's own name stands for, as containers have it; None on loopback."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return None
    return None if address.startswith("127.") else address


def _config(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return data


def _resolver(arguments: argparse.Namespace) -> Resolver:
    if arguments.unbound is None:
        return BuiltIn()
    return Unbound(
        UnboundOptions(
            arguments.unbound,
            addresses=arguments.unbound_address,
            port=arguments.unbound_port,
            upstreams=arguments.upstream,
        )
    )


def _url(scheme: str, server: Server | ControlServer) -> str:
    host, port = server.server_address[:2]
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _serve(arguments: argparse.Namespace, folder: Path, stop: threading.Event) -> None:
    address = _own_address() if arguments.lan_address == "auto" else arguments.lan_address
    store = Store(RELEASES[arguments.release], folder, _config(arguments.config), address)
    system = store.content.system
    cert, key = certificate.ensure(folder, f"{system['hostname']}.{system['domain']}")
    app = App(store, _resolver(arguments), auth_delay=arguments.auth_delay, rollback_seconds=arguments.rollback_seconds)
    app.boot()
    with contextlib.ExitStack() as stack:
        stack.callback(app.shutdown)
        secure = stack.enter_context(
            listening(arguments.listen, app, certificate.context(cert, key), arguments.idle_seconds)
        )
        plain = (
            stack.enter_context(listening(arguments.plain, app, None, arguments.idle_seconds))
            if arguments.plain
            else None
        )
        control = stack.enter_context(ControlServer(arguments.control, app))
        stack.callback(control.shutdown)
        for server in (secure, plain, control):
            if server is not None:
                threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        ready = {
            "listen": _url("https", secure),
            "plain": _url("http", plain) if plain is not None else None,
            "control": _url("http", control),
            "certificate": str(cert.resolve()),
            "fingerprint": certificate.fingerprint(cert),
            "release": arguments.release,
        }
        print(json.dumps(ready), flush=True)
        stop.wait()


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        if arguments.state is None:
            with tempfile.TemporaryDirectory(prefix="opnsense-simulator-") as folder:
                _serve(arguments, Path(folder), stop)
        else:
            arguments.state.mkdir(parents=True, exist_ok=True)
            _serve(arguments, arguments.state, stop)
    except (ConfigError, ResolverError, certificate.CertificateError, OSError) as error:
        print(f"opnsense_simulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
