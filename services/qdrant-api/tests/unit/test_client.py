# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official client drives the server as it drives Qdrant."""

from __future__ import annotations

import uuid
import warnings
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


def make(client: QdrantClient, name: str = "docs", count: int = 20) -> None:
    """Make a collection of points on a line: the vector of the point N is (N, 1), the payload says who has it."""
    assert client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.EUCLID))
    points = [
        models.PointStruct(
            id=number, vector=[float(number), 1.0], payload={"tenant": f"t{number % 2}", "number": number}
        )
        for number in range(count)
    ]
    assert client.upsert(name, points=points, wait=True).status == models.UpdateStatus.COMPLETED


def ids(points: list[Any]) -> list[Any]:
    return [point.id for point in points]


def refused(status: int) -> Any:
    return pytest.raises(UnexpectedResponse, match=rf"{status} ")


def test_a_collection_is_made_shown_and_deleted(client: QdrantClient) -> None:
    assert not client.collection_exists("docs")
    make(client)
    assert client.collection_exists("docs")
    assert [one.name for one in client.get_collections().collections] == ["docs"]
    info = client.get_collection("docs")
    assert (info.status, info.points_count) == (models.CollectionStatus.GREEN, 20)
    vectors = info.config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    assert (vectors.size, vectors.distance) == (2, models.Distance.EUCLID)
    with refused(409):
        client.create_collection("docs", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    assert client.delete_collection("docs")
    assert not client.collection_exists("docs")
    assert not client.delete_collection("docs")
    with refused(404):
        client.get_collection("docs")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a" * 256, "tab\there"])
def test_a_name_that_no_folder_can_have_is_refused(client: QdrantClient, name: str) -> None:
    with pytest.raises((UnexpectedResponse, ResponseHandlingException, ValueError)):
        client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    assert client.get_collections().collections == []


def test_a_name_with_strange_letters_works(client: QdrantClient) -> None:
    make(client, "open-webui_Füße %2F", 3)
    assert client.count("open-webui_Füße %2F").count == 3


def test_the_nearest_points_are_found_with_and_without_a_filter(client: QdrantClient) -> None:
    make(client)
    found = client.query_points("docs", query=[7.1, 1.0], limit=3).points
    assert ids(found) == [7, 8, 6]
    assert found[0].score == pytest.approx(0.1, abs=1e-5)
    assert found[0].payload == {"tenant": "t1", "number": 7}
    mine = models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="t0"))])
    found = client.query_points("docs", query=[7.1, 1.0], limit=3, query_filter=mine, with_payload=["number"]).points
    assert ids(found) == [8, 6, 10]
    assert found[0].payload == {"number": 8}
    assert ids(client.query_points("docs", query=[7.1, 1.0], limit=2, offset=1).points) == [8, 6]
    assert ids(client.query_points("docs", query=[7.1, 1.0], score_threshold=1.0).points) == [7, 8]


def test_a_point_can_be_asked_for_what_is_near_to_it(client: QdrantClient) -> None:
    make(client)
    assert ids(client.query_points("docs", query=7, limit=2).points) in ([6, 8], [8, 6])
    with refused(404):
        client.query_points("docs", query=999)
    away = client.query_points(
        "docs", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[3], negative=[5])), limit=1
    ).points
    assert ids(away) == [1]
    for strategy in (models.RecommendStrategy.BEST_SCORE, models.RecommendStrategy.SUM_SCORES):
        wanted = models.RecommendInput(positive=[3], negative=[19], strategy=strategy)
        near = client.query_points("docs", query=models.RecommendQuery(recommend=wanted), limit=2).points
        assert set(ids(near)) <= set(range(7)) - {3}
    context = [models.ContextPair(positive=2, negative=18)]
    found = client.query_points(
        "docs", query=models.DiscoverQuery(discover=models.DiscoverInput(target=4, context=context))
    )
    assert found.points[0].id in (3, 5)
    assert client.query_points("docs", query=models.ContextQuery(context=context), limit=3).points


