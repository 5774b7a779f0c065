# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program for backups reads and fills this server, through the same API as Qdrant's."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from pantheon_backup.qdrant_api import Api, QdrantError, count, digest, export, load

Running = Any

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


def api_of(running: Running) -> Api:
    return Api(running.port, "key-for-everything")


def fill(client: QdrantClient) -> None:
    client.create_collection("docs-1", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE))
    client.upsert(
        "docs-1",
        [models.PointStruct(id=n, vector=[1.0, n, 0.5], payload={"text": f"é {n}"}) for n in range(1, 601)],
        wait=True,
    )
    client.create_collection(
        "mixed",
        vectors_config={"dense": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    vector = {"dense": [1.0, 2.0], "words": models.SparseVector(indices=[1], values=[1.0])}
    client.upsert("mixed", [models.PointStruct(id=1, vector=vector)], wait=True)  # type: ignore[arg-type]
    client.create_collection("empty ü", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="docs-1", alias_name="live"))]
    )


def exported(api: Api) -> bytes:
    target = io.BytesIO()
    export(api, target)
    return target.getvalue()


def test_what_is_exported_can_be_loaded_elsewhere(running: Running, client: QdrantClient, tmp_path: Path) -> None:
    fill(client)
    api = api_of(running)
    before = count(api)
    assert before["collections"] == "docs-1, empty ü, mixed"
    assert before["docs-1: points"] == 600
    assert before["mixed: nearest"] == f"1 at {11 * 1.0 + 48 * 2.0:.4f}"
    assert before["empty ü: nearest"] == ""
    data = exported(api)
    assert client.list_snapshots("docs-1") == [], "no snapshot stays behind"

    other = type(running)(tmp_path / "other")
    try:
        load(api_of(other), io.BytesIO(data))
        assert count(api_of(other)) == before
        assert other.client().count("live").count == 600
    finally:
        other.stop()


def test_every_difference_is_seen(running: Running, client: QdrantClient) -> None:
    fill(client)
    api = api_of(running)
    before = count(api)
    client.set_payload("docs-1", {"text": "another"}, points=[300])
    changed = count(api)
    assert changed["docs-1: points"] == 600
    assert changed["docs-1: content"] != before["docs-1: content"]
    client.update_vectors("docs-1", [models.PointVectors(id=500, vector=[1.0, 1.0, 0.5])])
    assert count(api)["docs-1: nearest"] != before["docs-1: nearest"]


def test_the_digest_does_not_depend_on_the_order() -> None:
    points = [{"id": n, "payload": {"a": n, "b": [1]}, "vector": [0.5, n]} for n in range(5)]
    other = [dict(reversed(list(point.items()))) for point in reversed(points)]
    assert digest(iter(points)) == digest(iter(other))
    assert digest(iter(points)) != digest(iter(points[:-1]))


def test_a_damaged_backup_is_refused_before_it_changes_anything(running: Running, client: QdrantClient) -> None:
    fill(client)
    api = api_of(running)
    before = count(api)
    data = bytearray(exported(api))
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        entry = archive.getmember("collections/docs-1")
    data[entry.offset_data + entry.size // 2] ^= 0xFF
    with pytest.raises(QdrantError, match="400.*checksum"):
        load(api, io.BytesIO(bytes(data)))
    assert count(api) == before


def test_the_program(running: Running, client: QdrantClient) -> None:
    fill(client)

    def run(command: str, stdin: bytes = b"", key: str = "key-for-everything") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "pantheon_backup.qdrant_api", command],
            input=stdin,
            env={
                "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "backup/src"),
                "QDRANT_PORT": str(running.port),
                "QDRANT_KEY": key,
                "QDRANT_WAIT": "0",
            },
            capture_output=True,
            timeout=60,
            check=False,
        )

    assert run("wait").returncode == 0
    assert run("version").stdout.decode().strip() == "1.19.0-lab"
    first = json.loads(run("count").stdout)
    data = run("export").stdout
    client.delete("docs-1", points_selector=[1, 2])
    assert run("import", data).returncode == 0
    assert json.loads(run("count").stdout) == first
    refused = run("export", key="wrong")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert "401" in refused.stderr.decode()
    assert "wrong" not in refused.stderr.decode()
    assert run("wait", key="wrong").returncode == 1
    assert run("nonsense").returncode == 2
    assert run("import", data[: len(data) // 2]).returncode == 1
