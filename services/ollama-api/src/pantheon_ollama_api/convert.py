# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translations between Ollama's requests and answers and those of llama-server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

Json = dict[str, Any]

# Ollama's option: (llama-server's parameter, accepted types, name of the type in the error message)
_OPTIONS: dict[str, tuple[str, tuple[type, ...], str]] = {
    "temperature": ("temperature", (int, float), "float32"),
    "top_k": ("top_k", (int,), "integer"),
    "top_p": ("top_p", (int, float), "float32"),
    "min_p": ("min_p", (int, float), "float32"),
    "typical_p": ("typical_p", (int, float), "float32"),
    "seed": ("seed", (int,), "integer"),
    "repeat_penalty": ("repeat_penalty", (int, float), "float32"),
    "repeat_last_n": ("repeat_last_n", (int,), "integer"),
    "presence_penalty": ("presence_penalty", (int, float), "float32"),
    "frequency_penalty": ("frequency_penalty", (int, float), "float32"),
    "mirostat": ("mirostat", (int,), "integer"),
    "mirostat_tau": ("mirostat_tau", (int, float), "float32"),
    "mirostat_eta": ("mirostat_eta", (int, float), "float32"),
    "num_keep": ("n_keep", (int,), "integer"),
}


class RequestError(Exception):
    """The request cannot be answered.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def options(given: Mapping[str, Any], limit: str) -> tuple[Json, int | None]:
    """llama-server's sampling parameters from Ollama's options.

    Options that Ollama does not know, and those that choose how a model is loaded (num_gpu, num_thread ...), are
    accepted and have no effect; num_ctx has.

    Args:
        given: the options.
        limit: the parameter that limits the answer's length ("max_tokens" or "n_predict").

    Returns:
        The parameters, and the context length if one was asked for.

    Raises:
        RequestError: An option has the wrong type.
    """
    result: Json = {}
    for name, (parameter, types, label) in _OPTIONS.items():
        value = given.get(name)
        if value is not None:
            result[parameter] = _typed(name, value, types, label)
    stop = given.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(item, str) for item in stops):
            raise RequestError('option "stop" must be of type array')
        result["stop"] = stops
    predict = given.get("num_predict")
    # Anything below 1 means no limit but the context.
    if predict is not None and _typed("num_predict", predict, (int,), "integer") > 0:
        result[limit] = int(predict)
    context = given.get("num_ctx")
    if context is not None:
        context = int(_typed("num_ctx", context, (int,), "integer"))
    return result, context or None


def _typed(name: str, value: Any, types: tuple[type, ...], label: str) -> Any:
    # JSON from Go and JavaScript clients has whole numbers as 5.0 now and then.
    if isinstance(value, float) and float not in types and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, types):
        raise RequestError(f'option "{name}" must be of type {label}')
    return value


def response_format(value: object) -> Json:
    """llama-server's response_format from Ollama's `format`."""
    if value in (None, "", {}):
        return {}
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(value, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": value}}}
    raise RequestError(f'invalid format: {json.dumps(value)}; expected "json" or a valid JSON Schema object')


def thinking(value: object) -> Json:
    """llama-server's parameters for Ollama's `think` (true, false, "low", "medium", "high")."""
    if value is None:
        return {}
    result: Json = {"chat_template_kwargs": {"enable_thinking": bool(value)}}
    if isinstance(value, str) and value:
        result["reasoning_effort"] = value
    return result


def to_messages(messages: Sequence[Any]) -> list[Json]:
    """Chat messages for llama-server from Ollama's.

    Args:
        messages: Ollama's messages.

    Returns:
        The messages as OpenAI's API has them.

    Raises:
        RequestError: A message is malformed or carries images.
    """
    result: list[Json] = []
    calls: dict[str, str] = {}
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or not message["role"]:
            raise RequestError(f"messages[{index}]: must be an object with a role")
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise RequestError(f"messages[{index}]: content must be a string")
        refuse_images(message.get("images"), f"messages[{index}]: ")
        entry: Json = {"role": message["role"], "content": content or ""}
        if message.get("thinking"):
            entry["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            entry["tool_calls"] = []
            for number, call in enumerate(message["tool_calls"]):
                try:
                    function = call["function"]
                    name, arguments = str(function["name"]), function.get("arguments") or {}
                except (KeyError, TypeError, AttributeError) as error:
                    raise RequestError(f"messages[{index}].tool_calls[{number}]: has no function name") from error
                calls[name] = str(call.get("id") or f"call_{index}_{number}")
                entry["tool_calls"].append(
                    {
                        "id": calls[name],
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(arguments)},
                    }
                )
        if message["role"] == "tool":
            name = str(message.get("tool_name") or message.get("name") or "")
            entry["name"] = name
            entry["tool_call_id"] = str(message.get("tool_call_id") or calls.get(name, name))
        result.append(entry)
    return result


def refuse_images(images: object, where: str = "") -> None:
    """Say plainly that pictures are not read.

    Raises:
        RequestError: There are images.
    """
    if images:
        raise RequestError(f"{where}this server cannot read images: its models have no image input; send text only")


def from_tool_calls(calls: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Ollama's tool calls from OpenAI's."""
    result = []
    for index, call in enumerate(calls):
        function = call.get("function") or {}
        raw = function.get("arguments") or "{}"
        try:
            arguments = json.loads(raw) if isinstance(raw, str) else raw
        except ValueError:
            arguments = {}  # the answer was cut off in the middle of the call
        item = {"id": call.get("id") or f"call_{index}"}
        result.append({**item, "function": {"index": index, "name": function.get("name", ""), "arguments": arguments}})
    return result


def from_logprobs(value: Mapping[str, Any] | None) -> list[Json]:
    """Ollama's log probabilities from OpenAI's."""

    def one(item: Mapping[str, Any]) -> Json:
        return {key: item[key] for key in ("token", "logprob", "bytes") if item.get(key) is not None}

    result = []
    for item in (value or {}).get("content") or []:
        entry = one(item)
        if item.get("top_logprobs"):
            entry["top_logprobs"] = [one(other) for other in item["top_logprobs"]]
        result.append(entry)
    return result


def metrics(timings: Mapping[str, Any], usage: Mapping[str, Any], total: int, load: int) -> Json:
    """Ollama's durations (nanoseconds) and counts.

    Args:
        timings: llama-server's `timings`.
        usage: its `usage`; for the plain completion endpoint its token counts under the same names.
        total: nanoseconds of the whole request.
        load: nanoseconds of loading the model.

    Returns:
        The fields of the last object of an answer.
    """
    prompt = usage.get("prompt_tokens") or int(timings.get("prompt_n", 0)) + int(timings.get("cache_n", 0))
    return {
        "total_duration": total,
        "load_duration": load,
        "prompt_eval_count": int(prompt),
        "prompt_eval_duration": int(float(timings.get("prompt_ms", 0.0)) * 1e6),
        "eval_count": int(usage.get("completion_tokens") or timings.get("predicted_n", 0)),
        "eval_duration": int(float(timings.get("predicted_ms", 0.0)) * 1e6),
    }


def done_reason(finish: object) -> str:
    """Ollama's reason for the end of an answer."""
    return "length" if finish == "length" else "stop"
