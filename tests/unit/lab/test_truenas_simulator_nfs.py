# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TrueNAS simulator and its NFS server: what is rendered, and a process that is started, told and ended.

The process is a stand-in that does what the tests can see of NFS-Ganesha: it listens, reads its file at SIGHUP and
ends at SIGTERM.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.simulators.truenas.truenas_simulator.ganesha import alive
from lab.simulators.truenas.truenas_simulator.testing import Client, RpcError, Simulator

FAKE = """
import re, signal, socket, sys, time
file, mode = sys.argv[1], sys.argv[2]
if mode == "broken":
    print("FATAL: no capability", file=sys.stderr)
    sys.exit(1)
def read(*_):
    text = open(file).read()
    open(file + ".seen", "w").write(text)
    print("EVENT :Reread exports complete", file=sys.stderr, flush=True)
    return text
port = int(re.search(r"NFS_Port = ([0-9]+)", read()).group(1))
signal.signal(signal.SIGHUP, read)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("127.0.0.1", port))
while True:
    listener.accept()[0].close()
"""
CONFIG: dict[str, Any] = {
    "system": {"hosts": {"zelus.lab": "10.20.0.9"}},
    "groups": [{"group": "models", "gid": 951}],
    "users": [{"username": "pantheon", "roles": ["FULL_ADMIN"]}, {"username": "models", "uid": 950, "gid": 951}],
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Nas(Simulator):
    """A simulator with an NFS server."""

    def __init__(self, folder: Path, mode: str = "good") -> None:
        self.file = folder / "ganesha.conf"
        (folder / "fake.py").write_text(FAKE)
        command = f"{sys.executable} {folder / 'fake.py'} {self.file} {mode}"
        super().__init__(
            folder / "state",
            *("--ganesha", str(self.file), "--ganesha-command", command),
            *("--ganesha-port", str(free_port()), "--ganesha-wait", "10"),
            config=CONFIG,
        )

    def seen(self) -> str:
        """Return the configuration as the server has read it."""
        return Path(f"{self.file}.seen").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nas]:
    simulator = Nas(tmp_path_factory.mktemp("nas"))
    yield simulator
    assert simulator.stop() == 0


@pytest.fixture
def nas(server: Nas) -> Nas:
    server.control("POST", "/reset")
    return server


@pytest.fixture
def client(nas: Nas) -> Iterator[Client]:
    with nas.connect() as connection:
        connection.call("core.set_options", {"legacy_jobs": False})
        connection.call("pool.dataset.create", {"name": "tank/m"})
        yield connection


def start(client: Client) -> int:
    assert client.call("service.control", "START", "nfs", {"silent": False}) is True
    return pid(client)


def pid(client: Client) -> int:
    row = client.call("service.query", [["service", "=", "nfs"]], {"get": True})
    assert row["state"] == "RUNNING"
    return int(row["pids"][0])


def share(client: Client, **more: Any) -> int:
    return int(client.call("sharing.nfs.create", {"path": "/mnt/tank/m", **more})["id"])


def clients_of(text: str, path: str = "/mnt/tank/m") -> list[dict[str, str]]:
    """Return the CLIENT blocks of an export as dictionaries."""
    for block in text.split("EXPORT {")[1:]:
        if f'Pseudo = "{path}"' in block:
            return [
                dict(line.strip().rstrip(";").split(" = ") for line in inner.strip().splitlines())
                for inner in re.findall(r"CLIENT \{\n(.*?)\n    \}", block, re.DOTALL)
            ]
    return []


ROOT = {"Squash": "Root_Squash", "Anonymous_Uid": "65534", "Anonymous_Gid": "65534"}


def test_the_server_gets_the_settings_that_work_in_a_container(nas: Nas, client: Client) -> None:
    share(client)
    start(client)
    text = nas.seen()
    for line in (
        *("Protocols = 4;", "mount_path_pseudo = true;", "Enable_NLM = false;", "Enable_RQUOTA = false;"),
        *("Graceless = true;", "Only_Numeric_Owners = true;", "RecoveryBackend = fs;"),
        *("Access_Type = None;", "SecType = sys;", "PrivilegedPort = true;", "Name = VFS;"),
        f'Path = "{nas.state}/mnt/tank/m";',
        'Pseudo = "/mnt/tank/m";',
    ):
        assert line in text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"Clients": "*", "Access_Type": "RW", **ROOT}),
        ({"ro": True, "networks": ["10.0.0.0/8"]}, {"Clients": "10.0.0.0/8", "Access_Type": "RO", **ROOT}),
        (
            {"maproot_user": "root", "maproot_group": "root"},
            {"Clients": "*", "Access_Type": "RW", "Squash": "No_Root_Squash"},
        ),
        (
            {"maproot_user": "models"},
            {
                "Clients": "*",
                "Access_Type": "RW",
                "Squash": "Root_Squash",
                "Anonymous_Uid": "950",
                "Anonymous_Gid": "65534",
            },
        ),
        (
            {"mapall_user": "models", "mapall_group": "models"},
            {
                "Clients": "*",
                "Access_Type": "RW",
                "Squash": "All_Squash",
                "Anonymous_Uid": "950",
                "Anonymous_Gid": "951",
            },
        ),
        ({"hosts": ["zelus.lab"]}, {"Clients": "10.20.0.9", "Access_Type": "RW", **ROOT}),
    ],
)
def test_each_field_of_a_share_has_its_meaning(
    nas: Nas, client: Client, more: dict[str, Any], expected: dict[str, str]
) -> None:
    start(client)
    share(client, **more)
    assert clients_of(nas.seen()) == [expected]


