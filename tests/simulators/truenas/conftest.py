# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TrueNAS modules against the simulator, which runs as a program of its own, once for each release."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[3]
# The last one answers pool.dataset.query with everything that 25.10 has in its source beyond the documentation.
RELEASES = {
    "25.04": ("25.04",),
    "25.10": ("25.10",),
    "26": ("26",),
    "25.10-source": ("25.10", "--dataset-rows", "source"),
}
KEY = "1-" + "k" * 64

init_plugin_loader([str(ROOT / "collections")])

Result = dict[str, Any]


class Nas:
    """A running simulator and its control interface."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process, self.ready = process, ready
        self.release: str = ready["release"]
        self.port = int(ready["listen"].rsplit(":", 1)[1])

    @property
    def connection(self) -> dict[str, Any]:
        """The options that every module needs."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "username": "pantheon",
            "api_key": KEY,
            "tls_fingerprint": self.ready["fingerprint"],
            "timeout": 10,
        }

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the control interface."""
        request = urllib.request.Request(
            self.ready["control"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def log(self) -> list[dict[str, Any]]:
        """The calls since the last forget, in order."""
        requests: list[dict[str, Any]] = self.control("GET", "/log")["requests"]
        return [request for request in requests if "." in str(request.get("method"))]

    def methods(self) -> list[str]:
        return [request["method"] for request in self.log()]

    def writes(self) -> list[str]:
        return [request["method"] for request in self.log() if request["write"]]

    def forget(self) -> None:
        self.control("DELETE", "/log")

    def fault(self, kind: str, match: str = "", times: int | None = 1, **more: Any) -> None:
        self.control("PUT", "/faults", {"faults": [{"kind": kind, "match": match, "times": times, **more}]})


def nas_client(nas: Nas) -> Any:
    """A connection of our own, to do by hand what an administrator would do."""
    from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_client, _truenas_transport

    options = nas.connection
    endpoint = _truenas_transport.Endpoint("127.0.0.1", nas.port, tls_fingerprint=options["tls_fingerprint"])
    return _truenas_client.Nas(endpoint, _truenas_client.Credentials("pantheon", options["api_key"]))


def start(state: Path, release: str, *more: str) -> Nas:
    """Start a simulator and wait for the line that says that it is ready."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "truenas_simulator", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"),
            *("--state", str(state), "--release", release, "--auth-delay", "0", *more),
        ],
        cwd=ROOT / "lab/simulators/truenas",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("{"), f"the simulator of {release} did not start"
    return Nas(process, json.loads(line))


def stop(nas: Nas) -> None:
    """End a simulator."""
    nas.process.terminate()
    nas.process.wait(10)


@pytest.fixture(scope="session", params=RELEASES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nas]:
    """One simulator for each release."""
    nas = start(tmp_path_factory.mktemp("state"), *RELEASES[request.param])
    yield nas
    stop(nas)


@pytest.fixture
def nas(running: Nas) -> Nas:
    """A simulator as it is at the start."""
    running.control("POST", "/reset")
    running.control("DELETE", "/faults")
    running.forget()
    return running


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a module and return what it prints; no secret may be in there."""
    warnings: list[str] = []
    # In the process of the tests Ansible would show warnings itself instead of returning them.
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, text, **more: warnings.append(text))

    def run(module_name: str, nas: Nas, /, check: bool = False, **options: Any) -> Result:
        module = importlib.import_module(f"ansible_collections.pantheon.ai.plugins.modules.{module_name}")
        arguments = {**nas.connection, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        text = capsys.readouterr().out
        assert "k" * 64 not in text + "".join(warnings), "the API key is in the output"
        result: Result = {**json.loads(text), "warnings": [*warnings]}
        warnings.clear()
        return result

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let pauses between attempts take no time, and keep them."""
    waits: list[float] = []
    from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_client

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(seconds: float) -> None:
            waits.append(seconds)
            time.sleep(min(seconds, 0.05))

    defaults = _truenas_client.Nas.__init__.__defaults__
    assert defaults is not None
    replaced = tuple(Clock.sleep if value is time.sleep else value for value in defaults)
    monkeypatch.setattr(_truenas_client.Nas.__init__, "__defaults__", replaced)
    return waits
