# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module meets every fault once: the sentence, what is on the NAS then, and that the next run makes it good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.simulators.sweep import Sweep
from tests.simulators.truenas.conftest import Nas, Result, start, stop

pytestmark = pytest.mark.usefixtures("quick")

Call = Callable[..., Result]
NETWORKS = ["10.0.0.0/24"]
SCHEMAS = ["auto-%Y-%m-%d_%H-%M"]
NOT_COMPARED = ("jobs", "connections", "next_ids", "api_keys")


class Case(NamedTuple):
    """A module, what it is told before and during the fault, and what it asks and changes then."""

    module: str
    first: dict[str, Any] | None
    second: dict[str, Any]
    read: str
    writes: tuple[str, ...]
    jobs: tuple[str, ...] = ()
    pool: bool = False


TASK: dict[str, Any] = {
    "name": "r",
    "source_datasets": ["tank/base"],
    "target_dataset": "tank/t",
    "also_include_naming_schema": SCHEMAS,
}
STORAGE: dict[str, Any] = {
    "pool": "tank",
    "datasets": [{"name": "models", "owner": {"uid": 950, "gid": 950, "mode": "0775"}}],
    "nfs": {"servers": 4, "enabled": True, "state": "started"},
    "shares": [{"dataset": "models", "networks": NETWORKS}],
    "snapshots": [{"dataset": "models"}],
    "replications": [{**TASK, "source_datasets": ["models"]}],
}
CONTROL = "service.control"
CASES = {
    "dataset-create": Case(
        "truenas_dataset",
        None,
        {"name": "tank/a", "recordsize": "1M", "permissions": {"uid": 7, "mode": "0750"}},
        "pool.dataset.query",
        ("pool.dataset.create", "filesystem.setperm"),
        ("filesystem.setperm",),
        pool=True,
    ),
    "dataset-update": Case(
        "truenas_dataset",
        {"name": "tank/a", "recordsize": "1M"},
        {"name": "tank/a", "recordsize": "128K", "comment": "A"},
        "pool.dataset.query",
        ("pool.dataset.update",),
        pool=True,
    ),
    "dataset-delete": Case(
        "truenas_dataset",
        {"name": "tank/a"},
        {"name": "tank/a", "state": "absent", "destroy": True},
        "pool.dataset.query",
        ("pool.dataset.delete",),
    ),
    "share-create": Case(
        "truenas_nfs_share",
        None,
        {"dataset": "tank/base", "networks": NETWORKS},
        "sharing.nfs.query",
        ("sharing.nfs.create",),
    ),
    "share-update": Case(
        "truenas_nfs_share",
        {"dataset": "tank/base", "networks": NETWORKS},
        {"dataset": "tank/base", "networks": NETWORKS, "read_only": True},
        "sharing.nfs.query",
        ("sharing.nfs.update",),
    ),
    "share-delete": Case(
        "truenas_nfs_share",
        {"dataset": "tank/base", "networks": NETWORKS},
        {"dataset": "tank/base", "state": "absent"},
        "sharing.nfs.query",
        ("sharing.nfs.delete",),
    ),
    "service-start": Case(
        "truenas_nfs_service",
        None,
        {"servers": 3, "enabled": True, "state": "started"},
        "nfs.config",
        ("nfs.update", "service.update", CONTROL),
        (CONTROL,),
    ),
    "service-stop": Case(
        "truenas_nfs_service",
        {"enabled": True, "state": "started"},
        {"enabled": False, "state": "stopped"},
        "service.query",
        ("service.update", CONTROL),
        (CONTROL,),
    ),
    "snapshot-create": Case(
        "truenas_snapshot_task",
        None,
        {"dataset": "tank/base"},
        "pool.snapshottask.query",
        ("pool.snapshottask.create",),
    ),
    "snapshot-update": Case(
        "truenas_snapshot_task",
        {"dataset": "tank/base"},
        {"dataset": "tank/base", "lifetime_value": 3},
        "pool.snapshottask.query",
        ("pool.snapshottask.update",),
    ),
    "snapshot-delete": Case(
        "truenas_snapshot_task",
        {"dataset": "tank/base"},
        {"dataset": "tank/base", "state": "absent"},
        "pool.snapshottask.query",
        ("pool.snapshottask.delete",),
    ),
    "replication-create": Case("truenas_replication_task", None, TASK, "replication.query", ("replication.create",)),
    "replication-update": Case(
        "truenas_replication_task",
        TASK,
        {**TASK, "target_dataset": "tank/t2"},
        "replication.query",
        ("replication.update",),
    ),
    "replication-delete": Case(
        "truenas_replication_task", TASK, {**TASK, "state": "absent"}, "replication.query", ("replication.delete",)
    ),
    "storage": Case(
        "truenas_nfs_storage",
        None,
        STORAGE,
        "pool.dataset.query",
        (
            *("pool.dataset.create", "filesystem.setperm", "nfs.update", "sharing.nfs.create", "service.update"),
            *(CONTROL, "pool.snapshottask.create", "replication.create"),
        ),
        ("filesystem.setperm", CONTROL),
        pool=True,
    ),
    "info": Case(
        "truenas_info",
        None,
        {"gather": ["pools", "datasets", "shares", "nfs", "service", "snapshots", "replications"]},
        "replication.query",
        (),
        pool=True,
    ),
}

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"kind": "drop", "times": None},
    "drop once": {"kind": "drop"},
    "drop after": {"kind": "drop", "after": True},
    "drop after all": {"kind": "drop", "after": True, "times": None},
    "ebusy": {"kind": "ebusy", "times": None},
    "ebusy once": {"kind": "ebusy"},
    "error": {"kind": "error", "message": "a disk is on fire"},
    "revoke_key": {"kind": "revoke_key"},
    "slow_job": {"kind": "slow_job", "seconds": 0.2},
    "slow_job for long": {"kind": "slow_job", "seconds": 1.3},
    "job_fails": {"kind": "job_fails", "message": "a disk is on fire"},
}
RECOVERS = ("drop once", "drop after", "ebusy once", "slow_job")
SENTENCES: dict[str, tuple[str, ...]] = {
    "drop": ("closed the connection", "Run again: the module reads what is there"),
    "ebusy": ("Rate Limit Exceeded", "20 a minute", "use one task for many objects, or wait"),
    "error": ("a disk is on fire", "run again"),
    "revoke_key": ("was the API key revoked meanwhile? Check it on the NAS",),
    "slow_job": ("did not finish within 1 s", "run again", "raise timeout"),
    "job_fails": ("a disk is on fire", "run again"),
}
"""What is wrong, and what to do about it."""


