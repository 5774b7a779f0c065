# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the Docker API, against a server on a real socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import (
    DockerApi,
    DockerError,
    DockerUnavailable,
    parse_container,
    split_log_frames,
    split_response,
)

Engine = Callable[[dict[str, tuple[int, bytes]]], tuple[DockerApi, list[str]]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a function that starts an engine with canned answers and gives a client and the requests it got."""
    stop: list[socket.socket] = []

    def start(answers: dict[str, tuple[int, bytes]]) -> tuple[DockerApi, list[str]]:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()
        stop.append(server)
        requests: list[str] = []

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    line = connection.recv(65536).split(b"\r\n")[0].decode()
                    method, target, version = line.split()
                    assert version == "HTTP/1.0"
                    requests.append(f"{method} {target}")
                    status, body = answers[f"{method} {urlsplit(target).path}"]
                    connection.sendall(b"HTTP/1.0 %d X\r\nContent-Type: application/json\r\n\r\n" % status + body)

        threading.Thread(target=serve, daemon=True).start()
        return DockerApi(str(tmp_path / "docker.sock"), timeout=5), requests

    yield start
    for server in stop:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def raw_container(**values: Any) -> dict[str, Any]:
    labels = {
        "com.docker.compose.project": "pantheon-litellm",
        "com.docker.compose.service": "litellm",
        "ai.pantheon.config": "abc",
        "com.docker.compose.config-hash": "def",
    }
    return {
        "Id": "1",
        "Names": ["/pantheon-litellm-litellm-1"],
        "Labels": {**labels, **values.pop("labels", {})},
        "State": "running",
        "Status": "Up 3 minutes (healthy)",
        "Created": 1700000000,
        "NetworkSettings": {"Networks": {"pantheon-data": {}, "pantheon-ai": {}}},
        **values,
    }


def test_one_request_lists_the_containers_of_all_projects(engine: Engine) -> None:
    client, requests = engine({"GET /containers/json": (200, json.dumps([raw_container()]).encode())})
    (container,) = client.containers()
    assert (container.name, container.project, container.service) == (
        "pantheon-litellm-litellm-1",
        "pantheon-litellm",
        "litellm",
    )
    assert container.networks == ("pantheon-ai", "pantheon-data")
    assert (container.config, container.compose_hash, container.created) == ("abc", "def", 1700000000)
    assert len(requests) == 1
    query = parse_qs(urlsplit(requests[0].split()[1]).query)
    assert query == {"all": ["1"], "filters": ['{"label": ["com.docker.compose.project"]}']}


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 3 minutes (healthy)", "healthy"),
        ("Up 3 minutes (unhealthy)", "unhealthy"),
        ("Up 2 seconds (health: starting)", "starting"),
        ("Up 2 seconds", "none"),
        ("Exited (137) 2 hours ago", "none"),
    ],
)
def test_health_is_read_from_the_listing(status: str, health: str) -> None:
    container = parse_container(raw_container(Status=status))
    assert container is not None
    assert container.health == health


def test_one_off_containers_do_not_count() -> None:
    assert parse_container(raw_container(labels={"com.docker.compose.oneoff": "True"})) is None


def test_an_error_carries_the_message_of_the_engine(engine: Engine) -> None:
    client, _requests = engine({"GET /containers/x/json": (404, b'{"message": "No such container: x"}')})
    with pytest.raises(DockerError, match="No such container: x") as caught:
        client.inspect("x")
    assert caught.value.status == 404


def test_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(DockerUnavailable, match=r"docker\.sock"):
        DockerApi(str(tmp_path / "docker.sock")).containers()


def test_a_broken_answer_is_an_error() -> None:
    with pytest.raises(DockerError, match="broke off"):
        split_response(b"")


def test_a_container_is_removed_also_when_it_cannot_be_stopped(engine: Engine) -> None:
    client, requests = engine(
        {"POST /containers/x/stop": (500, b'{"message": "cannot stop"}'), "DELETE /containers/x": (204, b"")}
    )
    client.remove_container("x")
    assert [request.split("?")[0] for request in requests] == ["POST /containers/x/stop", "DELETE /containers/x"]


def test_what_is_gone_already_is_removed(engine: Engine) -> None:
    client, requests = engine({"DELETE /volumes/v": (404, b'{"message": "no such volume"}')})
    client.remove_volume("v")
    assert len(requests) == 1


def test_a_volume_in_use_is_an_error(engine: Engine) -> None:
    client, _requests = engine({"DELETE /volumes/v": (409, b'{"message": "volume is in use"}')})
    with pytest.raises(DockerError, match="volume is in use"):
        client.remove_volume("v")


def test_log_frames() -> None:
    framed = b"\1\0\0\0\0\0\0\6hello\n" + b"\2\0\0\0\0\0\0\4bad\n"
    assert split_log_frames(framed) == b"hello\nbad\n"
    assert split_log_frames(b"a line of a terminal\n") == b"a line of a terminal\n"
