# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control interface: request log, faults, state. For tests only; it asks for no password."""

from __future__ import annotations

import json
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .app import App, Fault
from .state import ConfigError

LOG = logging.getLogger(__name__)


class ControlServer(ThreadingHTTPServer):
    """The listener of the control interface."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], app: App) -> None:
        self.app = app
        super().__init__(address, ControlHandler)


class ControlHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: ControlServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the log of interest is the API's."""

    def do_GET(self) -> None:
        """Look at something."""
        app = self.server.app
        if self.path == "/log":
            with app.log_lock:
                self.answer({"requests": list(app.log)})
        elif self.path == "/faults":
            self.answer({"faults": [vars(fault) for fault in app.faults]})
        elif self.path == "/state":
            self.answer(app.state())
        elif self.path == "/health":
            # The box is well when the resolver is up, unless the configuration switched it off.
            well = app.resolver.running() or not app.enabled("unbound")
            self.answer({"healthy": well, "fault": app.resolver.last_fault}, 200 if well else 503)
        else:
            self.unknown()

    def do_PUT(self) -> None:
        """Set something."""
        app = self.server.app
        try:
            data = json.loads(self.body() or b"{}")
            if not isinstance(data, dict):
                raise ConfigError("the body must be a JSON object")
            if self.path == "/faults":
                faults = [Fault.parse(fault) for fault in data.get("faults", [])]
                with app.log_lock:
                    app.faults[:] = faults
                self.answer({"faults": [vars(fault) for fault in faults]})
            elif self.path == "/state":
                app.seed(data)
                self.answer({"status": "ok"})
            else:
                self.unknown()
        except ValueError as error:
            self.answer({"error": str(error)}, 400)

    def do_DELETE(self) -> None:
        """Clear something."""
        self.body()
        app = self.server.app
        if self.path in ("/log", "/faults"):
            with app.log_lock:
                if self.path == "/log":
                    app.log.clear()
                else:
                    app.faults.clear()
            self.answer({"status": "ok"})
        else:
            self.unknown()

    def do_POST(self) -> None:
        """Start over."""
        self.body()
        if self.path == "/reset":
            self.server.app.reset()
            self.answer({"status": "ok"})
        else:
            self.unknown()

    def body(self) -> bytes:
        """What was sent."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def unknown(self) -> None:
        """No such thing."""
        self.answer({"error": "there are /log, /faults, /state, /health and /reset"}, 404)

    def answer(self, data: Any, status: int = 200) -> None:
        """Write an answer."""
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
