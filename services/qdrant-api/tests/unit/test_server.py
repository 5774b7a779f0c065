# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, snapshots, restarts, and the check of the container."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from pantheon_qdrant_api import VERSION
from pantheon_qdrant_api.settings import Settings, SettingsError

Running = Any

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

SOURCES = Path(__file__).resolve().parents[2] / "src"
HEALTH = Path(__file__).resolve().parents[4] / "catalog/templates/qdrant/health.sh"
KEY = {"api-key": "key-for-everything"}
READING = {"api-key": "key-for-reading"}


def fill(client: QdrantClient, name: str = "docs", count: int = 50) -> None:
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
    points = [models.PointStruct(id=n, vector=[float(n), 1.0], payload={"n": n}) for n in range(1, count + 1)]
    client.upsert(name, points, wait=True)


def content(client: QdrantClient, name: str = "docs") -> list[Any]:
    return [one.model_dump() for one in client.scroll(name, limit=10000, with_vectors=True)[0]]


# --- keys --------------------------------------------------------------------------------------------------------------


def test_probes_need_no_key_and_say_who_answers(running: Running) -> None:
    for path in ("/", "/healthz", "/readyz", "/livez"):
        answer = httpx.get(running.url + path)
        assert (answer.status_code, answer.headers["X-Lab-Stand-In"]) == (200, "true")
    assert httpx.get(running.url).json()["version"] == VERSION


@pytest.mark.parametrize("headers", [{}, {"api-key": "wrong"}, {"Authorization": "Bearer wrong"}, {"api-key": ""}])
@pytest.mark.parametrize("path", ["/collections", "/metrics", "/collections/docs", "/nowhere"])
def test_everything_else_needs_one(running: Running, headers: dict[str, str], path: str) -> None:
    answer = httpx.get(running.url + path, headers=headers)
    assert answer.status_code == 401


def test_both_headers_take_the_key(running: Running) -> None:
    for headers in (KEY, READING, {"Authorization": "Bearer key-for-everything"}):
        assert httpx.get(running.url + "/collections", headers=headers).status_code == 200


def test_a_wrong_key_is_an_error_of_the_client(running: Running) -> None:
    with pytest.raises(UnexpectedResponse, match="401"):
        running.client("wrong").get_collections()


def test_the_key_for_reading_reads(running: Running, client: QdrantClient) -> None:
    fill(client)
    client.create_payload_index("docs", "n", models.PayloadSchemaType.INTEGER)
    reader = running.client("key-for-reading")
    assert reader.count("docs").count == 50
    assert len(reader.query_points("docs", query=[1.0, 1.0], limit=3).points) == 3
    assert len(reader.query_batch_points("docs", [models.QueryRequest(query=[1.0, 1.0])])) == 1
    assert len(reader.scroll("docs", limit=5)[0]) == 5
    assert reader.retrieve("docs", [1])[0].id == 1
    assert reader.facet("docs", "n").hits
    assert reader.collection_exists("docs")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/collections/new"),
        ("DELETE", "/collections/docs"),
        ("PATCH", "/collections/docs"),
        ("PUT", "/collections/docs/points"),
        ("POST", "/collections/docs/points/delete"),
        ("POST", "/collections/docs/points/payload"),
        ("PUT", "/collections/docs/points/payload"),
        ("POST", "/collections/docs/points/payload/delete"),
        ("POST", "/collections/docs/points/payload/clear"),
        ("PUT", "/collections/docs/points/vectors"),
        ("POST", "/collections/docs/points/vectors/delete"),
        ("POST", "/collections/docs/points/batch"),
        ("PUT", "/collections/docs/index"),
        ("DELETE", "/collections/docs/index/n"),
        ("POST", "/collections/aliases"),
        ("POST", "/collections/docs/snapshots"),
        ("POST", "/collections/docs/snapshots/upload"),
        ("PUT", "/collections/docs/snapshots/recover"),
        ("DELETE", "/collections/docs/snapshots/x.snapshot"),
    ],
)
def test_the_key_for_reading_changes_nothing(running: Running, client: QdrantClient, method: str, path: str) -> None:
    fill(client, count=3)
    before = content(client)
    answer = httpx.request(method, running.url + path, headers=READING, json={"points": [1], "vectors": {}})
    assert answer.status_code == 403
    assert "Forbidden" in answer.json()["status"]["error"]
    assert content(client) == before


# --- snapshots ---------------------------------------------------------------------------------------------------------


def download(running: Running, name: str, collection: str = "docs") -> bytes:
    answer = httpx.get(f"{running.url}/collections/{collection}/snapshots/{name}", headers=KEY)
    assert answer.status_code == 200
    return answer.content