def test_the_old_form_of_a_search_still_works(client: QdrantClient) -> None:
    make(client)
    answer = client.http.client.request(
        type_=Any,
        method="POST",
        url="/collections/{name}/points/search",
        path_params={"name": "docs"},
        json={"vector": [7.1, 1.0], "limit": 1, "with_payload": True},
    )
    assert answer["result"][0]["payload"]["number"] == 7


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"key": "number", "match": {"value": 3}}, [3]),
        ({"key": "number", "match": {"any": [3, 5]}}, [3, 5]),
        ({"key": "number", "match": {"except": list(range(2, 20))}}, [0, 1]),
        ({"key": "number", "range": {"gt": 16, "lte": 18}}, [17, 18]),
        ({"key": "day", "range": {"gte": "2026-01-02T00:00:00Z"}}, [2]),
        ({"key": "text", "match": {"text": "brown"}}, [1]),
        ({"key": "tags", "values_count": {"gte": 2}}, [1]),
        ({"key": "place", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 9000.0}}, [2]),
        (
            {
                "key": "place",
                "geo_bounding_box": {"top_left": {"lon": 13, "lat": 53}, "bottom_right": {"lon": 14, "lat": 52}},
            },
            [2],
        ),
        ({"has_id": [4, 999]}, [4]),
        ({"is_null": {"key": "nothing"}}, [1]),
        ({"must": [{"key": "number", "match": {"value": 3}}, {"key": "tenant", "match": {"value": "t1"}}]}, [3]),
        ({"must_not": {"key": "number", "range": {"gte": 1}}}, [0]),
        ({"should": [{"key": "number", "match": {"value": 1}}, {"key": "number", "match": {"value": 2}}]}, [1, 2]),
        (
            {
                "min_should": {
                    "min_count": 2,
                    "conditions": [
                        {"key": "number", "match": {"value": 1}},
                        {"key": "tenant", "match": {"value": "t1"}},
                    ],
                }
            },
            [1],
        ),
        ({"nested": {"key": "parts", "filter": {"must": {"key": "kind", "match": {"value": "wheel"}}}}}, [2]),
    ],
)
def test_filters(client: QdrantClient, condition: dict[str, Any], wanted: list[int]) -> None:
    make(client)
    first = {"text": "the quick brown fox", "tags": ["a", "b"], "nothing": None, "number": 1, "tenant": "t1"}
    client.upsert("docs", [models.PointStruct(id=1, vector=[1.0, 1.0], payload=first)], wait=True)
    client.set_payload(
        "docs",
        {"day": "2026-01-02T03:04:05Z", "place": {"lon": 13.38, "lat": 52.51}, "parts": [{"kind": "wheel"}]},
        points=[2],
    )
    found, following = client.scroll("docs", scroll_filter=models.Filter(must=[_condition(condition)]), limit=100)
    assert (ids(found), following) == (wanted, None)
    assert client.count("docs", count_filter=models.Filter(must=[_condition(condition)])).count == len(wanted)


def _condition(data: dict[str, Any]) -> Any:
    return models.Filter.model_validate({"must": [data]}).must[0]  # type: ignore[index]


def test_points_come_page_by_page_or_in_an_order(client: QdrantClient) -> None:
    make(client)
    seen: list[Any] = []
    offset = None
    while True:
        page, offset = client.scroll("docs", limit=6, offset=offset, with_payload=False, with_vectors=True)
        seen += page
        if offset is None:
            break
    assert ids(seen) == list(range(20))
    assert seen[3].vector == [3.0, 1.0]
    assert not seen[3].payload
    client.create_payload_index("docs", "number", models.PayloadSchemaType.INTEGER)
    page, _offset = client.scroll(
        "docs", limit=3, order_by=models.OrderBy(key="number", direction=models.Direction.DESC)
    )
    assert ids(page) == [19, 18, 17]


def test_points_are_read_by_id_and_missing_ones_are_left_out(client: QdrantClient) -> None:
    name = str(uuid.uuid4())
    make(client)
    client.upsert(
        "docs", [models.PointStruct(id=name, vector=[50, 1], payload={"a": {"b": [1, 2.5, None, "ü"]}})], wait=True
    )
    found = client.retrieve("docs", [3, name, 999], with_vectors=True)
    assert ids(sorted(found, key=lambda one: str(one.id))) == sorted([3, name], key=str)
    assert next(one for one in found if one.id == name).payload == {"a": {"b": [1, 2.5, None, "ü"]}}
    with refused(400):
        client.retrieve("docs", ["not a uuid"])


