# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole desired state of a NAS: read, plan, tell all problems, write, read again (private to the collection)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_datasets as datasets_
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_normalise as normal
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_service as service_
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_shares as shares_
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_tasks as tasks_
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_engine import (
    Changes,
    Context,
    Part,
    Row,
    Values,
    owner_of,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import (
    ConnectionLost,
    NasError,
    Problems,
    Refused,
)

BROKEN = ("OFFLINE", "FAULTED", "UNAVAIL", "REMOVED")
MOST_READS = 6
"""Questions that a run without changes may ask, besides the login."""

Entries = t.Sequence[t.Mapping[str, t.Any]]


class Wanted(t.NamedTuple):
    """The desired state as a person wrote it. None stands for a part that is not managed."""

    pool: str
    owner: str
    datasets: Entries = ()
    shares: t.Optional[Entries] = None
    nfs: t.Optional[t.Mapping[str, t.Any]] = None
    snapshots: Entries = ()
    replications: Entries = ()
    state: str = "present"
    destroy: bool = False
    destroy_max_used: str = "0"
    purge_shares: bool = False
    manage_service: bool = False
    """Whether shares alone already make the NFS service start."""
    check_pool: bool = True
    export_server: str = ""
    single: str = ""
    """Label of the object when there is only one."""


class Pool(Part):
    """The pool: it has to be there and to work."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.rows: t.List[Row] = []

    def read(self) -> None:
        self.rows = list(self.client.call("pool.query", [["name", "=", self.context.pool]], {}))

    def plan(self) -> None:
        name = self.context.pool
        if not self.rows:
            self.context.pool_missing = True
            self.problem("pool", f"the NAS has no pool {name}, or it is not imported; check the name")
            return
        status = str(self.rows[0].get("status"))
        if status in BROKEN:
            self.problem("pool", f"the pool {name} is {status}; repair it on the NAS first")
        elif status != "ONLINE" or self.rows[0].get("healthy") is False:
            self.context.warn(f"The pool {name} is {status} and not healthy: look at its disks on the NAS.")


class Parsed(t.NamedTuple):
    """The desired state in the form of the API."""

    datasets: t.List[datasets_.Dataset]
    shares: t.List[shares_.Share]
    nfs: Values
    enabled: t.Optional[bool]
    running: t.Optional[bool]
    snapshots: t.List[tasks_.SnapshotTask]
    replications: t.List[tasks_.Replication]
    max_used: int


def parse(wanted: Wanted) -> Parsed:
    """Read the whole desired state; raise Problems with all mistakes at once. Nothing is asked of the NAS."""
    problems: t.List[str] = []
    absent = wanted.state == "absent"
    if wanted.pool and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:-]*", wanted.pool):
        problems.append(f"pool: {wanted.pool!r} is not the name of a pool; write only the pool, like tank")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", wanted.owner):
        problems.append(f"owner: {wanted.owner!r} is not usable as a mark; use letters, digits, _ . and -")

    def label(kind: str, index: int) -> str:
        return wanted.single or f"{kind}[{index}]"

    datasets = [
        datasets_.parse(entry, label("datasets", index), wanted.pool, problems)
        for index, entry in enumerate(wanted.datasets)
    ]
    for name in sorted({d.name for d in datasets if [other.name for other in datasets].count(d.name) > 1}):
        problems.append(f"datasets: {name} is there twice; name it once")
    shares = []
    for index, entry in enumerate(wanted.shares or ()):
        # Who may use a share does not matter when it goes away.
        entry = {**entry, "allow_everyone": True} if absent else entry
        shares.append(shares_.parse(entry, label("shares", index), wanted.pool, wanted.owner, problems))
    nfs = wanted.nfs or {}
    values = service_.parse(nfs, wanted.single or "nfs", problems)
    protocols = values.get("protocols")
    for share in shares:
        kerberos = any(item.startswith("KRB5") for item in share.values["security"])
        if kerberos and protocols is not None and "NFSV4" not in protocols:
            problems.append(f"{share.label} security: Kerberos needs NFSv4; add nfsv4 to nfs.protocols")
    enabled, running = nfs.get("enabled"), nfs.get("state")
    if wanted.manage_service and (wanted.nfs is not None or shares):
        enabled = True if enabled is None else enabled
        running = running or "started"
    snapshots = [
        tasks_.parse_snapshot(entry, label("snapshots", index), wanted.pool, problems)
        for index, entry in enumerate(wanted.snapshots)
    ]
    ignored: t.List[str] = []
    replications = [
        tasks_.parse_replication(entry, label("replications", index), wanted.pool, ignored if absent else problems)
        for index, entry in enumerate(wanted.replications)
    ]
    max_used = 0
    try:
        max_used = normal.size(wanted.destroy_max_used)
    except ValueError as error:
        problems.append(f"destroy_max_used: {error}")
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    return Parsed(
        datasets,
        shares,
        values,
        enabled,
        None if running is None else running == "started",
        snapshots,
        replications,
        max_used,
    )


class Plan:
    """The parts of one attempt, in the order in which they are read, planned and written."""

    def __init__(self, client: Client, wanted: Wanted, parsed: Parsed) -> None:
        self.context = context = Context(client, wanted.pool, wanted.owner)
        self.kept: t.List[t.Dict[str, str]] = []
        absent = wanted.state == "absent"
        destroy = absent and wanted.destroy
        names = {task.dataset for task in parsed.snapshots}
        names.update(share.dataset for share in parsed.shares if share.dataset)
        for task in parsed.replications:
            names.update(task.local_datasets)
        if wanted.pool:
            # The parents of a share's dataset tell where it is mounted when it is new.
            names.update(
                "/".join(name.split("/")[:count]) for name in set(names) for count in range(1, name.count("/") + 1)
            )
        below = [dataset.name for dataset in parsed.datasets] if destroy else []
        # Their permissions are of no interest when they go.
        datasets = [dataset._replace(permissions={}) for dataset in parsed.datasets] if absent else parsed.datasets
        self.datasets = datasets_.Datasets(context, datasets, names, below)
        self.shares = shares_.Shares(context, parsed.shares, wanted.purge_shares)
        snapshots = tasks_.SnapshotTasks(context, parsed.snapshots, destroy)
        replications = tasks_.Replications(context, parsed.replications, snapshots, destroy)
        self.pool = Pool(context)
        self.readers: t.List[Part] = [self.datasets]
        self.parts: t.List[Part]
        use_shares = wanted.shares is not None or (absent and not wanted.single)
        if absent:
            removal = shares_.RemoveShares(context, self.shares, wanted.shares is None and not wanted.single)
            self.doomed = datasets_.DestroyDatasets(context, self.datasets, destroy, parsed.max_used)
            self.parts = [
                tasks_.RemoveReplications(context, replications),
                tasks_.RemoveSnapshotTasks(context, snapshots),
                *([removal] if use_shares or destroy else []),
                self.doomed,
            ]
        else:
            nfs = service_.NfsConfig(context, parsed.nfs, wanted.single or "nfs")
            service = service_.Service(context, parsed.enabled, parsed.running, wanted.single or "nfs")
            self.parts = [self.datasets, nfs, *([self.shares] if use_shares else []), service, snapshots, replications]
        self.readers += [part for part in self.parts if part is not self.datasets]
        reads = self._reads(parsed, use_shares)
        self.pool_first = wanted.check_pool and reads < MOST_READS
        self.datasets.list_folders = reads > MOST_READS
        self.check_pool = wanted.check_pool

    def _reads(self, parsed: Parsed, use_shares: bool) -> int:
        """Return how many questions this attempt asks when nothing has to change, without the one for the pool."""
        return (
            int(bool(self.datasets.names))
            + sum(1 for dataset in self.datasets.wanted if dataset.permissions)
            + int(bool(parsed.nfs))
            + int(use_shares)
            + int(parsed.enabled is not None or parsed.running is not None)
            + int(bool(parsed.snapshots))
            + int(bool(parsed.replications))
        )

    def read_and_plan(self) -> None:
        """Ask the NAS and compare. The health of the pool is left out of a long quiet run, and never before a write."""
        if self.pool_first:
            self.pool.read()
            self.pool.plan()
        for part in self.readers:
            part.read()
        for part in self.parts:
            part.plan()
        late = self.check_pool and not self.pool_first
        if late and (self.steps or self.context.problems):
            self.pool.read()
            self.pool.plan()
        if self.context.problems:
            raise Problems(self.context.problems)

    @property
    def steps(self) -> int:
        """Return how many changes are planned."""
        return sum(len(part.steps) for part in self.parts)


class Storage:
    """Brings a NAS into the desired state."""

    def __init__(self, client: Client, wanted: Wanted, check_mode: bool, retries: int = 0) -> None:
        self.client, self.wanted, self.check_mode, self.retries = client, wanted, check_mode, retries
        self.parsed = parse(wanted)
        self.warnings: t.List[str] = []
        self.written = 0
        self.changes = Changes()

    def run(self) -> Values:
        """Do everything and return the result of the module."""
        attempt = 0
        first: t.Optional[Changes] = None
        while True:
            plan = Plan(self.client, self.wanted, self.parsed)
            try:
                plan.read_and_plan()
                # After a lost connection the rest is planned anew; what is shown is the whole way.
                first = first or plan.context.changes
                self.changes = first
                if not self.check_mode:
                    self._apply(plan)
                break
            except ConnectionLost as error:
                if attempt >= self.retries:
                    raise
                attempt += 1
                self._warn(f"{error}: connected again, read again and went on")
                self.client.reconnect()
            finally:
                for text in plan.context.warnings:
                    self._warn(text)
        result = first.result()
        if self.wanted.state == "absent":
            result["kept"] = plan.doomed.kept
        if self.wanted.shares is not None:
            result["exports"] = [] if self.wanted.state == "absent" else plan.shares.exports(self.wanted.export_server)
        return result

    def _apply(self, plan: Plan) -> None:
        for part in plan.parts:
            for step in part.steps:
                try:
                    step.run(self.client)
                except NasError as error:
                    self.written += error.done
                    raise
                self.written += 1
            part.verify()

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


GATHER = ("pools", "datasets", "shares", "nfs", "service", "snapshots", "replications")


class Info:
    """What there is on a NAS; nothing is changed."""

    def __init__(self, client: Client, gather: t.Iterable[str], owner: t.Optional[str]) -> None:
        self.client, self.gather, self.owner = client, set(gather), owner

    def run(self) -> Values:
        """Return everything that was asked for."""
        result: Values = {"version": self._version()}
        if "pools" in self.gather:
            keys = ("name", "status", "healthy", "path", "size", "allocated", "free")
            result["pools"] = [pick(row, keys) for row in self.client.call("pool.query", [], {})]
        if "datasets" in self.gather:
            extra = {"flat": True, "retrieve_children": False, "retrieve_user_props": True}
            # Without any filter, some releases list only the roots of the pools.
            rows = self.client.call("pool.dataset.query", [["type", "=", "FILESYSTEM"]], {"extra": extra})
            result["datasets"] = [describe_dataset(row) for row in rows if self._shown(owner_of(row))]
        if "shares" in self.gather:
            rows = self.client.call("sharing.nfs.query", [], {})
            result["shares"] = [
                {**row, "owner": shares_.owner_of(row)}
                for row in rows
                if self.owner is None or shares_.owner_of(row) == self.owner
            ]
        if "nfs" in self.gather:
            result["nfs"] = self.client.call("nfs.config")
        if "service" in self.gather:
            rows = self.client.call("service.query", [["service", "=", "nfs"]], {})
            row = rows[0] if rows else {}
            result["service"] = {"enabled": bool(row.get("enable")), "state": row.get("state")}
        if "snapshots" in self.gather:
            result["snapshots"] = self.client.call("pool.snapshottask.query", [], {})
        if "replications" in self.gather:
            rows = self.client.call("replication.query", [], {})
            result["replications"] = [describe_replication(row) for row in rows]
        return result

    def _version(self) -> t.Optional[str]:
        try:
            return str(self.client.call("system.version"))
        except Refused as error:
            # The first call logs in as well, and a login that is refused is not tried again.
            if error.method != "system.version":
                raise
            return None  # a key with few roles need not be allowed to ask

    def _shown(self, owner: t.Optional[str]) -> bool:
        return owner is not None and (self.owner is None or owner == self.owner)


def pick(row: Row, keys: t.Iterable[str]) -> Values:
    """Return some fields."""
    return {key: row.get(key) for key in keys}


def describe_dataset(row: Row) -> Values:
    """Return what is worth knowing of a dataset."""
    names = ("recordsize", "compression", "atime", "acltype", "quota", "refquota", "comments")
    values = {name: normal.actual_property(name, row, None) for name in names}
    available = row.get("available")
    return {
        "name": row.get("id"),
        "owner": owner_of(row),
        "mountpoint": row.get("mountpoint"),
        "encrypted": row.get("encrypted"),
        "locked": row.get("locked"),
        "used": datasets_.used_of(row),
        "available": available.get("parsed") if isinstance(available, dict) else None,
        "properties": {"comment" if name == "comments" else name: value for name, value in values.items()},
    }


def describe_replication(row: Row) -> Values:
    """Return a replication task without the attributes of its credentials, which hold keys."""
    credentials = row.get("ssh_credentials")
    return {
        **{key: value for key, value in row.items() if key not in ("encryption_key", "job")},
        "ssh_credentials": pick(credentials, ("id", "name", "type")) if isinstance(credentials, dict) else credentials,
    }
