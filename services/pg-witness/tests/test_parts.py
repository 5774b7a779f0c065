# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from etcd, from Patroni and from the configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_witness import etcd
from pg_witness.config import ConfigError, Settings, load, parse
from pg_witness.decision import LeaderKey
from pg_witness.patroni import (
    Entry,
    Keys,
    is_healthy_standby,
    read_members,
    read_sync,
    read_view,
    read_vote,
    write_vote,
)

KEYS = Keys("pantheon")
GOOD: dict[str, Any] = {
    "name": "zelus",
    "scope": "pantheon",
    "namespace": "/service/",
    "etcd": {"endpoints": ["https://10.77.0.11:2379", "https://10.77.0.12:2379"]},
    "members": {"erebus": "https://10.77.0.11:8008"},
    "tls": {
        "ca": "/etc/witness/tls/ca.crt",
        "cert": "/etc/witness/tls/client.crt",
        "key": "/etc/witness/tls/client.key",
    },
    "witnesses": 3,
    "interval": 0.5,
    "timeout": 0.5,
    "misses": 3,
    "status": "127.0.0.1:8009",
}


def entries(**values: str) -> dict[str, Entry]:
    """Keys of Patroni with these values."""
    rows = [Entry(KEYS.patroni(name), value, 7, 8) for name, value in values.items()]
    return {row.key: row for row in rows}


def test_keys() -> None:
    assert KEYS.patroni("leader") == "/service/pantheon/leader"
    assert Keys("pantheon", "/a/b").patroni("sync") == "/a/b/pantheon/sync"
    assert KEYS.vote("zelus") == "/pantheon/witness/pantheon/votes/zelus"
    assert KEYS.takeover == "/pantheon/witness/pantheon/takeover"


def test_a_whole_view() -> None:
    found = entries(
        leader="erebus",
        sync='{"leader": "erebus", "sync_standby": "thanatos, zelus", "quorum": 0}',
        config='{"synchronous_mode": true, "ttl": 20}',
    )
    about = LeaderKey("erebus", 7, 8)
    vote = Entry(KEYS.vote("zelus"), write_vote(about), 20, 20)
    view = read_view(KEYS, found | {vote.key: vote})
    assert view.leader == about
    assert view.sync is not None and view.sync.standbys == ("thanatos", "zelus") and view.sync.mod_revision == 8
    assert view.synchronous and not view.paused and not view.failover_requested and not view.takeover_recent
    assert view.config_revision == 8
    assert [(counted.witness, counted.about) for counted in view.votes] == [("zelus", about)]


@pytest.mark.parametrize("value", [True, "on", "true", "True"])
def test_synchronous_mode(value: object) -> None:
    assert read_view(KEYS, entries(config=json.dumps({"synchronous_mode": value}))).synchronous


@pytest.mark.parametrize("value", [False, "off", None, "quorum", 1, [], "certainly"])
def test_anything_else_is_not_synchronous(value: object) -> None:
    assert not read_view(KEYS, entries(config=json.dumps({"synchronous_mode": value}))).synchronous


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"on"', "[" * 100000])
def test_a_broken_configuration_forbids(text: str) -> None:
    assert not read_view(KEYS, entries(config=text)).synchronous


@pytest.mark.parametrize("value", [True, "on", 1, "perhaps", {}])
def test_paused(value: object) -> None:
    assert read_view(KEYS, entries(config=json.dumps({"pause": value}))).paused


@pytest.mark.parametrize("value", [False, None, "off"])
def test_not_paused(value: object) -> None:
    assert not read_view(KEYS, entries(config=json.dumps({"pause": value}))).paused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"leader": null}',
        '{"leader": 3, "sync_standby": "a"}',
        '{"leader": "a", "sync_standby": ["b"]}',
        # Quorum commit: one of the voters has the newest write, and nobody knows which.
        '{"leader": "a", "sync_standby": "b,c", "quorum": 1}',
    ],
)
def test_a_list_of_standbys_that_does_not_count(text: str) -> None:
    assert read_sync(Entry("sync", text, 1, 1)) is None


def test_an_empty_list_of_standbys() -> None:
    sync = read_sync(Entry("sync", '{"leader": "a", "sync_standby": null}', 1, 1))
    assert sync is not None and sync.standbys == ()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"leader": "a"}', '{"leader": "a", "create_revision": "1", "mod_revision": 1}',
             '{"leader": "a", "create_revision": true, "mod_revision": 1}']
)  # fmt: skip
def test_a_vote_that_does_not_count(text: str) -> None:
    assert read_vote("zelus", text) is None


