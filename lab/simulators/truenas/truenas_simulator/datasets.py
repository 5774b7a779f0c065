# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools and datasets: properties with their sources, folders, and what hangs on them."""

from __future__ import annotations

import datetime as dt
import errno
import time
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CallError, InstanceNotFound, MatchNotFound, ValidationErrors
from .filters import filter_list, order_rows, select_fields
from .paths import below
from .registry import Call, method
from .schema import Choice, Field, Int, List, Nullable, Str
from .store import new_dataset

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]

KIB = 1024
METADATA = 96 * KIB
INTERNAL = (".system", "ix-applications", "ix-apps", ".ix-virt")
SIZES = {
    "512": 512,
    "512B": 512,
    **{f"{size}K": size * KIB for size in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)},
    **{f"{size}M": size * KIB * KIB for size in (1, 2, 4, 8, 16)},
}

# name in ZFS: (name in a row, how it is shown, value when nothing sets it, whether children inherit it)
PROPERTIES: dict[str, tuple[str, str, str, bool]] = {
    "aclmode": ("aclmode", "text", "discard", True),
    "acltype": ("acltype", "text", "off", True),
    "atime": ("atime", "switch", "on", True),
    "casesensitivity": ("casesensitivity", "text", "sensitive", False),
    "checksum": ("checksum", "switch", "on", True),
    "compression": ("compression", "text", "on", True),
    "copies": ("copies", "number", "1", True),
    "dedup": ("deduplication", "text", "off", True),
    "exec": ("exec", "switch", "on", True),
    "quota": ("quota", "limit", "0", False),
    "readonly": ("readonly", "switch", "off", True),
    "recordsize": ("recordsize", "block", "131072", True),
    "refquota": ("refquota", "limit", "0", False),
    "refreservation": ("refreservation", "limit", "0", False),
    "reservation": ("reservation", "limit", "0", False),
    "snapdev": ("snapdev", "text", "hidden", True),
    "snapdir": ("snapdir", "text", "hidden", True),
    "special_small_blocks": ("special_small_block_size", "text", "0", True),
    "sync": ("sync", "text", "standard", True),
    "volblocksize": ("volblocksize", "block", "16384", False),
    "volsize": ("volsize", "size", "0", False),
    "xattr": ("xattr", "switch", "sa", True),
}
FILESYSTEM_ONLY = (
    *("aclmode", "acltype", "atime", "casesensitivity", "exec", "quota", "recordsize", "refquota", "snapdir"),
    *("special_small_blocks", "xattr"),
)
VOLUME_ONLY = ("volblocksize", "volsize")
API_NAMES = {api: zfs for zfs, (api, *_) in PROPERTIES.items()}
EXTRAS = {
    "comments": "org.freenas:description",
    "managedby": "org.truenas:managedby",
    **{
        f"{name}_{level}": f"org.freenas:{name}_{level}"
        for name in ("quota", "refquota")
        for level in ("warning", "critical")
    },
}
"""Properties of the appliance itself; ZFS keeps them as user properties."""


def size_text(number: int) -> str:
    """Return a size as the appliance writes it: 1 GiB, 96 KiB."""
    if number == 1:
        return "1 byte"
    if number < KIB:
        return f"{number} bytes"
    value = float(number)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        value /= KIB
        if value < KIB or unit == "EiB":
            break
    return f"{value:.2f}".rstrip("0").rstrip(".") + f" {unit}"


def block_text(number: int) -> str:
    """Return a block size as the appliance writes it: 128K, 1M."""
    if number >= KIB * KIB:
        return f"{number // (KIB * KIB)}M"
    return f"{number // KIB}K" if number >= KIB else str(number)


def parent_of(name: str) -> str | None:
    """Return the parent of a dataset."""
    return name.rpartition("/")[0] or None


def ancestors(name: str) -> list[str]:
    """Return the parents of a dataset, the nearest first."""
    result = []
    parent = parent_of(name)
    while parent:
        result.append(parent)
        parent = parent_of(parent)
    return result


def internal(name: str) -> bool:
    """Return whether a dataset belongs to the system and is hidden."""
    return name.split("/")[0] in ("boot-pool", "freenas-boot") or any(f"/{part}" in name for part in INTERNAL)


