# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TrueNAS simulator as a server: surface, framing, logging in, queries, jobs, faults, log and state."""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import os
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.simulators.truenas.truenas_simulator.testing import KEY, Client, Closed, RpcError, Simulator

CONFIG: dict[str, Any] = {
    "system": {"scram_iterations": 50000},
    "users": [
        {"username": "pantheon", "roles": ["FULL_ADMIN"]},
        {"username": "reader", "roles": ["READONLY_ADMIN"]},
        {
            "username": "platform",
            "roles": ["DATASET_WRITE", "SHARING_NFS_WRITE", "SERVICE_READ", "POOL_READ", "FILESYSTEM_ATTRS_WRITE"],
        },
        {"username": "nobody-special", "roles": []},
        {"username": "person", "roles": ["FULL_ADMIN"], "password": "correct horse", "otp": "123456"},
    ],
    "api_keys": [
        {"id": 1, "name": "pantheon", "username": "pantheon", "key": "k" * 64},
        {"id": 2, "name": "reader", "username": "reader", "key": "r" * 64},
        {"id": 3, "name": "platform", "username": "platform", "key": "p" * 64},
        {"id": 4, "name": "old", "username": "pantheon", "key": "o" * 64, "expires_at": "2020-01-01T00:00:00+00:00"},
        {"id": 5, "name": "none", "username": "nobody-special", "key": "n" * 64},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("nas"), "--plain", "127.0.0.1:0", config=CONFIG)
    yield simulator
    assert simulator.stop() == 0


@pytest.fixture
def nas(server: Simulator) -> Simulator:
    server.control("POST", "/reset")
    return server


@pytest.fixture
def client(nas: Simulator) -> Iterator[Client]:
    with nas.connect() as connection:
        yield connection


def error_of(client: Client, method: str, *params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    return caught.value


# -- surface ------------------------------------------------------------------------------------------------------


def test_it_says_how_to_reach_it(nas: Simulator) -> None:
    assert nas.ready["release"] == "25.10"
    der = ssl.PEM_cert_to_DER_cert(Path(nas.ready["certificate"]).read_text())
    assert hashlib.sha256(der).hexdigest() == nas.ready["fingerprint"]
    host, port = nas.ready["listen"].removeprefix("https://").split(":")
    assert ssl.get_server_certificate((host, int(port))) == Path(nas.ready["certificate"]).read_text()
    assert (Path(nas.ready["certificate"]).parent / "key.pem").stat().st_mode & 0o077 == 0


def test_the_versions_of_the_api_need_no_login_and_end_with_the_own_one(nas: Simulator) -> None:
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(nas.ready["listen"] + "/api/versions", context=context, timeout=10) as answer:
        versions = json.load(answer)
    assert versions[0] == "v25.04.0"
    assert versions[-1] == "v25.10.5"


@pytest.mark.parametrize("path", ["/api/current", "/api/v25.10.5", "/api/v25.04.2"])
def test_a_websocket_opens_for_each_patch_level(nas: Simulator, path: str) -> None:
    with nas.connect(path) as client:
        assert client.call("core.ping") == "pong"


@pytest.mark.parametrize("path", ["/api/v25.10", "/api/v24.10", "/api/v26.0.0", "/api/v2.0/pool"])
def test_what_is_no_version_of_the_api_is_not_found(nas: Simulator, path: str) -> None:
    context = ssl._create_unverified_context()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(nas.ready["listen"] + path, context=context, timeout=10)
    assert caught.value.code == 404


def test_an_older_version_of_the_api_hides_what_had_no_model_then(nas: Simulator) -> None:
    with nas.connect("/api/v25.04.2") as client:
        error = error_of(client, "pool.dataset.create", {"name": "tank/a"})
        assert (error.code, error.errno, error.data["errname"]) == (-32001, 201, "ENOMETHOD")
        assert error.data["reason"] == "[ENOMETHOD] Method 'create' not found in 'pool.dataset'"
        for method in ("service.update", "service.control", "service.start", "replication.create", "system.version"):
            assert error_of(client, method, "nfs", {}).errno == 201
        assert client.call("pool.dataset.query")
        assert client.call("nfs.config")["id"] == 1
        assert client.call("sharing.nfs.query") == []


def test_a_listener_without_tls_can_send_to_the_one_with_it(nas: Simulator) -> None:
    nas.control("PUT", "/state", {"system": {"https_redirect": True}})

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(nas.ready["plain"] + "/api/versions", timeout=10)
    assert caught.value.code == 307
    assert caught.value.headers["Location"] == "https://127.0.0.1/api/versions"


# -- framing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (
            {"jsonrpc": "2.0", "id": 1, "method": "core.ping", "params": {}},
            -32600,
            "'params' member must be of type array",
        ),
        ({"id": 1, "method": "core.ping"}, -32600, "Missing 'jsonrpc' member"),
        ({"jsonrpc": "2.0", "id": 1}, -32600, "Missing 'method' member"),
        ({"jsonrpc": "2.0", "id": 1, "method": ""}, -32600, "'method' member must be of type string"),
        (
            {"jsonrpc": "1.0", "id": 1, "method": "core.ping"},
            -32600,
            "'jsonrpc' member must be of type string and must be exactly '2.0'",
        ),
        (
            {"jsonrpc": "2.0", "id": 1.5, "method": "core.ping"},
            -32600,
            "'id' member must be of type null, string or number",
        ),
        ({"jsonrpc": "2.0", "id": 1, "method": "no.such"}, -32601, "Method does not exist"),
    ],
)
def test_a_bad_request_is_answered_with_its_id(client: Client, message: dict[str, Any], code: int, text: str) -> None:
    client.send(json.dumps(message))
    answer = client.receive()
    assert answer == {"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": message["id"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "Batch messages are not supported at this time"),
        ('[{"jsonrpc":"2.0","id":1,"method":"core.ping"}]', "Batch messages are not supported at this time"),
        ("5", "Invalid Message Format"),
        ("{", None),
    ],
)
def test_what_is_no_message_is_answered_without_an_id(client: Client, text: str, message: str | None) -> None:
    client.send(text)
    answer = client.receive()
    assert answer["error"]["code"] == -32700
    assert answer["id"] is None
    assert message is None or answer["error"]["message"] == message
    assert client.call("core.ping") == "pong"


