# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests: start the simulator as a program of its own, and talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

KEY = "1-" + "k" * 64
USER = "pantheon"
_FOLDER = Path(__file__).resolve().parents[1]
_START = 30.0
_WAIT = 20.0


class RpcError(Exception):
    """The answer was an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']} {error['message']}: {(error.get('data') or {}).get('reason')}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: dict[str, Any] = error.get("data") or {}

    @property
    def errno(self) -> int:
        """The error number."""
        return int(self.data["error"])

    @property
    def attributes(self) -> list[str | None]:
        """The attributes that are wrong."""
        return [entry[0] for entry in self.data["extra"]]

    @property
    def texts(self) -> list[str]:
        """What is wrong with them."""
        return [entry[1] for entry in self.data["extra"]]


class Closed(Exception):
    """The server has closed the connection."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Client:
    """A connection to the API."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.number = 0
        self.notifications: list[dict[str, Any]] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        self.session, self.socket = self.loop.run_until_complete(self._open(url))

    @staticmethod
    async def _open(url: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(url, ssl=context, max_msg_size=0)
        except BaseException:
            await session.close()
            raise
        return session, socket

    def close(self) -> None:
        """Close the connection."""

        async def end() -> None:
            await self.socket.close()
            await self.session.close()

        self.loop.run_until_complete(end())
        self.loop.close()

    def send(self, text: str) -> None:
        """Send a text as it is."""
        self.loop.run_until_complete(self.socket.send_str(text))

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        self.loop.run_until_complete(self.socket.send_bytes(data))

    def receive(self, timeout: float = _WAIT) -> dict[str, Any]:
        """Return the next message."""
        message = self.loop.run_until_complete(asyncio.wait_for(self.socket.receive(), timeout))
        if message.type == aiohttp.WSMsgType.TEXT:
            document: dict[str, Any] = json.loads(message.data)
            return document
        raise Closed(self.socket.close_code, str(message.extra or ""))

    def start(self, method: str, *params: Any) -> int:
        """Send a call; return its number."""
        self.number += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": list(params)}))
        return self.number

    def finish(self, number: Any) -> Any:
        """Return the result of a call that was sent; notifications that come before it are kept."""
        while number not in self.answers:
            message = self.receive()
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.notifications.append(message)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its result."""
        return self.finish(self.start(method, *params))

    def login(self, user: str = USER, key: str = KEY, **options: Any) -> Any:
        """Log in with a key."""
        data = {"mechanism": "API_KEY_PLAIN", "username": user, "api_key": key}
        return self.call("auth.login_ex", {**data, "login_options": {"user_info": False, **options}})


class Simulator:
    """The simulator as a process."""

    def __init__(self, state: Path, *options: str, config: dict[str, Any] | None = None) -> None:
        self.state, self.options = state, options
        if config is not None:
            state.mkdir(parents=True, exist_ok=True)
            (state / "config.json").write_text(json.dumps(config), encoding="utf-8")
            self.options = (*options, "--config", str(state / "config.json"))
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "truenas_simulator", "--state", str(self.state)]
        defaults = ("--auth-delay", "0", "--rate-delay", "0", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
        self.process = subprocess.Popen(
            [*command, *defaults, *self.options],
            cwd=_FOLDER,
            env={**os.environ, "PYTHONPATH": str(_FOLDER)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator ended with status {self.process.wait(_START)}")
        self.ready = json.loads(line)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; return its status."""
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        status = self.process.wait(_START)
        self.process.stdout.close()
        return status

    def url(self, path: str = "/api/current", plain: bool = False) -> str:
        """Return the address of the API."""
        base: str = self.ready["plain" if plain else "listen"]
        return base.replace("http", "ws", 1) + path

    @contextlib.contextmanager
    def connect(self, path: str = "/api/current", plain: bool = False, login: bool = True) -> Iterator[Client]:
        """Connect, log in if wanted, and close at the end."""
        client = Client(self.url(path, plain))
        try:
            if login:
                answer = client.login()
                assert answer["response_type"] == "SUCCESS", answer
            yield client
        finally:
            client.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Use the control interface."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ready["control"] + path, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_WAIT) as answer:
            return json.load(answer)

    def faults(self, *faults: dict[str, Any]) -> None:
        """Put faults into the simulator."""
        self.control("PUT", "/faults", {"faults": list(faults)})

    def log(self, method: str | None = None) -> list[dict[str, Any]]:
        """Return the log of calls."""
        entries: list[dict[str, Any]] = self.control("GET", "/log")["requests"]
        return [entry for entry in entries if method is None or entry["method"] == method]
