# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness against an etcd gateway and Patroni REST servers, over TLS, with short times."""

from __future__ import annotations

import http.client
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Authority, FakeEtcd, FakePatroni, Store

from pg_witness import web
from pg_witness.config import Settings, Tls, parse
from pg_witness.decision import Action, Decision
from pg_witness.etcd import Etcd, EtcdError, decode
from pg_witness.patroni import Keys, read_vote
from pg_witness.status import StatusServer, age, metrics
from pg_witness.web import Client, tls_context
from pg_witness.witness import Witness

SCOPE = "pantheon"
KEYS = Keys(SCOPE)
INTERVAL = 0.1


def until(condition: Callable[[], object], seconds: float = 5) -> bool:
    """Wait for something; whether it came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


class World:
    """Two members of PostgreSQL, two of etcd that share a store, and as many witnesses as a test wants."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.store = Store()
        context = authority.server("server")
        self.etcd = [FakeEtcd(context, self.store) for _ in range(2)]
        self.erebus = FakePatroni(context, "erebus", SCOPE)
        self.erebus.state |= {"role": "primary", "sync_standby": False}
        self.thanatos = FakePatroni(context, "thanatos", SCOPE)
        self.witnesses: list[Witness] = []
        self.threads: list[threading.Thread] = []
        certificate, key = authority.issue("witness")
        self.tls = {"ca": str(authority.ca), "cert": str(certificate), "key": str(key)}
        self.store.put(KEYS.patroni("config"), json.dumps({"synchronous_mode": True, "ttl": 20}))
        self.store.put(KEYS.patroni("sync"), json.dumps({"leader": "erebus", "sync_standby": "thanatos"}))
        for member in (self.erebus, self.thanatos):
            name = member.state["patroni"]["name"]
            self.store.put(KEYS.patroni(f"members/{name}"), json.dumps({"api_url": f"{member.url}/patroni"}))
        self.store.put(KEYS.patroni("leader"), "erebus")

    def content(self, name: str, **changes: Any) -> dict[str, Any]:
        return {
            "name": name,
            "scope": SCOPE,
            "etcd": {"endpoints": [member.url for member in self.etcd]},
            "tls": self.tls,
            "interval": INTERVAL,
            "timeout": 0.4,
            "status": "127.0.0.1:0",
        } | changes

    def settings(self, name: str, **changes: Any) -> Settings:
        return parse(self.content(name, **changes))

    def witness(self, name: str, **changes: Any) -> Witness:
        settings = self.settings(name, **changes)
        witness = Witness(settings, tls_context(settings.tls))
        self.witnesses.append(witness)
        self.threads.append(threading.Thread(target=witness.run, daemon=True))
        self.threads[-1].start()
        return witness

    def watching(self, *names: str, **changes: Any) -> list[Witness]:
        """Witnesses that have seen the leader alive."""
        found = [self.witness(name, **changes) for name in names]
        assert until(lambda: all(witness.state.seen_alive for witness in found))
        return found

    @property
    def leader(self) -> str | None:
        return self.store.get(KEYS.patroni("leader"))

    @property
    def votes(self) -> list[str]:
        return self.store.prefix(KEYS.votes)

    def close(self) -> None:
        for witness in self.witnesses:
            witness.stopping.set()
        for thread in self.threads:
            thread.join(5)
        for server in (*self.etcd, self.erebus, self.thanatos):
            server.silent = False
            server.stop()


@pytest.fixture
def world(authority: Authority) -> Iterator[World]:
    made = World(authority)
    yield made
    made.close()


def stays(world: World, seconds: float = 1.5) -> bool:
    """Whether the leader keeps its key for a while."""
    return not until(lambda: world.leader is None, seconds)


