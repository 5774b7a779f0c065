# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of a NAS: decisions, order, and what happens when the NAS does not do as told, against a fake."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_engine as engine
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_shares as shares
from ansible_collections.pantheon.ai.plugins.module_utils import _truenas_storage as storage
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import (
    ConnectionLost,
    NasError,
    Problems,
    Refused,
)

READS = re.compile(r"query|config|stat|listdir|attachments|version")


def dataset(name: str, owner: str | None = None, source: str = "LOCAL", **properties: Any) -> dict[str, Any]:
    """A row of pool.dataset.query."""
    user = {}
    if owner:
        user["ai.lab:owner"] = {"rawvalue": owner, "value": owner, "parsed": owner, "source": source}
    row: dict[str, Any] = {
        "id": name,
        "name": name,
        "type": "FILESYSTEM",
        "mountpoint": f"/mnt/{name}",
        "locked": False,
        "user_properties": user,
        "used": {"parsed": 98304, "rawvalue": "98304", "value": "96 KiB"},
    }
    for key, value in {
        "recordsize": 131072,
        "quota": None,
        "compression": "LZ4",
        "acltype": "POSIX",
        **properties,
    }.items():
        row[key] = {"parsed": value, "rawvalue": str(value), "value": value, "source": "LOCAL"}
    return row


def share(number: int, path: str, owner: str | None = "pantheon", **values: Any) -> dict[str, Any]:
    """A row of sharing.nfs.query."""
    return {
        "id": number,
        "path": path,
        "comment": f"[ai.lab:{owner}]" if owner else "by hand",
        "networks": [],
        "hosts": [],
        "ro": False,
        "maproot_user": None,
        "maproot_group": None,
        "mapall_user": None,
        "mapall_group": None,
        "security": [],
        "enabled": True,
        "locked": False,
        "expose_snapshots": False,
        **values,
    }


