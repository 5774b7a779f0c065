# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness: it asks the leader, reads and writes etcd, and does what the decision says."""

from __future__ import annotations

import enum
import json
import logging
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import etcd
from .config import Settings
from .decision import Action, Decision, LeaderKey, Observation, View, candidates, decide
from .etcd import Etcd, EtcdError
from .patroni import Entry, is_healthy_standby, read_members, read_view, write_vote
from .web import FAILURES, Client

LOG = logging.getLogger("pg-witness")

VOTE_SECONDS = 3  # a vote dies with its witness
TAKEOVER_SECONDS = 60  # no second take-over meanwhile
REMEMBERED_KEYS = 64


@dataclass
class Figures:
    """What the status server tells."""

    takeovers: int = 0
    attempts: int = 0
    votes: int = 0
    probes_failed: int = 0
    misses: int = 0
    etcd_contact: float | None = None  # monotonic
    reason: str = "starting"


class Answer(enum.Enum):
    """What a call to the leader gave."""

    ALIVE = "alive"
    ODD = "odd"  # something is wrong with the leader or with us, but somebody answered: no reason to depose it
    NONE = "none"


class State:
    """What the threads know together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Event()  # something that the main loop should look at now
        self.suspicious = threading.Event()  # the leader missed a call: ask the standbys too
        self.leader: LeaderKey | None = None
        self.candidates: tuple[str, ...] = ()
        self.members: dict[str, str] = {}
        self.misses = 0
        self.seen_alive: list[LeaderKey] = []
        self.healthy: dict[str, float] = {}  # member: when it said so
        self.figures = Figures()

    def learn(self, view: View, members: dict[str, str]) -> None:
        """Take over what etcd said."""
        with self.lock:
            if self.leader is None or view.leader is None or view.leader != self.leader:
                self.misses = 0
                self.figures.misses = 0
                self.suspicious.clear()
            self.leader, self.candidates, self.members = view.leader, candidates(view), members

    def probed(self, about: LeaderKey, answer: Answer, misses_limit: int) -> None:
        """Note what a call to the leader gave; one about another leader key than today's says nothing."""
        with self.lock:
            if about != self.leader:
                return
            if answer is not Answer.NONE:
                self.misses = 0
                if answer is Answer.ALIVE and about not in self.seen_alive:
                    self.seen_alive = [*self.seen_alive, about][-REMEMBERED_KEYS:]
            else:
                self.misses += 1
                self.figures.probes_failed += 1
            self.figures.misses = self.misses
            wake = self.misses in (0, misses_limit)
        if answer is Answer.NONE:
            self.suspicious.set()
        else:
            self.suspicious.clear()
        if wake:
            self.changed.set()


