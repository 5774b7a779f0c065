# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Periodic snapshot tasks and replication tasks of a NAS (private to the collection).

Neither has a place for a mark. A task belongs to whom the dataset belongs that it works on.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_normalise as normal
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_engine import (
    OWNER,
    Context,
    Part,
    Row,
    Step,
    Values,
    did_not_converge,
    differences,
    drift_text,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import NasError

DEFAULT_SCHEMA = "auto-%Y-%m-%d_%H-%M"
DIRECTIONS = ("PUSH", "PULL")
TRANSPORTS = ("LOCAL", "SSH", "SSH+NETCAT")
RETENTION = ("SOURCE", "CUSTOM", "NONE")
READONLY = ("SET", "REQUIRE", "IGNORE")
RESERVED = frozenset(
    (
        "id",
        "state",
        "job",
        "has_encrypted_dataset_keys",
        "name",
        "direction",
        "transport",
        "ssh_credentials",
        "source_datasets",
        "target_dataset",
        "recursive",
        "periodic_snapshot_tasks",
        "naming_schema",
        "also_include_naming_schema",
        "name_regex",
        "auto",
        "schedule",
        "retention_policy",
        "lifetime_value",
        "lifetime_unit",
        "readonly",
        "allow_from_scratch",
        "enabled",
        "exclude",
    )
)
"""Fields that have an option of their own, or that only the NAS sets."""


class SnapshotTask(t.NamedTuple):
    """A wanted snapshot task."""

    label: str
    dataset: str
    schema: str
    values: Values
    adopt: bool

    @property
    def name(self) -> str:
        """Return how the task is called, as it has no name of its own."""
        return task_name(self.dataset, self.schema)


class Replication(t.NamedTuple):
    """A wanted replication task; snapshot tasks and credentials stand in it by name."""

    label: str
    name: str
    values: Values
    adopt: bool

    @property
    def local_datasets(self) -> t.List[str]:
        """Return the datasets of this NAS that decide whose task it is."""
        return local_datasets(self.values)


def task_name(dataset: str, schema: str) -> str:
    """Return the identity of a snapshot task as text."""
    return f"{dataset}@{schema}"


def local_datasets(values: Values) -> t.List[str]:
    """Return what a replication reads on this NAS, or where it writes when it pulls."""
    if values.get("direction") == "PULL":
        return [str(values.get("target_dataset"))]
    return [str(name) for name in values.get("source_datasets") or []]


def choice(value: t.Any, allowed: t.Sequence[str]) -> str:
    """Return a choice in upper case."""
    upper = str(value).strip().upper()
    if upper not in allowed:
        raise ValueError(f"{value!r} is unknown; use {', '.join(allowed).lower()}")
    return upper


def parse_snapshot(entry: t.Mapping[str, t.Any], label: str, pool: str, problems: t.List[str]) -> SnapshotTask:
    """Read what a person wrote; every mistake becomes a line in problems."""
    dataset = normal.dataset_name(str(entry["dataset"]), pool)
    schema = str(entry.get("naming_schema") or DEFAULT_SCHEMA)
    label = f"{label} ({dataset})"
    try:
        normal.naming_schema(schema)
    except ValueError as error:
        problems.append(f"{label} naming_schema: {error}")
    values: Values = {}
    for key in ("recursive", "allow_empty", "enabled"):
        if entry.get(key) is not None:
            values[key] = bool(entry[key])
    if entry.get("exclude") is not None:
        values["exclude"] = sorted(normal.dataset_name(str(name), pool) for name in entry["exclude"])
        if values["exclude"] and not values.get("recursive"):
            problems.append(
                f"{label} exclude: it only means something with recursive: true; set that or leave exclude out"
            )
    _lifetime(entry, label, values, problems)
    if entry.get("schedule") is not None:
        values["schedule"] = normal.schedule(entry["schedule"])
    return SnapshotTask(label, dataset, schema, values, bool(entry.get("adopt")))


def _lifetime(entry: t.Mapping[str, t.Any], label: str, values: Values, problems: t.List[str]) -> None:
    if entry.get("lifetime_value") is not None:
        values["lifetime_value"] = int(entry["lifetime_value"])
        if values["lifetime_value"] < 1:
            problems.append(f"{label} lifetime_value: {values['lifetime_value']} is less than 1")
    if entry.get("lifetime_unit") is not None:
        try:
            values["lifetime_unit"] = choice(entry["lifetime_unit"], normal.LIFETIME_UNITS)
        except ValueError as error:
            problems.append(f"{label} lifetime_unit: {error}")


def parse_replication(entry: t.Mapping[str, t.Any], label: str, pool: str, problems: t.List[str]) -> Replication:
    """Read what a person wrote; every mistake becomes a line in problems."""
    name = str(entry["name"]).strip()
    label = f"{label} ({name})"
    values: Values = {}
    for key, allowed in (
        ("direction", DIRECTIONS),
        ("transport", TRANSPORTS),
        ("retention_policy", RETENTION),
        ("readonly", READONLY),
    ):
        if entry.get(key) is not None:
            try:
                values[key] = choice(entry[key], allowed)
            except ValueError as error:
                problems.append(f"{label} {key}: {error}")
    pull = values.get("direction") == "PULL"
    sources = [str(item).strip() for item in entry.get("source_datasets") or []]
    values["source_datasets"] = sources if pull else [normal.dataset_name(item, pool) for item in sources]
    values["target_dataset"] = str(entry["target_dataset"]).strip().strip("/")
    if not sources:
        problems.append(f"{label} source_datasets: name at least one dataset")
    for key in ("recursive", "auto", "allow_from_scratch", "enabled"):
        if entry.get(key) is not None:
            values[key] = bool(entry[key])
    for key in ("naming_schema", "also_include_naming_schema", "exclude"):
        if entry.get(key) is not None:
            values[key] = sorted(str(item) for item in entry[key])
    for key in ("naming_schema", "also_include_naming_schema"):
        for schema in values.get(key) or []:
            try:
                normal.naming_schema(schema)
            except ValueError as error:
                problems.append(f"{label} {key}: {error}")
    if entry.get("name_regex") is not None:
        values["name_regex"] = entry["name_regex"] or None
    _lifetime(entry, label, values, problems)
    if entry.get("schedule") is not None:
        values["schedule"] = normal.schedule(entry["schedule"])
    if entry.get("snapshot_tasks") is not None:
        values["snapshot_tasks"] = sorted(
            _task_reference(item, pool, label, problems) for item in entry["snapshot_tasks"]
        )
    credentials = entry.get("ssh_credentials")
    if credentials is not None:
        values["ssh_credentials"] = str(credentials).strip()
    if values.get("transport") == "LOCAL":
        if credentials:
            problems.append(f"{label} ssh_credentials: a local replication has none; leave it out")
    elif not credentials and values.get("transport"):
        problems.append(f"{label} ssh_credentials: a replication over SSH needs the name of credentials on the NAS")
    if pull and values.get("snapshot_tasks"):
        problems.append(f"{label} snapshot_tasks: a pull replication has none; use naming_schema")
    if pull and not values.get("naming_schema") and not values.get("name_regex"):
        problems.append(f"{label} naming_schema: a pull replication needs it (or name_regex) to know the snapshots")
    if not pull and not any(values.get(key) for key in ("snapshot_tasks", "also_include_naming_schema", "name_regex")):
        problems.append(
            f"{label} snapshot_tasks: a push replication needs them, also_include_naming_schema or name_regex to know "
            "the snapshots"
        )
    if values.get("retention_policy") == "CUSTOM" and not (
        values.get("lifetime_value") and values.get("lifetime_unit")
    ):
        problems.append(f"{label} retention_policy: custom needs lifetime_value and lifetime_unit")
    for key, value in (entry.get("options") or {}).items():
        if key in RESERVED:
            problems.append(
                f"{label} options.{key}: it cannot stand here; use the option of that name, if there is one"
            )
        else:
            values[key] = value
    return Replication(label, name, values, bool(entry.get("adopt")))


def _task_reference(item: t.Any, pool: str, label: str, problems: t.List[str]) -> str:
    """Return a snapshot task as text: its dataset and naming schema."""
    if isinstance(item, dict):
        if not item.get("dataset"):
            problems.append(f"{label} snapshot_tasks: an entry lacks dataset")
        dataset, schema = str(item.get("dataset") or ""), str(item.get("naming_schema") or DEFAULT_SCHEMA)
    else:
        dataset, _separator, schema = str(item).partition("@")
    return task_name(normal.dataset_name(dataset, pool), schema or DEFAULT_SCHEMA)


def replication_actual(row: Row, wanted: Values) -> Values:
    """Return the fields of a replication task in the form of Replication.values."""
    values: Values = {}
    for key in wanted:
        if key == "snapshot_tasks":
            value: t.Any = sorted(
                task_name(str(task.get("dataset")), str(task.get("naming_schema")))
                for task in row.get("periodic_snapshot_tasks") or []
            )
        elif key == "ssh_credentials":
            credentials = row.get(key)
            identity = "id" if str(wanted[key]).isdigit() else "name"
            value = str(credentials.get(identity)) if isinstance(credentials, dict) else str(credentials or "")
        elif key == "schedule":
            value = normal.schedule(row.get(key))
        elif key == "name_regex":
            value = row.get(key) or None
        else:
            value = row.get(key)
        values[key] = value
    return values


def snapshot_actual(row: Row, wanted: t.Iterable[str]) -> Values:
    """Return the fields of a snapshot task in the form of SnapshotTask.values."""
    return {key: normal.schedule(row.get(key)) if key == "schedule" else row.get(key) for key in wanted}


class SnapshotTasks(Part):
    """The wanted snapshot tasks, found by dataset and naming schema. Others are never touched."""

    kind = "snapshots"

    def __init__(self, context: Context, wanted: t.Sequence[SnapshotTask], read_all: bool = False) -> None:
        super().__init__(context)
        self.wanted, self.read_all = list(wanted), read_all
        self.rows: t.List[Row] = []
        self.changed: t.List[SnapshotTask] = []

    def query(self) -> t.List[Row]:
        """Return the tasks of the datasets that matter."""
        filters = [] if self.read_all else [["dataset", "in", sorted({task.dataset for task in self.wanted})]]
        return list(self.client.call("pool.snapshottask.query", filters, {}))

    def read(self) -> None:
        if self.wanted or self.read_all:
            self.rows = self.query()
        for row in self.rows:
            self.context.tasks[("snapshot", int(row["id"]))] = [str(row.get("dataset"))]

    def find(self, name: str) -> t.List[Row]:
        """Return the tasks with an identity; there should be at most one."""
        return [row for row in self.rows if task_name(str(row.get("dataset")), str(row.get("naming_schema"))) == name]

    def plan(self) -> None:
        seen: t.Set[str] = set()
        for task in self.wanted:
            if task.name in seen:
                self.problem(
                    task.label, f"naming_schema: {task.schema} is there twice for this dataset; use two schemas"
                )
                continue
            seen.add(task.name)
            rows = self.find(task.name)
            if len(rows) > 1:
                ids = ", ".join(str(row.get("id")) for row in rows)
                self.problem(
                    task.label,
                    f"the NAS has several tasks with naming_schema {task.schema} ({ids}); remove all but one",
                )
            elif rows:
                self._plan_existing(task, rows[0])
            else:
                self._plan_new(task)

    def _plan_new(self, task: SnapshotTask) -> None:
        if task.dataset not in self.context.datasets and task.dataset not in self.context.planned_datasets:
            self.problem(task.label, f"dataset: {task.dataset} does not exist; add it to the datasets")
            return
        data = {"dataset": task.dataset, "naming_schema": task.schema, **task.values}
        self.change(task.name, None, dict(task.values))
        self.changed.append(task)
        self.steps.append(Step(task.label, lambda: self.client.call("pool.snapshottask.create", data)))

    def _plan_existing(self, task: SnapshotTask, row: Row) -> None:
        found = differences(task.values, snapshot_actual(row, task.values))
        if not found:
            return
        if not self.context.is_ours(task.dataset) and not task.adopt:
            self.problem(task.label, foreign("it", [task.dataset], self.context.owner, drift_text(found)))
            return
        number = int(row["id"])
        data = {key: wanted for key, (wanted, _was) in found.items()}
        self.change(task.name, {key: was for key, (_wanted, was) in found.items()}, data)
        self.changed.append(task)
        self.steps.append(Step(task.label, lambda: self.client.call("pool.snapshottask.update", number, data)))

    def verify(self) -> None:
        if not self.steps:
            return
        self.rows = self.query()
        for task in self.changed:
            rows = self.find(task.name)
            found = differences(task.values, snapshot_actual(rows[0], task.values) if rows else {})
            if not rows:
                raise NasError(
                    f"{task.label} did not converge: the NAS does not list it", "Look at the NAS.", "not_converged"
                )
            if found:
                raise did_not_converge(task.label, found)


class Replications(Part):
    """The wanted replication tasks, found by name. Others are never touched."""

    kind = "replications"

    def __init__(
        self, context: Context, wanted: t.Sequence[Replication], snapshots: SnapshotTasks, read_all: bool = False
    ) -> None:
        super().__init__(context)
        self.wanted, self.snapshots, self.read_all = list(wanted), snapshots, read_all
        self.rows: t.List[Row] = []
        self.changed: t.List[Replication] = []

    def query(self) -> t.List[Row]:
        """Return the tasks of the wanted names."""
        filters = [] if self.read_all else [["name", "in", sorted({task.name for task in self.wanted})]]
        return list(self.client.call("replication.query", filters, {}))

    def read(self) -> None:
        if self.wanted or self.read_all:
            self.rows = self.query()
        for row in self.rows:
            local = local_datasets(row)
            if row.get("transport") == "LOCAL":
                local = [*local, str(row.get("target_dataset"))]
            self.context.tasks[("replication", int(row["id"]))] = local

    def find(self, name: str) -> t.Optional[Row]:
        """Return the task of a name."""
        return next((row for row in self.rows if row.get("name") == name), None)

    def is_ours(self, names: t.Sequence[str]) -> bool:
        """Whether all datasets that a task works on carry our mark."""
        return bool(names) and all(self.context.is_ours(name) for name in names)

    def plan(self) -> None:
        seen: t.Set[str] = set()
        for task in self.wanted:
            if task.name in seen:
                self.problem(task.label, f"name: {task.name} is there twice; choose two names")
                continue
            seen.add(task.name)
            row = self.find(task.name)
            if row is None:
                self._plan_new(task)
            else:
                self._plan_existing(task, row)

    def _check_tasks(self, task: Replication, row: Row) -> t.Dict[str, int]:
        """Return the ids of the snapshot tasks that exist; note those that never will."""
        known: t.Dict[str, int] = {
            task_name(str(bound.get("dataset")), str(bound.get("naming_schema"))): int(bound["id"])
            for bound in row.get("periodic_snapshot_tasks") or []
            if isinstance(bound, dict)
        }
        planned = {snapshot.name for snapshot in self.snapshots.wanted}
        missing = [name for name in task.values.get("snapshot_tasks") or [] if name not in known]
        unread = [name for name in missing if name not in planned and not self.snapshots.find(name)]
        if unread:
            datasets = sorted({name.partition("@")[0] for name in unread})
            for found in self.client.call("pool.snapshottask.query", [["dataset", "in", datasets]], {}):
                known[task_name(str(found.get("dataset")), str(found.get("naming_schema")))] = int(found["id"])
        for name in missing:
            if name not in known and name not in planned and not self.snapshots.find(name):
                self.problem(task.label, f"snapshot_tasks: there is no task {name}; add it to the snapshots")
        return known

    def _credentials(self, task: Replication, row: Row) -> t.Optional[int]:
        """Return the id of the wanted credentials."""
        name = task.values.get("ssh_credentials")
        if not name:
            return None
        if name.isdigit():
            return int(name)
        current = row.get("ssh_credentials")
        if isinstance(current, dict) and current.get("name") == name:
            return int(current["id"])
        filters = [["name", "=", name], ["type", "=", "SSH_CREDENTIALS"]]
        rows = self.client.call("keychaincredential.query", filters, {})
        if not rows:
            self.problem(
                task.label,
                f"ssh_credentials: the NAS has no SSH credentials {name!r}; create them there (Backup Credentials)",
            )
            return None
        return int(rows[0]["id"])

    def _data(self, values: Values, known: t.Dict[str, int], credentials: t.Optional[int]) -> Values:
        data = dict(values)
        if "snapshot_tasks" in data:
            ids = []
            for name in data.pop("snapshot_tasks"):
                # A task that this run created is known only now.
                rows = self.snapshots.find(name)
                ids.append(int(rows[0]["id"]) if rows else known[name])
            data["periodic_snapshot_tasks"] = ids
        if "ssh_credentials" in data:
            data["ssh_credentials"] = credentials
        return data

    def _plan_new(self, task: Replication) -> None:
        for name in task.local_datasets:
            if task.values.get("direction") != "PULL" and not (
                name in self.context.datasets or name in self.context.planned_datasets
            ):
                self.problem(task.label, f"source_datasets: {name} does not exist; add it to the datasets")
        known, credentials = self._check_tasks(task, {}), self._credentials(task, {})
        defaults: Values = {
            "direction": "PUSH",
            "transport": "LOCAL",
            "recursive": False,
            "auto": bool(task.values.get("snapshot_tasks") or task.values.get("schedule")),
            "retention_policy": "NONE",
        }
        values = {**{key: value for key, value in defaults.items() if key not in task.values}, **task.values}
        self.change(task.name, None, dict(task.values))
        self.changed.append(task)
        self.steps.append(
            Step(
                task.label,
                lambda: self.client.call(
                    "replication.create", {"name": task.name, **self._data(values, known, credentials)}
                ),
                {"periodic_snapshot_tasks": "snapshot_tasks"},
            )
        )

    def _plan_existing(self, task: Replication, row: Row) -> None:
        found = differences(task.values, replication_actual(row, task.values))
        if not found:
            return
        names = local_datasets(row)
        if not self.is_ours(names) and not task.adopt:
            self.problem(task.label, foreign("it", names, self.context.owner, drift_text(found)))
            return
        known = self._check_tasks(task, row) if "snapshot_tasks" in found else {}
        credentials = self._credentials(task, row) if "ssh_credentials" in found else None
        wanted = {key: value for key, (value, _was) in found.items()}
        number = int(row["id"])
        self.change(task.name, {key: was for key, (_value, was) in found.items()}, wanted)
        self.changed.append(task)
        self.steps.append(
            Step(
                task.label,
                lambda: self.client.call("replication.update", number, self._data(wanted, known, credentials)),
                {"periodic_snapshot_tasks": "snapshot_tasks"},
            )
        )

    def verify(self) -> None:
        if not self.steps:
            return
        self.rows = self.query()
        for task in self.changed:
            row = self.find(task.name)
            if row is None:
                raise NasError(
                    f"{task.label} did not converge: the NAS does not list it", "Look at the NAS.", "not_converged"
                )
            found = differences(task.values, replication_actual(row, task.values))
            if found:
                raise did_not_converge(task.label, found)


def foreign(what: str, datasets: t.Sequence[str], owner: str, drift: str) -> str:
    """Return the sentence for a task that is not ours and differs."""
    names = ", ".join(datasets) or "(none)"
    return (
        f"{what} exists, and {names} does not carry the mark {OWNER}={owner}, so the task is taken as somebody else's; "
        f"it differs: {drift}; set adopt: true to change it, or describe it as it is"
    )


class RemoveReplications(Part):
    """Takes replication tasks of an owner away, and no others."""

    kind = "replications"

    def __init__(self, context: Context, replications: Replications) -> None:
        super().__init__(context)
        self.replications, self.removed = replications, t.cast(t.List[str], [])

    def read(self) -> None:
        self.replications.read()

    def plan(self) -> None:
        for task in self.replications.wanted:
            row = self.replications.find(task.name)
            if row is None:
                continue
            names = local_datasets(row)
            if not self.replications.is_ours(names) and not task.adopt:
                self.context.warn(
                    f"Replication task {task.name} works on {', '.join(names)}, which does not carry the mark of "
                    f"{self.context.owner}, and was left alone."
                )
                continue
            self._remove(task, int(row["id"]), names)

    def _remove(self, task: Replication, number: int, names: t.List[str]) -> None:
        self.context.removed_tasks[("replication", number)] = names
        self.removed.append(task.name)
        self.change(task.name, {"source_datasets": names}, None)
        self.steps.append(Step(task.label, lambda: self.client.call("replication.delete", number)))

    def verify(self) -> None:
        if not self.steps:
            return
        left = {row.get("name") for row in self.replications.query()} & set(self.removed)
        if left:
            raise NasError(
                f"replication {', '.join(sorted(map(str, left)))} did not converge: deleted and still listed"
            )


class RemoveSnapshotTasks(Part):
    """Takes snapshot tasks of an owner away, and no others. Snapshots that were taken stay."""

    kind = "snapshots"

    def __init__(self, context: Context, snapshots: SnapshotTasks) -> None:
        super().__init__(context)
        self.snapshots = snapshots
        self.removed: t.Set[int] = set()

    def read(self) -> None:
        self.snapshots.read()

    def plan(self) -> None:
        for task in self.snapshots.wanted:
            for row in self.snapshots.find(task.name):
                if not self.context.is_ours(task.dataset) and not task.adopt:
                    self.context.warn(
                        f"Snapshot task {task.name} works on a dataset without the mark of {self.context.owner} and "
                        "was left alone."
                    )
                    continue
                self._remove(task, int(row["id"]))

    def _remove(self, task: SnapshotTask, number: int) -> None:
        if number in self.removed:
            return
        self.removed.add(number)
        self.context.removed_tasks[("snapshot", number)] = [task.dataset]
        self.change(task.name, {"id": number}, None)
        self.steps.append(Step(task.label, lambda: self.client.call("pool.snapshottask.delete", number)))

    def verify(self) -> None:
        if self.steps and {int(row["id"]) for row in self.snapshots.query()} & self.removed:
            raise NasError("snapshot tasks did not converge: deleted and still listed")
