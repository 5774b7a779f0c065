# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a TrueNAS: TLS, WebSocket, login, calls and jobs, against a small scripted server."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_client as client
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_scram as scram
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_transport as transport
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import (
    ConnectionLost,
    NasError,
    Problems,
    Refused,
    Unreachable,
)

KEY = "1-" + "k" * 64
SUCCESS = {"response_type": "SUCCESS", "user_info": None, "authenticator": "LEVEL_1"}
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Fails(Exception):
    """An error answer to a call."""

    def __init__(self, code: int = -32001, message: str = "Method call error", **data: Any) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


class Raw:
    """Bytes or frames that are sent instead of an answer."""

    def __init__(self, *frames: bytes) -> None:
        self.frames = frames


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    head = bytes([(0x80 if final else 0) | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + bytes([126]) + struct.pack("!H", size) + payload
    return head + bytes([127]) + struct.pack("!Q", size) + payload


class Server:
    """HTTP and WebSocket on a free port. Each call goes to a function; everything that came in is kept."""

    def __init__(self, handler: Callable[[str, list[Any]], Any], context: ssl.SSLContext | None = None) -> None:
        self.handler, self.context = handler, context
        self.versions: Any = ["v25.04.0", "v25.10.0", "v25.10.5"]
        self.statuses: dict[str, str] = {}
        self.received: list[bytes] = []
        self.messages: list[dict[str, Any]] = []
        self.control: list[tuple[int, bytes]] = []
        self.unmasked = 0
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    @property
    def methods(self) -> list[str]:
        return [message["method"] for message in self.messages]

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):  # the other side went away, also in the middle of a frame
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(10)
                self._talk(connection, connection.makefile("rb"))

    def _talk(self, connection: socket.socket, stream: Any) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            head += line
        self.received.append(head)
        path = head.split()[1].decode()
        if path in self.statuses:
            connection.sendall(f"HTTP/1.1 {self.statuses[path]}\r\n\r\n".encode())
            return
        if path == "/api/versions":
            body = json.dumps(self.versions).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            return
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID.encode()).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while True:
            opcode, payload = self._frame(stream)
            if opcode >= 8:
                self.control.append((opcode, payload))
                if opcode == 8:
                    return
                continue
            message = json.loads(payload)
            self.messages.append(message)
            for out in self._answer(message):
                connection.sendall(out)
                if not out:
                    return

    def _frame(self, stream: Any) -> tuple[int, bytes]:
        first, second = stream.read(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", stream.read(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", stream.read(8))[0]
        if not second & 0x80:
            self.unmasked += 1
        mask = stream.read(4)
        data = stream.read(size)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))

    def _answer(self, message: dict[str, Any]) -> tuple[bytes, ...]:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            result = self.handler(message["method"], message["params"])
        except Fails as error:
            answer["error"] = error.error
        else:
            if isinstance(result, Raw):
                return result.frames
            answer["result"] = result
        return (frame(1, json.dumps(answer).encode()),)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A self-signed certificate with its key in one file, and its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA384())
    )
    path = tmp_path_factory.mktemp("tls") / "nas.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, made.fingerprint(hashes.SHA256()).hex()


Start = Callable[..., Server]


@pytest.fixture
def start(certificate: tuple[Path, str]) -> Iterator[Start]:
    """Start servers; a login succeeds unless the handler says else."""
    servers: list[Server] = []

    def run(handler: Callable[[str, list[Any]], Any] = lambda method, params: None, tls: bool = False) -> Server:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate[0])

        def answer(method: str, params: list[Any]) -> Any:
            result = handler(method, params)
            return SUCCESS if result is None and method == "auth.login_ex" else result

        servers.append(Server(answer, context))
        return servers[-1]

    yield run
    for server in servers:
        server.close()


