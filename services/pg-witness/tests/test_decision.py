# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision: every rule by itself, and all of them together over anything that could be observed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_witness.decision import (
    Action,
    LeaderKey,
    Observation,
    Rules,
    Sync,
    View,
    Vote,
    agreeing,
    candidates,
    decide,
)

KEY = LeaderKey("erebus", 10, 10)
OTHERS = LeaderKey("erebus", 30, 30)
RULES = Rules("zelus", witnesses=3, misses=3)
SYNC = Sync("erebus", ("thanatos",), 20, "{}")
VIEW = View(
    leader=KEY,
    sync=SYNC,
    synchronous=True,
    config_revision=5,
    votes=(Vote("zelus", KEY), Vote("thanatos", KEY)),
)
SEEN = Observation(VIEW, (KEY,), 3, ("thanatos",))


def test_deletes_when_everything_holds() -> None:
    decision = decide(RULES, SEEN)
    assert decision.action is Action.DELETE
    assert [vote.witness for vote in decision.votes] == ["thanatos", "zelus"]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (replace(VIEW, leader=None), "there is no leader key"),
        (replace(VIEW, paused=True), "Patroni is paused"),
        (replace(VIEW, synchronous=False), "synchronous mode is off"),
        (replace(VIEW, failover_requested=True), "a failover or switchover was asked for"),
        (replace(VIEW, takeover_recent=True), "there was a take-over moments ago"),
        (replace(VIEW, sync=None), "the list of synchronous standbys is missing"),
        (replace(VIEW, sync=replace(SYNC, leader="thanatos")), "the list of synchronous standbys is another leader's"),
        (replace(VIEW, sync=replace(SYNC, standbys=())), "there is no synchronous standby"),
        (replace(VIEW, sync=replace(SYNC, standbys=("erebus",))), "there is no synchronous standby"),
        (None, "etcd does not answer"),
    ],
)
def test_what_etcd_says_forbids(view: View | None, reason: str) -> None:
    decision = decide(RULES, replace(SEEN, view=view))
    assert (decision.action, decision.reason) == (Action.WAIT, reason)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (replace(SEEN, misses=0), "the leader answers"),
        (replace(SEEN, misses=2), "the leader missed a call"),
        (replace(SEEN, seen_alive=()), "this witness has never reached the leader under this key"),
        (replace(SEEN, seen_alive=(OTHERS,)), "this witness has never reached the leader under this key"),
        (replace(SEEN, healthy=()), "no synchronous standby answers and is healthy"),
        (replace(SEEN, healthy=("erebus", "other")), "no synchronous standby answers and is healthy"),
    ],
)
def test_what_the_witness_has_seen_forbids(seen: Observation, reason: str) -> None:
    decision = decide(RULES, seen)
    assert (decision.action, decision.reason) == (Action.WAIT, reason)


@pytest.mark.parametrize(
    "votes",
    [
        (),
        (Vote("zelus", KEY),),
        (Vote("zelus", KEY), Vote("zelus", KEY)),  # one witness counts once
        (Vote("zelus", KEY), Vote("thanatos", OTHERS)),  # about another leader key
        (Vote("thanatos", KEY), Vote("erebus", KEY)),  # ours is not published yet
    ],
)
def test_votes_while_others_are_missing(votes: tuple[Vote, ...]) -> None:
    assert decide(RULES, replace(SEEN, view=replace(VIEW, votes=votes))).action is Action.VOTE


@pytest.mark.parametrize(("witnesses", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_majority(witnesses: int, needed: int) -> None:
    assert Rules("zelus", witnesses).needed == needed


def test_a_single_witness_decides_alone() -> None:
    alone = replace(SEEN, view=replace(VIEW, votes=(Vote("zelus", KEY),)))
    assert decide(Rules("zelus", witnesses=1), alone).action is Action.DELETE


NAMES = st.sampled_from(["erebus", "thanatos", "zelus"])
LEADERS = st.builds(LeaderKey, NAMES, st.integers(1, 3), st.integers(1, 3))
VIEWS = st.builds(
    View,
    leader=st.none() | LEADERS,
    sync=st.none() | st.builds(Sync, NAMES, st.lists(NAMES, max_size=2).map(tuple), st.integers(1, 9), st.just("{}")),
    synchronous=st.sampled_from([True, True, True, False]),
    paused=st.sampled_from([False, False, False, True]),
    config_revision=st.integers(0, 9),
    failover_requested=st.sampled_from([False, False, False, True]),
    takeover_recent=st.sampled_from([False, False, False, True]),
    votes=st.lists(st.builds(Vote, NAMES, LEADERS), max_size=5).map(tuple),
)
OBSERVATIONS = st.builds(
    Observation,
    view=st.none() | VIEWS,
    seen_alive=st.lists(LEADERS, max_size=8).map(tuple),
    misses=st.integers(0, 5),
    healthy=st.lists(NAMES, max_size=3).map(tuple),
)
ALL_RULES = st.builds(Rules, NAMES, st.integers(1, 5), st.integers(2, 4))


def lean_towards_deleting(seen: Observation) -> Observation:
    """Make most of the rules hold, so that the properties are not about waiting only."""
    view = seen.view
    if view is None or view.leader is None:
        return seen
    votes = tuple(Vote(vote.witness, view.leader) for vote in view.votes)
    sync = view.sync and replace(view.sync, leader=view.leader.name)
    return replace(
        seen, view=replace(view, votes=votes, sync=sync), seen_alive=(*seen.seen_alive, view.leader), misses=5
    )


@given(ALL_RULES, OBSERVATIONS | OBSERVATIONS.map(lean_towards_deleting))
def test_never_deletes_unless_every_rule_holds(rules: Rules, seen: Observation) -> None:
    decision = decide(rules, seen)
    if decision.action is Action.WAIT:
        return
    view = seen.view
    assert view is not None and view.leader is not None and view.sync is not None
    assert view.synchronous and not view.paused and not view.failover_requested and not view.takeover_recent
    assert view.sync.leader == view.leader.name
    assert seen.misses >= rules.misses
    assert view.leader in seen.seen_alive
    able = set(view.sync.standbys) & set(seen.healthy) - {view.leader.name}
    assert able
    if decision.action is Action.DELETE:
        agreed = {vote.witness for vote in view.votes if vote.about == view.leader}
        assert rules.witness in agreed
        assert len(agreed) >= rules.needed
        if rules.witnesses >= 2:
            assert len(agreed) >= 2
        assert {vote.witness for vote in decision.votes} == agreed
        assert all(vote.about == view.leader for vote in decision.votes)


@given(VIEWS)
def test_counted_votes_are_about_this_key_and_one_each(view: View) -> None:
    counted = agreeing(view)
    assert all(vote.about == view.leader for vote in counted)
    assert len({vote.witness for vote in counted}) == len(counted)
    assert view.leader is None or view.leader.name not in candidates(view)


@given(OBSERVATIONS.map(lean_towards_deleting))
def test_one_witness_of_several_never_suffices(seen: Observation) -> None:
    if seen.view is not None:
        votes = tuple(replace(vote, witness="zelus") for vote in seen.view.votes)
        seen = replace(seen, view=replace(seen.view, votes=votes))
    assert decide(Rules("zelus", witnesses=3), seen).action is not Action.DELETE
