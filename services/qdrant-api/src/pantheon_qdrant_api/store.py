# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections on disk, each with an engine of its own; aliases; snapshots.

    STORAGE/collections/NAME/config.json    what the collection was made with, and which folder holds its points
    STORAGE/collections/NAME/points-ID/     the engine's files
    STORAGE/aliases.json
    STORAGE/tmp/                            half-done work, thrown away at a start
    SNAPSHOTS/NAME/FILE.snapshot            a tar of the two, with FILE.snapshot.checksum beside it

A collection appears, changes to a snapshot's content and vanishes by one rename each.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import tarfile
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import qdrant_edge as edge

from .convert import Json, config_of, id_to_json, index_of
from .errors import ApiError, BadRequestError, ConflictError, NotFoundError

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

CONFIG = "config.json"
#: First file of a snapshot of ours; those of Qdrant lack it.
MARK = "pantheon-snapshot.json"
FORMAT = 1

_FORBIDDEN = set('<>:"/\\|?*') | {chr(code) for code in range(32)}

#: What a collection can be made with. Everything is kept and shown; README.md says what of it has an effect here.
OPTIONS = (
    "vectors",
    "sparse_vectors",
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
    "hnsw_config",
    "optimizers_config",
    "wal_config",
    "quantization_config",
    "strict_mode_config",
    "metadata",
)


def engine(action: Callable[[], Result]) -> Result:
    """Do something with the engine; what it says is wrong with a request becomes an answer.

    Raises:
        ApiError: The engine refused.
    """
    try:
        return action()
    except (ApiError, OSError, MemoryError):
        raise
    except Exception as error:  # the engine has no types of its own for errors
        text = str(error)
        if text.startswith("Service"):
            raise ApiError(f"Service internal error: {text}") from error
        raise BadRequestError(f"Wrong input: {text}") from error