def test_params_may_be_left_out(client: Client) -> None:
    client.send('{"jsonrpc":"2.0","id":"x","method":"core.ping"}')
    assert client.receive() == {"jsonrpc": "2.0", "result": "pong", "id": "x"}


def test_a_call_without_an_id_is_carried_out_and_not_answered(client: Client) -> None:
    message = {"jsonrpc": "2.0", "method": "pool.dataset.create", "params": [{"name": "tank/quiet"}]}
    client.send(json.dumps(message))
    client.send(json.dumps({"jsonrpc": "2.0", "method": "no.such"}))
    client.send(json.dumps({"method": "core.ping"}))
    assert client.call("pool.dataset.query", [["id", "=", "tank/quiet"]], {"count": True}) == 1
    assert client.notifications == []


def test_a_long_message_before_login_ends_the_connection(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        client.send('{"jsonrpc":"2.0","id":1,"method":"core.ping"}'.ljust(8192))
        assert client.receive()["result"] == "pong"
        client.send('{"jsonrpc":"2.0","id":1,"method":"core.ping"}'.ljust(8193))
        with pytest.raises(Closed) as caught:
            client.receive()
        assert (caught.value.code, caught.value.reason) == (1007, "Anonymous connection max message length is 8 kB")


def test_a_long_message_after_login_ends_the_connection(client: Client) -> None:
    client.send('{"jsonrpc":"2.0","id":1,"method":"core.ping"}'.ljust(65536))
    assert client.receive()["result"] == "pong"
    client.send('{"jsonrpc":"2.0","id":1,"method":"core.ping"}'.ljust(65537))
    with pytest.raises(Closed) as caught:
        client.receive()
    assert (caught.value.code, caught.value.reason) == (1009, "Max message length is 64 kB")


def test_a_binary_message_ends_the_connection(client: Client) -> None:
    client.send_bytes(b"{}")
    with pytest.raises(Closed) as caught:
        client.receive()
    assert caught.value.code == 1003


def test_ten_calls_run_ten_wait_and_the_next_is_refused(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "slow_job", "match": "core.job_wait", "times": None, "seconds": 0.5})
    client.call("core.set_options", {"legacy_jobs": False})
    numbers = [client.start("core.job_wait", 9999) for _ in range(21)]
    error = error_of_number(client, numbers[20])
    assert error.code == -32000
    assert error.message == "Maximum number of concurrent calls (20) has exceeded"
    running = [job for job in nas.control("GET", "/state")["jobs"] if job["state"] == "RUNNING"]
    assert len(running) == 10
    for number in numbers[:20]:
        assert error_of_number(client, number).texts == ["Job with id 9999 does not exist"]
    assert client.call("core.ping") == "pong"


def error_of_number(client: Client, number: int) -> RpcError:
    with pytest.raises(RpcError) as caught:
        client.finish(number)
    return caught.value


def test_an_error_carries_number_name_reason_trace_and_extra(client: Client) -> None:
    data = error_of(client, "pool.dataset.create", {"name": "nopool/a"}).data
    assert set(data) == {"error", "errname", "reason", "trace", "extra"}
    assert (data["error"], data["errname"]) == (22, "EINVAL")
    assert data["reason"] == "[EINVAL] pool_dataset_create.name: zpool (nopool) does not exist.\n"
    assert data["extra"] == [["pool_dataset_create.name", "zpool (nopool) does not exist.", 22]]
    assert set(data["trace"]) == {"class", "frames", "formatted", "repr"}
    assert data["trace"]["class"] == "ValidationErrors"
    assert data["trace"]["formatted"].startswith("Traceback")
    assert {"filename", "lineno", "method", "line"} <= set(data["trace"]["frames"][0])


def test_the_errors_of_the_table(client: Client) -> None:
    missing = error_of(client, "sharing.nfs.get_instance", 99)
    assert (missing.code, missing.message) == (-32602, "Invalid params")
    assert missing.data["extra"] == [[None, "SharingNFS 99 does not exist", 2]]
    nothing = error_of(client, "sharing.nfs.query", [], {"get": True})
    assert (nothing.code, nothing.message) == (-32001, "Method call error")
    assert (nothing.errno, nothing.data["reason"], nothing.data["extra"]) == (22, "MatchNotFound()", None)
    unknown = error_of(client, "service.update", "no", {"enable": True})
    assert (unknown.code, unknown.errno, unknown.data["reason"]) == (-32001, 2, "[ENOENT] Service no not found.")
    many = error_of(client, "nfs.config", 1, 2)
    assert (many.code, many.data["extra"]) == (-32602, [["", "Too many arguments (expected 0, found 2)", 22]])