def nas(server: Server, **options: Any) -> client.Nas:
    """A NAS at a server without TLS, with pauses that take no time."""
    options.setdefault("sleep", lambda seconds: None)
    mechanism = options.pop("mechanism", "auto")
    settings = {"host": "127.0.0.1", "port": server.port, "scheme": "ws", "timeout": options.pop("timeout", 5)}
    settings.update(options.pop("endpoint", {}))
    return client.Nas(transport.Endpoint(**settings), client.Credentials("pantheon", KEY, mechanism), **options)


# Parameters


def test_all_wrong_parameters_are_told_at_once_and_the_key_is_not_shown() -> None:
    endpoint = transport.Endpoint("nas/x", 0, "ws", timeout=0, tls_fingerprint="ab", ca_path="/nowhere/ca.pem")
    with pytest.raises(Problems) as caught:
        client.Nas(endpoint, client.Credentials("", "secret-without-number"), -1)
    names = [problem.split(":")[0] for problem in caught.value.problems]
    assert names == [
        *("host", "port", "timeout", "scheme", "tls_fingerprint", "ca_path"),
        *("username", "api_key", "retries"),
    ]
    assert "secret" not in caught.value.sentence()


@pytest.mark.parametrize(
    ("host", "insecure", "allowed"),
    [
        ("127.0.0.1", False, True),
        ("localhost", False, True),
        ("::1", False, True),
        ("127.9.9.9", False, True),
        ("nas.lan", False, False),
        ("10.0.0.5", False, False),
        ("localhost.evil.example", False, False),
        ("nas.lan", True, True),
    ],
)
def test_a_key_never_goes_unencrypted_to_another_machine(host: str, insecure: bool, allowed: bool) -> None:
    problems = transport.Endpoint(host, 80, "ws", allow_insecure_transport=insecure).problems()
    assert (problems == []) is allowed
    assert all("revokes" in problem and "nothing was sent" in problem for problem in problems)


@pytest.mark.parametrize(
    "text", ["AB" * 32, ":".join(["ab"] * 32), "sha256:" + "ab" * 32, "SHA256 Fingerprint=" + "AB:" * 31 + "AB"]
)
def test_a_fingerprint_may_be_written_as_openssl_prints_it(text: str) -> None:
    assert transport.fingerprint(text) == "ab" * 32


# TLS


def tls(server: Server, **endpoint: Any) -> client.Nas:
    return nas(server, endpoint={"host": "localhost", "scheme": "wss", **endpoint}, retries=0)


def test_the_pinned_certificate_is_enough(start: Start, certificate: tuple[Path, str]) -> None:
    server = start(lambda method, params: [1] if method == "pool.query" else None, tls=True)
    connection = tls(server, tls_fingerprint=certificate[1].upper())
    assert connection.call("pool.query", [], {}) == [1]
    assert server.methods == ["auth.login_ex", "pool.query"]
    connection.close()


def test_another_certificate_than_the_pinned_one_gets_nothing(start: Start, certificate: tuple[Path, str]) -> None:
    server = start(tls=True)
    with pytest.raises(NasError, match="not the pinned one; nothing was sent") as caught:
        tls(server, tls_fingerprint="00" * 32).connect()
    assert certificate[1] in str(caught.value)
    assert server.received == []


def test_an_unknown_certificate_gets_nothing(start: Start) -> None:
    server = start(tls=True)
    with pytest.raises(NasError, match="is not trusted") as caught:
        tls(server).connect()
    assert "tls_fingerprint" in caught.value.remedy
    assert server.received == []


def test_an_authority_can_be_given_and_the_name_is_checked(start: Start, certificate: tuple[Path, str]) -> None:
    server = start(tls=True)
    tls(server, ca_path=str(certificate[0])).connect()
    with pytest.raises(NasError, match="is not trusted"):
        tls(server, ca_path=str(certificate[0]), host="127.0.0.1").connect()
    # With both, both have to agree.
    with pytest.raises(NasError, match="not the pinned one"):
        tls(server, ca_path=str(certificate[0]), tls_fingerprint="00" * 32).connect()


def test_the_check_can_be_left_out(start: Start) -> None:
    tls(start(tls=True), validate_certs=False).connect()