class Fake:
    """A NAS in memory, just as much of it as the questions here need."""

    def __init__(self, version: tuple[int, int, int] = (25, 10, 5)) -> None:
        self.version, self.calls, self.parameters = version, list[str](), list[tuple[Any, ...]]()
        self.datasets: dict[str, dict[str, Any]] = {"tank": dataset("tank")}
        self.shares: list[dict[str, Any]] = []
        self.stats: dict[str, dict[str, Any]] = {}
        self.files: dict[str, list[str]] = {}
        self.attachments: dict[str, list[dict[str, Any]]] = {}
        self.pools = [{"name": "tank", "status": "ONLINE", "healthy": True}]
        self.nfs: dict[str, Any] = {
            "servers": 4,
            "managed_nfsd": True,
            "protocols": ["NFSV3", "NFSV4"],
            "v4_domain": "",
        }
        self.service = {"service": "nfs", "enable": True, "state": "RUNNING"}
        self.snapshots: list[dict[str, Any]] = []
        self.replications: list[dict[str, Any]] = []
        self.answers: dict[str, Callable[..., Any]] = {}
        self.reconnects = 0

    @property
    def writes(self) -> list[str]:
        return [method for method in self.calls if not READS.search(method)]

    def reconnect(self) -> None:
        self.reconnects += 1

    def job(self, method: str, *params: Any) -> Any:
        return self.call(method, *params)

    def call(self, method: str, *params: Any) -> Any:
        self.calls.append(method)
        self.parameters.append(copy.deepcopy(params))
        special = self.answers.get(method)
        if special:
            return special(*params)
        return copy.deepcopy(getattr(self, method.replace(".", "_"))(*params))

    def pool_query(self, filters: Any, options: Any) -> Any:
        return [pool for pool in self.pools if pool["name"] == filters[0][2]]

    def pool_dataset_query(self, filters: Any, options: Any) -> Any:
        assert options["extra"]["retrieve_children"] is False
        parts = filters[0][1] if filters[0][0] == "OR" else filters
        return [
            row
            for name, row in self.datasets.items()
            if any(name in value if operator == "in" else name.startswith(value) for _field, operator, value in parts)
        ]

    def pool_dataset_create(self, data: Any) -> Any:
        row = dataset(data["name"])
        self.datasets[data["name"]] = row
        self.stats[row["mountpoint"]] = {"uid": 0, "gid": 0, "user": "root", "group": "root", "mode": 0o40755}
        return self.pool_dataset_update(
            data["name"], {k: v for k, v in data.items() if k not in ("name", "type", "share_type")}
        )

    def pool_dataset_update(self, name: str, data: Any) -> Any:
        row = self.datasets[name]
        for key in ("user_properties", "user_properties_update"):
            for item in data.pop(key, []):
                if item.get("remove"):
                    row["user_properties"].pop(item["key"], None)
                else:
                    value = item["value"]
                    row["user_properties"][item["key"]] = {"rawvalue": value, "value": value, "source": "LOCAL"}
        for key, value in data.items():
            number = {"1M": 2**20, "512K": 2**19, "128K": 2**17}.get(value, value)
            row[key] = {"parsed": number, "rawvalue": str(number), "value": value, "source": "LOCAL"}
        return row

    def pool_dataset_attachments(self, name: str) -> Any:
        found = list(self.attachments.get(name, []))
        paths = [row["path"] for row in self.shares if row["path"].startswith(f"/mnt/{name}")]
        return found + ([{"type": "NFS Share", "service": "nfs", "attachments": paths}] if paths else [])

    def pool_dataset_delete(self, name: str, options: Any) -> Any:
        assert options == {"recursive": False, "force": False}
        del self.datasets[name]
        return True

    def filesystem_stat(self, path: str) -> Any:
        if path not in self.stats:
            raise Refused("filesystem.stat", -32001, 2, "ENOENT", f"Path {path} not found")
        return self.stats[path]

    def filesystem_listdir(self, path: str, filters: Any, options: Any) -> Any:
        names = self.files.get(path, [])
        if filters:
            names = [name for name in filters[0][2] if f"{path}/{name}" in self.stats]
            return [{"name": name, **self.stats[f"{path}/{name}"]} for name in names]
        return [{"name": name} for name in names]

    def filesystem_setperm(self, data: Any) -> Any:
        stat = self.stats[data["path"]]
        stat.update({key: data[key] for key in ("uid", "gid", "user", "group") if key in data})
        if "mode" in data:
            stat["mode"] = 0o40000 | int(data["mode"], 8)

    filesystem_chown = filesystem_setperm

    def sharing_nfs_query(self, filters: Any, options: Any) -> Any:
        return self.shares

    def sharing_nfs_create(self, data: Any) -> Any:
        row = share(
            max([row["id"] for row in self.shares], default=0) + 1,
            data["path"],
            **{k: v for k, v in data.items() if k != "path"},
        )
        self._disjoint(row)
        self.shares.append(row)
        return row

    def sharing_nfs_update(self, number: int, data: Any) -> Any:
        row = next(row for row in self.shares if row["id"] == number)
        self._disjoint({**row, **data})
        row.update(data)
        return row

    def sharing_nfs_delete(self, number: int) -> Any:
        self.shares = [row for row in self.shares if row["id"] != number]
        return True

    def _disjoint(self, row: dict[str, Any]) -> None:
        assert row["networks"] or row["hosts"], "open to everybody for a moment"
        for other in self.shares:
            if other["id"] != row["id"] and other["path"] == row["path"]:
                both = set(other["hosts"]) & set(row["hosts"])
                if both:
                    entry = [
                        ["sharingnfs_update.hosts", f"Another NFS share already exports {row['path']} for {both}", 22]
                    ]
                    raise Refused("sharing.nfs.update", -32602, 22, "EINVAL", "x", entry)

    def nfs_config(self) -> Any:
        return self.nfs

    def nfs_update(self, data: Any) -> Any:
        self.nfs.update(data)
        if "servers" in data:
            self.nfs["managed_nfsd"] = data["servers"] is None
            self.nfs["servers"] = data["servers"] or 4
        return self.nfs

    def service_query(self, filters: Any, options: Any) -> Any:
        return [self.service]

    def service_update(self, name: str, data: Any) -> Any:
        self.service["enable"] = data["enable"]
        return 9

    def service_control(self, verb: str, name: str, options: Any) -> Any:
        assert options["silent"] is False
        self.service["state"] = "RUNNING" if verb == "START" else "STOPPED"
        return True

    def service_start(self, name: str, options: Any) -> Any:
        return self.service_control("START", name, options)

    def pool_snapshottask_query(self, filters: Any, options: Any) -> Any:
        return self.snapshots

    def replication_query(self, filters: Any, options: Any) -> Any:
        return self.replications


def run(nas: Fake, check: bool = False, retries: int = 2, **wanted: Any) -> dict[str, Any]:
    """Bring the fake into a state the way truenas_nfs_storage does."""
    settings: dict[str, Any] = {"pool": "tank", "owner": "pantheon", "purge_shares": True, "manage_service": True}
    return storage.Storage(nas, storage.Wanted(**{**settings, **wanted}), check, retries).run()


