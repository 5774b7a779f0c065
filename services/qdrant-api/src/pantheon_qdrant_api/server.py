# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST API: Qdrant's routes, answered by the engine."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import qdrant_edge as edge
from aiohttp import web

from . import VERSION, convert
from .convert import Json
from .errors import ApiError, BadRequestError, NotFoundError, NotHereError
from .settings import Settings
from .store import OPTIONS, Collection, Store, engine

LOG = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Result = TypeVar("Result")

#: What answers without a key, as in Qdrant.
_OPEN = ("/", "/healthz", "/readyz", "/livez")
#: What only reads although it is a POST; everything else that is no GET changes something.
_READING = {
    "/points",
    *(f"/points/{name}" for name in ("count", "scroll", "query", "query/batch", "search", "search/batch")),
    "/facet",
}

#: Routes of Qdrant that a client may know and that this stand-in lacks.
_ABSENT = {
    "search in groups": ("POST", ("/points/search/groups", "/points/query/groups", "/points/recommend/groups")),
    "the distance matrix": ("POST", ("/points/search/matrix/pairs", "/points/search/matrix/offsets")),
    "the old recommend and discover": (
        "POST",
        ("/points/recommend", "/points/recommend/batch", "/points/discover", "/points/discover/batch"),
    ),
    "shard keys": ("PUT", ("/shards",)),
    "a cluster": ("POST", ("/cluster",)),
}


