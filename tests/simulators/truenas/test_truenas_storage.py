# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole desired state of a NAS against the simulator of each release."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.simulators.truenas.conftest import Nas, nas_client

Call = Callable[..., dict[str, Any]]
STORAGE = "truenas_nfs_storage"

STATE: dict[str, Any] = {
    "pool": "tank",
    "nfs": {"protocols": ["nfsv4"]},
    "datasets": [
        {
            "name": "models",
            "comment": "Model library",
            "recordsize": "1M",
            "compression": "off",
            "atime": "off",
            "owner": {"uid": 950, "gid": 950, "mode": "0775"},
        },
        {"name": "shared", "quota": "500G", "properties": {"sync": "always", "example:purpose": "shared"}},
        {"name": "shared/inbox", "owner": {"uid": 950, "gid": 950, "mode": "0770"}},
    ],
    "shares": [
        {"dataset": "models", "read_only": True, "networks": ["10.0.0.5/24"], "comment": "Models"},
        {"dataset": "models", "hosts": ["127.0.0.1"], "maproot": "root:root"},
        {"dataset": "shared", "networks": ["10.0.0.0/24", "10.1.0.7"], "mapall": {"user": "root"}, "security": ["sys"]},
    ],
    "snapshots": [
        {"dataset": "shared", "lifetime_value": 2, "lifetime_unit": "week", "schedule": {"minute": "0", "hour": "03"}}
    ],
    "replications": [
        {
            "name": "shared to copy",
            "source_datasets": ["shared"],
            "target_dataset": "tank/copy",
            "snapshot_tasks": ["shared"],
            "retention_policy": "source",
        }
    ],
}


def state(**changes: Any) -> dict[str, Any]:
    """The desired state with changes."""
    return copy.deepcopy({**STATE, **changes})


def without_tasks(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in state(**changes).items() if key not in ("snapshots", "replications")}


