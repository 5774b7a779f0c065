# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bolt, state by state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import PASSWORD, Client, FakeService

from pantheon_neo4j_api.bolt import choose

HELLO, GOODBYE, RESET, RUN, BEGIN, COMMIT, ROLLBACK = 0x01, 0x02, 0x0F, 0x10, 0x11, 0x12, 0x13
DISCARD, PULL, TELEMETRY, ROUTE, LOGON, LOGOFF = 0x2F, 0x3F, 0x54, 0x66, 0x6A, 0x6B
SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F

TOKEN = {"scheme": "basic", "principal": "neo4j", "credentials": PASSWORD}
Connected = Callable[[], Any]


def scenario(connected: Connected, play: Callable[[Client], Awaitable[None]], ready: bool = True) -> None:
    """Play with a client, which is let in before if it has to be ready."""

    async def main() -> None:
        async with connected() as client:
            if ready:
                assert await client.handshake((4, 4, 5)) == (5, 4)
                assert (await client.call(HELLO, {"user_agent": "test"})).tag == SUCCESS
                assert (await client.call(LOGON, TOKEN)).tag == SUCCESS
            await play(client)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("offers", "version"),
    [
        ("000004050000000000000000 00000000", (5, 4)),
        ("00080805 00020404 00000003 00000000", (5, 4)),
        ("000001ff 00080805 00020404 00000003", (5, 4)),
        ("00000305 00000000 00000000 00000000", (5, 3)),
        ("00020404 00000000 00000000 00000000", (4, 4)),
        ("00000105 00000404 00000000 00000000", (5, 1)),
        ("00000304 00000003 00000000 00000000", None),
        ("00000006 00000000 00000000 00000000", None),
    ],
)
def test_the_version_is_the_first_offer_that_fits(offers: str, version: tuple[int, int] | None) -> None:
    assert choose(bytes.fromhex(offers.replace(" ", ""))) == version


def test_no_common_version_ends_the_connection(connected: Connected) -> None:
    async def play(client: Client) -> None:
        assert await client.handshake((0, 0, 6)) == (0, 0)
        assert await client.closed()

    scenario(connected, play, ready=False)


def test_something_else_than_bolt_is_sent_away(connected: Connected) -> None:
    async def play(client: Client) -> None:
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"This port speaks Bolt" in await client.reader.read()

    scenario(connected, play, ready=False)


def test_hello_carries_the_password_before_5_1(connected: Connected) -> None:
    async def play(client: Client) -> None:
        assert await client.handshake((0, 4, 4)) == (4, 4)
        answer = await client.call(HELLO, {"user_agent": "test", **TOKEN})
        assert answer.tag == SUCCESS
        assert answer.fields[0]["server"].startswith("Neo4j/")
        assert (await client.call(RUN, "1", {}, {})).tag == SUCCESS

    scenario(connected, play, ready=False)


@pytest.mark.parametrize("version", [(0, 4, 4), (0, 4, 5)])
@pytest.mark.parametrize(
    "token",
    [
        {**TOKEN, "credentials": "wrong-password"},
        {**TOKEN, "principal": "x"},
        {"scheme": "none"},
        {"scheme": "kerberos"},
        {},
    ],
)
def test_nobody_comes_in_without_the_password(
    connected: Connected, service: FakeService, version: tuple[int, int, int], token: dict[str, str]
) -> None:
    async def play(client: Client) -> None:
        if await client.handshake(version) == (5, 4):
            assert (await client.call(HELLO, {})).tag == SUCCESS
            client.send(LOGON, token)
        else:
            client.send(HELLO, token)
        client.send(RUN, "1", {}, {})
        answer = await client.receive()
        assert answer.tag == FAILURE
        assert answer.fields[0]["code"] == "Neo.ClientError.Security.Unauthorized"
        assert await client.closed()

    scenario(connected, play, ready=False)
    assert service.log == []


def test_nothing_is_answered_before_the_password(connected: Connected, service: FakeService) -> None:
    async def play(client: Client) -> None:
        await client.handshake((0, 4, 5))
        await client.call(HELLO, {})
        assert (await client.call(RUN, "1", {}, {})).tag == FAILURE
        assert await client.closed()

    scenario(connected, play, ready=False)
    assert service.log == []


def test_a_stranger_cannot_send_much(connected: Connected) -> None:
    async def play(client: Client) -> None:
        await client.handshake((0, 4, 5))
        client.send(HELLO, {"user_agent": "x" * 70_000})
        assert "larger than" in (await client.receive()).fields[0]["message"]

    scenario(connected, play, ready=False)


def test_run_and_pull(connected: Connected, service: FakeService) -> None:
    async def play(client: Client) -> None:
        answer = await client.call(RUN, "3", {"p": 1}, {"db": "neo4j", "mode": "r", "tx_timeout": 1500})
        assert (answer.tag, answer.fields[0]["fields"]) == (SUCCESS, ["n"])
        client.send(PULL, {"n": 2})
        assert [(await client.receive()).fields for _number in range(3)] == [[[0]], [[1]], [{"has_more": True}]]
        client.send(PULL, {"n": -1})
        assert (await client.receive()).fields == [[2]]
        summary = (await client.receive()).fields[0]
        assert (summary["type"], summary["db"], "bookmark" in summary, "stats" in summary) == (
            "r",
            "neo4j",
            True,
            False,
        )

    scenario(connected, play)
    assert service.log == [("neo4j", True, 1.5), ("3", {"p": 1})]


def test_discard_and_counters(connected: Connected) -> None:
    async def play(client: Client) -> None:
        await client.call(RUN, "1000", {}, {})
        assert "bookmark" in (await client.call(DISCARD, {"n": -1})).fields[0]
        await client.call(RUN, "create", {}, {})
        summary = (await client.call(PULL, {"n": -1})).fields[0]
        assert summary["stats"] == {"nodes-created": 1, "contains-updates": True}

    scenario(connected, play)