def upload(running: Running, data: bytes, collection: str = "docs", **parameters: str) -> httpx.Response:
    return httpx.post(
        f"{running.url}/collections/{collection}/snapshots/upload",
        params={"priority": "snapshot", **parameters},
        headers=KEY,
        files={"snapshot": ("some.snapshot", data)},
        timeout=60,
    )


def test_a_snapshot_brings_back_what_there_was(running: Running, client: QdrantClient) -> None:
    fill(client)
    client.create_payload_index("docs", "n", models.PayloadSchemaType.INTEGER)
    before = content(client)
    made = client.create_snapshot("docs")
    assert made is not None
    data = download(running, made.name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (made.size, made.checksum)
    assert [one.name for one in client.list_snapshots("docs")] == [made.name]

    client.delete("docs", points_selector=list(range(1, 40)))
    client.upsert("docs", [models.PointStruct(id=777, vector=[1.0, 1.0])], wait=True)
    assert upload(running, data, checksum=str(made.checksum)).json()["result"] is True
    assert content(client) == before
    assert client.get_collection("docs").payload_schema["n"].points == 50

    # And as a collection of another name, which was not there.
    assert upload(running, data, "copy").status_code == 200
    assert content(client, "copy") == before

    # It is all there after a restart as well, and can be written to.
    running.stop()
    running.start()
    again = running.client()
    assert content(again) == content(again, "copy") == before
    again.upsert("docs", [models.PointStruct(id=778, vector=[1.0, 1.0])], wait=True)
    assert again.count("docs").count == 51
    assert again.delete_snapshot("docs", made.name)
    assert again.list_snapshots("docs") == []


def test_a_snapshot_on_disk_can_be_recovered_by_its_place(running: Running, client: QdrantClient) -> None:
    fill(client)
    made = client.create_snapshot("docs")
    assert made is not None
    place = f"file://{running.settings.snapshots}/docs/{made.name}"
    client.delete("docs", points_selector=[1, 2, 3])
    assert client.recover_snapshot("docs", place, checksum=made.checksum)
    assert client.count("docs").count == 50
    for wrong in ("http://127.0.0.1:1/x.snapshot", "file:///etc/passwd", place + ".missing"):
        with pytest.raises(UnexpectedResponse, match="400"):
            client.recover_snapshot("docs", wrong)


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def _tar(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def test_a_snapshot_that_is_not_what_it_should_be_changes_nothing(running: Running, client: QdrantClient) -> None:
    fill(client)
    made = client.create_snapshot("docs")
    assert made is not None
    data = download(running, made.name)
    before = content(client)
    bad = {
        "a wrong checksum": upload(running, data, checksum="0" * 64),
        "a damaged file": upload(running, _flip(data, len(data) // 2)),
        "half a file": upload(running, data[: len(data) // 2]),
        "no snapshot": upload(running, b"hello"),
        "one of Qdrant itself": upload(running, _tar(**{"config.json": b"{}", "0/segments": b""})),
        "no file at all": httpx.post(
            f"{running.url}/collections/docs/snapshots/upload", headers=KEY, files={"other": ("x", b"x")}
        ),
        "no form": httpx.post(f"{running.url}/collections/docs/snapshots/upload", headers=KEY, content=b"x"),
    }
    assert {what: answer.status_code for what, answer in bad.items()} == dict.fromkeys(bad, 400)
    assert "cannot read those of Qdrant" in bad["one of Qdrant itself"].text
    assert content(client) == before
    assert list(running.settings.storage.joinpath("tmp").iterdir()) == []


def test_nobody_reads_files_through_the_name_of_a_snapshot(running: Running, client: QdrantClient) -> None:
    fill(client, count=1)
    client.create_snapshot("docs")
    for name in ("..%2F..%2Fstorage%2Faliases.json", "%2Fetc%2Fpasswd", "missing.snapshot"):
        assert httpx.get(f"{running.url}/collections/docs/snapshots/{name}", headers=KEY).status_code == 404


# --- restarts ----------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_everything(running: Running, client: QdrantClient) -> None:
    fill(client)
    fill(client, "second", 3)
    client.create_payload_index("docs", "n", models.PayloadSchemaType.INTEGER)
    client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="docs", alias_name="live"))]
    )
    client.delete_collection("second")
    before = content(client)
    running.stop()
    running.start()
    again = running.client()
    assert content(again, "live") == before
    assert [one.name for one in again.get_collections().collections] == ["docs"]
    assert again.get_collection("docs").payload_schema["n"].points == 50


class Process:
    """The program, as it runs in a container."""

    def __init__(self, folder: Path, port: int, **more: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(port),
            "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "storage/snapshots"),
            "QDRANT__SERVICE__API_KEY": KEY["api-key"],
            **more,
        }
        self.process = subprocess.Popen([sys.executable, "-m", "pantheon_qdrant_api"], env=self.environment)
        for _attempt in range(400):
            try:
                httpx.get(f"{self.url}/readyz")
                return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the program does not answer")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_acknowledged_survives_the_end_of_the_process(tmp_path: Path, port: int, how: signal.Signals) -> None:
    program = Process(tmp_path, port)
    try:
        client = QdrantClient(url=program.url, api_key=KEY["api-key"], check_compatibility=False)
        fill(client)
        client.delete("docs", points_selector=[1], wait=True)
        before = content(client)
        client.close()
        status = program.end(how)
        assert status == (0 if how == signal.SIGTERM else -signal.SIGKILL)
        program = Process(tmp_path, port)
        client = QdrantClient(url=program.url, api_key=KEY["api-key"], check_compatibility=False)
        assert content(client) == before
        assert client.get_collection("docs").points_count == 49
        client.close()
    finally:
        program.end(signal.SIGKILL)


def test_a_collection_that_cannot_be_read_ends_the_program(tmp_path: Path, port: int) -> None:
    program = Process(tmp_path, port)
    client = QdrantClient(url=program.url, api_key=KEY["api-key"], check_compatibility=False)
    fill(client, count=2)
    client.close()
    assert program.end(signal.SIGTERM) == 0
    for file in (tmp_path / "storage/collections/docs").glob("points-*/edge_config.json"):
        file.write_text("{")
    shutil.rmtree(next((tmp_path / "storage/collections/docs").glob("points-*/segments")))
    done = subprocess.run(
        [sys.executable, "-m", "pantheon_qdrant_api"],
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "docs cannot be loaded" in done.stderr


# --- the check of the container, and settings ---------------------------------------------------------------------------


@pytest.mark.skipif(not HEALTH.exists(), reason="not in a checkout")
def test_the_check_of_the_container(tmp_path: Path, port: int) -> None:
    script = tmp_path / "health.sh"
    script.write_text(HEALTH.read_text().replace("/6333", f"/{port}"))

    def check(key: str) -> subprocess.CompletedProcess[str]:
        environment = {"QDRANT__SERVICE__API_KEY": key, "PATH": os.environ["PATH"]}
        return subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    assert check(KEY["api-key"]).returncode != 0, "nothing listens"
    program = Process(tmp_path, port)
    try:
        assert (check(KEY["api-key"]).returncode, check(KEY["api-key"]).stdout) == (0, "")
        wrong = check("other")
        assert (wrong.returncode, "401 instead of 200" in wrong.stdout) == (1, True)
        program.end(signal.SIGTERM)
        program = Process(tmp_path, port, QDRANT__SERVICE__API_KEY="")
        open_to_all = check(KEY["api-key"])
        assert (open_to_all.returncode, "with a wrong key" in open_to_all.stdout) == (1, True)
    finally:
        program.end(signal.SIGKILL)


def test_settings() -> None:
    settings = Settings.from_environment(
        {
            "QDRANT__SERVICE__HTTP_PORT": "7000",
            "QDRANT__STORAGE__SNAPSHOTS_PATH": "/s",
            "QDRANT__CLUSTER__ENABLED": "false",
        }
    )
    assert (settings.port, settings.snapshots, settings.storage) == (7000, Path("/s"), Path("/qdrant/storage"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QDRANT__CLUSTER__ENABLED", "true"),
        ("QDRANT__SERVICE__ENABLE_TLS", "True"),
        ("QDRANT__SERVICE__JWT_RBAC", "true"),
        ("QDRANT__SERVICE__HTTP_PORT", "70000"),
        ("QDRANT__SERVICE__HTTP_PORT", "six"),
        ("QDRANT__LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_asks_for_what_is_not_here_is_an_error(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_metrics(running: Running, client: QdrantClient) -> None:
    fill(client, count=7)
    text = httpx.get(f"{running.url}/metrics", headers=READING).text
    assert f'app_info{{name="qdrant",version="{VERSION}"}} 1' in text
    assert 'collection_points{id="docs"} 7' in text


def test_errors_have_the_form_of_qdrant(running: Running) -> None:
    answer = httpx.get(f"{running.url}/collections/none", headers=KEY)
    assert answer.status_code == 404
    assert answer.json()["status"] == {"error": "Not found: Collection `none` doesn't exist!"}
    broken = httpx.put(f"{running.url}/collections/x", headers=KEY, content=b"{")
    assert (broken.status_code, json.loads(broken.text)["result"]) == (400, None)