def _shown(kind: str, raw: str) -> tuple[Any, str | None]:
    """Return a property's parsed and printable values."""
    match kind:
        case "switch":
            return {"on": True, "off": False}.get(raw), raw.upper()
        case "number":
            return int(raw), raw.upper()
        case "block":
            return int(raw), block_text(int(raw))
        case "size":
            return int(raw), size_text(int(raw))
        case "limit":
            return (None, None) if raw == "0" else (int(raw), size_text(int(raw)))
    return raw, raw.upper()


class Datasets:
    """The datasets of the appliance."""

    def __init__(self, nas: Nas) -> None:
        self.nas = nas

    @property
    def all(self) -> dict[str, Row]:
        """All datasets by name."""
        datasets: dict[str, Row] = self.nas.state["datasets"]
        return datasets

    def children(self, name: str) -> list[str]:
        """Return all datasets below one."""
        return sorted(other for other in self.all if other.startswith(f"{name}/"))

    def mountpoint(self, name: str) -> str | None:
        """Return where a dataset is mounted."""
        return f"/mnt/{name}" if self.all[name]["type"] == "FILESYSTEM" else None

    def of_path(self, path: str) -> str | None:
        """Return the dataset in which a path lies."""
        candidates = [name for name in self.all if below(path, f"/mnt/{name}")]
        return max(candidates, key=len, default=None)

    def value(self, name: str, zfs: str) -> tuple[str, str, str | None]:
        """Return a property's raw value, its source and, if inherited, from where."""
        _, _, default, inherited = PROPERTIES[zfs]
        own = self.all[name]["properties"].get(zfs)
        if own is not None:
            return own, "LOCAL", None
        if inherited:
            for ancestor in ancestors(name):
                found = self.all[ancestor]["properties"].get(zfs)
                if found is not None:
                    return found, "INHERITED", ancestor
        return default, "DEFAULT", None

    def user_values(self, name: str, group: str) -> dict[str, tuple[str, str, str | None]]:
        """Return the user properties that hold on a dataset, with their sources; all of them are inherited."""
        result: dict[str, tuple[str, str, str | None]] = {}
        for ancestor in reversed(ancestors(name)):
            result |= {key: (value, "INHERITED", ancestor) for key, value in self.all[ancestor][group].items()}
        result |= {key: (value, "LOCAL", None) for key, value in self.all[name][group].items()}
        return result

    def own_used(self, name: str) -> int:
        """Return the bytes that a dataset itself uses."""
        if self.all[name]["type"] != "FILESYSTEM":
            return METADATA
        return METADATA + self.nas.paths.used(name, self.children(name))

    def row(self, name: str, wanted: list[str] | None, user_properties: bool) -> Row:
        """Return a dataset as queries show it, with the properties that are asked for (None: all)."""
        dataset = self.all[name]
        row: Row = {"id": name, "type": dataset["type"], "name": name, "pool": name.split("/")[0]}

        def want(zfs: str, api: str) -> bool:
            return wanted is None or zfs in wanted or api in wanted

        def put(api: str, parsed: Any, raw: str | None, value: str | None, source: str, info: str | None) -> None:
            row[api] = {"parsed": parsed, "rawvalue": raw, "value": value, "source": source, "source_info": info}

        volume = dataset["type"] == "VOLUME"
        for zfs, (api, kind, *_) in PROPERTIES.items():
            if want(zfs, api) and zfs not in (FILESYSTEM_ONLY if volume else VOLUME_ONLY):
                raw, source, info = self.value(name, zfs)
                parsed, value = _shown(kind, raw)
                put(api, parsed, raw, value, source, info)
        sizes = self._sizes(name) if any(want(key, key) for key in _SIZE_NAMES) else {}
        for key, number in sizes.items():
            if want(key, key):
                put(key, number, str(number), size_text(number), "NONE", None)
        if want("compressratio", "compressratio"):
            put("compressratio", "1.00", "1.00", "1.00x", "NONE", None)
        if want("origin", "origin"):
            put("origin", "", "", "", "NONE", None)
        if want("creation", "creation"):
            moment = dataset["created"]
            text = time.strftime("%a %b %d %H:%M %Y", time.localtime(moment))
            put("creation", dt.datetime.fromtimestamp(moment, tz=dt.timezone.utc), str(moment), text, "NONE", None)
        for zfs, api, raw in (
            ("encryption", "encryption_algorithm", "off"),
            ("keyformat", "key_format", "none"),
            ("pbkdf2iters", "pbkdf2iters", "0"),
        ):
            if want(zfs, api):
                put(api, raw, raw, "0" if raw == "0" else None, "DEFAULT", None)
        if wanted is None or {"encryption", "encryptionroot", "keyformat", "keystatus"} & set(wanted):
            row |= {"encrypted": False, "encryption_root": None, "key_loaded": False, "locked": False}
        faithful = self.nas.options.dataset_rows == "source"
        comments: Row = {}
        for api, (text, source, info) in self.user_values(name, "extra").items():
            entry = {"parsed": text, "rawvalue": text, "value": text, "source": source, "source_info": info}
            if not faithful:
                row[api] = entry
            comments[api] = entry
        if user_properties:
            row["user_properties"] = {
                key: {"value": text, "rawvalue": text, "parsed": text, "source": source, "source_info": info}
                for key, (text, source, info) in self.user_values(name, "user_properties").items()
            }
            if faithful:
                row["user_properties"] |= comments
                for entry in row["user_properties"].values():
                    entry["source"], entry["source_info"] = "LOCAL", None
        row["mountpoint"] = self.mountpoint(name)
        if self.nas.release >= "26":
            row["tier"] = None
        row["children"] = []
        return row

    def _sizes(self, name: str) -> dict[str, int]:
        own = self.own_used(name)
        children = sum(self.own_used(child) for child in self.children(name))
        pool = self.nas.pool(name.split("/")[0])
        free = pool["size"] - sum(self.own_used(other) for other in self.all if below(other, pool["name"]))
        for limited in (name, *ancestors(name)):
            quota = int(self.value(limited, "quota")[0])
            if quota:
                used = self.own_used(limited) + sum(self.own_used(child) for child in self.children(limited))
                free = min(free, quota - used)
        return {
            "used": own + children,
            "usedbychildren": children,
            "usedbydataset": own,
            "usedbyrefreservation": 0,
            "usedbysnapshots": 0,
            "available": max(free, 0),
        }

    def query(self, filters: list[Any], options: Row) -> Any:
        """Answer pool.dataset.query."""
        extra = options.get("extra") or {}
        wanted = extra.get("properties")
        nested, flat = extra.get("retrieve_children", True), extra.get("flat", True)
        names = [name for name in sorted(self.all) if not internal(name)]
        source = self.nas.options.dataset_rows == "source" and self.nas.release >= "25.10"
        if source and not nested and not filters:
            names = [name for name in names if "/" not in name]
        rows = {name: self.row(name, wanted, extra.get("retrieve_user_props", True)) for name in names}
        if extra.get("snapshots") or extra.get("snapshots_count"):
            for name, row in rows.items():
                snapshots = sorted(key for key in self.nas.state["snapshots"] if key.partition("@")[0] == name)
                if extra.get("snapshots"):
                    row["snapshots"] = [{"id": key, "name": key} for key in snapshots]
                if extra.get("snapshots_count"):
                    row["snapshot_count"] = len(snapshots)
        if nested:
            for name, row in rows.items():
                parent = parent_of(name)
                if parent in rows:
                    rows[parent]["children"].append(row)
        found = list(rows.values())
        if not flat and not filters and nested:
            found = [row for name, row in rows.items() if parent_of(name) not in rows]
        if source and options.get("count"):
            return len(rows)
        # The filters see whole rows; selecting and ordering come after them, unlike in other queries.
        found = filter_list(found, filters, {"extra": {}})
        if options.get("count"):
            return len(found)
        found = order_rows(found, options.get("order_by") or [])
        if options.get("select"):
            found = [select_fields(row, options["select"]) for row in found]
        if options.get("get"):
            if not found:
                raise MatchNotFound()
            return found[0]
        found = found[options.get("offset") or 0 :]
        return found[: options["limit"]] if options.get("limit") else found

    def instance(self, name: str, options: Row | None = None) -> Row:
        """Return one dataset, or say that it does not exist."""
        rows = self.query([["id", "=", name]], {"extra": (options or {}).get("extra", {})})
        if not rows:
            raise InstanceNotFound(f"PoolDataset {name} does not exist")
        row: Row = rows[0]
        return row

    def attachments(self, path: str, enabled: bool | None = True) -> list[tuple[str, str | None, str, Row]]:
        """Return what hangs on a path: title, service, shown name and row."""
        result: list[tuple[str, str | None, str, Row]] = []
        state = self.nas.state

        def counts(row: Row) -> bool:
            return enabled is None or row["enabled"] is enabled

        for share in state["shares"]:
            if counts(share) and below(share["path"], path):
                result.append(("NFS Share", "nfs", share["path"], share))
        for task in state["replications"]:
            sources = [f"/mnt/{name}" for name in task["source_datasets"]] if task["direction"] == "PUSH" else []
            if task["transport"] == "LOCAL":
                sources = [*sources, f"/mnt/{task['target_dataset']}"]
            if counts(task) and any(below(source, path) for source in sources):
                result.append(("Replication", None, task["name"], task))
        for task in state["snapshot_tasks"]:
            if counts(task) and below(f"/mnt/{task['dataset']}", path):
                result.append(("Snapshot Task", None, task["dataset"], task))
        return result

    # -- changing -------------------------------------------------------------------------------------------------

    def check(self, errors: ValidationErrors, schema: str, data: Row, current: str | None) -> None:
        """Check what holds for creating (current is None) and updating alike."""
        name = data["name"]
        parent = self._parent(errors, schema, data, current)
        errors.check()
        assert parent is not None
        if data["type"] == "FILESYSTEM":
            self._check_filesystem(errors, schema, data, parent, current)
        else:
            self._check_volume(errors, schema, data, current)
        if current is not None:
            _check_user_properties(errors, schema, data, self.all[name])

    def _parent(self, errors: ValidationErrors, schema: str, data: Row, current: str | None) -> str | None:
        name = data["name"]
        parents = ancestors(name)
        parent = parents[0] if parents else name
        if internal(name):
            errors.add(
                f"{schema}.name",
                f"{name!r} is using system internal managed dataset. Please specify a different parent.",
            )
        if current is None and data["create_ancestors"]:
            parent = next((ancestor for ancestor in parents if ancestor in self.all), parent)
        if parent not in self.all:
            if data["create_ancestors"]:
                text = "Please specify a pool which exists for the dataset/volume to be created"
            elif len(parents) == 1:
                text = f"zpool ({parent}) does not exist."
            else:
                text = f"Parent dataset ({parent}) does not exist."
            errors.add(f"{schema}.name", text)
        elif current is None and self.value(parent, "readonly")[0] == "on":
            errors.add(f"{schema}.readonly", f"Turn off readonly mode on {parent} to create {name.rsplit('/')[0]}")
        return parent

    def _check_filesystem(
        self, errors: ValidationErrors, schema: str, data: Row, parent: str, current: str | None
    ) -> None:
        final = {}
        for key in ("acltype", "aclmode"):
            value = data.get(key) or (self.value(current, key)[0].upper() if current else "INHERIT")
            final[key] = self.value(parent, key)[0].upper() if value == "INHERIT" else value
        if final["acltype"] in ("POSIX", "OFF") and final["aclmode"] != "DISCARD":
            errors.add(f"{schema}.aclmode", "Must be set to DISCARD when acltype is POSIX or OFF")
        elif final["acltype"] == "NFSV4" and final["aclmode"] == "DISCARD":
            errors.add(f"{schema}.aclmode", "DISCARD aclmode may not be set for NFSv4 acl type")
        for key in ("force_size", "sparse", "volsize", "volblocksize"):
            if key in data:
                errors.add(f"{schema}.{key}", "This field is not valid for FILESYSTEM")
        special = data.get("special_small_block_size")
        fits = special in (None, "INHERIT") or (
            (special == 0 or 512 <= special <= 1048576) and special & (special - 1) == 0
        )
        if not fits:
            errors.add(f"{schema}.special_small_block_size", "This field must be zero or a power of 2 from 512B to 1M")
        size = data.get("recordsize")
        pool = self.nas.pool(parent.split("/")[0])
        if size and size != "INHERIT" and size not in recordsizes(pool):
            errors.add(f"{schema}.recordsize", f"{size!r} is an invalid recordsize.")
        elif not size and current is None and pool["draid"]:
            data["recordsize"] = "1M"

    def _check_volume(self, errors: ValidationErrors, schema: str, data: Row, current: str | None) -> None:
        if current is None:
            data.setdefault("volblocksize", "16K")
        for key in ("aclmode", "acltype", "atime", "casesensitivity", "quota", "refquota", "recordsize"):
            if key in data:
                errors.add(f"{schema}.{key}", "This field is not valid for VOLUME")
        block = SIZES[data.get("volblocksize", "16K")]
        if "volsize" in data and data["volsize"] % block:
            errors.add(f"{schema}.volsize", "Volume size should be a multiple of volume block size")

    def set_properties(self, name: str, data: Row, update: bool) -> None:
        """Set on a dataset what the caller has sent."""
        dataset = self.all[name]
        for api, zfs in API_NAMES.items():
            if api not in data or zfs == "xattr":
                continue
            value = data[api]
            if value == "INHERIT":
                dataset["properties"].pop(zfs, None)
            elif api in ("quota", "refquota", "reservation", "refreservation") and value in (0, None):
                dataset["properties"].pop(zfs, None)
                if update:
                    dataset["properties"][zfs] = "0"
            elif api in ("recordsize", "volblocksize"):
                dataset["properties"][zfs] = str(SIZES[value])
            else:
                dataset["properties"][zfs] = str(value).lower()
        for api in EXTRAS:
            if api not in data:
                continue
            # Only when a dataset is created does the comment INHERIT mean: none of its own.
            if data[api] == "INHERIT" and not (update and api == "comments"):
                dataset["extra"].pop(api, None)
            else:
                dataset["extra"][api] = str(data[api])
        for entry in data.get("user_properties_update" if update else "user_properties") or []:
            if "value" in entry:
                dataset["user_properties"][entry["key"]] = entry["value"]
            elif entry.get("remove"):
                dataset["user_properties"].pop(entry["key"], None)
        acltype = data.get("acltype")
        if update and acltype in ("POSIX", "OFF"):
            dataset["properties"]["aclmode"] = "discard"
        elif update and acltype == "INHERIT":
            dataset["properties"].pop("aclmode", None)

    def add(self, name: str, kind: str = "FILESYSTEM") -> None:
        """Make a dataset on which nothing is set."""
        self.all[name] = new_dataset(kind)
        if kind == "FILESYSTEM":
            self.nas.paths.create(name)

    def drop(self, name: str) -> None:
        """Remove a dataset, its snapshots and its folder."""
        del self.all[name]
        for snapshot in [key for key in self.nas.state["snapshots"] if key.partition("@")[0] == name]:
            self.nas.snapshots.remove(snapshot)
        self.nas.paths.remove(name)