def refusal(nas: Fake, **wanted: Any) -> list[str]:
    """Run something that has to be refused before anything is written."""
    with pytest.raises(Problems) as caught:
        run(nas, **wanted)
    assert nas.writes == []
    return caught.value.problems


# Datasets


def test_a_new_dataset_gets_mark_and_permissions_and_nothing_else() -> None:
    nas = Fake()
    entry = {
        "name": "models",
        "recordsize": "1M",
        "quota": "0",
        "acltype": "posix",
        "owner": {"uid": 950, "mode": "0770"},
    }
    assert run(nas, datasets=[entry])["changed"]
    created = nas.parameters[nas.calls.index("pool.dataset.create")][0]
    assert created == {
        "name": "tank/models",
        "type": "FILESYSTEM",
        "share_type": "GENERIC",
        "recordsize": "1M",
        "acltype": "POSIX",
        "aclmode": "DISCARD",
        "user_properties": [
            {"key": "ai.lab:dataset", "value": "tank/models"},
            {"key": "ai.lab:owner", "value": "pantheon"},
        ],
    }
    permitted = nas.parameters[nas.calls.index("filesystem.setperm")][0]
    assert permitted == {"path": "/mnt/tank/models", "uid": 950, "mode": "0770", "options": {"stripacl": True}}
    assert not run(nas, datasets=[entry])["changed"]


def test_parents_come_first_and_a_missing_one_is_told() -> None:
    nas = Fake()
    run(nas, datasets=[{"name": "a/b/c"}, {"name": "a"}, {"name": "a/b"}])
    names = [params[0]["name"] for method, params in zip(nas.calls, nas.parameters, strict=True) if "create" in method]
    assert names == ["tank/a", "tank/a/b", "tank/a/b/c"]
    assert refusal(Fake(), datasets=[{"name": "x/y"}]) == [
        "datasets[0] (tank/x/y): its parent tank/x does not exist; add it to the datasets"
    ]


def test_an_unmarked_dataset_that_is_as_wanted_is_left_alone() -> None:
    nas = Fake()
    nas.datasets["tank/old"] = dataset("tank/old", compression="OFF")
    assert not run(nas, datasets=[{"name": "old", "compression": "off"}])["changed"]
    problem = refusal(nas, datasets=[{"name": "old", "compression": "zstd", "quota": "2G"}])[0]
    assert "without the mark of 'pantheon'" in problem
    assert "quota is 0, wanted 2147483648" in problem
    assert "compression is OFF, wanted ZSTD" in problem
    assert "adopt: true" in problem


def test_adopting_sets_the_mark_and_recreates_nothing() -> None:
    nas = Fake()
    nas.datasets["tank/old"] = dataset("tank/old", compression="OFF")
    result = run(nas, datasets=[{"name": "old", "compression": "zstd", "adopt": True}])
    assert nas.writes == ["pool.dataset.update"]
    assert result["diff"] == {
        "before": {"datasets": {"tank/old": {"compression": "OFF", "mark": None}}},
        "after": {"datasets": {"tank/old": {"compression": "ZSTD", "mark": "pantheon"}}},
    }
    assert engine.owner_of(nas.datasets["tank/old"]) == "pantheon"
    assert not run(nas, datasets=[{"name": "old", "compression": "zstd", "adopt": True}])["changed"]


@pytest.mark.parametrize("adopt", [True, False])
def test_the_dataset_of_another_owner_is_never_taken_over(adopt: bool) -> None:
    nas = Fake()
    nas.datasets["tank/old"] = dataset("tank/old", "somebody")
    assert "belongs to 'somebody'" in refusal(nas, datasets=[{"name": "old", "recordsize": "1M", "adopt": adopt}])[0]


def test_an_inherited_mark_does_not_count() -> None:
    inherited = dataset("tank/a/b", "pantheon", "INHERITED")
    assert engine.owner_of(inherited) is None
    # As the newest releases tell it: all user properties are called local.
    copied = dataset("tank/a/b", "pantheon")
    copied["user_properties"]["ai.lab:dataset"] = {"rawvalue": "tank/a", "source": "LOCAL"}
    assert engine.owner_of(copied) is None
    copied["user_properties"]["ai.lab:dataset"]["rawvalue"] = "tank/a/b"
    assert engine.owner_of(copied) == "pantheon"


