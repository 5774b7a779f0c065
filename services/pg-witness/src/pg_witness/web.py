# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests that end in time: one deadline for connecting, TLS, sending and reading together."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from .config import Tls

LARGEST = 4 * 1024 * 1024

# What can go wrong with a request; nothing of it is a reason to end.
FAILURES = (OSError, http.client.HTTPException, ValueError)


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """The client's side of TLS: our certificate, and the one authority that we believe."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=tls.ca)
    context.load_cert_chain(tls.cert, tls.key)
    return context


def remaining(deadline: float) -> float:
    """The time that is left; never 0, which a socket would take for "do not wait"."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline, however slowly it drips."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(remaining(self._deadline))
        return self._sock.recv_into(buffer)


class _Answering:
    """Stands in for the socket towards http.client, which asks it for a file only."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._deadline))


class Client:
    """Requests to one server; the connection is kept if the server keeps it. Not for several threads at once."""

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"not an address with a port: {url}")
        self.url = url
        self._host, self._port, self._authority = parts.hostname, parts.port, parts.netloc
        self._context = context if parts.scheme == "https" else None
        self._session: ssl.SSLSession | None = None
        self._sock: socket.socket | None = None

    def close(self) -> None:
        """Give the connection up."""
        if self._sock is not None:
            if isinstance(self._sock, ssl.SSLSocket):
                self._session = self._sock.session
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None

    def _connect(self, deadline: float) -> socket.socket:
        sock = socket.create_connection((self._host, self._port), timeout=remaining(deadline))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock.settimeout(remaining(deadline))
                # Resuming a session spares both sides the certificates, twice a second.
                sock = self._context.wrap_socket(sock, server_hostname=self._host, session=self._session)
        except BaseException:
            sock.close()
            self._session = None
            raise
        return sock

    def request(self, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises one of FAILURES after the time-out at the latest."""
        deadline = time.monotonic() + timeout
        kept = self._sock is not None
        try:
            return self._once(method, path, body, deadline)
        except TimeoutError:
            self.close()
            raise
        except FAILURES:
            self.close()
            if not kept:
                raise
        except BaseException:
            self.close()
            raise
        # The server may have closed a kept connection while we slept: once more on a new one.
        try:
            return self._once(method, path, body, deadline)
        except BaseException:
            self.close()
            raise

    def _once(self, method: str, path: str, body: bytes | None, deadline: float) -> tuple[int, bytes]:
        if self._sock is None:
            self._sock = self._connect(deadline)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._authority}", "User-Agent: pg-witness"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self._sock.settimeout(remaining(deadline))
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        answer = http.client.HTTPResponse(_Answering(self._sock, deadline), method=method)  # type: ignore[arg-type]
        try:
            answer.begin()
            content = answer.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise ValueError("the answer is too long")
            if answer.will_close or not answer.isclosed():
                self.close()
            return answer.status, content
        finally:
            answer.close()