class Server:
    """Qdrant's API."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Join the parts; nothing is started.

        Args:
            settings: the settings.
            store: the collections, already open.
        """
        self._settings = settings
        self._store = store

    def application(self) -> web.Application:
        """Return the application with all routes."""
        application = web.Application(
            client_max_size=self._settings.largest_request, middlewares=[self._answers, self._keys]
        )
        application.on_response_prepare.append(self._mark)
        one = "/collections/{name}"
        routes: list[web.RouteDef] = [
            web.get("/", self.root),
            *(web.get(f"/{path}", self.alive) for path in ("healthz", "readyz", "livez")),
            web.get("/metrics", self.metrics),
            web.get("/collections", self.collections),
            web.get("/collections/{name}/exists", self.exists),
            web.get("/aliases", self.aliases),
            web.post("/collections/aliases", self.change_aliases),
            web.get("/cluster", self.no_cluster),
            web.get("/snapshots", self.no_full_snapshots),
            web.post("/snapshots", self.absent("snapshots of everything at once: take one of each collection")),
            web.get("/telemetry", self.absent("telemetry")),
            web.get(one, self.info),
            web.put(one, self.create),
            web.patch(one, self.change),
            web.delete(one, self.delete),
            web.get(f"{one}/aliases", self.aliases),
            web.get(f"{one}/cluster", self.shards),
            web.put(f"{one}/index", self.index),
            web.delete(one + "/index/{field}", self.drop_index),
            web.post(f"{one}/facet", self.facet),
            web.get(f"{one}/snapshots", self.snapshots),
            web.post(f"{one}/snapshots", self.take_snapshot),
            web.post(f"{one}/snapshots/upload", self.upload_snapshot),
            web.put(f"{one}/snapshots/recover", self.recover_snapshot),
            web.get(one + "/snapshots/{file}", self.snapshot),
            web.delete(one + "/snapshots/{file}", self.delete_snapshot),
            web.put(f"{one}/points", self.update("upsert")),
            web.post(f"{one}/points", self.retrieve),
            web.get(one + "/points/{id}", self.point),
            web.post(f"{one}/points/delete", self.update("delete")),
            web.put(f"{one}/points/vectors", self.update("update_vectors")),
            web.post(f"{one}/points/vectors/delete", self.update("delete_vectors")),
            web.post(f"{one}/points/payload", self.update("set_payload")),
            web.put(f"{one}/points/payload", self.update("overwrite_payload")),
            web.post(f"{one}/points/payload/delete", self.update("delete_payload")),
            web.post(f"{one}/points/payload/clear", self.update("clear_payload")),
            web.post(f"{one}/points/batch", self.batch),
            web.post(f"{one}/points/scroll", self.scroll),
            web.post(f"{one}/points/count", self.count),
            web.post(f"{one}/points/query", self.query),
            web.post(f"{one}/points/query/batch", self.query_batch),
            web.post(f"{one}/points/search", self.search),
            web.post(f"{one}/points/search/batch", self.search_batch),
        ]
        for what, (method, paths) in _ABSENT.items():
            routes += [web.route(method, one + path, self.absent(what)) for path in paths]
        application.add_routes(routes)
        return application

    # -- around every request -------------------------------------------------------------------------------------------

    async def _mark(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Lab-Stand-In"] = "true"

    @web.middleware
    async def _answers(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer errors in Qdrant's form."""
        started = time.perf_counter()
        try:
            return await handler(request)
        except ApiError as error:
            status, text = error.status, str(error)
        except web.HTTPRequestEntityTooLarge:
            limit = self._settings.largest_request
            status, text = 413, f"Payload error: JSON payload is larger than allowed (limit: {limit} bytes)."
        except web.HTTPException as error:
            status, text = error.status, f"{error.reason}: {request.method} {request.path}"
        except (OSError, MemoryError) as error:
            LOG.exception("%s %s", request.method, request.path)
            status, text = 500, f"Service internal error: {error}"
        if status >= 500:
            LOG.error("%s %s: %s", request.method, request.path, text)
        return web.json_response(
            {"status": {"error": text}, "time": time.perf_counter() - started, "result": None}, status=status
        )

    @web.middleware
    async def _keys(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for a key; the one for reading may only read."""
        if not self._settings.api_key and not self._settings.read_only_key or request.path in _OPEN:
            return await handler(request)
        given = request.headers.get("api-key") or ""
        if not given:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not given:
            return web.Response(status=401, text="Must provide an API key or an Authorization bearer token")
        if _same(given, self._settings.api_key):
            return await handler(request)
        if not _same(given, self._settings.read_only_key):
            return web.Response(status=401, text="Invalid API key or JWT")
        if not _reads(request):
            return web.json_response(
                {"status": {"error": "Forbidden: Global manage access is required"}, "time": 0.0, "result": None},
                status=403,
            )
        return await handler(request)

    async def _do(self, action: Callable[[], Result]) -> web.Response:
        """Do something in a thread of its own, and answer with what it returns."""
        started = time.perf_counter()
        result = await asyncio.to_thread(action)
        return web.json_response({"result": result, "status": "ok", "time": time.perf_counter() - started})

    @staticmethod
    async def _body(request: web.Request) -> Json:
        text = await request.read()
        try:
            return convert.mapping(json.loads(text or b"{}"), "the body")
        except ValueError as error:
            raise BadRequestError(f"Format error in JSON body: {error}") from None

    def _collection(self, request: web.Request) -> Collection:
        return self._store.get(request.match_info["name"])

    def absent(self, what: str) -> Handler:
        """Return what answers for a feature that is not here."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            raise NotHereError(what)

        return answer

    # -- the server -----------------------------------------------------------------------------------------------------

    async def root(self, _request: web.Request) -> web.StreamResponse:
        """Say who this is."""
        return web.json_response({"title": "qdrant - vector search engine", "version": VERSION})

    async def alive(self, request: web.Request) -> web.StreamResponse:
        """Answer a probe. The server listens only after all collections were loaded."""
        return web.Response(
            text="all shards are ready" if request.path == "/readyz" else f"{request.path[1:]} check passed"
        )

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer Prometheus."""

        def collect() -> list[tuple[str, int]]:
            return [(one.name, one.ask(lambda shard: shard.count(edge.CountRequest()))) for one in self._store.all()]

        found = await asyncio.to_thread(collect)
        lines = [
            "# HELP app_info information about qdrant server",
            "# TYPE app_info gauge",
            f'app_info{{name="qdrant",version="{VERSION}"}} 1',
            "# HELP cluster_enabled is cluster support enabled",
            "# TYPE cluster_enabled gauge",
            "cluster_enabled 0",
            "# HELP collections_total number of collections",
            "# TYPE collections_total gauge",
            f"collections_total {len(found)}",
            "# HELP collection_points approximate amount of points per collection",
            "# TYPE collection_points gauge",
            *(f'collection_points{{id="{_label(name)}"}} {count}' for name, count in found),
        ]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def no_cluster(self, _request: web.Request) -> web.StreamResponse:
        """Say that this is no cluster, as Qdrant does when it is none."""
        return await self._do(lambda: {"status": "disabled"})

    async def no_full_snapshots(self, _request: web.Request) -> web.StreamResponse:
        """List the snapshots of everything at once: there are never any."""
        empty: list[Json] = []
        return await self._do(lambda: empty)

    # -- collections ----------------------------------------------------------------------------------------------------

    async def collections(self, _request: web.Request) -> web.StreamResponse:
        """List the collections."""
        return await self._do(lambda: {"collections": [{"name": one.name} for one in self._store.all()]})

    async def exists(self, request: web.Request) -> web.StreamResponse:
        """Say whether a collection exists."""
        return await self._do(lambda: {"exists": self._store.exists(request.match_info["name"])})

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a collection."""
        body = await self._body(request)

        def action() -> bool:
            self._store.create(request.match_info["name"], body)
            return True

        return await self._do(action)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change the options of a collection."""
        body = await self._body(request)
        collection = self._collection(request)
        options = {key: body[key] for key in OPTIONS if body.get(key) is not None and not key.endswith("vectors")}
        options |= convert.mapping(body.get("params") or {}, "params")

        def action() -> bool:
            collection.change(options)
            return True

        return await self._do(action)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete a collection."""
        return await self._do(lambda: self._store.delete(request.match_info["name"]))

    async def info(self, request: web.Request) -> web.StreamResponse:
        """Describe a collection."""
        collection = self._collection(request)
        return await self._do(lambda: describe(collection))

    async def shards(self, request: web.Request) -> web.StreamResponse:
        """Say where the shards of a collection are: its only one is here."""
        collection = self._collection(request)

        def action() -> Json:
            count = collection.ask(lambda shard: shard.count(edge.CountRequest()))
            shard = {"shard_id": 0, "points_count": count, "state": "Active"}
            return {"peer_id": 0, "shard_count": 1, "local_shards": [shard], "remote_shards": [], "shard_transfers": []}

        return await self._do(action)

    async def aliases(self, request: web.Request) -> web.StreamResponse:
        """List the aliases of a collection, or all."""
        name = request.match_info.get("name")
        if name is not None:
            name = self._store.get(name).name
        found = [
            {"alias_name": alias, "collection_name": collection}
            for alias, collection in sorted(self._store.aliases.items())
            if name in (None, collection)
        ]
        return await self._do(lambda: {"aliases": found})

    async def change_aliases(self, request: web.Request) -> web.StreamResponse:
        """Make, rename and delete aliases."""
        body = await self._body(request)
        actions = [convert.mapping(one, "actions") for one in convert.items(body.get("actions"), "actions")]

        def action() -> bool:
            self._store.change_aliases(actions)
            return True

        return await self._do(action)

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Make an index over a field of the payload."""
        body = await self._body(request)
        collection = self._collection(request)
        field = str(body.get("field_name"))
        schema = body.get("field_schema", body.get("field_type"))
        return await self._do(lambda: _done(request, collection.index(field, schema)))

    async def drop_index(self, request: web.Request) -> web.StreamResponse:
        """Remove it."""
        collection = self._collection(request)
        return await self._do(lambda: _done(request, collection.drop_index(request.match_info["field"])))

    # -- changes of points ----------------------------------------------------------------------------------------------

    def update(self, kind: str) -> Handler:
        """Return what answers for a change of that kind."""

        async def answer(request: web.Request) -> web.StreamResponse:
            body = await self._body(request)
            collection = self._collection(request)
            return await self._do(lambda: _done(request, _apply(collection, kind, body)))

        return answer

    async def batch(self, request: web.Request) -> web.StreamResponse:
        """Do several changes, one after the other."""
        body = await self._body(request)
        collection = self._collection(request)
        operations = [convert.mapping(one, "operations") for one in convert.items(body.get("operations"), "operations")]

        def action() -> list[Json]:
            done = []
            for operation in operations:
                kind, data = next(iter(operation.items()), ("", None))
                # A deletion is just a list here, or an object with a filter.
                done.append(_done(request, _apply(collection, kind, convert.mapping(data, kind))))
            return done

        return await self._do(action)

    # -- reading --------------------------------------------------------------------------------------------------------

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Return points by their ids."""
        body = await self._body(request)
        collection = self._collection(request)
        ids = convert.ids_of(body.get("ids"), "ids")
        payload = convert.selected_payload(body.get("with_payload"), True)
        vectors = convert.selected_vectors(body.get("with_vector", body.get("with_vectors")))
        return await self._do(lambda: _records(collection.ask(lambda shard: shard.retrieve(ids, payload, vectors))))

    async def point(self, request: web.Request) -> web.StreamResponse:
        """Return one point by its id."""
        collection = self._collection(request)
        text = request.match_info["id"]
        identity = convert.id_of(int(text) if text.isascii() and text.isdigit() else text)

        def action() -> Json:
            found = collection.ask(lambda shard: shard.retrieve([identity], True, True))
            if not found:
                raise NotFoundError(f"Not found: Point with id {text} does not exists!")
            return convert.record_to_json(found[0])

        return await self._do(action)

    async def scroll(self, request: web.Request) -> web.StreamResponse:
        """Return points page by page."""
        body = await self._body(request)
        collection = self._collection(request)
        limit = convert.number(body.get("limit"), "limit", 10)
        if limit < 1:
            raise BadRequestError("Validation error in JSON body: limit is 0, must be 1 or larger")
        given: Json = {
            "offset": None if body.get("offset") is None else convert.id_of(body["offset"]),
            "limit": limit,
            "filter": convert.filter_of(body.get("filter")),
            "with_payload": convert.selected_payload(body.get("with_payload"), True),
            "with_vector": convert.selected_vectors(body.get("with_vector")),
        }
        if body.get("order_by") is not None:
            given["order_by"] = convert.order_of(body["order_by"])

        def action() -> Json:
            wanted = engine(lambda: edge.ScrollRequest(**given))
            found, following = collection.ask(lambda shard: shard.scroll(wanted))
            return {
                "points": _records(found),
                "next_page_offset": None if following is None else convert.id_to_json(following),
            }

        return await self._do(action)

    async def count(self, request: web.Request) -> web.StreamResponse:
        """Count points."""
        body = await self._body(request)
        collection = self._collection(request)
        wanted = edge.CountRequest(exact=True, filter=convert.filter_of(body.get("filter")))
        return await self._do(lambda: {"count": collection.ask(lambda shard: shard.count(wanted))})

    async def facet(self, request: web.Request) -> web.StreamResponse:
        """Count the values of a field."""
        body = await self._body(request)
        collection = self._collection(request)
        wanted = edge.FacetRequest(
            key=str(body.get("key")),
            limit=convert.number(body.get("limit"), "limit", 10),
            exact=bool(body.get("exact")),
            filter=convert.filter_of(body.get("filter")),
        )

        def action() -> Json:
            found = collection.ask(lambda shard: shard.facet(wanted))
            return {"hits": [{"value": hit.value, "count": hit.count} for hit in found.hits]}

        return await self._do(action)

    async def query(self, request: web.Request) -> web.StreamResponse:
        """Search."""
        body = await self._body(request)
        collection = self._collection(request)
        return await self._do(lambda: {"points": _query(collection, body)})

    async def query_batch(self, request: web.Request) -> web.StreamResponse:
        """Do several searches."""
        body = await self._body(request)
        collection = self._collection(request)
        searches = [convert.mapping(one, "searches") for one in convert.items(body.get("searches"), "searches")]
        return await self._do(lambda: [{"points": _query(collection, one)} for one in searches])

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Search, asked in the old form."""
        body = await self._body(request)
        collection = self._collection(request)
        return await self._do(lambda: _query(collection, convert.search_to_query(body)))

    async def search_batch(self, request: web.Request) -> web.StreamResponse:
        """Do several of them."""
        body = await self._body(request)
        collection = self._collection(request)
        searches = [convert.mapping(one, "searches") for one in convert.items(body.get("searches"), "searches")]
        return await self._do(lambda: [_query(collection, convert.search_to_query(one)) for one in searches])

    # -- snapshots ------------------------------------------------------------------------------------------------------

    async def snapshots(self, request: web.Request) -> web.StreamResponse:
        """List the snapshots of a collection."""
        return await self._do(lambda: self._store.snapshots(request.match_info["name"]))

    async def take_snapshot(self, request: web.Request) -> web.StreamResponse:
        """Make one."""
        return await self._do(lambda: self._store.take_snapshot(request.match_info["name"]))

    async def snapshot(self, request: web.Request) -> web.StreamResponse:
        """Hand one out."""
        path = await asyncio.to_thread(self._store.snapshot, request.match_info["name"], request.match_info["file"])
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    async def delete_snapshot(self, request: web.Request) -> web.StreamResponse:
        """Delete one."""

        def action() -> bool:
            self._store.delete_snapshot(request.match_info["name"], request.match_info["file"])
            return True

        return await self._do(action)

    async def upload_snapshot(self, request: web.Request) -> web.StreamResponse:
        """Take one in, and give the collection its content."""
        if not request.content_type.startswith("multipart/"):
            raise BadRequestError("Wrong input: a snapshot is uploaded as multipart/form-data")
        path = self._store.upload_path()
        try:
            async for part in await request.multipart():
                if getattr(part, "name", None) != "snapshot":
                    continue
                with path.open("wb") as target:
                    while chunk := await part.read_chunk(1 << 20):  # type: ignore[union-attr]
                        await asyncio.to_thread(target.write, chunk)
            if not path.exists():
                raise BadRequestError("Wrong input: the form has no part called snapshot")

            def action() -> bool:
                self._store.recover(request.match_info["name"], path, request.query.get("checksum"))
                return True

            return await self._do(action)
        finally:
            path.unlink(missing_ok=True)

    async def recover_snapshot(self, request: web.Request) -> web.StreamResponse:
        """Give the collection the content of a snapshot that is here."""
        body = await self._body(request)

        def action() -> bool:
            location, checksum = str(body.get("location")), body.get("checksum")
            self._store.recover_from(request.match_info["name"], location, checksum)
            return True

        return await self._do(action)


def describe(collection: Collection) -> Json:
    """Return what there is to say about a collection."""
    found = collection.ask(lambda shard: shard.info())
    options = collection.config["options"]
    points = {str(name): data.points for name, data in found.payload_schema.items()}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": found.points_count,
        "indexed_vectors_count": found.indexed_vectors_count,
        "segments_count": found.segments_count,
        "config": {
            "params": {
                "vectors": options["vectors"],
                "shard_number": 1,
                "replication_factor": options.get("replication_factor", 1),
                "write_consistency_factor": options.get("write_consistency_factor", 1),
                "on_disk_payload": options.get("on_disk_payload", True),
                **({"sparse_vectors": options["sparse_vectors"]} if "sparse_vectors" in options else {}),
            },
            "hnsw_config": {
                "m": 16,
                "ef_construct": 100,
                "full_scan_threshold": 10000,
                "max_indexing_threads": 0,
                "on_disk": False,
                **options.get("hnsw_config", {}),
            },
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
                **options.get("optimizers_config", {}),
            },
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, **options.get("wal_config", {})},
            "quantization_config": options.get("quantization_config"),
            **{key: options[key] for key in ("strict_mode_config", "metadata") if key in options},
        },
        "payload_schema": {
            field: {key: value for key, value in {**data, "points": points.get(field, 0)}.items() if value is not None}
            for field, data in collection.config["indexes"].items()
        },
    }


def _query(collection: Collection, body: Json) -> list[Json]:
    request = engine(lambda: convert.Queries(collection.vector_of).request(body))
    return [convert.scored_to_json(point) for point in collection.ask(lambda shard: shard.query(request))]


def _records(found: Iterable[Any]) -> list[Json]:
    return [convert.record_to_json(record) for record in found]


def _apply(collection: Collection, kind: str, body: Json) -> int:
    """Do one change of points."""
    if body.get("shard_key") is not None:
        raise NotHereError("shard keys")
    operations = edge.UpdateOperation
    condition = convert.filter_of(body.get("update_filter"))
    if kind == "upsert":
        points = engine(lambda: convert.points_of(body))
        mode = convert.mode_of(body.get("update_mode"))
        return collection.update(engine(lambda: operations.upsert_points(points, condition, mode)))
    if kind == "update_vectors":
        vectors = engine(lambda: convert.point_vectors_of(body))
        return collection.update(engine(lambda: operations.update_vectors(vectors, condition)))
    if kind not in ("delete", "delete_vectors", "set_payload", "overwrite_payload", "delete_payload", "clear_payload"):
        raise BadRequestError(f"Format error in JSON body: no operation is called {kind!r}")
    ids = None if body.get("points") is None else convert.ids_of(body["points"])
    chosen = convert.filter_of(body.get("filter"))
    if ids is None and chosen is None:
        raise BadRequestError("Wrong input: Either list of point ids or filter must be provided")
    target = ids if ids is not None else chosen
    make = {"delete": "delete_points"}.get(kind, kind) + ("" if ids is not None else "_by_filter")
    given: list[Any] = []
    if kind == "delete_vectors":
        given = [convert.items(body.get("vector"), "vector")]
    elif kind in ("set_payload", "overwrite_payload"):
        given = [convert.mapping(body.get("payload"), "payload"), body.get("key")]
    elif kind == "delete_payload":
        given = [convert.items(body.get("keys"), "keys")]
    return collection.update(engine(lambda: getattr(operations, make)(target, *given)))


def _done(request: web.Request, number: int) -> Json:
    return {"operation_id": number, "status": "completed" if request.query.get("wait") == "true" else "acknowledged"}


def _reads(request: web.Request) -> bool:
    if request.method in ("GET", "HEAD"):
        return True
    resource = request.match_info.route.resource
    path = resource.canonical.removeprefix("/collections/{name}") if resource is not None else ""
    return request.method == "POST" and path in _READING


def _same(given: str, key: str) -> bool:
    return bool(key) and hmac.compare_digest(given.encode(), key.encode())


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