@pytest.mark.parametrize("source", ["INHERITED", "LOCAL"])
def test_a_user_property_of_the_parent_cannot_be_removed_below_it(source: str) -> None:
    nas = Fake()
    nas.datasets["tank/a"] = dataset("tank/a", "pantheon")
    for name, kind in (("tank", "LOCAL"), ("tank/a", source)):
        nas.datasets[name]["user_properties"]["x:y"] = {"rawvalue": "1", "value": "1", "source": kind}
    assert not run(nas, datasets=[{"name": "a", "properties": {"x:y": None}}])["changed"]
    assert run(nas, datasets=[{"name": "a", "properties": {"x:y": "2"}}])["changed"]
    assert run(nas, datasets=[{"name": "a", "properties": {"x:y": None}}])["changed"]
    assert "x:y" not in nas.datasets["tank/a"]["user_properties"]


def test_locked_zvols_and_unmounted_datasets_are_told() -> None:
    nas = Fake()
    nas.datasets["tank/a"] = {**dataset("tank/a", "pantheon"), "locked": True}
    nas.datasets["tank/b"] = {**dataset("tank/b", "pantheon"), "type": "VOLUME"}
    nas.datasets["tank/c"] = {**dataset("tank/c", "pantheon"), "mountpoint": None}
    problems = refusal(
        nas,
        datasets=[
            {"name": "a", "recordsize": "1M"},
            {"name": "a/new"},
            {"name": "b"},
            {"name": "c", "owner": {"uid": 1}},
        ],
    )
    assert [problem.partition(": ")[2].partition(";")[0] for problem in problems] == [
        "it is encrypted and locked",
        "its parent tank/a is encrypted and locked",
        "there is a volume (zvol) of this name",
        "it is not mounted, so its owner cannot be checked",
    ]


def test_an_access_list_is_only_removed_on_request() -> None:
    nas = Fake()
    nas.datasets["tank/a"] = dataset("tank/a", "pantheon")
    nas.stats["/mnt/tank/a"] = {"uid": 0, "gid": 0, "mode": 0o40755}

    def refuse(data: Any) -> Any:
        if not data["options"]["stripacl"]:
            entry = [["filesystem.setperm.mode", 'Non-trivial ACL present. Option "stripacl" required', 22]]
            raise Refused("filesystem.setperm", -32001, 22, "EINVAL", "x", entry)
        return nas.filesystem_setperm(data)

    nas.answers["filesystem.setperm"] = refuse
    with pytest.raises(NasError, match="has an access control list") as caught:
        run(nas, datasets=[{"name": "a", "owner": {"mode": "0700"}}])
    assert "strip_acl: true" in caught.value.remedy
    assert run(nas, datasets=[{"name": "a", "owner": {"mode": "0700", "strip_acl": True}}])["changed"]


def test_many_folders_side_by_side_are_asked_for_at_once() -> None:
    nas = Fake()
    entries = [{"name": f"d{number}", "owner": {"uid": 5, "gid": 6}} for number in range(9)]
    run(nas, datasets=entries)
    nas.calls.clear()
    assert not run(nas, datasets=entries)["changed"]
    assert nas.calls == ["pool.dataset.query", "filesystem.listdir"]
    # Where that does not exist, each is asked for.

    def unknown(*params: Any) -> Any:
        raise Refused("filesystem.listdir", -32601, None, "", "Method does not exist")

    nas.answers["filesystem.listdir"] = unknown
    nas.calls.clear()
    assert not run(nas, datasets=entries)["changed"]
    assert nas.calls.count("filesystem.stat") == 9


# The pool


def test_a_long_quiet_run_leaves_the_pool_out_but_never_a_write() -> None:
    nas = Fake()
    wanted: dict[str, Any] = {
        "datasets": [{"name": f"d{number}", "owner": {"uid": 5}} for number in range(2)],
        "shares": [{"dataset": "d0", "networks": ["10.0.0.0/8"]}],
        "nfs": {"servers": 8},
    }
    nas.pools[0].update(status="FAULTED")
    assert refusal(nas, **wanted) == ["pool: the pool tank is FAULTED; repair it on the NAS first"]
    nas.pools[0].update(status="DEGRADED", healthy=False)
    run(nas, **wanted)
    nas.calls.clear()
    assert not run(nas, **wanted)["changed"]
    assert len(nas.calls) == 6
    assert "pool.query" not in nas.calls


# Shares


def owned(nas: Fake, *rows: dict[str, Any]) -> Fake:
    nas.datasets["tank/m"] = dataset("tank/m", "pantheon")
    nas.shares = list(rows)
    return nas