_SIZE_NAMES = ("used", "usedbychildren", "usedbydataset", "usedbyrefreservation", "usedbysnapshots", "available")


def _check_user_properties(errors: ValidationErrors, schema: str, data: Row, dataset: Row) -> None:
    updates = data.get("user_properties_update")
    if updates and not data.get("user_properties"):
        for index, entry in enumerate(updates):
            where = f"{schema}.user_properties_update.{index}"
            if "value" in entry and entry.get("remove"):
                errors.add(f"{where}.remove", 'When "value" is specified, this cannot be set')
            elif "value" not in entry and "remove" not in entry:
                errors.add(f"{where}.value", 'Either "value" or "remove" must be specified')
    elif updates and data.get("user_properties"):
        errors.add(
            f"{schema}.user_properties_update",
            'Should not be specified when "user_properties" are explicitly specified',
        )
    elif data.get("user_properties"):
        named = {entry["key"] for entry in data["user_properties"]}
        gone = [{"key": key, "remove": True} for key in dataset["user_properties"] if key not in named]
        data["user_properties_update"] = [*data["user_properties"], *gone]


def recordsizes(pool: Row | None) -> list[str]:
    """Return the record sizes that datasets of a pool may have."""
    smallest = 128 * KIB if pool and pool["draid"] else 512
    return [name for name, size in SIZES.items() if smallest <= size]


