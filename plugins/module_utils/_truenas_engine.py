# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts of the desired state of a NAS have in common (private to the collection).

A part reads, plans without writing, applies its steps, and reads again to see that the NAS holds what it was told.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_client import Client
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import REASON, NasError, Refused

OWNER = "ai.lab:owner"
DATASET = "ai.lab:dataset"
"""Names the dataset that the mark was set on: some releases report inherited user properties as set locally."""

Row = t.Dict[str, t.Any]
Values = t.Dict[str, t.Any]

KEYS = {
    "comments": "comment",
    "ro": "read_only",
    "maproot_user": "maproot",
    "maproot_group": "maproot",
    "mapall_user": "mapall",
    "mapall_group": "mapall",
    "user_properties": "properties",
    "user_properties_update": "properties",
    "special_small_block_size": "properties.special_small_block_size",
}
"""Option of the modules for a field of the API, where the names differ."""

PERMISSION_KEYS = ("user", "uid", "group", "gid", "mode")


class Changes:
    """What differs between the wanted and the actual state: the one source of changed and of diff."""

    def __init__(self) -> None:
        self.before: t.Dict[str, t.Dict[str, t.Optional[Values]]] = {}
        self.after: t.Dict[str, t.Dict[str, t.Optional[Values]]] = {}

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    def record(self, kind: str, name: str, before: t.Optional[Values], after: t.Optional[Values]) -> None:
        """Record the fields of one object before and after; None stands for an object that is not there."""
        for side, values in ((self.before, before), (self.after, after)):
            objects = side.setdefault(kind, {})
            objects[name] = objects.get(name) if values is None else {**(objects.get(name) or {}), **values}

    def result(self) -> t.Dict[str, t.Any]:
        """Return changed and diff."""
        return {"changed": bool(self), "diff": {"before": self.before, "after": self.after}}


class Context:
    """What the parts of one run share."""

    def __init__(self, client: Client, pool: str, owner: str) -> None:
        self.client, self.pool, self.owner = client, pool, owner
        self.changes = Changes()
        self.problems: t.List[str] = []
        self.warnings: t.List[str] = []
        self.datasets: t.Dict[str, Row] = {}
        """Datasets by name: those that were asked for and are there."""
        self.pool_missing = False
        self.planned_datasets: t.Set[str] = set()
        """Datasets that this run creates."""
        self.removed_shares: t.Set[int] = set()
        self.removed_tasks: t.Dict[t.Tuple[str, int], t.List[str]] = {}
        """Kind and id of tasks that this run removes, with the datasets they work on."""
        self.shares: t.List[Row] = []
        self.tasks: t.Dict[t.Tuple[str, int], t.List[str]] = {}
        """Kind and id of all tasks that were read, with the local datasets they work on."""
        self.nfs: t.Optional[Row] = None

    @property
    def mark(self) -> str:
        """The mark that the comment of a share of ours carries."""
        return mark_of(self.owner)

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def owner_of(self, name: str) -> t.Optional[str]:
        """Return whose dataset it is; None for nobody's or one that is not there."""
        row = self.datasets.get(name)
        return owner_of(row) if row else None

    def path_of(self, name: str) -> str:
        """Return where a dataset is mounted, or will be: below its parent."""
        row = self.datasets.get(name)
        if row and mountpoint_of(row):
            return mountpoint_of(row)
        parent, _separator, last = name.rpartition("/")
        return f"{self.path_of(parent)}/{last}" if parent else f"/mnt/{name}"

    def is_ours(self, name: str) -> bool:
        """Whether the dataset carries our mark, or gets it in this run."""
        return name in self.planned_datasets or self.owner_of(name) == self.owner


class Step:
    """One change: what is shown, and what is called."""

    def __init__(
        self, title: str, apply: t.Callable[[], t.Any], keys: t.Optional[t.Dict[str, str]] = None, prefix: str = ""
    ) -> None:
        self.title, self.apply, self.keys, self.prefix = title, apply, keys or {}, prefix

    def run(self, client: Client) -> None:
        """Do it; an error of the NAS is told with the names of the options."""
        try:
            self.apply()
        except Refused as error:
            if error.is_service_down:
                raise service_down(error, self.title) from error
            raise explain(error, self.title, self.keys) from error


