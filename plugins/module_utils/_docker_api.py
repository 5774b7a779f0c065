# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the Docker Engine API over its unix socket. Private to this collection; standard library only.

It speaks HTTP/1.0: the engine then answers without chunks and closes the connection, so that a request is a write and
a read. That keeps the no-change path free of an HTTP library, whose import alone costs more than all requests.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import typing as t
from urllib.parse import quote, urlencode

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
COMPOSE_HASH_LABEL = "com.docker.compose.config-hash"
CONFIG_LABEL = "ai.pantheon.config"

_HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)")


class DockerError(Exception):
    """The engine answered with an error, or broke off. `status` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class DockerUnavailable(DockerError):
    """Nothing listens on the socket of the engine."""


class Container(t.NamedTuple):
    """What the listing of containers tells about one container of a compose project."""

    id: str
    name: str
    project: str
    service: str
    config: str  # the label ai.pantheon.config: which desired state the container was made from
    compose_hash: str  # compose's own hash of the service
    state: str  # created, running, paused, restarting, removing, exited, dead
    status: str  # for people: "Up 3 minutes (healthy)"
    networks: t.Tuple[str, ...]
    created: int  # seconds since the epoch

    @property
    def health(self) -> str:
        """Return healthy, unhealthy, starting, or none for a container without a health check."""
        found = _HEALTH.search(self.status)
        return found.group(1) if found else "none"


def parse_container(raw: t.Dict[str, t.Any]) -> t.Optional[Container]:
    """Turn one entry of the listing into a container; None for the one-off containers of `docker compose run`."""
    labels = raw.get("Labels") or {}
    if labels.get(ONEOFF_LABEL, "False") == "True":
        return None
    networks = (raw.get("NetworkSettings") or {}).get("Networks") or {}
    names = raw.get("Names") or [""]
    return Container(
        id=raw["Id"],
        name=names[0].lstrip("/"),
        project=labels.get(PROJECT_LABEL, ""),
        service=labels.get(SERVICE_LABEL, ""),
        config=labels.get(CONFIG_LABEL, ""),
        compose_hash=labels.get(COMPOSE_HASH_LABEL, ""),
        state=raw.get("State", ""),
        status=raw.get("Status", ""),
        networks=tuple(sorted(networks)),
        created=int(raw.get("Created") or 0),
    )


def split_response(raw: bytes) -> t.Tuple[int, bytes]:
    """Split an HTTP/1.0 response into its status and body."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    parts = head.split(None, 2)
    if not separator or len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise DockerError("the Docker engine broke off its answer")
    return int(parts[1]), body