def test_extended_json_goes_both_ways(client: Client) -> None:
    client.call("pool.snapshot.create", {"dataset": "tank", "name": "one"})
    row = client.call("pool.dataset.get_instance", "tank")
    created = row["creation"]["parsed"]
    assert created == {"$date": int(row["creation"]["rawvalue"]) * 1000}
    assert client.call("pool.dataset.query", [["creation.parsed", "=", created]], {"count": True}) == 1
    assert client.call("pool.dataset.query", [["creation.parsed", ">", {"$date": created["$date"] + 1000}]]) == []
    assert "FULL_ADMIN" in client.call("auth.me")["privilege"]["roles"]["$set"]


# -- logging in ---------------------------------------------------------------------------------------------------


def test_nothing_works_before_login(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        for method in ("pool.query", "core.subscribe", "auth.me", "system.version", "core.get_jobs"):
            error = error_of(client, method)
            assert (error.code, error.errno, error.data["errname"]) == (-32001, 207, "ENOTAUTHENTICATED")
            assert error.data["reason"] == "[ENOTAUTHENTICATED] Not authenticated"


def test_the_answers_to_a_login(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        assert client.login() == {"response_type": "SUCCESS", "user_info": None, "authenticator": "LEVEL_1"}
        info = client.login(user_info=True)["user_info"]
        assert info["pw_name"] == "pantheon"
    with nas.connect(login=False) as client:
        assert client.login(key="1-" + "x" * 64) == {"response_type": "AUTH_ERR"}
        assert client.login(key="nonsense") == {"response_type": "AUTH_ERR"}
        assert client.login(user="reader") == {"response_type": "AUTH_ERR"}
        assert client.login(user="unknown") == {"response_type": "AUTH_ERR"}
        assert client.login(key="4-" + "o" * 64) == {"response_type": "EXPIRED"}
        assert client.login("nobody-special", "5-" + "n" * 64) == {"response_type": "DENIED"}
        assert error_of(client, "pool.query").errno == 207


def test_a_password_asks_for_the_second_factor(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        data = {"mechanism": "PASSWORD_PLAIN", "username": "person", "password": "correct horse"}
        assert error_of(client, "auth.login_ex", {"mechanism": "OTP_TOKEN", "otp_token": "1"}).errno == 22
        assert client.call("auth.login_ex", data | {"password": "wrong"}) == {"response_type": "AUTH_ERR"}
        asked = {"response_type": "OTP_REQUIRED", "username": "person"}
        assert client.call("auth.login_ex", data) == asked
        otp = {"mechanism": "OTP_TOKEN", "otp_token": "000000"}
        assert client.call("auth.login_ex_continue", otp) == asked
        answer = client.call("auth.login_ex_continue", otp | {"otp_token": "123456"})
        assert answer["response_type"] == "SUCCESS"
        assert answer["user_info"]["pw_name"] == "person"
        assert client.call("pool.query")


def test_a_standby_node_sends_elsewhere(nas: Simulator) -> None:
    nas.control("PUT", "/state", {"system": {"failover_urls": ["https://192.0.2.7"]}})
    with nas.connect(login=False) as client:
        assert client.login() == {"response_type": "REDIRECT", "urls": ["https://192.0.2.7"]}


def test_a_stricter_level_refuses_keys(nas: Simulator) -> None:
    nas.control("PUT", "/state", {"system": {"assurance_level": "LEVEL_2"}})
    with nas.connect(login=False) as client:
        error = error_of(
            client, "auth.login_ex", {"mechanism": "API_KEY_PLAIN", "username": "pantheon", "api_key": KEY}
        )
        assert error.errno == errno.EOPNOTSUPP


def test_a_key_alone_is_enough_for_the_old_method(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        assert client.call("auth.login_with_api_key", "1-" + "x" * 64) is False
        assert client.call("auth.login_with_api_key", "77-" + "x" * 64) is False
        assert client.call("auth.login_with_api_key", KEY) is True
        assert client.call("auth.me")["pw_name"] == "pantheon"
        assert client.call("auth.logout") is True
        assert error_of(client, "auth.me").errno == 207


def test_a_refused_login_takes_its_time(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, "--auth-delay", "0.4")
    try:
        with simulator.connect() as client:
            started = time.monotonic()
            assert client.login(key="1-" + "x" * 64)["response_type"] == "AUTH_ERR"
            assert time.monotonic() - started >= 0.4
            started = time.monotonic()
            assert client.call("auth.login_with_api_key", "9-x") is False
            assert time.monotonic() - started >= 0.4
    finally:
        simulator.stop()


def test_a_key_over_plain_transport_is_revoked_at_once(nas: Simulator) -> None:
    with nas.connect(plain=True) as client:  # on the machine itself that is no danger
        assert client.call("core.ping") == "pong"
    nas.control("PUT", "/state", {"system": {"loopback_is_remote": True}})
    with nas.connect(plain=True, login=False) as client:
        assert client.login() == {"response_type": "EXPIRED"}
    with nas.connect(login=False) as client:
        assert client.login() == {"response_type": "EXPIRED"}
        assert client.call("auth.login_with_api_key", KEY) is False
    key = nas.control("GET", "/state")["api_keys"][0]
    assert key["revoked"] is True
    assert key["revoked_reason"] == "Attempt to use over an insecure transport"


def test_a_role_decides_what_may_be_called(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        client.login("reader", "2-" + "r" * 64)
        assert client.call("pool.dataset.query")
        assert client.call("nfs.config")
        for method, params in (
            ("pool.dataset.create", [{"name": "tank/a"}]),
            ("pool.dataset.delete", ["tank/a"]),
            ("sharing.nfs.create", [{"path": "/mnt/tank"}]),
            ("nfs.update", [{}]),
        ):
            error = error_of(client, method, *params)
            assert (error.code, error.errno, error.data["reason"]) == (-32001, 13, "[EACCES] Not authorized")
    assert list((nas.state / "mnt/tank").iterdir()) == []


def test_the_role_to_write_datasets_does_not_let_destroy_them(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        client.login("platform", "3-" + "p" * 64)
        client.call("pool.dataset.create", {"name": "tank/a"})
        assert error_of(client, "pool.dataset.delete", "tank/a").errno == 13
        assert client.call("service.update", "nfs", {"enable": True}) == 9
        denied = error_of(client, "service.update", "cifs", {"enable": True})
        assert denied.data["reason"] == "[EPERM] cifs: authenticated session lacks privilege to update service"
        client.call("core.set_options", {"legacy_jobs": False})
        assert client.call("service.control", "START", "nfs", {"silent": False}) is True
        assert error_of(client, "service.control", "START", "cifs", {"silent": False}).errno == 1
        assert client.call("system.version") == "TrueNAS-25.10.6"


def test_asking_for_the_mechanisms_before_login_fails_as_it_does_there(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        error = error_of(client, "auth.mechanism_choices")
        assert (error.code, error.errno) == (-32001, 22)
        assert error.data["reason"] == "'NoneType' object has no attribute 'may_create_auth_token'"
        client.login()
        assert client.call("auth.mechanism_choices") == ["API_KEY_PLAIN", "TOKEN_PLAIN", "PASSWORD_PLAIN"]


def test_the_21st_call_before_login_is_refused(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        for _ in range(20):
            assert client.call("core.ping") == "pong"
        error = error_of(client, "core.ping")
        assert (error.code, error.errno, error.data["reason"]) == (-32001, 16, "[EBUSY] Rate Limit Exceeded")
        for _ in range(25):  # this one is not counted
            client.call("core.set_options", {})
        assert client.login()["response_type"] == "SUCCESS"  # counted on its own
        assert client.call("core.ping") == "pong"  # and who is logged in is not counted at all
    with nas.connect(login=False) as client:  # the address counts, not the connection
        assert error_of(client, "core.ping").errno == 16
        for _ in range(19):
            client.login(key="1-x")
        assert error_of(client, "auth.login_ex", {"mechanism": "TOKEN_PLAIN", "token": "x"}).errno == 16


def test_arguments_of_a_login_are_checked(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        error = error_of(client, "auth.login_ex", {"mechanism": "API_KEY_PLAIN", "api_key": 5})
        assert error.attributes == ["login_data.API_KEY_PLAIN.username", "login_data.API_KEY_PLAIN.api_key"]
        assert error.texts == ["Field required", "Input should be a valid string"]
        assert error_of(client, "auth.login_ex", {"mechanism": "SCRAM", "scram_type": "x"}).code == -32602


# -- release 26 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("nas26"), "--release", "26", "--plain", "127.0.0.1:0", config=CONFIG)
    yield simulator
    simulator.stop()


def scram(client: Client, header: str, binding: bytes, key: str = "k" * 64, user: str = "pantheon:1") -> dict[str, Any]:
    """Log in as RFC 5802 says, with code of the test's own."""
    nonce = secrets.token_bytes(32)
    bare = f"n={user},r={base64.b64encode(nonce).decode()}"
    first = {"mechanism": "SCRAM", "scram_type": "CLIENT_FIRST_MESSAGE", "rfc_str": f"{header},,{bare}"}
    answer = client.call("auth.login_ex", first)
    if answer["response_type"] != "SCRAM_RESPONSE":
        return answer  # type: ignore[no-any-return]
    assert (answer["scram_type"], answer["user_info"]) == ("SERVER_FIRST_RESPONSE", None)
    parts = dict(part.split("=", 1) for part in answer["rfc_str"].split(","))
    assert base64.b64decode(parts["r"]).startswith(nonce)
    assert parts["i"] == "50000"
    salted = hashlib.pbkdf2_hmac("sha512", key.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha512")
    channel = base64.b64encode(f"{header},,".encode() + binding).decode()
    without_proof = f"c={channel},r={parts['r']}"
    message = f"{bare},{answer['rfc_str']},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha512(client_key).digest(), message, "sha512")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    last = {"mechanism": "SCRAM", "scram_type": "CLIENT_FINAL_MESSAGE", "rfc_str": f"{without_proof},p={proof}"}
    answer = client.call("auth.login_ex", last)
    if answer["response_type"] == "SCRAM_RESPONSE":
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha512"), message, "sha512")
        assert answer["rfc_str"] == f"v={base64.b64encode(server).decode()}"
        assert answer["scram_type"] == "SERVER_FINAL_RESPONSE"
        assert answer["user_info"]["pw_name"] == "pantheon"
    return answer  # type: ignore[no-any-return]


def test_a_key_is_proved_without_being_sent(newer: Simulator) -> None:
    newer.control("POST", "/reset")
    certificate = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(newer.ready["certificate"]).read_text())).digest()
    bound = "p=tls-server-end-point"
    with newer.connect(login=False) as client:
        assert "SCRAM" in client.call("auth.mechanism_choices")
        assert scram(client, bound, certificate)["response_type"] == "SCRAM_RESPONSE"
        assert client.call("system.version") == "TrueNAS-26.0.0"
    with newer.connect(login=False) as client:
        assert scram(client, "n", b"")["response_type"] == "SCRAM_RESPONSE"
        assert client.call("auth.me")["pw_name"] == "pantheon"
    with newer.connect(login=False) as client:
        assert scram(client, bound, b"x" * 32) == {"response_type": "AUTH_ERR"}
        assert scram(client, "n", b"", key="x" * 64) == {"response_type": "AUTH_ERR"}
        assert scram(client, "n", b"", user="reader:1") == {"response_type": "AUTH_ERR"}
        assert scram(client, "n", b"", user="pantheon:99") == {"response_type": "AUTH_ERR"}
        assert scram(client, "y", b"") == {"response_type": "AUTH_ERR"}
        assert error_of(client, "auth.me").errno == 207
    with newer.connect(login=False, plain=True) as client:
        assert scram(client, bound, certificate) == {"response_type": "AUTH_ERR"}


def test_what_release_26_has_and_has_not(newer: Simulator) -> None:
    newer.control("POST", "/reset")
    with newer.connect(login=False) as client:
        assert client.login()["reconnect_token"] is None
        assert client.login(reconnect_token=True)["reconnect_token"]
        client.call("pool.dataset.create", {"name": "tank/m"})
        share = client.call("sharing.nfs.create", {"path": "/mnt/tank/m"})
        assert (share["dataset"], share["relative_path"], share["tier"]) == ("tank/m", "", None)
        assert client.call("pool.dataset.get_instance", "tank/m")["tier"] is None
        for verb in ("start", "stop", "restart", "reload"):
            assert error_of(client, f"service.{verb}", "nfs").code == -32601
        error = error_of(client, "pool.dataset.create", {"name": "tank/x", "quota": 5, "atime": "on"})
        assert list(zip(error.attributes, error.texts, strict=True)) == [
            ("data.FILESYSTEM.quota.constrained-int", "Input should be greater than or equal to 1073741824"),
            (
                "data.FILESYSTEM.atime",
                "Input should be 'ON', 'OFF' or 'INHERIT' or Input should be an instance of _NotRequired",
            ),
            ("data.FILESYSTEM.quota", "Input should be 0 or None or Input should be an instance of _NotRequired"),
        ]
        bad = error_of(client, "pool.query", [], {"limit": -1})
        assert bad.attributes == ["options.limit"]
        options = {"encryption_options": {"algorithm": "AES-256-GCM"}}
        assert error_of(client, "pool.dataset.create", {"name": "tank/x", **options}).texts == [
            "Extra inputs are not permitted"
        ]
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(newer.ready["listen"] + "/api/versions", context=context, timeout=10) as answer:
        assert json.load(answer)[-1] == "v26.0.0"


def test_what_release_25_04_has_and_has_not(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, "--release", "25.04")
    try:
        with simulator.connect() as client:
            assert client.call("core.set_options", {"legacy_jobs": False}) is None
            assert isinstance(client.call("filesystem.chown", {"path": "/mnt/tank", "uid": 0}), int)
            assert error_of(client, "service.control", "START", "nfs").code == -32601
            assert client.call("service.start", "nfs", {"silent": False}) is True
            assert client.call("service.started", "nfs") is True
            assert client.call("pool.query", [], {"extend": None, "prefix": None, "relationships": True})
            assert client.call("system.version_short") == "25.04.2.6"
            assert (
                client.call("auth.login_ex", {"mechanism": "TOKEN_PLAIN", "token": "x"})["response_type"] == "AUTH_ERR"
            )
    finally:
        simulator.stop()


# -- queries ------------------------------------------------------------------------------------------------------

ROWS = [
    {"id": 1, "name": "Alpha", "size": 10, "tags": ["a", "b"], "who": {"name": "x"}},
    {"id": 2, "name": "beta", "size": None, "tags": [], "who": {"name": "y"}},
    {"id": 3, "name": "gamma", "size": 30, "tags": ["b"], "who": {}},
    {"id": 4, "name": "Alphabet", "size": 20, "tags": ["c"], "who": {"name": "x"}},
]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], [1, 2, 3, 4]),
        ([["id", "=", 2]], [2]),
        ([["id", "!=", 2]], [1, 3, 4]),
        ([["id", ">", 3]], [4]),
        ([["id", ">=", 3]], [3, 4]),
        ([["id", "<", 2]], [1]),
        ([["id", "<=", 2]], [1, 2]),
        ([["name", "~", "Alp"]], [1, 4]),
        ([["id", "in", [1, 3]]], [1, 3]),
        ([["id", "nin", [1, 3]]], [2, 4]),  # codespell:ignore nin
        ([["tags", "rin", "b"]], [1, 3]),  # codespell:ignore rin
        ([["tags", "rnin", "b"]], [2, 4]),
        ([["name", "^", "Alpha"]], [1, 4]),
        ([["name", "!^", "Alpha"]], [2, 3]),
        ([["name", "$", "bet"]], [4]),
        ([["name", "!$", "a"]], [4]),
        ([["name", "C=", "ALPHA"]], [1]),
        ([["name", "C^", "aLPHA"]], [1, 4]),
        ([["who.name", "=", "x"]], [1, 4]),
        ([["tags.0", "=", "b"]], [3]),
        ([["missing", "=", None]], []),
        ([["name", "^", "Alpha"], ["id", ">", 1]], [4]),
        ([["OR", [["id", "=", 1], ["id", "=", 3]]]], [1, 3]),
        ([["OR", [[["name", "^", "Alpha"], ["id", ">", 1]], ["id", "=", 2]]]], [2, 4]),
    ],
)
def test_filters(filters: list[Any], found: list[int]) -> None:
    from lab.simulators.truenas.truenas_simulator.filters import filter_list

    assert [row["id"] for row in filter_list(ROWS, filters, {})] == found


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"count": True}, 4),
        ({"get": True, "select": ["id"]}, {"id": 1}),
        ({"order_by": ["-id"], "select": ["id"], "limit": 2}, [{"id": 4}, {"id": 3}]),
        ({"order_by": ["name"], "select": ["name"], "offset": 3}, [{"name": "gamma"}]),
        ({"select": [["who.name", "owner"]], "limit": 1}, [{"owner": "x"}]),
        ({"select": ["who.name"], "limit": 1}, [{"who": {"name": "x"}}]),
        ({"order_by": ["nulls_first:-size"], "select": ["size"]}, [{"size": n} for n in (None, 30, 20, 10)]),
        ({"order_by": ["nulls_last:size"], "select": ["size"]}, [{"size": n} for n in (10, 20, 30, None)]),
    ],
)
def test_options(options: dict[str, Any], result: Any) -> None:
    from lab.simulators.truenas.truenas_simulator.filters import filter_list

    assert filter_list(ROWS, [], options) == result


