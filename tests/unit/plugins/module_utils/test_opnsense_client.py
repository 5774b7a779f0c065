# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of an OPNsense router, against a server that answers from a script."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_client as opnsense

KEY, SECRET = "the-key-xyz", "the-secret-xyz"
DROP = "drop"


class Scripted:
    """A web server that gives the next answer of its script to each request, and notes what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None, per_connection: int = 99) -> None:
        self.answers: list[Any] = []
        self.seen: list[tuple[str, str]] = []
        self.headers: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.received = b""
        self.context, self.per_connection = context, per_connection
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _rest = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.connections += 1
            for _turn in range(self.per_connection):
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return
                    head += chunk
                    self.received += chunk
                header, _rest, body = head.partition(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in header.split(b"\r\n")
                        if line.lower().startswith(b"content-l")
                    ),
                    0,
                )
                while len(body) < length:
                    body += connection.recv(65536)
                method, path, _rest = header.split(b"\r\n")[0].decode().split(" ")
                self.seen.append((method, path))
                self.headers.append(header.decode())
                self.bodies.append(body)
                answer = self.answers.pop(0) if self.answers else (200, b"{}")
                if answer == DROP:
                    return
                status, content = answer
                connection.sendall(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
        except OSError:
            return
        finally:
            connection.close()

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


def client(port: int, **options: Any) -> opnsense.Client:
    params = {"host": "127.0.0.1", "port": port, "scheme": "http", "api_key": KEY, "api_secret": SECRET, "timeout": 5}
    return opnsense.Client(opnsense.Settings({**params, **options}))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate like the one that OPNsense makes for itself: a name and no address."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=OPNsense.internal "
        "-addext subjectAltName=DNS:OPNsense.internal -keyout key.pem -out cert.pem",
        shell=True,
        check=True,
        cwd=folder,
        capture_output=True,
    )
    return folder


@pytest.fixture
def secure(certificate: Path) -> Iterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    scripted = Scripted(context)
    yield scripted
    scripted.close()


def fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((certificate / "cert.pem").read_text())).hexdigest()


# -- the options -------------------------------------------------------------------------------------------------------


def test_all_wrong_options_are_named_at_once_without_the_secret() -> None:
    with pytest.raises(opnsense.OpnsenseError) as caught:
        opnsense.Settings(
            {"host": "https://router/", "port": 99999, "api_secret": SECRET, "tls_fingerprint": "abc", "timeout": -1}
        )
    text = caught.value.sentence()
    for part in ("host 'https://router/'", "port 99999", "api_key not given", "tls_fingerprint", "timeout has to be"):
        assert part in text
    assert SECRET not in text


def test_the_file_that_opnsense_offers_is_read(tmp_path: Path) -> None:
    file = tmp_path / "apikey.txt"
    file.write_text(f"key={KEY}\nsecret={SECRET}==\n")
    settings = opnsense.Settings({"host": "r", "credentials_file": str(file)})
    assert (settings.key, settings.secret) == (KEY, f"{SECRET}==")


@pytest.mark.parametrize("content", [f"key={KEY}\n", None, "\udce4"])
def test_a_file_that_does_not_help_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "apikey.txt"
    if content:
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(opnsense.OpnsenseError, match=r"apikey\.txt") as caught:
        opnsense.Settings({"host": "r", "credentials_file": str(file)})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["AB" * 32, ":".join(["ab"] * 32), "sha256:" + "ab" * 32, "SHA256 Fingerprint=" + ":".join(["AB"] * 32)]
)
def test_fingerprints_come_in_many_spellings(text: str) -> None:
    assert opnsense.normalise_fingerprint(text) == "ab" * 32


@pytest.mark.parametrize(
    ("host", "scheme", "warn"),
    [
        ("127.0.0.1", "http", False),
        ("localhost", "http", False),
        ("10.0.0.1", "http", True),
        ("10.0.0.1", "https", False),
    ],
)
def test_plain_transport_off_loopback_is_known(host: str, scheme: str, warn: bool) -> None:
    params = {"host": host, "scheme": scheme, "api_key": KEY, "api_secret": SECRET}
    assert opnsense.Settings(params).plain_off_loopback is warn


# -- requests ----------------------------------------------------------------------------------------------------------


def test_requests_share_a_connection_and_carry_the_key(server: Scripted) -> None:
    router = client(server.port)
    server.answers = [(200, b'{"a":1}'), (200, b"[]"), (200, b'{"result":"saved"}')]
    assert router.get("unbound/settings/get") == {"a": 1}
    assert router.get("unbound/settings/get_host_override/x", {"a": "b c"}) == []
    router.post("unbound/settings/set", {"x": "0"})
    assert server.seen == [
        ("GET", "/api/unbound/settings/get"),
        ("GET", "/api/unbound/settings/get_host_override/x?a=b+c"),
        ("POST", "/api/unbound/settings/set"),
    ]
    assert (server.connections, router.requests) == (1, 3)
    assert "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode() in server.headers[0]
    assert "application/json" in server.headers[2] and server.bodies[2] == b'{"x":"0"}'


def test_a_post_without_content_sends_an_object(server: Scripted) -> None:
    client(server.port).post("unbound/service/reconfigure")
    assert server.bodies == [b"{}"], "an empty JSON body is refused by the router"


def test_a_connection_is_left_before_the_router_closes_it(server: Scripted) -> None:
    server.per_connection = 15
    router = client(server.port)
    for _turn in range(40):
        router.post("unbound/settings/set", {})
    assert (router.requests, len(server.seen), server.connections) == (40, 40, 3)


def test_an_idle_connection_that_was_closed_is_noticed_before_a_write(server: Scripted) -> None:
    server.per_connection = 1
    router = client(server.port)
    router.get("a/b/c")
    assert router._connection is not None and router._connection.sock is not None
    while not opnsense.readable(router._connection.sock):
        pass
    router.post("unbound/settings/set", {})
    assert server.seen[1:] == [("POST", "/api/unbound/settings/set")]


def test_a_long_idle_connection_is_not_used_again(server: Scripted) -> None:
    now = [0.0]
    params = {"host": "127.0.0.1", "port": server.port, "scheme": "http", "api_key": KEY, "api_secret": SECRET}
    router = opnsense.Client(opnsense.Settings(params), lambda: now[0])
    router.get("a/b/c")
    now[0] = 26.0
    router.get("a/b/c")
    assert server.connections == 2


@pytest.mark.parametrize(("method", "repeatable"), [("get", True), ("post", True)])
def test_what_may_be_repeated_is_sent_once_more(server: Scripted, method: str, repeatable: bool) -> None:
    server.answers = [DROP, (200, b'{"ok":1}')]
    router = client(server.port)
    call = router.get("a/b/c") if method == "get" else router.post("a/b/c", repeatable=repeatable)
    assert call == {"ok": 1}
    assert len(server.seen) == 2


def test_it_is_not_repeated_twice(server: Scripted) -> None:
    server.answers = [DROP, DROP, (200, b"{}")]
    with pytest.raises(opnsense.Unreachable, match="broke during GET"):
        client(server.port).get("a/b/c")
    assert len(server.seen) == 2


def test_a_write_that_may_have_been_carried_out_is_not_repeated(server: Scripted) -> None:
    server.answers = [DROP, (200, b"{}")]
    with pytest.raises(opnsense.Unreachable, match="not sent again") as caught:
        client(server.port).post("unbound/settings/set", {"x": SECRET})
    assert len(server.seen) == 1
    assert SECRET not in caught.value.sentence()


def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(opnsense.Unreachable, match="No router answers at 127.0.0.1"):
        client(port).get("a/b/c")


def test_a_router_that_does_not_answer_in_time_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        router = client(silent.getsockname()[1], timeout=0.2)
        with pytest.raises(opnsense.Unreachable, match=r"within 0\.2 s"):
            router.get("a/b/c")
        assert router.requests == 1


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_never_tried_twice(server: Scripted) -> None:
    server.answers = [(401, b'{"status":401,"message":"Authentication Failed"}')]
    with pytest.raises(opnsense.WrongKey, match="does not know this API key") as caught:
        client(server.port).get("unbound/settings/search_host_override")
    assert len(server.seen) == 1
    assert KEY not in caught.value.sentence() and SECRET not in caught.value.sentence()


def test_the_other_spelling_is_tried_once_and_remembered(server: Scripted) -> None:
    router = client(server.port)
    server.answers = [(403, b"{}"), (200, b'{"a":1}'), (200, b"{}"), (403, b"{}"), (200, b"{}")]
    assert router.get("unbound/settings/search_host_override") == {"a": 1}
    router.post("unbound/settings/del_host_override/some_thing,b_c")
    router.get("diagnostics/system/system_information")
    assert [path for _rest, path in server.seen] == [
        "/api/unbound/settings/search_host_override",
        "/api/unbound/settings/searchHostOverride",
        "/api/unbound/settings/delHostOverride/some_thing,b_c",
        "/api/diagnostics/system/systemInformation",
        "/api/diagnostics/system/system_information",
    ]


@pytest.mark.parametrize(
    ("path", "count", "name"),
    [
        ("unbound/settings/search_host_override", 2, "Services: Unbound"),
        ("unbound/settings/set", 1, "Services: Unbound"),
        ("diagnostics/system/system_information", 2, "Lobby: Dashboard"),
        ("kea/dhcpv4/search_subnet", 2, "Services: DHCP: Kea"),
        ("dnsmasq/settings/get", 1, "Services: Dnsmasq DNS/DHCP"),
        ("firewall/filter/get", 1, "Firewall: Rules"),
    ],
)
def test_a_missing_privilege_is_named(server: Scripted, path: str, count: int, name: str) -> None:
    server.answers = [(403, b'{"status":403,"message":"Forbidden"}')] * 3
    with pytest.raises(opnsense.Forbidden) as caught:
        client(server.port).get(path)
    assert name in caught.value.sentence() and path in caught.value.sentence()
    assert len(server.seen) == count


@pytest.mark.parametrize("answer", [(404, b'{"errorMessage":"Endpoint not found"}'), (200, b""), (404, b"")])
def test_an_action_that_the_release_lacks_is_its_own_error(server: Scripted, answer: tuple[int, bytes]) -> None:
    server.answers = [answer]
    with pytest.raises(opnsense.Missing, match="does not have"):
        client(server.port).get("unbound/settings/search_domain_override")


def test_a_refusal_is_quoted(server: Scripted) -> None:
    server.answers = [
        (
            500,
            b'{"errorMessage":"User x denied for\\n write access","errorTitle":"General access","errorLevel":"error"}',
        )
    ]
    with pytest.raises(opnsense.Refused, match="General access: User x denied for write access"):
        client(server.port).post("unbound/settings/set", {})


@pytest.mark.parametrize("answer", [(200, b"<html>"), (502, b"{}"), (302, b""), (414, b"")])
def test_what_is_not_the_api_is_said(server: Scripted, answer: tuple[int, bytes]) -> None:
    server.answers = [answer]
    with pytest.raises(opnsense.OpnsenseError) as caught:
        client(server.port).get("unbound/settings/get")
    assert not isinstance(caught.value, (opnsense.Missing, opnsense.Refused))
    assert caught.value.remedy


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_the_name_in_the_certificate_may_be_given(secure: Scripted, certificate: Path) -> None:
    router = client(
        secure.port, scheme="https", ca_path=str(certificate / "cert.pem"), tls_server_name="OPNsense.internal"
    )
    assert router.get("a/b/c") == {}
    assert router.get("a/b/c") == {}
    assert secure.connections == 1


def test_an_address_that_is_not_in_the_certificate_is_refused_with_a_remedy(
    secure: Scripted, certificate: Path
) -> None:
    router = client(secure.port, scheme="https", ca_path=str(certificate / "cert.pem"))
    with pytest.raises(opnsense.Untrusted) as caught:
        router.get("a/b/c")
    assert "tls_server_name" in caught.value.remedy and "tls_fingerprint" in caught.value.remedy
    assert secure.received == b""


def test_an_unknown_certificate_is_refused(secure: Scripted) -> None:
    with pytest.raises(opnsense.Untrusted):
        client(secure.port, scheme="https", tls_server_name="OPNsense.internal").get("a/b/c")
    assert secure.received == b""


def test_the_right_fingerprint_is_enough(secure: Scripted, certificate: Path) -> None:
    assert client(secure.port, scheme="https", tls_fingerprint=fingerprint(certificate)).get("a/b/c") == {}


@pytest.mark.parametrize("validate", [True, False])
def test_the_fingerprint_is_compared_before_the_key_is_sent(secure: Scripted, validate: bool) -> None:
    router = client(secure.port, scheme="https", tls_fingerprint="00" * 32, validate_certs=validate)
    with pytest.raises(opnsense.Untrusted, match="has the fingerprint"):
        router.get("a/b/c")
    assert (secure.received, secure.seen, router.requests) == (b"", [], 0)


def test_a_pin_and_a_wrong_authority_do_not_go_together(secure: Scripted, certificate: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout {tmp_path}/k.pem -out {other}",
        shell=True,
        check=True,
        capture_output=True,
    )
    with pytest.raises(opnsense.Untrusted):
        client(secure.port, scheme="https", tls_fingerprint=fingerprint(certificate), ca_path=str(other)).get("a/b/c")


def test_verification_can_be_switched_off(secure: Scripted) -> None:
    assert client(secure.port, scheme="https", validate_certs=False).get("a/b/c") == {}


def test_a_server_without_tls_is_said(server: Scripted) -> None:
    with pytest.raises(opnsense.Unreachable, match="No TLS connection"):
        client(server.port, scheme="https").get("a/b/c")


def test_a_wrong_ca_path_is_named(secure: Scripted) -> None:
    with pytest.raises(opnsense.OpnsenseError, match="ca_path /nowhere"):
        client(secure.port, scheme="https", ca_path="/nowhere").get("a/b/c")


# -- encoding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        (None, ""),
        (7, "7"),
        ({"A": {"value": "A (IPv4 address)", "selected": 1}, "MX": {"value": "MX", "selected": 0}}, "A"),
        ({"": {"value": "", "selected": 1}}, ""),
        ({"10.0.0.1": {"value": "10.0.0.1", "selected": 1}, "::1": {"value": "::1", "selected": 1}}, "10.0.0.1,::1"),
        ([], ""),
    ],
)
def test_values_of_the_api_become_text(value: Any, text: str) -> None:
    assert opnsense.text(value) == text


def test_an_empty_container_is_a_list() -> None:
    assert opnsense.entries([]) == {}
    assert opnsense.part({"a": []}, "a", "b") == {}
    assert opnsense.validations({"validations": {"x": "one", "y": ["two", "three"]}}) == {
        "x": ["one"],
        "y": ["two", "three"],
    }


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("unbound/settings/search_host_override", "unbound/settings/searchHostOverride"),
        ("unbound/settings/set", "unbound/settings/set"),
        ("firewall/source_nat/get_rule/a_b", "firewall/source_nat/getRule/a_b"),
    ],
)
def test_only_the_action_has_two_spellings(path: str, other: str) -> None:
    assert opnsense.camel(path) == other
