# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict against a small edge with TLS, one fault at a time: each gives ok: false and says what to do."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils import _pki, _verify, _verify_checks
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify import EdgePoint, Host, Model, Plan, Ports, Probe
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify_checks import Limits, Verifier

CHAT, GATEWAY = "chat.lab.internal", "llm.lab.internal"
KEY, PASSWORD, TOKEN = "sk-right-key-of-verify", "right-password-0001", "token-of-the-session"
SENTENCES = {"lab-small": "I am the small one.", "lab-large": "I am the large one."}
MODELS = (
    Model("lab-small", "chat", frozenset({"lab-small@one", "lab-small@two"}), "small one", ("one", "two")),
    Model("lab-large", "chat", frozenset({"lab-large@two"}), "large one", ("two",)),
    Model("lab-embed", "embedding", frozenset({"lab-embed@one"}), None, ("one",)),
)


@dataclass
class Behaviour:
    """What the platform does; the defaults are a working one."""

    sentences: dict[str, str] = field(default_factory=lambda: dict(SENTENCES))
    ids: dict[str, str] = field(
        default_factory=lambda: {
            "lab-small": "lab-small@two",
            "lab-large": "lab-large@two",
            "lab-embed": "lab-embed@one",
        }
    )
    listed: list[str] = field(default_factory=lambda: ["lab-small", "lab-large", "lab-embed"])
    vector: list[float] = field(default_factory=lambda: [0.1, -0.2, 0.3])
    parts: Callable[[str], list[str]] = str.split
    pause: float = 0.0
    event_stream: bool = True
    accepts_any_key: bool = False
    accepts_no_key: bool = False
    wrong_key_status: int = 401
    accepts_anybody: bool = False
    open_list: bool = False
    page_needs_tools: bool = False  # a chat of the page asks for tools, which the models do not have
    redirect: bool = True
    broken_starts: int = 0  # answers of 503 before the platform is ready
    seen: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Edge(http.server.BaseHTTPRequestHandler):
    """Open WebUI and the gateway behind one door."""

    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def reply(self, status: int, data: Any, **headers: str) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def bearer(self) -> str | None:
        value = self.headers.get("Authorization")
        return value.removeprefix("Bearer ") if value else None

    @property
    def host(self) -> str:
        return (self.headers["Host"] or "").partition(":")[0]

    def starting(self) -> bool:
        with self.behaviour.lock:
            if self.behaviour.broken_starts > 0:
                self.behaviour.broken_starts -= 1
                self.reply(503, {"error": "starting"})
                return True
        return False

    def allowed(self) -> bool:
        if self.host == CHAT:
            good = self.bearer == TOKEN or self.behaviour.open_list
        else:
            key = self.bearer
            good = (
                key == KEY
                or (key is None and self.behaviour.accepts_no_key)
                or (key is not None and self.behaviour.accepts_any_key)
            )
        if not good:
            self.reply(self.behaviour.wrong_key_status, {"error": f"no such key: {self.bearer}"})
        return good

    def do_GET(self) -> None:
        assert self.path in ("/api/models", "/v1/models")
        if self.allowed() and not self.starting():
            self.reply(200, {"data": [{"id": name} for name in self.behaviour.listed]})

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.behaviour.seen.append(self.path)
        if self.path == "/api/v1/auths/signin":
            good = data == {"email": "admin@lab.internal", "password": PASSWORD} or self.behaviour.accepts_anybody
            self.reply(200, {"token": TOKEN}) if good else self.reply(400, {"detail": f"wrong: {data['password']}"})
        elif not self.allowed() or self.starting():
            return
        elif self.path == "/v1/embeddings":
            headers = {"x_litellm_model_id": self.behaviour.ids[data["model"]]}
            self.reply(200, {"data": [{"embedding": self.behaviour.vector}]}, **headers)
        elif self.behaviour.page_needs_tools and data.get("session_id"):
            self.reply(400, {"error": f"{data['model']} does not support tools"})
        elif data["model"] not in self.behaviour.sentences:
            self.reply(404, {"error": "unknown model"})
        elif data.get("stream"):
            self.stream(self.behaviour.sentences[data["model"]])
        else:
            text = self.behaviour.sentences[data["model"]]
            answer = {"model": data["model"], "choices": [{"message": {"content": text}}]}
            headers = {"x_litellm_model_id": self.behaviour.ids[data["model"]]} if self.host == GATEWAY else {}
            self.reply(200, answer, **headers)

    def stream(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if self.behaviour.event_stream else "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        time.sleep(self.behaviour.pause)
        events = [{"choices": [{"delta": {"content": f"{part} "}}]} for part in self.behaviour.parts(text)]
        for event in [*map(json.dumps, events), "[DONE]"]:
            line = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(0.002)
        self.wfile.write(b"0\r\n\r\n")


class Door(http.server.BaseHTTPRequestHandler):
    """Port 80."""

    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        if self.behaviour.redirect:
            self.send_response(308)
            self.send_header("Location", f"https://{self.headers['Host']}/")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@dataclass
class Lab:
    """The running edge, the plan that fits it, and the secrets of the owner."""

    behaviour: Behaviour
    plan: Plan
    secrets: dict[str, str]
    segments: dict[str, Any]

    def verdict(self, **limits: float) -> dict[str, Any]:
        """Verify, and return the verdict; no time to settle unless asked for."""
        given = Limits(**{"connect": 1, "answer": 5, "chat": 5, "settle": 0, "port": 0.3, **limits})
        verifier = Verifier(self.plan, self.secrets, self.segments, given)
        checks = verifier.perform()
        return _verify.verdict(self.plan, checks, verifier.answers, "2026-11-24T16:00:00Z", 1.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def probe_result(probe: Probe, state: str) -> dict[str, Any]:
    return {**probe.as_dict(), "state": state, "ok": state == probe.expect, "detail": "as told", "addresses": []}


@pytest.fixture(scope="module")
def pki() -> dict[str, _pki.Pair]:
    ca = _pki.create_ca("Test CA")
    return {"ca": ca, "leaf": _pki.issue(ca, ["lab.internal", "*.lab.internal"]), "other": _pki.create_ca("Test CA")}


@pytest.fixture
def lab(pki: dict[str, _pki.Pair], tmp_path: Path) -> Iterator[Lab]:
    behaviour = Behaviour()
    (tmp_path / "key.pem").write_text(pki["leaf"].key)
    (tmp_path / "chain.pem").write_text(pki["leaf"].certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64
        tls: ssl.SSLContext | None = None

        def handle_error(self, *_: object) -> None:
            """Be quiet: a client that refuses the certificate is a test, not an error."""

        def finish_request(self, request: Any, client_address: Any) -> None:
            # The handshake belongs into the thread of the connection, or one slow client stops all.
            if self.tls:
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

    servers = []
    for handler, tls in ((Edge, context), (Door, None)):
        server = Server(("127.0.0.1", 0), type("Handler", (handler,), {"behaviour": behaviour}))
        server.tls = tls
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    https, door = servers[0].server_port, servers[1].server_port
    probes = (Probe("litellm", "redis", 6379, "open"), Probe("litellm", "postgresql", 5432, "closed"))
    plan = Plan(
        environment="lab",
        edges=(EdgePoint("one", "127.0.0.1", https, door),),
        names=(CHAT, GATEWAY),
        interface=CHAT,
        gateway=GATEWAY,
        models=MODELS,
        admin_email="admin@lab.internal",
        admin_secret="admin_password",
        key_secret="verify_key",
        ca_secrets=("edge_ca_certificate",),
        hosts=(Host("one", "127.0.0.1", https),),
        ports=(Ports("one", "127.0.0.1", {https: "edge-proxy.https"}, {free_port(): "postgresql.sql"}),),
        probes={"one": probes},
        urls={"open-webui": f"https://{CHAT}"},
    )
    secrets = {"edge_ca_certificate": pki["ca"].certificate, "admin_password": PASSWORD, "verify_key": KEY}
    segments = {"one": [probe_result(probe, probe.expect) for probe in probes]}
    yield Lab(behaviour, plan, secrets, segments)
    for server in servers:
        server.shutdown()
        server.server_close()


def states(result: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["state"] for check in result["checks"]}


def test_a_working_platform(lab: Lab) -> None:
    result = lab.verdict()
    assert result["ok"] is True, _verify.table(result)
    assert set(states(result).values()) == {"ok"}
    assert list(states(result)) == [
        "machine one",
        "edge one",
        "TLS chat.lab.internal at one",
        "TLS llm.lab.internal at one",
        "HTTP leads to HTTPS at one",
        "sign in to Open WebUI",
        "Open WebUI refuses a stranger",
        "models in Open WebUI",
        "chat with lab-small in Open WebUI",
        "chat with lab-large in Open WebUI",
        "streaming of lab-small in Open WebUI",
        "models at the gateway",
        "chat with lab-small at the gateway",
        "chat with lab-large at the gateway",
        "vectors of lab-embed at the gateway",
        "streaming of lab-small at the gateway",
        "the gateway refuses a wrong key",
        "the gateway refuses a missing key",
        "ports of one",
        "networks of litellm on one",
    ]
    assert result["answers"] == SENTENCES
    assert all(check["ok"] is True and check["seconds"] >= 0 for check in result["checks"])


def buffered(text: str) -> list[str]:
    return [text]


FAULTS: list[tuple[str, Callable[[Lab], object], set[str], str]] = [
    (
        "a model answers for another",
        lambda lab: lab.behaviour.sentences.update({"lab-large": SENTENCES["lab-small"]}),
        {"chat with lab-large in Open WebUI", "chat with lab-large at the gateway"},
        "lacks 'large one'",
    ),
    (
        "the header names another deployment",
        lambda lab: lab.behaviour.ids.update({"lab-large": "lab-small@one"}),
        {"chat with lab-large at the gateway"},
        "the deployment lab-small@one answered; its own are lab-large@two",
    ),
    (
        "an empty answer",
        lambda lab: lab.behaviour.sentences.update({"lab-large": ""}),
        {"chat with lab-large in Open WebUI", "chat with lab-large at the gateway"},
        "gave no answer",
    ),
    (
        "a model is missing",
        lambda lab: lab.behaviour.listed.remove("lab-large"),
        {"models in Open WebUI", "models at the gateway"},
        "missing: lab-large; listed: lab-embed, lab-small",
    ),
    (
        "the page asks for tools that the models do not have",
        lambda lab: setattr(lab.behaviour, "page_needs_tools", True),
        {
            "chat with lab-large in Open WebUI",
            "chat with lab-small in Open WebUI",
            "streaming of lab-small in Open WebUI",
        },
        "does not support tools",
    ),
    (
        "the stream comes in one piece",
        lambda lab: setattr(lab.behaviour, "parts", buffered),
        {"streaming of lab-small in Open WebUI", "streaming of lab-small at the gateway"},
        "1 part(s) of the answer came before its end",
    ),
    (
        "the stream comes all at once after a while",
        lambda lab: setattr(lab.behaviour, "pause", 1.2),
        {"streaming of lab-small in Open WebUI", "streaming of lab-small at the gateway"},
        "parts came at once",
    ),
    (
        "the answer is no stream",
        lambda lab: setattr(lab.behaviour, "event_stream", False),
        {"streaming of lab-small in Open WebUI", "streaming of lab-small at the gateway"},
        "not as a stream",
    ),
    (
        "the vector is empty of meaning",
        lambda lab: setattr(lab.behaviour, "vector", [0.0, 0.0]),
        {"vectors of lab-embed at the gateway"},
        "2 zeros",
    ),
    (
        "no vector",
        lambda lab: setattr(lab.behaviour, "vector", []),
        {"vectors of lab-embed at the gateway"},
        "gave no vector",
    ),
    (
        "a wrong key is accepted",
        lambda lab: setattr(lab.behaviour, "accepts_any_key", True),
        {"the gateway refuses a wrong key"},
        "a wrong key was accepted",
    ),
    (
        "a missing key is accepted",
        lambda lab: setattr(lab.behaviour, "accepts_no_key", True),
        {"the gateway refuses a missing key"},
        "a request without a key was accepted",
    ),
    (
        "a wrong key breaks the gateway",
        lambda lab: setattr(lab.behaviour, "wrong_key_status", 500),
        {"the gateway refuses a wrong key", "the gateway refuses a missing key", "Open WebUI refuses a stranger"},
        "was not refused with 401",
    ),
    (
        "anybody can sign in",
        lambda lab: setattr(lab.behaviour, "accepts_anybody", True),
        {"Open WebUI refuses a stranger"},
        "an unknown person could sign in",
    ),
    (
        "the models are open to strangers",
        lambda lab: setattr(lab.behaviour, "open_list", True),
        {"Open WebUI refuses a stranger"},
        "a request without a session was accepted",
    ),
    (
        "HTTP stays HTTP",
        lambda lab: setattr(lab.behaviour, "redirect", False),
        {"HTTP leads to HTTPS at one"},
        "answered 200 instead of leading to https",
    ),
    (
        "a database port is open",
        lambda lab: setattr(
            lab,
            "plan",
            replace(
                lab.plan,
                ports=(replace(lab.plan.ports[0], closed={lab.plan.edges[0].http or 0: "postgresql.sql"}),),
            ),
        ),
        {"ports of one"},
        "(postgresql.sql)",
    ),
    (
        "a published port is closed",
        lambda lab: setattr(
            lab, "plan", replace(lab.plan, ports=(replace(lab.plan.ports[0], public={free_port(): "edge-proxy.x"}),))
        ),
        {"ports of one"},
        "and published by the catalog",
    ),
    (
        "a container reaches what it must not",
        lambda lab: lab.segments["one"][1].update(state="open", ok=False),
        {"networks of litellm on one"},
        "postgresql:5432 is open, not closed",
    ),
    (
        "a probe could not be made",
        lambda lab: lab.segments["one"][1].update(state="unknown", ok=False),
        {"networks of litellm on one"},
        "postgresql:5432 is unknown, not closed",
    ),
    (
        "a probe is missing",
        lambda lab: lab.segments["one"].pop(),
        {"networks of litellm on one"},
        "not probed: postgresql:5432",
    ),
]


@pytest.mark.parametrize(
    ("fault", "failing", "detail"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_one_fault_fails_its_checks_and_no_other(
    lab: Lab, fault: Callable[[Lab], object], failing: set[str], detail: str
) -> None:
    fault(lab)
    result = lab.verdict()
    assert result["ok"] is False
    failed = [check for check in result["checks"] if check["ok"] is False]
    assert {check["name"] for check in failed} == failing
    assert any(detail in check["detail"] for check in failed), [check["detail"] for check in failed]
    assert all(len(check["fix"]) > 20 for check in failed), "each failure says what to do"
    report = _verify.failures(result)
    assert all(check["name"] in report and check["fix"] in report for check in failed)


def test_another_authority_is_not_trusted(lab: Lab, pki: dict[str, _pki.Pair]) -> None:
    lab.secrets["edge_ca_certificate"] = pki["other"].certificate
    result = lab.verdict()
    assert result["ok"] is False
    tls = [check for check in result["checks"] if check["name"].startswith("TLS")]
    assert [check["state"] for check in tls] == ["failed", "failed"]
    assert all("certificate is not valid" in check["detail"] and "edge-proxy" in check["fix"] for check in tls)
    assert lab.behaviour.seen == [], "no password and no key was sent to somebody who cannot prove who he is"


def test_a_wrong_password_skips_what_needs_a_session(lab: Lab) -> None:
    lab.secrets["admin_password"] = "another-password-2"
    result = lab.verdict()
    found = states(result)
    assert result["ok"] is False
    assert found["sign in to Open WebUI"] == "failed"
    assert found["models in Open WebUI"] == found["chat with lab-small in Open WebUI"] == "skipped"
    assert found["chat with lab-small at the gateway"] == "ok"
    assert "another-password-2" not in json.dumps(result), "a server that repeats the password does not get it shown"


def test_an_edge_that_is_off_is_one_failure_and_the_rest_is_skipped(lab: Lab) -> None:
    lab.plan = replace(lab.plan, edges=(EdgePoint("one", "127.0.0.1", free_port(), free_port()),))
    result = lab.verdict()
    found = states(result)
    assert result["ok"] is False
    assert found["edge one"] == "failed"
    assert found["chat with lab-small at the gateway"] == found["TLS chat.lab.internal at one"] == "skipped"
    assert found["the gateway refuses a wrong key"] == "skipped", "what was not asked has refused nobody"


def test_the_second_edge_answers_when_the_first_is_off(lab: Lab) -> None:
    off = EdgePoint("two", "127.0.0.1", free_port(), None)
    lab.plan = replace(lab.plan, edges=(off, *lab.plan.edges))
    found = states(lab.verdict())
    assert (found["edge two"], found["edge one"]) == ("failed", "ok")
    assert found["chat with lab-small at the gateway"] == "ok"


def test_a_machine_that_is_off_is_named_and_its_checks_are_skipped(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection

    def unplugged(address: tuple[str, int], *arguments: Any, **named: Any) -> socket.socket:
        if address[0] == "192.0.2.1":
            raise TimeoutError("timed out")
        return connect(address, *arguments, **named)

    monkeypatch.setattr(socket, "create_connection", unplugged)
    lab.plan = replace(
        lab.plan,
        hosts=(*lab.plan.hosts, Host("nine", "192.0.2.1", 22)),
        ports=(*lab.plan.ports, Ports("nine", "192.0.2.1", {}, {5432: "postgresql.sql"})),
        probes={**lab.plan.probes, "nine": (Probe("ollama", "redis", 6379, "closed"),)},
    )
    result = lab.verdict()
    found = states(result)
    assert result["ok"] is False
    assert found["machine nine"] == "failed"
    assert found["ports of nine"] == found["networks of ollama on nine"] == "skipped"
    assert "Switch nine on" in _verify.failures(result)


def test_probes_that_did_not_run_are_skipped_with_the_reason(lab: Lab) -> None:
    lab.segments.clear()
    result = lab.verdict()
    check = result["checks"][-1]
    assert (check["state"], check["ok"]) == ("skipped", None)
    assert "were not probed" in check["detail"]


def test_nothing_checked_is_not_ok() -> None:
    plan = Plan(environment="empty")
    result = _verify.verdict(plan, Verifier(plan, {}).perform(), {}, "", 0)
    assert (result["ok"], result["checks"]) == (False, [])
    assert "Nothing was checked" in _verify.failures(result)
    skipped = [_verify.Check("x", _verify.SKIPPED, 0, "reason")]
    assert _verify.verdict(plan, skipped, {}, "", 0)["ok"] is False


def test_a_platform_that_still_starts_gets_its_time(lab: Lab) -> None:
    lab.behaviour.broken_starts = 3
    result = lab.verdict(settle=8)
    assert result["ok"] is True, _verify.table(result)
    assert any("(attempt 2)" in check["detail"] for check in result["checks"])


def test_what_guards_the_platform_gets_no_time(lab: Lab) -> None:
    lab.behaviour.accepts_any_key = True
    started = time.monotonic()
    assert lab.verdict(settle=30)["ok"] is False
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("seconds", "ok"), [(30, True), (0, False)])
def test_an_edge_without_a_service_behind_it_was_not_asked(lab: Lab, seconds: float, ok: bool) -> None:
    """A gateway that was just deployed: for a few seconds the edge answers 503 in its place, which guards nothing."""
    lab.behaviour.wrong_key_status = 503
    timer = threading.Timer(1.5, setattr, (lab.behaviour, "wrong_key_status", 401))
    timer.start()
    try:
        verdict = lab.verdict(settle=seconds)
    finally:
        timer.cancel()
    assert verdict["ok"] is ok
    if not ok:
        assert "could not be tried: 503" in json.dumps(verdict)


def test_the_table_shows_what_to_do(lab: Lab) -> None:
    lab.behaviour.accepts_any_key = True
    text = _verify.table(lab.verdict())
    assert text.startswith("Verdict for lab: NOT OK (19 ok, 1 failed, 0 skipped, 1.0 s)")
    assert "FAILED" in text
    assert "-> Look at the keys" in text
    assert f"open-webui: https://{CHAT}" in text


def test_no_secret_is_in_the_verdict(lab: Lab) -> None:
    lab.behaviour.wrong_key_status = 500  # the fake repeats the key it was given
    lab.secrets["verify_key"] = "sk-wrong-but-known-key"
    text = json.dumps(lab.verdict())
    assert "no such key" in text
    assert "sk-wrong-but-known-key" not in text


def test_open_ports_are_found_among_closed_ones() -> None:
    closed = [free_port() for _index in range(3)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _verify_checks.open_ports("127.0.0.1", [*closed, port, port], 1) == {port}
    started = time.monotonic()
    assert _verify_checks.open_ports("192.0.2.1", list(range(1, 20)), 0.3) == set()
    assert time.monotonic() - started < 2
