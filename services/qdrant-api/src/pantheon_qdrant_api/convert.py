# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON of Qdrant's REST API, to and from the objects of the engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import qdrant_edge as edge

from .errors import BadRequestError, NotHereError

Json = dict[str, Any]
PointId = int | uuid.UUID

#: Finds the vector of a point by its id and the name of the vector.
Finder = Callable[[PointId, str], Any]

_DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}
_DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
}
_INDEXES: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "keyword": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
    "integer": (
        edge.PayloadSchemaType.Integer,
        edge.IntegerIndexParams,
        ("lookup", "range", "is_principal", "on_disk", "enable_hnsw"),
    ),
    "float": (edge.PayloadSchemaType.Float, edge.FloatIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "geo": (edge.PayloadSchemaType.Geo, edge.GeoIndexParams, ("on_disk", "enable_hnsw")),
    "text": (
        edge.PayloadSchemaType.Text,
        edge.TextIndexParams,
        ("min_token_len", "max_token_len", "lowercase", "ascii_folding", "phrase_matching", "on_disk", "enable_hnsw"),
    ),
    "bool": (edge.PayloadSchemaType.Bool, edge.BoolIndexParams, ("on_disk", "enable_hnsw")),
    "datetime": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "uuid": (edge.PayloadSchemaType.Uuid, edge.UuidIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
}
_TOKENIZERS = {
    "word": edge.TokenizerType.Word,
    "whitespace": edge.TokenizerType.Whitespace,
    "prefix": edge.TokenizerType.Prefix,
    "multilingual": edge.TokenizerType.Multilingual,
}
_MODES = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}


def wrong(text: str) -> BadRequestError:
    """Return the error for a request that says something wrong."""
    return BadRequestError(f"Wrong input: {text}")


def mapping(value: Any, what: str) -> Json:
    """Return *value* if it is an object."""
    if not isinstance(value, dict):
        raise BadRequestError(f"Format error in JSON body: {what} has to be an object, not {_kind(value)}")
    return value


def items(value: Any, what: str) -> list[Any]:
    """Return *value* if it is a list."""
    if not isinstance(value, list):
        raise BadRequestError(f"Format error in JSON body: {what} has to be a list, not {_kind(value)}")
    return value


def number(value: Any, what: str, default: int) -> int:
    """Return a number that is not negative; *default* for null."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadRequestError(f"Format error in JSON body: {what} has to be a number from 0 on, not {value!r}")
    return value


def _kind(value: Any) -> str:
    return {type(None): "null", str: "text", list: "a list", dict: "an object"}.get(type(value), repr(value))


# --- collections -------------------------------------------------------------------------------------------------------


def config_of(data: Mapping[str, Any]) -> edge.EdgeConfig:
    """Return the engine's configuration of a collection."""
    vectors = data.get("vectors") or {}
    mapping(vectors, "vectors")
    dense = _dense(vectors) if "size" in vectors else {name: _dense(mapping(v, name)) for name, v in vectors.items()}
    sparse = {
        name: _sparse(mapping(v or {}, name))
        for name, v in mapping(data.get("sparse_vectors") or {}, "sparse_vectors").items()
    }
    return edge.EdgeConfig(
        vectors=dense or None, sparse_vectors=sparse or None, on_disk_payload=data.get("on_disk_payload", True)
    )


def _dense(data: Json) -> edge.EdgeVectorParams:
    size, distance = data.get("size"), data.get("distance")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 65536:
        raise BadRequestError(f"Validation error in JSON body: vectors.size is {size!r}, must be from 1 to 65536")
    if distance not in _DISTANCES:
        raise BadRequestError(
            f"Format error in JSON body: unknown distance {distance!r}, expected {', '.join(_DISTANCES)}"
        )
    multi = None
    if data.get("multivector_config"):
        multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    return edge.EdgeVectorParams(
        size=size,
        distance=_DISTANCES[distance],
        on_disk=data.get("on_disk"),
        multivector_config=multi,
        datatype=_DATATYPES.get(data.get("datatype") or ""),
    )