@pytest.mark.parametrize(
    ("filters", "options", "attribute", "text"),
    [
        ([["id", "==", 1]], {}, "filters", "Value error, Invalid operation: =="),
        ([["id", "C~", "x"]], {}, "filters", "Value error, Invalid case-insensitive operation: C~"),
        ([["AND", [["id", "=", 1]]]], {}, "filters", "Value error, Invalid operation: AND"),
        ([["OR", []]], {}, "filters", "Value error, OR filter requires at least one branch."),
        ([["id"]], {}, "filters", "Value error, Invalid filter ['id']"),
        ("x", {}, "filters", "Input should be a valid list"),
        ([], {"limit": "1"}, "options.limit", "Input should be a valid integer"),
        ([], {"zzz": 1}, "options.zzz", "Extra inputs are not permitted"),
        ([], {"extend": None}, "options.extend", "Extra inputs are not permitted"),
        ([], {"limit": 10001}, "options", "Value error, Options limit must be between 1 and 10000"),
        (
            [],
            {"get": True, "limit": 2},
            "options",
            "Value error, Invalid options combination. `get` implies a single result.",
        ),
    ],
)
def test_a_bad_query_is_refused(client: Client, filters: Any, options: Any, attribute: str, text: str) -> None:
    error = error_of(client, "pool.query", filters, options)
    assert (error.code, error.attributes, error.texts) == (-32602, [attribute], [text])