class Collection:
    """A collection that is open. Each method takes its lock: the engine is used by one request at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        """Open a collection.

        Args:
            name: its name.
            folder: where it lies.

        Raises:
            ApiError: It cannot be loaded.
        """
        self.name = name
        self.folder = folder
        self._lock = threading.RLock()
        self._operations = 0
        self._dirty = False
        self.config: Json = {}
        self._shard: Any = None
        self._open()

    def _open(self) -> None:
        try:
            self.config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
            self._shard = edge.EdgeShard.load(str(self.folder / self.config["points"]))
        except Exception as error:
            raise ApiError(f"The collection {self.name} cannot be loaded from {self.folder}: {error}") from error

    @contextlib.contextmanager
    def using(self) -> Iterator[Any]:
        """Give the engine to one request.

        Raises:
            NotFoundError: The collection was deleted meanwhile.
        """
        with self._lock:
            if self._shard is None:
                raise missing(self.name)
            yield self._shard

    def update(self, operation: Any) -> int:
        """Do one change. When this returns, it survives the end of the process.

        Returns:
            The number of the change.
        """
        with self.using() as shard:
            engine(lambda: shard.update(operation))
            self._dirty = True
            self._operations += 1
            return self._operations

    def ask(self, question: Callable[[Any], Result]) -> Result:
        """Ask the engine something."""
        with self.using() as shard:
            return engine(lambda: question(shard))

    def vector_of(self, point: Any, using: str) -> Any:
        """Return the vector of a point.

        Raises:
            NotFoundError: There is no such point, or it has no such vector.
        """
        found = self.ask(lambda shard: shard.retrieve([point], False, True))
        if not found:
            raise NotFoundError(f"Not found: No point with id {id_to_json(point)} found")
        vector = found[0].vector
        if isinstance(vector, dict):
            vector = vector.get(using)
        elif using:
            vector = None
        if vector is None:
            raise BadRequestError(f"Wrong input: the point {id_to_json(point)} has no vector {using!r}")
        return vector

    def index(self, field: str, schema: Any) -> int:
        """Make an index over a field of the payload."""
        kind, parameters = index_of(schema)
        with self.using():
            number = self.update(engine(lambda: edge.UpdateOperation.create_field_index(field, parameters)))
            shown = {"type": schema} if isinstance(schema, str) else schema
            self.config["indexes"][field] = {"data_type": kind, "params": shown if len(shown) > 1 else None}
            _write(self.folder / CONFIG, self.config)
            return number

    def drop_index(self, field: str) -> int:
        """Remove the index over a field."""
        with self.using():
            number = self.update(engine(lambda: edge.UpdateOperation.delete_field_index(field)))
            self.config["indexes"].pop(field, None)
            _write(self.folder / CONFIG, self.config)
            return number

    def change(self, options: Json) -> None:
        """Change what the collection is shown to be made with."""
        with self.using():
            for name, value in options.items():
                known = self.config["options"].get(name)
                self.config["options"][name] = {**known, **value} if isinstance(known, dict) else value
            _write(self.folder / CONFIG, self.config)

    def flush(self) -> None:
        """Write what is not on disk yet."""
        with self._lock:
            if self._shard is not None and self._dirty:
                self._shard.flush()
                self._dirty = False

    def close(self) -> None:
        """Close the engine; nobody can use the collection afterwards."""
        with self._lock:
            if self._shard is not None:
                self.flush()
                self._shard.close()
                self._shard = None

    def save(self, target: BinaryIO) -> None:
        """Write a snapshot; the collection waits for that."""
        with self.using() as shard:
            self.flush()
            count = engine(lambda: shard.count(edge.CountRequest()))
            mark = {"format": FORMAT, "engine": "qdrant-edge", "collection": self.name, "points": count}
            with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
                _add(archive, MARK, mark)
                _add(archive, CONFIG, {**self.config, "points": "points"})
                archive.add(self.folder / self.config["points"], "points")

    def replace(self, unpacked: Path) -> None:
        """Take over what a snapshot held.

        Args:
            unpacked: the unpacked snapshot, which was found to be good.
        """
        with self.using() as shard:
            points = f"points-{uuid.uuid4().hex}"
            os.rename(unpacked / "points", self.folder / points)
            config = json.loads((unpacked / CONFIG).read_text(encoding="utf-8"))
            shard.close()
            self._shard = None
            before = self.config["points"]
            # From here on a restart finds the new content.
            _write(self.folder / CONFIG, {**config, "points": points})
            self._open()
            self._dirty = False
            shutil.rmtree(self.folder / before, ignore_errors=True)

    def sweep(self) -> None:
        """Remove folders that a change of content left."""
        for path in self.folder.glob("points-*"):
            if path.name != self.config["points"]:
                shutil.rmtree(path, ignore_errors=True)


class Store:
    """All collections, their aliases and snapshots."""

    def __init__(self, storage: Path, snapshots: Path) -> None:
        """Take the directories; nothing is opened.

        Args:
            storage: of the collections.
            snapshots: of the snapshots.
        """
        self._collections = storage / "collections"
        self._work = storage / "tmp"
        self._aliases_file = storage / "aliases.json"
        self._snapshots = snapshots
        self._lock = threading.RLock()
        self._open: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}

    def open(self) -> None:
        """Open all collections.

        Raises:
            ApiError: One of them cannot be loaded.
            OSError: A directory cannot be written.
        """
        shutil.rmtree(self._work, ignore_errors=True)
        for path in (self._collections, self._work, self._snapshots):
            path.mkdir(parents=True, exist_ok=True)
        if self._aliases_file.exists():
            self.aliases = json.loads(self._aliases_file.read_text(encoding="utf-8"))
        for folder in sorted(self._collections.iterdir()):
            name = urllib.parse.unquote(folder.name)
            self._open[name] = Collection(name, folder)
            self._open[name].sweep()
        LOG.info("%d collections", len(self._open))

    def close(self) -> None:
        """Close all collections."""
        with self._lock:
            for collection in self._open.values():
                collection.close()
            self._open.clear()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        for collection in self.all():
            collection.flush()

    def all(self) -> list[Collection]:
        """Return all collections, by name."""
        with self._lock:
            return [self._open[name] for name in sorted(self._open)]

    def exists(self, name: str) -> bool:
        """Say whether there is a collection or an alias of that name."""
        with self._lock:
            return name in self._open or name in self.aliases

    def get(self, name: str) -> Collection:
        """Return a collection, by its name or an alias.

        Raises:
            NotFoundError: There is none.
        """
        with self._lock:
            found = self._open.get(self.aliases.get(name, name))
        if found is None:
            raise missing(name)
        return found

    def create(self, name: str, body: Json) -> None:
        """Make a collection.

        Raises:
            BadRequestError: It cannot be made like that.
            ConflictError: There is one already.
        """
        _valid(name)
        options = {key: body[key] for key in OPTIONS if body.get(key) is not None}
        options.setdefault("vectors", {})
        if (options.get("shard_number") or 1) != 1 or options.get("sharding_method") == "custom":
            raise BadRequestError("Wrong input: the lab's stand-in has one shard a collection: leave shard_number out")
        config = engine(lambda: config_of(options))
        with self._lock:
            if self.exists(name):
                raise ConflictError(f"Wrong input: Collection `{name}` already exists!")
            work = self._work / uuid.uuid4().hex
            points = f"points-{uuid.uuid4().hex}"
            try:
                (work / points).mkdir(parents=True)
                shard = engine(lambda: edge.EdgeShard.create(str(work / points), config))
                shard.flush()
                shard.close()
                _write(work / CONFIG, {"format": FORMAT, "points": points, "options": options, "indexes": {}})
                self._place(name, work)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _place(self, name: str, work: Path) -> None:
        folder = self._collections / urllib.parse.quote(name, safe="")
        os.rename(work, folder)
        self._open[name] = Collection(name, folder)

    def delete(self, name: str) -> bool:
        """Delete a collection with its aliases and snapshots.

        Returns:
            Whether there was one.
        """
        with self._lock:
            collection = self._open.pop(self.aliases.get(name, name), None)
            if collection is None:
                return False
            left = {alias: target for alias, target in self.aliases.items() if target != collection.name}
            if left != self.aliases:
                self.aliases = left
                _write(self._aliases_file, left)
            collection.close()
            work = self._work / uuid.uuid4().hex
            os.rename(collection.folder, work)
            shutil.rmtree(self._snapshot_folder(collection.name), ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        return True

    def change_aliases(self, actions: list[Json]) -> None:
        """Make, delete and rename aliases: all of it or nothing.

        Raises:
            ApiError: One of the actions cannot be done.
        """
        with self._lock:
            aliases = dict(self.aliases)
            for action in actions:
                kind, data = next(iter(action.items()), ("", None))
                if not isinstance(data, dict):
                    raise BadRequestError("Format error in JSON body: an action is an object")
                alias = str(data.get("alias_name", data.get("old_alias_name")))
                if kind == "create_alias":
                    collection = str(data.get("collection_name"))
                    if collection not in self._open:
                        raise missing(collection)
                    if alias in self._open:
                        raise ConflictError(f"Wrong input: Collection `{alias}` already exists!")
                    aliases[_valid(alias)] = collection
                elif kind in ("delete_alias", "rename_alias"):
                    if alias not in aliases:
                        raise NotFoundError(f"Not found: Alias {alias} does not exists!")
                    collection = aliases.pop(alias)
                    if kind == "rename_alias":
                        aliases[_valid(str(data.get("new_alias_name")))] = collection
                else:
                    raise BadRequestError(f"Format error in JSON body: no action is called {kind!r}")
            _write(self._aliases_file, aliases)
            self.aliases = aliases

    # -- snapshots ------------------------------------------------------------------------------------------------------

    def _snapshot_folder(self, collection: str) -> Path:
        return self._snapshots / urllib.parse.quote(collection, safe="")

    def snapshots(self, name: str) -> list[Json]:
        """Return the snapshots of a collection."""
        folder = self._snapshot_folder(self.get(name).name)
        return [_describe(path) for path in sorted(folder.glob("*.snapshot"))]

    def snapshot(self, name: str, file: str) -> Path:
        """Return the file of a snapshot.

        Raises:
            NotFoundError: There is none.
        """
        folder = self._snapshot_folder(self.get(name).name)
        path = folder / file
        if path.parent != folder or path.suffix != ".snapshot" or not path.is_file():
            raise NotFoundError(f"Not found: Snapshot {file} not found")
        return path

    def take_snapshot(self, name: str) -> Json:
        """Make a snapshot.

        Returns:
            Its name, time, size and checksum.
        """
        collection = self.get(name)
        folder = self._snapshot_folder(collection.name)
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        # Two within a second would have one name; Qdrant's are unique by the second only.
        path = folder / f"{collection.name}-0-{now:%Y-%m-%d-%H-%M-%S}-{now.microsecond:06d}.snapshot"
        work = self._work / uuid.uuid4().hex
        try:
            with work.open("w+b") as target:
                collection.save(target)
                target.flush()
                os.fsync(target.fileno())
                target.seek(0)
                digest = hashlib.file_digest(target, "sha256").hexdigest()
            path.with_name(path.name + ".checksum").write_text(digest, encoding="ascii")
            # The folder of snapshots may be another file system than that of the collections.
            shutil.move(str(work), path)
        finally:
            work.unlink(missing_ok=True)
        return _describe(path)

    def delete_snapshot(self, name: str, file: str) -> None:
        """Delete a snapshot.

        Raises:
            NotFoundError: There is none.
        """
        path = self.snapshot(name, file)
        path.unlink()
        path.with_name(path.name + ".checksum").unlink(missing_ok=True)

    def upload_path(self) -> Path:
        """Return where the caller may write a snapshot that comes in; he removes it."""
        return self._work / f"{uuid.uuid4().hex}.upload"

    def recover(self, name: str, snapshot: Path, checksum: str | None) -> None:
        """Give a collection the content of a snapshot; it is made if it is not there.

        Args:
            name: the collection.
            snapshot: the file.
            checksum: the SHA-256 that the file has to have.

        Raises:
            BadRequestError: The file is not what it should be; the collection is as it was.
        """
        _valid(name)
        with snapshot.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        if checksum and checksum.lower() != digest:
            raise BadRequestError(f"Wrong input: Snapshot checksum mismatch: expected {checksum}, got {digest}")
        work = self._work / uuid.uuid4().hex
        work.mkdir()
        try:
            self._unpack(snapshot, work)
            with self._lock:
                name = self.aliases.get(name, name)
                if name in self._open:
                    self._open[name].replace(work)
                else:
                    config = json.loads((work / CONFIG).read_text(encoding="utf-8"))
                    points = f"points-{uuid.uuid4().hex}"
                    os.rename(work / "points", work / points)
                    _write(work / CONFIG, {**config, "points": points})
                    (work / MARK).unlink()
                    self._place(name, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def recover_from(self, name: str, location: str, checksum: str | None) -> None:
        """Do the same from a file below the directory of snapshots."""
        parts = urllib.parse.urlsplit(location)
        if parts.scheme not in ("", "file"):
            raise BadRequestError("Wrong input: the lab's stand-in recovers from file:// only: upload the snapshot")
        path = Path(urllib.parse.unquote(parts.path)).resolve()
        if not path.is_relative_to(self._snapshots.resolve()) or not path.is_file():
            raise BadRequestError(f"Wrong input: {path} is no file below {self._snapshots}")
        self.recover(name, path, checksum)

    @staticmethod
    def _unpack(snapshot: Path, work: Path) -> None:
        """Unpack a snapshot and open it, so that a bad one is found before anything is replaced."""
        try:
            with tarfile.open(snapshot, mode="r:*") as archive:
                first = archive.next()
                if first is None or first.name != MARK:
                    raise BadRequestError(
                        "Wrong input: this is no snapshot of the lab's stand-in, which cannot read those of Qdrant"
                    )
                archive.extractall(work, filter="data")
            mark = json.loads((work / MARK).read_text(encoding="utf-8"))
            if mark["format"] != FORMAT:
                raise BadRequestError(f"Wrong input: the snapshot has the format {mark['format']}, not {FORMAT}")
            shard = edge.EdgeShard.load(str(work / "points"))
            try:
                count = shard.count(edge.CountRequest())
            finally:
                shard.close()
            if count != mark["points"]:
                raise BadRequestError(
                    f"Wrong input: the snapshot should hold {mark['points']} points and holds {count}"
                )
        except (ApiError, MemoryError):
            raise
        except Exception as error:  # a damaged file can fail anywhere in the engine
            raise BadRequestError(f"Wrong input: the snapshot is damaged: {error}") from error


def missing(name: str) -> NotFoundError:
    """Return the error for a collection that is not there."""
    return NotFoundError(f"Not found: Collection `{name}` doesn't exist!")


def _valid(name: str) -> str:
    if not 0 < len(name) <= 255 or name in (".", "..") or set(name) & _FORBIDDEN:
        raise BadRequestError(f"Wrong input: {name!r} cannot be the name of a collection or an alias")
    return name


def _describe(path: Path) -> Json:
    sums = path.with_name(path.name + ".checksum")
    status = path.stat()
    made = datetime.fromtimestamp(status.st_mtime, UTC)
    return {
        "name": path.name,
        "creation_time": f"{made:%Y-%m-%dT%H:%M:%S}",
        "size": status.st_size,
        "checksum": sums.read_text(encoding="ascii") if sums.exists() else None,
    }


def _add(archive: tarfile.TarFile, name: str, data: Json) -> None:
    text = json.dumps(data, sort_keys=True).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    archive.addfile(entry, io.BytesIO(text))


def _write(path: Path, data: Json) -> None:
    """Write a file whole or not at all."""
    work = path.with_name(f".{path.name}.new")
    with work.open("w", encoding="utf-8") as target:
        json.dump(data, target, sort_keys=True)
        target.flush()
        os.fsync(target.fileno())
    os.replace(work, path)
