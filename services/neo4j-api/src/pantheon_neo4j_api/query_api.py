# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Neo4j's Query API, version 2, and the page on which clients find it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from . import VERSION
from .errors import Neo4jError
from .query_json import plain, typed, untyped
from .service import OpenTransaction, Service
from .values import Result

LOG = logging.getLogger(__name__)

_TYPED = "application/vnd.neo4j.query"
_LARGEST = 64 * 1024 * 1024
_STATUS = {
    "Neo.ClientError.Security.Unauthorized": 401,
    "Neo.ClientError.Security.AuthenticationRateLimit": 429,
    "Neo.ClientError.Database.DatabaseNotFound": 404,
    "Neo.ClientError.Transaction.TransactionNotFound": 404,
}
_COUNTERS = {
    "nodesCreated": "nodes-created",
    "nodesDeleted": "nodes-deleted",
    "propertiesSet": "properties-set",
    "relationshipsCreated": "relationships-created",
    "relationshipsDeleted": "relationships-deleted",
    "labelsAdded": "labels-added",
    "labelsRemoved": "labels-removed",
    "indexesAdded": "indexes-added",
    "indexesRemoved": "indexes-removed",
    "constraintsAdded": "constraints-added",
    "constraintsRemoved": "constraints-removed",
    "systemUpdates": "system-updates",
}
_IDLE_SECONDS = 60.0


@dataclass
class _Open:
    """An explicit transaction that lives between requests."""

    transaction: OpenTransaction
    database: str
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    timer: asyncio.TimerHandle | None = None


