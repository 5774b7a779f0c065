# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots, snapshot tasks and replication."""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CallError, InstanceNotFound, ValidationErrors
from .filters import filter_list
from .paths import below
from .registry import Call, method
from .schema import Bool, Field, Int, Model, Str

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]

COPY_LIMIT = 256 * 1024 * 1024
_SNAPSHOT_NAME = re.compile(r"^[A-Za-z0-9 _.:-]+$")


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with owners, modes and times; on file systems that can, without using space."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True, capture_output=True)


class Snapshots:
    """Snapshots: a mark each, and for small datasets a copy of the files beside the state."""

    def __init__(self, nas: Nas) -> None:
        self.nas = nas

    def folder(self, snapshot: str) -> Path:
        """Return where the copy of a snapshot is, if there is one."""
        dataset, _, name = snapshot.partition("@")
        return self.nas.options.state / "snapshots" / dataset / f"@{name}"

    def create(self, dataset: str, name: str, task: int | None = None, properties: Row | None = None) -> str:
        """Take a snapshot."""
        snapshots = self.nas.state["snapshots"]
        snapshot = f"{dataset}@{name}"
        self.nas.state["counters"]["txg"] = txg = self.nas.state["counters"].get("txg", 1000) + 1
        used = self.nas.datasets.own_used(dataset)
        snapshots[snapshot] = {
            "created": int(time.time()),
            "txg": txg,
            "task": task,
            "referenced": used,
            "properties": properties or {},
        }
        source = self.nas.paths.dataset(dataset)
        if used <= COPY_LIMIT and source.is_dir():
            copy = self.folder(snapshot)
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            children = {str(self.nas.paths.dataset(child)) for child in self.nas.datasets.children(dataset)}
            for entry in os.scandir(source):
                if entry.path not in children and not any(below(child, entry.path) for child in children):
                    copy_tree(Path(entry.path), copy / entry.name)
        return snapshot

    def remove(self, snapshot: str) -> None:
        """Destroy a snapshot."""
        self.nas.state["snapshots"].pop(snapshot, None)
        shutil.rmtree(self.folder(snapshot), ignore_errors=True)

    def row(self, snapshot: str, extra: Row) -> Row:
        """Return a snapshot as queries show it."""
        dataset, _, name = snapshot.partition("@")
        entry = self.nas.state["snapshots"][snapshot]
        created = str(entry["created"])
        text = time.strftime("%a %b %d %H:%M %Y", time.localtime(entry["created"]))
        moment = dt.datetime.fromtimestamp(entry["created"], tz=dt.timezone.utc)

        def prop(value: str, raw: str, parsed: Any, source: str = "NONE") -> Row:
            return {"value": value, "rawvalue": raw, "source": source, "parsed": parsed}

        row: Row = {
            "id": snapshot,
            "properties": {
                "creation": prop(text, created, moment),
                "createtxg": prop(str(entry["txg"]), str(entry["txg"]), str(entry["txg"])),
                "used": prop("0B", "0", 0),
                "referenced": prop(f"{entry['referenced']}B", str(entry["referenced"]), entry["referenced"]),
                **{key: prop(value, value, value, "LOCAL") for key, value in entry["properties"].items()},
            },
            "pool": dataset.split("/")[0],
            "name": snapshot,
            "type": "SNAPSHOT",
            "snapshot_name": name,
            "dataset": dataset,
            "createtxg": str(entry["txg"]),
        }
        if extra.get("holds"):
            row["holds"] = {}
        if extra.get("retention"):
            row["retention"] = None
        return row