def test_plain_http_on_the_port_is_told(start: Start) -> None:
    with pytest.raises(NasError, match="does not speak TLS|broke off the TLS handshake"):
        tls(start()).connect()


# HTTP


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        ("404 Not Found", "does not know /api/versions", "older than 25.04"),
        ("307 Temporary Redirect\r\nLocation: https://nas/", "redirects /api/versions to https://nas/", "scheme wss"),
        ("502 Bad Gateway", "starting or down", "Wait until the NAS has started"),
        ("403 Forbidden", "HTTP 403 Forbidden", "web interface"),
    ],
)
def test_a_wrong_http_answer_becomes_a_sentence(start: Start, status: str, message: str, remedy: str) -> None:
    server = start()
    server.statuses["/api/versions"] = status
    with pytest.raises(NasError, match=message) as caught:
        nas(server, retries=0).connect()
    assert remedy in caught.value.remedy
    assert server.messages == []


@pytest.mark.parametrize("versions", [["v24.10.2"], [], {"a": 1}, "v25.04.0"])
def test_a_release_that_is_too_old_is_refused_before_the_key_is_sent(start: Start, versions: Any) -> None:
    server = start()
    server.versions = versions
    with pytest.raises(NasError, match="need TrueNAS 25.04 or newer"):
        nas(server).connect()
    assert server.messages == []


def test_a_nas_that_is_starting_is_waited_for(start: Start) -> None:
    server = start()
    server.statuses["/api/versions"] = "503 Service Unavailable"
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            server.statuses.clear()

    connection = nas(server, sleep=sleep)
    connection.connect()
    assert waits == [1, 2, 4]
    assert connection.version == (25, 10, 5)
    assert connection.version_text == "25.10.5"


def test_a_refused_connection_is_tried_again_and_then_told() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    waits: list[float] = []
    endpoint = transport.Endpoint("127.0.0.1", port, "ws", timeout=2)
    with pytest.raises(Unreachable, match="nothing answers at 127.0.0.1"):
        client.Nas(endpoint, client.Credentials("u", KEY), 2, sleep=waits.append).connect()
    assert waits == [1, 2]


def test_only_the_current_api_is_used(start: Start) -> None:
    server = start()
    nas(server).connect()
    assert [head.split()[1] for head in server.received] == [b"/api/versions", b"/api/current"]


# WebSocket


def test_every_frame_is_masked_and_big_messages_arrive(start: Start) -> None:
    server = start(lambda method, params: params[0] if method == "echo" else None)
    connection = nas(server)
    for size in (1, 120, 125, 126, 60000):
        assert connection.call("echo", "ä" * (size // 6 or 1)) == "ä" * (size // 6 or 1)
    assert server.unmasked == 0


def test_a_long_answer_in_fragments_with_a_ping_between_is_put_together(start: Start) -> None:
    def handler(method: str, params: list[Any]) -> Any:
        if method != "big":
            return None
        text = json.dumps({"jsonrpc": "2.0", "id": 2, "result": "ö" * 70000}, ensure_ascii=False).encode()
        # The cut goes through the middle of a letter.
        return Raw(
            frame(1, text[:101], False), frame(9, b"hello"), frame(0, text[101:9000], False), frame(0, text[9000:])
        )

    server = start(handler)
    connection = nas(server)
    assert connection.call("big") == "ö" * 70000
    connection.call("next")
    assert (10, b"hello") in server.control


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (1007, "Anonymous connection max message length is 8 kB", "did not accept the data"),
        (1009, "", "message was too big"),
        (1011, "", "failed inside"),
        (1012, "", "restarts"),
        (4000, "mine", "no known reason"),
    ],
)
def test_a_close_code_is_told_in_words(start: Start, code: int, reason: str, words: str) -> None:
    closing = frame(8, struct.pack("!H", code) + reason.encode())
    server = start(lambda method, params: Raw(closing) if method == "pool.query" else None)
    with pytest.raises(ConnectionLost, match=words) as caught:
        nas(server).call("pool.query")
    assert f"code {code}" in str(caught.value)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("pool.query: ")


