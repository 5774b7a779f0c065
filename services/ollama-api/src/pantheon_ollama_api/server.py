# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API: Ollama's routes, answered from the store and by the router."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from datetime import datetime
from typing import Any

import aiohttp
from aiohttp import web

from . import VERSION, convert
from .convert import Json, RequestError
from .durations import DurationError, parse_keep_alive
from .gguf import GgufError
from .names import ModelName
from .router import Router, RouterError, lines_of
from .scheduler import Scheduler
from .settings import Settings
from .store import Model, NotFoundError, Progress, Store, StoreError

LOG = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LARGEST_REQUEST = 64 << 20
_NDJSON = "application/x-ndjson"
_QUIET = ("/", "/api/version", "/api/ps")  # asked by health checks all the time
# Headers of the router's answers that are passed on by the /v1 routes.
_FORWARDED = ("Content-Type", "Cache-Control")


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, dumps=_dumps)


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class Server:
    """Ollama's API."""

    def __init__(self, settings: Settings, store: Store, router: Router) -> None:
        """Join the parts; nothing is started.

        Args:
            settings: the settings.
            store: the models on disk.
            router: llama-server.
        """
        self._settings = settings
        self._store = store
        self._router = router
        self._scheduler = Scheduler(router, settings.context, settings.keep_alive)
        self._active = 0

    def application(self) -> web.Application:
        """The application with all routes."""
        application = web.Application(client_max_size=_LARGEST_REQUEST, middlewares=[self._errors])
        application.on_response_prepare.append(self._mark)
        application.add_routes(
            [
                web.get("/", self.root),
                web.get("/api/version", self.version),
                web.get("/api/tags", self.tags),
                web.get("/api/ps", self.ps),
                web.post("/api/show", self.show),
                web.post("/api/pull", self.pull),
                web.post("/api/push", self.push),
                web.post("/api/create", self.create),
                web.post("/api/copy", self.copy),
                web.delete("/api/delete", self.delete),
                web.head("/api/blobs/{digest}", self.head_blob),
                web.post("/api/blobs/{digest}", self.add_blob),
                web.post("/api/generate", self.generate),
                web.post("/api/chat", self.chat),
                web.post("/api/embed", self.embed),
                web.post("/api/embeddings", self.embeddings),
                web.get("/v1/models", self.v1_models),
                web.get("/v1/models/{model:.+}", self.v1_model),
                *(
                    web.post(f"/v1/{name}", self.v1_forward)
                    for name in ("chat/completions", "completions", "embeddings", "responses", "messages")
                ),
            ]
        )
        return application

    async def refresh(self) -> None:
        """Tell the scheduler and the router which models there are on disk."""
        models, broken = await asyncio.to_thread(self._store.models)
        for problem in broken:
            LOG.error("%s", problem)
        await self._scheduler.sync(models)

    async def close(self) -> None:
        """Stop what runs beside the requests."""
        await self._scheduler.close()

    # -- around every request -----------------------------------------------------------------------------------

    async def _mark(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Lab-Stand-In"] = "true"

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer errors in Ollama's form, and keep a log line per request."""
        began = time.monotonic()
        v1 = request.path.startswith("/v1/")
        try:
            response = await handler(request)
        except (RequestError, RouterError) as error:
            response = _error(str(error), error.status, v1)
        except NotFoundError as error:
            response = _error(str(error), 404, v1)
        except (StoreError, GgufError, OSError) as error:
            LOG.error("%s %s: %s", request.method, request.path, error)
            response = _error(str(error), 500, v1)
        except web.HTTPNotFound:
            response = web.Response(text="404 page not found", status=404)
        except web.HTTPMethodNotAllowed as error:
            response = web.Response(
                text="405 method not allowed", status=405, headers={"Allow": error.headers["Allow"]}
            )
        except web.HTTPRequestEntityTooLarge:
            response = _error(f"the request is larger than {_LARGEST_REQUEST >> 20} MiB", 413, v1)
        if request.path not in _QUIET or response.status >= 400:
            milliseconds = (time.monotonic() - began) * 1000
            LOG.info("%s %s %d %.0f ms", request.method, request.path, response.status, milliseconds)
        return response

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """One place among the requests that are answered at the same time."""
        if self._active >= self._settings.queue:
            raise RequestError("server busy, please try again.  maximum pending requests exceeded", 503)
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    # -- about the server ---------------------------------------------------------------------------------------

    async def root(self, _request: web.Request) -> web.Response:
        """GET, HEAD /"""
        return web.Response(text="Ollama is running")

    async def version(self, _request: web.Request) -> web.Response:
        """GET, HEAD /api/version"""
        return _json({"version": VERSION})

    # -- models -------------------------------------------------------------------------------------------------

    async def tags(self, _request: web.Request) -> web.Response:
        """GET, HEAD /api/tags"""
        models, _broken = await asyncio.to_thread(self._store.models)
        return _json(
            {
                "models": [
                    {
                        "name": model.name.short,
                        "model": model.name.short,
                        "modified_at": _stamp(model.modified),
                        "size": model.size,
                        "digest": model.digest,
                        "details": model.details,
                    }
                    for model in models
                ]
            }
        )

    async def ps(self, _request: web.Request) -> web.Response:
        """GET /api/ps"""
        return _json(
            {
                "models": [
                    {
                        "name": item.model.name.short,
                        "model": item.model.name.short,
                        "size": item.model.path.stat().st_size,
                        "digest": item.model.digest,
                        "details": item.model.details,
                        "expires_at": _stamp(item.expires),
                        "size_vram": 0,
                        "context_length": item.context,
                    }
                    for item in await self._scheduler.loaded()
                ]
            }
        )

    async def show(self, request: web.Request) -> web.Response:
        """POST /api/show"""
        body = await _body(request)
        name = _text(body, "model") or _text(body, "name")
        if not name:
            raise RequestError("model is required")
        model = await self._find(name)
        metadata = {
            key: value
            for key, value in model.gguf.metadata.items()
            if key not in ("general.name", "tokenizer.chat_template")
        }
        metadata["general.parameter_count"] = model.gguf.parameters
        lines = [
            '# Modelfile generated by "ollama show"',
            "# To build a new Modelfile based on this, replace FROM with:",
            f"# FROM {model.name.short}",
            "",
            f"FROM {model.path}",
        ]
        parameters = []
        for key, value in model.parameters.items():
            for item in value if isinstance(value, list) else [value]:
                parameters.append(f"{key:<30} {json.dumps(item, ensure_ascii=False)}")
                lines.append(f"PARAMETER {key} {item}")
        system = _text(body, "system") or model.system
        if system:
            lines.append(f'SYSTEM """{system}"""')
        answer: Json = {
            "license": model.license,
            "modelfile": "\n".join(lines) + "\n",
            "parameters": "\n".join(parameters),
            "template": str(model.gguf.metadata.get("tokenizer.chat_template", "")),
            "system": system,
            "details": model.details,
            "messages": list(model.messages),
            "model_info": metadata,
            "tensors": model.gguf.tensors,
            "capabilities": model.gguf.capabilities,
            "modified_at": _stamp(model.modified),
        }
        optional = ("license", "parameters", "system", "messages")
        return _json({key: value for key, value in answer.items() if value or key not in optional})

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """POST /api/pull"""
        body = await _body(request)
        name = ModelName.parse(_text(body, "model") or _text(body, "name"))
        if name is None:
            raise RequestError("invalid model name")
        return await self._progress(request, body, self._store.pull(name))

    async def push(self, _request: web.Request) -> web.StreamResponse:
        """POST /api/push: there is nowhere to push to."""
        raise RequestError("push is not supported by the lab's stand-in: its library is read-only", 501)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /api/create"""
        body = await _body(request)
        name = ModelName.parse(_text(body, "model") or _text(body, "name"))
        if name is None:
            raise RequestError("invalid model name")
        for field in ("template", "quantize", "adapters", "modelfile"):
            if body.get(field):
                raise RequestError(f"create: {field} is not supported by the lab's stand-in; use from, files, system, "
                                   "parameters, messages and license")  # fmt: skip
        files = _typed(body, "files", dict) or {}
        origin = _text(body, "from")
        if len(files) > 1 or bool(files) == bool(origin):
            raise RequestError("neither 'from' or 'files' was specified" if not files and not origin else
                               "give either 'from' or 'files' with exactly one GGUF file")  # fmt: skip
        base = ModelName.parse(origin) if origin else None
        if origin and base is None:
            raise RequestError("invalid model name")
        parameters = _typed(body, "parameters", dict) or {}
        convert.options(parameters, "max_tokens")  # wrong types are refused now, not with every request
        messages = _typed(body, "messages", list) or []
        convert.to_messages(messages)
        license_text = body.get("license") or ""
        changes = {
            "system": _text(body, "system"),
            "parameters": parameters,
            "messages": messages,
            "license": "\n".join(license_text) if isinstance(license_text, list) else str(license_text),
        }
        digest = str(next(iter(files.values()))) if files else None
        return await self._progress(request, body, self._store.create(name, base, digest, changes))

    async def copy(self, request: web.Request) -> web.Response:
        """POST /api/copy"""
        body = await _body(request)
        names = []
        for field in ("source", "destination"):
            name = ModelName.parse(_text(body, field))
            if name is None:
                raise RequestError(f"{field} {json.dumps(body.get(field, ''))} is invalid")
            names.append(name)
        await asyncio.to_thread(self._store.copy, *names)
        await self.refresh()
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /api/delete"""
        body = await _body(request)
        text = _text(body, "model") or _text(body, "name")
        name = ModelName.parse(text)
        if name is None:
            raise RequestError(f"name {json.dumps(text)} is invalid")
        try:
            await asyncio.to_thread(self._store.delete, name)
        except NotFoundError as error:
            raise RequestError(f"model '{text}' not found", 404) from error
        await self.refresh()
        return web.Response()

    async def head_blob(self, request: web.Request) -> web.Response:
        """HEAD /api/blobs/:digest"""
        path = self._store.blob(request.match_info["digest"])
        if path is None:
            return web.Response(status=400)
        return web.Response(status=200 if await asyncio.to_thread(path.exists) else 404)

    async def add_blob(self, request: web.Request) -> web.Response:
        """POST /api/blobs/:digest"""
        digest = request.match_info["digest"]
        path = self._store.blob(digest)
        if path is None:
            raise RequestError("invalid digest format")
        if await asyncio.to_thread(path.exists):
            return web.Response()
        # The body arrives in the event loop and is written in a thread; one chunk at a time, whatever the size.
        loop = asyncio.get_running_loop()

        def chunks() -> Iterator[bytes]:
            while data := asyncio.run_coroutine_threadsafe(request.content.read(1 << 20), loop).result():
                yield data

        try:
            await asyncio.to_thread(self._store.add_blob, digest, chunks())
        except StoreError as error:
            raise RequestError(str(error)) from error
        return web.Response(status=201)

    async def _progress(
        self, request: web.Request, body: Json, steps: Generator[Progress, None, None]
    ) -> web.StreamResponse:
        """Run a slow change in threads and report its steps as they come, or only the last one."""

        async def run() -> AsyncGenerator[Json, None]:
            try:
                while (step := await asyncio.to_thread(next, steps, None)) is not None:
                    if step.get("status") == "success":
                        await self.refresh()  # success means that the model can be used
                    yield step
            except NotFoundError as error:
                raise RequestError(str(error), 500) from error  # Ollama's status for an unknown model here
            finally:
                # A client that went away ends it; a step in a thread is let finish first.
                with contextlib.suppress(ValueError):
                    steps.close()

        if body.get("stream") is False:
            last: Json = {}
            async for step in run():
                last = step
            return _json(last)
        return await _stream(request, run())

    async def _find(self, text: str, missing: str = "model '{}' not found") -> Model:
        name = ModelName.parse(text)
        if name is None:
            raise RequestError("invalid model name")
        try:
            return await asyncio.to_thread(self._store.find, name)
        except NotFoundError as error:
            raise RequestError(missing.format(text), 404) from error

    # -- inference ----------------------------------------------------------------------------------------------

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /api/chat"""
        began = time.monotonic_ns()
        body = await _body(request)
        name = _text(body, "model")
        if not name:
            raise RequestError("model is required")
        model = await self._find(name)
        messages = _typed(body, "messages", list) or []
        keep_alive = _keep_alive(body)
        empty = {"model": name, "created_at": convert.now(), "message": {"role": "assistant", "content": ""}}
        if not messages and keep_alive == 0:
            await self._scheduler.unload(model)
            return _json({**empty, "done": True, "done_reason": "unload"})
        tools = _typed(body, "tools", list) or []
        _require(model, name, "chat", tools=bool(tools), think=body.get("think"))
        parameters, context = convert.options(
            {**model.parameters, **(_typed(body, "options", dict) or {})}, "max_tokens"
        )
        if not messages:
            with self._slot():
                async with self._scheduler.use(model, context, keep_alive):
                    return _json({**empty, "done": True, "done_reason": "load"})
        full = [*model.messages, *messages]
        if model.system and not (isinstance(messages[0], dict) and messages[0].get("role") == "system"):
            full.insert(0, {"role": "system", "content": model.system})
        payload: Json = {
            "model": model.name.router_id,
            "messages": convert.to_messages(full),
            **parameters,
            **convert.response_format(body.get("format")),
            **convert.thinking(body.get("think")),
            **_logprobs(body),
        }
        if tools:
            payload["tools"] = tools

        async def answers() -> AsyncGenerator[Json, None]:
            with self._slot():
                async with self._scheduler.use(model, context, keep_alive) as load:
                    async for part in self._complete(payload, body.get("truncate") is not False):
                        answer: Json = {"model": name, "created_at": convert.now()}
                        message: Json = {"role": "assistant", "content": part.get("content", "")}
                        if part.get("thinking"):
                            message["thinking"] = part["thinking"]
                        if part.get("tool_calls"):
                            message["tool_calls"] = convert.from_tool_calls(part["tool_calls"])
                        answer |= {"message": message, "done": "finish" in part}
                        if part.get("logprobs"):
                            answer["logprobs"] = part["logprobs"]
                        if "finish" in part:
                            answer["done_reason"] = convert.done_reason(part["finish"])
                            total = time.monotonic_ns() - began
                            answer |= convert.metrics(part["timings"], part["usage"], total, load)
                        yield answer

        if body.get("stream") is not False:
            return await _stream(request, answers())
        answer: Json = {}
        message: Json = {"role": "assistant", "content": ""}
        logprobs: list[Json] = []
        async for answer in answers():
            part = answer["message"]
            message["content"] += part["content"]
            if "thinking" in part:
                message["thinking"] = message.get("thinking", "") + part["thinking"]
            if "tool_calls" in part:
                message.setdefault("tool_calls", []).extend(part["tool_calls"])
            logprobs += answer.pop("logprobs", [])
        answer["message"] = message
        return _json({**answer, "logprobs": logprobs} if logprobs else answer)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /api/generate"""
        began = time.monotonic_ns()
        body = await _body(request)
        name = _text(body, "model")
        if not name:
            raise RequestError("model '' not found", 404)
        model = await self._find(name)
        prompt, keep_alive = _text(body, "prompt"), _keep_alive(body)
        empty = {"model": name, "created_at": convert.now(), "response": "", "done": True}
        if not prompt and keep_alive == 0:
            await self._scheduler.unload(model)
            return _json({**empty, "done_reason": "unload"})
        raw = body.get("raw") is True
        if raw and (body.get("template") or body.get("system") or body.get("context")):
            raise RequestError("raw mode does not support template, system, or context")
        if body.get("template"):
            raise RequestError("template is not supported by the lab's stand-in; the model's own template is used")
        _require(model, name, "generate", think=body.get("think"), insert=bool(body.get("suffix")))
        convert.refuse_images(body.get("images"))
        parameters, context = convert.options(
            {**model.parameters, **(_typed(body, "options", dict) or {})}, "max_tokens"
        )
        if not prompt:
            with self._slot():
                async with self._scheduler.use(model, context, keep_alive):
                    return _json({**empty, "done_reason": "load"})
        old_tokens = _typed(body, "context", list) or []
        messages: list[Json] = [] if old_tokens else [dict(message) for message in model.messages]
        system = _text(body, "system") or model.system
        if system:
            messages.insert(0, {"role": "system", "content": system})
        chat: Json = {
            "model": model.name.router_id,
            "messages": convert.to_messages([*messages, {"role": "user", "content": prompt}]),
        }
        payload: Json = {**parameters, **convert.response_format(body.get("format")), **_logprobs(body)}

        async def answers() -> AsyncGenerator[Json, None]:
            with self._slot():
                async with self._scheduler.use(model, context, keep_alive) as load:
                    text = ""
                    truncate = body.get("truncate") is not False
                    if raw or old_tokens:
                        # The prompt is written out, so the endpoint without a chat template is the right one.
                        before = prompt if raw else await self._written_out(chat, old_tokens)
                        source = self._complete({**payload, "model": model.name.router_id, "prompt": before}, truncate)
                    else:
                        source = self._complete({**payload, **chat, **convert.thinking(body.get("think"))}, truncate)
                    async for part in source:
                        text += part.get("content", "")
                        answer: Json = {"model": name, "created_at": convert.now(), "response": part.get("content", "")}
                        if part.get("thinking"):
                            answer["thinking"] = part["thinking"]
                        if part.get("logprobs"):
                            answer["logprobs"] = part["logprobs"]
                        answer["done"] = "finish" in part
                        if "finish" in part:
                            answer["done_reason"] = convert.done_reason(part["finish"])
                            if not raw:
                                answer["context"] = await self._tokens(chat, old_tokens, text)
                            total = time.monotonic_ns() - began
                            answer |= convert.metrics(part["timings"], part["usage"], total, load)
                        yield answer

        if body.get("stream") is not False:
            return await _stream(request, answers())
        answer: Json = {}
        response, thinking, logprobs = "", "", []
        async for answer in answers():
            response += answer["response"]
            thinking += answer.pop("thinking", "")
            logprobs += answer.pop("logprobs", [])
        answer["response"] = response
        if thinking:
            answer["thinking"] = thinking
        return _json({**answer, "logprobs": logprobs} if logprobs else answer)

    async def _written_out(self, chat: Json, before: list[Any]) -> str:
        """A generate request's prompt as the model sees it, with the tokens of an earlier answer in front."""
        text = ""
        if before:
            if not all(isinstance(token, int) for token in before):
                raise RequestError("context must be a list of whole numbers, as an earlier answer gave it")
            answer = await self._router.post("/detokenize", {"model": chat["model"], "tokens": before})
            text = str(answer.get("content", ""))
        return text + str((await self._router.post("/apply-template", chat)).get("prompt", ""))

    async def _tokens(self, chat: Json, before: list[Any], text: str) -> list[int]:
        """The deprecated `context` of a generate answer: prompt and answer as tokens."""
        content = await self._written_out(chat, before) + text
        body = {"model": chat["model"], "content": content, "add_special": not before, "parse_special": True}
        tokens: list[int] = (await self._router.post("/tokenize", body)).get("tokens", [])
        return tokens

    async def _complete(self, payload: Json, truncate: bool) -> AsyncGenerator[Json, None]:
        """Stream an answer from llama-server.

        Args:
            payload: the request, with either messages or a prompt.
            truncate: leave out the oldest messages of a conversation that does not fit, as Ollama does.

        Yields:
            Parts with any of content, thinking and logprobs; the last one has finish, timings and usage, and
            tool_calls if there are any.

        Raises:
            RouterError: llama-server gave an error.
        """
        path = "/v1/chat/completions" if "messages" in payload else "/v1/completions"
        while True:
            request = {**payload, "stream": True, "stream_options": {"include_usage": True}}
            source = self._router.events(path, request)
            try:
                first = await anext(source)
                break
            except StopAsyncIteration as error:
                raise RouterError("llama-server ended its answer before it began") from error
            except RouterError as error:
                if error.kind != "exceed_context_size_error":
                    raise
                shorter = _without_oldest(payload.get("messages", [])) if truncate else None
                if shorter is None:
                    raise RouterError(f"the input length exceeds the context length: {error}", 400) from error
                payload = {**payload, "messages": shorter}
        finish: str | None = None
        usage: Json = {}
        timings: Json = {}
        calls: dict[int, Json] = {}
        async with contextlib.aclosing(_chain(first, source)) as events:
            async for event in events:
                usage = event.get("usage") or usage
                timings = event.get("timings") or timings
                for choice in event.get("choices") or []:
                    finish = choice.get("finish_reason") or finish
                    delta = choice.get("delta") or {}
                    for call in delta.get("tool_calls") or []:
                        _merge_call(calls, call)
                    part: Json = {
                        "content": delta.get("content") or choice.get("text") or "",
                        "thinking": delta.get("reasoning_content") or "",
                        "logprobs": convert.from_logprobs(choice.get("logprobs")),
                    }
                    if any(part.values()):
                        yield part
        if finish is None:
            raise RouterError("llama-server ended its answer in the middle")
        last: Json = {"finish": finish, "timings": timings, "usage": usage}
        if calls:
            last["tool_calls"] = [calls[index] for index in sorted(calls)]
        yield last

    async def embed(self, request: web.Request) -> web.Response:
        """POST /api/embed"""
        began = time.monotonic_ns()
        body = await _body(request)
        name = _text(body, "model")
        given = body.get("input")
        inputs = ([given] if given else []) if isinstance(given, str) else given or []
        if not isinstance(inputs, list) or not all(isinstance(item, str) for item in inputs):
            raise RequestError("invalid input type")
        model = await self._find(name) if name else None
        if model is None:
            raise RequestError("model '' not found", 404)
        dimensions = body.get("dimensions")
        if dimensions is not None and (
            isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 0
        ):
            raise RequestError("dimensions must be a whole number")
        vectors, tokens, load = await self._embed(model, inputs, body, body.get("truncate") is not False)
        answer = {
            "model": name,
            "embeddings": [_normalized(vector[: dimensions or None]) for vector in vectors],
            "total_duration": time.monotonic_ns() - began,
            "load_duration": load,
            "prompt_eval_count": tokens,
        }
        return _json(answer)

    async def embeddings(self, request: web.Request) -> web.Response:
        """POST /api/embeddings, the older form"""
        body = await _body(request)
        name = _text(body, "model")
        if not name:
            raise RequestError("model is required")
        model = await self._find(name, 'model "{}" not found, try pulling it first')
        prompt = _text(body, "prompt")
        vectors, _tokens, _load = await self._embed(model, [prompt] if prompt else [], body, True)
        return _json({"embedding": vectors[0] if vectors else []})

    async def _embed(
        self, model: Model, inputs: list[str], body: Json, truncate: bool
    ) -> tuple[list[list[float]], int, int]:
        """Vectors, number of tokens, and nanoseconds of loading."""
        _parameters, context = convert.options(
            {**model.parameters, **(_typed(body, "options", dict) or {})}, "max_tokens"
        )
        keep_alive = _keep_alive(body)
        if "embedding" not in model.gguf.capabilities:
            raise RequestError("this model does not support embeddings", 501)
        with self._slot():
            async with self._scheduler.use(model, context, keep_alive) as load:
                if not inputs:
                    return [], 0, load
                path = "/v1/embeddings"
                request: Json = {"model": model.name.router_id, "input": inputs}
                try:
                    answer = await self._router.post(path, request)
                except RouterError as error:
                    if not truncate or error.status not in (400, 413, 500):
                        raise RouterError(str(error), 400 if error.status == 500 else error.status) from error
                    request["input"] = [await self._fitting(model, text, context) for text in inputs]
                    answer = await self._router.post(path, request)
                items = sorted(answer.get("data", []), key=lambda item: int(item.get("index", 0)))
                vectors = [[float(number) for number in item["embedding"]] for item in items]
                return vectors, int((answer.get("usage") or {}).get("prompt_tokens", 0)), load

    async def _fitting(self, model: Model, text: str, context: int | None) -> list[int]:
        """The tokens of a text that is too long, cut to what the model takes."""
        body = {"model": model.name.router_id, "content": text, "add_special": True}
        tokens: list[int] = (await self._router.post("/tokenize", body)).get("tokens", [])
        return tokens[: self._scheduler.fit(model, context) - 1]

    # -- OpenAI's and Anthropic's forms -------------------------------------------------------------------------

    async def v1_models(self, _request: web.Request) -> web.Response:
        """GET /v1/models"""
        models, _broken = await asyncio.to_thread(self._store.models)
        return _json({"object": "list", "data": [_v1_model(model) for model in models]})

    async def v1_model(self, request: web.Request) -> web.Response:
        """GET /v1/models/:model"""
        return _json(_v1_model(await self._find(request.match_info["model"])))

    async def v1_forward(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/...: passed to llama-server and back, with the model's name put in and out."""
        body = await _body(request)
        name = _text(body, "model")
        if not name:
            raise RequestError("model is required")
        model = await self._find(name)
        kind = "embeddings" if request.path.endswith("/embeddings") else "chat"
        if kind == "chat":
            _require(model, name, kind)
        elif "embedding" not in model.gguf.capabilities:
            raise RequestError("this model does not support embeddings", 501)
        inside, outside = f'"{model.name.router_id}"'.encode(), json.dumps(name).encode()
        with self._slot():
            async with (
                self._scheduler.use(model, None, None),
                self._router.forward("POST", request.path, {**body, "model": model.name.router_id}) as answer,
            ):
                headers = {key: answer.headers[key] for key in _FORWARDED if key in answer.headers}
                if answer.content_type != "text/event-stream":
                    data = (await answer.read()).replace(inside, outside)
                    return web.Response(body=data, status=answer.status, headers=headers)
                response = web.StreamResponse(status=answer.status, headers=headers)
                await response.prepare(request)
                try:
                    async for line in lines_of(answer):
                        await response.write(line.replace(inside, outside) + b"\n")
                except (aiohttp.ClientError, OSError) as error:
                    # The answer has begun, so its status cannot change; the client sees it cut off.
                    LOG.error("%s %s: %s", request.method, request.path, error)
                    response.force_close()
                    return response
                await response.write_eof()
                return response


# -- helpers ----------------------------------------------------------------------------------------------------


def _error(message: str, status: int, v1: bool) -> web.Response:
    if not v1:
        return _json({"error": message}, status)
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return _json({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


async def _body(request: web.Request) -> Json:
    raw = await request.read()
    if not raw.strip():
        raise RequestError("missing request body")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise RequestError(f"invalid JSON in the request body: {error}") from error
    if not isinstance(body, dict):
        raise RequestError("the request body must be a JSON object")
    return body


def _typed(body: Json, key: str, kind: type) -> Any:
    value = body.get(key)
    if value is not None and not isinstance(value, kind):
        raise RequestError(f"{key}: {json.dumps(value)[:100]} has the wrong type, {kind.__name__} is expected")
    return value


def _text(body: Json, key: str) -> str:
    return str(_typed(body, key, str) or "")


def _keep_alive(body: Json) -> float | None:
    value = body.get("keep_alive")
    if value is None:
        return None
    try:
        return parse_keep_alive(value)
    except DurationError as error:
        raise RequestError(str(error)) from error


def _logprobs(body: Json) -> Json:
    top = body.get("top_logprobs") or 0
    if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= 20:
        raise RequestError("top_logprobs must be between 0 and 20")
    return {"logprobs": True, "top_logprobs": top} if body.get("logprobs") else {}


def _require(
    model: Model, name: str, use: str, *, tools: bool = False, think: object = None, insert: bool = False
) -> None:
    """Refuse what a model cannot do, in Ollama's words."""
    found = model.gguf.capabilities
    if "completion" not in found:
        raise RequestError(f"{json.dumps(name)} does not support {use}")
    if think and "thinking" not in found:
        raise RequestError(f"{json.dumps(name)} does not support thinking")
    if tools and "tools" not in found:
        raise RequestError(f"{model.name.full} does not support tools")
    if insert:
        raise RequestError(f"{model.name.full} does not support insert")


def _without_oldest(messages: list[Json]) -> list[Json] | None:
    """The messages without the oldest one that is neither a system message nor the last; None if there is none."""
    for index, message in enumerate(messages[:-1]):
        if message["role"] != "system":
            return messages[:index] + messages[index + 1 :]
    return None


def _merge_call(calls: dict[int, Json], delta: Mapping[str, Any]) -> None:
    """Add a piece of a tool call to what has come of it already."""
    call = calls.setdefault(int(delta.get("index", 0)), {"id": "", "function": {"name": "", "arguments": ""}})
    call["id"] = delta.get("id") or call["id"]
    function = delta.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _normalized(vector: list[float]) -> list[float]:
    length = max(sum(number * number for number in vector) ** 0.5, 1e-12)
    return [number / length for number in vector]


def _v1_model(model: Model) -> Json:
    created = int(model.modified.timestamp())
    return {"id": model.name.short, "object": "model", "created": created, "owned_by": model.name.namespace}


async def _chain(first: Json, rest: AsyncGenerator[Json, None]) -> AsyncGenerator[Json, None]:
    try:
        yield first
        async for item in rest:
            yield item
    finally:
        await rest.aclose()


async def _stream(request: web.Request, answers: AsyncGenerator[Json, None]) -> web.StreamResponse:
    """Send objects as they come, one per line. An error before the first one still gets a status of its own."""
    async with contextlib.aclosing(answers):
        first = await anext(answers)
        response = web.StreamResponse(headers={"Content-Type": _NDJSON})
        await response.prepare(request)
        try:
            await response.write(_line(first))
            async for answer in answers:
                await response.write(_line(answer))
        except (RequestError, RouterError, StoreError, GgufError, OSError) as error:
            LOG.error("%s %s: %s", request.method, request.path, error)
            if request.transport is not None and not request.transport.is_closing():
                await response.write(_line({"error": str(error)}))
        await response.write_eof()
        return response


def _line(value: Json) -> bytes:
    return _dumps(value).encode() + b"\n"
