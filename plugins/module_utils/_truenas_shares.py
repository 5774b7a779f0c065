# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NFS shares of a NAS and who may use them (private to the collection)."""

from __future__ import annotations

import itertools
import re
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_normalise as normal
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_engine import (
    Context,
    Part,
    Row,
    Step,
    Values,
    did_not_converge,
    differences,
    drift_text,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import NasError, Refused

MARK = re.compile(r"\s*\[ai\.lab:([^\]]*)\]\s*")
Clients = t.Tuple[t.FrozenSet[str], t.FrozenSet[str]]

MOUNT_OPTIONS = (
    "proto=tcp",
    "hard",
    "noatime",
    "nconnect=4",
    "rsize=1048576",
    "wsize=1048576",
    "_netdev",
    "nofail",
    "x-systemd.automount",
    "x-systemd.mount-timeout=30s",
    "x-systemd.requires=network-online.target",
)


class Share(t.NamedTuple):
    """A wanted share, with values in the form of the API."""

    label: str
    name: str
    dataset: str
    path: str
    values: Values
    adopt: bool

    @property
    def clients(self) -> Clients:
        """Networks and hosts."""
        return clients_of(self.values)


def clients_of(values: Values) -> Clients:
    """Return networks and hosts of a share, ready for comparing."""
    return frozenset(values.get("networks") or ()), frozenset(values.get("hosts") or ())


def parse(entry: t.Mapping[str, t.Any], label: str, pool: str, owner: str, problems: t.List[str]) -> Share:
    """Read what a person wrote; every mistake becomes a line in problems. The path of a dataset is filled in later."""
    dataset, path = str(entry.get("dataset") or ""), str(entry.get("path") or "")
    if bool(dataset) == bool(path):
        problems.append(f"{label}: set dataset or path, and only one of them")
    if dataset:
        dataset = normal.dataset_name(dataset, pool)
        label = f"{label} ({dataset})"
        if "/" in dataset and normal.forbidden_dataset(dataset):
            problems.append(f"{label} dataset: {normal.forbidden_dataset(dataset)}")
    else:
        path = re.sub(r"/+", "/", path).rstrip("/")
        label = f"{label} ({path})"
        root = f"/mnt/{pool}" if pool else "/mnt"
        parts = path.split("/")
        if path and ((path != root and not path.startswith(root + "/")) or len(parts) < 3 or ".." in parts):
            problems.append(f"{label} path: it is not below {root}; a share has to be inside of a pool")
        elif path and any(part == ".system" or part.startswith(("ix-", ".ix-")) for part in parts[3:]):
            problems.append(f"{label} path: it belongs to TrueNAS itself and is never shared; choose another path")
    values: Values = {}
    for key, convert in (("networks", normal.network), ("hosts", normal.host)):
        found = []
        for item in entry.get(key) or []:
            try:
                found.append(convert(str(item)))
            except ValueError as error:
                problems.append(f"{label} {key}: {error}")
        values[key] = sorted(found)
        if entry.get(key) and not found:
            values[key] = ["?"]  # so that a wrong entry is not also reported as a share for everybody
    if not values["networks"] and not values["hosts"] and not entry.get("allow_everyone"):
        problems.append(
            f"{label} networks: without networks and hosts everybody who reaches the NAS may mount it; name the "
            "clients, or set allow_everyone: true if that is meant"
        )
    if "?" not in values["networks"]:
        problems.extend(f"{label} {problem}" for problem in normal.clients(values["networks"], values["hosts"]))
    values["ro"] = bool(entry.get("read_only"))
    values["enabled"] = entry.get("enabled") is not False
    for key in ("maproot", "mapall"):
        user, group = None, None
        try:
            user, group = normal.account(entry.get(key))
        except ValueError as error:
            problems.append(f"{label} {key}: {error}")
        values[f"{key}_user"], values[f"{key}_group"] = user, group
    if values["maproot_user"] and values["mapall_user"]:
        problems.append(f"{label} maproot: it excludes mapall, which maps root too; leave maproot out")
    security = [str(item).strip().upper() for item in entry.get("security") or []]
    for item in security:
        if item not in normal.SECURITY:
            problems.append(f"{label} security: {item} is unknown; use {', '.join(normal.SECURITY).lower()}")
    values["security"] = sorted(set(security))
    comment = str(entry.get("comment") or "").strip()
    if "[ai.lab:" in comment:
        problems.append(f"{label} comment: the mark [ai.lab:...] is added by the module; leave it out")
    values["comment"] = f"{comment} [ai.lab:{owner}]".strip()
    if entry.get("expose_snapshots") is not None:
        values["expose_snapshots"] = bool(entry["expose_snapshots"])
    return Share(label, str(entry.get("name") or ""), dataset, path, values, bool(entry.get("adopt")))


def owner_of(row: Row) -> t.Optional[str]:
    """Return whose share it is by the mark in its comment."""
    match = MARK.search(str(row.get("comment") or ""))
    return match.group(1) if match else None


def actual(row: Row, wanted: t.Iterable[str]) -> Values:
    """Return the fields of a row in the form of Share.values."""
    values: Values = {}
    for key in wanted:
        value = row.get(key)
        if key in ("networks", "hosts"):
            convert = normal.network if key == "networks" else normal.host
            found = []
            for item in value or []:
                try:
                    found.append(convert(str(item)))
                except ValueError:
                    found.append(str(item))
            value = sorted(found)
        elif key == "security":
            value = sorted(str(item).upper() for item in value or [])
        elif key in ("ro", "enabled", "expose_snapshots"):
            value = bool(value)
        elif key == "comment":
            value = str(value or "").strip()
        else:
            value = value or None
        values[key] = value
    return values


def fit(share: Share, row: Row) -> t.Tuple[int, ...]:
    """Say how well a row fits a wanted share; more is better. The same clients count most: nobody loses access."""
    values = actual(row, share.values)
    wanted, found = share.clients, clients_of(values)
    common = len(wanted[0] & found[0]) + len(wanted[1] & found[1])
    every = len(wanted[0] | found[0]) + len(wanted[1] | found[1])
    same = not differences({k: v for k, v in share.values.items() if k != "comment"}, values)
    return (
        int(same),
        int(wanted == found),
        1000 * common // every if every else 0,
        int(share.values["ro"] == values["ro"]),
        int(share.values["comment"] == values["comment"]),
        -int(row.get("id") or 0),
    )


def related(share: Share, row: Row) -> bool:
    """Whether a row can be an earlier state of a share, when there may be others of that path that are not listed."""
    found = clients_of(actual(row, ("networks", "hosts")))
    shared = bool(share.clients[0] & found[0] or share.clients[1] & found[1])
    return shared or bool(row.get("ro")) == share.values["ro"]


def pair(shares: t.Sequence[Share], rows: t.Sequence[Row], complete: bool = True) -> t.Dict[int, Row]:
    """Return which row serves which wanted share (by position), the best fits first."""
    scored = sorted(
        (
            (fit(share, row), index, number)
            for index, share in enumerate(shares)
            for number, row in enumerate(rows)
            if complete or related(share, row)
        ),
        key=lambda item: (item[0], -item[1]),
        reverse=True,
    )
    result: t.Dict[int, Row] = {}
    used: t.Set[int] = set()
    for _score, index, number in scored:
        if index not in result and number not in used:
            result[index] = rows[number]
            used.add(number)
    return result


class Shares(Part):
    """The wanted shares of an owner in a pool. Shares without the mark are never touched, unless adopted."""

    kind = "shares"

    def __init__(self, context: Context, wanted: t.Sequence[Share], purge: bool) -> None:
        super().__init__(context)
        self.wanted, self.purge = list(wanted), purge
        self.updates: t.List[t.Tuple[Share, Row]] = []
        self.expected: t.Dict[int, t.Tuple[Share, t.Optional[int]]] = {}
        self.created: t.Dict[int, int] = {}

    def read(self) -> None:
        self.context.shares = list(self.client.call("sharing.nfs.query", [], {}))
        resolved = []
        for share in self.wanted:
            path = self.context.path_of(share.dataset) if share.dataset else share.path
            resolved.append(share._replace(path=path, name=share.name or self._name(share.dataset, path)))
        self.wanted = resolved

    def _name(self, dataset: str, path: str) -> str:
        full = dataset or re.sub(r"^/mnt/", "", path)
        return full.partition("/")[2] or full

    def _rows(self, path: str) -> t.List[Row]:
        return [row for row in self.context.shares if str(row.get("path", "")).rstrip("/") == path]

    def _is_ours(self, row: Row) -> bool:
        return owner_of(row) == self.context.owner

    def plan(self) -> None:
        for share in self.wanted:
            known = share.dataset in self.context.datasets or share.dataset in self.context.planned_datasets
            if share.dataset and not known:
                self.problem(share.label, f"dataset: {share.dataset} does not exist; add it to the datasets")
        self._check_among_each_other()
        paths = list(dict.fromkeys(share.path for share in self.wanted))
        creates: t.List[t.Tuple[int, Share]] = []
        for path in paths:
            creates.extend(self._plan_path(path))
        if self.purge:
            root = f"/mnt/{self.context.pool}"
            for row in self.context.shares:
                path = str(row.get("path", "")).rstrip("/")
                if self._is_ours(row) and path not in paths and (path == root or path.startswith(root + "/")):
                    self._plan_delete(row)
        # What takes access away comes first: two shares of one path must never have a client in common.
        self._order_updates()
        for index, share in creates:
            self._plan_create(index, share)

    def _check_among_each_other(self) -> None:
        for first, second in itertools.combinations(self.wanted, 2):
            if first.path != second.path:
                continue
            common = normal.conflict(first.clients, second.clients)
            if not common and not (any(first.clients) and any(second.clients)):
                common = "everybody"
            if common and "?" not in common:
                self.problem(
                    second.label,
                    f"networks: {common} may use {second.path} by {first.label} too; a client can have only one share "
                    "of a path",
                )

    def _plan_path(self, path: str) -> t.List[t.Tuple[int, Share]]:
        indexes = [index for index, share in enumerate(self.wanted) if share.path == path]
        shares = [self.wanted[index] for index in indexes]
        rows = self._rows(path)
        ours = [row for row in rows if self._is_ours(row)]
        unmarked = [row for row in rows if owner_of(row) is None]
        matched = pair(shares, ours, self.purge)
        adoptable = [share for position, share in enumerate(shares) if position not in matched and share.adopt]
        adopted = pair(adoptable, unmarked)
        taken = [row.get("id") for row in adopted.values()]
        for row in unmarked:
            if row.get("id") not in taken and len(matched) < len(shares) and not adopted:
                share = next(share for position, share in enumerate(shares) if position not in matched)
                drift = differences(
                    {k: v for k, v in share.values.items() if k != "comment"}, actual(row, share.values)
                )
                self.problem(
                    share.label,
                    f"share {row.get('id')} of {path} is there already without the mark {self.context.mark}"
                    + (f" and differs: {drift_text(drift)}" if drift else "")
                    + "; set adopt: true to take it over, or remove it on the NAS",
                )
        creates = []
        taken_over = {id(adoptable[position]): row for position, row in adopted.items()}
        for position, index in enumerate(indexes):
            share = self.wanted[index]
            found = matched.get(position) or taken_over.get(id(share))
            if found is None:
                creates.append((index, share))
            else:
                self.expected[index] = (share, int(found["id"]))
                if differences(share.values, actual(found, share.values)):
                    self.updates.append((share, found))
        used = {row.get("id") for row in (*matched.values(), *adopted.values())}
        if self.purge:
            for row in ours:
                if row.get("id") not in used:
                    self._plan_delete(row)
        others = [row for row in rows if row.get("id") not in (used | self.context.removed_shares)]
        self._check_others(path, shares, others)
        return creates

    def _check_others(self, path: str, shares: t.Sequence[Share], others: t.Sequence[Row]) -> None:
        updated = [id(share) for share, _row in self.updates]
        for row, share in itertools.product(others, shares):
            common = normal.conflict(share.clients, clients_of(actual(row, ("networks", "hosts"))))
            if common and (owner_of(row) is not None or id(share) in updated):
                owner = owner_of(row) or "nobody known"
                whose = f"share {row.get('id')}" + ("" if self._is_ours(row) else f" of {owner!r}")
                self.problem(
                    share.label,
                    f"networks: {common} may use {path} by {whose} already; take the client out of one of them",
                )
        for row in others:
            if not row.get("networks") and not row.get("hosts") and row.get("enabled"):
                self.context.warn(
                    f"Share {row.get('id')} of {path}, which is not in the list, lets everybody in: limits on that "
                    "path mean nothing until it is removed."
                )

    def _name_of(self, row_or_path: t.Union[Row, str], clients: Clients, ro: bool) -> str:
        """Return the name of a share in the diff: one path may have several."""
        path = row_or_path if isinstance(row_or_path, str) else str(row_or_path.get("path"))
        several = len(self._rows(path)) > 1 or len([share for share in self.wanted if share.path == path]) > 1
        if not several:
            return path
        who = ", ".join(sorted(clients[0]) + sorted(clients[1])) or "everybody"
        return f"{path} ({'ro' if ro else 'rw'}: {who})"

    def _plan_delete(self, row: Row) -> None:
        number = int(row["id"])
        if number in self.context.removed_shares:
            return
        self.context.removed_shares.add(number)
        values = {key: value for key, value in actual(row, FIELDS).items() if value not in (None, [])}
        self.change(self._name_of(row, clients_of(values), bool(row.get("ro"))), shown(values), None)
        self.steps.append(Step(f"share {number} ({row.get('path')})", self._delete(number)))

    def _plan_create(self, index: int, share: Share) -> None:
        self._check_path(share)
        self.expected[index] = (share, None)
        after = {key: value for key, value in share.values.items() if value not in (None, [])}
        self.change(self._name_of(share.path, share.clients, share.values["ro"]), None, shown(after))
        data = {"path": share.path, **share.values}
        self.steps.append(Step(share.label, self._create(index, data), self._keys(share)))

    def _check_path(self, share: Share) -> None:
        """A path that is no dataset is looked up, but only when it is new: TrueNAS refuses one that is missing."""
        if share.dataset:
            return
        below = [name for name in self.context.planned_datasets if share.path == self.context.path_of(name)]
        if below:
            return
        try:
            self.client.call("filesystem.stat", share.path)
        except Refused as error:
            self.problem(share.label, f"path: {error.reason}; create it on the NAS, or name a dataset")

    @staticmethod
    def _keys(share: Share) -> t.Dict[str, str]:
        return {"path": "dataset" if share.dataset else "path"}

    def _create(self, index: int, data: Values) -> t.Callable[[], t.Any]:
        def work() -> None:
            row = self.client.call("sharing.nfs.create", data)
            self.created[index] = int(row["id"])

        return work

    def _delete(self, number: int) -> t.Callable[[], t.Any]:
        return lambda: self.client.call("sharing.nfs.delete", number)

    # Updates

    def _order_updates(self) -> None:
        """Add the steps so that at no moment two shares of one path have a client in common."""
        by_path: t.Dict[str, t.List[t.Tuple[Share, Row]]] = {}
        for share, row in self.updates:
            values = actual(row, share.values)
            found = differences(share.values, values)
            self.change(
                self._name_of(row, share.clients, share.values["ro"]),
                shown({key: was for key, (_wanted, was) in found.items()}),
                shown({key: wanted for key, (wanted, _was) in found.items()}),
            )
            by_path.setdefault(share.path, []).append((share, row))
        for path, pending in by_path.items():
            state = {
                int(row["id"]): clients_of(actual(row, ("networks", "hosts")))
                for row in self._rows(path)
                if int(row["id"]) not in self.context.removed_shares
            }
            recreated: t.List[t.Tuple[Share, Row]] = []
            while pending:
                move = self._next_move(pending, state)
                if move is not None:
                    share, row = pending.pop(move)
                    state[int(row["id"])] = share.clients
                    self._update(share, int(row["id"]), differences(share.values, actual(row, share.values)))
                    continue
                if self._shrink_one(pending, state):
                    continue
                # A ring of shares that wait for each other: one steps aside for a moment.
                share, row = pending.pop(0)
                state.pop(int(row["id"]))
                self.steps.append(Step(share.label, self._delete(int(row["id"]))))
                recreated.append((share, row))
            for share, _row in recreated:
                index = next(index for index, (other, _number) in self.expected.items() if other is share)
                self.expected[index] = (share, None)
                data = {"path": share.path, **share.values}
                self.steps.append(Step(share.label, self._create(index, data), self._keys(share)))

    @staticmethod
    def _next_move(pending: t.Sequence[t.Tuple[Share, Row]], state: t.Dict[int, Clients]) -> t.Optional[int]:
        for position, (share, row) in enumerate(pending):
            others = [clients for number, clients in state.items() if number != int(row["id"])]
            if not any(normal.conflict(share.clients, clients) for clients in others):
                return position
        return None

    def _shrink_one(self, pending: t.Sequence[t.Tuple[Share, Row]], state: t.Dict[int, Clients]) -> bool:
        for share, row in pending:
            number = int(row["id"])
            kept = (state[number][0] & share.clients[0], state[number][1] & share.clients[1])
            # Never down to nothing: a share without clients is open to everybody.
            if any(kept) and kept != state[number]:
                state[number] = kept
                smaller = {"networks": (sorted(kept[0]), None), "hosts": (sorted(kept[1]), None)}
                self._update(share, number, t.cast(t.Any, smaller))
                return True
        return False

    def _update(self, share: Share, number: int, found: t.Dict[str, t.Tuple[t.Any, t.Any]]) -> None:
        data = {key: wanted for key, (wanted, _was) in found.items()}
        self.steps.append(
            Step(share.label, lambda: self.client.call("sharing.nfs.update", number, data), self._keys(share))
        )

    def verify(self) -> None:
        if not self.steps:
            return
        rows = {int(row["id"]): row for row in self.client.call("sharing.nfs.query", [], {})}
        self.context.shares = list(rows.values())
        for index, (share, known) in self.expected.items():
            number = known if known is not None else self.created.get(index)
            row = rows.get(number) if number is not None else None
            if row is None:
                raise NasError(
                    f"{share.label} did not converge: the NAS does not list it", "Look at the NAS.", "not_converged"
                )
            found = differences(share.values, actual(row, share.values))
            if found:
                raise did_not_converge(share.label, shown(found))
        left = sorted(self.context.removed_shares & set(rows))
        if left:
            raise NasError(
                f"shares {', '.join(str(number) for number in left)} did not converge: deleted and still listed",
                "Look at the NAS.",
                "not_converged",
            )

    def exports(self, server: str) -> t.List[Values]:
        """Return what the clients mount."""
        host = f"[{server}]" if ":" in server and not server.startswith("[") else server
        protocols = (self.context.nfs or {}).get("protocols")
        version = "vers=3" if protocols and "NFSV4" not in protocols else "vers=4.2"
        result = []
        for share in self.wanted:
            if not share.values["enabled"]:
                continue
            ro = bool(share.values["ro"])
            result.append(
                {
                    "name": share.name,
                    "server": server,
                    "source": f"{host}:{share.path}",
                    "path": share.path,
                    "ro": ro,
                    "options": ",".join([*(["ro"] if ro else []), version, *MOUNT_OPTIONS]),
                    "clients": [*share.values["networks"], *share.values["hosts"]],
                }
            )
        return result


FIELDS = (
    "networks",
    "hosts",
    "ro",
    "enabled",
    "maproot_user",
    "maproot_group",
    "mapall_user",
    "mapall_group",
    "security",
    "comment",
)


def shown(values: t.Mapping[str, t.Any]) -> Values:
    """Return fields with the names of the options, for diff and sentences."""
    return {"read_only" if key == "ro" else key: value for key, value in values.items()}


class RemoveShares(Part):
    """Takes the shares of an owner away, and no others."""

    kind = "shares"

    def __init__(self, context: Context, shares: Shares, all_of_ours: bool) -> None:
        super().__init__(context)
        self.shares, self.all_of_ours = shares, all_of_ours

    def read(self) -> None:
        self.shares.read()

    def plan(self) -> None:
        context = self.context
        paths = {share.path for share in self.shares.wanted}
        root = f"/mnt/{context.pool}"
        for row in context.shares:
            path = str(row.get("path", "")).rstrip("/")
            inside = path == root or path.startswith(root + "/")
            if not (path in paths or (self.all_of_ours and inside)):
                continue
            if owner_of(row) == context.owner:
                self.shares._plan_delete(row)
            elif path in paths:
                context.warn(
                    f"Share {row.get('id')} of {path} does not carry the mark {context.mark} and was left alone."
                )
        self.steps = self.shares.steps

    def verify(self) -> None:
        self.shares.verify()