def test_a_connection_that_just_ends_is_told(start: Start) -> None:
    server = start(lambda method, params: Raw(b"") if method == "pool.query" else None)
    with pytest.raises(ConnectionLost, match="without a goodbye"):
        nas(server).call("pool.query")


@pytest.mark.parametrize(
    "broken",
    [frame(0, b"x"), frame(2, b"x"), frame(1, b"\xff"), b"\xf1\x01x", b"\x81\x81abcdx", frame(9, b"", False)],
    ids=["continuation", "binary", "not utf-8", "reserved bits", "masked", "fragmented ping"],
)
def test_a_broken_frame_ends_the_connection(start: Start, broken: bytes) -> None:
    server = start(lambda method, params: Raw(broken) if method == "pool.query" else None)
    with pytest.raises(NasError, match="sent a frame|sent text that is not UTF-8"):
        nas(server).call("pool.query")


def test_an_upgrade_with_a_wrong_answer_is_refused(start: Start) -> None:
    server = start()
    server.statuses["/api/current"] = "101 Switching\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x"
    with pytest.raises(NasError, match="does not open a WebSocket"):
        nas(server).connect()
    assert server.messages == []


def test_messages_over_the_limits_are_not_sent(start: Start) -> None:
    server = start()
    connection = nas(server)
    with pytest.raises(NasError, match="closes the connection after 65536"):
        connection.call("sharing.nfs.create", {"hosts": ["h"] * 20000})
    assert server.methods == ["auth.login_ex"]
    long_name = client.Nas(
        transport.Endpoint("127.0.0.1", server.port, "ws"), client.Credentials("u" * 9000, KEY), retries=0
    )
    with pytest.raises(NasError, match="closes the connection after 8192"):
        long_name.connect()


def test_an_answer_that_does_not_come_is_not_waited_for_longer(start: Start) -> None:
    server = start(lambda method, params: Raw() if method == "pool.query" else None)
    connection = nas(server, timeout=0.2)
    with pytest.raises(NasError, match="did not finish within 0.2 s"):
        connection.call("pool.query")
    assert not connection.logged_in, "a late answer must not meet another call"


def test_notifications_are_passed_over(start: Start) -> None:
    note = frame(1, json.dumps({"jsonrpc": "2.0", "method": "collection_update", "params": {}}).encode())
    late = frame(1, json.dumps({"jsonrpc": "2.0", "id": 77, "result": "another"}).encode())
    good = frame(1, json.dumps({"jsonrpc": "2.0", "id": 2, "result": {"$set": [1]}}).encode())
    server = start(lambda method, params: Raw(note, late, good) if method == "x.y" else None)
    assert nas(server).call("x.y") == [1]


# Login


def test_the_login_names_user_and_key_and_happens_once(start: Start) -> None:
    server = start()
    connection = nas(server)
    connection.call("a.b")
    connection.call("c.d")
    assert server.messages[0]["params"] == [
        {
            "mechanism": "API_KEY_PLAIN",
            "username": "pantheon",
            "api_key": KEY,
            "login_options": {"user_info": False},
        }
    ]
    assert connection.calls == server.methods == ["auth.login_ex", "a.b", "c.d"]


@pytest.mark.parametrize(
    ("answer", "message", "remedy"),
    [
        ({"response_type": "AUTH_ERR"}, "does not accept the API key of user pantheon", "must belong to this user"),
        ({"response_type": "EXPIRED"}, "revoked or expired", "without TLS"),
        ({"response_type": "OTP_REQUIRED", "username": "pantheon"}, "one-time password", "two-factor"),
        ({"response_type": "REDIRECT", "urls": ["https://b"]}, "active one is at https://b", "virtual address"),
        ({"response_type": "DENIED"}, "may not use the API", "privilege"),
        ({"response_type": "NEWS"}, "do not know \\(NEWS\\)", "release"),
    ],
)
def test_each_answer_to_the_login_becomes_a_sentence(start: Start, answer: Any, message: str, remedy: str) -> None:
    server = start(lambda method, params: answer)
    with pytest.raises(NasError, match=message) as caught:
        nas(server).connect()
    assert remedy in caught.value.remedy
    assert KEY not in caught.value.sentence()
    assert server.methods == ["auth.login_ex"], "a refused key is not tried again"


