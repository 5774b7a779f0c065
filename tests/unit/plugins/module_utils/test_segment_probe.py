# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections from within a container's network: DNS, the verdict per probe, and a real network namespace."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _containers
from ansible_collections.pantheon.ai.plugins.module_utils import _segment_probe as sp

OPEN = sp.Probe("litellm", "redis", 6379, "open")
CLOSED = sp.Probe("edge-proxy", "redis", 6379, "closed")


def answer(number: int, name: str, addresses: Sequence[str], code: int = 0) -> bytes:
    """Return a DNS answer in which each record points back to the question, as Docker's server writes it."""
    question = sp.dns_query(name, number)[12:]
    head = struct.pack(">HHHHHH", number, 0x8180 | code, 1, len(addresses), 0, 0)
    records = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 600, 4) + socket.inet_aton(address) for address in addresses
    )
    return head + question + records


def test_dns_answers_are_read() -> None:
    assert sp.dns_addresses(answer(7, "redis", ["10.90.8.4", "10.90.8.5"]), 7) == ["10.90.8.4", "10.90.8.5"]
    assert sp.dns_addresses(answer(7, "nobody", [], code=3), 7) == []
    with pytest.raises(sp.ProbeError, match="error 2"):
        sp.dns_addresses(answer(7, "redis", [], code=2), 7)
    with pytest.raises(sp.ProbeError, match="another question"):
        sp.dns_addresses(answer(8, "redis", []), 7)
    with pytest.raises(sp.ProbeError, match="cannot be read"):
        sp.dns_addresses(answer(7, "redis", ["10.90.8.4"])[:-2], 7)


@pytest.fixture
def dns() -> Iterator[tuple[str, int]]:
    """Serve the name redis; nothing for any other."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                data, client = server.recvfrom(512)
            except OSError:
                return
            if not data:
                return
            number = struct.unpack(">H", data[:2])[0]
            name = data[13 : 13 + data[12]].decode()
            if name == "silent":
                continue
            known = ["10.90.8.4"] if name == "redis" else []
            server.sendto(answer(number, name, known, code=0 if known else 3), client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", server.getsockname())
    thread.join(5)
    server.close()


def test_names_are_asked_of_the_server(dns: tuple[str, int]) -> None:
    assert sp.resolve("redis", server=dns) == ["10.90.8.4"]
    assert sp.resolve("nobody", server=dns) == []
    assert sp.resolve("10.77.0.11", server=dns) == ["10.77.0.11"]
    with pytest.raises(sp.ProbeError, match=r"no DNS answer within 0.2 s"):
        sp.resolve("silent", timeout=0.2, server=dns)


@pytest.mark.parametrize(
    ("probe", "addresses", "accepting", "knows_itself", "state", "ok"),
    [
        (OPEN, ["a"], {"a"}, True, "open", True),
        (OPEN, ["a", "b"], {"a", "b"}, True, "open", True),
        (OPEN, ["a", "b"], {"b"}, True, "partial", False),
        (CLOSED, ["a", "b"], {"b"}, True, "partial", False),
        (OPEN, ["a"], set(), True, "closed", False),
        (OPEN, [], set(), True, "closed", False),
        (CLOSED, [], set(), True, "closed", True),
        (CLOSED, ["a"], set(), False, "closed", True),
        (CLOSED, ["a"], {"a"}, True, "open", False),
        # A DNS server that knows nothing proves no wall.
        (CLOSED, [], set(), False, "unknown", False),
        (OPEN, [], set(), False, "unknown", False),
    ],
)
def test_the_state_and_whether_it_is_the_expected_one(
    probe: sp.Probe, addresses: list[str], accepting: set[str], knows_itself: bool, state: str, ok: bool
) -> None:
    result = sp.attempt(probe, 1, knows_itself, lambda name: addresses, lambda a, port, timeout: a in accepting)
    assert (result["state"], result["ok"]) == (state, ok)
    assert (result["source"], result["target"], result["port"], result["expect"]) == tuple(probe)


def test_a_container_that_is_not_there_is_never_ok() -> None:
    def docker(command: Sequence[str], stdin: str = "", timeout: float = 30) -> tuple[int, str, str]:
        assert command[1] == "ps"
        return 0, "", ""

    results = sp.Segments(docker).run([CLOSED])
    assert [(result["state"], result["ok"]) for result in results] == [("unknown", False)]
    assert "pantheon-edge-proxy" in results[0]["detail"]


def test_each_container_is_entered_once() -> None:
    entered: list[tuple[int, int]] = []

    def docker(command: Sequence[str], stdin: str = "", timeout: float = 30) -> tuple[int, str, str]:
        if command[1] == "ps":
            return 0, "litellm\n" if "litellm" in str(command) else "edge\n", ""
        return 0, "41\n" if command[-1] == "litellm" else "42\n", ""

    def prober(pid: int, probes: Sequence[sp.Probe], timeout: float) -> list[dict[str, object]]:
        entered.append((pid, len(probes)))
        return [dict(probe._asdict(), ok=True) for probe in probes]

    results = sp.Segments(docker, prober=prober).run([OPEN, CLOSED, OPEN._replace(port=1)])
    assert entered == [(42, 1), (41, 2)]
    assert len(results) == 3


# -- a real network namespace -----------------------------------------------------------------------------------------

SERVER = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
    " print(s.getsockname()[1], flush=True); sys.stdin.read()"
)


@pytest.fixture
def other_network() -> Iterator[tuple[int, int]]:
    """Start a process in a network of its own that listens on its loopback; yield its id and the port."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root, unshare and ip")
    script = f'ip link set lo up && exec python3 -c "{SERVER}"'
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.skip("this machine allows no network namespaces")
        yield process.pid, int(line)
        process.kill()


def test_the_probe_runs_in_the_network_of_the_process(other_network: tuple[int, int]) -> None:
    pid, port = other_network
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    before = os.readlink("/proc/self/ns/net")
    started = time.monotonic()
    results = sp.inside(
        pid, [sp.Probe("x", "127.0.0.1", port, "open"), sp.Probe("x", "redis", 6379, "closed")], timeout=1
    )
    assert time.monotonic() - started < 10
    assert (results[0]["state"], results[0]["ok"]) == ("open", True)
    # No DNS server in this network: nothing can be said about the name.
    assert (results[1]["state"], results[1]["ok"]) == ("unknown", False)
    assert os.readlink("/proc/self/ns/net") == before, "this process stays where it was"


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(sp.ProbeError, match="cannot be opened"):
        sp.inside(2**22 + 1, [OPEN], 1)
    with pytest.raises(_containers.ContainerError, match="cannot be opened"):
        _containers.enter_network(2**22 + 1)