# -- jobs ---------------------------------------------------------------------------------------------------------


def test_a_job_answers_its_number_by_default_and_its_result_when_asked(client: Client) -> None:
    number = client.call("service.control", "START", "nfs", {"silent": False})
    assert isinstance(number, int) and not isinstance(number, bool)
    deadline = time.monotonic() + 10
    while True:
        job = client.call("core.get_jobs", [["id", "=", number]], {"get": True})
        if job["state"] == "SUCCESS" or time.monotonic() > deadline:
            break
    assert (job["state"], job["result"], job["method"]) == ("SUCCESS", True, "service.control")
    assert job["arguments"][:2] == ["START", "nfs"]
    assert job["progress"]["percent"] == 100
    assert job["credentials"]["data"]["username"] == "pantheon"
    options = client.call("core.set_options", {"legacy_jobs": False, "unknown": 1})
    assert options == {"legacy_jobs": False, "private_methods": False, "py_exceptions": False}
    assert client.call("service.control", "STOP", "nfs", {"silent": False}) is True


def test_a_subscriber_is_told_each_step_before_the_reply(client: Client) -> None:
    client.call("core.subscribe", "core.get_jobs")
    client.call("core.set_options", {"legacy_jobs": False})
    number = client.start("service.control", "START", "nfs", {"silent": False})
    assert client.finish(number) is True
    steps = [message["params"] for message in client.notifications]
    assert [message["method"] for message in client.notifications] == ["collection_update"] * 4
    assert [(step["msg"], step["fields"]["state"]) for step in steps] == [
        ("added", "WAITING"),
        ("changed", "RUNNING"),
        ("changed", "SUCCESS"),
        ("changed", "SUCCESS"),
    ]
    assert {step["collection"] for step in steps} == {"core.get_jobs"}
    assert {step["id"] for step in steps} == {steps[0]["fields"]["id"]}
    assert steps[0]["fields"]["message_ids"] == [number]