def test_shares_of_one_path_become_one_export_with_the_narrowest_client_first(nas: Nas, client: Client) -> None:
    start(client)
    share(client, networks=["10.0.0.0/8"], ro=True)
    share(client, networks=["192.168.7.0/24"], hosts=["192.168.9.1"])
    assert nas.seen().count("EXPORT {") == 1
    assert [(entry["Clients"], entry["Access_Type"]) for entry in clients_of(nas.seen())] == [
        ("192.168.9.1", "RW"),
        ("192.168.7.0/24", "RW"),
        ("10.0.0.0/8", "RO"),
    ]


def test_a_change_is_seen_by_the_running_server_when_the_call_returns(nas: Nas, client: Client) -> None:
    before = start(client)
    number = share(client)
    assert clients_of(nas.seen())
    client.call("sharing.nfs.update", number, {"enabled": False})
    assert clients_of(nas.seen()) == []
    client.call("sharing.nfs.update", number, {"enabled": True, "networks": ["10.1.0.0/16"]})
    assert clients_of(nas.seen())[0]["Clients"] == "10.1.0.0/16"
    first = re.search(r"Export_Id = (\d+);", nas.seen())
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("sharing.nfs.create", {"path": "/mnt/tank/a"})
    again = re.search(r'Export_Id = (\d+);\n    Path = "[^"]*/tank/m"', nas.seen())
    assert first and again and first.group(1) == again.group(1)
    client.call("pool.dataset.delete", "tank/a")
    assert "tank/a" not in nas.seen()
    client.call("sharing.nfs.delete", number)
    assert "EXPORT {" not in nas.seen()
    assert pid(client) == before  # told, not started anew


def test_what_cannot_be_served_is_left_out(nas: Nas, client: Client) -> None:
    start(client)
    share(client, security=["KRB5"])
    assert clients_of(nas.seen()) == []
    client.call("pool.dataset.create", {"name": "tank/ro"})
    client.call("sharing.nfs.create", {"path": "/mnt/tank/ro"})
    client.call("pool.dataset.update", "tank/ro", {"readonly": "ON"})
    client.call("sharing.nfs.update", 2, {"comment": "x"})
    assert clients_of(nas.seen(), "/mnt/tank/ro")[0]["Access_Type"] == "RO"
    client.call("nfs.update", {"protocols": ["NFSV3"]})
    assert "EXPORT {" not in nas.seen()


def test_the_settings_of_the_service_start_the_server_anew(nas: Nas, client: Client) -> None:
    before = start(client)
    client.call("nfs.update", {"allow_nonroot": True, "userd_manage_gids": True})
    assert pid(client) != before
    assert "PrivilegedPort = false;" in nas.seen()
    assert "Manage_Gids = true;" in nas.seen()


def test_the_state_is_that_of_the_process(nas: Nas, client: Client) -> None:
    number = start(client)
    assert nas.control("GET", "/health")["healthy"] is True
    os.kill(number, signal.SIGKILL)
    deadline = time.monotonic() + 10
    query = ("service.query", [["service", "=", "nfs"]], {"get": True})
    while client.call(*query)["state"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (client.call(*query)["state"], client.call(*query)["pids"]) == ("STOPPED", [])
    assert nas.control("GET", "/health") == {"release": "25.10", "nfs": False, "healthy": False}
    assert start(client) != number
    assert client.call("service.control", "STOP", "nfs", {"silent": False}) is True
    assert client.call(*query)["state"] == "STOPPED"
    assert nas.control("GET", "/health")["healthy"] is True


def test_a_service_that_is_enabled_starts_with_the_appliance_and_ends_with_it(tmp_path: Path) -> None:
    simulator = Nas(tmp_path)
    try:
        with simulator.connect() as client:
            client.call("service.update", "nfs", {"enable": True})
            client.call("sharing.nfs.create", {"path": "/mnt/tank"})
        simulator.stop()
        simulator.start()
        with simulator.connect() as client:
            first = pid(client)
        assert clients_of(simulator.seen(), "/mnt/tank")
        simulator.stop(signal.SIGKILL)  # the server is left behind, and is ended before a new one starts
        simulator.start()
        with simulator.connect() as client:
            second = pid(client)
        assert second != first
        assert not alive(first)
    finally:
        assert simulator.stop() == 0
    assert not alive(second)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    simulator = Nas(tmp_path, "broken")
    try:
        with simulator.connect() as client:
            client.call("core.set_options", {"legacy_jobs": False})
            assert client.call("service.control", "START", "nfs") is False
            with pytest.raises(RpcError) as caught:
                client.call("service.control", "START", "nfs", {"silent": False})
            assert caught.value.data["reason"] == "[EFAULT] FATAL: no capability"
    finally:
        simulator.stop()
