# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user reads when something goes wrong on the NAS, and that the next run repairs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.truenas.conftest import KEY, Nas, nas_client, start, stop

Call = Callable[..., dict[str, Any]]
STORAGE = "truenas_nfs_storage"
WANTED: dict[str, Any] = {
    "pool": "tank",
    "datasets": [{"name": "models", "recordsize": "1M", "owner": {"uid": 950, "gid": 950, "mode": "0775"}}],
    "shares": [{"dataset": "models", "networks": ["10.0.0.0/24"]}],
    "snapshots": [{"dataset": "models"}],
}
ROLES = [
    *("DATASET_WRITE", "SHARING_NFS_WRITE", "SERVICE_READ", "POOL_READ", "FILESYSTEM_ATTRS_WRITE"),
    *("SNAPSHOT_TASK_WRITE", "REPLICATION_TASK_WRITE"),
]


pytestmark = pytest.mark.usefixtures("quick")


def settles(nas: Nas, call: Call) -> None:
    """The next run without the fault ends well, and the one after it changes nothing."""
    nas.control("DELETE", "/faults")
    result = call(STORAGE, nas, **WANTED)
    assert not result.get("failed"), result
    nas.forget()
    assert not call(STORAGE, nas, **WANTED)["changed"]
    assert nas.writes() == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "method",
    ["pool.query", "pool.dataset.create", "filesystem.setperm", "sharing.nfs.create", "pool.snapshottask.create"],
)
def test_a_connection_that_breaks_once_is_made_good(nas: Nas, call: Call, method: str, after: bool) -> None:
    checked = call(STORAGE, nas, check=True, **WANTED)
    nas.fault("drop", method, after=after)
    result = call(STORAGE, nas, **WANTED)
    assert not result.get("failed"), result
    assert result["diff"] == checked["diff"], "what is shown is the whole way"
    assert any(method in warning and "read again" in warning for warning in result["warnings"])
    settles(nas, call)
    assert len(call("truenas_info", nas, gather=["shares"])["shares"]) == 1, "nothing was made twice"


def test_reading_starts_over_after_a_broken_connection(nas: Nas, call: Call) -> None:
    nas.fault("drop", "sharing.nfs.query")
    assert call("truenas_info", nas)["shares"] == []
    nas.fault("drop", "sharing.nfs.query", times=10)
    assert "closed the connection" in call("truenas_info", nas, retries=2)["msg"]


def test_a_connection_that_keeps_breaking_is_told(nas: Nas, call: Call) -> None:
    nas.fault("drop", "sharing.nfs.create", times=100)
    result = call(STORAGE, nas, retries=1, **WANTED)
    assert result["failed"]
    assert "sharing.nfs.create" in result["msg"]
    assert "closed the connection" in result["msg"]
    assert "Run again: the module reads what is there" in result["msg"]
    assert result["code"] == "lost"
    settles(nas, call)


def test_a_login_over_the_limit_waits(nas: Nas, call: Call, quick: list[float]) -> None:
    nas.fault("ebusy", "auth.login_ex", times=2)
    assert call(STORAGE, nas, **WANTED)["changed"]
    assert quick[:2] == [4, 8]
    nas.fault("ebusy", "auth.login_ex", times=50)
    result = call(STORAGE, nas, retries=1, **WANTED)
    assert "20 a minute" in result["msg"]


def test_a_slow_job_is_waited_for_and_one_that_is_too_slow_is_told(nas: Nas, call: Call) -> None:
    nas.fault("slow_job", "filesystem.setperm", seconds=1.5)
    result = call(STORAGE, nas, **WANTED)
    assert not result.get("failed"), result
    nas.control("POST", "/reset")
    nas.fault("slow_job", "filesystem.setperm", seconds=8)
    result = call(STORAGE, nas, timeout=0.3, **WANTED)
    assert result["failed"]
    assert "filesystem.setperm: the NAS did not finish within 3 s" in result["msg"]
    assert result["changed"], "the dataset is there"


def test_a_job_that_fails_is_told(nas: Nas, call: Call) -> None:
    nas.fault("job_fails", "filesystem.setperm", message="disk on fire")
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert "datasets[0] (tank/models)" in result["msg"]
    assert "disk on fire" in result["msg"]
    settles(nas, call)


def test_a_key_that_is_revoked_is_told(nas: Nas, call: Call) -> None:
    nas.fault("revoke_key")
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert "revoked" in result["msg"]
    assert KEY not in str(result)
    result = call(STORAGE, nas, **WANTED)
    assert "revoked or expired (EXPIRED)" in result["msg"] or "must not have been revoked" in result["msg"]
    assert nas.methods()[-1] == "auth.login_ex", "a refused login is not tried again"


def test_a_service_that_does_not_start_is_told(nas: Nas, call: Call) -> None:
    nas.fault("service_fails", times=1)
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert "nfs" in result["msg"]
    assert "did not start" in result["msg"]
    assert "log of nfs-server" in result["msg"]
    settles(nas, call)


def test_a_pool_that_is_degraded_is_a_warning(nas: Nas, call: Call) -> None:
    nas.fault("pool_degraded", times=None)
    result = call(STORAGE, nas, **WANTED)
    assert not result.get("failed"), result
    assert any("The pool tank is DEGRADED" in warning for warning in result["warnings"])


def test_an_error_of_the_nas_is_told(nas: Nas, call: Call) -> None:
    nas.fault("error", "sharing.nfs.create", message="no space left")
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert "shares[0] (tank/models)" in result["msg"]
    assert "no space left" in result["msg"]
    settles(nas, call)


