# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An etcd gateway and Patroni REST servers in this process, over TLS with client certificates."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Store:
    """Keys, revisions, leases and transactions, as etcd has them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.revision = 1
        self.keys: dict[bytes, dict[str, Any]] = {}
        self.leases: dict[int, tuple[float, int]] = {}
        self.transactions: list[dict[str, Any]] = []

    def put(self, key: str, value: str, lease: int = 0) -> int:
        """Write a key from a test."""
        with self.lock:
            self.revision += 1
            self._put(key.encode(), value.encode(), lease)
            return self.revision

    def get(self, key: str) -> str | None:
        """Read a key from a test."""
        with self.lock:
            self._expire()
            row = self.keys.get(key.encode())
            return row["value"].decode() if row else None

    def delete(self, key: str) -> None:
        """Remove a key from a test."""
        with self.lock:
            self.revision += 1
            self.keys.pop(key.encode(), None)

    def prefix(self, prefix: str) -> list[str]:
        """The keys that begin so."""
        with self.lock:
            self._expire()
            return sorted(key.decode() for key in self.keys if key.startswith(prefix.encode()))

    def _put(self, key: bytes, value: bytes, lease: int) -> None:
        old = self.keys.get(key)
        created = old["create_revision"] if old else self.revision
        self.keys[key] = {"value": value, "create_revision": created, "mod_revision": self.revision, "lease": lease}

    def _expire(self) -> None:
        now = time.monotonic()
        for lease in [lease for lease, (end, _) in self.leases.items() if end <= now]:
            self._end(lease)

    def _end(self, lease: int) -> None:
        self.leases.pop(lease, None)
        gone = [key for key, row in self.keys.items() if row["lease"] == lease]
        if gone:
            self.revision += 1
        for key in gone:
            del self.keys[key]

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request to the gateway."""
        with self.lock:
            self._expire()
            if path == "/v3/lease/grant":
                lease = 1000 + len(self.leases) + self.revision * 100
                self.leases[lease] = (time.monotonic() + int(body["TTL"]), int(body["TTL"]))
                return {"ID": str(lease), "TTL": body["TTL"]}
            if path == "/v3/lease/revoke":
                self._end(int(body["ID"]))
                return {}
            if path == "/v3/kv/txn":
                return self._transaction(body)
            raise KeyError(path)

    def _holds(self, compare: dict[str, Any]) -> bool:
        row = self.keys.get(base64.b64decode(compare["key"]))
        assert compare["result"] == "EQUAL"
        if compare["target"] == "CREATE":
            return (row["create_revision"] if row else 0) == int(compare["create_revision"])
        if compare["target"] == "MOD":
            return (row["mod_revision"] if row else 0) == int(compare["mod_revision"])
        assert compare["target"] == "VALUE"
        return row is not None and row["value"] == base64.b64decode(compare["value"])

    def _transaction(self, body: dict[str, Any]) -> dict[str, Any]:
        self.transactions.append(body)
        if not all(self._holds(compare) for compare in body.get("compare", [])):
            return {"header": {"revision": str(self.revision)}}
        operations = body.get("success", [])
        if any("request_range" not in operation for operation in operations):
            self.revision += 1
        responses = []
        for operation in operations:
            if "request_range" in operation:
                key = base64.b64decode(operation["request_range"]["key"])
                end = base64.b64decode(operation["request_range"].get("range_end", ""))
                rows = [
                    {
                        "key": _encode(name),
                        "value": _encode(row["value"]),
                        "create_revision": str(row["create_revision"]),
                        "mod_revision": str(row["mod_revision"]),
                    }
                    for name, row in sorted(self.keys.items())
                    if (key <= name < end if end else name == key)
                ]
                responses.append({"response_range": {"kvs": rows, "count": str(len(rows))} if rows else {}})
            elif "request_put" in operation:
                asked = operation["request_put"]
                lease = int(asked["lease"])
                assert lease == 0 or lease in self.leases
                self._put(base64.b64decode(asked["key"]), base64.b64decode(asked["value"]), lease)
                responses.append({"response_put": {}})
            else:
                self.keys.pop(base64.b64decode(operation["request_delete_range"]["key"]), None)
                responses.append({"response_delete_range": {}})
        return {"header": {"revision": str(self.revision)}, "succeeded": True, "responses": responses}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what the tests are about."""


class Fake:
    """A server on a port of this machine that can be silent, refuse, and come back."""

    protocol = "HTTP/1.1"

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.silent = False
        self.asked: list[str] = []
        self._connections: set[Any] = set()
        self._server = self._start(0)
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """What it says; for the kinds of servers."""
        raise NotImplementedError

    def _start(self, port: int) -> _Server:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = fake.protocol

            def setup(self) -> None:
                self.request = fake._context.wrap_socket(self.request, server_side=True)
                fake._connections.add(self.request)
                super().setup()

            def finish(self) -> None:
                super().finish()
                self.request.close()  # the server itself knows only the socket below TLS
                fake._connections.discard(self.request)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.asked.append(self.path)
                while fake.silent:
                    time.sleep(0.02)
                status, content = fake.answer(self.path, body)
                self.send_response(status)
                if self.protocol_version == "HTTP/1.1":
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = _Server(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def stop(self) -> None:
        """Refuse connections, and end those that there are."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def start(self) -> None:
        """Come back at the same address."""
        self._server = self._start(self.port)


class FakeEtcd(Fake):
    """A member of etcd."""

    def __init__(self, context: ssl.SSLContext, store: Store) -> None:
        self.store = store
        super().__init__(context)

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Pass it on to the store."""
        try:
            return 200, json.dumps(self.store.call(path, json.loads(body))).encode()
        except KeyError:
            return 404, b'{"code": 5}'


class FakePatroni(Fake):
    """The REST API of a member; like the real one it closes the connection after each answer."""

    protocol = "HTTP/1.0"

    def __init__(self, context: ssl.SSLContext, name: str, scope: str) -> None:
        self.live = 200
        self.state: dict[str, Any] = {
            "state": "running",
            "role": "replica",
            "sync_standby": True,
            "patroni": {"version": "4.0.7", "scope": scope, "name": name},
        }
        super().__init__(context)

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """What the real one says on these paths."""
        if path == "/liveness":
            return self.live, b""
        return (200, json.dumps(self.state).encode()) if path == "/patroni" else (404, b"")


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {folder.name}")])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(True, None), critical=True
        )
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for this machine, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            self._builder(subject, key).add_extension(address, critical=False).sign(self._key, hashes.SHA256())
        )
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def server(self, name: str) -> ssl.SSLContext:
        """The server's side: it asks for a certificate of this authority."""
        certificate, key = self.issue(name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context
