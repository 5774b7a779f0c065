# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine with Qdrant serves: to the official client, with the right key, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]
pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

CONTAINER = "pantheon-qdrant-qdrant-1"
# Host networks: the server answers at the address of the machine.
URL = "http://10.78.0.42:6333"


def keys(host: Host) -> dict[str, str]:
    """Return the environment of the container."""
    found = json.loads(host.check_output(f"docker inspect --format '{{{{json .Config.Env}}}}' {CONTAINER}"))
    return dict(entry.partition("=")[::2] for entry in found)


def client(key: str | None) -> QdrantClient:
    return QdrantClient(url=URL, api_key=key, timeout=30, check_compatibility=False)


@pytest.fixture
def writer(host: Host) -> Iterator[QdrantClient]:
    """A client that may do everything."""
    found = client(keys(host)["QDRANT__SERVICE__API_KEY"])
    yield found
    found.close()


def test_the_container_is_healthy(host: Host) -> None:
    assert host.check_output(f"docker inspect --format '{{{{.State.Health.Status}}}}' {CONTAINER}") == "healthy"


def test_the_official_client_stores_and_finds(writer: QdrantClient) -> None:
    if writer.collection_exists("docs"):
        writer.delete_collection("docs")
    writer.create_collection("docs", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE))
    writer.create_payload_index("docs", "tenant", models.PayloadSchemaType.KEYWORD)
    points = [
        models.PointStruct(id=n, vector=[1.0, float(n), 2.0], payload={"tenant": f"t{n % 2}", "n": n})
        for n in range(1, 501)
    ]
    writer.upload_points("docs", points, wait=True)
    assert writer.count("docs").count == 500
    mine = models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="t1"))])
    found = writer.query_points("docs", query=[1.0, 7.0, 2.0], query_filter=mine, limit=2).points
    assert [point.id for point in found] == [7, 9] or [point.id for point in found] == [7, 5]


def test_the_key_for_reading_reads_only(host: Host) -> None:
    reader = client(keys(host)["QDRANT__SERVICE__READ_ONLY_API_KEY"])
    assert reader.count("docs").count == 500
    with pytest.raises(UnexpectedResponse, match="403"):
        reader.delete_collection("docs")
    reader.close()


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nobody_else_gets_an_answer(key: str | None) -> None:
    stranger = client(key)
    with pytest.raises(UnexpectedResponse, match="401"):
        stranger.get_collections()
    stranger.close()


def test_the_points_and_the_snapshots_are_in_the_volume(host: Host, writer: QdrantClient) -> None:
    made = writer.create_snapshot("docs")
    assert made is not None
    place = host.check_output("docker volume inspect --format '{{.Mountpoint}}' pantheon_qdrant_storage")
    assert host.file(f"{place}/collections/docs").is_directory
    found = host.check_output(f"sha256sum {place}/snapshots/docs/{made.name}")
    assert found.split()[0] == made.checksum
    writer.delete_snapshot("docs", made.name)


def test_what_was_stored_survives_a_kill(host: Host, writer: QdrantClient) -> None:
    writer.upsert("docs", [models.PointStruct(id=777, vector=[7.0, 7.0, 7.0], payload={"tenant": "t7"})], wait=True)
    host.check_output(f"docker kill {CONTAINER} && docker start {CONTAINER}")
    script = f"for n in $(seq 60); do curl -fs --max-time 2 {URL}/readyz && exit 0; sleep 1; done; exit 1"
    host.check_output(script)
    assert writer.retrieve("docs", [777])[0].payload == {"tenant": "t7"}
    assert writer.count("docs").count == 501


def test_no_key_is_readable_for_others(host: Host) -> None:
    assert host.file("/opt/pantheon/qdrant/.env").mode == 0o600
    key = keys(host)["QDRANT__SERVICE__API_KEY"]
    assert len(key) >= 40
    others = "find /opt/pantheon /etc/pantheon -type f -perm /044 -print0"
    assert host.run(f"{others} | xargs -0 grep -l -F '{key}'").stdout == ""
