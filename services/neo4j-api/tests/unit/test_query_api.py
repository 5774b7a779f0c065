# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Query API, without an engine."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from conftest import PASSWORD, FakeService

from pantheon_neo4j_api.query_api import QueryApi

PATH = "/db/neo4j/query/v2"
HEADERS = {"Authorization": "Basic " + base64.b64encode(f"neo4j:{PASSWORD}".encode()).decode()}
Ask = Callable[..., Awaitable[tuple[int, Any]]]


def scenario(service: FakeService, play: Callable[[Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        async with TestClient(TestServer(QueryApi(service, 7687).application())) as client:

            async def ask(method: str, path: str, body: Any = None, headers: Any = HEADERS) -> tuple[int, Any]:
                response = await client.request(method, path, json=body, headers=headers)
                assert response.headers["X-Lab-Stand-In"] == "true"
                return response.status, await response.json()

            await play(ask)

    asyncio.run(main())


def test_discovery_needs_no_password(service: FakeService) -> None:
    async def play(ask: Ask) -> None:
        status, answer = await ask("GET", "/", headers={})
        assert status == 200
        assert answer["bolt_direct"] == "bolt://127.0.0.1:7687"
        assert answer["neo4j_edition"] == "stand-in"

    scenario(service, play)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/tx", "/elsewhere"])
def test_everything_else_does(service: FakeService, path: str) -> None:
    async def play(ask: Ask) -> None:
        status, answer = await ask("POST", path, {"statement": "1"}, headers={})
        assert (status, answer["errors"][0]["code"]) == (401, "Neo.ClientError.Security.Unauthorized")

    scenario(service, play)
    assert service.log == []


def test_a_statement(service: FakeService) -> None:
    async def play(ask: Ask) -> None:
        status, answer = await ask(
            "POST", PATH, {"statement": "2", "parameters": {"a": 1}, "accessMode": "READ", "maxExecutionTime": 2}
        )
        assert status == 202
        assert answer["data"] == {"fields": ["n"], "values": [[0], [1]]}
        assert len(answer["bookmarks"]) == 1
        assert "counters" not in answer
        status, answer = await ask("POST", PATH, {"statement": "create", "includeCounters": True})
        assert answer["counters"]["nodesCreated"] == 1
        assert answer["counters"]["containsUpdates"] is True
        assert answer["counters"]["containsSystemUpdates"] is False

    scenario(service, play)
    assert service.log[:2] == [("neo4j", True, 2.0), ("2", {"a": 1})]


@pytest.mark.parametrize(
    "body", [[], {}, {"statement": 1}, {"statement": "1", "parameters": []}, {"statement": "1", "accessMode": "SOME"}]
)
def test_wrong_bodies(service: FakeService, body: Any) -> None:
    async def play(ask: Ask) -> None:
        status, answer = await ask("POST", PATH, body)
        assert (status, answer["errors"][0]["code"]) == (400, "Neo.ClientError.Request.InvalidFormat")

    scenario(service, play)
    assert service.log == []


def test_unknown_paths(service: FakeService) -> None:
    async def play(ask: Ask) -> None:
        for method, path, status in (("GET", PATH, 405), ("POST", "/db/neo4j/tx/commit", 404)):
            assert (await ask(method, path, {}))[0] == status

    scenario(service, play)


def test_transactions(service: FakeService) -> None:
    async def play(ask: Ask) -> None:
        number = (await ask("POST", f"{PATH}/tx", {"statement": "1"}))[1]["transaction"]["id"]
        assert (await ask("POST", f"{PATH}/tx/{number}", {"statement": "2"}))[1]["data"]["values"] == [[0], [1]]
        status, answer = await ask("POST", f"{PATH}/tx/{number}/commit")
        assert (status, "data" in answer, len(answer["bookmarks"])) == (202, False, 1)
        status, answer = await ask("POST", f"{PATH}/tx/{number}", {"statement": "2"})
        assert (status, answer["errors"][0]["code"]) == (404, "Neo.ClientError.Transaction.TransactionNotFound")
        number = (await ask("POST", f"{PATH}/tx"))[1]["transaction"]["id"]
        assert await ask("DELETE", f"{PATH}/tx/{number}") == (200, {})
        number = (await ask("POST", f"{PATH}/tx"))[1]["transaction"]["id"]
        assert (await ask("POST", f"{PATH}/tx/{number}", {"statement": "fail"}))[0] == 400
        assert (await ask("POST", f"{PATH}/tx/{number}/commit"))[0] == 404
        await ask("POST", f"{PATH}/tx", {"statement": "create"})

    scenario(service, play)
    ends = [entry for entry in service.log if isinstance(entry, str)]
    assert ends == ["commit", "rollback", "rollback", "rollback"], "the last one when the server ended"