def test_points_change(client: QdrantClient) -> None:
    make(client)
    client.set_payload("docs", {"colour": "red"}, points=[1, 2])
    client.overwrite_payload("docs", {"only": True}, points=[3])
    client.delete_payload("docs", ["tenant"], points=[4])
    client.clear_payload("docs", points_selector=[5])
    client.update_vectors("docs", [models.PointVectors(id=6, vector=[600.0, 1.0])])
    client.set_payload(
        "docs",
        {"colour": "blue"},
        points=models.Filter(must=[models.FieldCondition(key="number", range=models.Range(gte=18))]),
    )
    payloads = {one.id: one.payload for one in client.retrieve("docs", list(range(20)))}
    assert payloads[1] == {"tenant": "t1", "number": 1, "colour": "red"}
    assert (payloads[3], payloads[4], payloads[5]) == ({"only": True}, {"number": 4}, {})
    assert payloads[19]["colour"] == payloads[18]["colour"] == "blue"
    assert ids(client.query_points("docs", query=[601.0, 1.0], limit=1).points) == [6]
    client.delete("docs", points_selector=[7])
    client.delete(
        "docs",
        points_selector=models.Filter(must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="t0"))]),
    )
    left = ids(client.scroll("docs", limit=100)[0])
    assert left == [1, 3, 4, 5, 9, 11, 13, 15, 17, 19]


def test_many_points_and_several_changes_at_once(client: QdrantClient) -> None:
    make(client, count=0)
    client.upload_points(
        "docs", (models.PointStruct(id=n, vector=[n, 0], payload={"n": n}) for n in range(1000)), wait=True
    )
    assert client.count("docs", exact=True).count == 1000
    client.upsert("docs", models.Batch(ids=[1, 2000], vectors=[[1, 9], [2000, 9]], payloads=[{"n": -1}, {}]), wait=True)
    done = client.batch_update_points(
        "docs",
        [
            models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=3000, vector=[1, 1])])),
            models.DeleteOperation(delete=models.PointIdsList(points=[2000])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"new": 1}, points=[3000])),
        ],
    )
    assert [one.status for one in done] == [models.UpdateStatus.COMPLETED] * 3
    assert client.count("docs").count == 1001
    assert client.retrieve("docs", [1, 3000])[1].payload == {"new": 1}


def test_indexes_of_the_payload(client: QdrantClient) -> None:
    make(client)
    client.create_payload_index(
        "docs", "tenant", models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    )
    client.create_payload_index("docs", "number", models.PayloadSchemaType.INTEGER)
    client.create_payload_index(
        "docs",
        "text",
        models.TextIndexParams(type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True),
    )
    schema = client.get_collection("docs").payload_schema
    assert {name: one.data_type.value for name, one in schema.items()} == {
        "tenant": "keyword",
        "number": "integer",
        "text": "text",
    }
    assert schema["tenant"].points == 20
    hits = client.facet("docs", "tenant").hits
    assert {hit.value: hit.count for hit in hits} == {"t0": 10, "t1": 10}
    client.delete_payload_index("docs", "text")
    assert "text" not in client.get_collection("docs").payload_schema


def test_named_and_sparse_vectors_and_their_fusion(client: QdrantClient) -> None:
    client.create_collection(
        "mixed",
        vectors_config={"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.upsert(
        "mixed",
        [
            models.PointStruct(
                id=n,
                vector={"dense": [1.0, float(n)], "words": models.SparseVector(indices=[n, 100], values=[1.0, 0.5])},
            )
            for n in range(5)
        ],
        wait=True,
    )
    assert ids(client.query_points("mixed", query=[1.0, 2.0], using="dense", limit=1).points) == [2]
    words = models.SparseVector(indices=[4], values=[1.0])
    assert ids(client.query_points("mixed", query=words, using="words", limit=1).points) == [4]
    both = client.query_points(
        "mixed",
        prefetch=[
            models.Prefetch(query=[1.0, 4.0], using="dense", limit=2),
            models.Prefetch(query=words, using="words", limit=2),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=1,
    )
    assert ids(both.points) == [4]
    stored = client.retrieve("mixed", [3], with_vectors=["words"])[0].vector
    assert stored == {"words": models.SparseVector(indices=[3, 100], values=[1.0, 0.5])}
    with refused(400):
        client.query_points("mixed", query=[1.0, 2.0], using="other")


def test_several_searches_at_once(client: QdrantClient) -> None:
    make(client)
    requests = [models.QueryRequest(query=[float(n), 1.0], limit=1, with_payload=True) for n in (3, 9)]
    assert [ids(one.points) for one in client.query_batch_points("docs", requests)] == [[3], [9]]


def test_aliases(client: QdrantClient) -> None:
    make(client)
    make(client, "newer", 3)

    def point(alias: str, collection: str) -> None:
        change = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
        )
        client.update_collection_aliases([change])

    point("live", "docs")
    assert client.count("live").count == 20
    point("live", "newer")
    assert client.count("live").count == 3
    assert [(one.alias_name, one.collection_name) for one in client.get_aliases().aliases] == [("live", "newer")]
    with refused(404):
        point("other", "nowhere")
    client.delete_collection("newer")
    assert client.get_aliases().aliases == []


def test_what_a_request_says_wrong_is_answered_with_400(client: QdrantClient) -> None:
    make(client)
    with refused(400):
        client.upsert("docs", [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0])], wait=True)
    with refused(400):
        client.query_points("docs", query=[1.0, 2.0, 3.0])
    with refused(400):
        client.create_collection("two", vectors_config=models.VectorParams(size=0, distance=models.Distance.DOT))
    with refused(400):
        client.create_collection(
            "two", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT), shard_number=2
        )
    assert client.retrieve("docs", [1], with_vectors=True)[0].vector == [1.0, 1.0]
    assert client.count("docs").count == 20


