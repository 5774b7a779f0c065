# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd through the JSON gateway of its v3 API."""

from __future__ import annotations

import base64
import binascii
import json
import ssl
from collections.abc import Sequence
from typing import Any

from .patroni import Entry
from .web import FAILURES, Client

Json = dict[str, Any]


class EtcdError(Exception):
    """etcd did not answer, or refused."""


def encode(text: str) -> str:
    """Keys and values travel in base64."""
    return base64.b64encode(text.encode()).decode("ascii")


def decode(text: object) -> str:
    """The opposite; what is not text has replacement characters in it, and then means nothing to anybody."""
    if not isinstance(text, str):
        raise TypeError("not base64")
    return base64.b64decode(text, validate=True).decode(errors="replace")


def whole(value: object) -> int:
    """A number; etcd writes 64-bit ones as text, and leaves zeros out."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("not a number")
    return int(value)


def range_of(key: str, prefix: bool = False) -> Json:
    """The request for a key, or for all that begin with it."""
    found = {"key": encode(key)}
    if prefix:
        end = key.encode()
        found["range_end"] = base64.b64encode(end[:-1] + bytes([end[-1] + 1])).decode("ascii")
    return {"request_range": found}


def put(key: str, value: str, lease: int = 0) -> Json:
    """The request that writes a key."""
    return {"request_put": {"key": encode(key), "value": encode(value), "lease": str(lease)}}


def delete(key: str) -> Json:
    """The request that removes a key."""
    return {"request_delete_range": {"key": encode(key)}}


def if_created(key: str, revision: int) -> Json:
    """The key was made at this revision; 0: it is not there."""
    return {"key": encode(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def if_modified(key: str, revision: int) -> Json:
    """The key was last written at this revision."""
    return {"key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def if_value(key: str, value: str) -> Json:
    """The key holds this value."""
    return {"key": encode(key), "target": "VALUE", "result": "EQUAL", "value": encode(value)}


class Etcd:
    """The cluster: one member after the other is asked until one answers, and that one is asked first the next time."""

    def __init__(self, endpoints: Sequence[str], context: ssl.SSLContext | None, timeout: float) -> None:
        self._clients = [Client(url, context) for url in endpoints]
        self._timeout = timeout
        self._first = 0

    @property
    def endpoint(self) -> str:
        """The member that answers."""
        return self._clients[self._first].url

    def call(self, path: str, body: Json) -> Json:
        """One request, to one member. The next request goes to another one if this member does not answer."""
        client = self._clients[self._first]
        try:
            status, content = client.request("POST", path, json.dumps(body).encode(), self._timeout)
            answer = json.loads(content)
            if status != 200 or not isinstance(answer, dict):
                raise ValueError(f"status {status}")
        except (*FAILURES, RecursionError) as error:
            client.close()
            self._first = (self._first + 1) % len(self._clients)
            raise EtcdError(f"{client.url}: {error}") from error
        return answer

    def transaction(self, compare: Sequence[Json], success: Sequence[Json]) -> tuple[bool, Json]:
        """All of the requests if all comparisons hold, else none."""
        answer = self.call("/v3/kv/txn", {"compare": list(compare), "success": list(success)})
        return answer.get("succeeded") is True, answer

    def read(self, requests: Sequence[Json]) -> dict[str, Entry]:
        """Several ranges as they are at one moment, agreed on by a majority of etcd's members."""
        _, answer = self.transaction((), requests)
        try:
            found = {}
            for response in answer.get("responses") or []:
                for entry in response["response_range"].get("kvs") or []:
                    key, value = decode(entry.get("key")), decode(entry.get("value", ""))
                    found[key] = Entry(key, value, whole(entry["create_revision"]), whole(entry["mod_revision"]))
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
            raise EtcdError(f"{self.endpoint}: an answer that cannot be understood") from error
        return found

    def grant(self, seconds: int) -> int:
        """A lease; what is written under it goes when it ends."""
        answer = self.call("/v3/lease/grant", {"TTL": str(seconds), "ID": "0"})
        try:
            return whole(answer["ID"])
        except (ValueError, TypeError, KeyError) as error:
            raise EtcdError(f"{self.endpoint}: no lease") from error

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self.call("/v3/lease/revoke", {"ID": str(lease)})
