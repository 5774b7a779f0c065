# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API over a fake router: what is sent inside and what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
ASK = [{"role": "user", "content": "Hi"}]


def test_chat_plain_and_streamed(lab: Run) -> None:
    async def check(lab: Any) -> None:
        status, answer = await lab.post("/api/chat", {"model": "lab-small", "messages": ASK, "stream": False})
        assert status == 200
        assert answer["message"] == {"role": "assistant", "content": "Hello there"}
        assert (answer["done"], answer["done_reason"]) == (True, "stop")
        assert (answer["prompt_eval_count"], answer["eval_count"]) == (4, 2)
        assert (answer["prompt_eval_duration"], answer["eval_duration"]) == (1_500_000, 2_500_000)
        _status, parts = await lab.post("/api/chat", {"model": "lab-small", "messages": ASK})
        assert [part["message"]["content"] for part in parts] == ["Hello", " there", ""]
        assert [part["done"] for part in parts] == [False, False, True]
        assert len(lab.router.loads) == 1  # the second request found it loaded

    lab(check)


def test_options_system_and_format_are_passed_on(lab: Run) -> None:
    async def check(lab: Any) -> None:
        body = {"model": "based", "from": "lab-small", "system": "Be kind.", "parameters": {"seed": 1, "top_k": 9}}
        assert (await lab.post("/api/create", {**body, "stream": False}))[1] == {"status": "success"}
        schema = {"type": "object"}
        options = {"seed": 2, "num_predict": 7, "stop": "x", "num_ctx": 999, "num_gpu": 1, "temperature": 1}
        await lab.post("/api/chat", {"model": "based", "messages": ASK, "format": schema, "options": options})
        path, sent = lab.router.requests[-1]
        assert path == "/v1/chat/completions"
        assert sent["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        assert (sent["seed"], sent["top_k"], sent["max_tokens"], sent["stop"]) == (2, 9, 7, ["x"])
        assert sent["response_format"] == {"type": "json_schema", "json_schema": {"schema": schema}}
        assert "num_gpu" not in sent and "num_ctx" not in sent
        assert lab.router.presets[sent["model"]] == 999

    lab(check)


def test_the_oldest_messages_make_room(lab: Run) -> None:
    async def check(lab: Any) -> None:
        lab.router.limit = 400
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "long " * 100}, *ASK]
        _status, answer = await lab.post("/api/chat", {"model": "lab-small", "messages": messages, "stream": False})
        assert answer["message"]["content"] == "Hello there"
        assert [item["content"] for item in lab.router.requests[-1][1]["messages"]] == ["s", "Hi"]
        refused = {"model": "lab-small", "messages": messages, "truncate": False}
        status, answer = await lab.post("/api/chat", refused)
        assert status == 400 and "exceeds the context length" in answer["error"]

    lab(check)


def test_an_error_after_the_first_word_ends_the_stream_with_it(lab: Run) -> None:
    async def check(lab: Any) -> None:
        lab.router.fail_at = 1
        status, parts = await lab.post("/api/chat", {"model": "lab-small", "messages": ASK})
        assert status == 200
        assert parts[0]["message"]["content"] == "Hello"
        assert parts[-1] == {"error": "the model fell over"}
        lab.router.fail_at = 0
        assert await lab.post("/api/chat", {"model": "lab-small", "messages": ASK}) == (
            500,
            {"error": "the model fell over"},
        )

    lab(check)


def test_tool_calls_and_thinking_come_back_in_ollamas_form(lab: Run) -> None:
    async def check(lab: Any) -> None:
        lab.router.words = []
        lab.router.deltas = [
            {"reasoning_content": "hm"},
            {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"ci'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Bern"}'}}]},
        ]
        _status, answer = await lab.post("/api/chat", {"model": "lab-small", "messages": ASK, "stream": False})
        function = {"index": 0, "name": "weather", "arguments": {"city": "Bern"}}
        assert answer["message"] == {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": function}],
        }

    lab(check)