def busy() -> Fails:
    return Fails(error=16, errname="EBUSY", reason="[EBUSY] Rate Limit Exceeded", extra=None)


def test_a_login_over_the_limit_is_tried_again_with_growing_pauses(start: Start) -> None:
    left = [1, 1, 1]

    def handler(method: str, params: list[Any]) -> Any:
        if method == "auth.login_ex" and left:
            left.pop()
            raise busy()

    waits: list[float] = []
    nas(start(handler), sleep=waits.append).connect()
    assert waits == [4, 8, 16]


def test_a_limit_that_stays_is_told(start: Start) -> None:
    def handler(method: str, params: list[Any]) -> Any:
        raise busy()

    waits: list[float] = []
    with pytest.raises(Refused, match="Rate Limit Exceeded") as caught:
        nas(start(handler), retries=1, sleep=waits.append).connect()
    assert "20 a minute" in caught.value.remedy
    assert waits == [4]


class ScramServer:
    """The other side of SCRAM, as TrueNAS does it: nonces are joined before the encoding."""

    def __init__(self, secret: str = "k" * 64, lie: bool = False, rounds: int = 50000) -> None:
        self.salt, self.rounds, self.lie = b"salt" * 4, rounds, lie
        self.salted = hashlib.pbkdf2_hmac("sha512", secret.encode(), self.salt, rounds)
        self.first = self.server_first = ""
        self.flag = ""

    def __call__(self, method: str, params: list[Any]) -> Any:
        data = params[0]
        if data.get("mechanism") != "SCRAM":
            raise Fails(error=95, errname="EOPNOTSUPP", reason="[EOPNOTSUPP] API_KEY_PLAIN: not supported")
        text = data["rfc_str"]
        if data["scram_type"] == "CLIENT_FIRST_MESSAGE":
            self.flag, _empty, self.first = text.partition(",,")
            nonce = base64.b64decode(self.first.split("r=")[1])
            joined = base64.b64encode(nonce + b"server" * 3).decode()
            self.server_first = f"r={joined},s={base64.b64encode(self.salt).decode()},i={self.rounds}"
            return self.answer("SERVER_FIRST_RESPONSE", self.server_first)
        unproven, _comma, proof = text.rpartition(",p=")
        message = f"{self.first},{self.server_first},{unproven}".encode()
        client_key = hmac.digest(self.salted, b"Client Key", "sha512")
        signature = hmac.digest(hashlib.sha512(client_key).digest(), message, "sha512")
        if bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) != client_key:
            return {"response_type": "AUTH_ERR"}
        self.binding = base64.b64decode(unproven.split(",")[0][2:])
        own = hmac.digest(hmac.digest(self.salted, b"Server Key", "sha512"), message, "sha512")
        return self.answer("SERVER_FINAL_RESPONSE", "v=" + base64.b64encode(b"x" * 64 if self.lie else own).decode())

    @staticmethod
    def answer(kind: str, text: str) -> dict[str, Any]:
        return {"response_type": "SCRAM_RESPONSE", "scram_type": kind, "rfc_str": text, "user_info": None}


def test_scram_is_used_from_26_on_where_the_key_itself_is_refused(start: Start) -> None:
    other = ScramServer()
    server = start(lambda method, params: other(method, params) if method == "auth.login_ex" else None)
    server.versions = ["v25.10.5", "v26.0.0"]
    nas(server).call("pool.query")
    assert server.methods == ["auth.login_ex"] * 3 + ["pool.query"]
    assert other.first.startswith("n=pantheon:1,r=")
    assert other.flag == "n"


