# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets of a NAS and the permissions of their top folder (private to the collection)."""

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_normalise as normal
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_engine import (
    DATASET,
    OWNER,
    PERMISSION_KEYS,
    Context,
    Part,
    Row,
    Step,
    Values,
    did_not_converge,
    differences,
    drift_text,
    mountpoint_of,
    text_of,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import NasError, Problems, Refused

OPTIONS = ("recordsize", "compression", "atime", "quota", "refquota", "acltype")
"""Properties that have an option of their own."""
ALIASES = {"dedup": "deduplication", "special_small_blocks": "special_small_block_size", "comment": "comments"}
SHARE_TYPES = ("GENERIC", "MULTIPROTOCOL", "NFS", "SMB", "APPS")
FORCES_NFSV4 = ("MULTIPROTOCOL", "NFS", "APPS")
ACLMODE = {"POSIX": "DISCARD", "OFF": "DISCARD", "NFSV4": "PASSTHROUGH"}
METADATA = 2**20
"""What an empty dataset may use for itself; wide RAIDZ needs some hundred KiB."""


class Dataset(t.NamedTuple):
    """A wanted dataset, with values in the form of the API."""

    label: str
    name: str
    share_type: str
    properties: Values
    user: t.Dict[str, t.Optional[str]]
    permissions: Values
    strip_acl: bool
    adopt: bool


def parse(entry: t.Mapping[str, t.Any], label: str, pool: str, problems: t.List[str]) -> Dataset:
    """Read what a person wrote; every mistake becomes a line in problems."""

    def attempt(key: str, work: t.Callable[[], t.Any], default: t.Any = None) -> t.Any:
        try:
            return work()
        except ValueError as error:
            problems.append(f"{label} {key}: {error}")
            return default

    name = normal.dataset_name(str(entry["name"]), pool)
    label = f"{label} ({name})"
    reason = normal.forbidden_dataset(name)
    if reason:
        problems.append(f"{label} name: {reason}")
    properties: Values = {}
    user: t.Dict[str, t.Optional[str]] = {}
    given: t.Dict[str, t.Tuple[str, t.Any]] = {key: (key, entry[key]) for key in OPTIONS if entry.get(key) is not None}
    if entry.get("comment") is not None:
        given["comments"] = ("comment", entry["comment"])
    for key, value in (entry.get("properties") or {}).items():
        shown = f"properties.{key}"
        if ":" in str(key):
            if str(key).lower().startswith(("ai.lab:", "org.truenas:", "org.freenas:")):
                problems.append(f"{label} {shown}: this user property is not yours to set; leave it out")
            elif not re.fullmatch(r"[a-z0-9:._-]{1,255}", str(key)):
                problems.append(
                    f"{label} {shown}: a user property has lower-case letters, digits and : . _ - in its name"
                )
            else:
                user[str(key)] = None if value is None else str(value)
            continue
        field = ALIASES.get(str(key).lower(), str(key).lower())
        if field not in normal.PROPERTIES:
            known = ", ".join(sorted(set(normal.PROPERTIES) - set(OPTIONS)))
            problems.append(f"{label} {shown}: unknown property; known are {known}, and user properties (with a colon)")
        elif field in given:
            problems.append(f"{label} {shown}: there is an option {given[field][0]} for it, and both are set; set one")
        else:
            given[field] = (shown, value)
    for field, (shown, value) in given.items():
        converted = attempt(shown, functools.partial(normal.wanted_property, field, value))
        if converted is not None:
            properties[field] = converted
    share_type = str(entry.get("share_type") or "GENERIC").upper()
    acltype, aclmode = properties.get("acltype"), properties.get("aclmode")
    if share_type in FORCES_NFSV4 and acltype not in (None, "NFSV4"):
        problems.append(f"{label} acltype: share_type {share_type.lower()} makes it nfsv4; leave acltype out")
    if acltype in ("POSIX", "OFF") and aclmode not in (None, "DISCARD"):
        problems.append(f"{label} properties.aclmode: acltype {str(acltype).lower()} needs discard; leave aclmode out")
    if acltype == "NFSV4" and aclmode == "DISCARD":
        problems.append(f"{label} properties.aclmode: acltype nfsv4 does not allow discard; leave aclmode out")
    owner = entry.get("owner") or {}
    permissions: Values = {}
    for key in PERMISSION_KEYS:
        if owner.get(key) is not None:
            permissions[key] = owner[key]
    for first, second in (("user", "uid"), ("group", "gid")):
        if first in permissions and second in permissions:
            problems.append(f"{label} owner: {first} and {second} exclude each other; set one")
        if permissions.get(second) is not None and permissions[second] < 0:
            problems.append(f"{label} owner.{second}: {permissions[second]} is not an id; it is zero or more")
    if "mode" in permissions:
        permissions["mode"] = attempt("owner.mode", lambda: normal.mode(permissions["mode"]), "0755")
    return Dataset(
        label,
        name,
        share_type,
        properties,
        user,
        permissions,
        bool(owner.get("strip_acl")),
        bool(entry.get("adopt")),
    )


def shown(properties: Values) -> Values:
    """Return properties with the names of the options, for diff and sentences."""
    return {"comment" if key == "comments" else key: value for key, value in properties.items()}


class Datasets(Part):
    """The wanted datasets; others are never touched."""

    kind = "datasets"

    def __init__(
        self, context: Context, wanted: t.Sequence[Dataset], names: t.Iterable[str] = (), below: t.Iterable[str] = ()
    ) -> None:
        super().__init__(context)
        self.wanted = sorted(wanted, key=lambda dataset: dataset.name.split("/"))
        self.names, self.below = set(names), list(below)
        for dataset in self.wanted:
            parts = dataset.name.split("/")
            self.names.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        self.list_folders = False
        """Whether the owners of folders side by side are asked for with one call, which gives no names of accounts."""
        self.stats: t.Dict[str, Row] = {}
        self.changed: t.List[Dataset] = []
        self.repermitted: t.List[Dataset] = []

    def query(self, names: t.Iterable[str]) -> t.Dict[str, Row]:
        """Return the rows of datasets by name."""
        filters: t.List[t.Any] = [["id", "in", sorted(names)]]
        if self.below:
            filters = [["OR", [*filters, *(["id", "^", name + "/"] for name in self.below)]]]
        extra = {"flat": True, "retrieve_children": False, "retrieve_user_props": True}
        rows = self.client.call("pool.dataset.query", filters, {"extra": extra})
        return {str(row["id"]): row for row in rows}

    def read(self) -> None:
        if not self.names:
            return
        self.context.datasets = self.query(self.names)
        paths = {}
        for dataset in self.wanted:
            row = self.context.datasets.get(dataset.name)
            if row and dataset.permissions and not row.get("locked") and mountpoint_of(row):
                paths[dataset.name] = mountpoint_of(row)
        by_name = {d.name for d in self.wanted if "user" in d.permissions or "group" in d.permissions}
        if self.list_folders:
            self.stats = list_permissions(self.client, {k: path for k, path in paths.items() if k not in by_name})
        for name, path in paths.items():
            if name not in self.stats:
                self.stats[name] = self.client.call("filesystem.stat", path)

    def plan(self) -> None:
        for dataset in self.wanted:
            row = self.context.datasets.get(dataset.name)
            if row is None:
                self._plan_new(dataset)
            else:
                self._plan_existing(dataset, row)
        self._plan_permission_steps()

    def _plan_new(self, dataset: Dataset) -> None:
        parent = dataset.name.rpartition("/")[0]
        parent_row = self.context.datasets.get(parent)
        if parent_row is None and parent not in self.context.planned_datasets:
            if "/" in parent:
                self.problem(dataset.label, f"its parent {parent} does not exist; add it to the datasets")
            elif not self.context.pool_missing:
                self.problem(dataset.label, f"the NAS has no pool {parent}, or it is not imported")
            return
        if parent_row is not None and parent_row.get("locked"):
            self.problem(dataset.label, f"its parent {parent} is encrypted and locked; unlock it on the NAS")
            return
        self.context.planned_datasets.add(dataset.name)
        user = {key: value for key, value in dataset.user.items() if value is not None}
        values = {**dataset.properties}
        data: Values = {
            "name": dataset.name,
            "type": "FILESYSTEM",
            "share_type": dataset.share_type,
            **{key: value for key, value in values.items() if not (key in normal.SIZES and value == 0)},
            "user_properties": [
                {"key": key, "value": value} for key, value in sorted({**user, **self._marks(dataset)}.items())
            ],
        }
        add_aclmode(data)
        after: Values = {**shown(values), "mark": self.context.owner}
        if user:
            after["properties"] = dict(sorted(user.items()))
        if dataset.permissions:
            after["owner"] = dict(dataset.permissions)
            self.repermitted.append(dataset)
        self.change(dataset.name, None, after)
        self.changed.append(dataset)
        self.steps.append(Step(dataset.label, lambda: self.client.call("pool.dataset.create", data)))

    def _marks(self, dataset: Dataset) -> t.Dict[str, str]:
        return {OWNER: self.context.owner, DATASET: dataset.name}

    def _actual(self, dataset: Dataset, row: Row) -> t.Tuple[Values, Values]:
        properties = {key: normal.actual_property(key, row, value) for key, value in dataset.properties.items()}
        return properties, {key: self._user_property(row, key, value) for key, value in dataset.user.items()}

    def _user_property(self, row: Row, key: str, wanted: t.Optional[str]) -> t.Optional[str]:
        entry = (row.get("user_properties") or {}).get(key)
        if not isinstance(entry, dict):
            return None
        if wanted is None:
            # What the parent has cannot be taken away here. Not every release tells that it is inherited.
            parent = self.context.datasets.get(str(row.get("id")).rpartition("/")[0]) or {}
            above = (parent.get("user_properties") or {}).get(key)
            if entry.get("source") != "LOCAL" or (isinstance(above, dict) and text_of(above) == text_of(entry)):
                return None
        return text_of(entry)

    def _plan_existing(self, dataset: Dataset, row: Row) -> None:
        context = self.context
        if row.get("type") not in (None, "FILESYSTEM"):
            self.problem(dataset.label, "there is a volume (zvol) of this name; choose another name")
            return
        properties, user = self._actual(dataset, row)
        drift = differences(dataset.properties, properties)
        drift_user = differences(dataset.user, user)
        drift_permissions = self._permission_drift(dataset)
        found = {
            **shown(drift),
            **{f"properties.{key}": value for key, value in drift_user.items()},
            **{f"owner.{key}": value for key, value in drift_permissions.items()},
        }
        owner = context.owner_of(dataset.name)
        adopting = False
        if owner != context.owner:
            if owner is not None and (found or dataset.adopt):
                self.problem(
                    dataset.label,
                    f"it belongs to {owner!r}, not to {context.owner!r}"
                    + (f", and differs: {drift_text(found)}" if found else "")
                    + f"; use owner {owner} or remove its user property {OWNER} on the NAS",
                )
                return
            if owner is None and found and not dataset.adopt:
                self.problem(
                    dataset.label,
                    f"it exists without the mark of {context.owner!r} and differs: {drift_text(found)}; set "
                    "adopt: true to take it over, or describe it as it is",
                )
                return
            adopting = owner is None and dataset.adopt
        if (found or adopting) and row.get("locked"):
            self.problem(dataset.label, "it is encrypted and locked; unlock it on the NAS")
            return
        if dataset.permissions and not mountpoint_of(row):
            self.problem(dataset.label, "it is not mounted, so its owner cannot be checked; mount it on the NAS")
            return
        if drift or drift_user or adopting:
            self._plan_update(dataset, drift, drift_user, adopting)
        if drift_permissions:
            self.repermitted.append(dataset)
            self.change(
                dataset.name,
                {"owner": {key: actual for key, (_wanted, actual) in drift_permissions.items()}},
                {"owner": {key: wanted for key, (wanted, _actual) in drift_permissions.items()}},
            )

    def _plan_update(
        self,
        dataset: Dataset,
        drift: t.Dict[str, t.Tuple[t.Any, t.Any]],
        drift_user: t.Dict[str, t.Tuple[t.Any, t.Any]],
        adopting: bool,
    ) -> None:
        data: Values = {key: wanted for key, (wanted, _actual) in drift.items()}
        add_aclmode(data)
        updates: t.List[Values] = []
        for key, (wanted, _actual) in sorted(drift_user.items()):
            updates.append({"key": key, "remove": True} if wanted is None else {"key": key, "value": wanted})
        before: Values = {key: actual for key, (_wanted, actual) in shown(drift).items()}
        after: Values = {key: wanted for key, (wanted, _actual) in shown(drift).items()}
        if drift_user:
            before["properties"] = {key: actual for key, (_wanted, actual) in drift_user.items()}
            after["properties"] = {key: wanted for key, (wanted, _actual) in drift_user.items()}
        if adopting:
            updates += [{"key": key, "value": value} for key, value in sorted(self._marks(dataset).items())]
            before["mark"], after["mark"] = None, self.context.owner
            self.context.planned_datasets.add(dataset.name)
        if updates:
            data["user_properties_update"] = updates
        self.change(dataset.name, before, after)
        self.changed.append(dataset)
        self.steps.append(Step(dataset.label, lambda: self.client.call("pool.dataset.update", dataset.name, data)))

    # Permissions

    def _permission_drift(self, dataset: Dataset) -> t.Dict[str, t.Tuple[t.Any, t.Any]]:
        stat = self.stats.get(dataset.name)
        return differences(dataset.permissions, permission_values(stat)) if stat is not None else {}

    def _plan_permission_steps(self) -> None:
        for dataset in self.repermitted:
            fresh = dataset.name not in self.context.datasets
            path = self.context.path_of(dataset.name)
            data: Values = {"path": path, **dataset.permissions}
            keys = {key: f"owner.{key}" for key in (*PERMISSION_KEYS, "stripacl")}
            if "mode" in data:
                # An access list of our own making (inherited by a new dataset) may go; another one only when asked.
                data["options"] = {"stripacl": fresh or dataset.strip_acl}
                method = "filesystem.setperm"
            else:
                method = "filesystem.chown"
            self.steps.append(Step(dataset.label, self._permit(dataset, method, data), keys))

    def _permit(self, dataset: Dataset, method: str, data: Values) -> t.Callable[[], t.Any]:
        def work() -> None:
            try:
                self.client.job(method, data)
            except Refused as error:
                if "stripacl" in f"{error.reason} {error.extra}".lower() and not dataset.strip_acl:
                    raise NasError(
                        f"{dataset.label} owner.mode: {data['path']} has an access control list, which a mode removes",
                        "Set owner.strip_acl: true if it may go, or leave owner.mode out.",
                        "acl",
                    ) from error
                raise

        return work

    def verify(self) -> None:
        if not (self.changed or self.repermitted):
            return
        names = {dataset.name for dataset in (*self.changed, *self.repermitted)}
        rows = self.query(names)
        for dataset in self.wanted:
            if dataset.name not in names:
                continue
            row = rows.get(dataset.name)
            if row is None:
                raise NasError(
                    f"{dataset.label} did not converge: the NAS does not list it", "Look at the NAS.", "not_converged"
                )
            self.context.datasets[dataset.name] = row
            properties, user = self._actual(dataset, row)
            found = shown(differences(dataset.properties, properties))
            found.update({f"properties.{key}": value for key, value in differences(dataset.user, user).items()})
            if dataset in self.changed and dataset.name in self.context.planned_datasets:
                found.update(differences({"mark": self.context.owner}, {"mark": self.context.owner_of(dataset.name)}))
            if found:
                raise did_not_converge(dataset.label, found)
        for dataset in self.repermitted:
            path = mountpoint_of(rows[dataset.name]) or self.context.path_of(dataset.name)
            found = differences(dataset.permissions, permission_values(self.client.call("filesystem.stat", path)))
            if found:
                raise did_not_converge(dataset.label, {f"owner.{key}": value for key, value in found.items()})


def add_aclmode(data: Values) -> None:
    """Add the mode that the type of the access lists needs."""
    if data.get("acltype") in ACLMODE and "aclmode" not in data:
        data["aclmode"] = ACLMODE[data["acltype"]]


def permission_values(stat: Row) -> Values:
    """Return owner and mode of a file in the form of the options."""
    mode = stat.get("mode")
    return {
        "user": stat.get("user"),
        "uid": stat.get("uid"),
        "group": stat.get("group"),
        "gid": stat.get("gid"),
        "mode": f"{mode & 0o777:04o}" if isinstance(mode, int) else None,
    }


def list_permissions(client: t.Any, paths: t.Dict[str, str]) -> t.Dict[str, Row]:
    """Return owner and mode of folders side by side, by key, as far as that works."""
    found: t.Dict[str, Row] = {}
    groups: t.Dict[str, t.List[str]] = {}
    for key, path in paths.items():
        groups.setdefault(path.rpartition("/")[0], []).append(key)
    for parent, keys in sorted(groups.items()):
        if len(keys) < 2 or not parent:
            continue
        names = {paths[key].rpartition("/")[2]: key for key in keys}
        options = {"select": ["name", "mode", "uid", "gid"]}
        try:
            rows = client.call("filesystem.listdir", parent, [["name", "in", sorted(names)]], options)
        except Refused as error:
            if error.is_missing_method:
                break
            continue  # only a saving: asking for each folder may still be allowed
        for row in rows if isinstance(rows, list) else []:
            if row.get("name") in names and None not in (row.get("mode"), row.get("uid"), row.get("gid")):
                found[names[row["name"]]] = row
    return found


class DestroyDatasets(Part):
    """Datasets that may go: only if every condition holds, and never together with anything else."""

    kind = "datasets"

    def __init__(self, context: Context, datasets: Datasets, destroy: bool, max_used: int) -> None:
        super().__init__(context)
        self.datasets, self.destroy, self.max_used = datasets, destroy, max_used
        self.kept: t.List[t.Dict[str, str]] = []
        self.doomed: t.List[Dataset] = []

    def plan(self) -> None:
        for dataset in reversed(self.datasets.wanted):
            row = self.context.datasets.get(dataset.name)
            if row is None:
                continue
            if not self.destroy:
                self.kept.append({"name": dataset.name, "reason": "destroy is false"})
                continue
            reasons = self._reasons(dataset, row)
            for reason in reasons:
                self.problem(dataset.label, f"it is not destroyed, because {reason}")
            if not reasons:
                self.doomed.append(dataset)
                self.change(dataset.name, {"mark": self.context.owner}, None)
                self.steps.append(Step(dataset.label, self._delete(dataset)))

    def _reasons(self, dataset: Dataset, row: Row) -> t.List[str]:
        reasons = []
        owner = self.context.owner_of(dataset.name)
        if owner != self.context.owner:
            whose = f"it carries the mark of {owner!r}" if owner else "it does not carry the mark itself"
            reasons.append(f"{whose} (user property {OWNER}={self.context.owner}, set on it and not inherited)")
        elif DATASET not in (row.get("user_properties") or {}) and self._parent_has_mark(dataset):
            # Some releases call an inherited user property local too, so a mark like the parent's proves nothing alone.
            reasons.append(
                f"its mark cannot be told from that of its parent; set its user property {DATASET}={dataset.name}"
            )
        doomed = {other.name for other in self.doomed}
        below = dataset.name + "/"
        children = sorted(name for name in self.context.datasets if name.startswith(below) and name not in doomed)
        if children:
            reasons.append(f"there are datasets below it: {', '.join(children)}; remove them first")
        used = used_of(row)
        if used is None:
            reasons.append("the NAS does not tell how much it uses")
        elif used > self.max_used + METADATA:
            reasons.append(
                f"it uses {used} bytes and destroy_max_used is {self.max_used}; move the data away, or raise it"
            )
        foreign = self._foreign_attachments(dataset)
        if foreign:
            reasons.append(f"it is still used by {'; '.join(foreign)}; remove that first")
        if not reasons and not self.max_used and not row.get("locked") and mountpoint_of(row):
            names = self._files(
                mountpoint_of(row), {name.rpartition("/")[2] for name in doomed if name.startswith(below)}
            )
            if names:
                reasons.append(f"there are files in it ({', '.join(names)}) and destroy_max_used is 0")
        return reasons

    def _parent_has_mark(self, dataset: Dataset) -> bool:
        parent = self.context.datasets.get(dataset.name.rpartition("/")[0]) or {}
        mark = (parent.get("user_properties") or {}).get(OWNER)
        return isinstance(mark, dict) and text_of(mark) == self.context.owner

    def _files(self, path: str, ignored: t.Set[str]) -> t.List[str]:
        try:
            rows = self.client.call("filesystem.listdir", path, [], {"select": ["name"], "limit": 10})
        except Refused as error:
            if error.is_missing_method:  # the size has to do
                return []
            raise
        return sorted(str(row.get("name")) for row in rows if row.get("name") not in ignored)[:3]

    def _foreign_attachments(self, dataset: Dataset) -> t.List[str]:
        """Return shares and tasks on the dataset that this run does not remove."""
        below = self.context.path_of(dataset.name)
        going_paths = {
            str(share.get("path"))
            for share in self.context.shares
            if share.get("id") in self.context.removed_shares
            and all(
                other.get("id") in self.context.removed_shares
                for other in self.context.shares
                if other.get("path") == share.get("path")
            )
        }
        found = []
        for share in self.context.shares:
            path = str(share.get("path"))
            if (path == below or path.startswith(below + "/")) and share.get("id") not in self.context.removed_shares:
                found.append(f"the NFS share {share.get('id')} of {path}")
        budget = {"snapshot": 0, "replication": 0}
        under = dataset.name + "/"
        for (kind, number), names in sorted(self.context.tasks.items()):
            if not any(name == dataset.name or name.startswith(under) for name in names):
                continue
            budget[kind] += 1
            if (kind, number) not in self.context.removed_tasks:
                found.append(f"the {kind} task {number}")
        for entry in self.client.call("pool.dataset.attachments", dataset.name):
            kind, names = str(entry.get("type")), [str(name) for name in entry.get("attachments") or []]
            lower = kind.lower()
            if "nfs" in lower:
                names = [name for name in names if name not in going_paths and not any(name in text for text in found)]
            elif "snapshot" in lower or "replication" in lower:
                names = names[budget["snapshot" if "snapshot" in lower else "replication"] :]
            if names:
                found.append(f"{kind} {', '.join(names)}")
        return found

    def _delete(self, dataset: Dataset) -> t.Callable[[], t.Any]:
        def work() -> None:
            # Asked again just before: deleting takes attached shares and tasks with it without a word.
            left = [
                f"{entry.get('type')} {', '.join(str(name) for name in entry.get('attachments') or [])}"
                for entry in self.client.call("pool.dataset.attachments", dataset.name)
                if entry.get("attachments")
            ]
            if left:
                raise Problems([f"{dataset.label}: it is not destroyed, because it is still used by {'; '.join(left)}"])
            self.client.call("pool.dataset.delete", dataset.name, {"recursive": False, "force": False})

        return work

    def verify(self) -> None:
        if not self.doomed:
            return
        left = self.datasets.query({dataset.name for dataset in self.doomed})
        for dataset in self.doomed:
            if dataset.name in left:
                raise NasError(
                    f"{dataset.label} did not converge: it was destroyed and is still listed",
                    "Look at the NAS.",
                    "not_converged",
                )


def used_of(row: Row) -> t.Optional[int]:
    """Return how many bytes a dataset with its snapshots uses."""
    entry = row.get("used")
    if not isinstance(entry, dict):
        return None
    for value in (entry.get("parsed"), entry.get("rawvalue")):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.isdigit():
            return int(value)
    return None