def test_wrong_parameters_are_told_together_and_nothing_is_asked(nas: Nas, call: Call) -> None:
    wanted = {
        "pool": "tank/models",
        "owner": "a]b",
        "datasets": [
            {"name": "x", "recordsize": "3K", "owner": {"mode": "504", "user": "a", "uid": 1}},
            {"name": "ix-apps", "quota": "5M", "properties": {"colour": "red", "ai.lab:owner": "me"}},
        ],
        "shares": [
            {"dataset": "a", "path": "/mnt/tank/a"},
            {"path": "/etc", "networks": ["10.0.0", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"], "hosts": ["a b"]},
            {"dataset": "b", "maproot": ":wheel", "security": ["des"]},
            {"dataset": "c", "networks": ["10.0.0.0/8"], "maproot": "root", "mapall": "root", "comment": "[ai.lab:x]"},
        ],
        "nfs": {"protocols": ["smb"], "mountd_port": 20049, "servers": 300, "bindip": ["nas"]},
        "snapshots": [{"dataset": "a", "naming_schema": "daily", "lifetime_unit": "moon", "exclude": ["a/b"]}],
        "replications": [{"name": "r", "source_datasets": [], "target_dataset": "x/y", "transport": "ssh"}],
        "destroy_max_used": "much",
    }
    result = call(STORAGE, nas, **wanted)
    assert result["failed"]
    text = "\n".join(result["problems"])
    for part in (
        *("pool: 'tank/models'", "owner: 'a]b'", "recordsize: '3K'", "owner.mode: '504'", "user and uid exclude"),
        *("ix-apps", "quota: '5M'", "properties.colour: unknown", "properties.ai.lab:owner", "set dataset or path"),
        *(
            "path: it is not below",
            "'10.0.0' is not a network",
            "'0.0.0.0/0' means everybody",
            "overlap; keep the wider",
        ),
        *("hosts: 'a b'", "the group wheel needs a user", "security: DES", "excludes mapall", "the mark [ai.lab:...]"),
        *("allow_everyone: true", "protocols: SMB", "mountd_port: 20049", "servers: 300", "bindip: 'nas'"),
        *(
            "naming_schema: 'daily' lacks",
            "lifetime_unit: 'moon'",
            "exclude: it only",
            "source_datasets: name at least",
        ),
        *("ssh_credentials: a replication", "snapshot_tasks: a push", "destroy_max_used: 'much'"),
    ):
        assert part in text, part
    assert nas.log() == []
    assert all(problem in result["msg"] for problem in (problem.rstrip(". ") for problem in result["problems"]))


@pytest.mark.parametrize("name", ["tank", "tank/", ".system", "tank/.system/x", "ix-apps", "ix-apps/app", "a//b"])
def test_what_belongs_to_truenas_is_refused_before_any_call(nas: Nas, call: Call, name: str) -> None:
    for options in ({}, {"state": "absent", "destroy": True}):
        result = call(STORAGE, nas, pool="tank", datasets=[{"name": name}], **options)
        assert result["failed"]
        assert "never touched" in result["msg"]
    assert nas.log() == []


def test_check_mode_writes_nothing_and_shows_what_a_real_run_does(nas: Nas, call: Call) -> None:
    before = nas.control("GET", "/state")
    checked = call(STORAGE, nas, check=True, **state())
    assert checked["changed"]
    assert nas.writes() == []
    assert nas.control("GET", "/state") == before
    done = call(STORAGE, nas, **state())
    assert done["diff"] == checked["diff"]
    assert done["exports"] == checked["exports"]


def test_the_whole_life_of_a_state(nas: Nas, call: Call) -> None:
    created = call(STORAGE, nas, **state())
    assert created["changed"], created
    assert created["diff"]["before"]["datasets"] == {
        "tank/models": None,
        "tank/shared": None,
        "tank/shared/inbox": None,
    }
    assert created["diff"]["after"]["datasets"]["tank/models"] == {
        "comment": "Model library",
        "recordsize": "1M",
        "compression": "OFF",
        "atime": "OFF",
        "mark": "pantheon",
        "owner": {"uid": 950, "gid": 950, "mode": "0775"},
    }
    assert created["diff"]["after"]["nfs"]["service"] == {"enabled": True, "state": "started"}
    order = [method for method in nas.methods() if method in dict.fromkeys(nas.writes())]
    kinds = list(
        dict.fromkeys(method for method in order if not method.startswith("auth.") and "set_options" not in method)
    )
    starting = "service.start" if nas.release == "25.04" else "service.control"
    assert kinds == [
        *("pool.dataset.create", "filesystem.setperm", "nfs.update", "sharing.nfs.create", "service.update", starting),
        *("pool.snapshottask.create", "replication.create"),
    ]

    nas.forget()
    again = call(STORAGE, nas, **state())
    assert not again["changed"], again["diff"]
    assert again["diff"] == {"before": {}, "after": {}}
    assert again["exports"] == created["exports"]
    assert nas.writes() == []

    changed = state()
    changed["datasets"][0].update(recordsize="512K", owner={"uid": 951, "mode": "0750"})
    changed["datasets"][1].update(quota="0", properties={"sync": "standard", "example:purpose": None})
    changed["shares"][0]["networks"] = ["10.0.0.0/24", "10.2.0.0/16"]
    changed["shares"][1]["hosts"] = ["127.0.0.2"]
    changed["snapshots"][0]["schedule"]["hour"] = "4"
    changed["replications"][0]["readonly"] = "require"
    changed["nfs"]["servers"] = 8
    nas.forget()
    checked = call(STORAGE, nas, check=True, **changed)
    assert nas.writes() == []
    updated = call(STORAGE, nas, **changed)
    assert updated["changed"], updated
    assert updated["diff"] == checked["diff"]
    assert updated["diff"]["before"]["datasets"]["tank/models"] == {
        "recordsize": "1M",
        "owner": {"uid": 950, "mode": "0775"},
    }
    assert updated["diff"]["after"]["datasets"]["tank/shared"] == {
        "quota": 0,
        "sync": "STANDARD",
        "properties": {"example:purpose": None},
    }
    assert updated["diff"]["after"]["nfs"] == {"config": {"servers": 8}}
    assert "pool.dataset.create" not in nas.methods()
    assert "sharing.nfs.create" not in nas.methods()
    nas.forget()
    assert not call(STORAGE, nas, **changed)["changed"]
    assert nas.writes() == []

    nas.forget()
    removed = call(STORAGE, nas, **{**changed, "state": "absent"})
    assert removed["changed"], removed
    assert sorted(item["name"] for item in removed["kept"]) == ["tank/models", "tank/shared", "tank/shared/inbox"]
    assert "pool.dataset.delete" not in nas.methods()
    nas.forget()
    assert not call(STORAGE, nas, **{**changed, "state": "absent"})["changed"]
    assert nas.writes() == []

    checked = call(STORAGE, nas, check=True, state="absent", destroy=True, pool="tank", datasets=changed["datasets"])
    destroyed = call(STORAGE, nas, state="absent", destroy=True, pool="tank", datasets=changed["datasets"])
    assert destroyed["changed"], destroyed
    assert destroyed["diff"] == checked["diff"]
    deletes = [request for request in nas.log() if request["method"] == "pool.dataset.delete"]
    assert len(deletes) == 3
    nas.forget()
    assert not call(STORAGE, nas, state="absent", destroy=True, pool="tank", datasets=changed["datasets"])["changed"]
    assert nas.writes() == []


def test_an_unchanged_run_costs_a_login_and_at_most_six_questions(nas: Nas, call: Call) -> None:
    full = state()
    for dataset in full["datasets"]:
        dataset.pop("owner", None)
    for wanted in (without_tasks(), full, state(replications=[])):
        call(STORAGE, nas, **wanted)
        nas.forget()
        result = call(STORAGE, nas, **wanted)
        assert not result["changed"]
        assert nas.methods().count("auth.login_ex") == 1
        assert len(nas.methods()) <= 8, nas.methods()
        assert nas.writes() == []
        assert result["calls"] == nas.methods()
    # What the platform itself asks for: two datasets side by side with owners, shares, service.
    usual = without_tasks()
    usual["datasets"] = usual["datasets"][:2]
    usual["datasets"][1]["owner"] = {"uid": 950, "gid": 950}
    call(STORAGE, nas, **usual)
    nas.forget()
    assert not call(STORAGE, nas, **usual)["changed"]
    assert len(nas.methods()) == 1 + 6, nas.methods()


def test_exports_are_what_a_mount_needs(nas: Nas, call: Call) -> None:
    result = call(STORAGE, nas, export_server="poseidon", **without_tasks())
    options = (
        "vers=4.2,proto=tcp,hard,noatime,nconnect=4,rsize=1048576,wsize=1048576,_netdev,nofail,x-systemd.automount,"
        "x-systemd.mount-timeout=30s,x-systemd.requires=network-online.target"
    )
    assert result["exports"][:2] == [
        {
            "name": "models",
            "server": "poseidon",
            "source": "poseidon:/mnt/tank/models",
            "path": "/mnt/tank/models",
            "ro": True,
            "options": "ro," + options,
            "clients": ["10.0.0.0/24"],
        },
        {
            "name": "models",
            "server": "poseidon",
            "source": "poseidon:/mnt/tank/models",
            "path": "/mnt/tank/models",
            "ro": False,
            "options": options,
            "clients": ["127.0.0.1"],
        },
    ]


def shares(nas: Nas, call: Call) -> dict[int, dict[str, Any]]:
    return {share["id"]: share for share in call("truenas_info", nas, gather=["shares"])["shares"]}


def test_clients_move_between_two_shares_of_a_path(nas: Nas, call: Call) -> None:
    base = {"pool": "tank", "datasets": [{"name": "models"}]}

    def wanted(readers: list[str], writers: list[str]) -> dict[str, Any]:
        return {
            **base,
            "shares": [
                {"dataset": "models", "ro": True, "hosts": readers},
                {"dataset": "models", "hosts": writers},
            ],
        }

    a, b, c = "127.0.0.1", "127.0.0.2", "127.0.0.3"
    assert call(STORAGE, nas, **wanted([a, b], [c]))["changed"]
    ids = set(shares(nas, call))
    for readers, writers in (([a, c], [b]), ([b, c], [a]), ([a], [b, c]), ([b], [a]), ([a], [b])):
        result = call(STORAGE, nas, **wanted(readers, writers))
        assert result["changed"], result
        now = shares(nas, call)
        assert {(share["ro"], tuple(sorted(share["hosts"]))) for share in now.values()} == {
            (True, tuple(sorted(readers))),
            (False, tuple(sorted(writers))),
        }
        nas.forget()
        assert not call(STORAGE, nas, **wanted(readers, writers))["changed"]
        assert nas.writes() == []
    assert len(ids & set(shares(nas, call))) >= 1


def test_a_share_that_is_no_longer_wanted_is_removed_and_foreign_ones_stay(nas: Nas, call: Call) -> None:
    call(STORAGE, nas, **without_tasks())
    call("truenas_dataset", nas, name="tank/other", owner="somebody")
    call("truenas_nfs_share", nas, dataset="tank/other", networks=["10.9.0.0/16"], owner="somebody")
    wanted = without_tasks(shares=STATE["shares"][:2])
    kept = call(STORAGE, nas, purge_shares=False, **wanted)
    assert not kept["changed"]
    result = call(STORAGE, nas, **wanted)
    assert result["changed"]
    assert list(result["diff"]["after"]["shares"].items()) == [("/mnt/tank/shared", None)]
    assert sorted(share["owner"] for share in shares(nas, call).values()) == ["pantheon", "pantheon", "somebody"]
    removed = call(STORAGE, nas, pool="tank", state="absent")
    assert removed["changed"]
    assert [share["owner"] for share in shares(nas, call).values()] == ["somebody"]


def test_a_dataset_without_a_mark_is_compared_and_adopted_only_on_request(nas: Nas, call: Call) -> None:
    foreign = {"name": "tank/old", "owner": "somebody"}
    call("truenas_dataset", nas, **foreign)
    result = call(STORAGE, nas, pool="tank", datasets=[{"name": "old", "recordsize": "1M"}])
    assert result["failed"]
    assert "it belongs to 'somebody', not to 'pantheon', and differs: recordsize is 128K, wanted 1M" in result["msg"]
    nas.forget()
    assert not call(STORAGE, nas, pool="tank", datasets=[{"name": "old"}])["changed"]
    # Destroying needs the own mark.
    result = call(STORAGE, nas, pool="tank", datasets=[{"name": "old"}], state="absent", destroy=True)
    assert "it carries the mark of 'somebody'" in result["msg"]
    assert nas.writes() == []


def test_destroying_needs_every_condition(nas: Nas, call: Call) -> None:
    wanted: dict[str, Any] = {"pool": "tank", "datasets": [{"name": "a"}, {"name": "a/b"}]}
    call(STORAGE, nas, **wanted)
    gone = {"state": "absent", "destroy": True}
    nas.forget()
    result = call(STORAGE, nas, pool="tank", datasets=[{"name": "a"}], **gone)
    assert "there are datasets below it: tank/a/b" in result["msg"]
    call("truenas_nfs_share", nas, dataset="tank/a/b", networks=["10.0.0.0/8"], owner="somebody")
    nas.forget()
    result = call(STORAGE, nas, **wanted, **gone)
    assert "the NFS share" in result["msg"]
    assert nas.writes() == []
    call("truenas_nfs_share", nas, dataset="tank/a/b", owner="somebody", state="absent")
    # A child inherits the mark; that does not make it ours.
    call("truenas_snapshot_task", nas, dataset="tank/a/b", schedule={"hour": "1"})
    nas.forget()
    result = call(STORAGE, nas, **wanted, **gone)
    assert "the snapshot task" in result["msg"]
    assert nas.writes() == []
    result = call(STORAGE, nas, **wanted, **gone, snapshots=[{"dataset": "a/b"}])
    assert result["changed"], result


def test_an_unmarked_share_of_our_path_is_an_error_unless_adopted(nas: Nas, call: Call) -> None:
    call(STORAGE, nas, pool="tank", datasets=[{"name": "models"}])
    call("truenas_nfs_share", nas, dataset="tank/models", networks=["10.0.0.0/24"], comment="by hand", owner="x")
    seeded = next(iter(shares(nas, call)))
    raw = nas_client(nas)
    raw.call("sharing.nfs.update", seeded, {"comment": "by hand"})
    raw.close()
    share = {"dataset": "models", "networks": ["10.0.0.0/24"], "read_only": True}
    nas.forget()
    result = call(STORAGE, nas, pool="tank", shares=[share])
    assert result["failed"]
    assert f"share {seeded} of /mnt/tank/models is there already without the mark" in result["msg"]
    assert "read_only" not in result["msg"] or "adopt: true" in result["msg"]
    assert nas.writes() == []
    # Left alone where it is not needed: absent touches only what is marked.
    assert not call(STORAGE, nas, pool="tank", shares=[share], state="absent")["changed"]
    adopted = call(STORAGE, nas, pool="tank", shares=[{**share, "adopt": True}])
    assert adopted["changed"], adopted
    assert list(shares(nas, call)) == [seeded]
    assert not call(STORAGE, nas, pool="tank", shares=[share])["changed"]


def test_what_somebody_changed_by_hand_is_put_back(nas: Nas, call: Call) -> None:
    call(STORAGE, nas, **state())
    raw = nas_client(nas)
    raw.call("pool.dataset.update", "tank/models", {"recordsize": "128K", "comments": "mine"})
    raw.job("filesystem.setperm", {"path": "/mnt/tank/models", "mode": "0700", "options": {"stripacl": True}})
    share = next(row for row in raw.call("sharing.nfs.query", [["ro", "=", True]], {}))
    raw.call("sharing.nfs.update", share["id"], {"enabled": False, "networks": ["10.0.0.0/24", "192.168.0.0/16"]})
    raw.call("service.update", "nfs", {"enable": False})
    raw.close()
    result = call(STORAGE, nas, **state())
    assert result["changed"]
    assert result["diff"]["before"]["datasets"]["tank/models"] == {
        "recordsize": "128K",
        "comment": "mine",
        "owner": {"mode": "0700"},
    }
    assert result["diff"]["after"]["nfs"]["service"] == {"enabled": True}
    assert not call(STORAGE, nas, **state())["changed"]


def test_the_errors_of_the_nas_carry_the_users_own_names(nas: Nas, call: Call) -> None:
    result = call(
        STORAGE,
        nas,
        pool="tank",
        datasets=[{"name": "models"}],
        shares=[{"dataset": "models", "networks": ["10.0.0.0/24"], "maproot": "nobody-here"}],
    )
    assert result["failed"]
    assert "shares[0] (tank/models) maproot:" in result["msg"]
    assert result["changed"], "the dataset was created before"
    again = call(STORAGE, nas, pool="tank", datasets=[{"name": "models"}])
    assert not again["changed"]


def test_what_is_missing_on_the_nas_is_told_before_the_first_write(nas: Nas, call: Call) -> None:
    result = call(
        STORAGE,
        nas,
        pool="tank",
        datasets=[{"name": "good"}, {"name": "no/parent"}],
        shares=[{"dataset": "nowhere", "networks": ["10.0.0.0/8"]}, {"path": "/mnt/tank/void", "hosts": ["127.0.0.1"]}],
        snapshots=[{"dataset": "nothing"}],
        replications=[
            {"name": "r", "source_datasets": ["gone"], "target_dataset": "tank/t", "snapshot_tasks": ["gone"]}
        ],
    )
    assert result["failed"]
    assert len(result["problems"]) == 6, result["problems"]
    assert nas.writes() == []
    result = call(STORAGE, nas, pool="lake", datasets=[{"name": "models"}])
    assert "the NAS has no pool lake" in result["msg"]
    assert len(result["problems"]) == 1