def test_a_wrong_key_is_told(nas: Nas, call: Call) -> None:
    wrong = "1-" + "x" * 64
    result = call(STORAGE, nas, **{**WANTED, "api_key": wrong})
    assert "does not accept the API key of user pantheon (AUTH_ERR)" in result["msg"]
    assert wrong not in str(result)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"assurance_level": "LEVEL_2"}, "refuse"),
        (
            {"failover_urls": ["https://10.0.0.2"]},
            "standby controller of a pair (REDIRECT), the active one is at https",
        ),
    ],
)
def test_a_nas_that_refuses_keys_is_told(nas: Nas, call: Call, system: dict[str, Any], message: str) -> None:
    nas.control("PUT", "/state", {"system": system})
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert message in result["msg"]


def test_the_roles_of_the_platform_are_enough_and_do_not_allow_to_destroy(nas: Nas, call: Call) -> None:
    nas.control("PUT", "/state", {"users": [{"username": "pantheon", "roles": ROLES}]})
    result = call(STORAGE, nas, **WANTED)
    assert not result.get("failed"), result
    nas.forget()
    assert not call(STORAGE, nas, **WANTED)["changed"]
    assert len(nas.methods()) <= 7
    result = call(STORAGE, nas, state="absent", destroy=True, **WANTED)
    assert result["failed"]
    assert "role DATASET_DELETE" in result["msg"]
    assert [row["name"] for row in call("truenas_info", nas, gather=["datasets"])["datasets"]] == ["tank/models"]


def test_a_missing_role_is_named(nas: Nas, call: Call) -> None:
    nas.control("PUT", "/state", {"users": [{"username": "pantheon", "roles": ["DATASET_WRITE", "POOL_READ"]}]})
    result = call(STORAGE, nas, **WANTED)
    assert result["failed"]
    assert "needs the role SHARING_NFS_WRITE" in result["msg"]
    assert nas.writes() == []


def test_scram_logs_in_without_sending_the_key(nas: Nas, call: Call) -> None:
    result = call("truenas_info", nas, mechanism="scram", gather=["pools"])
    if nas.release == "26":
        assert result["pools"][0]["name"] == "tank"
        unchecked = {"tls_fingerprint": "", "validate_certs": False}
        assert call("truenas_info", nas, mechanism="scram", gather=["pools"], **unchecked)["pools"]
        wrong = call("truenas_info", nas, mechanism="scram", api_key="1-" + "x" * 64)
        assert "does not accept the API key" in wrong["msg"]
    else:
        assert "SCRAM came with 26" in result["msg"]


def test_ws_is_refused_off_loopback_before_anything_is_sent(nas: Nas, call: Call) -> None:
    result = call(STORAGE, nas, **{**WANTED, "host": "nas.example.lan", "scheme": "ws"})
    assert "scheme: ws would send the API key" in result["msg"]
    assert nas.log() == []


def test_a_certificate_that_is_not_pinned_gets_nothing(nas: Nas, call: Call) -> None:
    result = call(STORAGE, nas, **{**WANTED, "tls_fingerprint": "00" * 32})
    assert "not the pinned one; nothing was sent" in result["msg"]
    result = call(STORAGE, nas, **{**WANTED, "tls_fingerprint": None})
    assert "is not trusted" in result["msg"]
    assert nas.log() == []


def test_the_state_survives_a_restart_of_the_nas(tmp_path: Path, call: Call) -> None:
    first = start(tmp_path, "25.10")
    try:
        assert call(STORAGE, first, **WANTED)["changed"]
    finally:
        stop(first)
    second = start(tmp_path, "25.10")
    try:
        assert call("truenas_info", second, gather=["datasets"])["datasets"][0]["owner"] == "pantheon"
    finally:
        stop(second)


def test_inherited_marks_do_not_count_where_the_nas_calls_all_of_them_local(tmp_path: Path, call: Call) -> None:
    nas = start(tmp_path, "25.10", "--dataset-rows", "source")
    try:
        assert call(STORAGE, nas, pool="tank", datasets=[{"name": "models"}])["changed"]
        raw = nas_client(nas)
        raw.call("pool.dataset.create", {"name": "tank/models/child", "type": "FILESYSTEM"})
        row = raw.call("pool.dataset.get_instance", "tank/models/child")
        raw.close()
        inherited = row["user_properties"]["ai.lab:owner"]
        assert (inherited["value"], inherited["source"]) == ("pantheon", "LOCAL")
        gone = {"state": "absent", "destroy": True}
        result = call(STORAGE, nas, pool="tank", datasets=[{"name": "models/child"}], **gone)
        assert "it does not carry the mark itself" in result["msg"]
        assert not call(STORAGE, nas, pool="tank", datasets=[{"name": "models"}])["changed"]
    finally:
        stop(nas)


def test_ws_works_on_this_machine_and_a_key_that_was_seen_elsewhere_is_told(tmp_path: Path, call: Call) -> None:
    nas = start(tmp_path, "25.10", "--plain", "127.0.0.1:0")
    try:
        plain = {"scheme": "ws", "port": int(nas.ready["plain"].rsplit(":", 1)[1]), "tls_fingerprint": None}
        assert call("truenas_info", nas, **plain)["pools"][0]["name"] == "tank"
        # As if this machine were another one: the NAS revokes the key, which then fails over TLS too.
        nas.control("PUT", "/state", {"system": {"loopback_is_remote": True}})
        for options in (plain, {}):
            result = call("truenas_info", nas, **options)
            assert "revoked or expired (EXPIRED)" in result["msg"]
            assert "was this one ever used without TLS?" in result["msg"]
    finally:
        stop(nas)
