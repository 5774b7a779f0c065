# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster of PostgreSQL servers under Patroni, through Patroni's REST API (private to the collection).

Every member answers for the whole cluster, so one machine can do all of it. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import typing as t
import urllib.parse

from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

ARGUMENTS: t.Dict[str, t.Any] = {
    "scope": {"type": "str", "default": "pantheon", "aliases": ["name"]},
    "members": {"type": "dict", "default": {}},
    "tls": {
        "type": "dict",
        "options": {
            "ca": {"type": "path", "required": True},
            "cert": {"type": "path", "required": True},
            # The path of a key is not secret; "False" keeps Ansible from guessing.
            "key": {"type": "path", "required": True, "no_log": False},
        },
    },
    "dynamic": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["ready", "switchover"], "default": "ready"},
    "candidate": {"type": "str"},
    "standbys": {"type": "int"},
    "tolerate": {"type": "list", "elements": "str", "default": []},
    "wait": {"type": "float", "default": 180},
}

MANAGED = "pantheon_managed"
"""Key of Patroni's configuration that lists what we set there. Patroni keeps unknown keys and does nothing with them."""

REQUEST_TIMEOUT = 3.0
ACTION_TIMEOUT = 150.0
"""Seconds for a restart or a switchover: Patroni answers when it is done."""
SETTLE = 3.0
"""Seconds beyond Patroni's loop_wait after which a member has loaded a new configuration and asked its server about it."""
POLL = 1.0

LOG = "Look at `docker compose logs` of the service postgresql on that machine."

# A standby does not start with less of these than its primary had, so lowering them begins with the primary.
# Values: what Patroni takes without a setting.
LOWERED_ON_THE_PRIMARY_FIRST = {
    "max_connections": 100,
    "max_locks_per_transaction": 64,
    "max_prepared_transactions": 0,
    "max_wal_senders": 10,
    "max_worker_processes": 8,
}
_POSTMASTER = """
    allow_alter_system archive_mode autovacuum_freeze_max_age autovacuum_max_workers autovacuum_multixact_freeze_max_age
    bonjour bonjour_name cluster_name commit_timestamp_buffers dynamic_shared_memory_type event_source external_pid_file
    hot_standby huge_page_size huge_pages ident_file jit_provider listen_addresses logging_collector
    max_files_per_process max_logical_replication_workers max_notify_queue_pages max_pred_locks_per_transaction
    max_replication_slots min_dynamic_shared_memory multixact_member_buffers multixact_offset_buffers notify_buffers
    old_snapshot_threshold port recovery_target recovery_target_action recovery_target_inclusive recovery_target_lsn
    recovery_target_name recovery_target_time recovery_target_timeline recovery_target_xid reserved_connections
    serializable_buffers shared_buffers shared_memory_type shared_preload_libraries subtransaction_buffers
    superuser_reserved_connections track_activity_query_size track_commit_timestamp transaction_buffers
    unix_socket_directories unix_socket_group unix_socket_permissions wal_buffers wal_decode_buffer_size wal_level
    wal_log_hints
"""
NEED_RESTART = frozenset(LOWERED_ON_THE_PRIMARY_FIRST) | frozenset(_POSTMASTER.split())
"""Parameters with the context postmaster in PostgreSQL 15 to 17.

Used to foresee restarts in check mode; in a real run the servers themselves say whether they have to restart.
"""

Path = t.Tuple[str, ...]