def test_a_subscription_ends(client: Client) -> None:
    ident = client.call("core.subscribe", "sharing.nfs.query")
    share = client.call("sharing.nfs.create", {"path": "/mnt/tank"})
    assert client.notifications[-1]["params"]["collection"] == "sharing.nfs.query"
    assert client.notifications[-1]["params"]["fields"] == share
    client.call("core.unsubscribe", ident)
    assert client.notifications[-1]["method"] == "notify_unsubscribed"
    seen = len(client.notifications)
    client.call("sharing.nfs.delete", share["id"])
    assert len(client.notifications) == seen


def test_only_who_may_read_can_subscribe(nas: Simulator) -> None:
    with nas.connect(login=False) as client:
        client.login("platform", "3-" + "p" * 64)
        assert client.call("core.subscribe", "sharing.nfs.query")
        assert client.call("core.subscribe", "core.get_jobs")
        assert error_of(client, "core.subscribe", "replication.query").errno == 13


def test_a_failed_job_tells_why(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "job_fails", "match": "setperm", "message": "the disk is full"})
    number = client.call("filesystem.setperm", {"path": "/mnt/tank", "mode": "0755"})
    wait = client.call("core.job_wait", number)
    client.call("core.set_options", {"legacy_jobs": False})
    error = error_of(client, "core.job_wait", number)
    assert error.data["reason"] == "[EFAULT] the disk is full"
    job = client.call("core.get_jobs", [["id", "=", number]], {"get": True})
    assert (job["state"], job["error"], job["result"]) == ("FAILED", "[EFAULT] the disk is full", None)
    assert job["exc_info"]["type"] == "CallError"
    assert job["exc_info"]["errno"] == 14
    assert "Traceback" in job["exception"]
    assert wait > number
    assert (
        client.call("core.get_jobs", [["state", "=", "FAILED"], ["method", "=", "filesystem.setperm"]], {"count": True})
        == 1
    )
    assert error_of(client, "core.job_wait", 999).data["extra"] == [[None, "Job with id 999 does not exist", 2]]