def _sparse(data: Json) -> edge.EdgeSparseVectorParams:
    index = data.get("index") or {}
    return edge.EdgeSparseVectorParams(
        full_scan_threshold=index.get("full_scan_threshold"),
        on_disk=index.get("on_disk"),
        modifier=edge.Modifier.Idf if data.get("modifier") == "idf" else None,
        datatype=_DATATYPES.get(index.get("datatype") or ""),
    )


def index_of(schema: Any) -> tuple[str, Any]:
    """Return the type of a payload index, and what the engine takes for it."""
    data = {"type": schema} if isinstance(schema, str) else mapping(schema, "field_schema")
    kind = data.get("type")
    if kind not in _INDEXES:
        raise BadRequestError(
            f"Format error in JSON body: unknown type of index {kind!r}, expected {', '.join(_INDEXES)}"
        )
    simple, parameters, known = _INDEXES[kind]
    given = {name: data[name] for name in known if data.get(name) is not None}
    if kind == "text" and data.get("tokenizer"):
        if data["tokenizer"] not in _TOKENIZERS:
            raise wrong(f"unknown tokenizer {data['tokenizer']!r}, expected {', '.join(_TOKENIZERS)}")
        given["tokenizer"] = _TOKENIZERS[data["tokenizer"]]
    return kind, parameters(**given) if given else simple


# --- points ------------------------------------------------------------------------------------------------------------


