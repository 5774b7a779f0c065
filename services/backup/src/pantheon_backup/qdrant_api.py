# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to Qdrant on the loopback device; a program of its own, so that it can be started in the network of a container.

    python3 -m pantheon_backup.qdrant_api wait|version|count|export|import

The key and the port come from the environment (QDRANT_KEY, QDRANT_PORT). `count` writes JSON, `export` a tar with a
snapshot of each collection; `import` reads such a tar.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import sys
import tarfile
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import IO, Any

Json = dict[str, Any]

#: Above so many points the content is not summed up: each of them would have to be read.
MOST_SUMMED = 100_000
PAGE = 256
BLOCK = 1 << 20
#: Points that a search has to find again.
NEIGHBOURS = 5
#: A snapshot of a large collection takes minutes before the first byte.
TIMEOUT = 3600.0

ALIASES = "aliases.json"
FOLDER = "collections/"


class QdrantError(Exception):
    """Qdrant, or what came back from it, is not as it should be: one sentence."""


class Api:
    """Qdrant's REST API."""

    def __init__(self, port: int, key: str, host: str = "127.0.0.1") -> None:
        self._address, self._key = (host, port), key

    def ask(self, method: str, path: str, body: Json | None = None, timeout: float = TIMEOUT) -> Any:
        """Return the result of a request."""
        content = None if body is None else json.dumps(body).encode()
        connection, answer = self._send(method, path, content, {"Content-Type": "application/json"}, timeout)
        try:
            return self._result(answer, method, path)
        finally:
            connection.close()

    def collections(self) -> list[str]:
        """Return the names of all collections."""
        return sorted(str(one["name"]) for one in self.ask("GET", "/collections")["collections"])

    def points(self, collection: str) -> Iterator[Json]:
        """Return all points of a collection with everything in them."""
        offset = None
        while True:
            body = {"limit": PAGE, "offset": offset, "with_payload": True, "with_vector": True}
            page = self.ask("POST", f"{_path(collection)}/points/scroll", body)
            yield from page["points"]
            offset = page.get("next_page_offset")
            if offset is None:
                return

    def download(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Return an answer to be read, and the connection to be closed afterwards."""
        connection, answer = self._send("GET", path, None, {}, TIMEOUT)
        if answer.status != 200:
            try:
                self._result(answer, "GET", path)
            finally:
                connection.close()
        return connection, answer

    def upload(self, collection: str, content: IO[bytes], size: int, checksum: str) -> None:
        """Give a collection the content of a snapshot; Qdrant compares the checksum before it touches anything."""
        border = uuid.uuid4().hex
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="snapshot"; filename="restored.snapshot"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{border}--\r\n".encode()
        path = f"{_path(collection)}/snapshots/upload?wait=true&priority=snapshot&checksum={checksum}"
        headers = {
            "Content-Type": f"multipart/form-data; boundary={border}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        connection, answer = self._send("POST", path, _parts(head, content, tail), headers, TIMEOUT)
        try:
            self._result(answer, "POST", path)
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(*self._address, timeout=timeout)
        key = {"api-key": self._key} if self._key else {}
        try:
            connection.request(method, path, body=body, headers={**headers, **key})
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise QdrantError(f"Qdrant does not answer at {method} {path}: {error or type(error).__name__}") from error

    @staticmethod
    def _result(answer: http.client.HTTPResponse, method: str, path: str) -> Any:
        try:
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise QdrantError(f"Qdrant broke off its answer to {method} {path}: {error}") from error
        try:
            data = json.loads(text)
        except ValueError:
            data = {"status": {"error": text[:200].decode("utf-8", "replace")}}
        if answer.status != 200:
            status = data.get("status") if isinstance(data, dict) else None
            said = status.get("error") if isinstance(status, dict) else text[:200].decode("utf-8", "replace")
            raise QdrantError(f"Qdrant answers {answer.status} to {method} {path}: {said}")
        return data["result"] if isinstance(data, dict) and "result" in data else data


def _path(collection: str) -> str:
    return f"/collections/{urllib.parse.quote(collection, safe='')}"


def _parts(head: bytes, content: IO[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    while block := content.read(BLOCK):
        yield block
    yield tail


# -- what is in it ------------------------------------------------------------------------------------------------------


def count(api: Api) -> Json:
    """Return what each collection holds: number of points, digest of their content, and what a search finds."""
    names = api.collections()
    counts: Json = {"collections": ", ".join(names)}
    for name in names:
        points = int(api.ask("POST", f"{_path(name)}/points/count", {"exact": True})["count"])
        counts[f"{name}: points"] = points
        if points <= MOST_SUMMED:
            counts[f"{name}: content"] = digest(api.points(name))
        known = known_vector(api.ask("GET", _path(name))["config"]["params"].get("vectors") or {})
        if known:
            counts[f"{name}: nearest"] = nearest(api, name, known)
    return counts


def digest(points: Iterator[Json]) -> str:
    """Return a digest of points that does not depend on their order: the sum of the digests of each."""
    total = 0
    for point in points:
        kept = {key: point.get(key) for key in ("id", "payload", "vector")}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        total += int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")
    return f"{total % (1 << 256):064x}"[:32]


def known_vector(vectors: Mapping[str, Any]) -> Json | None:
    """Return a vector to search with, the same for each copy of a collection: numbers that are nobody's.

    *vectors* is what the collection is made with; None where it has no vector of a fixed length.
    """
    named = [("", vectors)] if "size" in vectors else sorted(vectors.items())
    for name, one in named:
        if not one.get("multivector_config"):
            # Whole numbers that are not negative: every type of vector can hold them.
            numbers = [(place * 37 + 11) % 101 for place in range(int(one["size"]))]
            return {"query": numbers, **({"using": name} if name else {})}
    return None


def nearest(api: Api, collection: str, known: Mapping[str, Any]) -> str:
    """Return what is nearest to a vector, looked for among all points.

    Points at the same distance come in any order, and at the end any of them may be missing: these are left out.
    """
    body = {**known, "limit": NEIGHBOURS + 1, "params": {"exact": True}, "with_payload": False}
    found = [
        (round(float(point["score"]), 4), str(point["id"]))
        for point in api.ask("POST", f"{_path(collection)}/points/query", body)["points"]
    ]
    if len(found) > NEIGHBOURS:
        edge = found[-1][0]
        found = [one for one in found if one[0] != edge]
    return ", ".join(
        f"{identity} at {score:.4f}" for score, identity in sorted(found, key=lambda one: (-one[0], one[1]))
    )


# -- backup and restore -------------------------------------------------------------------------------------------------


class _Hashed(io.RawIOBase):
    """The content of a snapshot while it is read, with its digest."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        block: bytes = self._source.read(size)
        self.sum.update(block)
        return block


def export(api: Api, target: IO[bytes]) -> None:
    """Write a tar with a snapshot of each collection, one after the other; none of them stays in Qdrant."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        names = api.collections()
        aliases = json.dumps(api.ask("GET", "/aliases")["aliases"], sort_keys=True).encode()
        entry = tarfile.TarInfo(ALIASES)
        entry.size = len(aliases)
        archive.addfile(entry, io.BytesIO(aliases))
        for name in names:
            made = api.ask("POST", f"{_path(name)}/snapshots?wait=true")
            place = f"{_path(name)}/snapshots/{urllib.parse.quote(str(made['name']), safe='')}"
            try:
                _export(api, archive, name, made, place)
            finally:
                api.ask("DELETE", f"{place}?wait=true")


def _export(api: Api, archive: tarfile.TarFile, name: str, made: Json, place: str) -> None:
    if not made.get("checksum"):
        raise QdrantError(f"Qdrant gave no checksum for the snapshot of {name}; it needs version 1.8 or later.")
    connection, answer = api.download(place)
    try:
        content = _Hashed(answer)
        entry = tarfile.TarInfo(FOLDER + urllib.parse.quote(name, safe=""))
        entry.size = int(made["size"])
        # Whoever loads it needs to know before he has read it.
        entry.pax_headers = {"PANTHEON.sha256": str(made["checksum"])}
        archive.addfile(entry, content)
        rest = content.read(1)
    except (OSError, http.client.HTTPException) as error:
        raise QdrantError(f"The snapshot of {name} broke off: {error}") from error
    finally:
        connection.close()
    if rest or content.sum.hexdigest() != made["checksum"]:
        raise QdrantError(f"The snapshot of {name} is not what Qdrant says it is: its checksum differs.")


def load(api: Api, source: IO[bytes]) -> None:
    """Read such a tar, and give Qdrant these collections and aliases."""
    aliases: list[Json] = []
    with tarfile.open(fileobj=source, mode="r|") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None:
                raise QdrantError(f"The backup holds {entry.name}, which is no file.")
            if entry.name == ALIASES:
                aliases = json.loads(content.read())
            elif entry.name.startswith(FOLDER):
                name = urllib.parse.unquote(entry.name.removeprefix(FOLDER))
                api.upload(name, content, entry.size, str(entry.pax_headers.get("PANTHEON.sha256", "")))
            else:
                raise QdrantError(f"The backup holds {entry.name}, which nobody put there.")
    actions = [{"create_alias": {key: one[key] for key in ("collection_name", "alias_name")}} for one in aliases]
    if actions:
        api.ask("POST", "/collections/aliases", {"actions": actions})


def wait(api: Api, seconds: float) -> None:
    """Wait until Qdrant is ready and takes the key."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            api.ask("GET", "/collections", timeout=5.0)
            return
        except QdrantError as error:
            if time.monotonic() >= deadline:
                raise QdrantError(f"Qdrant is not ready after {seconds:.0f} seconds. {error}") from error
            time.sleep(0.25)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    command = (sys.argv[1:] if argv is None else argv)[:1]
    api = Api(int(os.environ.get("QDRANT_PORT") or 6333), os.environ.get("QDRANT_KEY", ""))
    try:
        if command == ["wait"]:
            wait(api, float(os.environ.get("QDRANT_WAIT") or 60))
        elif command == ["version"]:
            print(api.ask("GET", "/")["version"])
        elif command == ["count"]:
            json.dump(count(api), sys.stdout)
        elif command == ["export"]:
            export(api, sys.stdout.buffer)
            sys.stdout.flush()
        elif command == ["import"]:
            load(api, sys.stdin.buffer)
        else:
            print("usage: python3 -m pantheon_backup.qdrant_api wait|version|count|export|import", file=sys.stderr)
            return 2
    except (QdrantError, tarfile.TarError, OSError, ValueError, KeyError) as error:
        print(f"{error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