class Part:
    """One kind of object of the desired state."""

    kind = ""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.steps: t.List[Step] = []

    def read(self) -> None:
        """Ask the NAS."""

    def plan(self) -> None:
        """Compare; add steps, changes and problems."""

    def verify(self) -> None:
        """Ask again after the steps and raise when the NAS does not hold what it was told."""

    def problem(self, label: str, text: str) -> None:
        """Note something that keeps the whole run from starting."""
        line = f"{label}: {text}"
        if line not in self.context.problems:
            self.context.problems.append(line)

    def change(self, name: str, before: t.Optional[Values], after: t.Optional[Values], kind: str = "") -> None:
        """Note a difference for the diff."""
        self.context.changes.record(kind or self.kind, name, before, after)


def mark_of(owner: str) -> str:
    """Return the mark in the comment of a share."""
    return f"[ai.lab:{owner}]"


def owner_of(row: Row) -> t.Optional[str]:
    """Return the owner whose mark a dataset carries itself, not one it inherits."""
    properties = row.get("user_properties") or {}
    entry = properties.get(OWNER)
    if not isinstance(entry, dict) or entry.get("source") != "LOCAL":
        return None
    # Read in the source of the newest releases: they call every user property LOCAL. The second mark tells them apart.
    second = properties.get(DATASET)
    if isinstance(second, dict) and text_of(second) != (row.get("id") or row.get("name")):
        return None
    return text_of(entry)


def text_of(entry: Row) -> str:
    """Return the text of a property."""
    for key in ("rawvalue", "value", "parsed"):
        if entry.get(key) is not None:
            return str(entry[key])
    return ""


def mountpoint_of(row: Row) -> str:
    """Return where a dataset is mounted; empty if it is not."""
    mountpoint = row.get("mountpoint")
    if isinstance(mountpoint, dict):
        mountpoint = mountpoint.get("value")
    return str(mountpoint) if mountpoint and str(mountpoint).startswith("/") else ""


def service_down(error: Refused, title: str) -> NasError:
    """Return the error for a change that was saved, after which the NFS service does not run any more."""
    down = NasError(
        f"{title}: saved, but the NFS service did not come up with it and does not run now ({error.reason})",
        f"Look at the log of nfs-server on the NAS and correct {title}, then start the service again: "
        "truenas_nfs_service with state: started.",
        "service",
    )
    down.done = True
    return down


def explain(error: Refused, title: str, keys: t.Dict[str, str]) -> NasError:
    """Return an error of the NAS with one line per entry and the names that the user wrote."""
    if not error.extra:
        return NasError(f"{title}: {error.reason} ({error.method})", error.remedy or REASON, error.code)
    lines = []
    for entry in error.extra:
        attribute, message = str(entry[0] or ""), str(entry[1]).strip().rstrip(".")
        # The front of the name differs between the releases: only the last part that is no number counts.
        parts = [part for part in attribute.split(".") if part and not part.isdigit()]
        field = parts[-1] if parts else ""
        key = keys.get(field, KEYS.get(field, field))
        lines.append(f"{title} {key}: {message}" if key else f"{title}: {message}")
    return NasError("\n".join(dict.fromkeys(lines)), error.remedy, error.code)


def show(value: t.Any) -> str:
    """Return a value as it stands in a sentence."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(str(item) for item in sorted(value, key=str)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(value[key])}" for key in sorted(value)) + "}"
    return "nothing" if value is None or value == "" else str(value)


def differences(wanted: Values, actual: Values) -> t.Dict[str, t.Tuple[t.Any, t.Any]]:
    """Return the fields whose actual value is not the wanted one: wanted, actual."""
    return {
        key: (value, actual.get(key))
        for key, value in wanted.items()
        if comparable(value) != comparable(actual.get(key))
    }


def comparable(value: t.Any) -> t.Any:
    """Return a value in which the order of a list does not matter."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted((comparable(item) for item in value), key=str)
    return value


def drift_text(found: t.Dict[str, t.Tuple[t.Any, t.Any]]) -> str:
    """Return differences as a sentence."""
    return ", ".join(f"{key} is {show(actual)}, wanted {show(wanted)}" for key, (wanted, actual) in found.items())


def did_not_converge(title: str, found: t.Dict[str, t.Tuple[t.Any, t.Any]]) -> NasError:
    """Return the error for values that the NAS took and does not hold."""
    text = "; ".join(
        f"field {key}, wanted {show(wanted)}, got {show(actual)}" for key, (wanted, actual) in found.items()
    )
    return NasError(
        f"{title} did not converge: {text}",
        "The NAS accepted the change and holds something else: does somebody else manage it, or does a rule of the "
        "NAS forbid it?",
        "not_converged",
    )
