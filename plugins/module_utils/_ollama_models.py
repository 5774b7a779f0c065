# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that an Ollama server holds (private to the collection)."""

from __future__ import annotations

import http.client
import json
import socket
import time
import typing as t
import urllib.parse

from ansible_collections.pantheon.ai.plugins.module_utils._containers import (
    ContainerError,
    NotRunning,
    network_of,
    process_of,
    run,
)
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

LOOPBACK = "http://127.0.0.1:11434"

ARGUMENTS: t.Dict[str, t.Any] = {
    "models": {"type": "list", "elements": "str"},
    "url": {"type": "str"},
    "service": {"type": "str", "default": "ollama"},
    "project": {"type": "str"},
    "docker": {"type": "str", "default": "docker"},
    "wait": {"type": "float", "default": 30},
    "stall_timeout": {"type": "float", "default": 120},
}


class OllamaError(Exception):
    """The server or a model cannot be used; remedy says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Unreachable(OllamaError):
    """Nothing answers at the address."""


Progress = t.Dict[str, t.Any]
"""One line of a pull: status, and for a file digest, total and completed bytes."""


class Client(t.Protocol):
    """What a server must offer; tests pass a fake."""

    def tags(self) -> t.List[t.Dict[str, t.Any]]:
        """Return the models that are there."""

    def pull(self, name: str) -> t.Iterator[Progress]:
        """Fetch a model and yield the progress while it comes in."""


class Ollama:
    """The HTTP API of a server."""

    def __init__(self, url: str, wait: float = 30, stall_timeout: float = 120) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OllamaError(f"url {url!r} is not an address", "Write it like http://127.0.0.1:11434.")
        self.url, self.parts, self.wait, self.stall_timeout = url.rstrip("/"), parts, wait, stall_timeout

    def tags(self) -> t.List[t.Dict[str, t.Any]]:
        """Return the models that are there; wait for a server that is still starting."""
        deadline = time.monotonic() + self.wait
        while True:
            try:
                response = self._request("GET", "/api/tags", None, 30)
                if response.status in (502, 503) and time.monotonic() < deadline:
                    time.sleep(0.5)
                    continue
                models = self._json(response.read(), response.status).get("models")
                return list(models or [])
            except Unreachable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.5)

    def pull(self, name: str) -> t.Iterator[Progress]:
        """Fetch a model. Raises OllamaError when nothing comes in for stall_timeout seconds."""
        response = self._request("POST", "/api/pull", {"model": name, "stream": True}, self.stall_timeout)
        if response.status != 200:
            yield self._json(response.read(), response.status)
            return
        while True:
            try:
                line = response.readline()
            except (socket.timeout, TimeoutError):
                raise stalled(name, self.stall_timeout) from None
            except (OSError, http.client.HTTPException) as error:
                raise OllamaError(
                    f"model {name}: the server broke off while fetching it ({error or type(error).__name__})",
                    "Look at `docker compose logs` of the service ollama and run again: what is there already is kept.",
                ) from error
            if not line:
                return
            if line.strip():
                yield self._json(line, 200)

    def _request(
        self, method: str, path: str, body: t.Optional[t.Dict[str, t.Any]], timeout: float
    ) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if self.parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(t.cast(str, self.parts.hostname), self.parts.port, timeout=timeout)
        try:
            connection.request(
                method,
                self.parts.path.rstrip("/") + path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(
                f"no Ollama answers at {self.url} ({error or type(error).__name__})",
                "Look at `docker compose ps` and the logs of the service ollama on this machine.",
            ) from error

    def _json(self, data: bytes, status: int) -> t.Dict[str, t.Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise OllamaError(
                f"{self.url} answered {status} with something that is not Ollama's",
                "Check that url names the Ollama API, without a path.",
            )
        return value


def stalled(name: str, seconds: float) -> OllamaError:
    """Return the error for a pull without progress."""
    return OllamaError(
        f"model {name}: no progress for {seconds:.0f} s",
        "Check the connection of the machine to the source of the model, or raise stall_timeout, and run again.",
    )


def pull_error(name: str, text: str) -> OllamaError:
    """Return the error for what the server said when it could not fetch a model."""
    lower = text.lower()
    if "no space left" in lower or "insufficient" in lower and ("space" in lower or "storage" in lower):
        return OllamaError(
            f"model {name}: the disk is full ({text})",
            "Remove a model that is no longer used with `ollama rm`, or give the volume more space, and run again.",
        )
    if "not found" in lower or "does not exist" in lower or "unknown model" in lower or "invalid model" in lower:
        return OllamaError(
            f"model {name}: there is no such model at its source ({text})",
            "Correct the name in pantheon_models.",
        )
    if "newer version" in lower:
        return OllamaError(f"model {name}: {text}", "Raise the version of the service ollama in the catalog.")
    return OllamaError(f"model {name}: {text}", "Look at the logs of the service ollama on this machine.")


def normalise(name: str) -> str:
    """Return the name as the server lists it: with a tag."""
    name = name.strip()
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


class Models:
    """The wanted models on one server. Others are left alone."""

    def __init__(
        self,
        client: t.Optional[Client],
        check_mode: bool,
        stall_timeout: float = 120,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.client, self.check_mode, self.stall_timeout, self.clock = client, check_mode, stall_timeout, clock

    def present(self, names: t.Sequence[str]) -> t.Tuple[t.Dict[str, t.Any], t.List[OllamaError]]:
        """Fetch what is missing; return the result and what failed. Without a client the server is taken as empty."""
        there = self._there()
        models: t.Dict[str, t.Dict[str, t.Any]] = {}
        errors: t.List[OllamaError] = []
        fetched: t.List[str] = []
        for name in sorted({normalise(name) for name in names}):
            if name in there:
                models[name] = {"action": "none", **self._facts(there[name])}
                continue
            models[name] = {"action": "pulled", "size": None, "digest": None}
            fetched.append(name)
            if self.client and not self.check_mode:
                started = self.clock()
                try:
                    models[name]["bytes"] = self._pull(self.client, name)
                except OllamaError as error:
                    models[name] = {"action": "failed", "size": None, "digest": None, "error": str(error)}
                    errors.append(error)
                models[name]["seconds"] = round(self.clock() - started, 1)
        pulled = [name for name in fetched if models[name]["action"] == "pulled"]
        if pulled and self.client and not self.check_mode:
            there = self._there()
            for name in pulled:
                if name in there:
                    models[name].update(self._facts(there[name]))
                else:
                    lost = OllamaError(
                        f"model {name}: the server said that it was fetched, and does not list it",
                        "Look at the logs of the service ollama on this machine.",
                    )
                    models[name].update(action="failed", error=str(lost))
                    errors.append(lost)
        changed = [name for name in pulled if models[name]["action"] == "pulled"]
        return {
            "changed": bool(changed),
            "models": models,
            "diff": {
                "before": "".join(f"{name}\n" for name in models if models[name]["action"] == "none"),
                "after": "".join(f"{name}\n" for name in models if models[name]["action"] != "failed"),
            },
        }, errors

    def _there(self) -> t.Dict[str, t.Dict[str, t.Any]]:
        return {normalise(str(model.get("name"))): model for model in (self.client.tags() if self.client else [])}

    @staticmethod
    def _facts(model: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
        return {"size": model.get("size"), "digest": model.get("digest")}

    def _pull(self, client: Client, name: str) -> int:
        """Fetch one model and return how many bytes came in."""
        # A server repeats the same line while it waits, so a silent connection is not the only way to stall.
        seen: t.Tuple[t.Any, ...] = ()
        since = self.clock()
        completed: t.Dict[str, int] = {}
        last = ""
        for progress in client.pull(name):
            if progress.get("error"):
                raise pull_error(name, str(progress["error"]))
            last = str(progress.get("status", ""))
            if progress.get("completed"):
                completed[str(progress.get("digest"))] = int(progress["completed"])
            now = (last, progress.get("digest"), progress.get("completed"))
            if now != seen:
                seen, since = now, self.clock()
            elif self.clock() - since > self.stall_timeout:
                raise stalled(name, self.stall_timeout)
        if last != "success":
            raise OllamaError(
                f"model {name}: the server stopped at {last or 'the start'!r} without saying that it was fetched",
                "Run again: what is there already is kept. Look at the logs of the service ollama on this machine.",
            )
        return sum(completed.values())


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Make the server hold the models: the module ollama_models without Ansible."""
    warnings: t.List[str] = []
    try:
        try:
            result, errors = _in_its_network(params, check_mode)
        except (Unreachable, NotRunning) as error:
            if not check_mode:
                raise
            warnings.append(f"{error}: taken as empty, because this is check mode.")
            result, errors = Models(None, True).present(params["models"] or [])
    except (OllamaError, ContainerError) as error:
        return Outcome({}, warnings, f"{error}. {error.remedy}")
    said = " ".join(f"{error}. {error.remedy}" for error in errors)
    return Outcome(result, warnings, said, idle=not result["changed"])


def _in_its_network(params: t.Dict[str, t.Any], check_mode: bool) -> t.Tuple[t.Dict[str, t.Any], t.List[OllamaError]]:
    models, stall_timeout = params["models"] or [], params["stall_timeout"]
    client = Ollama(params["url"] or LOOPBACK, 0 if check_mode else params["wait"], stall_timeout)
    if params["url"]:
        return Models(client, check_mode, stall_timeout).present(models)
    project = params["project"] or f"pantheon-{params['service']}"
    with network_of(process_of(run, project, params["service"], params["docker"])):
        return Models(client, check_mode, stall_timeout).present(models)