def split_log_frames(raw: bytes) -> bytes:
    """Remove the frame headers that the engine puts between the lines of a container without a terminal."""
    if len(raw) < 8 or raw[0] > 2 or raw[1:4] != b"\0\0\0":
        return raw  # a container with a terminal: no frames
    out, position = [], 0
    while position + 8 <= len(raw):
        (length,) = struct.unpack(">I", raw[position + 4 : position + 8])
        out.append(raw[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(out)


class Docker(t.Protocol):
    """What compose_stack needs of an engine; tests pass a fake."""

    def containers(self, project: t.Optional[str] = None) -> t.List[Container]: ...

    def inspect(self, container: str) -> t.Dict[str, t.Any]: ...

    def logs(self, container: str, lines: int) -> t.List[str]: ...

    def remove_container(self, container: str) -> None: ...

    def networks(self, project: str) -> t.List[str]: ...

    def remove_network(self, name: str) -> None: ...

    def volumes(self, project: str) -> t.List[str]: ...

    def remove_volume(self, name: str) -> None: ...


class DockerApi:
    """The engine behind a unix socket.

    Args:
        path: the socket.
        timeout: seconds to wait for one answer.
    """

    def __init__(self, path: str = "/var/run/docker.sock", timeout: float = 30.0) -> None:
        self.path = path
        self.timeout = timeout

    def request(self, method: str, path: str, timeout: t.Optional[float] = None, **query: t.Any) -> t.Tuple[int, bytes]:
        """Send one request and return status and body.

        Raises:
            DockerUnavailable: nothing listens on the socket.
            DockerError: the connection broke off, or the answer is no HTTP.
        """
        target = path + ("?" + urlencode(query) if query else "")
        chunks = []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout or self.timeout)
                connection.connect(self.path)
                connection.sendall(f"{method} {target} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n".encode())
                while True:
                    chunk = connection.recv(65536)
                    if not chunk:
                        break
                    chunks.append(chunk)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DockerUnavailable(f"no Docker engine listens on {self.path} ({error.strerror})") from error
        except socket.timeout as error:
            raise DockerError(f"the Docker engine did not answer {method} {path} within its time") from error
        except OSError as error:
            raise DockerError(f"talking to the Docker engine on {self.path} failed: {error}") from error
        return split_response(b"".join(chunks))

    def call(self, method: str, path: str, timeout: t.Optional[float] = None, **query: t.Any) -> bytes:
        """Send one request and return the body of a successful answer; a DockerError carries the engine's message."""
        status, body = self.request(method, path, timeout, **query)
        if status >= 400:
            try:
                message = json.loads(body)["message"]
            except (ValueError, KeyError, TypeError):
                message = body.decode("utf-8", "replace").strip()
            raise DockerError(message, status)
        return body

    def containers(self, project: t.Optional[str] = None) -> t.List[Container]:
        """List the containers of one compose project, or of all, running or not, with one request."""
        label = PROJECT_LABEL if project is None else f"{PROJECT_LABEL}={project}"
        body = self.call("GET", "/containers/json", all=1, filters=json.dumps({"label": [label]}))
        found = (parse_container(raw) for raw in json.loads(body))
        return [container for container in found if container is not None]

    def inspect(self, container: str) -> t.Dict[str, t.Any]:
        """Return everything the engine knows about a container."""
        answer: t.Dict[str, t.Any] = json.loads(self.call("GET", f"/containers/{quote(container)}/json"))
        return answer

    def logs(self, container: str, lines: int) -> t.List[str]:
        """Return the last lines that a container wrote."""
        raw = self.call("GET", f"/containers/{quote(container)}/logs", stdout=1, stderr=1, tail=lines)
        return split_log_frames(raw).decode("utf-8", "replace").splitlines()[-lines:]

    def remove_container(self, container: str) -> None:
        """Stop a container, in its own time, and remove it with its anonymous volumes; one that is gone is fine."""
        for method, path, query in (
            ("POST", f"/containers/{quote(container)}/stop", {}),
            ("DELETE", f"/containers/{quote(container)}", {"force": 1, "v": 1}),
        ):
            try:
                self.call(method, path, timeout=180.0, **query)
            except DockerError as error:
                if error.status != 404 and not (method == "POST" and error.status):
                    raise  # a container that cannot be stopped in order is still removed by force

    def networks(self, project: str) -> t.List[str]:
        """List the networks that compose made for a project."""
        body = self.call("GET", "/networks", filters=json.dumps({"label": [f"{PROJECT_LABEL}={project}"]}))
        return sorted(network["Name"] for network in json.loads(body))

    def remove_network(self, name: str) -> None:
        """Remove a network; one that is gone is fine."""
        self._delete(f"/networks/{quote(name)}")

    def volumes(self, project: str) -> t.List[str]:
        """List the volumes that compose made for a project."""
        body = self.call("GET", "/volumes", filters=json.dumps({"label": [f"{PROJECT_LABEL}={project}"]}))
        return sorted(volume["Name"] for volume in json.loads(body).get("Volumes") or [])

    def remove_volume(self, name: str) -> None:
        """Remove a volume with its data; one that is gone is fine."""
        self._delete(f"/volumes/{quote(name)}")

    def _delete(self, path: str) -> None:
        try:
            self.call("DELETE", path)
        except DockerError as error:
            if error.status != 404:
                raise