def test_two_witnesses_give_the_key_free_once(world: World) -> None:
    witnesses = world.watching("erebus", "thanatos", "zelus")
    sync = world.store.keys[KEYS.patroni("sync").encode()].copy()
    world.erebus.stop()
    assert until(lambda: world.leader is None)
    assert until(lambda: sum(witness.state.figures.takeovers for witness in witnesses) == 1)
    record = json.loads(world.store.get(KEYS.takeover) or "{}")
    assert record["leader"] == "erebus" and len(record["votes"]) >= 2
    # Same list, new revision: a write of the old leader that began before is refused.
    now = world.store.keys[KEYS.patroni("sync").encode()]
    assert now["value"] == sync["value"] and now["mod_revision"] > sync["mod_revision"]
    assert until(lambda: world.votes == [])
    # The key of a take-over ends by itself.
    lease = world.store.keys[KEYS.takeover.encode()]["lease"]
    assert world.store.leases[lease][1] == 60


def test_the_transaction_compares_everything(world: World) -> None:
    world.watching("erebus", "zelus")
    world.erebus.stop()
    assert until(lambda: world.leader is None)
    deleting = [
        body
        for body in world.store.transactions
        if any("request_delete_range" in operation for operation in body["success"]) and len(body["compare"]) > 2
    ]
    compared = {(key_of(row), row["target"]) for row in deleting[-1]["compare"]}
    assert compared >= {
        (KEYS.patroni("leader"), "CREATE"),
        (KEYS.patroni("leader"), "MOD"),
        (KEYS.patroni("leader"), "VALUE"),
        (KEYS.patroni("sync"), "MOD"),
        (KEYS.patroni("config"), "MOD"),
        (KEYS.patroni("failover"), "MOD"),
        (KEYS.takeover, "CREATE"),
        (KEYS.vote("erebus"), "VALUE"),
        (KEYS.vote("zelus"), "VALUE"),
    }


def key_of(row: dict[str, Any]) -> str:
    """The key of a comparison."""
    return decode(row["key"])


def test_a_frozen_leader_is_a_dead_one(world: World) -> None:
    world.watching("thanatos", "zelus")
    world.erebus.silent = True
    assert until(lambda: world.leader is None)


def test_one_witness_of_three_is_not_enough(world: World) -> None:
    (witness,) = world.watching("zelus")
    world.erebus.stop()
    assert until(lambda: world.votes == [KEYS.vote("zelus")])
    assert stays(world)
    assert witness.state.figures.attempts == 0 and witness.state.figures.votes == 1


def test_one_of_one_is_enough(world: World) -> None:
    world.watching("zelus", witnesses=1)
    world.erebus.stop()
    assert until(lambda: world.leader is None)


def test_a_vote_is_taken_back_when_the_leader_answers(world: World) -> None:
    world.watching("zelus")
    world.erebus.stop()
    assert until(lambda: world.votes)
    world.erebus.start()
    assert until(lambda: not world.votes)


def test_a_vote_dies_with_its_witness(world: World) -> None:
    (witness,) = world.watching("zelus")
    world.erebus.stop()
    assert until(lambda: world.votes)
    row = world.store.keys[KEYS.vote("zelus").encode()]
    assert world.store.leases[row["lease"]][1] <= 3
    vote = read_vote("zelus", row["value"].decode())
    assert vote is not None and vote.about == witness.state.leader
    witness.stopping.set()
    assert until(lambda: not world.votes, 4)
    # Dead votes do not count for a witness that comes later.
    world.witness("thanatos")
    assert stays(world, 1)


def test_a_vote_about_an_older_key_does_not_count(world: World) -> None:
    world.watching("zelus")
    old = json.dumps({"leader": "erebus", "create_revision": 1, "mod_revision": 1})
    world.store.put(KEYS.vote("thanatos"), old)
    world.erebus.stop()
    assert until(lambda: KEYS.vote("zelus") in world.votes)
    assert stays(world)


def test_a_witness_that_never_saw_the_leader_does_not_vote(world: World) -> None:
    world.erebus.stop()
    witnesses = [world.witness(name) for name in ("thanatos", "zelus")]
    assert until(lambda: all(witness.state.misses > 3 for witness in witnesses))
    assert stays(world, 1)
    assert world.votes == []