def test_a_client_that_goes_away_stops_the_work(settings: Any, store: Any) -> None:
    """Over a real socket and the same runner as in production, which cancels handlers."""
    from aiohttp import ClientSession, web
    from conftest import FakeRouter

    from pantheon_ollama_api.server import Server

    async def check() -> None:
        router = FakeRouter(settings)
        server = Server(settings, store, router)
        await server.refresh()
        runner = web.AppRunner(server.application(), handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession() as session:
            async with session.post(url + "/api/pull", json={"model": "lab-small"}) as answer:
                await answer.read()
            router.gate = asyncio.Event()
            for number, stream in enumerate((True, False), start=1):
                body = {"model": "lab-small", "messages": ASK, "stream": stream, "keep_alive": 0}
                post = asyncio.create_task(session.post(url + "/api/chat", json=body))
                while len(router.requests) < number:
                    await asyncio.sleep(0.01)
                if stream:
                    answer = await post
                    await answer.content.readline()
                    answer.close()
                else:
                    post.cancel()
                for _unused in range(300):
                    if router.cancelled == number and len(router.unloads) == number:
                        break
                    await asyncio.sleep(0.01)
                assert (router.cancelled, len(router.unloads)) == (number, number)
        await server.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(check(), 20))


def test_keep_alive(lab: Run) -> None:
    async def check(lab: Any) -> None:
        async def chat(**extra: Any) -> Any:
            return (await lab.post("/api/chat", {"model": "lab-small", "messages": ASK, "stream": False, **extra}))[1]

        await chat(keep_alive="50ms")
        assert lab.router.running
        await asyncio.sleep(0.2)
        assert not lab.router.running
        await chat(keep_alive="50ms")
        await chat(keep_alive=-1)  # the later request's wish counts
        await asyncio.sleep(0.2)
        assert lab.router.running
        async with lab.client.get("/api/ps") as answer:
            (model,) = (await answer.json())["models"]
            assert model["name"] == "lab-small:latest" and model["expires_at"] > "2200"
        assert (await chat(messages=[], keep_alive=0))["done_reason"] == "unload"
        assert not lab.router.running
        assert (await chat(messages=[]))["done_reason"] == "load"
        assert lab.router.running
        status, answer = await lab.post("/api/chat", {"model": "lab-small", "messages": ASK, "keep_alive": "300"})
        assert (status, answer["error"]) == (400, 'time: missing unit in duration "300"')

    lab(check)


def test_a_new_context_waits_for_the_running_request(lab: Run) -> None:
    async def check(lab: Any) -> None:
        lab.router.gate = asyncio.Event()
        body = {"model": "lab-small", "messages": ASK, "stream": False}
        first = asyncio.create_task(lab.post("/api/chat", body))
        while not lab.router.requests:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(lab.post("/api/chat", {**body, "options": {"num_ctx": 100}}))
        await asyncio.sleep(0.1)
        assert len(lab.router.loads) == 1 and not second.done()
        lab.router.gate.set()
        assert (await first)[1]["message"]["content"] == "Hello there"
        assert (await second)[1]["message"]["content"] == "Hello there"
        assert len(lab.router.loads) == 2

    lab(check)


def test_queue_limit(settings: Any, store: Any) -> None:
    from dataclasses import replace

    from conftest import running

    async def check() -> None:
        async with running(replace(settings, queue=1), store) as lab:
            await lab.post("/api/pull", {"model": "lab-small"})
            lab.router.gate = asyncio.Event()
            body = {"model": "lab-small", "messages": ASK, "stream": False}
            first = asyncio.create_task(lab.post("/api/chat", body))
            while not lab.router.requests:
                await asyncio.sleep(0.01)
            status, answer = await lab.post("/api/chat", body)
            assert status == 503 and "server busy" in answer["error"]
            lab.router.gate.set()
            assert (await first)[0] == 200

    asyncio.run(asyncio.wait_for(check(), 20))


def test_generate(lab: Run) -> None:
    async def check(lab: Any) -> None:
        body = {"model": "lab-small", "prompt": "x", "stream": False}
        _status, answer = await lab.post("/api/generate", {**body, "system": "S"})
        assert answer["response"] == "Hello there" and answer["context"] == [1, 2, 3]
        await lab.post("/api/generate", {**body, "raw": True})
        path, sent = lab.router.requests[-1]
        assert path == "/v1/completions" and sent["prompt"] == "x"
        await lab.post("/api/generate", {**body, "context": [1, 2]})
        sent = next(sent for path, sent in reversed(lab.router.requests) if path == "/v1/completions")
        assert sent["prompt"] == "before written out"

    lab(check)