def test_a_request_that_is_too_large_is_refused(client: QdrantClient) -> None:
    make(client)
    with refused(413):
        client.upsert("docs", [models.PointStruct(id=1, vector=[1, 1], payload={"text": "x" * (1 << 20)})])


def test_what_is_not_here_says_so(client: QdrantClient) -> None:
    make(client)
    with pytest.raises(UnexpectedResponse, match="stand-in"):
        client.query_points_groups("docs", group_by="tenant", query=[1.0, 1.0])
    with pytest.raises(UnexpectedResponse, match="stand-in"):
        client.create_full_snapshot()
    with pytest.raises(UnexpectedResponse, match="stand-in"):
        client.create_shard_key("docs", "one")
    assert client.http.distributed_api.cluster_status().result.status == "disabled"  # type: ignore[union-attr]


def test_there_is_no_grpc(client: QdrantClient) -> None:
    url = client._client.rest_uri  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = QdrantClient(url=url, grpc_port=1, prefer_grpc=True, timeout=2, check_compatibility=False)
    with pytest.raises(Exception, match="(?i)unavailable|connect"):
        other.get_collections()
    other.close()


def test_what_open_webui_asks_for(client: QdrantClient) -> None:
    """Many owners in one collection, an index for each, and as many points as there are."""
    client.create_collection(
        "open-webui_knowledge",
        vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE, on_disk=True),
        hnsw_config=models.HnswConfigDiff(payload_m=16, m=0),
    )
    for field in ("tenant_id", "metadata.hash"):
        client.create_payload_index(
            "open-webui_knowledge",
            field,
            models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD, is_tenant=field == "tenant_id", on_disk=True
            ),
        )
    points = [
        models.PointStruct(
            id=str(uuid.UUID(int=n)),
            vector=[1.0, float(n)],
            payload={"tenant_id": f"t{n % 3}", "metadata": {"hash": f"h{n}"}},
        )
        for n in range(30)
    ]
    client.upload_points("open-webui_knowledge", points)
    mine = models.Filter(
        must=[
            models.FieldCondition(key="tenant_id", match=models.MatchValue(value="t1")),
            models.FieldCondition(key="metadata.hash", match=models.MatchValue(value="h4")),
        ]
    )
    everything = 999_999_999
    found, following = client.scroll("open-webui_knowledge", scroll_filter=mine, limit=everything)
    assert (ids(found), following) == ([str(uuid.UUID(int=4))], None)
    assert len(client.scroll("open-webui_knowledge", limit=everything)[0]) == 30
    assert len(client.query_points("open-webui_knowledge", query=[1.0, 4.0], limit=everything).points) == 30
    client.delete("open-webui_knowledge", points_selector=models.FilterSelector(filter=mine))
    assert client.count("open-webui_knowledge").count == 29
    shown = client.get_collection("open-webui_knowledge").config.hnsw_config
    assert (shown.m, shown.payload_m) == (0, 16)


def test_options_of_a_collection_can_be_changed(client: QdrantClient) -> None:
    make(client, count=1)
    assert client.update_collection("docs", hnsw_config=models.HnswConfigDiff(m=32))
    assert client.get_collection("docs").config.hnsw_config.m == 32