def test_a_large_message_in_small_pieces_with_signs_of_life(connected: Connected, service: FakeService) -> None:
    async def play(client: Client) -> None:
        client.writer.write(b"\0\0\0\0")
        client.send(RUN, "1", {"p": "x" * 100_000}, {}, chunk=1000)
        assert (await client.receive()).tag == SUCCESS

    scenario(connected, play)
    assert service.log[1] == ("1", {"p": "x" * 100_000})


def test_after_a_failure_everything_is_ignored_until_reset(connected: Connected) -> None:
    async def play(client: Client) -> None:
        answer = await client.call(RUN, "fail", {}, {})
        assert answer.fields[0] == {"code": "Neo.ClientError.Statement.SyntaxError", "message": "It failed."}
        assert (await client.call(PULL, {"n": -1})).tag == IGNORED
        assert (await client.call(RUN, "1", {}, {})).tag == IGNORED
        assert (await client.call(RESET)).tag == SUCCESS
        assert (await client.call(RUN, "1", {}, {})).tag == SUCCESS

    scenario(connected, play)


def test_a_transaction(connected: Connected, service: FakeService) -> None:
    async def play(client: Client) -> None:
        assert (await client.call(BEGIN, {"db": "neo4j"})).tag == SUCCESS
        first = (await client.call(RUN, "2", {}, {})).fields[0]["qid"]
        second = (await client.call(RUN, "1", {}, {})).fields[0]["qid"]
        assert (first, second) == (0, 1)
        client.send(PULL, {"n": -1, "qid": first})
        assert [(await client.receive()).tag for _number in range(3)] == [RECORD, RECORD, SUCCESS]
        client.send(PULL, {"n": -1})
        assert (await client.receive()).tag == RECORD
        assert "bookmark" not in (await client.receive()).fields[0]
        assert "bookmark" in (await client.call(COMMIT)).fields[0]

    scenario(connected, play)
    assert [entry for entry in service.log if isinstance(entry, str)] == ["commit"]


@pytest.mark.parametrize("end", ["rollback", "failure", "reset", "goodbye", "gone"])
def test_a_transaction_that_is_not_committed_is_rolled_back(
    connected: Connected, service: FakeService, end: str
) -> None:
    async def play(client: Client) -> None:
        await client.call(BEGIN, {})
        await client.call(RUN, "create", {}, {})
        await client.call(PULL, {"n": -1})
        if end == "rollback":
            assert (await client.call(ROLLBACK)).tag == SUCCESS
        elif end == "failure":
            assert (await client.call(RUN, "fail", {}, {})).tag == FAILURE
            assert (await client.call(COMMIT)).tag == IGNORED
        elif end == "reset":
            assert (await client.call(RESET)).tag == SUCCESS
        elif end == "goodbye":
            client.send(GOODBYE)
            assert await client.closed()
        else:
            client.writer.close()
            for _attempt in range(100):
                if "rollback" in service.log:
                    break
                await asyncio.sleep(0.02)

    scenario(connected, play)
    assert [entry for entry in service.log if isinstance(entry, str)] == ["rollback"]


@pytest.mark.parametrize("tag", [COMMIT, ROLLBACK, PULL, HELLO, LOGON, 0x55])
def test_a_message_at_the_wrong_time_ends_the_connection(connected: Connected, tag: int) -> None:
    async def play(client: Client) -> None:
        answer = await client.call(tag, {})
        assert (answer.tag, answer.fields[0]["code"]) == (FAILURE, "Neo.ClientError.Request.Invalid")
        assert await client.closed()

    scenario(connected, play)


def test_commit_waits_for_results(connected: Connected, service: FakeService) -> None:
    async def play(client: Client) -> None:
        await client.call(BEGIN, {})
        await client.call(RUN, "1", {}, {})
        assert (await client.call(COMMIT)).tag == FAILURE
        assert await client.closed()

    scenario(connected, play)
    assert "commit" not in service.log


@pytest.mark.parametrize("data", [b"\x00\x01\x70\x00\x00", b"\x00\x02\x92\x01\x00\x00", b"\x00\x01\xb1\x00\x00"])
def test_nonsense_ends_the_connection(connected: Connected, data: bytes) -> None:
    async def play(client: Client) -> None:
        client.writer.write(data)
        assert (await client.receive()).tag == FAILURE
        assert await client.closed()

    scenario(connected, play)


def test_the_route_leads_to_where_the_client_came_to(connected: Connected) -> None:
    async def play(client: Client) -> None:
        answer = await client.call(ROUTE, {"address": "graph.example:7687"}, [], {"db": None})
        table = answer.fields[0]["rt"]
        assert table["db"] == "neo4j"
        assert {entry["role"]: entry["addresses"] for entry in table["servers"]} == {
            role: ["graph.example:7687"] for role in ("ROUTE", "READ", "WRITE")
        }
        answer = await client.call(ROUTE, {}, [], {"db": "other"})
        assert answer.fields[0]["code"] == "Neo.ClientError.Database.DatabaseNotFound"

    scenario(connected, play)


def test_logoff_and_telemetry(connected: Connected) -> None:
    async def play(client: Client) -> None:
        assert (await client.call(TELEMETRY, 1)).tag == SUCCESS
        assert (await client.call(LOGOFF)).tag == SUCCESS
        assert (await client.call(LOGON, TOKEN)).tag == SUCCESS
        assert (await client.call(RUN, "1", {}, {})).tag == SUCCESS

    scenario(connected, play)
