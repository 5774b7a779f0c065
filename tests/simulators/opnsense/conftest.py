# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules against the simulator of OPNsense, one process for each release."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[3]
SIMULATOR = ROOT / "lab" / "simulators" / "opnsense"
RELEASES = ["24.7", "25.1", "25.7", "26.1", "26.7"]
KEY, SECRET = "pantheon-key", "pantheon-secret"
MODULES = "ansible_collections.pantheon.ai.plugins.modules"

init_plugin_loader([str(ROOT / "collections")])


class Simulator:
    """A running simulator, and the way to its control interface."""

    def __init__(self, release: str, folder: Path, *arguments: str) -> None:
        self.release = release
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "opnsense_simulator", "--release", release, "--auth-delay", "0"),
                *("--listen", "127.0.0.1:0", "--plain", "127.0.0.1:0", "--control", "127.0.0.1:0"),
                *("--state", str(folder), *arguments),
            ],
            env={**os.environ, "PYTHONPATH": str(SIMULATOR)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.ready = ready

    def control(self, method: str, path: str, data: Any = None) -> Any:
        request = urllib.request.Request(
            self.ready["control"] + path,
            method=method,
            data=None if data is None else json.dumps(data).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def log(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "/log")["requests"]
        return found

    def writes(self) -> list[str]:
        return [entry["path"] for entry in self.log() if entry["write"]]

    def faults(self, *faults: dict[str, Any]) -> None:
        self.control("PUT", "/faults", {"faults": list(faults)})

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


class Router:
    """A fresh router for one test: call modules on it."""

    def __init__(self, simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
        self.simulator, self.capsys, self.release = simulator, capsys, simulator.release
        self.number = tuple(int(part) for part in simulator.release.split("."))
        self.before: list[dict[str, Any]] = []
        self.defaults: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": int(simulator.ready["listen"].rpartition(":")[2]),
            "tls_server_name": "OPNsense.internal",
            "ca_path": simulator.ready["certificate"],
            "api_key": KEY,
            "api_secret": SECRET,
            "timeout": 10,
            "apply_timeout": 15,
        }

    def call(self, name: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run a module in this process and return what it prints; the log of requests starts anew."""
        module = importlib.import_module(f"{MODULES}.opnsense_{name}")
        self.simulator.control("DELETE", "/log")
        given = {"_ansible_check_mode": check, "_ansible_diff": True, **self.defaults, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        output = self.capsys.readouterr().out
        shown = {key: value for key, value in json.loads(output).items() if key != "invocation"}
        assert SECRET not in output and KEY not in output
        # A request that was too slow for the module ends, and is in the log, a moment later.
        deadline = time.monotonic() + 2
        while len(self.simulator.log()) < shown.get("requests", 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.simulator.log()) == shown.get("requests", 0)
        return shown

    def get(self, path: str) -> Any:
        """Read from the API, without a module."""
        return self.request("GET", path)

    def post(self, path: str, data: Any) -> Any:
        """Write by the API, without a module."""
        return self.request("POST", path, data)

    def request(self, method: str, path: str, data: Any = None) -> Any:
        from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Client, Settings

        client = Client(Settings(self.defaults))
        try:
            return client.get(path) if method == "GET" else client.post(path, data)
        finally:
            client.close()


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Simulator]]:
    running: dict[str, Simulator] = {}

    def start(release: str) -> Simulator:
        if release not in running:
            running[release] = Simulator(release, tmp_path_factory.mktemp("opnsense"), "--rollback-seconds", "2")
        return running[release]

    yield start
    for simulator in running.values():
        simulator.stop()


@pytest.fixture(params=RELEASES)
def router(
    request: pytest.FixtureRequest, simulators: Callable[[str], Simulator], capsys: pytest.CaptureFixture[str]
) -> Router:
    """A router of each release."""
    return fresh(simulators(request.param), capsys)


@pytest.fixture
def newest(simulators: Callable[[str], Simulator], capsys: pytest.CaptureFixture[str]) -> Router:
    """A router of the newest release only."""
    return fresh(simulators(RELEASES[-1]), capsys)


def fresh(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> Router:
    simulator.control("POST", "/reset", {})
    simulator.control("DELETE", "/faults")
    return Router(simulator, capsys)