def clients(nas: Fake) -> dict[int, tuple[bool, list[str]]]:
    return {row["id"]: (row["ro"], sorted(row["hosts"] + row["networks"])) for row in nas.shares}


def test_shares_of_a_path_are_matched_so_that_nothing_flips() -> None:
    nas = owned(
        Fake(), share(1, "/mnt/tank/m", hosts=["w"]), share(2, "/mnt/tank/m", ro=True, networks=["10.0.0.0/24"])
    )
    wanted: list[dict[str, Any]] = [
        {"dataset": "m", "read_only": True, "networks": ["10.0.0.9/24"]},
        {"dataset": "m", "hosts": ["W"]},
    ]
    assert not run(nas, shares=wanted)["changed"]
    assert not run(nas, shares=wanted[::-1])["changed"]
    # The clients decide, not the order or the access.
    wanted[0]["read_only"], wanted[1]["read_only"] = False, True
    run(nas, shares=wanted)
    assert clients(nas) == {1: (True, ["w"]), 2: (False, ["10.0.0.0/24"])}


@pytest.mark.parametrize(
    ("readers", "writers"),
    [(["a", "b"], ["w"]), (["w", "b"], ["a"]), (["b"], ["a"]), (["a"], ["b", "w"]), (["w"], ["a"])],
)
def test_clients_change_sides_without_being_on_both_at_any_time(readers: list[str], writers: list[str]) -> None:
    nas = owned(
        Fake(),
        share(1, "/mnt/tank/m", ro=True, hosts=["a", "b"]),
        share(2, "/mnt/tank/m", hosts=["w"], comment="x [ai.lab:pantheon]"),
    )
    wanted = [{"dataset": "m", "read_only": True, "hosts": readers}, {"dataset": "m", "hosts": writers}]
    run(nas, shares=wanted)
    assert sorted(clients(nas).values()) == [(False, sorted(writers)), (True, sorted(readers))]
    assert not run(nas, shares=wanted)["changed"]


def test_a_ring_of_clients_is_resolved() -> None:
    rows = [
        share(n, "/mnt/tank/m", hosts=[h], ro=ro, mapall_user=u)
        for n, h, ro, u in ((1, "a", True, None), (2, "b", False, None), (3, "c", False, "x"))
    ]
    nas = owned(Fake(), *rows)
    wanted = [
        {"dataset": "m", "read_only": True, "hosts": ["b", "z"]},
        {"dataset": "m", "hosts": ["c", "y"]},
        {"dataset": "m", "hosts": ["a", "x"], "mapall": "x"},
    ]
    run(nas, shares=wanted)
    assert sorted(value[1] for value in clients(nas).values()) == [["a", "x"], ["b", "z"], ["c", "y"]]
    assert not run(nas, shares=wanted)["changed"]


def test_only_our_shares_in_the_pool_are_purged() -> None:
    nas = owned(
        Fake(),
        share(1, "/mnt/tank/gone"),
        share(2, "/mnt/tank/foreign", None, hosts=["x"]),
        share(3, "/mnt/lake/other", hosts=["x"]),
        share(4, "/mnt/tank/theirs", "somebody", hosts=["x"]),
        share(5, "/mnt/tankard/x", hosts=["x"]),
    )
    run(nas, shares=[])
    assert sorted(clients(nas)) == [2, 3, 4, 5]
    assert nas.writes == ["sharing.nfs.delete"]


def test_a_client_cannot_have_two_shares_of_a_path() -> None:
    nas = owned(Fake(), share(9, "/mnt/tank/m", "somebody", hosts=["w"]))
    problems = refusal(
        nas,
        shares=[
            {"dataset": "m", "networks": ["10.0.0.0/24"]},
            {"dataset": "m", "networks": ["10.0.0.0/25"], "read_only": True},
            {"dataset": "m", "hosts": ["w"]},
        ],
    )
    assert "10.0.0.0/24 and 10.0.0.0/25 may use /mnt/tank/m by shares[0] (tank/m) too" in problems[0]
    assert "w may use /mnt/tank/m by share 9 of 'somebody' already" in problems[1]
    everyone = [{"dataset": "m", "allow_everyone": True}, {"dataset": "m", "hosts": ["a"]}]
    assert "everybody may use" in refusal(owned(Fake()), shares=everyone)[0]


