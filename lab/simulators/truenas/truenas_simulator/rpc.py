# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC 2.0 over WebSocket: framing, limits, who may call what, answers and notifications."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import linecache
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from . import ejson
from .audit import redact
from .errors import ENOMETHOD, ENOTAUTHENTICATED, CallError, ValidationError, ValidationErrors, errname
from .registry import Call, Method
from .schema import accept

if TYPE_CHECKING:
    from .auth import LoginState, Session
    from .nas import Nas

ANONYMOUS_LIMIT = 8192
LIMIT = 65536
LARGEST = 2097152
RUNNING, QUEUED = 10, 20
LARGE_METHODS = ("filesystem.file_receive", "failover.datastore.sql")

INVALID_JSON, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
TOO_MANY, CALL_ERROR = -32000, -32001


class _TooMany(Exception):
    """More calls at once than a connection may have."""


class Dropped(Exception):
    """The connection is to be cut without an answer."""


class _TooLong(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def trace_of(error: BaseException) -> dict[str, Any]:
    """Return the traceback as the appliance sends it, without the values of variables: they may be secret."""
    frames = []
    current = error.__traceback__
    while current:
        code = current.tb_frame.f_code
        frames.append(
            {
                "filename": code.co_filename,
                "lineno": current.tb_lineno,
                "method": code.co_name,
                "line": linecache.getline(code.co_filename, current.tb_lineno),
                "argspec": list(code.co_varnames[: code.co_argcount]),
            }
        )
        current = current.tb_next
    return {
        "class": type(error).__name__,
        "frames": frames,
        "formatted": "".join(traceback.format_exception(error)),
        "repr": repr(error),
    }


def error_data(error: BaseException) -> tuple[int, str, dict[str, Any]]:
    """Return code, message and data of an error."""
    code, message, number, extra = CALL_ERROR, "Method call error", errno.EINVAL, None
    reason = str(error) or repr(error)
    if isinstance(error, ValidationError):
        code, message, extra = INVALID_PARAMS, "Invalid params", [error.entry()]
    elif isinstance(error, ValidationErrors):
        code, message, extra = INVALID_PARAMS, "Invalid params", list(error)
    elif isinstance(error, CallError):
        # Whatever a method gives as extra goes out as it is.
        number, extra = error.errno, error.extra  # type: ignore[assignment]
    elif isinstance(error, IndexError):
        reason = repr(error)
    data = {"error": number, "errname": errname(number), "reason": reason, "trace": trace_of(error), "extra": extra}
    return code, message, data


class Connection:
    """One WebSocket: its session, its options and what it has subscribed to."""

    def __init__(self, nas: Nas, request: web.Request, socket: web.WebSocketResponse, api: str, secure: bool) -> None:
        self.nas, self.request, self.socket, self.api, self.tls = nas, request, socket, api, secure
        self.id = str(uuid.uuid4())
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.remote = str(peer[0]) if peer else "127.0.0.1"
        self.session: Session | None = None
        self.login: LoginState | None = None
        self.legacy_jobs = True
        self.private_methods = False
        self.py_exceptions = False
        self.subscriptions: dict[str, str] = {}
        self.calls = 0
        self.semaphore = asyncio.Semaphore(RUNNING)
        self.tasks: set[asyncio.Task[None]] = set()
        self.outgoing: asyncio.Queue[str] = asyncio.Queue()

    @property
    def secure(self) -> bool:
        """Whether a key may be sent: over TLS, or on this very machine."""
        if self.tls:
            return True
        loopback = ipaddress.ip_address(self.remote.split("%")[0]).is_loopback
        return loopback and not self.nas.state["system"]["loopback_is_remote"]

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, after those sent before it."""
        self.outgoing.put_nowait(ejson.dumps({"jsonrpc": "2.0", **message}))

    async def pump(self) -> None:
        """Write out what was sent, in order."""
        while True:
            text = await self.outgoing.get()
            try:
                await self.socket.send_str(text)
            except (ConnectionError, RuntimeError):  # the other side is gone
                return

    def send_error(self, number: Any, code: int, message: str, data: Any = None) -> None:
        """Answer with an error."""
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self.send({"error": error, "id": number})

    def send_event(self, name: str, kind: str, number: Any, fields: Any) -> None:
        """Notify, if this connection has subscribed to the collection."""
        if not any(wanted in (name, "*") for wanted in self.subscriptions.values()):
            return
        event = {"msg": kind.lower(), "collection": name, "id": number}
        if kind in ("ADDED", "CHANGED"):
            event["fields"] = fields
        self.send({"method": "collection_update", "params": event})

    def abort(self) -> None:
        """Cut the connection."""
        if self.request.transport:
            self.request.transport.abort()

    # -- receiving ------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read messages until the end."""
        pump = asyncio.create_task(self.pump())
        try:
            async for message in self.socket:
                if message.type == WSMsgType.ERROR:
                    break
                if message.type != WSMsgType.TEXT:
                    text = f"Invalid websocket message type: {message.type!r}"
                    await self.socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=text.encode())
                    break
                try:
                    self.receive(self.parse(message.data))
                except _TooLong as error:
                    await self.socket.close(code=error.code, message=error.text.encode())
                    break
                except ValueError as error:
                    self.send_error(None, INVALID_JSON, str(error))
        finally:
            pump.cancel()
            self.nas.connections.discard(self)

    def parse(self, data: str) -> dict[str, Any]:
        """Return the message, or refuse what is too long or no message."""
        size = len(data)
        if self.session is None and size > ANONYMOUS_LIMIT:
            raise _TooLong(WSCloseCode.INVALID_TEXT, "Anonymous connection max message length is 8 kB")
        if size > LARGEST:
            raise _TooLong(WSCloseCode.MESSAGE_TOO_BIG, "Max message length is 64 kB")
        message = ejson.loads(data)
        if isinstance(message, list):
            raise ValueError("Batch messages are not supported at this time")  # noqa: TRY004 - becomes -32700, as a broken message does
        if not isinstance(message, dict):
            raise ValueError("Invalid Message Format")  # noqa: TRY004 - becomes -32700, as a broken message does
        if message.get("method") not in LARGE_METHODS and size > LIMIT:
            raise _TooLong(WSCloseCode.MESSAGE_TOO_BIG, "Max message length is 64 kB")
        return message

    def receive(self, message: dict[str, Any]) -> None:
        """Start the call that a message asks for."""
        answer = "id" in message
        number = message.get("id")
        problem = _invalid(message)
        if problem:
            if answer:
                self.send_error(number, INVALID_REQUEST, problem)
            return
        name, arguments = message["method"], message.get("params", [])
        method = self.nas.methods.get(name)
        if method is None:
            self.record(name, arguments, None, "error", {"code": NO_METHOD})
            if answer:
                self.send_error(number, NO_METHOD, "Method does not exist")
            return
        task = asyncio.create_task(self.answer(answer, number, method, arguments))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, wanted: bool, number: Any, method: Method, arguments: list[Any]) -> None:
        """Run a call and send its answer, if one is wanted."""
        try:
            result = await self.limited(number if wanted else None, method, arguments)
        except Dropped:
            self.record(method.name, arguments, method, "dropped", None)
            self.abort()
        except _TooMany:
            text = f"Maximum number of concurrent calls ({QUEUED}) has exceeded"
            self.record(method.name, arguments, method, "error", {"code": TOO_MANY, "reason": text})
            if wanted:
                self.send_error(number, TOO_MANY, text)
        except Exception as error:  # noqa: BLE001  # every failure of a method is an answer
            code, message, data = error_data(error)
            problem = {"code": code, "errno": data["error"], "reason": data["reason"]}
            self.record(method.name, arguments, method, "error", problem)
            if wanted:
                self.send_error(number, code, message, data)
        else:
            self.record(method.name, arguments, method, "ok", None)
            if wanted:
                self.send({"result": result, "id": number})

    async def limited(self, number: Any, method: Method, arguments: list[Any]) -> Any:
        """Run a call: ten at once, ten more wait, any further one is refused."""
        if self.calls >= QUEUED:
            raise _TooMany()
        self.calls += 1
        try:
            async with self.semaphore:
                return await self.run(number, method, arguments)
        finally:
            self.calls -= 1

    async def run(self, number: Any, method: Method, arguments: list[Any]) -> Any:
        """Check rights and arguments, then run the method."""
        drop = self.nas.faults.take("drop", method.name)
        if drop and not drop.after:
            raise Dropped()
        if self.nas.faults.take("ebusy", method.name):
            raise CallError("Rate Limit Exceeded", errno.EBUSY)
        fault = self.nas.faults.take("error", method.name)
        if fault:
            raise CallError(fault.message)
        await self.authorize(method)
        if method.hidden and self.api in self.nas.older_apis:
            service, _, verb = method.name.rpartition(".")
            raise CallError(f"Method {verb!r} not found in {service!r}", ENOMETHOD)
        accepted = accept(method.accepts(self.nas.release), arguments, merge=self.nas.release >= "26")
        result: Any
        if method.is_job:
            job = self.nas.jobs.start(method, accepted, self, number)
            result = job.id if self.legacy_jobs else await job.wait()
        else:
            result = await method.handler(Call(self.nas, self), *accepted)
            if method.write:
                self.nas.store.save()
        if drop:
            raise Dropped()
        return result

    async def authorize(self, method: Method) -> None:
        """Refuse who may not call the method."""
        if method.access == "public":
            if self.session is None and method.limited:
                await self.nas.limiter.check(method.name, self.remote)
            return
        if self.session is None:
            raise CallError("Not authenticated", ENOTAUTHENTICATED)
        if self.nas.revoke_by_fault(method.name, self.session):
            self.session = None
            raise CallError("Not authenticated", ENOTAUTHENTICATED)
        if method.access == "roles" and not self.session.has_any(method.roles):
            raise CallError("Not authorized", errno.EACCES)

    def record(self, name: str, arguments: Any, method: Method | None, status: str, error: Any) -> None:
        """Note the call in the log."""
        self.nas.log.add(
            {
                "method": name,
                "path": f"/api/{self.api}",
                "params": redact(name, arguments),
                "status": status,
                "error": error,
                "user": self.session.username if self.session else None,
                "write": method.write if method else False,
                "remote": self.remote,
                "connection": self.id,
            }
        )


def _invalid(message: dict[str, Any]) -> str | None:
    """Return what is wrong with a message; the order of the checks is the appliance's."""
    if "jsonrpc" not in message:
        return "Missing 'jsonrpc' member"
    if message["jsonrpc"] != "2.0":
        return "'jsonrpc' member must be of type string and must be exactly '2.0'"
    if not isinstance(message.get("id"), (int, str, type(None))):
        return "'id' member must be of type null, string or number"
    if "method" not in message:
        return "Missing 'method' member"
    if not isinstance(message["method"], str) or not message["method"]:
        return "'method' member must be of type string"
    if not isinstance(message.get("params", []), list):
        return "'params' member must be of type array"
    return None