def first_cases() -> list[str]:
    """Return the first case of each module."""
    return list({case.module: name for name, case in reversed(CASES.items())}.values())


def cases() -> list[tuple[str, str, str]]:
    """Return case, method and fault: each fault at the first question of a module and at its first kind of write.

    Elsewhere only what may leave something half done. Waiting is what takes time, so each job is too slow only once.
    """
    found = []
    for name, case in CASES.items():
        first = name in first_cases()
        everywhere = ["drop", "drop once", "ebusy", "error", "revoke_key"]
        if first:
            found += [(name, case.read, fault) for fault in (*everywhere, "ebusy once")]
        for method in case.writes:
            # What the storage module writes, the modules for single objects write as well, with the same code.
            all_of_them = first and case.module != "truenas_nfs_storage"
            found += [(name, method, fault) for fault in (everywhere if all_of_them else ["error"])]
            found.append((name, method, "drop after"))
            if len(case.writes) == 1:
                found.append((name, method, "drop after all"))
        jobs = ("slow_job", "job_fails") + (("slow_job for long",) if first else ())
        found += [(name, method, fault) for method in case.jobs for fault in jobs]
    return found


def content(nas: Nas) -> dict[str, Any]:
    """Return what the NAS holds, without what changes by itself."""
    state: dict[str, Any] = nas.control("GET", "/state")
    return {key: value for key, value in state.items() if key not in NOT_COMPARED}


def prepare(nas: Nas, call: Call, case: Case) -> None:
    """Put the NAS into the known state."""
    marks = {"ai.lab:owner": "pantheon", "ai.lab:dataset": "tank/base"}
    nas.control("PUT", "/state", {"datasets": {"tank/base": {"user_properties": marks}}})
    if case.first is not None:
        result = call(case.module, nas, **case.first)
        assert not result.get("failed"), result


def settles(nas: Nas, call: Call, case: Case) -> None:
    """The next run without the fault ends well, and the one after it changes nothing."""
    nas.control("DELETE", "/faults")
    nas.control("PUT", "/state", {"api_keys": [{"id": 1, "revoked": False}]})
    result = call(case.module, nas, **case.second)
    assert not result.get("failed"), result
    nas.forget()
    again = call(case.module, nas, **case.second)
    assert not again["changed"], again["diff"]
    assert nas.writes() == []


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize(("name", "method", "fault"), cases())
def test_each_fault_of_each_module(nas: Nas, call: Call, name: str, method: str, fault: str) -> None:
    case = CASES[name]
    prepare(nas, call, case)
    before = content(nas)
    nas.fault(**{**FAULTS[fault], "match": method})
    options: dict[str, Any] = {"retries": 0 if "after" in fault else 1} if "times" in FAULTS[fault] else {}
    # A job may take ten times the time of a call.
    options.update({"timeout": 0.1} if fault == "slow_job for long" else {})
    result = call(case.module, nas, **case.second, **options)
    after = content(nas)
    if fault in RECOVERS:
        assert not result.get("failed"), result
        assert result["changed"] == bool(case.writes) == (after != before)
    else:
        assert result["failed"], result
        for part in SENTENCES[FAULTS[fault]["kind"]]:
            assert part in result["msg"], result["msg"]
        assert method in result["msg"] or fault in ("error", "job_fails"), "where it happened is not told"
        if after != before:
            assert result.get("changed"), "something was changed, and the module says that nothing was"
            assert (
                case.module in ("truenas_nfs_storage", "truenas_nfs_service")
                or len(case.writes) > 1
                or (fault == "drop after all")
            )
    settles(nas, call, case)