@method("pool.snapshot.query", models.query, roles=("SNAPSHOT_READ",))
async def snapshot_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return snapshots."""
    nas, extra = call.nas, options.get("extra") or {}
    return filter_list([nas.snapshots.row(key, extra) for key in nas.state["snapshots"]], filters, options)


@method("pool.snapshot.get_instance", lambda release: models.instance(Str(), release), roles=("SNAPSHOT_READ",))
async def snapshot_instance(call: Call, snapshot: str, options: Row) -> Row:
    """Return one snapshot."""
    if snapshot not in call.nas.state["snapshots"]:
        raise InstanceNotFound(f"PoolSnapshot {snapshot} does not exist")
    return call.nas.snapshots.row(snapshot, options.get("extra") or {})


@method("pool.snapshot.create", models.snapshot_create, roles=("SNAPSHOT_WRITE",), write=True, hidden=True)
async def snapshot_create(call: Call, data: Row) -> Row:
    """Take a snapshot."""
    nas, errors, dataset = call.nas, ValidationErrors(), data["dataset"]
    name = data.get("name") or dt.datetime.now().strftime(data["naming_schema"])
    if data["exclude"]:
        if not data["recursive"]:
            errors.add("snapshot_create.exclude", "This option has no sense for non-recursive snapshots")
        for key in ("vmware_sync", "properties"):
            if data[key]:
                errors.add(f"snapshot_create.{key}", "This option is not supported when excluding datasets")
    if not _SNAPSHOT_NAME.match(name) or not models.valid_dataset_name(dataset):
        errors.add("snapshot_create.name", "Invalid snapshot name")
    errors.check()
    if dataset not in nas.datasets.all:
        raise CallError(f"Failed to snapshot {dataset}@{name}: cannot open '{dataset}': dataset does not exist")
    names = [dataset, *(nas.datasets.children(dataset) if data["recursive"] else [])]
    names = [other for other in names if not any(below(other, excluded) for excluded in data["exclude"])]
    for other in names:
        if f"{other}@{name}" in nas.state["snapshots"]:
            raise CallError(
                f"Failed to snapshot {dataset}@{name}: cannot create snapshot '{other}@{name}': dataset already exists",
                errno.EEXIST,
            )
    for other in names:
        nas.snapshots.create(other, name, properties=data["properties"])
    row = nas.snapshots.row(f"{dataset}@{name}", {})
    nas.send_event("pool.snapshot.query", "ADDED", row["id"], row)
    return row


@method("pool.snapshot.delete", models.snapshot_delete(), roles=("SNAPSHOT_DELETE",), write=True, hidden=True)
async def snapshot_delete(call: Call, snapshot: str, options: Row) -> bool:
    """Destroy a snapshot."""
    nas = call.nas
    if snapshot not in nas.state["snapshots"]:
        raise InstanceNotFound(f"Snapshot {snapshot} not found")
    dataset, _, name = snapshot.partition("@")
    for other in nas.datasets.children(dataset) if options["recursive"] else []:
        nas.snapshots.remove(f"{other}@{name}")
    nas.snapshots.remove(snapshot)
    nas.send_event("pool.snapshot.query", "REMOVED", snapshot, None)
    return True


# -- snapshot tasks -----------------------------------------------------------------------------------------------


def task_row(task: Row) -> Row:
    """Return a snapshot task as queries show it."""
    return {**task, "vmware_sync": False, "state": task.get("state") or {"state": "PENDING"}}


def _task(nas: Nas, number: int) -> Row:
    task = nas.store.find("snapshot_tasks", number)
    if task is None:
        raise InstanceNotFound(f"PeriodicSnapshotTask {number} does not exist")
    return task


def _check_task(nas: Nas, data: Row) -> ValidationErrors:
    errors = ValidationErrors()
    if data["dataset"] not in nas.datasets.all:
        errors.add("dataset", "Dataset not found")
    if not data["recursive"] and data["exclude"]:
        errors.add("exclude", "Excluding datasets is not necessary for non-recursive periodic snapshot tasks")
    for index, excluded in enumerate(data["exclude"]):
        if not excluded.startswith(f"{data['dataset']}/"):
            errors.add(
                f"exclude.{index}", "Excluded dataset should be a child or other descendant of the selected dataset"
            )
    return errors


@method("pool.snapshottask.query", models.query, roles=("SNAPSHOT_TASK_READ",))
async def task_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return snapshot tasks."""
    return filter_list([task_row(task) for task in call.nas.store.rows("snapshot_tasks")], filters, options)


