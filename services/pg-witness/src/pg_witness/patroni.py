# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Patroni and the witnesses keep in etcd, and what Patroni's REST API answers. Bad data reads as missing data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .decision import LeaderKey, Sync, View, Vote

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class Entry:
    """A key of etcd with what it holds."""

    key: str
    value: str
    create_revision: int
    mod_revision: int


@dataclass(frozen=True)
class Keys:
    """Where things lie in etcd."""

    scope: str
    namespace: str = "/service/"

    def patroni(self, name: str) -> str:
        """A key of Patroni."""
        return f"{self.namespace.rstrip('/')}/{self.scope}/{name}"

    @property
    def votes(self) -> str:
        """Where the votes are."""
        return f"/pantheon/witness/{self.scope}/votes/"

    def vote(self, witness: str) -> str:
        """The vote of a witness."""
        return self.votes + witness

    @property
    def takeover(self) -> str:
        """Says for a while that there was a take-over."""
        return f"/pantheon/witness/{self.scope}/takeover"


def mapping(text: str) -> Mapping[str, Any]:
    """The JSON object in a text; empty if it is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def as_true(value: object) -> bool:
    """Whether Patroni reads a setting as true."""
    return value is True or (isinstance(value, str) and value.strip().lower() in ("on", "true", "yes", "1"))


def read_sync(entry: Entry | None) -> Sync | None:
    """The list of synchronous standbys. One of quorum commit does not count: any of its names may lack a write."""
    if entry is None:
        return None
    content = mapping(entry.value)
    leader, standbys, quorum = content.get("leader"), content.get("sync_standby"), content.get("quorum")
    if not isinstance(leader, str) or not leader or (standbys is not None and not isinstance(standbys, str)):
        return None
    if quorum not in (None, 0, "0", ""):
        return None
    names = tuple(name.strip() for name in (standbys or "").split(",") if name.strip())
    return Sync(leader, names, entry.mod_revision, entry.value)


def write_vote(about: LeaderKey) -> str:
    """A vote as text."""
    return json.dumps(
        {"leader": about.name, "create_revision": about.create_revision, "mod_revision": about.mod_revision},
        sort_keys=True,
    )


def read_vote(witness: str, value: str) -> Vote | None:
    """A vote from text."""
    content = mapping(value)
    name, created, modified = (content.get(part) for part in ("leader", "create_revision", "mod_revision"))
    if not witness or not isinstance(name, str) or type(created) is not int or type(modified) is not int:
        return None
    return Vote(witness, LeaderKey(name, created, modified), value)


def read_view(keys: Keys, entries: Mapping[str, Entry]) -> View:
    """What the keys mean, all of them read in one transaction."""
    leader = entries.get(keys.patroni("leader"))
    config, failover = entries.get(keys.patroni("config")), entries.get(keys.patroni("failover"))
    settings = mapping(config.value) if config else {}
    votes = (
        read_vote(entry.key[len(keys.votes) :], entry.value)
        for entry in entries.values()
        if entry.key.startswith(keys.votes)
    )
    pause = settings.get("pause")
    return View(
        leader=LeaderKey(leader.value, leader.create_revision, leader.mod_revision)
        if leader is not None and NAME.fullmatch(leader.value)
        else None,
        sync=read_sync(entries.get(keys.patroni("sync"))),
        synchronous=as_true(settings.get("synchronous_mode")),
        # Only a clear no is one.
        paused=not (pause is None or pause is False or (isinstance(pause, str) and pause.lower() in ("off", "false"))),
        config_revision=config.mod_revision if config else 0,
        # Patroni leaves an empty one behind.
        failover_requested=failover is not None and failover.value.strip() not in ("", "{}"),
        failover_revision=failover.mod_revision if failover else 0,
        takeover_recent=keys.takeover in entries,
        votes=tuple(vote for vote in votes if vote is not None),
    )


def read_members(keys: Keys, entries: Mapping[str, Entry]) -> dict[str, str]:
    """The REST address of each member that Patroni has registered."""
    prefix = keys.patroni("members/")
    found = {}
    for entry in entries.values():
        url = mapping(entry.value).get("api_url") if entry.key.startswith(prefix) else None
        if isinstance(url, str):
            try:
                parts = urlsplit(url)
                usable = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.port)
            except ValueError:
                continue
            if usable:
                found[entry.key[len(prefix) :]] = f"{parts.scheme}://{parts.netloc}"
    return found


def is_healthy_standby(answer: bytes, member: str, scope: str) -> bool:
    """Whether a member says of itself (GET /patroni) that it could take over without a loss."""
    try:
        content = mapping(answer.decode())
    except UnicodeDecodeError:
        return False
    about, tags = content.get("patroni"), content.get("tags")
    return (
        content.get("state") == "running"
        and content.get("role") in ("replica", "standby")
        and content.get("sync_standby") is True
        and isinstance(about, dict)
        and about.get("name") == member
        and about.get("scope") == scope
        and not (isinstance(tags, dict) and tags.get("nofailover"))
    )