def test_everybody_is_let_in_only_when_asked() -> None:
    nas = owned(Fake())
    assert "allow_everyone: true" in refusal(nas, shares=[{"dataset": "m"}])[0]
    assert nas.calls == []
    problems: list[str] = []
    parsed = shares.parse({"dataset": "m", "allow_everyone": True}, "s", "tank", "pantheon", problems)
    assert (problems, parsed.clients) == ([], (frozenset(), frozenset()))


def test_a_foreign_share_that_is_open_to_everybody_is_a_warning() -> None:
    nas = owned(Fake(), share(1, "/mnt/tank/m", hosts=["a"]), share(2, "/mnt/tank/m", None))
    work = storage.Storage(
        nas,
        storage.Wanted(pool="tank", owner="pantheon", shares=[{"dataset": "m", "hosts": ["a"]}], purge_shares=True),
        False,
    )
    assert not work.run()["changed"]
    assert "lets everybody in" in work.warnings[0]


def test_a_client_that_an_unmarked_share_has_already_is_told_before_it_is_moved() -> None:
    nas = owned(Fake(), share(1, "/mnt/tank/m", hosts=["a"]), share(2, "/mnt/tank/m", None, hosts=["b"]))
    assert not run(nas, shares=[{"dataset": "m", "hosts": ["a"]}])["changed"]
    assert "b may use /mnt/tank/m by share 2" in refusal(nas, shares=[{"dataset": "m", "hosts": ["a", "b"]}])[0]


# The service


def test_a_start_that_answers_false_is_an_error() -> None:
    nas = Fake()
    nas.service["state"] = "STOPPED"
    nas.answers["service.control"] = lambda *params: False
    with pytest.raises(NasError, match="the NFS service did not start"):
        run(nas, nfs={})


def test_25_04_starts_the_service_in_its_own_way() -> None:
    nas = Fake((25, 4, 2))
    nas.service.update(state="STOPPED", enable=False)
    run(nas, nfs={})
    assert nas.writes == ["service.update", "service.start"]


def test_the_number_of_threads_that_the_nas_chose_is_not_a_wish() -> None:
    nas = Fake()
    assert not run(nas, nfs={"servers": 0})["changed"]
    assert run(nas, nfs={"servers": 4})["diff"]["before"] == {"nfs": {"config": {"servers": None}}}
    assert nas.parameters[nas.calls.index("nfs.update")] == ({"servers": 4},)
    assert not run(nas, nfs={"servers": 4})["changed"]


def test_v4_domain_needs_v4_on_the_nas() -> None:
    nas = Fake()
    nas.nfs["protocols"] = ["NFSV3"]
    assert "only for NFSv4, which is off on the NAS" in refusal(nas, nfs={"v4_domain": "lan"})[0]


def test_without_v4_the_mounts_use_version_3() -> None:
    nas = owned(Fake(), share(1, "/mnt/tank/m", hosts=["a"]))
    result = run(nas, shares=[{"dataset": "m", "hosts": ["a"]}], nfs={"protocols": ["nfsv3"]}, export_server="fd00::5")
    assert result["exports"][0]["options"].startswith("vers=3,")
    assert result["exports"][0]["source"] == "[fd00::5]:/mnt/tank/m"


# When the NAS does not do as told


@pytest.mark.parametrize(
    ("method", "wanted", "message"),
    [
        ("pool.dataset.create", {"datasets": [{"name": "x"}]}, "the NAS does not list it"),
        (
            "pool.dataset.update",
            {"datasets": [{"name": "m", "recordsize": "1M"}]},
            "did not converge: field recordsize, wanted 1M, got 128K",
        ),
        (
            "filesystem.chown",
            {"datasets": [{"name": "m", "owner": {"uid": 7}}]},
            "did not converge: field owner.uid, wanted 7, got 0",
        ),
        ("nfs.update", {"nfs": {"servers": 9}}, "did not converge: field servers, wanted 9, got nothing"),
        (
            "sharing.nfs.update",
            {"shares": [{"dataset": "m", "hosts": ["b"]}]},
            "did not converge: field hosts, wanted \\[b\\], got \\[a\\]",
        ),
        ("sharing.nfs.delete", {"shares": []}, "deleted and still listed"),
    ],
)
def test_a_change_that_does_not_stay_is_an_error(method: str, wanted: dict[str, Any], message: str) -> None:
    nas = owned(Fake(), share(1, "/mnt/tank/m", hosts=["a"]))
    nas.stats["/mnt/tank/m"] = {"uid": 0, "gid": 0, "mode": 0o40755}
    nas.answers[method] = lambda *params: None
    with pytest.raises(NasError, match=message) as caught:
        run(nas, **wanted)
    assert caught.value.code == "not_converged"