@method(
    "pool.snapshottask.get_instance", lambda release: models.instance(Int(), release), roles=("SNAPSHOT_TASK_READ",)
)
async def task_instance(call: Call, number: int, options: Row) -> Row:
    """Return one snapshot task."""
    return task_row(_task(call.nas, number))


@method("pool.snapshottask.create", {"data": Field(models.SNAPSHOT_TASK)}, roles=("SNAPSHOT_TASK_WRITE",), write=True)
async def task_create(call: Call, data: Row) -> Row:
    """Make a snapshot task."""
    nas, errors = call.nas, ValidationErrors()
    errors.add_child("periodic_snapshot_create", _check_task(nas, data))
    errors.check()
    task = {"id": nas.store.next_id("snapshot_tasks"), **data}
    nas.store.rows("snapshot_tasks").append(task)
    nas.send_event("pool.snapshottask.query", "ADDED", task["id"], task_row(task))
    return task_row(task)


@method(
    "pool.snapshottask.update",
    {
        "id": Field(Int()),
        "data": Field(
            models.SNAPSHOT_TASK.for_update("PoolSnapshotTaskUpdate", (), {"fixate_removal_date": Field(Bool())})
        ),
    },
    roles=("SNAPSHOT_TASK_WRITE",),
    write=True,
)
async def task_update(call: Call, number: int, data: Row) -> Row:
    """Change a snapshot task; not one that a replication needs to off."""
    nas, errors = call.nas, ValidationErrors()
    task = _task(nas, number)
    data.pop("fixate_removal_date", None)
    new = task | data
    errors.add_child("periodic_snapshot_update", _check_task(nas, new))
    if not new["enabled"]:
        for other in nas.store.rows("replications"):
            if other["enabled"] and number in other["periodic_snapshot_tasks"]:
                errors.add(
                    "periodic_snapshot_update.enabled",
                    "You can't disable this periodic snapshot task because it is bound to enabled replication task "
                    f"{other['id']!r}",
                )
                break
    errors.check()
    task |= new
    nas.send_event("pool.snapshottask.query", "CHANGED", number, task_row(task))
    return task_row(task)


@method(
    "pool.snapshottask.delete",
    {
        "id": Field(Int()),
        "options": Field(
            Model("PoolSnapshotTaskDeleteOptions", {"fixate_removal_date": models.flag(False)}),
            lambda: {"fixate_removal_date": False},
        ),
    },
    roles=("SNAPSHOT_TASK_WRITE",),
    write=True,
)
async def task_delete(call: Call, number: int, options: Row) -> bool:
    """Remove a snapshot task; not the last one of a replication."""
    nas = call.nas
    for other in nas.store.rows("replications"):
        bound = other["direction"] == "PUSH" and not other["also_include_naming_schema"] and other["enabled"]
        if bound and other["periodic_snapshot_tasks"] == [number]:
            raise CallError(
                "You are deleting the last periodic snapshot task bound to enabled replication task "
                f"{other['name']!r} which will break it. Please, disable that replication task first."
            )
    task = nas.store.find("snapshot_tasks", number)
    if task is not None:  # the appliance says true for a task that is not there
        nas.store.rows("snapshot_tasks").remove(task)
        nas.forget_snapshot_task(number)
    nas.send_event("pool.snapshottask.query", "REMOVED", number, None)
    return True


@method("pool.snapshottask.run", {"id": Field(Int())}, roles=("SNAPSHOT_TASK_WRITE",), write=True)
async def task_run(call: Call, number: int) -> None:
    """Take the snapshots of a task now."""
    nas = call.nas
    task = _task(nas, number)
    if not task["enabled"]:
        raise CallError("Task is not enabled")
    name = dt.datetime.now().strftime(task["naming_schema"])
    names = [task["dataset"], *(nas.datasets.children(task["dataset"]) if task["recursive"] else [])]
    for dataset in names:
        if not any(below(dataset, excluded) for excluded in task["exclude"]):
            nas.snapshots.create(dataset, name, task=number)
    task["state"] = {"state": "FINISHED", "datetime": int(time.time()), "last_snapshot": f"{task['dataset']}@{name}"}