INFO = ["pool.query", "pool.dataset.query", "sharing.nfs.query", "nfs.config", "service.query"]


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("fault", ["drop", "drop once", "ebusy", "ebusy once", "error", "revoke_key"])
@pytest.mark.parametrize("method", [*INFO, "pool.snapshottask.query"])
def test_each_fault_of_each_question_of_info(nas: Nas, call: Call, method: str, fault: str) -> None:
    nas.fault(**{**FAULTS[fault], "match": method})
    result = call("truenas_info", nas, retries=1, **CASES["info"].second)
    if fault in RECOVERS:
        assert not result.get("failed") and result["pools"][0]["name"] == "tank", result
    else:
        assert result["failed"] and not result.get("changed")
        for part in SENTENCES[FAULTS[fault]["kind"]]:
            assert part in result["msg"], result["msg"]
    assert nas.writes() == []
    settles(nas, call, CASES["info"])


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("name", ["dataset-create", "share-create", "service-start", "snapshot-create", "storage"])
@pytest.mark.parametrize("fault", ["drop", "error"])
def test_a_look_that_fails_after_the_change_says_that_it_was_made(nas: Nas, call: Call, name: str, fault: str) -> None:
    case = CASES[name]
    prepare(nas, call, case)
    before = content(nas)
    asked = case.read
    nas.forget()
    call(case.module, nas, check=True, **case.second)
    first = nas.methods().count(asked)
    nas.fault(**{**FAULTS[fault], "match": asked, "skip": first})
    result = call(case.module, nas, **case.second, retries=0)
    assert result["failed"] and result.get("changed"), result
    assert content(nas) != before
    for part in SENTENCES[fault]:
        assert part in result["msg"], result["msg"]
    settles(nas, call, case)


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("name", first_cases())
def test_a_login_that_fails(nas: Nas, call: Call, name: str) -> None:
    case = CASES[name]
    prepare(nas, call, case)
    before = content(nas)
    faults: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"kind": "revoke_key"}, ("revoked or expired (EXPIRED)", "Create a new key on the NAS")),
        ({"kind": "ebusy", "times": None}, ("auth.login_ex: Rate Limit Exceeded", "20 a minute")),
        ({"kind": "drop", "times": None}, ("auth.login_ex", "closed the connection", "Run again")),
        ({"kind": "error", "message": "no PAM"}, ("auth.login_ex: no PAM", "run again")),
    ]
    for fault, parts in faults:
        nas.fault(**{**fault, "match": "auth.login_ex"})
        result = call(case.module, nas, **case.second, retries=1)
        assert result["failed"] and not result.get("changed"), result
        for part in parts:
            assert part in result["msg"], result["msg"]
        nas.control("DELETE", "/faults")
        nas.control("PUT", "/state", {"api_keys": [{"id": 1, "revoked": False}]})
        assert content(nas) == before
    settles(nas, call, case)


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("name", ["dataset-create", "dataset-update", "storage", "info"])
def test_a_pool_that_is_degraded_is_told_and_used(nas: Nas, call: Call, name: str) -> None:
    case = CASES[name]
    prepare(nas, call, case)
    nas.fault("pool_degraded", times=None)
    result = call(case.module, nas, **case.second)
    assert not result.get("failed"), result
    if name == "info":
        assert (result["pools"][0]["status"], result["pools"][0]["healthy"]) == ("DEGRADED", False)
    else:
        assert any("The pool tank is DEGRADED" in text and "look at its disks" in text for text in result["warnings"])
    settles(nas, call, case)


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("name", ["service-start", "storage"])
def test_a_service_that_does_not_start(nas: Nas, call: Call, name: str) -> None:
    case = CASES[name]
    prepare(nas, call, case)
    nas.fault("service_fails")
    result = call(case.module, nas, **case.second)
    assert result["failed"] and result.get("changed"), result
    for part in ("the NFS service did not start", "log of nfs-server on the NAS", "then run again"):
        assert part in result["msg"], result["msg"]
    settles(nas, call, case)


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("truenas_nfs_service", {"servers": 7}),
        ("truenas_nfs_service", {"servers": 7, "state": "started"}),
        ("truenas_nfs_share", {"dataset": "tank/base", "networks": NETWORKS}),
        ("truenas_nfs_storage", STORAGE),
    ],
)
def test_a_running_service_that_a_change_brings_down(
    nas: Nas, call: Call, module: str, options: dict[str, Any]
) -> None:
    prepare(nas, call, Case("truenas_nfs_service", {"state": "started", "enabled": True}, {}, "", ()))
    nas.fault("service_fails")
    result = call(module, nas, **options)
    assert result["failed"] and result.get("changed"), result
    for part in ("does not run now", "log of nfs-server on the NAS", "truenas_nfs_service with state: started"):
        assert part in result["msg"], result["msg"]
    nas.control("DELETE", "/faults")
    if module == "truenas_nfs_service":
        options = {"state": "started", **options}
    assert not call(module, nas, **options).get("failed")
    assert not call("truenas_nfs_service", nas, state="started").get("failed")
    assert not call(module, nas, **options)["changed"]


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
@pytest.mark.parametrize("name", first_cases())
def test_mistakes_in_the_connection_are_told_together_and_nothing_is_sent(nas: Nas, call: Call, name: str) -> None:
    wrong = {"host": "https://nas/", "port": 70000, "api_key": "nothing", "tls_fingerprint": "12:34", "retries": -1}
    result = call(CASES[name].module, nas, **{**CASES[name].second, **wrong})
    assert result["failed"] and not result.get("changed")
    for part in ("host: ", "port: ", "does not look like an API key", "tls_fingerprint: ", "retries: -1 is less"):
        assert part in result["msg"], result["msg"]
    assert len(result["problems"]) == len(wrong)
    assert nas.log() == []