@given(st.dictionaries(st.sampled_from(["leader", "sync", "config", "failover", "members/a"]), st.text(max_size=60)))
def test_bad_data_never_raises(values: dict[str, str]) -> None:
    found = entries(**values)
    assert not read_view(KEYS, found).synchronous
    read_members(KEYS, found)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["leader", "sync_standby", "quorum", "pause", "api_url", "synchronous_mode", "state",
                                         "role", "patroni", "name"]), inner, max_size=4)))  # fmt: skip
def test_odd_json_never_raises(content: object) -> None:
    text = json.dumps(content)
    found = entries(leader=text, sync=text, config=text, **{"members/a": text})
    read_view(KEYS, found)
    read_members(KEYS, found)
    read_vote("a", text)
    assert not is_healthy_standby(text.encode(), "a", "pantheon")


def test_members() -> None:
    found = entries(
        **{
            "members/erebus": '{"api_url": "https://10.77.0.11:8008/patroni"}',
            "members/one": '{"api_url": "https://10.77.0.11/patroni"}',
            "members/two": '{"api_url": "https://[::1"}',
            "members/three": '{"api_url": "file:///etc/passwd"}',
            "members/four": '{"api_url": 7}',
        }
    )
    assert read_members(KEYS, found) == {"erebus": "https://10.77.0.11:8008"}


STANDBY: dict[str, Any] = {
    "state": "running",
    "role": "replica",
    "sync_standby": True,
    "patroni": {"version": "4.0.7", "scope": "pantheon", "name": "thanatos"},
}


def test_healthy_standby() -> None:
    assert is_healthy_standby(json.dumps(STANDBY).encode(), "thanatos", "pantheon")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "starting"},
        {"role": "primary"},
        {"sync_standby": False},
        {"sync_standby": "true"},
        {"patroni": {"scope": "pantheon", "name": "erebus"}},
        {"patroni": {"scope": "other", "name": "thanatos"}},
        {"patroni": None},
        {"tags": {"nofailover": True}},
    ],
)
def test_not_a_healthy_standby(change: dict[str, Any]) -> None:
    assert not is_healthy_standby(json.dumps(STANDBY | change).encode(), "thanatos", "pantheon")


def test_not_text() -> None:
    assert not is_healthy_standby(b"\xff\xfe", "thanatos", "pantheon")


def test_configuration() -> None:
    settings = parse(GOOD)
    assert settings.endpoints == ("https://10.77.0.11:2379", "https://10.77.0.12:2379")
    assert settings.status == ("127.0.0.1", 8009)
    assert settings.rules.needed == 2
    assert settings.tls is not None


def test_defaults() -> None:
    least = {"name": "a", "scope": "b", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
    assert parse(least) == Settings("a", "b", ("http://127.0.0.1:2379",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": None}, "name"),
        ({"name": "a/b"}, "name"),
        ({"scope": ""}, "scope"),
        ({"namespace": "service"}, "namespace"),
        ({"etcd": {}}, "endpoints"),
        ({"etcd": {"endpoints": []}}, "endpoints"),
        ({"etcd": {"endpoints": ["10.77.0.11:2379"]}}, "endpoints"),
        ({"etcd": {"endpoints": ["https://10.77.0.11"]}}, "endpoints"),
        ({"etcd": {"endpoints": ["https://h:99999"]}}, "endpoints"),
        ({"members": []}, None),
        ({"members": ["a"]}, "members"),
        ({"members": {"a": "b"}}, "members.a"),
        ({"tls": None}, "tls"),
        ({"tls": {"ca": "x"}}, "tls"),
        ({"witnesses": 0}, "witnesses"),
        ({"witnesses": 2.5}, "witnesses"),
        ({"witnesses": True}, "witnesses"),
        ({"interval": 0}, "interval"),
        ({"timeout": "1"}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"misses": 1}, "misses"),
        ({"status": "8009"}, "status"),
        ({"intervals": 1}, "intervals"),
    ],
)
def test_a_wrong_configuration_says_what(change: dict[str, Any], says: str | None) -> None:
    if says is None:
        parse(GOOD | change)
        return
    with pytest.raises(ConfigError, match=says):
        parse(GOOD | change)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100000])
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "witness.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(str(path))
    with pytest.raises(ConfigError):
        load(str(tmp_path / "missing.json"))


def test_range_of_a_prefix() -> None:
    asked = etcd.range_of("/a/", prefix=True)["request_range"]
    assert etcd.decode(asked["key"]) == "/a/"
    assert etcd.decode(asked["range_end"]) == "/a0"


@given(st.text())
def test_base64_both_ways(text: str) -> None:
    assert etcd.decode(etcd.encode(text)) == text