@method("pool.dataset.query", models.query, roles=("DATASET_READ",))
async def query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return datasets."""
    return call.nas.datasets.query(filters, options)


@method("pool.dataset.get_instance", lambda release: models.instance(Str(), release), roles=("DATASET_READ",))
async def get_instance(call: Call, name: str, options: Row) -> Row:
    """Return one dataset."""
    return call.nas.datasets.instance(name, options)


@method("pool.dataset.create", models.dataset_create, roles=("DATASET_WRITE",), write=True, hidden=True)
async def create(call: Call, data: Row) -> Row:
    """Make a dataset."""
    nas, errors = call.nas, ValidationErrors()
    datasets, name = nas.datasets, data["name"]
    if "/" not in name:
        errors.add("pool_dataset_create.name", "You need a full name, e.g. pool/newdataset")
    elif name[-1] == " ":
        errors.add("pool_dataset_create.name", "Trailing spaces are not permitted in dataset names")
    else:
        match data["share_type"]:
            case "SMB":
                data |= {"casesensitivity": "INSENSITIVE", "acltype": "NFSV4", "aclmode": "RESTRICTED"}
            case "APPS" | "MULTIPROTOCOL" | "NFS":
                data |= {"casesensitivity": "SENSITIVE", "atime": "OFF", "acltype": "NFSV4", "aclmode": "PASSTHROUGH"}
        datasets.check(errors, "pool_dataset_create", data, None)
    errors.check()
    missing = [ancestor for ancestor in reversed(ancestors(name)) if ancestor not in datasets.all]
    parent = next(ancestor for ancestor in ancestors(name) if ancestor in datasets.all)
    if datasets.all[parent]["type"] == "VOLUME":
        errors.add("pool_dataset_create.name", f"{parent}: parent may not be a ZFS volume")
    if name in datasets.all or nas.paths.dataset(name).exists():
        errors.add("pool_dataset_create.name", f"Path /mnt/{name} already exists")
    if data["encryption"]:
        errors.add("pool_dataset_create.encryption", "Encryption is not simulated")
    errors.check()
    for ancestor in missing:
        datasets.add(ancestor)
    datasets.add(name, data["type"])
    datasets.set_properties(name, data, update=False)
    row = datasets.instance(name)
    nas.send_event("pool.dataset.query", "ADDED", name, row)
    return row


@method("pool.dataset.update", models.dataset_update, roles=("DATASET_WRITE",), write=True, hidden=True)
async def update(call: Call, name: str, data: Row) -> Row:
    """Change a dataset."""
    nas, errors = call.nas, ValidationErrors()
    datasets = nas.datasets
    dataset = datasets.all.get(name)
    if dataset is None or internal(name):
        errors.add("id", f"{name} does not exist", errno.ENOENT)
        errors.check()
        raise AssertionError
    data |= {"type": dataset["type"], "name": name}
    datasets.check(errors, "pool_dataset_update", data, name)
    if "volsize" in data and data["volsize"] < int(datasets.value(name, "volsize")[0]):
        errors.add("pool_dataset_update.volsize", "You cannot shrink a zvol from GUI, this may lead to data loss.")
    errors.check()
    datasets.set_properties(name, data, update=True)
    row = datasets.instance(name)
    nas.send_event("pool.dataset.query", "CHANGED", name, row)
    return row


@method("pool.dataset.delete", models.dataset_delete(), roles=("DATASET_DELETE",), write=True, hidden=True)
async def delete(call: Call, name: str, options: Row) -> bool:
    """Remove a dataset and, with it, the shares and tasks on it."""
    nas = call.nas
    datasets = nas.datasets
    children = datasets.children(name)
    if children and not options["recursive"]:
        raise CallError(f"Failed to delete dataset: cannot destroy {name!r}: filesystem has children", errno.ENOTEMPTY)
    datasets.instance(name)
    own = [key for key in nas.state["snapshots"] if key.partition("@")[0] == name]
    mountpoint = datasets.mountpoint(name)
    for title, _, _, row in datasets.attachments(mountpoint) if mountpoint else []:
        table = {"NFS Share": "shares", "Replication": "replications", "Snapshot Task": "snapshot_tasks"}[title]
        nas.state[table].remove(row)
        if table == "snapshot_tasks":
            nas.forget_snapshot_task(row["id"])
    if mountpoint:
        await nas.shares_changed()
    if own and not options["recursive"]:
        raise CallError(
            f"Failed to delete dataset: cannot destroy '{name}': filesystem has children\n"
            "use '-r' to destroy the following datasets:\n" + "\n".join(own)
        )
    for child in reversed(children):
        datasets.drop(child)
    if "/" in name:
        datasets.drop(name)
    elif not options["recursive"]:
        raise CallError(f"Failed to delete dataset: cannot destroy '{name}': operation does not apply to pools")
    nas.send_event("pool.dataset.query", "REMOVED", name, None)
    return True


@method("pool.dataset.attachments", {"id": Field(Str())}, roles=("DATASET_READ",), hidden=True)
async def attachments(call: Call, name: str) -> list[Row]:
    """Return the services and tasks that use a dataset."""
    call.nas.datasets.instance(name)
    grouped: dict[str, Row] = {}
    for title, service, shown, _ in call.nas.datasets.attachments(f"/mnt/{name}"):
        entry = grouped.setdefault(title, {"type": title, "service": service, "attachments": []})
        entry["attachments"].append(shown)
    return list(grouped.values())


@method(
    "pool.dataset.recordsize_choices", {"pool_name": Field(Nullable(Str()), None)}, roles=("DATASET_READ",), hidden=True
)
async def recordsize_choices(call: Call, pool_name: str | None) -> list[str]:
    """Return the record sizes to choose from."""
    pools = call.nas.state["pools"]
    return recordsizes(next((pool for pool in pools if pool["name"] == pool_name), None))


@method("pool.dataset.compression_choices", roles=("DATASET_READ",), hidden=True)
async def compression_choices(call: Call) -> dict[str, str]:
    """Return the compression algorithms to choose from."""
    return {name: name for name in models.COMPRESSION}


@method("pool.dataset.checksum_choices", roles=("DATASET_READ",), hidden=True)
async def checksum_choices(call: Call) -> dict[str, str]:
    """Return the checksum algorithms to choose from."""
    return {name: name for name in models.CHECKSUM if name != "OFF"}


# -- pools --------------------------------------------------------------------------------------------------------


def pool_row(nas: Nas, pool: Row) -> Row:
    """Return a pool as queries show it."""
    used = sum(nas.datasets.own_used(name) for name in nas.datasets.all if below(name, pool["name"]))
    healthy = pool["status"] == "ONLINE"
    free = max(pool["size"] - used, 0)
    return {
        "id": pool["id"],
        "name": pool["name"],
        "guid": pool["guid"],
        "status": pool["status"],
        "path": f"/mnt/{pool['name']}",
        "scan": None,
        "expand": None,
        "is_upgraded": True,
        "healthy": healthy,
        "warning": False,
        "status_code": "OK" if healthy else "FAULTED_DEV_R",
        "status_detail": None if healthy else "One or more devices are faulted in response to persistent errors.",
        "size": pool["size"],
        "allocated": used,
        "free": free,
        "freeing": 0,
        "dedup_table_size": 0,
        "dedup_table_quota": "auto",
        "fragmentation": "0",
        "size_str": str(pool["size"]),
        "allocated_str": str(used),
        "free_str": str(free),
        "freeing_str": "0",
        "autotrim": {"parsed": "off", "rawvalue": "off", "source": "DEFAULT", "value": "off"},
        "topology": {
            "data": [
                {
                    "name": "mirror-0",
                    "type": "MIRROR",
                    "path": None,
                    "guid": pool["guid"],
                    "status": pool["status"],
                    "stats": {},
                    "children": [],
                    "unavail_disk": None,
                }
            ],
            **{key: [] for key in ("log", "cache", "spare", "special", "dedup")},
        },
    }


@method("pool.query", models.query, roles=("POOL_READ",))
async def pool_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return pools."""
    degraded = call.nas.faults.take("pool_degraded", "pool.query")
    pools = [pool | ({"status": "DEGRADED"} if degraded else {}) for pool in call.nas.state["pools"]]
    return filter_list([pool_row(call.nas, pool) for pool in pools], filters, options)


@method("pool.get_instance", lambda release: models.instance(Int(), release), roles=("POOL_READ",))
async def pool_instance(call: Call, number: int, options: Row) -> Row:
    """Return one pool."""
    pool = call.nas.store.find("pools", number)
    if pool is None:
        raise InstanceNotFound(f"Pool {number} does not exist")
    return pool_row(call.nas, pool)


@method(
    "pool.filesystem_choices",
    {"types": Field(List(Choice("FILESYSTEM", "VOLUME")), lambda: ["FILESYSTEM", "VOLUME"])},
    roles=("DATASET_READ",),
    hidden=True,
)
async def filesystem_choices(call: Call, types: list[str]) -> list[str]:
    """Return the names of datasets."""
    return [
        name
        for name, dataset in sorted(call.nas.datasets.all.items())
        if dataset["type"] in types and not internal(name)
    ]