def test_an_error_has_one_line_for_each_entry_with_the_users_names() -> None:
    entries: list[list[Any]] = [
        ["data.FILESYSTEM.quota", "too small", 22],
        ["data.PoolDatasetCreateFilesystem.comments", "too long.", 22],
        ["sharing_nfs_create.networks.0", "no network", 22],
        ["sharingnfs_create.maproot_user", "no such user", 22],
        ["pool_dataset_create.user_properties.0.value", "bad", 22],
        [None, "SharingNFS 99 does not exist", 2],
    ]
    error = engine.explain(Refused("m", -32602, 22, "EINVAL", "x", entries), "thing", {})
    assert str(error).split("\n") == [
        "thing quota: too small",
        "thing comment: too long",
        "thing networks: no network",
        "thing maproot: no such user",
        "thing value: bad",
        "thing: SharingNFS 99 does not exist",
    ]


@pytest.mark.parametrize("done", [True, False])
def test_after_a_lost_connection_the_rest_is_done(done: bool) -> None:
    nas = Fake()
    left = [1]

    def lose(data: Any) -> Any:
        if done or not left:
            nas.pool_dataset_create(copy.deepcopy(data))
        if left:
            left.pop()
            raise ConnectionLost("pool.dataset.create: lost", "Run again.")

    nas.answers["pool.dataset.create"] = lose
    checked = run(nas, check=True, datasets=[{"name": "a"}, {"name": "b"}])
    result = run(nas, datasets=[{"name": "a"}, {"name": "b"}])
    assert nas.reconnects == 1
    assert result["diff"] == checked["diff"]
    assert sorted(nas.datasets) == ["tank", "tank/a", "tank/b"]
    assert nas.writes.count("pool.dataset.create") == (2 if done else 3)


def test_a_connection_that_is_always_lost_is_an_error() -> None:
    nas = Fake()

    def lose(*params: Any) -> Any:
        raise ConnectionLost("pool.dataset.create: lost", "Run again.")

    nas.answers["pool.dataset.create"] = lose
    with pytest.raises(ConnectionLost):
        run(nas, retries=2, datasets=[{"name": "a"}])
    assert nas.reconnects == 2


# Destroying


def doomed(nas: Fake, name: str = "tank/m", **changes: Any) -> Fake:
    nas.datasets[name] = {**dataset(name, "pantheon"), **changes}
    return nas


GONE: dict[str, Any] = {"datasets": [{"name": "m"}], "state": "absent", "destroy": True, "shares": []}


def test_without_destroy_a_dataset_stays() -> None:
    nas = doomed(Fake())
    result = run(nas, **{**GONE, "destroy": False})
    assert not result["changed"]
    assert result["kept"] == [{"name": "tank/m", "reason": "destroy is false"}]


def test_an_empty_dataset_of_ours_is_destroyed() -> None:
    nas = doomed(Fake())
    checked = run(nas, check=True, **GONE)
    assert nas.writes == []
    assert run(nas, **GONE)["diff"] == checked["diff"]
    assert nas.writes == ["pool.dataset.delete"]
    assert not run(nas, **GONE)["changed"]


def used(value: int) -> dict[str, Any]:
    return {"parsed": value, "rawvalue": str(value)}


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda nas: nas.datasets.update({"tank/m": dataset("tank/m")}), "does not carry the mark itself"),
        (lambda nas: nas.datasets.update({"tank/m": dataset("tank/m", "x")}), "carries the mark of 'x'"),
        (
            lambda nas: nas.datasets.update({"tank/m": dataset("tank/m", "pantheon", "INHERITED")}),
            "does not carry the mark itself",
        ),
        (lambda nas: nas.datasets.update({"tank/m/c": dataset("tank/m/c")}), "datasets below it: tank/m/c"),
        (lambda nas: nas.datasets["tank/m"].update(used=used(2**30)), "it uses 1073741824 bytes"),
        (lambda nas: nas.datasets["tank/m"].update(used=None), "does not tell how much it uses"),
        (lambda nas: nas.files.update({"/mnt/tank/m": ["small.txt"]}), "there are files in it (small.txt)"),
        (lambda nas: nas.shares.append(share(1, "/mnt/tank/m/x", None)), "the NFS share 1 of /mnt/tank/m/x"),
        (
            lambda nas: nas.attachments.update({"tank/m": [{"type": "SMB Share", "attachments": ["m"]}]}),
            "still used by SMB Share m",
        ),
        (
            lambda nas: nas.snapshots.append({"id": 3, "dataset": "tank/m", "naming_schema": "x", "enabled": False}),
            "still used by the snapshot task 3",
        ),
        (
            lambda nas: nas.replications.append(
                {"id": 4, "name": "r", "direction": "PULL", "source_datasets": ["z"], "target_dataset": "tank/m"}
            ),
            "still used by the replication task 4",
        ),
    ],
)
def test_one_condition_is_enough_to_keep_a_dataset(prepare: Callable[[Fake], Any], reason: str) -> None:
    nas = doomed(Fake())
    prepare(nas)
    problems = refusal(nas, **GONE)
    assert any(reason in problem for problem in problems), problems
    assert all("it is not destroyed, because" in problem for problem in problems)