def test_embeddings(lab: Run) -> None:
    async def check(lab: Any) -> None:
        _status, answer = await lab.post("/api/embed", {"model": "lab-embed", "input": ["a", "b"]})
        assert answer["embeddings"] == [[0.6, 0.8]] * 2 and answer["prompt_eval_count"] == 5
        assert (await lab.post("/api/embed", {"model": "lab-embed", "input": "a", "dimensions": 1}))[1][
            "embeddings"
        ] == [[1.0]]
        assert await lab.post("/api/embeddings", {"model": "lab-embed", "prompt": "a"}) == (
            200,
            {"embedding": [3.0, 4.0]},
        )
        assert (await lab.post("/api/embed", {"model": "lab-embed", "input": 5}))[0] == 400

    lab(check)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/chat", {"model": "no", "messages": ASK}, 404, "model 'no' not found"),
        ("/api/chat", {"messages": ASK}, 400, "model is required"),
        ("/api/chat", {"model": "a b", "messages": ASK}, 400, "invalid model name"),
        ("/api/chat", {"model": 5, "messages": ASK}, 400, "model: 5 has the wrong type"),
        ("/api/chat", {"model": "lab-small", "messages": ["Hi"]}, 400, "messages[0]"),
        ("/api/chat", {"model": "lab-small", "messages": ASK, "think": True}, 400, "does not support thinking"),
        ("/api/chat", {"model": "lab-small", "messages": ASK, "tools": [{}]}, 400, "does not support tools"),
        ("/api/chat", {"model": "lab-small", "messages": ASK, "format": "xml"}, 400, "invalid format"),
        ("/api/chat", {"model": "lab-embed", "messages": ASK}, 400, '"lab-embed" does not support chat'),
        (
            "/api/chat",
            {"model": "lab-small", "messages": [{"role": "user", "content": "", "images": ["aGk="]}]},
            400,
            "cannot read images",
        ),
        ("/api/generate", {"model": "no", "prompt": "x"}, 404, "model 'no' not found"),
        ("/api/generate", {"model": "lab-small", "prompt": "x", "images": ["aGk="]}, 400, "cannot read images"),
        ("/api/generate", {"model": "lab-small", "prompt": "x", "template": "t"}, 400, "template is not supported"),
        ("/api/embed", {"model": "lab-small", "input": "x"}, 501, "does not support embeddings"),
        ("/api/embeddings", {"model": "no", "prompt": "x"}, 404, 'model "no" not found, try pulling it first'),
        ("/api/show", {"model": "no"}, 404, "model 'no' not found"),
        ("/api/pull", {"model": "no", "stream": False}, 500, "pull model manifest: file does not exist"),
        ("/api/create", {"model": "x", "from": "lab-small", "quantize": "q4_0"}, 400, "quantize is not supported"),
        ("/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ("/api/copy", {"source": "no", "destination": "x"}, 404, "not found"),
        ("/api/push", {"model": "lab-small"}, 501, "push is not supported"),
        ("/api/chat", [], 400, "must be a JSON object"),
    ],
)
def test_refusals(lab: Run, path: str, body: Any, status: int, message: str) -> None:
    async def check(lab: Any) -> None:
        got, answer = await lab.post(path, body)
        assert message in answer["error"]
        assert got == status

    lab(check)


def test_openai_errors_have_their_form(lab: Run) -> None:
    async def check(lab: Any) -> None:
        status, answer = await lab.post("/v1/chat/completions", {"model": "no", "messages": ASK})
        assert status == 404
        assert answer["error"]["message"] == "model 'no' not found"
        assert answer["error"]["type"] == "not_found_error"

    lab(check)


def test_every_answer_says_that_it_is_a_stand_in(lab: Run) -> None:
    async def check(lab: Any) -> None:
        for path in ("/", "/api/version", "/api/tags", "/nothing", "/api/chat"):
            async with lab.client.get(path) as answer:
                assert answer.headers["X-Lab-Stand-In"] == "true", path

    lab(check)
