# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether to vote against a leader, and whether to give its key free. Pure: nothing here touches the network or a clock."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class LeaderKey:
    """The leader key as etcd holds it. A leader that takes or writes its key anew gets other revisions."""

    name: str
    create_revision: int
    mod_revision: int


@dataclass(frozen=True)
class Vote:
    """What a witness has published: that it holds the owner of this key for dead."""

    witness: str
    about: LeaderKey
    value: str = ""  # as it lies in etcd, for the comparison in the transaction


@dataclass(frozen=True)
class Sync:
    """Patroni's list of those who have every acknowledged write."""

    leader: str
    standbys: tuple[str, ...]
    mod_revision: int
    value: str


@dataclass(frozen=True)
class View:
    """What etcd said in one answer. What could not be understood is missing, and what is missing forbids to act."""

    leader: LeaderKey | None = None
    sync: Sync | None = None
    synchronous: bool = False
    paused: bool = False
    config_revision: int = 0
    failover_requested: bool = False
    failover_revision: int = 0
    takeover_recent: bool = False
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True)
class Rules:
    """How much evidence is asked for."""

    witness: str
    witnesses: int = 3
    misses: int = 3

    @property
    def needed(self) -> int:
        """The votes that are needed: more than half of the witnesses, and never fewer than two of several."""
        return 1 if self.witnesses <= 1 else max(2, self.witnesses // 2 + 1)


@dataclass(frozen=True)
class Observation:
    """What this witness has seen itself.

    view: etcd's newest answer; None if it is too old to act on.
    seen_alive: the leader keys under which this witness has reached the leader at least once.
    misses: how often in a row the leader named in the view did not answer.
    healthy: members that said within the last moments that they run as a synchronous standby.
    """

    view: View | None
    seen_alive: Collection[LeaderKey] = ()
    misses: int = 0
    healthy: Collection[str] = ()


class Action(enum.Enum):
    """What to do now."""

    WAIT = "wait"  # nothing; a vote of ours is taken back
    VOTE = "vote"
    DELETE = "delete"


@dataclass(frozen=True)
class Decision:
    """What to do, and why."""

    action: Action
    reason: str
    votes: tuple[Vote, ...] = ()  # those that were counted


def agreeing(view: View) -> tuple[Vote, ...]:
    """The votes about the leader key as it is now, one for each witness."""
    counted: dict[str, Vote] = {}
    for vote in view.votes:
        if vote.about == view.leader:
            counted.setdefault(vote.witness, vote)
    return tuple(counted[name] for name in sorted(counted))


def candidates(view: View) -> tuple[str, ...]:
    """The synchronous standbys that could take over; none while something speaks against any take-over."""
    if view.leader is None or view.sync is None or view.sync.leader != view.leader.name:
        return ()
    return tuple(name for name in view.sync.standbys if name and name != view.leader.name)


def objection(view: View) -> str | None:
    """What in etcd forbids a take-over, whoever is dead."""
    if view.leader is None:
        return "there is no leader key"
    if view.paused:
        return "Patroni is paused"
    if not view.synchronous:
        return "synchronous mode is off"
    if view.failover_requested:
        return "a failover or switchover was asked for"
    if view.takeover_recent:
        return "there was a take-over moments ago"
    if view.sync is None:
        return "the list of synchronous standbys is missing"
    if view.sync.leader != view.leader.name:
        return "the list of synchronous standbys is another leader's"
    if not candidates(view):
        return "there is no synchronous standby"
    return None


def decide(rules: Rules, seen: Observation) -> Decision:
    """Decide from what was observed. Each rule that is not met means waiting: the key then expires by itself."""
    view = seen.view
    if view is None:
        return Decision(Action.WAIT, "etcd does not answer")
    against = objection(view)
    if against is not None:
        return Decision(Action.WAIT, against)
    if seen.misses <= 0:
        return Decision(Action.WAIT, "the leader answers")
    if view.leader not in seen.seen_alive:
        # A wall between us and a leader that takes its key again and again would look like one that keeps dying.
        return Decision(Action.WAIT, "this witness has never reached the leader under this key")
    if seen.misses < rules.misses:
        return Decision(Action.WAIT, "the leader missed a call")
    if not set(candidates(view)) & set(seen.healthy):
        # Also the case of a witness that is cut off itself.
        return Decision(Action.WAIT, "no synchronous standby answers and is healthy")
    votes = agreeing(view)
    if len(votes) >= rules.needed and any(vote.witness == rules.witness for vote in votes):
        return Decision(Action.DELETE, "enough witnesses agree", votes)
    return Decision(Action.VOTE, "the leader does not answer", votes)