class ClusterError(Exception):
    """The cluster is not as it has to be; remedy says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class NotThere(ClusterError):
    """No member answers, or this machine does not hold its certificate yet: the stack has to be deployed first."""


class Silent(Exception):
    """A member gives no answer; the text says why."""


class Reply(t.NamedTuple):
    """Status, the object of the body if it is one, and its text."""

    status: int
    data: t.Dict[str, t.Any]
    text: str


class Rest:
    """The REST API of the members."""

    def __init__(self, members: t.Mapping[str, str], tls: t.Optional[t.Mapping[str, str]] = None) -> None:
        self.members = dict(members)
        for name, url in self.members.items():
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ClusterError(
                    f"members.{name}: {url!r} is not an address", "Write it like https://192.0.2.1:8008."
                )
            if parts.scheme == "https" and not tls:
                raise ClusterError(
                    f"members.{name}: {url!r} needs a certificate", "Give tls: {ca: ..., cert: ..., key: ...}."
                )
        self.context = _context(tls) if tls else None

    def ask(
        self,
        member: str,
        method: str,
        path: str,
        body: t.Optional[t.Dict[str, t.Any]] = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Reply:
        """Send one request. Raises Silent without an answer, ClusterError where the member does not know us."""
        parts = urllib.parse.urlsplit(self.members[member])
        host = t.cast(str, parts.hostname)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=self.context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"} if body is not None else {},
            )
            if hasattr(socket, "TCP_QUICKACK"):
                # Patroni has sent what belongs to the handshake, and answers when that is acknowledged: now, not in 40 ms.
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode("utf-8", "replace")
        except ssl.SSLCertVerificationError as error:
            raise ClusterError(
                f"member {member}: the certificate of {self.members[member]} is refused ({error.verify_message})",
                "Its secret is postgresql_certificate, signed by data_ca: run playbooks/preflight.yml and playbooks/data.yml.",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Silent(str(error) or type(error).__name__) from None
        finally:
            connection.close()
        if status in (401, 403):
            raise ClusterError(
                f"member {member}: {method} {path} is refused with {status} ({text.strip()[:200]})",
                "Patroni takes changes from clients with a certificate of data_ca only: compare option tls with its file.",
            )
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        return Reply(status, data if isinstance(data, dict) else {}, text.strip()[:200])


def _context(tls: t.Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls["ca"])
        context.load_cert_chain(tls["cert"], tls["key"])
    except FileNotFoundError:
        raise NotThere(
            f"tls: {', '.join(sorted(tls.values()))}: not all of these files are on this machine",
            "Deploy the stack postgresql to it first: run playbooks/data.yml.",
        ) from None
    except PermissionError:
        raise ClusterError(f"tls.key: {tls['key']} cannot be read", "Run as root (become: true).") from None
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"tls: the certificate in {tls['cert']} cannot be used ({error})",
            "Deploy the stack postgresql again: run playbooks/data.yml.",
        ) from None
    return context


# --- what the cluster says ------------------------------------------------------------------------------------------


class Member(t.NamedTuple):
    """A member as the cluster and, where it was asked, it itself see it. ``lowers`` names parameters that a restart lowers."""

    name: str
    role: str
    state: str
    timeline: t.Optional[int]
    lag: t.Optional[int]
    pending: bool = False
    lowers: t.Tuple[str, ...] = ()
    nofailover: bool = False

    @property
    def standby(self) -> bool:
        """Whether the leader waits for this member."""
        return self.role in ("sync_standby", "quorum_standby")

    def report(self) -> t.Dict[str, t.Any]:
        """Return what a person wants to know."""
        return {name: getattr(self, name) for name in ("name", "role", "state", "timeline", "lag")}


class View(t.NamedTuple):
    """The cluster at one moment. ``silent`` says of members why they do not answer."""

    members: t.Dict[str, Member]
    silent: t.Dict[str, str]
    config: t.Optional[t.Dict[str, t.Any]]
    paused: bool

    @property
    def leader(self) -> str:
        """The name of the leader; empty if there is not exactly one."""
        leaders = [member.name for member in self.members.values() if member.role in ("leader", "standby_leader")]
        return leaders[0] if len(leaders) == 1 else ""


def _lowers(reasons: t.Any) -> t.Tuple[str, ...]:
    """Return the parameters that a restart makes smaller and that the primary has to make smaller first."""
    found = []
    for name, change in reasons.items() if isinstance(reasons, dict) else ():
        try:
            if name in LOWERED_ON_THE_PRIMARY_FIRST and int(change["new_value"]) < int(change["old_value"]):
                found.append(name)
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(sorted(found))


def look(rest: Rest, scope: str, tolerate: t.Collection[str]) -> View:
    """Ask the members. Those that may be missing are only asked if nobody else answers. Raises NotThere, ClusterError."""
    own: t.Dict[str, t.Dict[str, t.Any]] = {}
    silent: t.Dict[str, str] = {}
    cluster: t.Optional[Reply] = None
    config: t.Optional[t.Dict[str, t.Any]] = None
    for name in sorted(rest.members, key=lambda name: (name in tolerate, name)):
        if name in tolerate and cluster:
            continue
        try:
            own[name] = rest.ask(name, "GET", "/patroni").data
            if cluster is None:
                answer = rest.ask(name, "GET", "/cluster")
                if answer.status != 200 or "members" not in answer.data:
                    raise Silent(f"GET /cluster: {answer.status} {answer.text}".strip())
                settings = rest.ask(name, "GET", "/config")  # of what /cluster has just fetched
                cluster, config = answer, settings.data if settings.status == 200 else None
        except Silent as error:
            silent[name] = str(error)
    if cluster is None:
        said = ", ".join(f"{name}: {reason}" for name, reason in sorted(silent.items()))
        raise NotThere(
            f"no member of the cluster {scope} answers ({said})",
            "Look at `docker compose ps` and the logs of the services postgresql and etcd on these machines.",
        )
    found = cluster.data.get("scope", scope)
    if found != scope:
        raise ClusterError(
            f"scope: the members belong to the cluster {found!r}, not to {scope!r}",
            "Correct the addresses in the inventory, or the option scope.",
        )
    members = {}
    for entry in cluster.data["members"]:
        name, role = str(entry.get("name")), str(entry.get("role"))
        self_seen = own.get(name, {})
        leads = role in ("leader", "standby_leader")
        # What a member says of itself is newer than what it wrote down for the others.
        state = (not leads and self_seen.get("replication_state")) or self_seen.get("state") or entry.get("state")
        if leads and self_seen.get("role") == "replica":
            state = "not promoted yet"
        source = self_seen if self_seen.get("state") else entry
        lag = entry.get("lag")
        members[name] = Member(
            name=name,
            role=role,
            state=str(state),
            timeline=self_seen.get("timeline") or entry.get("timeline"),
            lag=lag if isinstance(lag, int) else None,
            pending=bool(source.get("pending_restart")),
            lowers=_lowers(source.get("pending_restart_reason")),
            nofailover=bool((entry.get("tags") or {}).get("nofailover")),
        )
    return View(members, silent, config, bool(cluster.data.get("pause")))


# --- configuration --------------------------------------------------------------------------------------------------


def leaves(tree: t.Mapping[str, t.Any], prefix: Path = ()) -> t.Dict[Path, t.Any]:
    """Return the values of a tree by their path. None and an empty mapping count as not set."""
    found: t.Dict[Path, t.Any] = {}
    for name, value in tree.items():
        if isinstance(value, t.Mapping) and value:
            found.update(leaves(value, (*prefix, str(name))))
        elif value is not None and value != {}:
            found[(*prefix, str(name))] = value
    return found


def tree_of(values: t.Mapping[Path, t.Any]) -> t.Dict[str, t.Any]:
    """Return the tree with these leaves."""
    tree: t.Dict[str, t.Any] = {}
    for path, value in values.items():
        place = tree
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return tree


class Change(t.NamedTuple):
    """What a new configuration comes to: the patch for Patroni, and of our keys what differs."""

    patch: t.Dict[str, t.Any]
    before: t.Dict[Path, t.Any]
    after: t.Dict[Path, t.Any]

    @property
    def parameters(self) -> t.Set[str]:
        """The parameters of the server that change."""
        return {path[2] for path in {**self.before, **self.after} if path[:2] == ("postgresql", "parameters")}

    def lowers(self) -> t.Tuple[str, ...]:
        """The parameters that have to become smaller on the primary first."""
        place = ("postgresql", "parameters")
        return _lowers(
            {
                name: {
                    "old_value": self.before.get((*place, name), default),
                    "new_value": self.after.get((*place, name), default),
                }
                for name, default in LOWERED_ON_THE_PRIMARY_FIRST.items()
            }
        )


def plan(config: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> Change:
    """Compare Patroni's configuration with the wanted keys and with those of them that were wanted before."""
    present, target = leaves(config), leaves(wanted)
    marked = config.get(MANAGED)
    ours = {tuple(entry.split("/")) for entry in marked} if isinstance(marked, list) else set()
    before: t.Dict[Path, t.Any] = {}
    after: t.Dict[Path, t.Any] = {}
    patch: t.Dict[Path, t.Any] = {}
    for path, value in sorted(target.items()):
        # As Patroni itself compares: 100 and "100" are the same.
        if path not in present or str(present[path]) != str(value):
            patch[path] = after[path] = value
            if path in present:
                before[path] = present[path]
    for path in sorted(ours - set(target)):
        if path in present:
            before[path] = present[path]
            patch[path] = None
    marks = sorted("/".join(path) for path in target)
    if patch or marked != marks:
        patch[(MANAGED,)] = marks
    return Change(tree_of(patch), before, after)