def test_scram_on_request_never_sends_the_key(start: Start) -> None:
    other = ScramServer()
    server = start(other)
    server.versions = ["v26.0.0"]
    nas(server, mechanism="scram").connect()
    assert KEY.partition("-")[2] not in json.dumps(server.messages)
    assert len(server.messages) == 2


def test_scram_binds_the_login_to_a_certificate_that_nobody_checked(
    start: Start, certificate: tuple[Path, str]
) -> None:
    other = ScramServer()
    server = start(other, tls=True)
    server.versions = ["v26.0.0"]
    endpoint = {"host": "localhost", "scheme": "wss", "validate_certs": False}
    nas(server, mechanism="scram", endpoint=endpoint).connect()
    der = ssl.PEM_cert_to_DER_cert(certificate[0].read_text().split("-----BEGIN PRIVATE")[0])
    assert other.binding == b"p=tls-server-end-point,," + hashlib.sha384(der).digest()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ScramServer(secret="another"), "does not accept the API key"),
        (ScramServer(lie=True), "this is not the NAS that issued it"),
        (ScramServer(rounds=1000), "asks for 1000 rounds"),
    ],
    ids=["wrong key", "wrong server", "too few rounds"],
)
def test_scram_fails_in_words(start: Start, other: ScramServer, message: str) -> None:
    server = start(other)
    server.versions = ["v26.0.0"]
    with pytest.raises(NasError, match=message):
        nas(server, mechanism="scram").connect()


def test_scram_before_26_and_a_refused_key_are_told(start: Start) -> None:
    server = start(ScramServer())
    with pytest.raises(NasError, match="SCRAM came with 26"):
        nas(server, mechanism="scram").connect()
    with pytest.raises(NasError, match="refuses logins with an API key") as caught:
        nas(server).connect()
    assert "STIG" in caught.value.remedy


def test_a_challenge_for_somebody_else_is_refused() -> None:
    exchange = scram.Scram("u", KEY)
    with pytest.raises(scram.ScramError, match="not for this login"):
        exchange.final("r=AAAA,s=AAAA,i=50000")
    with pytest.raises(scram.ScramError, match="incomplete"):
        exchange.final("r=AAAA,i=50000")


# Calls and errors


def test_an_error_has_a_reason_and_entries(start: Start) -> None:
    extra = [["sharingnfs_create.path", "Path does not exist", 2], None, "x"]

    def handler(method: str, params: list[Any]) -> Any:
        if method == "sharing.nfs.create":
            raise Fails(
                -32602,
                "Invalid params",
                error=22,
                errname="EINVAL",
                reason="[EINVAL] sharingnfs_create.path: Path does not exist\n",
                trace={"class": "ValidationErrors", "formatted": "..."},
                extra=extra,
            )

    with pytest.raises(Refused) as caught:
        nas(start(handler)).call("sharing.nfs.create", {})
    assert caught.value.reason == "sharingnfs_create.path: Path does not exist"
    assert caught.value.extra == [["sharingnfs_create.path", "Path does not exist", 2]]
    assert (caught.value.errno, caught.value.code) == (22, "EINVAL")


@pytest.mark.parametrize(
    ("method", "error", "remedy"),
    [
        ("pool.dataset.delete", Fails(error=13, errname="EACCES", reason="Not authorized"), "role DATASET_DELETE"),
        ("sharing.nfs.update", Fails(error=13, errname="EACCES", reason="Not authorized"), "role SHARING_NFS_WRITE"),
        ("pool.query", Fails(error=207, errname="ENOTAUTHENTICATED", reason="Not authenticated"), "revoked meanwhile"),
        ("pool.query", Fails(-32601, "Method does not exist"), "release of the NAS (25.10.5)"),
    ],
)
def test_what_to_do_about_an_error(start: Start, method: str, error: Fails, remedy: str) -> None:
    def handler(name: str, params: list[Any]) -> Any:
        if name == method:
            raise error

    with pytest.raises(Refused) as caught:
        nas(start(handler)).call(method)
    assert method in str(caught.value)
    assert remedy in caught.value.remedy


