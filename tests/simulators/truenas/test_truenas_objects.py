# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for single objects, in one order: errors, check, create, again, update, again, delete, again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.simulators.truenas.conftest import Nas

Call = Callable[..., dict[str, Any]]


class Case(NamedTuple):
    """One module with what it is told in its life."""

    module: str
    wrong: dict[str, Any]
    message: str
    first: dict[str, Any]
    second: dict[str, Any]
    before: Any
    after: Any
    gone: dict[str, Any]


CASES = [
    Case(
        "truenas_dataset",
        {"name": "tank", "quota": "1"},
        "root dataset of a pool",
        {"name": "tank/a", "recordsize": "1M", "permissions": {"uid": 7, "gid": 8, "mode": "0750"}},
        {"name": "tank/a", "recordsize": "1048576", "comment": "A", "permissions": {"uid": 9}},
        {"datasets": {"tank/a": {"comment": "", "owner": {"uid": 7}}}},
        {"datasets": {"tank/a": {"comment": "A", "owner": {"uid": 9}}}},
        {"name": "tank/a", "state": "absent", "destroy": True},
    ),
    Case(
        "truenas_nfs_share",
        {"dataset": "tank/base"},
        "allow_everyone: true",
        {"dataset": "tank/base", "networks": ["10.1.2.3/16"], "ro": True},
        {"dataset": "tank/base", "networks": ["10.1.0.0/16"], "hosts": ["127.0.0.1"], "mapall": "nobody:nogroup"},
        {"shares": {"/mnt/tank/base": {"hosts": [], "read_only": True, "mapall_user": None, "mapall_group": None}}},
        {
            "shares": {
                "/mnt/tank/base": {
                    "hosts": ["127.0.0.1"],
                    "read_only": False,
                    "mapall_user": "nobody",
                    "mapall_group": "nogroup",
                }
            }
        },
        {"dataset": "tank/base", "state": "absent"},
    ),
    Case(
        "truenas_snapshot_task",
        {"dataset": "tank/base", "naming_schema": "daily-%Y"},
        "lacks %m %d %H %M",
        {"dataset": "tank/base", "schedule": {"minute": "0", "hour": "04"}, "lifetime_value": 3},
        {"dataset": "tank/base", "schedule": {"hour": "5"}, "lifetime_unit": "month", "enabled": False},
        None,
        None,
        {"dataset": "tank/base", "state": "absent"},
    ),
    Case(
        "truenas_replication_task",
        {"name": "r", "source_datasets": ["tank/base"], "target_dataset": "tank/t", "transport": "carrier pigeon"},
        "transport: 'carrier pigeon' is unknown",
        {
            "name": "r",
            "source_datasets": ["tank/base"],
            "target_dataset": "tank/t",
            "also_include_naming_schema": ["auto-%Y-%m-%d_%H-%M"],
            "schedule": {"hour": "2"},
        },
        {
            "name": "r",
            "source_datasets": ["tank/base"],
            "target_dataset": "tank/t2",
            "also_include_naming_schema": ["auto-%Y-%m-%d_%H-%M"],
            "options": {"hold_pending_snapshots": True},
        },
        {"replications": {"r": {"target_dataset": "tank/t", "hold_pending_snapshots": False}}},
        {"replications": {"r": {"target_dataset": "tank/t2", "hold_pending_snapshots": True}}},
        {"name": "r", "source_datasets": ["tank/base"], "target_dataset": "tank/t2", "state": "absent"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.module)
def test_the_life_of_an_object(nas: Nas, call: Call, case: Case) -> None:
    result = call(case.module, nas, **case.wrong)
    assert result["failed"]
    assert case.message in result["msg"]
    assert nas.log() == []
    call("truenas_dataset", nas, name="tank/base")

    nas.forget()
    checked = call(case.module, nas, check=True, **case.first)
    assert checked["changed"], checked
    assert nas.writes() == []
    created = call(case.module, nas, **case.first)
    assert created["changed"], created
    assert created["diff"] == checked["diff"]
    assert all(value is None for kind in created["diff"]["before"].values() for value in kind.values())

    def quiet(options: dict[str, Any]) -> None:
        nas.forget()
        again = call(case.module, nas, **options)
        assert not again["changed"], again["diff"]
        assert again["diff"] == {"before": {}, "after": {}}
        assert nas.writes() == []
        assert len(nas.methods()) <= 7

    quiet(case.first)
    nas.forget()
    checked = call(case.module, nas, check=True, **case.second)
    assert nas.writes() == []
    updated = call(case.module, nas, **case.second)
    assert updated["changed"], updated
    assert updated["diff"] == checked["diff"]
    if case.before:
        assert updated["diff"] == {"before": case.before, "after": case.after}
    quiet(case.second)
    nas.forget()
    checked = call(case.module, nas, check=True, **case.gone)
    assert nas.writes() == []
    removed = call(case.module, nas, **case.gone)
    assert removed["changed"], removed
    assert removed["diff"] == checked["diff"]
    quiet(case.gone)


def test_the_nfs_service(nas: Nas, call: Call) -> None:
    name = "truenas_nfs_service"
    result = call(name, nas, rpcstatd_port=20049, protocols=[])
    assert "rpcstatd_port: 20049 is reserved" in result["msg"]
    assert "at least one is needed" in result["msg"]
    assert nas.log() == []
    wanted: dict[str, Any] = {
        "protocols": ["nfsv4"],
        "servers": 3,
        "allow_nonroot": True,
        "v4_domain": "lan",
        "mountd_port": 618,
        "enabled": True,
        "state": "started",
    }
    checked = call(name, nas, check=True, **wanted)
    assert nas.writes() == []
    done = call(name, nas, **wanted)
    assert done["changed"], done
    assert done["diff"] == checked["diff"]
    nas.forget()
    assert not call(name, nas, **wanted)["changed"]
    assert nas.writes() == []
    # Zero gives the choice back to the NAS; what is not named stays.
    changed = call(name, nas, servers=0, mountd_port=0)
    assert changed["diff"]["after"] == {"nfs": {"config": {"servers": None, "mountd_port": None}}}
    assert not call(name, nas, servers=0, mountd_port=0, allow_nonroot=True)["changed"]
    stopped = call(name, nas, state="stopped", enabled=False)
    assert stopped["diff"]["after"] == {"nfs": {"service": {"enabled": False, "state": "stopped"}}}
    nas.forget()
    assert not call(name, nas, state="stopped", enabled=False)["changed"]
    assert nas.writes() == []


def test_two_tasks_for_two_shares_of_one_path_do_not_disturb_each_other(nas: Nas, call: Call) -> None:
    call("truenas_dataset", nas, name="tank/base")
    readers = {"dataset": "tank/base", "networks": ["10.0.0.0/24"], "read_only": True}
    writers = {"dataset": "tank/base", "hosts": ["127.0.0.1"]}
    assert call("truenas_nfs_share", nas, **readers)["changed"]
    assert call("truenas_nfs_share", nas, **writers)["changed"]
    nas.forget()
    assert not call("truenas_nfs_share", nas, **readers)["changed"]
    assert not call("truenas_nfs_share", nas, **writers)["changed"]
    assert nas.writes() == []
    assert len(call("truenas_info", nas, gather=["shares"])["shares"]) == 2


def test_a_task_of_somebody_else_is_left_alone(nas: Nas, call: Call) -> None:
    call("truenas_dataset", nas, name="tank/base", owner="somebody")
    task = {"dataset": "tank/base", "lifetime_value": 3}
    assert call("truenas_snapshot_task", nas, **task)["changed"], "a new task hurts nobody"
    assert not call("truenas_snapshot_task", nas, **task)["changed"]
    result = call("truenas_snapshot_task", nas, **{**task, "lifetime_value": 4})
    assert "does not carry the mark ai.lab:owner=pantheon" in result["msg"]
    assert "lifetime_value is 3, wanted 4" in result["msg"]
    left = call("truenas_snapshot_task", nas, state="absent", **task)
    assert not left["changed"]
    assert "left alone" in left["warnings"][0]
    assert call("truenas_snapshot_task", nas, **{**task, "lifetime_value": 4, "adopt": True})["changed"]
    assert call("truenas_snapshot_task", nas, state="absent", adopt=True, **task)["changed"]


def test_a_task_that_a_replication_needs_stays(nas: Nas, call: Call) -> None:
    call("truenas_dataset", nas, name="tank/base")
    call("truenas_snapshot_task", nas, dataset="tank/base")
    options = {
        "name": "r",
        "source_datasets": ["tank/base"],
        "target_dataset": "tank/t",
        "snapshot_tasks": ["tank/base"],
    }
    created = call("truenas_replication_task", nas, **options)
    assert created["changed"], created
    result = call("truenas_snapshot_task", nas, dataset="tank/base", state="absent")
    assert result["failed"]
    assert "snapshot task (tank/base)" in result["msg"]
    assert not call("truenas_replication_task", nas, **options)["changed"]
    missing = call("truenas_replication_task", nas, **{**options, "snapshot_tasks": ["tank/base@x-%Y-%m-%d_%H-%M"]})
    assert "there is no task tank/base@x-" in missing["msg"]
    ssh = {**options, "name": "s", "transport": "ssh", "ssh_credentials": "triton"}
    assert "the NAS has no SSH credentials 'triton'" in call("truenas_replication_task", nas, **ssh)["msg"]


def test_info_shows_what_is_ours(nas: Nas, call: Call) -> None:
    call("truenas_dataset", nas, name="tank/a", recordsize="1M")
    call("truenas_dataset", nas, name="tank/b", owner="somebody")
    call("truenas_nfs_share", nas, dataset="tank/a", networks=["10.0.0.0/24"])
    nas.forget()
    result = call("truenas_info", nas, owner="pantheon")
    assert not result["changed"]
    assert nas.writes() == []
    assert [dataset["name"] for dataset in result["datasets"]] == ["tank/a"]
    assert result["datasets"][0]["properties"]["recordsize"] == "1M"
    assert [share["owner"] for share in result["shares"]] == ["pantheon"]
    assert result["pools"][0] == {**result["pools"][0], "name": "tank", "status": "ONLINE", "healthy": True}
    assert result["service"]["state"] == "STOPPED"
    assert "NFSV4" in result["nfs"]["protocols"]
    assert f"v{result['server']}" in result["api_versions"]
    assert {dataset["owner"] for dataset in call("truenas_info", nas)["datasets"]} == {"pantheon", "somebody"}
    tasks = call("truenas_info", nas, gather=["snapshots", "replications"])
    assert (tasks["snapshots"], tasks["replications"]) == ([], [])
    assert "pools" not in tasks