def test_a_mark_like_that_of_the_parent_proves_nothing_alone() -> None:
    nas = Fake()
    nas.datasets["tank/p"] = dataset("tank/p", "pantheon")
    nas.datasets["tank/p/m"] = dataset("tank/p/m", "pantheon")
    gone = {**GONE, "datasets": [{"name": "p/m"}]}
    assert "cannot be told from that of its parent" in refusal(nas, **gone)[0]
    nas.datasets["tank/p/m"]["user_properties"]["ai.lab:dataset"] = {"rawvalue": "tank/p/m", "source": "LOCAL"}
    run(nas, **gone)
    assert sorted(nas.datasets) == ["tank", "tank/p"]


def test_a_used_dataset_goes_when_that_is_allowed_by_size() -> None:
    nas = doomed(Fake(), used=used(5 * 2**30))
    nas.files["/mnt/tank/m"] = ["model.gguf"]
    run(nas, **GONE, destroy_max_used="6G")
    assert "tank/m" not in nas.datasets


def test_what_appears_between_reading_and_destroying_saves_the_dataset() -> None:
    nas = doomed(Fake())
    asked: list[str] = []

    def attachments(name: str) -> Any:
        asked.append(name)
        return [] if len(asked) == 1 else [{"type": "SMB Share", "service": "cifs", "attachments": ["new"]}]

    nas.answers["pool.dataset.attachments"] = attachments
    with pytest.raises(Problems, match="SMB Share new"):
        run(nas, **GONE)
    assert "tank/m" in nas.datasets


def test_the_shares_of_ours_on_a_doomed_dataset_go_first() -> None:
    nas = doomed(Fake())
    nas.shares.append(share(1, "/mnt/tank/m", hosts=["a"]))
    run(nas, **{**GONE, "shares": [{"dataset": "m"}]})
    assert nas.writes == ["sharing.nfs.delete", "pool.dataset.delete"]


def test_destroying_one_dataset_touches_no_other_share() -> None:
    nas = doomed(Fake())
    nas.shares.append(share(1, "/mnt/tank/else", hosts=["a"]))
    wanted = {**GONE, "shares": None, "single": "dataset", "purge_shares": False, "manage_service": False}
    run(nas, **wanted)
    assert nas.writes == ["pool.dataset.delete"]
    assert clients(nas) == {1: (False, ["a"])}


# Replications


def test_nested_objects_of_a_replication_are_compared_by_what_they_name() -> None:
    nas = owned(Fake())
    nas.replications.append(
        {
            "id": 4,
            "name": "r",
            "direction": "PUSH",
            "transport": "SSH",
            "source_datasets": ["tank/m"],
            "target_dataset": "vault/m",
            "ssh_credentials": {"id": 7, "name": "triton", "type": "SSH_CREDENTIALS", "attributes": {"x": "secret"}},
            "periodic_snapshot_tasks": [{"id": 3, "dataset": "tank/m", "naming_schema": "auto-%Y-%m-%d_%H-%M"}],
            "schedule": None,
            "encryption_key": "hidden",
        }
    )
    wanted = {
        "name": "r",
        "direction": "push",
        "transport": "ssh",
        "ssh_credentials": "triton",
        "source_datasets": ["m"],
        "target_dataset": "vault/m",
        "snapshot_tasks": [{"dataset": "m"}],
    }
    assert not run(nas, replications=[wanted])["changed"]
    shown = storage.Info(nas, ["replications"], None)
    nas.answers["system.version"] = lambda: "TrueNAS-25.10.5"
    row = shown.run()["replications"][0]
    assert row["ssh_credentials"] == {"id": 7, "name": "triton", "type": "SSH_CREDENTIALS"}
    assert "encryption_key" not in row
