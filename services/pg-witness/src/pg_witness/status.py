# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status over HTTP, for this machine: /health and /metrics."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .witness import Witness

FRESH_SECONDS = 5.0


def age(witness: Witness) -> float | None:
    """Seconds since etcd answered; None if it never did."""
    contact = witness.state.figures.etcd_contact
    return None if contact is None else max(0.0, time.monotonic() - contact)


def metrics(witness: Witness) -> str:
    """The figures in the text format of Prometheus."""
    figures, since = witness.state.figures, age(witness)
    rows: list[tuple[str, str, str, float]] = [
        ("takeovers_total", "counter", "Leader keys that this witness gave free.", figures.takeovers),
        (
            "takeover_attempts_total",
            "counter",
            "Transactions that would have given a leader key free.",
            figures.attempts,
        ),
        ("votes_total", "counter", "Votes against a leader that this witness published.", figures.votes),
        ("leader_probe_failures_total", "counter", "Calls that the leader did not answer.", figures.probes_failed),
        ("leader_misses", "gauge", "Calls in a row that the leader did not answer.", figures.misses),
        (
            "etcd_up",
            "gauge",
            "Whether etcd answered within the last 5 seconds.",
            since is not None and since < FRESH_SECONDS,
        ),
    ]
    if since is not None:
        text = "When etcd answered last, in seconds since 1970."
        rows.append(("etcd_last_contact_timestamp_seconds", "gauge", text, round(time.time() - since, 3)))
    lines = []
    for name, kind, text, value in rows:
        lines += [
            f"# HELP pg_witness_{name} {text}",
            f"# TYPE pg_witness_{name} {kind}",
            f"pg_witness_{name} {float(value):.15g}",
        ]
    return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    """Answers the two questions."""

    server: StatusServer
    timeout = 5

    def do_GET(self) -> None:
        """Answer a request."""
        witness = self.server.witness
        if self.path == "/health":
            since = age(witness)
            good = since is not None and since < FRESH_SECONDS
            content: dict[str, Any] = {"ok": good, "etcd_age": since, "state": witness.state.figures.reason}
            self._answer(200 if good else 503, "application/json", json.dumps(content) + "\n")
        elif self.path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics(witness))
        else:
            self._answer(404, "text/plain", "not found\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: somebody asks every few seconds."""


class StatusServer(ThreadingHTTPServer):
    """Listens on an address of this machine."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        if ":" in witness.settings.status[0]:
            self.address_family = socket.AF_INET6
        super().__init__(witness.settings.status, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up: nothing to say."""

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, name="status", daemon=True).start()
