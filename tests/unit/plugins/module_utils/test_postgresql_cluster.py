# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness, configuration and switchover of the cluster, against a fake of Patroni's REST API."""

from __future__ import annotations

import copy
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.pantheon.ai.plugins.module_utils import _postgresql_cluster as pc
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

DYNAMIC: dict[str, Any] = {
    "ttl": 20,
    "loop_wait": 0,
    "synchronous_mode": True,
    "postgresql": {"use_slots": True, "parameters": {"max_connections": 100, "work_mem": "4MB"}},
}
MARKS = sorted("/".join(path) for path in pc.leaves(DYNAMIC))


def merged(config: dict[str, Any], patch: dict[str, Any]) -> bool:
    """Do what Patroni does with a PATCH, and say whether it changed something."""
    changed = False
    for name, value in patch.items():
        if value is None:
            changed |= config.pop(name, None) is not None
        elif isinstance(value, dict) and isinstance(config.get(name), dict):
            changed |= merged(config[name], value)
        elif name not in config or str(config[name]) != str(value):
            config[name] = value
            changed = True
    return changed


class Patroni:
    """Members that answer like Patroni 4, each at an address of its own."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.scope = "pantheon"
        self.config: dict[str, Any] | None = {**copy.deepcopy(DYNAMIC), pc.MANAGED: MARKS}
        self.members: dict[str, dict[str, Any]] = {
            name: {"role": "sync_standby" if number else "leader", "state": "streaming" if number else "running"}
            | {"timeline": 1, "lag": 0, "pending": {}, "tags": {}}
            for number, name in enumerate(names)
        }
        self.off: set[str] = set()
        self.paused = False
        self.needs_restart = {"max_connections", "shared_buffers"}
        self.actions: list[str] = []
        self.looks = 0
        self.later: dict[int, Callable[[], None]] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.lock = threading.RLock()
        self.servers = {name: self._serve(name) for name in names}

    def close(self) -> None:
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    @property
    def urls(self) -> dict[str, str]:
        urls = {name: f"http://127.0.0.1:{server.server_address[1]}" for name, server in self.servers.items()}
        return urls

    @property
    def leader(self) -> str:
        return next((name for name, member in self.members.items() if member["role"] == "leader"), "")

    def alter(self, name: str, **values: Any) -> None:
        self.members[name].update(values)

    def on_look(self, number: int, action: Callable[[], None]) -> None:
        """Let something happen before the cluster is looked at for this time."""
        self.later[number] = action

    # -- what the members answer

    def get(self, name: str, path: str) -> tuple[int, Any]:
        member = self.members.get(name, {"role": "replica", "state": "creating replica", "pending": {}})
        if path == "/patroni":
            state = {"state": "running" if member["state"] == "streaming" else member["state"]}
            state["role"] = "primary" if member["role"] == "leader" else "replica"
            if member["state"] == "streaming":
                state["replication_state"] = "streaming"
            state |= {"timeline": member.get("timeline")}
            if member["pending"]:
                state |= {"pending_restart": True, "pending_restart_reason": member["pending"]}
            return (200 if state["state"] == "running" else 503), state
        if path == "/cluster":
            self.looks += 1
            for number in sorted(self.later):
                if number <= self.looks:
                    self.later.pop(number)()
            members = []
            for each, values in self.members.items():
                entry = {"name": each, "role": values["role"], "state": values["state"], "timeline": values["timeline"]}
                if values["role"] != "leader":
                    entry["lag"] = values["lag"]
                if values["tags"]:
                    entry["tags"] = values["tags"]
                members.append(entry)
            return 200, {"members": members, "scope": self.scope, **({"pause": True} if self.paused else {})}
        if path == "/config":
            return (200, self.config) if self.config is not None else (502, None)
        return 404, None

    def change(self, name: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path in self.refuse:
            return self.refuse[path]
        if path == "/config":
            assert self.config is not None
            before = copy.deepcopy(self.config.get("postgresql", {}).get("parameters", {}))
            if merged(self.config, body):
                self.actions.append(f"configure {name}")
            after = self.config.get("postgresql", {}).get("parameters", {})
            for parameter in self.needs_restart:
                old, new = before.get(parameter), after.get(parameter)
                if str(old) != str(new):
                    for member in self.members.values():
                        member["pending"][parameter] = {"old_value": str(old), "new_value": str(new)}
            return 200, self.config
        if path == "/restart":
            self.actions.append(f"restart {name}")
            self._restarted(name)
            return 200, "restarted successfully"
        if path == "/switchover":
            candidate = body["candidate"]
            if self.members[candidate]["role"] != "sync_standby":
                return 412, "candidate name does not match with sync_standby"
            self.actions.append(f"switch {body['leader']} {candidate}")
            self.alter(candidate, role="leader", state="running")
            self.alter(body["leader"], role="sync_standby", state="streaming")
            for member in self.members.values():
                member["timeline"] += 1
            self._restarted(body["leader"])
            return 200, f'Successfully switched over to "{candidate}"'
        return 404, "no such path"

    def _restarted(self, name: str) -> None:
        pending = self.members[name]["pending"]
        for parameter, change in list(pending.items()):
            lowered = change["old_value"].isdigit() and int(change["new_value"]) < int(change["old_value"])
            # A standby takes over the greater value of its primary until that one has restarted.
            if not lowered or name == self.leader or parameter not in self.members[self.leader]["pending"]:
                del pending[parameter]

    def _serve(self, name: str) -> ThreadingHTTPServer:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, work: Callable[[], tuple[int, Any]]) -> None:
                with cluster.lock:
                    if name in cluster.off:
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    status, data = work()
                content = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self._answer(lambda: cluster.get(name, self.path))

            def _change(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(lambda: cluster.change(name, self.path, body))

            do_POST = do_PATCH = _change

            def log_message(self, *_arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pc, "POLL", 0.0)
    monkeypatch.setattr(pc, "SETTLE", 0.0)


@pytest.fixture
def patroni() -> Iterator[Patroni]:
    cluster = Patroni("a", "b")
    yield cluster
    cluster.close()


@pytest.fixture
def three() -> Iterator[Patroni]:
    cluster = Patroni("a", "b", "c")
    cluster.alter("c", role="replica")
    yield cluster
    cluster.close()


def perform(patroni: Patroni, check: bool = False, **arguments: Any) -> Outcome:
    """Call the module."""
    given = {"members": patroni.urls, "dynamic": DYNAMIC, "wait": 5, **arguments}
    checked = ArgumentSpecValidator(pc.ARGUMENTS).validate(given)
    assert not checked.error_messages
    return pc.perform(checked.validated_parameters, check)


def parameters(**values: Any) -> dict[str, Any]:
    """Return the wanted configuration with these parameters of the server."""
    wanted = copy.deepcopy(DYNAMIC)
    wanted["postgresql"]["parameters"] |= values
    return wanted


def done(patroni: Patroni, **arguments: Any) -> dict[str, Any]:
    """Call the module in check mode, then really; both have to say the same. Return what they say."""
    check = perform(patroni, check=True, **arguments)
    assert not check.error
    assert patroni.actions == [], "check mode changes nothing"
    real = perform(patroni, **arguments)
    assert not real.error
    keys = ("changed", "leader", "restarted", "switched", "diff")
    assert {key: check.result[key] for key in keys} == {key: real.result[key] for key in keys}
    return real.result


# -- ready -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
def test_a_cluster_in_order_needs_nothing(patroni: Patroni, check: bool) -> None:
    outcome = perform(patroni, check)
    assert (outcome.error, outcome.warnings, outcome.idle) == ("", [], True)
    assert outcome.result == {
        "changed": False,
        "leader": "a",
        "members": [
            {"name": "a", "role": "leader", "state": "running", "timeline": 1, "lag": None},
            {"name": "b", "role": "sync_standby", "state": "streaming", "timeline": 1, "lag": 0},
        ],
        "restarted": [],
        "switched": {},
        "diff": {"before": {}, "after": {}},
    }
    assert (patroni.actions, patroni.looks) == ([], 1 if check else 2)


def test_a_cluster_that_begins_is_waited_for_until_a_standby_has_a_copy(patroni: Patroni) -> None:
    """No leader, then a leader alone, a copy that is made, one that streams, and one that the leader waits for."""
    b = patroni.members.pop("b")
    patroni.config = None
    patroni.alter("a", role="replica", state="initializing new cluster")

    def leader() -> None:
        patroni.config = {**copy.deepcopy(DYNAMIC), pc.MANAGED: MARKS}
        patroni.alter("a", role="leader", state="running")

    patroni.on_look(3, leader)
    patroni.on_look(6, lambda: patroni.members.update(b={**b, "role": "replica", "state": "creating replica"}))
    patroni.on_look(8, lambda: patroni.alter("b", state="running"))
    patroni.on_look(10, lambda: patroni.alter("b", state="streaming"))
    patroni.on_look(12, lambda: patroni.alter("b", role="sync_standby"))
    outcome = perform(patroni)
    assert outcome.error == ""
    assert patroni.looks == 12, "not one look earlier"
    assert outcome.result["members"][1]["role"] == "sync_standby"


def test_check_mode_does_not_wait_and_says_what_would_be_waited_for(patroni: Patroni) -> None:
    patroni.alter("b", role="replica", state="running")
    outcome = perform(patroni, check=True)
    assert (outcome.error, outcome.idle, patroni.looks) == ("", False, 1)
    assert "is a replica in the state 'running' and does not stream from a. The run would wait" in outcome.warnings[0]
    patroni.alter("a", role="replica")
    assert "the cluster has no leader" in perform(patroni, check=True).warnings[0]


@pytest.mark.parametrize(
    ("change", "sentence", "remedy"),
    [
        ({"a": {"role": "replica"}}, "the cluster has no leader (a 'running', b 'streaming')", "that led last"),
        ({"b": {"role": "leader"}}, "the cluster has no leader", "that led last"),
        ({"a": {"state": "starting"}}, "member a: it is the leader in the state 'starting'", "docker compose logs"),
        ({"b": {"state": "creating replica"}}, "it is a sync_standby in the state 'creating replica'", "raise `wait`"),
        ({"b": {"timeline": 7}}, "member b: it is on timeline 7, and a on 1", "patronictl reinit pantheon b"),
        ({"b": {"role": "replica"}}, "1 synchronous standby wanted, 0 streams", "logs of the leader"),
    ],
)
def test_what_stays_amiss_is_named_with_its_remedy(
    patroni: Patroni, change: dict[str, dict[str, Any]], sentence: str, remedy: str
) -> None:
    for name, values in change.items():
        patroni.alter(name, **values)
    outcome = perform(patroni, wait=0)
    assert sentence in outcome.error
    assert remedy in outcome.error
    assert "not done in 0 s" in outcome.error


def test_synchronous_mode_that_is_off_is_said(patroni: Patroni) -> None:
    patroni.alter("b", role="replica")
    wanted = {**DYNAMIC, "synchronous_mode": False}
    assert "(synchronous_mode is false)" in perform(patroni, wait=0, dynamic=wanted).error
    assert perform(patroni, wait=0, dynamic=wanted, standbys=0).error == ""


@pytest.mark.parametrize("gone", [True, False])
def test_a_machine_that_is_off_is_named_and_does_not_block_for_ever(patroni: Patroni, gone: bool) -> None:
    patroni.off.add("b")
    if gone:  # its key in etcd has timed out
        del patroni.members["b"]
    outcome = perform(patroni, wait=0)
    known = "it is not in the cluster" if gone else "its last state was 'streaming'"
    assert f"member b: {known}, and {patroni.urls['b']} does not answer: " in outcome.error
    assert "Switch b on" in outcome.error


@pytest.mark.parametrize("gone", [True, False])
def test_a_machine_that_may_be_missing_is_not_waited_for(patroni: Patroni, gone: bool) -> None:
    patroni.off.add("b")
    if gone:
        del patroni.members["b"]
    outcome = perform(patroni, wait=0, tolerate=["b"])
    assert (outcome.error, outcome.result["leader"]) == ("", "a")


def test_the_first_member_may_be_the_one_that_is_off(three: Patroni) -> None:
    three.off.add("a")
    del three.members["a"]
    three.alter("b", role="leader", state="running")
    three.alter("c", role="sync_standby")
    assert perform(three, wait=0, tolerate=["a"]).error == ""
    three.alter("c", role="replica")
    assert "1 synchronous standby wanted" in perform(three, wait=0, tolerate=["a"]).error


def test_more_standbys_may_be_wanted(three: Patroni) -> None:
    assert perform(three, wait=0).error == ""
    assert "2 synchronous standby wanted, 1 streams" in perform(three, wait=0, standbys=2).error


def test_one_member_needs_no_standby() -> None:
    alone = Patroni("a")
    try:
        assert perform(alone, wait=0).error == ""
    finally:
        alone.close()


def test_nobody_answers(patroni: Patroni) -> None:
    patroni.off |= {"a", "b"}
    assert "no member of the cluster pantheon answers (a: " in perform(patroni, wait=0).error
    outcome = perform(patroni, check=True)
    assert (outcome.error, outcome.result["changed"], outcome.idle) == ("", True, False)
    assert outcome.result["diff"]["after"]["config"] == DYNAMIC
    assert "taken as empty, because this is check mode" in outcome.warnings[0]


def test_another_cluster_is_left_alone(patroni: Patroni) -> None:
    patroni.scope = "other"
    outcome = perform(patroni, dynamic=parameters(work_mem="8MB"))
    assert "belong to the cluster 'other', not to 'pantheon'" in outcome.error
    assert patroni.actions == []


def test_a_member_that_nobody_knows_is_pointed_out(three: Patroni) -> None:
    urls = {name: url for name, url in three.urls.items() if name != "c"}
    outcome = perform(three, members=urls)
    assert outcome.warnings == ["member c belongs to the cluster, and not to the inventory's group."]
    assert not outcome.idle


# -- configuration -----------------------------------------------------------------------------------------------------


def test_a_change_that_needs_no_restart_restarts_nothing(patroni: Patroni) -> None:
    result = done(patroni, dynamic=parameters(work_mem="8MB"))
    assert patroni.actions == ["configure a"]
    assert (result["changed"], result["restarted"], result["switched"]) == (True, [], {})
    assert result["diff"] == {
        "before": {"config": {"postgresql": {"parameters": {"work_mem": "4MB"}}}},
        "after": {"config": {"postgresql": {"parameters": {"work_mem": "8MB"}}}},
    }
    assert perform(patroni, dynamic=parameters(work_mem="8MB")).result["changed"] is False


def test_numbers_and_their_text_are_the_same(patroni: Patroni) -> None:
    assert perform(patroni, dynamic=parameters(max_connections="100")).idle
    assert patroni.actions == []


def test_what_others_set_stays_and_what_was_ours_goes_back_to_its_default(patroni: Patroni) -> None:
    assert patroni.config is not None
    patroni.config["failsafe_mode"] = True
    patroni.config["postgresql"]["parameters"]["log_statement"] = "ddl"
    wanted = copy.deepcopy(DYNAMIC)
    del wanted["postgresql"]["parameters"]["work_mem"], wanted["ttl"]
    result = done(patroni, dynamic=wanted)
    assert result["diff"] == {
        "before": {"config": {"ttl": 20, "postgresql": {"parameters": {"work_mem": "4MB"}}}},
        "after": {"config": {"ttl": None, "postgresql": {"parameters": {"work_mem": None}}}},
    }
    assert patroni.config["postgresql"]["parameters"] == {"max_connections": 100, "log_statement": "ddl"}
    assert patroni.config["failsafe_mode"] is True
    assert "ttl" not in patroni.config
    assert perform(patroni, dynamic=wanted).idle


def test_names_with_dots_are_kept_apart(patroni: Patroni) -> None:
    with_dots = parameters(**{"pg_stat_statements.max": 5000})
    done(patroni, dynamic=with_dots)
    patroni.actions.clear()
    result = done(patroni)
    assert result["diff"]["before"]["config"]["postgresql"]["parameters"] == {"pg_stat_statements.max": 5000}


def test_the_first_run_only_notes_what_is_ours(patroni: Patroni) -> None:
    assert patroni.config is not None
    del patroni.config[pc.MANAGED]
    result = done(patroni)
    assert (result["changed"], result["restarted"]) == (True, [])
    assert result["diff"] == {"before": {}, "after": {pc.MANAGED: MARKS}}
    assert perform(patroni).idle


def test_the_configuration_may_be_what_the_standby_lacks(patroni: Patroni) -> None:
    assert patroni.config is not None
    patroni.config["synchronous_mode"] = False
    patroni.alter("b", role="replica")
    patroni.on_look(2, lambda: patroni.alter("b", role="sync_standby"))
    assert perform(patroni).error == ""
    assert patroni.config["synchronous_mode"] is True


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((400, "no such key"), "dynamic: member a refuses the configuration with 400 (no such key)"),
        ((409, ""), "refuses the configuration with 409"),
        ((403, "client certificate required"), "member a: PATCH /config is refused with 403 (client certificate"),
        ((200, {"ttl": 1}), "dynamic: Patroni took the configuration, and does not hold it"),
    ],
)
def test_a_configuration_that_is_not_taken(patroni: Patroni, answer: tuple[int, Any], sentence: str) -> None:
    patroni.refuse["/config"] = answer
    outcome = perform(patroni, dynamic=parameters(work_mem="8MB"))
    assert sentence in outcome.error
    if answer[0] == 400:
        assert "pantheon_postgresql: postgresql/parameters/work_mem." in outcome.error


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_restarts_are_rolled_and_the_leader_hands_over(three: Patroni) -> None:
    result = done(three, dynamic=parameters(max_connections=200))
    assert three.actions == ["configure a", "restart b", "restart c", "switch a b"]
    assert (result["restarted"], result["switched"]) == (["b", "c", "a"], {"from": "a", "to": "b"})
    assert result["leader"] == "b"
    assert result["diff"]["before"]["waiting_for_restart"] == ["a", "b", "c"]
    assert (result["diff"]["before"]["leader"], result["diff"]["after"]["leader"]) == ("a", "b")
    assert perform(three, dynamic=parameters(max_connections=200)).idle


def test_each_standby_streams_again_before_the_next_restarts(three: Patroni) -> None:
    restart, seen = three._restarted, []

    def restarted(name: str) -> None:
        seen.append((name, [each for each, member in three.members.items() if member["state"] == "starting"]))
        restart(name)
        if name != three.leader and three.actions[-1].startswith("restart"):
            three.alter(name, state="starting")
            three.on_look(three.looks + 3, lambda: three.alter(name, state="streaming"))

    three._restarted = restarted  # type: ignore[method-assign]
    assert perform(three, dynamic=parameters(max_connections=200)).error == ""
    assert seen == [("b", []), ("c", []), ("a", [])]


def test_without_a_standby_to_take_over_the_leader_restarts_in_its_place(patroni: Patroni) -> None:
    patroni.off.add("b")
    del patroni.members["b"]
    result = done(patroni, dynamic=parameters(max_connections=200), tolerate=["b"])
    assert patroni.actions == ["configure a", "restart a"]
    assert (result["restarted"], result["switched"]) == (["a"], {})


def test_lowering_begins_with_the_leader(patroni: Patroni) -> None:
    result = done(patroni, dynamic=parameters(max_connections=50))
    assert patroni.actions == ["configure a", "restart a", "restart b"]
    assert (result["restarted"], result["switched"]) == (["a", "b"], {})


def test_a_run_that_was_interrupted_is_finished(patroni: Patroni) -> None:
    for name in "ab":
        patroni.alter(name, pending={"shared_buffers": {"old_value": "1GB", "new_value": "2GB"}})
    result = done(patroni)
    assert patroni.actions == ["restart b", "switch a b"]
    assert result["diff"]["before"]["waiting_for_restart"] == ["a", "b"]


def test_members_outside_of_the_run_are_not_restarted(patroni: Patroni) -> None:
    patroni.alter("b", pending={"shared_buffers": {"old_value": "1GB", "new_value": "2GB"}})
    outcome = perform(patroni, tolerate=["b"])
    assert (outcome.error, outcome.result["changed"], patroni.actions) == ("", False, [])


@pytest.mark.parametrize("check", [True, False])
def test_a_paused_cluster_is_not_restarted(patroni: Patroni, check: bool) -> None:
    patroni.paused = True
    assert "is paused, nobody takes over" in perform(patroni).warnings[0]
    patroni.alter("b", pending={"shared_buffers": {"old_value": "1GB", "new_value": "2GB"}})
    assert "is paused, cannot restart b. `patronictl resume pantheon`" in perform(patroni, check).error


def test_a_restart_that_fails_ends_the_rolling(three: Patroni) -> None:
    three.refuse["/restart"] = (503, "restart failed")
    outcome = perform(three, dynamic=parameters(max_connections=200))
    assert "member b: the restart failed with 503 (restart failed)" in outcome.error
    assert (outcome.result["restarted"], three.actions) == ([], ["configure a"])


def test_a_member_that_goes_on_waiting_for_a_restart_is_named(patroni: Patroni) -> None:
    patroni._restarted = lambda name: None  # type: ignore[method-assign]
    patroni.alter("b", pending={"shared_buffers": {"old_value": "1GB", "new_value": "2GB"}})
    outcome = perform(patroni)
    assert "member b: still waits for a restart after b, b, b restarted" in outcome.error


# -- switchover --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", [None, "b"])
def test_a_standby_takes_over(three: Patroni, candidate: str | None) -> None:
    result = done(three, state="switchover", candidate=candidate)
    assert three.actions == ["switch a b"]
    assert (result["leader"], result["switched"], result["restarted"]) == ("b", {"from": "a", "to": "b"}, [])
    assert [member["role"] for member in result["before"]] == ["leader", "sync_standby", "replica"]
    assert [member["role"] for member in result["members"]] == ["sync_standby", "leader", "replica"]


def test_who_leads_already_is_left_alone(patroni: Patroni) -> None:
    result = done(patroni, state="switchover", candidate="a")
    assert (result["changed"], result["switched"], patroni.actions) == (False, {}, [])


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("candidate", "change", "sentence"),
    [
        ("c", {}, "c cannot take over from a: it is not a synchronous standby, so it may lack what was acknowledged"),
        ("b", {"state": "running"}, "b cannot take over from a: it is a sync_standby in the state 'running'"),
        ("b", {"timeline": 9}, "on timeline 9"),
        ("b", {"tags": {"nofailover": True}}, "it is tagged nofailover"),
        ("nobody", {}, "nobody cannot take over from a: it is none of a, b, c"),
        (None, {"role": "replica"}, "nobody can take over from a: b is not a synchronous standby"),
    ],
)
def test_a_candidate_that_is_not_fit_is_refused(
    three: Patroni, check: bool, candidate: str | None, change: dict[str, Any], sentence: str
) -> None:
    three.alter("b", **change)
    outcome = perform(three, check, state="switchover", candidate=candidate, wait=0)
    assert sentence in outcome.error
    assert three.actions == []


def test_a_candidate_whose_machine_is_off_is_refused(three: Patroni) -> None:
    three.off.add("b")
    assert "b cannot take over from a: it does not answer" in perform(three, state="switchover", candidate="b").error
    outcome = perform(three, state="switchover", candidate="b", tolerate=["b"])
    assert "it is not part of this run" in outcome.error


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((412, "no good candidates have been found"), "refused with 412 (no good candidates have been found)"),
        ((503, "Switchover failed"), "the switchover from a to b failed (Switchover failed). a leads as before."),
        ((503, "Switchover status unknown"), "switch from a to b, not done in 0 s: the leader is a"),
    ],
)
def test_a_switchover_that_fails_is_said(patroni: Patroni, answer: tuple[int, str], sentence: str) -> None:
    patroni.refuse["/switchover"] = answer
    assert sentence in perform(patroni, state="switchover", wait=0).error


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"members": {}}, "members: there are none. Name at least one"),
        ({"members": {"a": "10.0.0.1:8008"}}, "members.a: '10.0.0.1:8008' is not an address"),
        ({"members": {"a": "https://10.0.0.1:8008"}}, "members.a: 'https://10.0.0.1:8008' needs a certificate"),
    ],
)
def test_wrong_parameters_are_named(patroni: Patroni, arguments: dict[str, Any], sentence: str) -> None:
    assert sentence in perform(patroni, **arguments).error


def test_a_machine_without_the_stack_says_what_to_run(patroni: Patroni, tmp_path: Path) -> None:
    tls = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    members = {"a": "https://127.0.0.1:1"}
    outcome = perform(patroni, tls=tls, members=members)
    assert "not all of these files are on this machine. Deploy the stack postgresql" in outcome.error
    outcome = perform(patroni, check=True, tls=tls, members=members)
    assert (outcome.error, outcome.result["changed"], outcome.idle) == ("", True, False)
    assert "taken as empty" in outcome.warnings[0]


def test_members_are_asked_over_tls_with_a_certificate(patroni: Patroni, tmp_path: Path) -> None:
    pki = pytest.importorskip("ansible_collections.pantheon.ai.plugins.plugin_utils._pki")
    pytest.importorskip("cryptography")

    def files(folder: str, authority: Any, names: list[str]) -> dict[str, str]:
        place, pair = tmp_path / folder, pki.issue(authority, names)
        place.mkdir()
        for name, text in (("ca", authority.certificate), ("cert", pair.certificate), ("key", pair.key)):
            (place / name).write_text(text)
        return {name: str(place / name) for name in ("ca", "cert", "key")}

    authority = pki.create_ca("data")
    server, client = files("server", authority, ["127.0.0.1"]), files("client", authority, ["x.test"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server["ca"])
    context.load_cert_chain(server["cert"], server["key"])
    context.verify_mode = ssl.CERT_REQUIRED
    for one in patroni.servers.values():
        one.socket = context.wrap_socket(one.socket, server_side=True)
    members = {name: url.replace("http:", "https:") for name, url in patroni.urls.items()}
    assert perform(patroni, members=members, tls=client).idle
    other = files("other", pki.create_ca("other"), ["127.0.0.1"])
    outcome = perform(patroni, members=members, tls=other, wait=0)
    assert f"member a: the certificate of {members['a']} is refused" in outcome.error
    assert "postgresql_certificate" in outcome.error