def test_validation_of_a_job_stands_in_its_error_info(client: Client) -> None:
    number = client.call("filesystem.setperm", {"path": "/mnt/tank", "mode": "0755"})
    client.call("core.job_wait", number)
    job = client.call("core.get_jobs", [["id", "=", number]], {"get": True})
    assert (job["state"], job["exc_info"]["type"]) == ("FAILED", "VALIDATION")
    assert job["exc_info"]["extra"][0][0] == "filesystem.setperm.path"


def test_others_see_only_their_own_jobs(nas: Simulator, client: Client) -> None:
    client.call("service.control", "START", "nfs")
    with nas.connect(login=False) as other:
        other.login("platform", "3-" + "p" * 64)
        assert other.call("core.get_jobs") == []
        own = other.call("service.control", "RELOAD", "nfs")
        assert [job["id"] for job in other.call("core.get_jobs")] == [own]


# -- faults -------------------------------------------------------------------------------------------------------


def test_a_dropped_connection_gets_no_answer(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "drop", "match": "pool.dataset.create"})
    with pytest.raises(Closed):
        client.call("pool.dataset.create", {"name": "tank/a"})
    assert nas.log("pool.dataset.create")[-1]["status"] == "dropped"
    with nas.connect() as again:
        assert again.call("pool.dataset.query", [["id", "=", "tank/a"]]) == []
        nas.faults({"kind": "drop", "match": "pool.dataset.create", "after": True})
        with pytest.raises(Closed):
            again.call("pool.dataset.create", {"name": "tank/a"})
    with nas.connect() as third:
        assert third.call("pool.dataset.query", [["id", "=", "tank/a"]])


def test_faults_strike_as_often_as_they_should(nas: Simulator, client: Client) -> None:
    nas.faults(
        {"kind": "ebusy", "match": "nfs.config", "times": 2},
        {"kind": "error", "match": "pool.query", "message": "boom"},
    )
    assert [error_of(client, "nfs.config").errno for _ in range(2)] == [16, 16]
    assert client.call("nfs.config")["id"] == 1
    error = error_of(client, "pool.query")
    assert (error.errno, error.data["reason"]) == (14, "[EFAULT] boom")
    assert nas.control("GET", "/faults") == {"faults": []}
    nas.faults({"kind": "error", "match": "pool.query", "times": None})
    assert all(error_of(client, "pool.query") for _ in range(3))
    nas.control("DELETE", "/faults")
    assert client.call("pool.query")
    with pytest.raises(urllib.error.HTTPError) as caught:
        nas.faults({"kind": "nonsense"})
    assert caught.value.code == 400


def test_a_slow_job_stays_running(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "slow_job", "match": "service.control", "seconds": 0.5})
    started = time.monotonic()
    number = client.call("service.control", "START", "nfs")
    assert time.monotonic() - started < 0.4
    assert client.call("core.get_jobs", [["id", "=", number]], {"get": True})["state"] == "RUNNING"
    client.call("core.set_options", {"legacy_jobs": False})
    assert client.call("core.job_wait", number) is True
    assert time.monotonic() - started >= 0.5


def test_a_key_can_be_revoked_at_login_and_in_a_session(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "revoke_key", "match": "pool.query"})
    assert error_of(client, "pool.query").errno == 207
    with nas.connect(login=False) as other:
        assert other.login() == {"response_type": "EXPIRED"}
    nas.control("POST", "/reset")
    nas.faults({"kind": "revoke_key", "match": "auth.login_ex"})
    with nas.connect(login=False) as other:
        assert other.login() == {"response_type": "EXPIRED"}
        assert other.login() == {"response_type": "EXPIRED"}


def test_a_pool_can_be_degraded(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "pool_degraded"})
    pool = client.call("pool.query", [["name", "=", "tank"]], {"get": True})
    assert (pool["status"], pool["healthy"]) == ("DEGRADED", False)
    pool = client.call("pool.query", [["name", "=", "tank"]], {"get": True})
    assert (pool["status"], pool["healthy"], pool["path"]) == ("ONLINE", True, "/mnt/tank")