class Witness:
    """The program, less its signals and its status server."""

    def __init__(
        self, settings: Settings, context: ssl.SSLContext | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings, self.keys, self.rules = settings, settings.keys, settings.rules
        self.state = State()
        self.stopping = threading.Event()
        self._context, self._now = context, now
        self._etcd = Etcd(settings.endpoints, context, settings.timeout)
        self._voted: LeaderKey | None = None
        self._voted_at = 0.0
        self._said = ""
        self._trouble = ""
        self._odd = ""
        self._failed = 0  # looks in a row without an answer of etcd

    # ---- the leader and the standbys, each asked in a thread of its own

    def _address(self, member: str) -> str | None:
        return self.settings.members.get(member) or self.state.members.get(member)

    def ask(self, client: Client, path: str) -> bytes | None:
        """The body of a good answer; None for anything else."""
        try:
            status, content = client.request("GET", path, None, self.settings.timeout)
        except FAILURES:
            return None
        return content if status == 200 else None

    def call_leader(self, client: Client) -> Answer:
        """Whether the leader lives."""
        try:
            status, _ = client.request("GET", "/liveness", None, self.settings.timeout)
            odd = f"status {status}"
        except ssl.SSLCertVerificationError as error:
            status, odd = 0, str(error)
        except FAILURES:
            return Answer.NONE
        if status == 503:  # Patroni's loop has stood still for longer than its key lives
            return Answer.NONE
        if status != 200:
            if self._odd != odd:
                self._odd = odd
                LOG.warning("%s", json.dumps({"action": "wait", "reason": "the leader answers oddly", "error": odd}))
            return Answer.ODD
        self._odd = ""
        return Answer.ALIVE

    def watch_leader(self) -> None:
        """Ask whether the leader lives, until the end."""
        client: Client | None = None
        while not self.stopping.is_set():
            began = self._now()
            about = self.state.leader
            url = self._address(about.name) if about else None
            if about is not None and url is not None:
                if client is None or client.url != url:
                    if client is not None:
                        client.close()
                    client = Client(url, self._context)
                self.state.probed(about, self.call_leader(client), self.settings.misses)
            self.stopping.wait(max(0.0, began + self.settings.interval - self._now()))

    def watch_standbys(self) -> None:
        """Ask the synchronous standbys whether they could take over, while the leader does not answer."""
        clients: dict[str, Client] = {}
        while not self.stopping.is_set():
            if not self.state.suspicious.wait(1):
                continue
            began = self._now()
            for member in self.state.candidates:
                url = self._address(member)
                if url is None:
                    continue
                client = clients.get(member)
                if client is None or client.url != url:
                    client = clients[member] = Client(url, self._context)
                answer = self.ask(client, "/patroni")
                good = answer is not None and is_healthy_standby(answer, member, self.settings.scope)
                with self.state.lock:
                    if good:
                        self.state.healthy[member] = self._now()
                    else:
                        self.state.healthy.pop(member, None)
            self.stopping.wait(max(0.0, began + self.settings.interval - self._now()))

    # ---- etcd

    def read(self) -> View:
        """Everything that counts, as it is at one moment."""
        keys = self.keys
        names = ("leader", "sync", "config", "failover")
        entries = self._etcd.read(
            [etcd.range_of(keys.patroni(name)) for name in names]
            + [
                etcd.range_of(keys.takeover),
                etcd.range_of(keys.votes, prefix=True),
                etcd.range_of(keys.patroni("members/"), prefix=True),
            ]
        )
        view = read_view(keys, entries)
        self._remember(view, entries)
        return view

    def _remember(self, view: View, entries: dict[str, Entry]) -> None:
        members = read_members(self.keys, entries)
        with self.state.lock:
            self.state.figures.etcd_contact = self._now()
        self.state.learn(view, members)

    def observe(self, view: View | None) -> Observation:
        """What this witness knows at this moment."""
        with self.state.lock:
            oldest = self._now() - 2 * self.settings.interval - self.settings.timeout
            healthy = {name for name, when in self.state.healthy.items() if when >= oldest}
            return Observation(view, tuple(self.state.seen_alive), self.state.misses, healthy)

    def vote(self, about: LeaderKey) -> bool:
        """Publish the vote, or make it last longer; whether it was published anew."""
        if self._voted == about and self._now() - self._voted_at < VOTE_SECONDS / 3:
            return False
        began = self._now()
        lease = self._etcd.grant(VOTE_SECONDS)
        key = self.keys.patroni("leader")
        done, _ = self._etcd.transaction(
            [etcd.if_created(key, about.create_revision), etcd.if_modified(key, about.mod_revision)],
            [etcd.put(self.keys.vote(self.settings.name), write_vote(about), lease)],
        )
        if not done:
            return False
        new, self._voted, self._voted_at = self._voted != about, about, began
        if new:
            with self.state.lock:
                self.state.figures.votes += 1
        return new

    def withdraw(self) -> None:
        """Take the vote back, if there is one."""
        if self._voted is None:
            return
        self._voted = None
        self._etcd.transaction((), [etcd.delete(self.keys.vote(self.settings.name))])

    def take_key(self, view: View, decision: Decision) -> bool:
        """Give the leader key free, in one transaction that holds only if nothing has changed since it was read."""
        about, sync = view.leader, view.sync
        if about is None or sync is None or not decision.votes:
            return False
        keys = self.keys
        leader, failover, config = keys.patroni("leader"), keys.patroni("failover"), keys.patroni("config")
        with self.state.lock:
            self.state.figures.attempts += 1
        lease = self._etcd.grant(TAKEOVER_SECONDS)
        record = {
            "leader": about.name,
            "create_revision": about.create_revision,
            "by": self.settings.name,
            "votes": [vote.witness for vote in decision.votes],
            "time": int(time.time()),
        }
        done, _ = self._etcd.transaction(
            [
                etcd.if_value(leader, about.name),
                etcd.if_created(leader, about.create_revision),
                etcd.if_modified(leader, about.mod_revision),
                etcd.if_modified(keys.patroni("sync"), sync.mod_revision),
                etcd.if_modified(config, view.config_revision),
                etcd.if_modified(failover, view.failover_revision),
                etcd.if_created(keys.takeover, 0),
                *(etcd.if_value(keys.vote(vote.witness), vote.value) for vote in decision.votes),
            ],
            [
                etcd.delete(leader),
                # The same list, written again: what a leader that still lives is about to write into it, from what it
                # read before this moment, is refused by its revision.
                etcd.put(keys.patroni("sync"), sync.value),
                etcd.put(keys.takeover, json.dumps(record, sort_keys=True), lease),
            ],
        )
        if done:
            with self.state.lock:
                self.state.figures.takeovers += 1
        else:
            self._etcd.revoke(lease)
        return done

    # ---- the loop

    def say(self, decision: Decision, view: View | None) -> None:
        """One line for each decision that is not the one before."""
        leader = view.leader.name if view and view.leader else None
        line = f"{decision.action.value} {decision.reason} {leader} {[vote.witness for vote in decision.votes]}"
        with self.state.lock:
            self.state.figures.reason = decision.reason
            misses = self.state.misses
        if line == self._said:
            return
        self._said = line
        about = {"leader": leader, "misses": misses, "votes": [vote.witness for vote in decision.votes]}
        LOG.info("%s", json.dumps({"action": decision.action.value, "reason": decision.reason} | about))

    def step(self) -> Decision:
        """Look once, decide, and do it."""
        view: View | None = None
        try:
            view = self.read()
            self._trouble, self._failed = "", 0
        except EtcdError as error:
            self._failed += 1
            if self._trouble != str(error):
                self._trouble = str(error)
                LOG.warning("%s", json.dumps({"action": "wait", "reason": "etcd does not answer", "error": str(error)}))
        decision = decide(self.rules, self.observe(view))
        if view is not None:
            self.say(decision, view)
        try:
            if decision.action is Action.WAIT or view is None or view.leader is None:
                if view is not None:
                    self.withdraw()
            elif decision.action is Action.VOTE:
                if self.vote(view.leader):
                    self.state.changed.set()
            else:
                done = self.take_key(view, decision)
                LOG.warning(
                    "%s",
                    json.dumps(
                        {
                            "action": "delete",
                            "done": done,
                            "reason": "the key of the leader was given free" if done else "something changed meanwhile",
                            "leader": view.leader.name,
                            "votes": [vote.witness for vote in decision.votes],
                        }
                    ),
                )
                self.withdraw()
        except EtcdError as error:
            LOG.warning("%s", json.dumps({"action": decision.action.value, "reason": "failed", "error": str(error)}))
        return decision

    def pause(self, decision: Decision) -> float:
        """How long to wait before the next look."""
        if decision.action is not Action.WAIT:
            return min(0.1, self.settings.interval)  # the other votes come now
        if 0 < self._failed < len(self.settings.endpoints):
            return 0.0  # the next member of etcd, at once
        return self.settings.interval

    def run(self) -> None:
        """Work until told to stop."""
        for target in (self.watch_leader, self.watch_standbys):
            threading.Thread(target=self._always, args=(target,), name=target.__name__, daemon=True).start()
        while not self.stopping.is_set():
            began = self._now()
            self.state.changed.clear()
            try:
                wait = self.pause(self.step())
            except Exception:  # a witness that ended would be missed only when it is needed
                LOG.exception("unexpected")
                wait = self.settings.interval
            self.state.changed.wait(max(0.0, began + wait - self._now()))

    def _always(self, target: Callable[[], None]) -> None:
        while not self.stopping.is_set():
            try:
                target()
            except Exception:
                LOG.exception("unexpected")
                self.stopping.wait(self.settings.interval)