# --- the cluster ----------------------------------------------------------------------------------------------------


class Options(t.NamedTuple):
    """What is wanted."""

    scope: str
    dynamic: t.Dict[str, t.Any]
    standbys: t.Optional[int] = None
    tolerate: t.Tuple[str, ...] = ()
    wait: float = 180
    check_mode: bool = False


class Cluster:
    """Brings the cluster into its state. What it did is in ``restarted``, ``switched`` and ``warnings``."""

    def __init__(self, rest: Rest, options: Options) -> None:
        self.rest, self.options = rest, options
        self.deadline = time.monotonic() + options.wait
        self.restarted: t.List[str] = []
        self.switched: t.Dict[str, str] = {}
        self.warnings: t.List[str] = []

    # -- looking

    def look(self) -> View:
        """Return the cluster as it is now."""
        return look(self.rest, self.options.scope, self.options.tolerate)

    def unready(self, view: View) -> t.List[t.Tuple[str, str]]:
        """Return why the cluster is not ready: sentences with their remedies."""
        missing = self.missing_leader(view)
        if missing:
            return missing
        found: t.List[t.Tuple[str, str]] = []
        leader = view.members[view.leader]
        for name in sorted(self.rest.members):
            if name in self.options.tolerate:
                continue
            member = view.members.get(name)
            if name in view.silent:
                where = f"{self.rest.members[name]} does not answer: {view.silent[name]}"
                known = f"its last state was {member.state!r}" if member else "it is not in the cluster"
                remedy = (
                    f"Switch {name} on, or look at `docker compose logs` of the service postgresql there. "
                    "A machine that Ansible finds off is left out at the next run."
                )
                found.append((f"member {name}: {known}, and {where}", remedy))
            elif member is None:
                found.append((f"member {name}: it answers, and has not joined the cluster", LOG))
            elif name == leader.name:
                if member.state != "running":
                    found.append((f"member {name}: it is the leader in the state {member.state!r}", LOG))
            elif member.state != "streaming":
                found.append(
                    (
                        f"member {name}: it is a {member.role} in the state {member.state!r} and does not stream from {leader.name}",
                        f"A copy of a large database takes its time: raise `wait` (postgresql_cluster_wait). Otherwise: {LOG}",
                    )
                )
            elif member.timeline != leader.timeline:
                found.append(
                    (
                        f"member {name}: it is on timeline {member.timeline}, and {leader.name} on {leader.timeline}",
                        f"`patronictl reinit {self.options.scope} {name}` in the container copies it anew.",
                    )
                )
        needed = self.needed()
        standing = [member.name for member in view.members.values() if member.standby and member.state == "streaming"]
        if len(standing) < needed and not found:
            mode = str((view.config or {}).get("synchronous_mode", False)).lower()
            found.append(
                (
                    f"standbys: {needed} synchronous standby wanted, {len(standing)} streams (synchronous_mode is {mode})",
                    "Without synchronous_mode set standbys: 0. Otherwise look at the logs of the leader: it chooses them.",
                )
            )
        return found

    def missing_leader(self, view: View) -> t.List[t.Tuple[str, str]]:
        """Say why there is no leader that could be given a configuration."""
        if view.leader and view.config is not None:
            return []
        states = ", ".join(f"{member.name} {member.state!r}" for member in view.members.values()) or "no members"
        lost = "" if not view.silent else "; no answer of " + ", ".join(sorted(view.silent))
        what = "no configuration" if view.leader else "no leader"
        return [
            (
                f"the cluster has {what} ({states}{lost})",
                "Switch on the machine that led last, and look at the logs of the services postgresql and etcd.",
            )
        ]

    def needed(self) -> int:
        """Return how many synchronous standbys have to stream; machines that may be missing are not counted on."""
        there = len([name for name in self.rest.members if name not in self.options.tolerate])
        wanted = self.options.standbys
        if wanted is None:
            wanted = 1 if len(self.rest.members) > 1 else 0
        return max(0, min(wanted, there - 1))

    def wait_for(self, problems: t.Callable[[View], t.List[t.Tuple[str, str]]], doing: str) -> View:
        """Look until there is no problem. Raises ClusterError with all of them when the time is over."""
        while True:
            view: t.Optional[View] = None
            try:
                view = self.look()
                found = problems(view)
            except NotThere as error:
                found = [(str(error), error.remedy)]
            if view is not None and not found:
                return view
            if time.monotonic() >= self.deadline:
                sentences = "; ".join(sentence for sentence, _remedy in found)
                remedies = " ".join(dict.fromkeys(remedy for _sentence, remedy in found))
                raise ClusterError(
                    f"cluster {self.options.scope}: {doing}, not done in {self.options.wait:.0f} s: {sentences}",
                    remedies,
                )
            time.sleep(POLL)

    def more_time(self) -> None:
        """Begin to count `wait` anew: each step that is waited for has it to itself."""
        self.deadline = time.monotonic() + self.options.wait

    # -- ready

    def ready(self) -> t.Dict[str, t.Any]:
        """Wait for the cluster, give it its configuration, and restart what waits for that."""
        if self.options.check_mode:
            return self._foresee()
        view = self.wait_for(self.missing_leader, "wait for a leader")
        change = plan(view.config or {}, self.options.dynamic)
        if change.patch:
            # Before the standbys are waited for: it may be what makes them synchronous.
            self._patch(view, change)
            if change.before or change.after:
                time.sleep(float((view.config or {}).get("loop_wait", 10)) + SETTLE)
        view = self.wait_for(self.unready, "wait for its members")
        waiting = self._pending(view)
        view = self._roll(view)
        return self._result(view, change, waiting)

    def _foresee(self) -> t.Dict[str, t.Any]:
        """Return what a run would do, from one look."""
        try:
            view = self.look()
        except NotThere as error:
            # Before the first run there is nothing that could be asked.
            self.warnings.append(f"{error}: taken as empty, because this is check mode.")
            view = View({}, {}, {}, False)
            return self._result(view, plan({}, self.options.dynamic), [])
        self.warnings += [f"{sentence}. The run would wait for that." for sentence, _remedy in self.unready(view)]
        change = plan(view.config or {}, self.options.dynamic)
        # Servers that are still being made begin with the configuration.
        restart = view.config is not None and bool(change.parameters & NEED_RESTART)
        members = {
            name: member._replace(
                pending=member.pending or restart, lowers=member.lowers or (change.lowers() if restart else ())
            )
            for name, member in view.members.items()
        }
        planned = view._replace(members=members)
        pending = self._pending(planned)
        if pending:
            self._refuse_pause(view, f"restart {', '.join(pending)}")
        leader = view.leader
        lowered = any(members[name].lowers for name in pending)
        after = {name: member._replace(pending=False) for name, member in members.items() if name in pending}
        successor = self._successor(planned._replace(members={**members, **after})) if leader else ""
        if leader in pending and lowered:
            self.restarted.append(leader)
        self.restarted += [name for name in pending if name != leader]
        if leader in pending and not lowered:
            self.restarted.append(leader)
            self.switched = {"from": leader, "to": successor} if successor else {}
        return self._result(view, change, pending)

    def _result(self, view: View, change: Change, waiting: t.List[str]) -> t.Dict[str, t.Any]:
        before, after = tree_of(change.before), tree_of(change.after)
        for path in change.before:
            if path not in change.after:  # said as Patroni takes it: null is its default
                _put(after, path, None)
        for path in change.after:
            if path not in change.before:
                _put(before, path, None)
        diff: t.Dict[str, t.Dict[str, t.Any]] = {"before": {}, "after": {}}
        if before or after:
            diff["before"]["config"], diff["after"]["config"] = before, after
        if change.patch and not before and not after:
            diff["after"][MANAGED] = change.patch[MANAGED]
        if waiting:
            diff["before"]["waiting_for_restart"], diff["after"]["waiting_for_restart"] = waiting, []
        if self.switched:
            diff["before"]["leader"], diff["after"]["leader"] = self.switched["from"], self.switched["to"]
        still = sorted(
            member.name for member in view.members.values() if member.pending and member.name in self.options.tolerate
        )
        if still:
            self.warnings.append(f"{', '.join(still)}: waits for a restart; a run that includes it does that.")
        if view.paused:
            self.warnings.append(f"cluster {self.options.scope} is paused, nobody takes over: {self._resume()}")
        for name in sorted(set(view.members) - set(self.rest.members)):
            self.warnings.append(f"member {name} belongs to the cluster, and not to the inventory's group.")
        return {
            "changed": bool(change.patch or self.restarted or self.switched),
            "leader": self.switched.get("to") or view.leader,
            "members": [member.report() for member in view.members.values()],
            "restarted": self.restarted,
            "switched": self.switched,
            "diff": diff,
        }

    def _resume(self) -> str:
        return f"`patronictl resume {self.options.scope}` in the container ends that."

    def _refuse_pause(self, view: View, doing: str) -> None:
        if view.paused:
            raise ClusterError(f"cluster {self.options.scope} is paused, cannot {doing}", self._resume().capitalize())

    def _patch(self, view: View, change: Change) -> None:
        """Write the configuration, and wake every member that takes part to load it."""
        written = False
        for name in sorted(view.members, key=lambda name: (name != view.leader, name)):
            if name not in self.rest.members or (written and name in self.options.tolerate):
                continue
            try:
                reply = self._patch_at(name, change)
            except Silent:
                continue  # another member will do; one that only sleeps on loads it in its own time
            if not written and plan(reply.data, self.options.dynamic).patch:
                raise ClusterError(
                    f"dynamic: Patroni took the configuration, and does not hold it ({reply.text})",
                    "Compare it with `patronictl show-config` in the container.",
                )
            written = True
        if not written:
            raise ClusterError(f"cluster {self.options.scope}: no member takes a configuration", LOG)

    def _patch_at(self, name: str, change: Change) -> Reply:
        for _attempt in range(3):
            reply = self.rest.ask(name, "PATCH", "/config", change.patch)
            if reply.status != 409:  # somebody else wrote at the same moment
                break
        if reply.status != 200:
            keys = ", ".join(sorted("/".join(path) for path in leaves(change.patch) if path != (MANAGED,)))
            raise ClusterError(
                f"dynamic: member {name} refuses the configuration with {reply.status} ({reply.text})",
                f"Correct these keys, the owner's part of them is pantheon_postgresql: {keys or MANAGED}.",
            )
        return reply

    # -- restarts

    def _pending(self, view: View) -> t.List[str]:
        """Return the members that wait for a restart and may be restarted in this run."""
        return sorted(
            member.name
            for member in view.members.values()
            if member.pending and member.name in self.rest.members and member.name not in self.options.tolerate
        )

    def _roll(self, view: View) -> View:
        """Restart what waits for it: standbys one by one, then the leader, after it has handed over."""
        for _round in range(3):
            pending = self._pending(view)
            if not pending:
                return view
            self._refuse_pause(view, f"restart {', '.join(pending)}")
            leader = view.leader
            if leader in pending and any(view.members[name].lowers for name in pending):
                view = self._restart(leader)
            for name in pending:
                if name != view.leader and view.members[name].pending:
                    view = self._restart(name)
            if view.leader in self._pending(view):
                successor = self._successor(view)
                leader = view.leader
                # Who hands over stops, and comes back as a standby with the new settings.
                view = self._switch(view, successor) if successor else self._restart(leader)
                if successor:
                    self.restarted.append(leader)
        pending = self._pending(view)
        if pending:
            raise ClusterError(
                f"member {', '.join(pending)}: still waits for a restart after {', '.join(self.restarted)} restarted",
                f"`patronictl list {self.options.scope}` in the container says for what.",
            )
        return view

    def _restart(self, name: str) -> View:
        self.more_time()
        while True:
            try:
                reply = self.rest.ask(name, "POST", "/restart", {}, max(self.options.wait, ACTION_TIMEOUT))
            except Silent as error:
                reply = Reply(0, {}, str(error))
            if reply.status in (0, 200):
                break  # what came of it is seen below
            if "in progress" not in reply.text or time.monotonic() >= self.deadline:
                raise ClusterError(f"member {name}: the restart failed with {reply.status} ({reply.text})", LOG)
            time.sleep(POLL)
        self.restarted.append(name)
        self.more_time()
        return self.wait_for(self.unready, f"wait for {name} after its restart")

    # -- switchover

    def _successor(self, view: View) -> str:
        """Return the standby that can take over at once, with everything that was acknowledged."""
        able = [
            member
            for member in view.members.values()
            if member.standby and not member.pending and not self._unfit(view, member.name)
        ]
        return min(able, key=lambda member: (member.lag or 0, member.name)).name if able else ""

    def _unfit(self, view: View, name: str) -> str:
        """Say why this member cannot take over; empty if it can."""
        member, leader = view.members.get(name), view.members[view.leader]
        if name not in self.rest.members:
            return f"is none of {', '.join(sorted(self.rest.members))}"
        if name in self.options.tolerate:
            return "is not part of this run, its machine is off or left out"
        if name in view.silent:
            return f"does not answer ({view.silent[name]})"
        if member is None:
            return "is not in the cluster"
        if member.state != "streaming" or member.timeline != leader.timeline:
            return f"is a {member.role} in the state {member.state!r} on timeline {member.timeline}"
        if member.nofailover:
            return "is tagged nofailover"
        synchronous = str((view.config or {}).get("synchronous_mode", "")).lower() in ("true", "on", "quorum")
        if synchronous and not member.standby:
            return "is not a synchronous standby, so it may lack what was acknowledged"
        return ""

    def _switch(self, view: View, candidate: str) -> View:
        self.more_time()
        leader = view.leader
        body = {"leader": leader, "candidate": candidate}
        try:
            reply = self.rest.ask(leader, "POST", "/switchover", body, max(self.options.wait, ACTION_TIMEOUT))
        except Silent as error:
            reply = Reply(0, {}, str(error))
        if reply.status not in (0, 200, 503):
            raise ClusterError(
                f"candidate: the switchover from {leader} to {candidate} is refused with {reply.status} ({reply.text})",
                f"Wait until {candidate} is a synchronous standby, and run again.",
            )
        if reply.status == 503 and "unknown" not in reply.text and self.look().leader == leader:
            raise ClusterError(
                f"candidate: the switchover from {leader} to {candidate} failed ({reply.text})",
                f"{leader} leads as before. Look at the logs of both members, and run again.",
            )
        self.more_time()

        def problems(now: View) -> t.List[t.Tuple[str, str]]:
            if now.leader != candidate:
                return [(f"the leader is {now.leader or 'nobody'}", "Look at the logs of both members, and run again.")]
            return self.unready(now)

        view = self.wait_for(problems, f"switch from {leader} to {candidate}")
        self.switched = {"from": self.switched.get("from", leader), "to": candidate}
        return view

    def switchover(self, candidate: str) -> t.Dict[str, t.Any]:
        """Hand over to a standby, the given one or one that the leader waits for anyway."""
        view = self.look() if self.options.check_mode else self.wait_for(self.missing_leader, "wait for a leader")
        if not view.leader:
            ((sentence, remedy),) = self.missing_leader(view)
            raise ClusterError(f"cluster {self.options.scope}: {sentence}", remedy)
        before = [member.report() for member in view.members.values()]
        if candidate != view.leader:
            view = self._hand_over(view, candidate)
        return {**self._result(view, Change({}, {}, {}), []), "before": before}

    def _hand_over(self, view: View, candidate: str) -> View:
        self._refuse_pause(view, "switch")
        fit = [name for name in view.members if name != view.leader and not self._unfit(view, name)]
        remedy = f"These can: {', '.join(sorted(fit))}." if fit else f"No other can either. {LOG}"
        if candidate:
            reason = self._unfit(view, candidate)
            if reason:
                raise ClusterError(f"candidate: {candidate} cannot take over from {view.leader}: it {reason}", remedy)
        else:
            candidate = self._successor(view) or (fit[0] if fit else "")
            if not candidate:
                reasons = [
                    f"{name} {self._unfit(view, name)}" for name in sorted(self.rest.members) if name != view.leader
                ]
                raise ClusterError(
                    f"candidate: nobody can take over from {view.leader}: {'; '.join(reasons) or 'it is alone'}",
                    f"Bring a synchronous standby back. {LOG}",
                )
        if self.options.check_mode:
            self.switched = {"from": view.leader, "to": candidate}
            return view
        return self._switch(view, candidate)