@method("pool.snapshottask.max_count", roles=("SNAPSHOT_TASK_READ",))
async def max_count(call: Call) -> int:
    """Return how many snapshots a dataset should have at most."""
    return 512


@method("pool.snapshottask.max_total_count", roles=("SNAPSHOT_TASK_READ",))
async def max_total_count(call: Call) -> int:
    """Return how many snapshots the appliance should have at most."""
    return 10000


# -- replication --------------------------------------------------------------------------------------------------


def replication_row(nas: Nas, task: Row) -> Row:
    """Return a replication as queries show it: what it refers to is nested."""
    row = dict(task)
    number = task["ssh_credentials"]
    row["ssh_credentials"] = None if number is None else nas.store.find("keychain", number)
    row["periodic_snapshot_tasks"] = [
        {**found, "state": "{}"}
        for other in task["periodic_snapshot_tasks"]
        if (found := nas.store.find("snapshot_tasks", other)) is not None
    ]
    row["state"] = task.get("state") or {"state": "PENDING"}
    row["job"] = None
    row["has_encrypted_dataset_keys"] = False
    return row


def _replication(nas: Nas, number: int) -> Row:
    task = nas.store.find("replications", number)
    if task is None:
        raise InstanceNotFound(f"Replication {number} does not exist")
    return task


def _check_replication(call: Call, data: Row, number: int | None) -> ValidationErrors:
    nas, errors = call.nas, ValidationErrors()
    if any(other["name"] == data["name"] and other["id"] != number for other in nas.store.rows("replications")):
        errors.add("name", "Object with this name already exists")
    tasks = []
    if data["direction"] == "PUSH":
        for index, wanted in enumerate(data["periodic_snapshot_tasks"]):
            found = nas.store.find("snapshot_tasks", wanted)
            if found is None:
                errors.add(f"periodic_snapshot_tasks.{index}", "This snapshot task does not exist")
            else:
                tasks.append(found)
        _check_push(data, tasks, errors)
    else:
        _check_pull(call, data, errors)
    _check_transport(nas, data, errors)
    _check_contents(data, tasks, errors)
    _check_retention(data, tasks, errors)
    return errors


def _check_push(data: Row, tasks: list[Row], errors: ValidationErrors) -> None:
    if data["naming_schema"]:
        errors.add("naming_schema", "This field has no sense for push replication")
    if not tasks and not data["also_include_naming_schema"] and not data["name_regex"]:
        errors.add(
            "periodic_snapshot_tasks",
            'You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or '
            '"Name Regex" for push replication task',
        )
    if data["schedule"] is None and data["auto"] and not data["periodic_snapshot_tasks"]:
        errors.add(
            "auto",
            "Push replication that runs automatically must be either bound to a periodic snapshot task or have a "
            "schedule",
        )


def _check_pull(call: Call, data: Row, errors: ValidationErrors) -> None:
    if data["schedule"] is None and data["auto"]:
        errors.add("auto", "Pull replication that runs automatically must have a schedule")
    if data["periodic_snapshot_tasks"]:
        errors.add("periodic_snapshot_tasks", "Pull replication can't be bound to a periodic snapshot task")
    if not data["naming_schema"] and not data["name_regex"]:
        errors.add("naming_schema", "Naming schema or Name regex are required for pull replication")
    if data["also_include_naming_schema"]:
        errors.add("also_include_naming_schema", "This field has no sense for pull replication")
    if data["hold_pending_snapshots"]:
        errors.add(
            "hold_pending_snapshots",
            "Pull replication tasks can't hold pending snapshots because they don't do source retention",
        )
    session = call.connection.session
    assert session is not None
    if "REPLICATION_TASK_WRITE" in session.roles and "REPLICATION_TASK_WRITE_PULL" not in session.roles:
        errors.add("direction", "You don't have permissions to use PULL replication")


