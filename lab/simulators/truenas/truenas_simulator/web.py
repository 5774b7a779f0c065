# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listeners: the API with and without TLS, and the control interface for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from . import ejson
from .faults import FaultError
from .nas import Nas
from .rpc import LARGEST, Connection
from .services import running
from .store import StateError, seed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=ejson.dumps(value), status=status, content_type="application/json")


def api(nas: Nas, secure: bool) -> web.Application:
    """Return the API as it is reached with or without TLS."""

    def note(request: web.Request, status: int) -> None:
        nas.log.add(
            {
                "method": request.method,
                "path": request.path,
                "params": [],
                "status": status,
                "error": None,
                "user": None,
                "write": False,
                "remote": request.remote,
                "connection": None,
            }
        )

    @web.middleware
    async def redirect(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not secure and nas.state["system"]["https_redirect"]:
            note(request, 307)
            raise web.HTTPTemporaryRedirect(f"https://{request.host.partition(':')[0]}{request.path_qs}")
        return await handler(request)

    async def versions(request: web.Request) -> web.Response:
        if nas.faults.take("drop", request.path) and request.transport:
            note(request, 0)
            request.transport.abort()
        else:
            note(request, 200)
        return _json(list(nas.apis))

    async def connect(request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        if version != "current" and version not in nas.apis:
            note(request, 404)
            raise web.HTTPNotFound()
        answer = web.WebSocketResponse(max_msg_size=2 * LARGEST, autoping=True)
        if not answer.can_prepare(request):
            note(request, 400)
            raise web.HTTPBadRequest(text="No WebSocket UPGRADE hdr")
        await answer.prepare(request)
        note(request, 101)
        connection = Connection(nas, request, answer, version, secure)
        nas.connections.add(connection)
        await connection.serve()
        return answer

    app = web.Application(middlewares=[redirect])
    app.router.add_get("/api/versions", versions)
    app.router.add_get("/api/{version}", connect)
    return app


def control(nas: Nas) -> web.Application:
    """Return the control interface."""

    async def body(request: web.Request) -> Any:
        try:
            return await request.json()
        except json.JSONDecodeError as error:
            raise web.HTTPBadRequest(text=f"not JSON: {error}") from error

    async def get_log(request: web.Request) -> web.Response:
        return _json({"requests": list(nas.log.entries)})

    async def delete_log(request: web.Request) -> web.Response:
        nas.log.clear()
        return _json({})

    async def get_faults(request: web.Request) -> web.Response:
        return _json(nas.faults.document())

    async def put_faults(request: web.Request) -> web.Response:
        try:
            nas.faults.put(await body(request))
        except (FaultError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json(nas.faults.document())

    async def delete_faults(request: web.Request) -> web.Response:
        nas.faults.clear()
        return _json({})

    async def get_state(request: web.Request) -> web.Response:
        state = nas.store.public()
        state["release"] = nas.release
        for name, service in state["services"].items():
            service["running"] = running(nas, name)
        state["jobs"] = [job.document() for job in nas.jobs.all.values()]
        state["connections"] = len(nas.connections)
        return _json(state)

    async def put_state(request: web.Request) -> web.Response:
        parts = await body(request)
        replace = parts.pop("replace", [])
        try:
            for name in replace:
                if name not in ("shares", "snapshot_tasks", "replications", "keychain"):
                    raise StateError(f"{name} cannot be replaced as a whole")
                nas.state[name] = []
            seed(nas.state, parts)
        except (StateError, KeyError, TypeError, AttributeError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)
        nas.make_folders()
        nas.store.save()
        if running(nas, "nfs"):
            await nas.shares_changed()
        return _json({})

    async def post_reset(request: web.Request) -> web.Response:
        await nas.reset()
        return _json({})

    async def get_health(request: web.Request) -> web.Response:
        # Stopped by its user the service is as it should be; gone without a word it is not.
        healthy = running(nas, "nfs") or not nas.state["services"]["nfs"]["running"]
        return _json({"release": nas.release, "nfs": running(nas, "nfs"), "healthy": healthy})

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_get("/log", get_log)
    app.router.add_delete("/log", delete_log)
    app.router.add_get("/faults", get_faults)
    app.router.add_put("/faults", put_faults)
    app.router.add_delete("/faults", delete_faults)
    app.router.add_get("/state", get_state)
    app.router.add_put("/state", put_state)
    app.router.add_post("/reset", post_reset)
    app.router.add_get("/health", get_health)
    return app


def bind(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT; port 0 is any free one."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if int(port):
        # Not for a free port: with this the kernel may give the same one to two that do not listen yet.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host or "0.0.0.0", int(port)))
    listener.listen(128)
    return listener


def url(scheme: str, listener: socket.socket) -> str:
    """Return the address under which a listener is reached."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class Listeners:
    """What listens, and how to end it."""

    def __init__(self) -> None:
        self.runners: list[web.AppRunner] = []

    async def start(self, app: web.Application, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Serve an application."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=context).start()
        self.runners.append(runner)

    async def stop(self) -> None:
        """End all."""
        for runner in self.runners:
            with contextlib.suppress(asyncio.TimeoutError):
                await runner.cleanup()
