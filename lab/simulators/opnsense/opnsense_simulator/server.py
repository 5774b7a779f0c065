# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web server in front of the API: connections, limits, login, and the way to a controller."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import itertools
import json
import socket
import socketserver
import ssl
import time
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from . import acl, php
from .api import NOT_FOUND, UNEXPECTED, Action, ApiError, Controller, Reply, Request, UserError
from .app import App
from .controllers import find
from .model import InvalidInput
from .state import User

REQUESTS_PER_CONNECTION = 15
IDLE_SECONDS = 30.0
HEADER_LIMIT = 16 * 1024
BODY_LIMIT = 200 * 1024 * 1024
_READING = ("search", "get", "export", "list", "download", "status", "info")


class Dropped(Exception):
    """The connection ends here, without an answer."""


class Refused(Exception):
    """The web server itself refuses the request and closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Server(socketserver.ThreadingTCPServer):
    """One listener of the API, with or without TLS."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], app: App, context: ssl.SSLContext | None, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.app = app
        self.idle_seconds = idle_seconds
        self.context = context
        self.connections = itertools.count(1)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class Connection(socketserver.BaseRequestHandler):
    """One connection of a client."""

    server: Server

    def handle(self) -> None:
        """Answer up to 15 requests."""
        self.app = self.server.app
        self.number = next(self.server.connections)
        stream: socket.socket = self.request
        stream.settimeout(self.server.idle_seconds)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.context is not None:
            try:
                stream = self.server.context.wrap_socket(stream, server_side=True)
            except OSError:
                return
        with contextlib.closing(stream), contextlib.suppress(OSError, Dropped):
            self.stream = stream
            # With a buffer it is a reader; the stubs cannot tell.
            self.file: io.BufferedReader = stream.makefile("rb", buffering=65536)  # type: ignore[assignment]
            for count in range(1, REQUESTS_PER_CONNECTION + 1):
                try:
                    again = self.answer(last=count == REQUESTS_PER_CONNECTION)
                except Refused as refusal:
                    self.refuse(refusal.status)
                    return
                if not again:
                    return

    # Reading

    def read_head(self) -> tuple[str, str, str, dict[str, str]] | None:
        """Method, URL, version and headers; None at the end of the connection."""
        first = self.file.readline(HEADER_LIMIT + 1)
        if not first.strip():
            return None
        if len(first) > HEADER_LIMIT:
            raise Refused(414)
        size = len(first)
        headers: dict[str, str] = {}
        while True:
            line = self.file.readline(HEADER_LIMIT + 1)
            size += len(line)
            if size > HEADER_LIMIT:
                raise Refused(400)
            if line in (b"\r\n", b"\n", b""):
                break
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise Refused(400)
            headers[name.strip().lower()] = value.strip()
        parts = first.decode("latin-1").split()
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise Refused(400)
        return parts[0], parts[1], parts[2], headers

    def read_body(self, headers: dict[str, str]) -> bytes:
        """The body, by its length or in chunks."""
        if headers.get("expect", "").lower() == "100-continue":
            self.stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                try:
                    size = int(self.file.readline(64).split(b";")[0], 16)
                except ValueError as error:
                    raise Refused(400) from error
                body += self.file.read(size)
                if len(body) > BODY_LIMIT:
                    raise Refused(413)
                self.file.readline(64)
                if size == 0:
                    return body
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise Refused(400)
        if int(length) > BODY_LIMIT:
            raise Refused(413)
        body = self.file.read(int(length))
        if len(body) < int(length):
            raise Dropped
        return body

    # Answering

    def answer(self, last: bool) -> bool:
        """Answer one request; False when the connection ends."""
        head = self.read_head()
        if head is None:
            return False
        method, uri, version, headers = head
        started = time.monotonic()
        path = uri.partition("?")[0]
        entry: dict[str, Any] = {
            "method": method,
            "path": path,
            "query": uri.partition("?")[2],
            "status": 0,
            "user": None,
            "write": False,
            "connection": self.number,
        }
        body = self.read_body(headers)
        entry["bytes"] = len(body)
        try:
            reply = self.reply(method, uri, headers, body, entry)
        except Dropped:
            self.app.record(entry)
            raise
        entry["status"] = reply.status
        entry["seconds"] = round(time.monotonic() - started, 4)
        self.app.record(entry)
        close = last or version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        self.send(reply, close, head_only=method == "HEAD")
        return not close

    def send(self, reply: Reply, close: bool, head_only: bool = False) -> None:
        """Write an answer."""
        body = reply.body
        data = body if isinstance(body, bytes) else b"" if body is None else php.encode(body)
        content_type = reply.content_type if body is not None else "text/html; charset=UTF-8"
        lines = [
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(data)}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
            f"Connection: {'close' if close else 'keep-alive'}",
            "Server: OPNsense",
        ]
        text = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.stream.sendall(text if head_only else text + data)

    def refuse(self, status: int) -> None:
        """An answer of the web server, which then closes the connection."""
        self.app.record(
            {"method": "", "path": "", "query": "", "status": status, "user": None, "write": False,
             "connection": self.number}
        )  # fmt: skip
        phrase = HTTPStatus(status).phrase
        page = f"<!DOCTYPE html><html><head><title>{status} {phrase}</title></head><body></body></html>\n"
        with contextlib.suppress(OSError):
            self.send(Reply(status, page.encode(), "text/html"), close=True)
            # What the client still sends is read, so that it gets to see the answer instead of a reset.
            self.stream.settimeout(0.5)
            while self.file.read1(65536):
                pass

    # From the URL to the answer

    def reply(self, method: str, uri: str, headers: dict[str, str], body: bytes, entry: dict[str, Any]) -> Reply:
        """The answer, after faults, router and login."""
        try:
            late = self.inject(uri, entry)
            reply = self.route(method, uri, headers, body, entry)
            if late:
                raise Dropped
            return reply
        except ApiError as error:
            return error.reply
        except UserError as error:
            return error.reply(self.app.store.release)
        except InvalidInput:
            return Reply(500, UNEXPECTED)
        except Dropped:
            raise
        except Exception:  # noqa: BLE001
            # What PHP would trip over, or a fault of this program: the client sees the same, people see the reason.
            traceback.print_exc()
            return Reply(500, UNEXPECTED)

    def inject(self, uri: str, entry: dict[str, Any]) -> bool:
        """Do what the faults of the control interface ask for; tell whether the answer is to be lost."""
        fault = self.app.take_fault(uri)
        if fault is None:
            return False
        entry["fault"] = fault.kind
        if fault.kind == "drop":
            if fault.after:
                return True
            raise Dropped
        if fault.kind == "unauthorized":
            time.sleep(self.app.auth_delay)
            raise ApiError(401, {"status": 401, "message": "Authentication Failed"})
        if fault.kind == "forbidden":
            raise ApiError(403, {"status": 403, "message": "Forbidden"})
        if fault.kind == "error":
            raise ApiError(500, UNEXPECTED)
        if fault.kind == "empty":
            raise ApiError(200, None)
        time.sleep(fault.seconds)
        return False

    def route(self, method: str, uri: str, headers: dict[str, str], body: bytes, entry: dict[str, Any]) -> Reply:
        """The router, then the login, then the controller."""
        split = urlsplit("/" + uri.lstrip("/"))
        steps = [step for step in split.path.split("/") if step]
        if not steps or steps[0] != "api":
            # Outside the API lies the GUI, which asks for a login.
            return Reply(302, None, headers={"Location": "/"})
        module, controller, name, *parameters = [*steps[1:], *[""] * max(0, 4 - len(steps))]
        kind = find(self.app, module, controller)
        if kind is None:
            raise ApiError(404, NOT_FOUND)
        name = (name or "index").replace("_", "").lower()
        entry["write"] = method == "POST" and not name.startswith(_READING)
        # Unknown actions and missing parameters are found before anybody logs in.
        probe = kind(self.app, Request(method, {}, {}, User("", "", "", ())))
        action = _action(probe, name)
        if action is None or (action.required > len(parameters) and name in probe.actions()):
            raise ApiError(404, NOT_FOUND)
        user = self.login(headers)
        entry["user"] = user.name
        if not acl.allowed(self.app.store.release, user.privileges, "/" + uri.lstrip("/")):
            raise ApiError(403, {"status": 403, "message": "Forbidden"})
        post = self.parse(headers, body) if method == "POST" or body or "content-type" in headers else {}
        request = Request(method, php.parse_form(split.query), post, user)
        handler = kind(self.app, request)
        found = _action(handler, name)
        assert found is not None
        if name in ("reconfigure", "reconfiguregeneral", "start", "stop", "restart", "listlocaldata"):
            result = found.call(*parameters)  # takes long, and does not touch the configuration
        else:
            with self.app.store.lock:
                result = found.call(*parameters)
        return result if isinstance(result, Reply) else Reply(200, result)

    def login(self, headers: dict[str, str]) -> User:
        """The user of the key; a wrong one costs time."""
        failed = {"status": 401, "message": "Authentication Failed"}
        authorization = headers.get("authorization", "")
        if not authorization:
            raise ApiError(401, None)
        parts = authorization.split(" ")
        try:
            key, colon, secret = base64.b64decode(parts[1]).decode("utf-8").partition(":")
        except (IndexError, binascii.Error, UnicodeDecodeError):
            key, colon, secret = "", "", ""
        if not colon:
            raise ApiError(401, failed)
        user = self.app.store.users.get(key)
        if user is None or user.secret != secret.split(":")[0]:
            time.sleep(self.app.auth_delay)
            raise ApiError(401, failed)
        return user

    def parse(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """The body as PHP's $_POST."""
        content_type = headers.get("content-type", "").replace(" ", "").lower()
        if content_type in ("application/json", "application/json;charset=utf-8"):
            if body in (b"", b"0"):
                raise ApiError(400, {"status": 400, "message": "Invalid JSON syntax"})
            try:
                data = json.loads(body.decode("utf-8"))
            except ValueError:
                return {}  # broken text counts as no text
            if isinstance(data, list):
                return {str(index): item for index, item in enumerate(data)}
            return data if isinstance(data, dict) else {}
        if content_type.split(";")[0] == "application/x-www-form-urlencoded":
            return php.parse_form(body.decode("utf-8", "replace"))
        return {}


def _action(controller: Controller, name: str) -> Action | None:
    return controller.actions().get(name) or controller.fallback(name)


@contextlib.contextmanager
def listening(
    address: tuple[str, int], app: App, context: ssl.SSLContext | None, idle_seconds: float
) -> Iterator[Server]:
    """A listener that is closed at the end."""
    with Server(address, app, context, idle_seconds) as server:
        try:
            yield server
        finally:
            server.shutdown()