def _check_transport(nas: Nas, data: Row, errors: ValidationErrors) -> None:
    netcat = (
        *("netcat_active_side_listen_address", "netcat_active_side_port_min", "netcat_active_side_port_max"),
        "netcat_passive_side_connect_address",
    )
    if data["transport"] == "SSH+NETCAT":
        if data["netcat_active_side"] is None:
            errors.add("netcat_active_side", "You must choose active side for SSH+netcat replication")
        low, high = data["netcat_active_side_port_min"], data["netcat_active_side_port_max"]
        if low is not None and high is not None and low > high:
            errors.add(
                "netcat_active_side_port_max",
                "Please specify value greater than or equal to netcat_active_side_port_min",
            )
        for key, text in (("compression", "Compression is"), ("speed_limit", "Speed limit is")):
            if data[key] is not None:
                errors.add(key, f"{text} not supported for SSH+netcat replication")
    else:
        for key in ("netcat_active_side", *netcat):
            if data[key] is not None:
                errors.add(key, "This field only has sense for SSH+netcat replication")
    if data["transport"] == "LOCAL":
        for key, text in (
            ("ssh_credentials", "Remote credentials have"),
            ("compression", "Compression has"),
            ("speed_limit", "Speed limit has"),
        ):
            if data[key] is not None:
                errors.add(key, f"{text} no sense for local replication")
    elif data["ssh_credentials"] is None:
        errors.add("ssh_credentials", "SSH Credentials are required for non-local replication")
    else:
        found = nas.store.find("keychain", data["ssh_credentials"])
        if found is None:
            errors.add("ssh_credentials", "[ENOENT] Credential does not exist")
        elif found["type"] != "SSH_CREDENTIALS":
            errors.add("ssh_credentials", "[EINVAL] Credential is not of type SSH_CREDENTIALS")


def _check_contents(data: Row, tasks: list[Row], errors: ValidationErrors) -> None:
    for index, source in enumerate(data["source_datasets"]):
        for task in tasks:
            if not below(source, task["dataset"]):
                continue
            if data["recursive"]:
                for excluded in task["exclude"]:
                    if below(excluded, source) and excluded not in data["exclude"]:
                        errors.add(
                            "exclude",
                            f"You should exclude {excluded!r} as bound periodic snapshot task dataset "
                            f"{task['dataset']!r} does",
                        )
            elif source in task["exclude"]:
                errors.add(
                    f"source_datasets.{index}",
                    f"Dataset {source!r} is excluded by bound periodic snapshot task for dataset {task['dataset']!r}",
                )
    if not data["recursive"] and data["exclude"]:
        errors.add("exclude", "Excluding child datasets is only supported for recursive replication")
    for index, excluded in enumerate(data["exclude"]):
        if not any(excluded.startswith(f"{source}/") for source in data["source_datasets"]):
            errors.add(f"exclude.{index}", "This dataset is not a child of any of source datasets")
    if data["replicate"]:
        for wrong, key, text in (
            (not data["recursive"], "recursive", "This option is required for full filesystem replication"),
            (data["exclude"], "exclude", "This option is not supported for full filesystem replication"),
            (not data["properties"], "properties", "This option is required for full filesystem replication"),
            (
                data["retention_policy"] != "SOURCE",
                "retention_policy",
                "Only `Same as Source` retention policy can be used for full filesystem replication",
            ),
        ):
            if wrong:
                errors.add(key, text)
    if data["encryption"] and not data["encryption_inherit"]:
        for key in ("encryption_key", "encryption_key_format", "encryption_key_location"):
            if data[key] is None:
                errors.add(key, "This property is required when remote dataset encryption is enabled")