def _put(tree: t.Dict[str, t.Any], path: Path, value: t.Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Bring the cluster into its state: the module postgresql_cluster without Ansible."""
    warnings: t.List[str] = []
    cluster: t.Optional[Cluster] = None
    options = Options(
        scope=params["scope"],
        dynamic=params["dynamic"],
        standbys=params["standbys"],
        tolerate=tuple(params["tolerate"]),
        wait=params["wait"],
        check_mode=check_mode,
    )
    try:
        if not params["members"]:
            raise ClusterError("members: there are none", "Name at least one, with the address of its REST API.")
        try:
            rest = Rest({str(name): str(url) for name, url in params["members"].items()}, params["tls"])
        except NotThere as error:
            if not check_mode or params["state"] != "ready":
                raise
            warnings.append(f"{error}: taken as empty, because this is check mode.")
            change = plan({}, options.dynamic)
            cluster = Cluster(Rest({}), options)
            return Outcome(cluster._result(View({}, {}, {}, False), change, []), warnings)
        cluster = Cluster(rest, options)
        result = cluster.ready() if params["state"] == "ready" else cluster.switchover(params["candidate"] or "")
    except ClusterError as error:
        done = {
            "restarted": cluster.restarted if cluster else [],
            "switched": cluster.switched if cluster else {},
        }
        text = f"{str(error).rstrip('.')}. {error.remedy}"
        return Outcome(done, [*warnings, *(cluster.warnings if cluster else ())], text)
    # A warning is a state that a person should know of: no look ahead stands for it.
    return Outcome(result, [*warnings, *cluster.warnings], idle=not result["changed"] and not cluster.warnings)


__all__ = ["ARGUMENTS", "Cluster", "ClusterError", "NotThere", "Options", "Rest", "perform", "plan"]