@pytest.mark.parametrize("running", ["25.10"], indirect=True)
def test_info_is_the_same_in_check_mode_and_each_time(nas: Nas, call: Call) -> None:
    assert "value of gather must be one or more of" in call("truenas_info", nas, gather=["shoes"])["msg"]
    assert nas.log() == []
    prepare(nas, call, CASES["info"])
    found = [call("truenas_info", nas, check=check, **CASES["info"].second) for check in (False, True, False)]
    assert found[0]["changed"] is False and found[0] == found[1] == found[2]
    assert nas.writes() == []


# -- no credential anywhere --------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # real runs of Ansible, which are slow on a busy machine
def test_no_credential_is_shown_anywhere(tmp_path: Path) -> None:
    secret = "unmistakablekey8f3a61".ljust(64, "q")
    config = tmp_path / "config.json"
    key = {"id": 1, "name": "p", "username": "pantheon", "key": secret}
    config.write_text(json.dumps({"users": [{"username": "pantheon", "roles": ["FULL_ADMIN"]}], "api_keys": [key]}))
    nas = start(tmp_path / "state", "25.10", "--config", str(config))
    try:
        sweep = Sweep(tmp_path, [secret, "wrong".ljust(64, "w")])
        connection = {**nas.connection, "retries": 0}
        # The order is that of a life: the shares and tasks need the dataset.
        modules: dict[str, dict[str, Any]] = {
            "truenas_dataset": {"name": "tank/base"},
            "truenas_nfs_share": {"dataset": "tank/base", "networks": NETWORKS},
            "truenas_nfs_service": {"servers": 3, "enabled": True},
            "truenas_snapshot_task": {"dataset": "tank/base"},
            "truenas_replication_task": TASK,
            "truenas_nfs_storage": {**STORAGE, "replications": []},
            "truenas_info": {},
        }
        assert {case.module for case in CASES.values()} == set(modules)

        def tasks(key: str) -> list[dict[str, Any]]:
            return [{f"pantheon.ai.{name}": {**connection, "api_key": key, **own}} for name, own in modules.items()]

        output = sweep.play(tasks(f"1-{secret}") + tasks("1-" + "wrong".ljust(64, "w")))
        assert f"ignored={len(modules)}" in output, "a module failed with the right key, or none with the wrong one"
        assert output.count("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") >= len(modules), "the invocations are not shown"
        assert output.count("does not accept the API key of user pantheon") >= len(modules)
        sweep.check(json.dumps(nas.control("GET", "/log")))
        # Back to the start, because of the limit of 20 logins a minute.
        nas.control("POST", "/reset")
        nas.fault("error", ".query", times=None, message="a disk is on fire")
        fault = sweep.play(tasks(f"1-{secret}"))
        assert fault.count("a disk is on fire") >= len(modules) and f"ignored={len(modules)}" in fault
        sweep.check(json.dumps(nas.control("GET", "/log")))
        sweep.check((tmp_path / "state" / "audit.jsonl").read_text())
    finally:
        stop(nas)