def test_too_many_calls_at_once_are_tried_again(start: Start) -> None:
    left = [1]

    def handler(method: str, params: list[Any]) -> Any:
        if method == "pool.query" and left:
            left.pop()
            raise Fails(-32000, "Maximum number of concurrent calls (20) has exceeded")
        return "done"

    waits: list[float] = []
    server = start(lambda method, params: None if method == "auth.login_ex" else handler(method, params))
    assert nas(server, sleep=waits.append).call("pool.query") == "done"
    assert waits == [4]


# Jobs


def test_from_25_10_on_the_answer_to_a_job_is_its_result(start: Start) -> None:
    server = start(lambda method, params: True if method == "service.control" else None)
    connection = nas(server)
    assert connection.job("service.control", "START", "nfs", {}) is True
    assert connection.job("service.control", "START", "nfs", {}) is True
    assert server.methods == ["auth.login_ex", "core.set_options", "service.control", "service.control"]
    assert server.messages[1]["params"] == [{"legacy_jobs": False}]


def jobs(*states: dict[str, Any]) -> Callable[[str, list[Any]], Any]:
    left = list(states)

    def handler(method: str, params: list[Any]) -> Any:
        if method == "filesystem.setperm":
            return 41
        if method == "core.get_jobs":
            assert params == [[["id", "=", 41]]]
            return [{"id": 41, **(left.pop(0) if len(left) > 1 else left[0])}]
        return None

    return handler


def test_before_25_10_a_job_is_asked_for_until_it_ends(start: Start) -> None:
    server = start(jobs({"state": "WAITING"}, {"state": "RUNNING"}, {"state": "SUCCESS", "result": "ok"}))
    server.versions = ["v25.04.2"]
    assert nas(server).job("filesystem.setperm", {}) == "ok"
    assert server.methods == ["auth.login_ex", "filesystem.setperm"] + ["core.get_jobs"] * 3


@pytest.mark.parametrize("state", ["FAILED", "ABORTED"])
def test_a_job_that_fails_tells_why(start: Start, state: str) -> None:
    info = {"errno": 22, "extra": [["filesystem.setperm.user", "x: user does not exist", 22]], "repr": "…"}
    server = start(jobs({"state": state, "error": "[EINVAL] filesystem.setperm.user: x", "exc_info": info}))
    server.versions = ["v25.04.2"]
    with pytest.raises(Refused, match="filesystem.setperm.user: x") as caught:
        nas(server).job("filesystem.setperm", {})
    assert caught.value.extra == [["filesystem.setperm.user", "x: user does not exist", 22]]


def test_a_job_that_never_ends_is_given_up(start: Start) -> None:
    server = start(jobs({"state": "RUNNING"}))
    server.versions = ["v25.04.2"]
    now = [0.0]
    connection = nas(
        server, timeout=5, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    with pytest.raises(NasError, match="did not finish within 50 s \\(job 41 is still RUNNING\\)"):
        connection.job("filesystem.setperm", {})


def test_a_server_that_keeps_its_old_job_mode_is_asked(start: Start) -> None:
    handler = jobs({"state": "SUCCESS", "result": None})

    def refusing(method: str, params: list[Any]) -> Any:
        if method == "core.set_options":
            raise Fails(-32602, "Invalid params", error=22, errname="EINVAL", reason="extra inputs", extra=[])
        return handler(method, params)

    server = start(refusing)
    assert nas(server).job("filesystem.setperm", {}) is None
    assert server.methods[-1] == "core.get_jobs"


@pytest.mark.parametrize(
    ("name", "version"), [("v25.04.0", (25, 4, 0)), ("v26.0.0-BETA.3", (26, 0, 0)), ("25.10", (25, 10, 0)), ("x", None)]
)
def test_versions_are_compared_as_numbers(name: str, version: Any) -> None:
    assert client.parse_version(name) == version
