# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind qdrant, with a server of few lines instead of Qdrant and without Docker.

That it works with a real engine is tested in services/qdrant-api and in the Molecule scenario qdrant.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, final

import pytest

from pantheon_backup.jobs import kind_of, qdrant
from pantheon_backup.model import BackupError, Comparison, Job, Part
from pantheon_backup.process import Completed
from pantheon_backup.qdrant_api import Api, QdrantError, known_vector, nearest

KEY = "the-key"
CONTAINER = "pantheon-qdrant-qdrant-1"


class Server:
    """What the job needs of Qdrant, in memory."""

    def __init__(self) -> None:
        self.collections: dict[str, list[dict[str, Any]]] = {}
        self.snapshots: dict[str, bytes] = {}
        self.aliases: list[dict[str, str]] = []
        #: Called when a snapshot was taken, as if somebody wrote at that moment.
        self.meanwhile: Callable[[], None] = lambda: None
        self.checksum: Callable[[bytes], str] = lambda data: hashlib.sha256(data).hexdigest()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: Any) -> None:
                pass

            def do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if self.headers.get("api-key") != KEY:
                    return self.answer(401, b"Invalid API key or JWT")
                status, content = outer.serve(self.command, self.path, body)
                if isinstance(content, bytes):
                    return self.answer(status, content)
                wrapped = {"result": content} if status == 200 else {"status": {"error": content}}
                return self.answer(status, json.dumps(wrapped).encode())

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def serve(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        parts = [urllib.parse.unquote(part) for part in path.split("?")[0].strip("/").split("/")]
        match method, parts:
            case "GET", [""]:
                return 200, {"version": "1.19.0"}
            case "GET", ["collections"]:
                return 200, {"collections": [{"name": name} for name in self.collections]}
            case "GET", ["aliases"]:
                return 200, {"aliases": self.aliases}
            case "POST", ["collections", "aliases"]:
                self.aliases += [one["create_alias"] for one in json.loads(body)["actions"]]
                return 200, True
            case "GET", ["collections", _name]:
                return 200, {"config": {"params": {"vectors": {"size": 2, "distance": "Dot"}}}}
            case "POST", ["collections", name, "points", "count"]:
                return 200, {"count": len(self.collections[name])}
            case "POST", ["collections", name, "points", "scroll"]:
                return 200, {"points": self.collections[name], "next_page_offset": None}
            case "POST", ["collections", name, "points", "query"]:
                query = json.loads(body)["query"]
                scored = [
                    {"id": one["id"], "score": sum(a * b for a, b in zip(query, one["vector"], strict=True))}
                    for one in self.collections[name]
                ]
                return 200, {"points": sorted(scored, key=lambda one: -one["score"])[:6]}
            case "POST", ["collections", name, "snapshots"]:
                data = json.dumps(self.collections[name]).encode()
                self.snapshots[f"{name}.snapshot"] = data
                self.meanwhile()
                return 200, {"name": f"{name}.snapshot", "size": len(data), "checksum": self.checksum(data)}
            case "GET", ["collections", _name, "snapshots", file]:
                return 200, self.snapshots[file]
            case "DELETE", ["collections", _name, "snapshots", file]:
                del self.snapshots[file]
                return 200, True
            case "POST", ["collections", name, "snapshots", "upload"]:
                data = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
                if f"checksum={hashlib.sha256(data).hexdigest()}" not in path:
                    return 400, "Snapshot checksum mismatch"
                self.collections[name] = json.loads(data)
                return 200, True
        return 404, f"no {method} {path}"


class Restic:
    """Keeps the streams in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.forgotten: list[str] = []

    def save(self, argv: Sequence[str], name: str, *, env: Mapping[str, str]) -> Any:
        assert name == qdrant.STREAM
        done = subprocess.run(argv, env={**env}, capture_output=True, check=False)
        if done.returncode:
            raise BackupError(done.stderr.decode())
        snapshot = f"snapshot-{len(self.kept)}"
        self.kept[snapshot] = done.stdout
        return SimpleNamespace(
            snapshot=snapshot, bytes=len(done.stdout), sha256=hashlib.sha256(done.stdout).hexdigest()
        )

    def load(self, snapshot: str, _name: str, argv: Sequence[str], *, sha256: str, env: Mapping[str, str]) -> None:
        data = self.kept[snapshot]
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BackupError("another digest was written down")
        done = subprocess.run(argv, input=data, env={**env}, capture_output=True, check=False)
        if done.returncode:
            raise BackupError(done.stderr.decode())

    def forget(self, snapshots: Sequence[str]) -> None:
        self.forgotten += snapshots


class Context:
    """A machine whose containers are servers of this process; nsenter is left out of the commands."""

    def __init__(self, servers: Mapping[str, Server], **environment: str) -> None:
        self.job = Job("qdrant", "qdrant", container=CONTAINER)
        self.servers = dict(servers)
        self.environment = environment
        self.restic = Restic()
        self.runner = None
        self.said: list[str] = []
        self.commands: list[list[str]] = []
        self.running = True

    def log(self, text: str) -> None:
        self.said.append(text)

    def versions(self) -> dict[str, str]:
        return {"restic": "0"}

    def run(
        self, argv: Sequence[str], *, stdin: bytes | None = None, env: Mapping[str, str] | None = None, **_more: Any
    ) -> Any:
        argv = list(argv)
        self.commands.append(argv)
        if argv[:2] == ["docker", "inspect"]:
            return Completed(tuple(argv), 0, self._inspect(argv[3], argv[4]).encode(), "")
        if argv[:2] == ["docker", "stop"]:
            return Completed(tuple(argv), 0, b"", "")
        done = subprocess.run(argv, input=stdin, env=dict(env or {}), capture_output=True, check=False)
        if done.returncode:
            raise BackupError(done.stderr.decode().strip())
        return Completed(tuple(argv), 0, done.stdout, "")

    def _inspect(self, what: str, container: str) -> str:
        if "Running" in what:
            return "true" if self.running else "false"
        if "Env" in what:
            port = self.servers[container].port
            found = {"QDRANT__SERVICE__API_KEY": KEY, "QDRANT__SERVICE__HTTP_PORT": str(port), **self.environment}
            return json.dumps([f"{name}={value}" for name, value in found.items()])
        return "4711"


@final
class FakeScratch:
    """A Qdrant of its own."""

    container = "scratch"

    def __init__(self, context: Context, **given: Any) -> None:
        self.context, self.given = context, given
        self.removed = False

    def __enter__(self) -> FakeScratch:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def start(self) -> None:
        self.context.servers[self.container] = Server()

    def remove(self) -> None:
        self.removed = True

    def logs(self) -> str:
        return "its last words"

    def volume(self, name: str) -> Path:
        return Path("/scratch") / name


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    found.collections["docs"] = [{"id": n, "payload": {"n": n}, "vector": [float(n), 1.0]} for n in range(1, 9)]
    found.collections["a/b ü"] = []
    found.aliases = [{"alias_name": "live", "collection_name": "docs"}]
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture(autouse=True)
def _without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant, "Scratch", FakeScratch)
    real = qdrant.Access.command

    def without_nsenter(self: qdrant.Access, name: str) -> list[str]:
        command = real(self, name)
        assert command[:4] == ["nsenter", "--target=4711", "--net", "--"]
        return command[4:]

    monkeypatch.setattr(qdrant.Access, "command", without_nsenter)


def test_a_backup_can_be_proven(server: Server) -> None:
    context: Any = Context({CONTAINER: server})
    kind = kind_of("qdrant")
    part = Part.from_json(json.loads(json.dumps(kind.backup(context).to_json())))
    assert (part.status, part.details) == ("ok", {})
    assert part.counts["collections"] == "a/b ü, docs"
    assert (part.counts["docs: points"], part.counts["a/b ü: points"]) == (8, 0)
    # The known vector is (11, 48): five of eight, the sixth being the edge.
    assert part.counts["docs: nearest"].startswith("8 at 136.0000, 7 at 125.0000")
    assert part.versions == {"restic": "0", "qdrant": "1.19.0"}
    assert server.snapshots == {}, "none stays behind"

    verdict = kind.drill(context, part)
    assert verdict.ok
    assert Comparison("docs: points", 8, 8) in verdict.compared
    assert context.servers["scratch"].aliases == server.aliases
    # What a search of the machine's processes would show.
    assert not [argv for argv in context.commands if KEY in " ".join(argv)]


def test_another_content_fails_the_drill(server: Server) -> None:
    context: Any = Context({CONTAINER: server})
    kind = kind_of("qdrant")
    part = kind.backup(context)
    changed = Part(**{**part.to_json(), "counts": {**part.counts, "docs: content": "0" * 32}})
    verdict = kind.drill(context, changed)
    assert (verdict.ok, "docs: content" in verdict.reason) == (False, True)
    assert kind.drill(context, part).ok


def test_a_damaged_stream_is_an_error(server: Server) -> None:
    context: Any = Context({CONTAINER: server})
    part = kind_of("qdrant").backup(context)
    data = context.restic.kept[part.snapshot]
    context.restic.kept[part.snapshot] = data.replace(b'"n": 3', b'"n": 4')
    with pytest.raises(BackupError, match="digest"):
        kind_of("qdrant").drill(context, part)


def test_a_snapshot_that_arrives_otherwise_than_it_was_made_is_no_backup(server: Server) -> None:
    server.checksum = lambda _data: "0" * 64
    context: Any = Context({CONTAINER: server})
    with pytest.raises(BackupError, match=r"snapshot of a/b ü is not what Qdrant says"):
        kind_of("qdrant").backup(context)
    assert (context.restic.kept, server.snapshots) == ({}, {})


def test_a_server_without_checksums_is_refused(server: Server) -> None:
    server.checksum = lambda _data: ""
    context: Any = Context({CONTAINER: server})
    with pytest.raises(BackupError, match="no checksum"):
        kind_of("qdrant").backup(context)


def test_a_write_meanwhile_is_noticed_and_the_backup_made_again(server: Server) -> None:
    writes = [{"id": 100, "payload": {}, "vector": [0.0, 0.0]}]

    def write() -> None:
        if writes:
            server.collections["docs"].append(writes.pop())

    server.meanwhile = write
    context: Any = Context({CONTAINER: server})
    part = kind_of("qdrant").backup(context)
    assert (part.counts["docs: points"], part.details) == (9, {})
    assert context.restic.forgotten == ["snapshot-0"]
    assert kind_of("qdrant").drill(context, part).ok


def test_steady_writes_leave_a_range(server: Server) -> None:
    def write() -> None:
        server.collections["docs"].append(
            {"id": 100 + len(server.collections["docs"]), "payload": {}, "vector": [0.0, 0.0]}
        )

    server.meanwhile = write
    context: Any = Context({CONTAINER: server})
    part = kind_of("qdrant").backup(context)
    assert part.details["after"]["docs: points"] > part.counts["docs: points"]
    assert len(context.restic.forgotten) == qdrant.TRIES - 1


def test_a_restore_proves_the_copy_before_it_stops_the_service(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []

    class Stopped:
        def __init__(self, _context: Any) -> None:
            pass

        def __enter__(self) -> None:
            steps.append("stopped")

        def __exit__(self, *_error: object) -> None:
            pass

    def replace(_context: Any, pairs: Any) -> None:
        steps.append(pairs)

    monkeypatch.setattr(qdrant.exchange, "stopped", Stopped)
    monkeypatch.setattr(qdrant.exchange, "replace", replace)
    monkeypatch.setattr(qdrant, "volumes_of", lambda _runner, _job: {"storage": Path("/volumes/storage")})
    context: Any = Context({CONTAINER: server})
    part = kind_of("qdrant").backup(context)
    kind_of("qdrant").restore(context, part)
    assert steps == ["stopped", [(Path("/scratch/storage"), Path("/volumes/storage"))]]
    # The copy was stopped in order: what it holds has to be on the disk.
    assert ["docker", "stop", "--time", "60", "scratch"] in context.commands

    steps.clear()
    wrong = Part(**{**part.to_json(), "counts": {**part.counts, "docs: points": 9}})
    with pytest.raises(BackupError, match="nothing was touched"):
        kind_of("qdrant").restore(context, wrong)
    assert steps == []


def test_a_cluster_is_not_restored_by_itself(server: Server) -> None:
    context: Any = Context({CONTAINER: server}, QDRANT__CLUSTER__ENABLED="true")
    part = kind_of("qdrant").backup(context)
    with pytest.raises(BackupError, match="is a cluster"):
        kind_of("qdrant").restore(context, part)
    # Its copy for a drill is none.
    assert qdrant._scratch(context, "drill").given["environment"] == {"QDRANT__CLUSTER__ENABLED": "false"}


def test_a_container_that_does_not_run_is_an_error(server: Server) -> None:
    context: Any = Context({CONTAINER: server})
    context.running = False
    with pytest.raises(BackupError, match="does not run"):
        kind_of("qdrant").backup(context)


def test_a_wrong_key_is_said_without_saying_it(server: Server) -> None:
    with pytest.raises(QdrantError, match="answers 401") as error:
        Api(server.port, "another-key").collections()
    assert "another-key" not in str(error.value)


def test_points_at_the_same_distance_do_not_count(server: Server) -> None:
    server.collections["docs"] = [{"id": n, "payload": {}, "vector": [1.0, float(n < 3)]} for n in range(8)]
    known = known_vector({"size": 2})
    assert known is not None
    assert nearest(Api(server.port, KEY), "docs", known) == "0 at 59.0000, 1 at 59.0000, 2 at 59.0000"


def test_the_known_vector() -> None:
    assert known_vector({"size": 3, "distance": "Dot"}) == {"query": [11, 48, 85]}
    named = {
        "words": {"size": 1, "multivector_config": {}},
        "text": {"size": 1},
        "late": {"size": 2, "multivector_config": {"c": 1}},
    }
    assert known_vector(named) == {"query": [11], "using": "text"}
    assert known_vector({}) is None