def _check_retention(data: Row, tasks: list[Row], errors: ValidationErrors) -> None:
    if data["schedule"]:
        if not data["auto"]:
            errors.add("schedule", "You can't have schedule for replication that does not run automatically")
    elif data["only_matching_schedule"]:
        errors.add("only_matching_schedule", "You can't have only-matching-schedule without schedule")
    if data["name_regex"]:
        try:
            re.compile(f"({data['name_regex']})$")
        except re.error as error:
            errors.add("name_regex", f"Invalid regex: {error}")
        if tasks:
            errors.add("name_regex", "Naming regex can't be used with periodic snapshot tasks")
        if data["naming_schema"] or data["also_include_naming_schema"]:
            errors.add("name_regex", "Naming regex can't be used with Naming schema")
        if data["retention_policy"] not in ("SOURCE", "NONE"):
            errors.add(
                "retention_policy",
                "Only `Same as Source` and `None` retention policies can be used with Naming regex",
            )
    if data["retention_policy"] == "CUSTOM":
        for key in ("lifetime_value", "lifetime_unit"):
            if data[key] is None:
                # The appliance names lifetime_value in both cases.
                errors.add("lifetime_value", "This field is required for custom retention policy")
    else:
        for key in ("lifetime_value", "lifetime_unit"):
            if data[key] is not None:
                errors.add(key, "This field has no sense for specified retention policy")
        if data["lifetimes"]:
            errors.add("lifetimes", "This field has no sense for specified retention policy")
    if data["enabled"]:
        for index, task in enumerate(tasks):
            if not task["enabled"]:
                errors.add(
                    f"periodic_snapshot_tasks.{index}",
                    "You can't bind disabled periodic snapshot task to enabled replication task",
                )


@method("replication.query", models.query, roles=("REPLICATION_TASK_READ",))
async def replication_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return replications."""
    rows = [replication_row(call.nas, task) for task in call.nas.store.rows("replications")]
    return filter_list(rows, filters, options)


@method("replication.get_instance", lambda release: models.instance(Int(), release), roles=("REPLICATION_TASK_READ",))
async def replication_instance(call: Call, number: int, options: Row) -> Row:
    """Return one replication."""
    return replication_row(call.nas, _replication(call.nas, number))


@method(
    "replication.create",
    {"replication_create": Field(models.REPLICATION)},
    roles=("REPLICATION_TASK_WRITE", "REPLICATION_TASK_WRITE_PULL"),
    write=True,
    hidden=True,
)
async def replication_create(call: Call, data: Row) -> Row:
    """Make a replication."""
    nas, errors = call.nas, ValidationErrors()
    errors.add_child("replication_create", _check_replication(call, data, None))
    errors.check()
    task = {"id": nas.store.next_id("replications"), **data}
    nas.store.rows("replications").append(task)
    row = replication_row(nas, task)
    nas.send_event("replication.query", "ADDED", task["id"], row)
    return row


@method(
    "replication.update",
    {"id": Field(Int()), "replication_update": Field(models.REPLICATION.for_update("ReplicationUpdate"))},
    roles=("REPLICATION_TASK_WRITE", "REPLICATION_TASK_WRITE_PULL"),
    write=True,
    hidden=True,
)
async def replication_update(call: Call, number: int, data: Row) -> Row:
    """Change a replication."""
    nas, errors = call.nas, ValidationErrors()
    task = _replication(nas, number)
    new = task | data
    errors.add_child("replication_update", _check_replication(call, new, number))
    errors.check()
    task |= new
    row = replication_row(nas, task)
    nas.send_event("replication.query", "CHANGED", number, row)
    return row


@method("replication.delete", {"id": Field(Int())}, roles=("REPLICATION_TASK_WRITE",), write=True, hidden=True)
async def replication_delete(call: Call, number: int) -> bool:
    """Remove a replication."""
    call.nas.store.rows("replications").remove(_replication(call.nas, number))
    call.nas.send_event("replication.query", "REMOVED", number, None)
    return True


def _wanted(nas: Nas, task: Row, dataset: str, name: str) -> bool:
    """Return whether a replication sends a snapshot."""
    if task["name_regex"]:
        return re.match(f"({task['name_regex']})$", name) is not None
    schemas = [*task["naming_schema"], *task["also_include_naming_schema"]]
    for number in task["periodic_snapshot_tasks"]:
        bound = nas.store.find("snapshot_tasks", number)
        if bound and below(dataset, bound["dataset"]):
            schemas.append(bound["naming_schema"])
    for schema in schemas:
        try:
            dt.datetime.strptime(name, schema)
        except ValueError:
            continue
        return True
    return False


def _send(nas: Nas, task: Row, source: str, target: str) -> int:
    """Bring a dataset's snapshots to its target, and the files of the newest; return how many were sent."""
    names = sorted(
        (entry["txg"], snapshot.partition("@")[2])
        for snapshot, entry in nas.state["snapshots"].items()
        if snapshot.partition("@")[0] == source and _wanted(nas, task, source, snapshot.partition("@")[2])
    )
    if not names:
        return 0
    if target not in nas.datasets.all:
        for ancestor in reversed([target, *(str(path) for path in Path(target).parents if str(path) != ".")]):
            if ancestor not in nas.datasets.all:
                nas.datasets.add(ancestor)
    elif task["readonly"] == "REQUIRE" and nas.datasets.value(target, "readonly")[0] != "on":
        raise CallError(
            f"Target dataset {target!r} exists and does hasn't readonly=on property, but replication task is set up "
            "to require this property. Refusing to replicate."
        )
    sent = 0
    for _, name in names:
        snapshot = f"{target}@{name}"
        if snapshot in nas.state["snapshots"]:
            continue
        original = nas.snapshots.folder(f"{source}@{name}")
        if original.is_dir():
            for entry in os.scandir(original):
                place = nas.paths.dataset(target) / entry.name
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                elif place.exists():
                    place.unlink()
                copy_tree(Path(entry.path), place)
        nas.snapshots.create(target, name)
        sent += 1
    if task["retention_policy"] == "SOURCE":
        for snapshot in list(nas.state["snapshots"]):
            dataset, _, name = snapshot.partition("@")
            if dataset == target and f"{source}@{name}" not in nas.state["snapshots"]:
                nas.snapshots.remove(snapshot)
    if task["readonly"] == "SET":
        nas.datasets.all[target]["properties"]["readonly"] = "on"
    return sent