def test_a_leader_that_takes_its_key_again_is_left_alone(world: World) -> None:
    """All witnesses cut off from a healthy leader: it loses its key once, and not again and again."""
    witnesses = world.watching("thanatos", "zelus")
    world.erebus.stop()
    assert until(lambda: world.leader is None)
    world.store.delete(KEYS.takeover)  # even without the limit of 60 s
    world.store.put(KEYS.patroni("leader"), "erebus")
    assert stays(world)
    assert sum(witness.state.figures.takeovers for witness in witnesses) == 1
    # When the witnesses reach it again, it is watched again.
    world.erebus.start()
    assert until(lambda: all(witness.state.leader in witness.state.seen_alive for witness in witnesses))
    world.erebus.stop()
    assert until(lambda: world.leader is None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEYS.patroni("config"), '{"synchronous_mode": true, "pause": true}'),
        (KEYS.patroni("config"), '{"synchronous_mode": false}'),
        (KEYS.patroni("config"), "not json"),
        (KEYS.patroni("failover"), '{"leader": "erebus"}'),
        (KEYS.patroni("sync"), '{"leader": "erebus", "sync_standby": null}'),
        (KEYS.patroni("sync"), '{"leader": "thanatos", "sync_standby": "erebus"}'),
        (KEYS.patroni("sync"), "[]"),
        (KEYS.takeover, "{}"),
    ],
)
def test_what_etcd_says_forbids(world: World, key: str, value: str) -> None:
    world.watching("thanatos", "zelus")
    world.store.put(key, value)
    time.sleep(2 * INTERVAL)
    world.erebus.stop()
    assert stays(world, 1.2)
    assert world.votes == []


@pytest.mark.parametrize(
    "change", [{"state": "stopped"}, {"sync_standby": False}, {"role": "primary"}, {"patroni": {"name": "x"}}]
)
def test_an_unfit_standby_forbids(world: World, change: dict[str, Any]) -> None:
    world.watching("thanatos", "zelus")
    world.thanatos.state |= change
    world.erebus.stop()
    assert stays(world, 1.2)
    assert world.votes == []


def test_a_standby_that_does_not_answer_forbids(world: World) -> None:
    """Also a witness that is itself cut off from both."""
    world.watching("thanatos", "zelus")
    world.thanatos.stop()
    world.erebus.stop()
    assert stays(world, 1.2)
    assert world.votes == []
    world.thanatos.start()
    assert until(lambda: world.leader is None)


def test_a_witness_without_etcd_does_nothing_and_comes_back(world: World) -> None:
    witnesses = world.watching("thanatos", "zelus")
    for member in world.etcd:
        member.stop()
    world.erebus.stop()
    time.sleep(1)
    assert world.leader == "erebus" and world.votes == []
    assert all(age(witness) is not None for witness in witnesses)
    for member in world.etcd:
        member.start()
    assert until(lambda: world.leader is None)


@pytest.mark.parametrize("silent", [False, True])
def test_the_other_member_of_etcd_is_used(world: World, silent: bool) -> None:
    world.watching("thanatos", "zelus")
    world.etcd[0].silent = silent
    if not silent:
        world.etcd[0].stop()
    world.erebus.stop()
    assert until(lambda: world.leader is None)


@pytest.mark.parametrize("left", ["", "{}"])
def test_what_a_switchover_leaves_behind_is_no_wish_for_one(world: World, left: str) -> None:
    world.store.put(KEYS.patroni("failover"), left)
    world.watching("thanatos", "zelus")
    world.erebus.stop()
    assert until(lambda: world.leader is None)