def id_of(value: Any) -> PointId:
    """Return the id of a point."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    if isinstance(value, str):
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise BadRequestError(
        f"Format error in JSON body: value {value} is not a valid point ID, valid values are either an unsigned "
        "integer or a UUID"
    )


def ids_of(value: Any, what: str = "points") -> list[PointId]:
    """Return the ids of a list."""
    return [id_of(one) for one in items(value, what)]


def vector_of(value: Any) -> Any:
    """Return one vector: numbers, a list of such, or a sparse one."""
    if isinstance(value, list):
        if value and all(isinstance(one, list) for one in value):
            return [_floats(one) for one in value]
        return _floats(value)
    if isinstance(value, dict) and set(value) == {"indices", "values"}:
        indices, values = items(value["indices"], "indices"), _floats(items(value["values"], "values"))
        if len(indices) != len(values):
            raise wrong("a sparse vector needs as many values as indices")
        return edge.SparseVector(indices, values)
    if isinstance(value, dict) and "text" in value or isinstance(value, str):
        raise NotHereError("vectors made from text (inference)")
    raise BadRequestError(f"Format error in JSON body: {_kind(value)} is no vector")


def _floats(value: list[Any]) -> list[float]:
    try:
        return [float(one) for one in value]
    except (TypeError, ValueError):
        raise BadRequestError("Format error in JSON body: a vector holds numbers only") from None


def vectors_of(value: Any) -> Any:
    """Return the vectors of a point: one without a name, or an object of named ones."""
    if isinstance(value, dict) and "text" not in value:
        return {name: vector_of(one) for name, one in value.items()}
    return vector_of(value)


def points_of(body: Json) -> list[edge.Point]:
    """Return the points of an upsert, in either of its two forms."""
    if "batch" in body:
        batch = mapping(body["batch"], "batch")
        ids = ids_of(batch.get("ids"), "batch.ids")
        payloads = batch.get("payloads") or [None] * len(ids)
        vectors = batch.get("vectors")
        if isinstance(vectors, dict):
            columns = {name: items(column, f"batch.vectors.{name}") for name, column in vectors.items()}
            lengths = {len(column) for column in columns.values()}
            if lengths - {len(ids)}:
                raise wrong(f"{len(ids)} ids, but {max(lengths)} vectors")
            rows: list[Any] = [{name: column[row] for name, column in columns.items()} for row in range(len(ids))]
        else:
            rows = items(vectors, "batch.vectors")
        if len(rows) != len(ids) or len(payloads) != len(ids):
            raise wrong(f"{len(ids)} ids, but {len(rows)} vectors and {len(payloads)} payloads")
        return [
            edge.Point(one, vectors_of(row), _payload(payload))
            for one, row, payload in zip(ids, rows, payloads, strict=True)
        ]
    points = [mapping(one, "points") for one in items(body.get("points"), "points")]
    return [
        edge.Point(id_of(one.get("id")), vectors_of(one.get("vector", {})), _payload(one.get("payload")))
        for one in points
    ]


def point_vectors_of(body: Json) -> list[edge.PointVectors]:
    """Return the points of a change of vectors."""
    points = [mapping(one, "points") for one in items(body.get("points"), "points")]
    return [edge.PointVectors(id_of(one.get("id")), vectors_of(one.get("vector"))) for one in points]


def mode_of(value: Any) -> Any:
    """Return the mode of an upsert; None for the usual one."""
    if value is None:
        return None
    if value not in _MODES:
        raise wrong(f"unknown update_mode {value!r}, expected {', '.join(_MODES)}")
    return _MODES[value]


def _payload(value: Any) -> Json | None:
    return None if value is None else mapping(value, "payload")


def id_to_json(value: Any) -> int | str:
    """Return an id as the API shows it."""
    return value if isinstance(value, int) else str(value)


def vector_to_json(value: Any) -> Any:
    """Return vectors as the API shows them."""
    if isinstance(value, dict):
        return (
            vector_to_json(value[""])
            if set(value) == {""}
            else {key: vector_to_json(one) for key, one in value.items()}
        )
    if hasattr(value, "indices"):
        return {"indices": list(value.indices), "values": list(value.values)}
    return value


def record_to_json(record: Any) -> Json:
    """Return a point that was found without a score."""
    result: Json = {"id": id_to_json(record.id), "payload": record.payload}
    if record.vector is not None:
        result["vector"] = vector_to_json(record.vector)
    if record.order_value is not None:
        result["order_value"] = record.order_value
    return result


def scored_to_json(point: Any) -> Json:
    """Return a point that was found with a score."""
    return {**record_to_json(point), "version": point.version, "score": point.score}


def selected_payload(value: Any, default: bool) -> Any:
    """Return which part of the payload is wanted."""
    if value is None:
        return default
    if isinstance(value, dict):
        if value.get("include") is not None:
            return edge.PayloadSelector.Include(items(value["include"], "with_payload.include"))
        return edge.PayloadSelector.Exclude(items(value.get("exclude"), "with_payload.exclude"))
    if isinstance(value, bool | list):
        return value
    raise wrong("with_payload has to be true, false, a list of names, or an object with include or exclude")


def selected_vectors(value: Any) -> Any:
    """Return which vectors are wanted."""
    if value is None:
        return False
    if isinstance(value, bool | list):
        return value
    raise wrong("with_vector has to be true, false or a list of names")


# --- filters -----------------------------------------------------------------------------------------------------------


def filter_of(value: Any) -> edge.Filter | None:
    """Return a filter; None for none."""
    if value is None:
        return None
    data = mapping(value, "filter")
    unknown = sorted(set(data) - {"must", "should", "must_not", "min_should"})
    if unknown:
        raise BadRequestError(f"Format error in JSON body: a filter has no {unknown[0]}")
    minimum = None
    if data.get("min_should") is not None:
        wanted = mapping(data["min_should"], "min_should")
        minimum = edge.MinShould(
            _conditions(wanted.get("conditions")) or [], number(wanted.get("min_count"), "min_count", 0)
        )
    return edge.Filter(
        must=_conditions(data.get("must")),
        should=_conditions(data.get("should")),
        must_not=_conditions(data.get("must_not")),
        min_should=minimum,
    )


def without(found: edge.Filter | None, ids: Sequence[PointId]) -> edge.Filter | None:
    """Return the filter that leaves out these points as well."""
    if not ids:
        return found
    return edge.Filter(must=[found] if found is not None else None, must_not=[edge.HasIdCondition(set(ids))])


def _conditions(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return [_condition(mapping(one, "condition")) for one in (value if isinstance(value, list) else [value])]


def _condition(data: Json) -> Any:
    if "key" in data:
        return _field(data)
    if "nested" in data:
        nested = mapping(data["nested"], "nested")
        return edge.NestedCondition(
            _text(nested.get("key"), "nested.key"), filter_of(nested.get("filter")) or edge.Filter()
        )
    if "has_id" in data:
        return edge.HasIdCondition(set(ids_of(data["has_id"], "has_id")))
    if "has_vector" in data:
        return edge.HasVectorCondition(_text(data["has_vector"], "has_vector"))
    if "is_empty" in data:
        return edge.IsEmptyCondition(_text(mapping(data["is_empty"], "is_empty").get("key"), "is_empty.key"))
    if "is_null" in data:
        return edge.IsNullCondition(_text(mapping(data["is_null"], "is_null").get("key"), "is_null.key"))
    if set(data) & {"must", "should", "must_not", "min_should"}:
        return filter_of(data)
    raise BadRequestError(
        f"Format error in JSON body: no condition is known with {', '.join(sorted(data)) or 'nothing'} in it"
    )


def _field(data: Json) -> edge.FieldCondition:
    given: dict[str, Any] = {}
    if data.get("match") is not None:
        given["match"] = _match(mapping(data["match"], "match"))
    if data.get("range") is not None:
        limits = {key: one for key, one in mapping(data["range"], "range").items() if one is not None}
        kind = edge.RangeDateTime if any(isinstance(one, str) for one in limits.values()) else edge.RangeFloat
        try:
            given["range"] = kind(**limits)
        except TypeError as error:
            raise wrong(f"range: {error}") from None
    if data.get("values_count") is not None:
        counts = {key: one for key, one in mapping(data["values_count"], "values_count").items() if one is not None}
        given["values_count"] = edge.ValuesCount(**{key: number(one, key, 0) for key, one in counts.items()})
    if data.get("geo_bounding_box") is not None:
        box = mapping(data["geo_bounding_box"], "geo_bounding_box")
        given["geo_bounding_box"] = edge.GeoBoundingBox(_place(box.get("top_left")), _place(box.get("bottom_right")))
    if data.get("geo_radius") is not None:
        circle = mapping(data["geo_radius"], "geo_radius")
        radius = circle.get("radius")
        if not isinstance(radius, int | float):
            raise wrong("geo_radius.radius has to be a number")
        given["geo_radius"] = edge.GeoRadius(_place(circle.get("center")), float(radius))
    if data.get("geo_polygon") is not None:
        shape = mapping(data["geo_polygon"], "geo_polygon")
        given["geo_polygon"] = edge.GeoPolygon(
            _line(shape.get("exterior")), [_line(one) for one in shape.get("interiors") or []] or None
        )
    given |= {key: data[key] for key in ("is_empty", "is_null") if data.get(key) is not None}
    if not given:
        raise BadRequestError(f"Validation error in JSON body: the condition on {data['key']} asks for nothing")
    return edge.FieldCondition(_text(data["key"], "key"), **given)


def _match(data: Json) -> Any:
    if "value" in data:
        return edge.MatchValue(data["value"])
    if "any" in data:
        return edge.MatchAny(items(data["any"], "match.any"))
    if "except" in data:
        return edge.MatchExcept(items(data["except"], "match.except"))
    if "text" in data:
        return edge.MatchText(_text(data["text"], "match.text"))
    if "text_any" in data:
        return edge.MatchTextAny(_text(data["text_any"], "match.text_any"))
    if "phrase" in data:
        return edge.MatchPhrase(_text(data["phrase"], "match.phrase"))
    raise BadRequestError(
        f"Format error in JSON body: no match is known with {', '.join(sorted(data)) or 'nothing'} in it"
    )


def _place(value: Any) -> edge.GeoPoint:
    data = mapping(value, "a place")
    try:
        return edge.GeoPoint(float(data["lon"]), float(data["lat"]))
    except (KeyError, TypeError, ValueError):
        raise wrong("a place has lon and lat, both numbers") from None


def _line(value: Any) -> list[edge.GeoPoint]:
    return [_place(one) for one in items(mapping(value, "a line").get("points"), "points")]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"Format error in JSON body: {what} has to be text, not {_kind(value)}")
    return value


# --- queries -----------------------------------------------------------------------------------------------------------


class Queries:
    """Turns the queries of one collection into those of the engine."""

    def __init__(self, find: Finder) -> None:
        """Take what finds the vector of a point, because a query may name a point instead of a vector."""
        self._find = find

    def request(self, body: Json) -> edge.QueryRequest:
        """Return a whole request."""
        if body.get("lookup_from") is not None:
            raise NotHereError("lookup_from, vectors from another collection")
        query, named = self._query(body.get("query"), _using(body))
        limit = number(body.get("limit"), "limit", 10)
        if limit < 1:
            raise BadRequestError("Validation error in JSON body: limit is 0, must be 1 or larger")
        return edge.QueryRequest(
            limit=limit,
            offset=number(body.get("offset"), "offset", 0),
            query=query,
            prefetches=list(self._prefetches(body.get("prefetch"))) or None,
            with_vector=selected_vectors(body.get("with_vector")),
            with_payload=selected_payload(body.get("with_payload"), False),
            filter=without(filter_of(body.get("filter")), named),
            score_threshold=body.get("score_threshold"),
            params=_parameters(body.get("params")),
        )

    def _prefetches(self, value: Any) -> Iterator[edge.Prefetch]:
        for one in value if isinstance(value, list) else [value] if value is not None else []:
            data = mapping(one, "prefetch")
            if data.get("lookup_from") is not None:
                raise NotHereError("lookup_from, vectors from another collection")
            query, named = self._query(data.get("query"), _using(data))
            yield edge.Prefetch(
                limit=number(data.get("limit"), "prefetch.limit", 10),
                query=query,
                prefetches=list(self._prefetches(data.get("prefetch"))) or None,
                params=_parameters(data.get("params")),
                filter=without(filter_of(data.get("filter")), named),
                score_threshold=data.get("score_threshold"),
            )

    def _query(self, value: Any, using: str) -> tuple[Any, list[PointId]]:
        """Return a query, and the points that it names: these are not part of what it finds."""
        if value is None:
            return None, []
        named: list[PointId] = []
        if not isinstance(value, dict) or set(value) == {"indices", "values"}:
            return edge.Query.Nearest(self._example(value, using, named), using or None), named
        if "nearest" in value:
            vector = self._example(value["nearest"], using, named)
            if value.get("mmr") is None:
                return edge.Query.Nearest(vector, using or None), named
            options = mapping(value["mmr"], "mmr")
            diversity = options.get("diversity")
            candidates = number(options.get("candidates_limit"), "candidates_limit", 100)
            return edge.Mmr(
                vector, 1.0 - (0.5 if diversity is None else float(diversity)), candidates, using or None
            ), named
        if "recommend" in value:
            return self._recommend(mapping(value["recommend"], "recommend"), using, named), named
        if "discover" in value:
            data = mapping(value["discover"], "discover")
            target = self._example(data.get("target"), using, named)
            pairs = self._pairs(data.get("context"), using, named)
            return edge.Query.Discover(edge.DiscoverQuery(target, pairs), using or None), named
        if "context" in value:
            pairs = self._pairs(value["context"], using, named)
            return edge.Query.Context(edge.ContextQuery(pairs), using or None), named
        if "order_by" in value:
            return order_of(value["order_by"]), []
        if "sample" in value:
            return edge.Sample.Random, []
        if "fusion" in value:
            if value["fusion"] not in ("rrf", "dbsf"):
                raise wrong(f"unknown fusion {value['fusion']!r}, expected rrf or dbsf")
            return (edge.Fusion.Rrf(2) if value["fusion"] == "rrf" else edge.Fusion.Dbsf()), []
        if "rrf" in value:
            options = mapping(value["rrf"], "rrf")
            return edge.Fusion.Rrf(number(options.get("k"), "rrf.k", 2), options.get("weights")), []
        if "formula" in value:
            raise NotHereError("formulas")
        if "text" in value or "model" in value:
            raise NotHereError("vectors made from text (inference)")
        raise BadRequestError(f"Format error in JSON body: no query is known with {', '.join(sorted(value))} in it")

    def _example(self, value: Any, using: str, named: list[PointId]) -> Any:
        """Return a vector, which may be given as the id of a point."""
        if isinstance(value, int | str) and not isinstance(value, bool):
            point = id_of(value)
            named.append(point)
            return self._find(point, using)
        return vector_of(value)

    def _pairs(self, value: Any, using: str, named: list[PointId]) -> list[edge.ContextPair]:
        pairs = value if isinstance(value, list) else [value] if value is not None else []
        return [
            edge.ContextPair(
                self._example(mapping(pair, "context").get("positive"), using, named),
                self._example(pair.get("negative"), using, named),
            )
            for pair in pairs
        ]

    def _recommend(self, data: Json, using: str, named: list[PointId]) -> Any:
        positive = [self._example(one, using, named) for one in data.get("positive") or []]
        negative = [self._example(one, using, named) for one in data.get("negative") or []]
        strategy = data.get("strategy") or "average_vector"
        if strategy == "average_vector":
            if not positive:
                raise wrong("at least one positive vector ID required with this strategy")
            return edge.Query.Nearest(_average(positive, negative), using or None)
        query = edge.RecommendQuery(positive, negative)
        if strategy == "best_score":
            return edge.Query.RecommendBestScore(query, using or None)
        if strategy == "sum_scores":
            return edge.Query.RecommendSumScores(query, using or None)
        raise wrong(f"unknown strategy {strategy!r}, expected average_vector, best_score or sum_scores")


def _average(positive: list[Any], negative: list[Any]) -> list[float]:
    """Return the vector that Qdrant looks for: the mean of the wanted ones, moved away from the unwanted ones."""
    for one in [*positive, *negative]:
        if not isinstance(one, list) or (one and isinstance(one[0], list)):
            raise NotHereError("the strategy average_vector for sparse vectors and for several vectors a point")
        if len(one) != len(positive[0]):
            raise wrong(f"Vector dimension error: expected dim: {len(positive[0])}, got {len(one)}")
    wanted = [sum(column) / len(positive) for column in zip(*positive, strict=True)]
    if not negative:
        return wanted
    unwanted = [sum(column) / len(negative) for column in zip(*negative, strict=True)]
    return [2 * good - bad for good, bad in zip(wanted, unwanted, strict=True)]


def order_of(value: Any) -> edge.OrderBy:
    """Return an order by a field of the payload."""
    data = {"key": value} if isinstance(value, str) else mapping(value, "order_by")
    direction = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc}.get(data.get("direction") or "asc")
    if direction is None:
        raise wrong(f"unknown direction {data.get('direction')!r}, expected asc or desc")
    return edge.OrderBy(_text(data.get("key"), "order_by.key"), direction, data.get("start_from"))


def _using(body: Json) -> str:
    return _text(body.get("using") or "", "using")


def _parameters(value: Any) -> edge.SearchParams | None:
    if value is None:
        return None
    data = mapping(value, "params")
    quantization = None
    if data.get("quantization") is not None:
        wanted = mapping(data["quantization"], "quantization")
        quantization = edge.QuantizationSearchParams(
            bool(wanted.get("ignore")), wanted.get("rescore"), wanted.get("oversampling")
        )
    return edge.SearchParams(
        hnsw_ef=data.get("hnsw_ef"),
        exact=bool(data.get("exact")),
        quantization=quantization,
        indexed_only=bool(data.get("indexed_only")),
    )


def search_to_query(body: Json) -> Json:
    """Return the old form of a search in the new one."""
    vector: Any = body.get("vector")
    using = ""
    if isinstance(vector, dict) and "name" in vector:
        vector, using = vector.get("vector"), vector["name"]
    rest = {key: one for key, one in body.items() if key != "vector"}
    return {**rest, "query": {"nearest": vector}, "using": using}