@method(
    "replication.run",
    models.replication_run,
    roles=("REPLICATION_TASK_WRITE",),
    write=True,
    lock=lambda arguments: f"replication_{arguments[0]}",
    hidden=True,
)
async def replication_run(call: Call, number: int, options: bool | Row) -> None:
    """Run a replication now; only LOCAL ones reach a target here."""
    nas, job = call.nas, call.job
    assert job is not None
    task = _replication(nas, number)
    if not (options["really_run"] if isinstance(options, dict) else options):
        return
    if not task["enabled"]:
        raise CallError("Task is not enabled")
    task["state"] = {"state": "RUNNING"}
    try:
        if task["transport"] != "LOCAL":
            raise CallError("Only local replication is simulated")
        sent = 0
        for source in task["source_datasets"]:
            if source not in nas.datasets.all:
                raise CallError(f"Dataset {source!r} does not exist")
            single = len(task["source_datasets"]) == 1
            base = task["target_dataset"] if single else f"{task['target_dataset']}/{source.rpartition('/')[2]}"
            for dataset in [source, *(nas.datasets.children(source) if task["recursive"] else [])]:
                if not any(below(dataset, excluded) for excluded in task["exclude"]):
                    sent += _send(nas, task, dataset, base + dataset.removeprefix(source))
        if not sent and not any(_has_any(nas, task, source) for source in task["source_datasets"]):
            names = ", ".join(repr(source) for source in task["source_datasets"])
            raise CallError(f"No snapshots to send for replication task 'task_{number}' on dataset {names}")
    except CallError as error:
        task["state"] = {"state": "ERROR", "datetime": int(time.time()), "error": error.message}
        nas.store.save()
        raise
    task["state"] = {"state": "FINISHED", "datetime": int(time.time()), "last_snapshot": None}


def _has_any(nas: Nas, task: Row, source: str) -> bool:
    return any(
        snapshot.partition("@")[0] == source and _wanted(nas, task, source, snapshot.partition("@")[2])
        for snapshot in nas.state["snapshots"]
    )


@method("replication.list_naming_schemas", roles=("REPLICATION_TASK_WRITE",), hidden=True)
async def list_naming_schemas(call: Call) -> list[str]:
    """Return the naming schemas that tasks use."""
    schemas = {task["naming_schema"] for task in call.nas.store.rows("snapshot_tasks")}
    for task in call.nas.store.rows("replications"):
        schemas |= {*task["naming_schema"], *task["also_include_naming_schema"]}
    return sorted(schemas)