class QueryApi:
    """The HTTP side of the server."""

    def __init__(self, service: Service, bolt_port: int) -> None:
        self._service = service
        self._bolt_port = bolt_port
        self._open: dict[str, _Open] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return the application of aiohttp."""
        application = web.Application(client_max_size=_LARGEST, middlewares=[self._errors])
        path = "/db/{database}/query/v2"
        application.router.add_get("/", self._discover)
        application.router.add_post(path, self._query)
        application.router.add_post(f"{path}/tx", self._begin)
        application.router.add_post(f"{path}/tx/{{id}}", self._continue)
        application.router.add_post(f"{path}/tx/{{id}}/commit", self._commit)
        application.router.add_delete(f"{path}/tx/{{id}}", self._rollback)
        application.on_shutdown.append(self._shut_down)
        return application

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if request.path != "/":
                self._service.users.check_header(request.headers.get("Authorization"))
            response: web.StreamResponse = await handler(request)
        except Neo4jError as error:
            response = self._failed(error)
        except web.HTTPException as error:
            response = self._failed(
                Neo4jError("Neo.ClientError.Request.Invalid", f"{request.method} {request.path}: {error.reason}"),
                error.status,
            )
        response.headers["X-Lab-Stand-In"] = "true"
        return response

    @staticmethod
    def _failed(error: Neo4jError, status: int = 0) -> web.Response:
        code = status or _STATUS.get(error.code, 500 if error.code.startswith("Neo.DatabaseError") else 400)
        headers = {"WWW-Authenticate": 'Basic realm="Neo4j", charset="UTF-8"'} if code == 401 else {}
        body = {"errors": [{"code": error.code, "message": error.message}]}
        return web.json_response(body, status=code, headers=headers)

    async def _discover(self, request: web.Request) -> web.Response:
        host = request.url.host or "localhost"
        return web.json_response(
            {
                "bolt_routing": f"neo4j://{host}:{self._bolt_port}",
                "bolt_direct": f"bolt://{host}:{self._bolt_port}",
                "query": f"{request.url.origin()}/db/{{databaseName}}/query/v2",
                "neo4j_version": VERSION,
                "neo4j_edition": "stand-in",
            }
        )

    # -- requests -----------------------------------------------------------------------------------------------------

    async def _body(self, request: web.Request) -> dict[str, Any]:
        text = await request.text()
        if not text.strip():
            return {}
        try:
            body = json.loads(text)
            if not isinstance(body, dict) or not isinstance(body.get("parameters", {}), (dict, type(None))):
                raise TypeError("it is no object with parameters in an object")
            if request.content_type.startswith(_TYPED):
                body["parameters"] = {key: untyped(value) for key, value in (body.get("parameters") or {}).items()}
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise Neo4jError("Neo.ClientError.Request.InvalidFormat", f"The body cannot be used: {error}.") from error
        return body

    @staticmethod
    def _statement(body: Mapping[str, Any]) -> str:
        statement = body.get("statement")
        if not isinstance(statement, str):
            raise Neo4jError("Neo.ClientError.Request.InvalidFormat", "The body has no statement.")
        return statement

    @staticmethod
    def _reads(body: Mapping[str, Any]) -> bool:
        mode = str(body.get("accessMode", "WRITE")).upper()
        if mode not in ("READ", "WRITE"):
            raise Neo4jError("Neo.ClientError.Request.InvalidFormat", f"accessMode is {mode!r}; it is READ or WRITE.")
        return mode == "READ"

    @staticmethod
    def _seconds(body: Mapping[str, Any]) -> float:
        value = body.get("maxExecutionTime", 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise Neo4jError("Neo.ClientError.Request.InvalidFormat", "maxExecutionTime is no number of seconds.")
        return float(value)

    def _answer(
        self, request: web.Request, body: Mapping[str, Any], result: Result | None, **more: Any
    ) -> web.Response:
        kind = _TYPED if _TYPED in request.headers.get("Accept", "") else "application/json"
        show = typed if kind == _TYPED else plain
        answer: dict[str, Any] = {}
        if result is not None:
            values = [[show(value) for value in row] for row in result.rows]
            answer["data"] = {"fields": result.fields, "values": values}
            if result.plan is not None:
                answer["queryPlan"] = result.plan
            if body.get("includeCounters") is True:
                answer["counters"] = _counters(result)
        text = json.dumps({**answer, **more}, ensure_ascii=False)
        return web.Response(text=text, status=202, content_type=kind)

    async def _query(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        result = await self._service.run(
            request.match_info["database"],
            self._statement(body),
            body.get("parameters") or {},
            self._reads(body),
            self._seconds(body),
        )
        return self._answer(request, body, result, bookmarks=[self._service.bookmark])

    # -- explicit transactions ----------------------------------------------------------------------------------------

    async def _begin(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        database = request.match_info["database"]
        number = secrets.token_hex(4)
        entry = _Open(self._service.begin(database, self._reads(body), self._seconds(body)), database)
        self._open[number] = entry
        async with self._use(number, database):
            result = await self._run(entry, body)
            return self._answer(request, body, result, transaction=self._waits(number))

    async def _continue(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        number = request.match_info["id"]
        async with self._use(number, request.match_info["database"]) as entry:
            result = await self._run(entry, body)
            return self._answer(request, body, result, transaction=self._waits(number))

    async def _commit(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        number = request.match_info["id"]
        async with self._use(number, request.match_info["database"]) as entry:
            result = await self._run(entry, body)
            await entry.transaction.commit()
            self._open.pop(number, None)
        return self._answer(request, body, result, bookmarks=[self._service.bookmark])

    async def _rollback(self, request: web.Request) -> web.Response:
        number = request.match_info["id"]
        async with self._use(number, request.match_info["database"]) as entry:
            self._open.pop(number, None)
            await entry.transaction.rollback()
        return web.json_response({})

    async def _run(self, entry: _Open, body: Mapping[str, Any]) -> Result | None:
        if "statement" not in body:
            return None
        return await entry.transaction.run(self._statement(body), body.get("parameters") or {})

    def _waits(self, number: str) -> dict[str, str]:
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=_IDLE_SECONDS)
        return {"id": number, "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}

    @contextlib.asynccontextmanager
    async def _use(self, number: str, database: str) -> Any:
        """Use a transaction for one request; an error ends it, and so does a long silence afterwards."""
        entry = self._open.get(number)
        if entry is None or entry.database != database:
            raise Neo4jError(
                "Neo.ClientError.Transaction.TransactionNotFound",
                f"There is no open transaction {number!r}: it ended, or it was idle for {_IDLE_SECONDS:g} seconds.",
            )
        async with entry.busy:
            if entry.timer is not None:
                entry.timer.cancel()
            try:
                yield entry
            except BaseException:
                self._open.pop(number, None)
                await entry.transaction.rollback()
                raise
            if number in self._open:
                entry.timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, number)

    def _expire(self, number: str) -> None:
        entry = self._open.pop(number, None)
        if entry is not None:
            task = asyncio.get_running_loop().create_task(entry.transaction.rollback())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _shut_down(self, _application: web.Application) -> None:
        for number in list(self._open):
            entry = self._open.pop(number)
            with contextlib.suppress(Neo4jError):
                await entry.transaction.rollback()


def _counters(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {key: result.counters.get(name, 0) for key, name in _COUNTERS.items()}
    found["containsSystemUpdates"] = found["systemUpdates"] > 0
    found["containsUpdates"] = any(value for key, value in found.items() if "ystem" not in key)
    return found