# -- log and state ------------------------------------------------------------------------------------------------


def test_the_log_tells_reads_from_writes(nas: Simulator, client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    nas.control("DELETE", "/log")
    client.call("pool.dataset.query", [["id", "=", "tank/a"]])
    client.call("sharing.nfs.query")
    entries = nas.log()
    assert [(entry["method"], entry["status"], entry["user"], entry["write"]) for entry in entries] == [
        ("pool.dataset.query", "ok", "pantheon", False),
        ("sharing.nfs.query", "ok", "pantheon", False),
    ]
    assert entries[0]["path"] == "/api/current"
    error_of(client, "sharing.nfs.create", {"path": "/nowhere"})
    entry = nas.log("sharing.nfs.create")[-1]
    assert (entry["status"], entry["write"], entry["error"]["code"]) == ("error", True, -32602)
    with nas.connect(login=False):
        pass
    assert nas.log()[-1]["status"] == 101


def test_the_log_never_holds_a_secret(nas: Simulator) -> None:
    secret = ["k" * 64, "r" * 64, "correct horse", "123456", "PRIVATE KEY"]
    with nas.connect(login=False) as client:
        client.login()
        client.call("auth.login_with_api_key", KEY)
        client.login("reader", "2-" + "r" * 64)
        client.call("auth.login", "person", "correct horse", "123456")
        client.call("auth.login_ex", {"mechanism": "PASSWORD_PLAIN", "username": "person", "password": "correct horse"})
        client.call("auth.login_ex", {"mechanism": "OTP_TOKEN", "otp_token": "123456"})
        error_of(client, "auth.login_ex", {"mechanism": KEY})
        error_of(client, "auth.login_ex", KEY)
        pair = client.call("keychaincredential.generate_ssh_key_pair")
        client.call(
            "keychaincredential.create",
            {"name": "pair", "type": "SSH_KEY_PAIR", "attributes": pair},
        )
    everything = json.dumps(nas.control("GET", "/log")) + (nas.state / "audit.jsonl").read_text()
    everything += json.dumps(nas.control("GET", "/state"))
    assert nas.log("auth.login_ex")[0]["params"][0]["api_key"] == "********"
    for text in secret:
        assert text not in everything


def test_a_user_property_is_no_secret(nas: Simulator, client: Client) -> None:
    properties = [{"key": "ai.lab:owner", "value": "me"}]
    client.call("pool.dataset.create", {"name": "tank/a", "user_properties": properties})
    assert nas.log("pool.dataset.create")[-1]["params"][0]["user_properties"] == properties


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    try:
        with simulator.connect() as client:
            client.call("pool.dataset.create", {"name": "tank/a", "comments": "kept"})
            share = client.call("sharing.nfs.create", {"path": "/mnt/tank/a", "networks": ["10.0.0.0/8"]})
            gone = client.call("sharing.nfs.create", {"path": "/mnt/tank/a", "networks": ["11.0.0.0/8"]})
            client.call("sharing.nfs.delete", gone["id"])
            client.call("service.update", "nfs", {"enable": True})
            dataset = client.call("pool.dataset.get_instance", "tank/a")
        fingerprint = simulator.ready["fingerprint"]
        simulator.stop(9)
        simulator.start()
        assert simulator.ready["fingerprint"] == fingerprint
        with simulator.connect() as client:
            assert client.call("sharing.nfs.query") == [share]
            assert client.call("pool.dataset.get_instance", "tank/a") == dataset
            service = client.call("service.query", [["service", "=", "nfs"]], {"get": True})
            assert (service["enable"], service["state"]) == (True, "RUNNING")
            new = client.call("sharing.nfs.create", {"path": "/mnt/tank/a", "networks": ["12.0.0.0/8"]})
            assert new["id"] == gone["id"] + 1  # a number is never given twice
        assert next(entry["method"] for entry in simulator.log() if entry["write"]) == "pool.dataset.create"
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".state-")]
    finally:
        simulator.stop()


def test_the_state_can_be_seeded_and_reset(nas: Simulator, client: Client) -> None:
    nas.control(
        "PUT",
        "/state",
        {
            "pools": [{"name": "flash", "size": 10**12}],
            "datasets": {"flash/a": {"properties": {"recordsize": "1048576"}, "user_properties": {"x:y": "z"}}},
            "services": {"nfs": {"enable": True}},
            "shares": [],
        },
    )
    row = client.call("pool.dataset.get_instance", "flash/a")
    assert (row["recordsize"]["value"], row["user_properties"]["x:y"]["value"]) == ("1M", "z")
    assert (nas.state / "mnt/flash/a").is_dir()
    with pytest.raises(urllib.error.HTTPError) as caught:
        nas.control("PUT", "/state", {"datasets": {"nopool/a": {}}})
    assert caught.value.code == 400
    nas.control("POST", "/reset")
    assert [pool["name"] for pool in client.call("pool.query")] == ["tank"]
    assert nas.control("GET", "/health") == {"release": "25.10", "nfs": False, "healthy": True}


def test_a_wrong_start_is_explained(tmp_path: Path) -> None:
    configs: tuple[dict[str, Any], ...] = ({"nonsense": 1}, {"datasets": {"nopool/a": {}}})
    for config in configs:
        with pytest.raises(RuntimeError, match="status 2"):
            Simulator(tmp_path / "x", config=config)