CHANGES: list[Callable[[Store], object]] = [
    lambda store: store.put(KEYS.patroni("leader"), "erebus"),
    lambda store: (store.delete(KEYS.patroni("leader")), store.put(KEYS.patroni("leader"), "erebus")),
    lambda store: store.put(KEYS.patroni("leader"), "thanatos"),
    lambda store: store.delete(KEYS.patroni("leader")),
    lambda store: store.put(KEYS.patroni("sync"), '{"leader": "erebus", "sync_standby": null}'),
    lambda store: store.put(KEYS.patroni("config"), '{"synchronous_mode": true, "pause": true}'),
    lambda store: store.put(KEYS.patroni("failover"), "{}"),
    lambda store: store.put(KEYS.takeover, "{}"),
    lambda store: store.delete(KEYS.vote("thanatos")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_deleted_if_something_changed_since_it_was_read(
    world: World, change: Callable[[Store], object]
) -> None:
    settings = world.settings("zelus")
    witness = Witness(settings, tls_context(settings.tls))
    leader = witness.read().leader
    assert leader is not None
    for name in ("thanatos", "zelus"):
        other = world.settings(name)
        assert Witness(other, tls_context(other.tls)).vote(leader)
    view = witness.read()
    decision = Decision(Action.DELETE, "", view.votes)
    before = len(world.store.leases)
    change(world.store)
    holder = world.leader
    assert not witness.take_key(view, decision)
    assert world.leader == holder
    assert len(world.store.leases) == before  # the lease is given back
    assert witness.state.figures.takeovers == 0


def test_the_same_without_a_change_deletes(world: World) -> None:
    settings = world.settings("zelus")
    witness = Witness(settings, tls_context(settings.tls))
    leader = witness.read().leader
    assert leader is not None and witness.vote(leader)
    view = witness.read()
    assert witness.take_key(view, Decision(Action.DELETE, "", view.votes))
    assert world.leader is None
    assert not witness.take_key(view, Decision(Action.DELETE, "", ()))


def test_no_vote_about_a_key_that_is_gone(world: World) -> None:
    settings = world.settings("zelus")
    witness = Witness(settings, tls_context(settings.tls))
    leader = witness.read().leader
    assert leader is not None
    world.store.delete(KEYS.patroni("leader"))
    assert not witness.vote(leader)
    assert world.votes == []


def test_503_is_a_miss(world: World) -> None:
    """Patroni's loop has stood still for longer than the key lives."""
    world.watching("thanatos", "zelus")
    world.erebus.live = 503
    assert until(lambda: world.leader is None)


@pytest.mark.parametrize("status", [404, 500])
def test_an_odd_answer_is_an_answer(world: World, status: int) -> None:
    world.watching("thanatos", "zelus")
    world.erebus.live = status
    assert stays(world, 1)
    assert world.votes == []


def test_a_wrong_certificate_is_an_answer(world: World, tmp_path: Path) -> None:
    """It has run out, say: no reason to depose a leader that lives."""
    world.watching("thanatos", "zelus")
    world.erebus.stop()
    world.erebus._context = Authority(tmp_path).server("stranger")
    world.erebus.start()
    assert stays(world, 1)
    assert world.votes == []


def test_garbage_in_etcd_does_not_stop_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    (witness,) = world.watching("zelus")
    with caplog.at_level(logging.ERROR, "pg-witness"):
        for name in ("leader", "sync", "config", "failover", "members/erebus", "members/thanatos"):
            world.store.put(KEYS.patroni(name), "\x00{[")
            time.sleep(1.5 * INTERVAL)
        world.store.put(KEYS.vote("x"), "{")
        time.sleep(3 * INTERVAL)
    assert not caplog.records
    since = age(witness)
    assert since is not None and since < 1


def test_status(world: World) -> None:
    (witness,) = world.watching("zelus")
    server = StatusServer(witness)
    server.start()
    try:

        def get(path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        status, text = get("/health")
        assert status == 200 and json.loads(text)["ok"] is True
        assert get("/other")[0] == 404
        status, text = get("/metrics")
        assert status == 200
        for line in ("pg_witness_takeovers_total 0", "pg_witness_votes_total 0", "pg_witness_leader_misses 0"):
            assert line in text.splitlines()
        assert "pg_witness_etcd_last_contact_timestamp_seconds" in text
        for member in world.etcd:
            member.stop()
        witness.stopping.set()
        witness.state.figures.etcd_contact = time.monotonic() - 6
        status, text = get("/health")
        assert status == 503 and json.loads(text)["ok"] is False
    finally:
        server.shutdown()
        server.server_close()


def test_metrics_before_etcd_answered(world: World) -> None:
    settings = world.settings("zelus")
    witness = Witness(settings, tls_context(settings.tls))
    assert "etcd_up 0" in metrics(witness) and "last_contact" not in metrics(witness)


def test_the_log_has_a_line_for_a_decision_and_no_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pg-witness"):
        world.watching("zelus", witnesses=1)
        time.sleep(5 * INTERVAL)
        quiet = len(caplog.records)
        assert quiet == 1
        world.erebus.stop()
        assert until(lambda: world.leader is None)
        time.sleep(3 * INTERVAL)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["action"] for line in lines if line["action"] != "wait"][-2:] == ["delete", "delete"]
    assert len(lines) < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_at_once(world: World, tmp_path: Path, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "witness.json"
    path.write_text(json.dumps(world.content("zelus", status=f"127.0.0.1:{port}")))
    source = Path(__file__).resolve().parents[1] / "src"
    command = [sys.executable, "-m", "pg_witness", str(path)]
    environment = {"PYTHONPATH": str(source)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        health = [*command, "--health"]
        assert until(
            lambda: subprocess.run(health, check=False, env=environment, capture_output=True).returncode == 0, 10
        )
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 0.5
    finally:
        process.kill()
        assert process.stderr is not None
        process.stderr.close()
    assert subprocess.run(health, check=False, env=environment, capture_output=True).returncode == 1


def test_a_wrong_configuration_ends_the_program(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[1] / "src"
    command = [sys.executable, "-m", "pg_witness", str(tmp_path / "missing.json")]
    ended = subprocess.run(command, check=False, env={"PYTHONPATH": str(source)}, capture_output=True, text=True)
    assert ended.returncode == 2 and "missing.json" in ended.stderr and "Traceback" not in ended.stderr


# ---- requests


def test_another_authority_is_refused(world: World, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    certificate, key = stranger.issue("stranger")
    # We do not believe the server ...
    ours = Tls(str(stranger.ca), world.tls["cert"], world.tls["key"])
    with pytest.raises(OSError, match=r"certificate|CERTIFICATE"):
        Client(world.erebus.url, tls_context(ours)).request("GET", "/liveness", None, 1)
    # ... and the server does not believe us.
    theirs = Tls(world.tls["ca"], str(certificate), str(key))
    with pytest.raises(web.FAILURES):
        Client(world.erebus.url, tls_context(theirs)).request("GET", "/liveness", None, 1)


def test_the_name_in_the_certificate_counts(world: World) -> None:
    settings = world.settings("zelus")
    with pytest.raises(OSError, match="certificate"):
        url = f"https://localhost:{world.erebus.port}"
        Client(url, tls_context(settings.tls)).request("GET", "/liveness", None, 1)


def test_a_connection_is_kept(world: World) -> None:
    settings = world.settings("zelus")
    client = Etcd(settings.endpoints[:1], tls_context(settings.tls), 1)
    for _ in range(5):
        client.read([])
    assert len(world.etcd[0]._connections) == 1


def test_a_kept_connection_that_was_closed_is_made_anew(world: World) -> None:
    settings = world.settings("zelus")
    client = Etcd(settings.endpoints[:1], tls_context(settings.tls), 1)
    client.read([])
    world.etcd[0].stop()
    world.etcd[0].start()
    client.read([])


def serve_raw(content: list[bytes], pause: float) -> tuple[socket.socket, str]:
    """A plain server that sends these pieces, slowly."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(4096)
                        for piece in content:
                            connection.sendall(piece)
                            time.sleep(pause)
                    except OSError:
                        continue

    threading.Thread(target=serve, daemon=True).start()
    return server, f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_drips_does_not_hold_us(world: World) -> None:
    server, url = serve_raw([b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 100], 0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Client(url, None).request("GET", "/", None, 0.3)
    assert time.monotonic() - began < 0.6
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"responses": [{}]}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"responses": 17}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
def test_odd_answers_are_errors_of_etcd(answer: bytes) -> None:
    server, url = serve_raw([answer], 0)
    client = Etcd([url], None, 0.5)
    with pytest.raises(EtcdError):
        client.read([])
    with pytest.raises(EtcdError):
        client.grant(3)
    server.close()


def test_a_chunked_answer_is_read() -> None:
    server, url = serve_raw(
        [b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"ID": "7\r\n2\r\n"}\r\n0\r\n\r\n'], 0
    )
    assert Etcd([url], None, 1).grant(3) == 7
    server.close()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Etcd([f"http://127.0.0.1:{port}"], None, 0.5)
    with pytest.raises(EtcdError, match=str(port)):
        client.read([])
