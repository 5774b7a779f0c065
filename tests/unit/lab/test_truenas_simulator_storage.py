# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TrueNAS simulator as storage: models, datasets, folders, shares, the NFS service, snapshots, replication."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.simulators.truenas.truenas_simulator.testing import Client, RpcError, Simulator

GIB = 1024**3
CONFIG: dict[str, Any] = {
    "system": {
        "addresses": ["192.0.2.5", "2001:db8::5"],
        "hosts": {"zelus.lab": "10.20.0.9", "nyx.lab": "10.20.0.10", "example.lab": "10.20.0.1"},
    },
    "groups": [{"group": "models", "gid": 950}],
    "users": [{"username": "pantheon", "roles": ["FULL_ADMIN"]}, {"username": "models", "uid": 950, "gid": 950}],
    "pools": [{"name": "tank"}, {"name": "draid", "draid": True}],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("nas"), config=CONFIG)
    yield simulator
    simulator.stop()


@pytest.fixture
def nas(server: Simulator) -> Simulator:
    server.control("POST", "/reset")
    return server


@pytest.fixture
def client(nas: Simulator) -> Iterator[Client]:
    with nas.connect() as connection:
        connection.call("core.set_options", {"legacy_jobs": False})
        yield connection


def error_of(client: Client, method: str, *params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    return caught.value


def problems(client: Client, method: str, *params: Any) -> list[tuple[str | None, str]]:
    error = error_of(client, method, *params)
    assert error.code == -32602
    return list(zip(error.attributes, error.texts, strict=True))


def folder(nas: Simulator, name: str) -> Path:
    return nas.state / "mnt" / name


# -- models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, [("path", "Field required")]),
        ({"path": 5}, [("path", "Input should be a valid string")]),
        ({"path": ""}, [("path", "String should have at least 1 character")]),
        ({"path": "x" * 1025}, [("path", "String should have at most 1024 characters")]),
        ({"path": "/mnt/tank", "ro": 1}, [("ro", "Input should be a valid boolean")]),
        ({"path": "/mnt/tank", "networks": "10.0.0.0/8"}, [("networks", "Input should be a valid list")]),
        ({"path": "/mnt/tank", "networks": [""]}, [("networks.0", "String should have at least 1 character")]),
        (
            {"path": "/mnt/tank", "security": ["sys"]},
            [("security.0", "Input should be 'SYS', 'KRB5', 'KRB5I' or 'KRB5P'")],
        ),
        ({"path": "/mnt/tank", "paths": ["/mnt/tank"]}, [("paths", "Extra inputs are not permitted")]),
        ({"path": "/mnt/tank", "id": 1}, [("id", "Extra inputs are not permitted")]),
        ({"path": "/mnt/tank", "locked": False}, [("locked", "Extra inputs are not permitted")]),
        ({"path": "/mnt/tank", "comment": None}, [("comment", "Input should be a valid string")]),
    ],
)
def test_a_share_is_checked_strictly(client: Client, data: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert problems(client, "sharing.nfs.create", data) == [(f"data.{name}", text) for name, text in found]


def test_what_is_no_object_is_named_by_its_model(client: Client) -> None:
    assert problems(client, "sharing.nfs.create", 5) == [
        ("data", "Input should be a valid dictionary or instance of NfsShareCreate")
    ]
    assert problems(client, "sharing.nfs.create") == [("data", "Field required")]
    assert problems(client, "sharing.nfs.delete", "1") == [("id", "Input should be a valid integer")]
    assert problems(client, "sharing.nfs.delete", True) == [("id", "Input should be a valid integer")]


def test_both_kinds_of_a_dataset_are_named_when_neither_fits(client: Client) -> None:
    filesystem, volume = "data.PoolDatasetCreateFilesystem", "data.PoolDatasetCreateVolume"
    assert problems(client, "pool.dataset.create", {"name": "tank/a", "compression": "lz4", "bogus": 1}) == [
        (f"{filesystem}.compression", problems_text(client)),
        (f"{filesystem}.bogus", "Extra inputs are not permitted"),
        (f"{volume}.compression", problems_text(client)),
        (f"{volume}.volsize", "Field required"),
        (f"{volume}.bogus", "Extra inputs are not permitted"),
    ]
    found = problems(client, "pool.dataset.create", {"name": "tank/a", "quota": GIB - 1})
    assert found[:3] == [
        (f"{filesystem}.quota.constrained-int", f"Input should be greater than or equal to {GIB}"),
        (f"{filesystem}.quota.literal[0,None]", "Input should be 0 or None"),
        (f"{filesystem}.quota.is-instance[_NotRequired]", "Input should be an instance of _NotRequired"),
    ]


def test_of_all_wrong_types_only_false_for_no_quota_passes(client: Client) -> None:
    assert client.call("pool.dataset.create", {"name": "tank/a", "quota": False})["quota"]["parsed"] is None
    found = problems(client, "pool.dataset.create", {"name": "tank/b", "quota": True})
    assert found[0] == ("data.PoolDatasetCreateFilesystem.quota.constrained-int", "Input should be a valid integer")
    assert problems(client, "core.set_options", {"legacy_jobs": 1}) == [
        ("options.legacy_jobs", "Input should be a valid boolean")
    ]


def problems_text(client: Client) -> str:
    choices = client.call("pool.dataset.compression_choices")
    assert "LZ4" in choices
    assert "ZSTD-FAST-1000" in choices
    names = [repr(name) for name in choices]
    return f"Input should be {', '.join(names)} or 'INHERIT'"


@pytest.mark.parametrize("name", ["tank/", "tank//a", "/tank/a", "tank/a@b", "tank/ä", "tank/a#b", "", 5, "tank/.."])
def test_a_dataset_needs_a_name_that_zfs_takes(client: Client, name: Any) -> None:
    text = "Value error, Please provide a valid dataset name according to ZFS standards"
    assert ("data.PoolDatasetCreateFilesystem.name", text) in problems(client, "pool.dataset.create", {"name": name})


def test_an_update_takes_only_what_it_knows_and_any_part_of_it(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("pool.dataset.update", "tank/a", {})
    for key, value in (
        ("name", "tank/b"),
        ("type", "FILESYSTEM"),
        ("share_type", "NFS"),
        ("casesensitivity", "SENSITIVE"),
    ):
        assert problems(client, "pool.dataset.update", "tank/a", {key: value}) == [
            (f"data.{key}", "Extra inputs are not permitted")
        ]
    for key in ("id", "managed_nfsd", "v4_krb_enabled", "keytab_has_nfs_spn"):
        assert problems(client, "nfs.update", {key: True}) == [(f"nfs_update.{key}", "Extra inputs are not permitted")]


# -- datasets -----------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_with_its_folder(nas: Simulator, client: Client) -> None:
    row = client.call(
        "pool.dataset.create",
        {
            "name": "tank/models",
            "recordsize": "1M",
            "compression": "LZ4",
            "atime": "OFF",
            "quota": 2 * GIB,
            "comments": "for the models",
            "user_properties": [{"key": "ai.lab:owner", "value": "pantheon"}],
        },
    )
    assert (row["id"], row["name"], row["pool"], row["type"]) == ("tank/models", "tank/models", "tank", "FILESYSTEM")
    assert (row["mountpoint"], row["encrypted"], row["locked"], row["children"]) == (
        "/mnt/tank/models",
        False,
        False,
        [],
    )
    assert row["recordsize"] == {
        "parsed": 1048576,
        "rawvalue": "1048576",
        "value": "1M",
        "source": "LOCAL",
        "source_info": None,
    }
    assert (row["compression"]["parsed"], row["compression"]["value"]) == ("lz4", "LZ4")
    assert (row["atime"]["parsed"], row["atime"]["value"]) == (False, "OFF")
    assert (row["quota"]["parsed"], row["quota"]["value"]) == (2 * GIB, "2 GiB")
    assert (row["refquota"]["parsed"], row["refquota"]["value"]) == (None, None)
    assert (row["comments"]["value"], row["comments"]["source"]) == ("for the models", "LOCAL")
    assert row["user_properties"] == {
        "ai.lab:owner": {
            "value": "pantheon",
            "rawvalue": "pantheon",
            "parsed": "pantheon",
            "source": "LOCAL",
            "source_info": None,
        }
    }
    assert folder(nas, "tank/models").is_dir()
    assert client.call("pool.dataset.get_instance", "tank/models") == row
    assert row["used"]["parsed"] >= 96 * 1024
    assert row["available"]["parsed"] <= 2 * GIB
    (folder(nas, "tank/models") / "weights").write_bytes(b"x" * 500000)
    after = client.call("pool.dataset.get_instance", "tank/models")
    assert after["used"]["parsed"] >= row["used"]["parsed"] + 500000


def test_children_inherit_and_say_from_where(client: Client) -> None:
    client.call(
        "pool.dataset.create",
        {
            "name": "tank/a",
            "compression": "ZSTD",
            "quota": GIB,
            "comments": "top",
            "user_properties": [{"key": "ai.lab:owner", "value": "me"}],
        },
    )
    row = client.call("pool.dataset.create", {"name": "tank/a/b"})
    assert (row["compression"]["value"], row["compression"]["source"]) == ("ZSTD", "INHERITED")
    assert row["compression"]["source_info"] == "tank/a"
    assert (row["recordsize"]["value"], row["recordsize"]["source"]) == ("128K", "DEFAULT")
    assert (row["quota"]["parsed"], row["quota"]["source"]) == (None, "DEFAULT")
    assert (row["acltype"]["value"], row["aclmode"]["value"]) == ("POSIX", "DISCARD")
    owner = row["user_properties"]["ai.lab:owner"]
    assert (owner["value"], owner["source"], owner["source_info"]) == ("me", "INHERITED", "tank/a")
    row = client.call("pool.dataset.update", "tank/a/b", {"compression": "OFF"})
    assert (row["compression"]["value"], row["compression"]["source"]) == ("OFF", "LOCAL")
    row = client.call("pool.dataset.update", "tank/a/b", {"compression": "INHERIT"})
    assert (row["compression"]["value"], row["compression"]["source"]) == ("ZSTD", "INHERITED")
    assert "comments" not in client.call("pool.dataset.get_instance", "tank")


def test_an_update_sets_and_removes_user_properties(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a", "user_properties": [{"key": "a:b", "value": "1"}]})
    update = [{"key": "a:b", "remove": True}, {"key": "c:d", "value": "2"}]
    row = client.call("pool.dataset.update", "tank/a", {"user_properties_update": update})
    assert {key: value["value"] for key, value in row["user_properties"].items()} == {"c:d": "2"}
    row = client.call("pool.dataset.update", "tank/a", {"user_properties": [{"key": "e:f", "value": "3"}]})
    assert {key: value["value"] for key, value in row["user_properties"].items()} == {"e:f": "3"}
    where = "pool_dataset_update.user_properties_update.0"
    both = [{"key": "a:b", "remove": True, "value": "x"}]
    assert problems(client, "pool.dataset.update", "tank/a", {"user_properties_update": both}) == [
        (f"{where}.remove", 'When "value" is specified, this cannot be set')
    ]
    assert problems(client, "pool.dataset.update", "tank/a", {"user_properties_update": [{"key": "a:b"}]}) == [
        (f"{where}.value", 'Either "value" or "remove" must be specified')
    ]


def test_a_quota_goes_with_zero_and_with_null(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a", "quota": GIB, "refquota": GIB})
    row = client.call("pool.dataset.update", "tank/a", {"quota": 0, "refquota": None})
    assert (row["quota"]["parsed"], row["quota"]["value"]) == (None, None)
    assert (row["refquota"]["parsed"], row["refquota"]["rawvalue"]) == (None, "0")
    found = problems(client, "pool.dataset.update", "tank/a", {"quota": 1})
    assert found[0] == ("data.quota.constrained-int", f"Input should be greater than or equal to {GIB}")


@pytest.mark.parametrize(
    ("share_type", "expected"),
    [
        ("GENERIC", ("POSIX", "DISCARD", "OFF", "INHERITED", "SENSITIVE")),
        ("NFS", ("NFSV4", "PASSTHROUGH", "OFF", "LOCAL", "SENSITIVE")),
        ("MULTIPROTOCOL", ("NFSV4", "PASSTHROUGH", "OFF", "LOCAL", "SENSITIVE")),
        ("APPS", ("NFSV4", "PASSTHROUGH", "OFF", "LOCAL", "SENSITIVE")),
        ("SMB", ("NFSV4", "RESTRICTED", "OFF", "INHERITED", "INSENSITIVE")),
    ],
)
def test_the_share_type_decides_about_acls(client: Client, share_type: str, expected: tuple[str, ...]) -> None:
    row = client.call("pool.dataset.create", {"name": "tank/a", "share_type": share_type})
    values = [row[key]["value"] for key in ("acltype", "aclmode", "atime")]
    assert (*values, row["atime"]["source"], row["casesensitivity"]["value"]) == expected


def test_acltype_and_aclmode_must_fit(client: Client) -> None:
    posix = [("pool_dataset_create.aclmode", "Must be set to DISCARD when acltype is POSIX or OFF")]
    nfs4 = [("pool_dataset_create.aclmode", "DISCARD aclmode may not be set for NFSv4 acl type")]
    create = "pool.dataset.create"
    assert problems(client, create, {"name": "tank/a", "acltype": "POSIX", "aclmode": "PASSTHROUGH"}) == posix
    assert problems(client, create, {"name": "tank/a", "aclmode": "RESTRICTED"}) == posix
    assert problems(client, create, {"name": "tank/a", "acltype": "NFSV4", "aclmode": "DISCARD"}) == nfs4
    assert problems(client, create, {"name": "tank/a", "acltype": "NFSV4"}) == nfs4
    client.call(create, {"name": "tank/a", "acltype": "NFSV4", "aclmode": "PASSTHROUGH"})
    row = client.call("pool.dataset.update", "tank/a", {"acltype": "POSIX", "aclmode": "DISCARD"})
    assert (row["acltype"]["value"], row["aclmode"]["value"]) == ("POSIX", "DISCARD")


def test_only_some_record_sizes_are_allowed(client: Client) -> None:
    assert problems(client, "pool.dataset.create", {"name": "tank/a", "recordsize": "3M"}) == [
        ("pool_dataset_create.recordsize", "'3M' is an invalid recordsize.")
    ]
    assert problems(client, "pool.dataset.create", {"name": "draid/a", "recordsize": "64K"}) == [
        ("pool_dataset_create.recordsize", "'64K' is an invalid recordsize.")
    ]
    assert client.call("pool.dataset.create", {"name": "draid/a"})["recordsize"]["value"] == "1M"
    assert client.call("pool.dataset.recordsize_choices", "draid")[0] == "128K"
    assert {"512", "16K", "1M", "16M"} <= set(client.call("pool.dataset.recordsize_choices"))


def test_parents_must_be_there_or_be_wanted(nas: Simulator, client: Client) -> None:
    create, name = "pool.dataset.create", "pool_dataset_create.name"
    assert problems(client, create, {"name": "tank"}) == [(name, "You need a full name, e.g. pool/newdataset")]
    assert problems(client, create, {"name": "gone/a"}) == [(name, "zpool (gone) does not exist.")]
    assert problems(client, create, {"name": "tank/x/y"}) == [(name, "Parent dataset (tank/x) does not exist.")]
    assert problems(client, create, {"name": "gone/a/b", "create_ancestors": True}) == [
        (name, "Please specify a pool which exists for the dataset/volume to be created")
    ]
    client.call(create, {"name": "tank/x/y/z", "create_ancestors": True})
    assert client.call("pool.dataset.query", [["pool", "=", "tank"]], {"select": ["id"]}) == [
        {"id": name} for name in ("tank", "tank/x", "tank/x/y", "tank/x/y/z")
    ]
    assert problems(client, create, {"name": "tank/x"}) == [(name, "Path /mnt/tank/x already exists")]
    folder(nas, "tank/plain").mkdir()
    assert problems(client, create, {"name": "tank/plain"}) == [(name, "Path /mnt/tank/plain already exists")]
    client.call("pool.dataset.update", "tank/x", {"readonly": "ON"})
    assert problems(client, create, {"name": "tank/x/new"})[0][0] == "pool_dataset_create.readonly"
    assert problems(client, create, {"name": "tank/.system"})[0][0] == name


def test_an_unknown_dataset(client: Client) -> None:
    error = error_of(client, "pool.dataset.update", "tank/none", {})
    assert error.data["extra"] == [["id", "tank/none does not exist", 2]]
    error = error_of(client, "pool.dataset.get_instance", "tank/none")
    assert error.data["extra"] == [[None, "PoolDataset tank/none does not exist", 2]]
    error = error_of(client, "pool.dataset.delete", "tank/none")
    assert error.data["extra"] == [[None, "PoolDataset tank/none does not exist", 2]]


def test_a_volume_is_another_thing(client: Client) -> None:
    row = client.call("pool.dataset.create", {"name": "tank/v", "type": "VOLUME", "volsize": GIB})
    assert (row["type"], row["mountpoint"], row["volsize"]["parsed"]) == ("VOLUME", None, GIB)
    assert "recordsize" not in row
    found = problems(client, "pool.dataset.create", {"name": "tank/v/a"})
    assert found == [("pool_dataset_create.name", "tank/v: parent may not be a ZFS volume")]
    assert problems(client, "pool.dataset.update", "tank/v", {"volsize": 16384})[0][0] == "pool_dataset_update.volsize"
    assert client.call("pool.filesystem_choices", ["VOLUME"]) == ["tank/v"]


def test_a_query_shows_children_and_properties_as_asked(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("pool.dataset.create", {"name": "tank/a/b"})
    query = "pool.dataset.query"
    row = client.call(query, [["id", "=", "tank"]], {"get": True})
    assert [child["id"] for child in row["children"]] == ["tank/a"]
    assert [child["id"] for child in row["children"][0]["children"]] == ["tank/a/b"]
    lean = {"extra": {"retrieve_children": False, "properties": ["used"], "retrieve_user_props": False}}
    row = client.call(query, [["id", "=", "tank/a"]], {"get": True, **lean})
    assert row["children"] == []
    assert set(row) == {"id", "type", "name", "pool", "used", "mountpoint", "children"}
    tops = client.call(query, [], {"extra": {"flat": False}})
    assert [top["id"] for top in tops] == ["draid", "tank"]
    assert len(client.call(query, [], {"extra": {"retrieve_children": False}})) == 4
    assert client.call(query, [], {"count": True}) == 4
    client.call("pool.snapshot.create", {"dataset": "tank/a", "name": "s"})
    row = client.call(
        query, [["id", "=", "tank/a"]], {"get": True, "extra": {"snapshots": True, "snapshots_count": True}}
    )
    assert (row["snapshots"][0]["name"], row["snapshot_count"]) == ("tank/a@s", 1)


def test_the_oddities_of_the_source_can_be_had(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, "--dataset-rows", "source")
    try:
        with simulator.connect() as client:
            properties = [{"key": "ai.lab:owner", "value": "me"}]
            client.call("pool.dataset.create", {"name": "tank/a", "comments": "c", "user_properties": properties})
            row = client.call("pool.dataset.create", {"name": "tank/a/b"})
            assert row["user_properties"]["ai.lab:owner"]["source"] == "LOCAL"  # it is inherited, and does not say so
            assert "comments" not in row
            assert row["user_properties"]["comments"]["value"] == "c"
            lean = {"extra": {"retrieve_children": False}}
            assert [row["id"] for row in client.call("pool.dataset.query", [], lean)] == ["tank"]
            assert len(client.call("pool.dataset.query", [["pool", "=", "tank"]], lean)) == 3
            assert client.call("pool.dataset.query", [["id", "=", "tank"]], {"count": True}) == 3
    finally:
        simulator.stop()


def test_deleting_takes_the_shares_and_tasks_along(nas: Simulator, client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("pool.dataset.create", {"name": "tank/a/b"})
    for path in ("/mnt/tank/a", "/mnt/tank/a/b"):
        client.call("sharing.nfs.create", {"path": path})
    other = client.call("sharing.nfs.create", {"path": "/mnt/tank"})
    task = client.call("pool.snapshottask.create", {"dataset": "tank/a/b"})
    assert client.call("pool.dataset.attachments", "tank/a") == [
        {"type": "NFS Share", "service": "nfs", "attachments": ["/mnt/tank/a", "/mnt/tank/a/b"]},
        {"type": "Snapshot Task", "service": None, "attachments": ["tank/a/b"]},
    ]
    error = error_of(client, "pool.dataset.delete", "tank/a")
    assert (error.code, error.errno, error.data["errname"]) == (-32001, 39, "ENOTEMPTY")
    assert error.data["reason"] == (
        "[ENOTEMPTY] Failed to delete dataset: cannot destroy 'tank/a': filesystem has children"
    )
    assert len(client.call("sharing.nfs.query")) == 3
    assert client.call("pool.dataset.delete", "tank/a", {"recursive": True}) is True
    assert client.call("sharing.nfs.query") == [other]
    assert client.call("pool.snapshottask.query", [["id", "=", task["id"]]]) == []
    assert not folder(nas, "tank/a").exists()
    assert folder(nas, "tank").is_dir()


# -- folders ------------------------------------------------------------------------------------------------------


def test_stat_tells_about_the_real_folder(nas: Simulator, client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    row = client.call("filesystem.stat", "/mnt/tank/a")
    assert (row["type"], row["realpath"], row["is_mountpoint"]) == ("DIRECTORY", "/mnt/tank/a", True)
    assert stat.S_IMODE(row["mode"]) == 0o755
    (folder(nas, "tank/a") / "file").write_text("x")
    row = client.call("filesystem.stat", "/mnt/tank/a/file")
    assert (row["type"], row["size"], row["is_mountpoint"]) == ("FILE", 1, False)
    error = error_of(client, "filesystem.stat", "/mnt/tank/none")
    assert (error.errno, error.data["reason"]) == (2, "[ENOENT] Path /mnt/tank/none not found")
    assert error_of(client, "filesystem.stat", "relative").errno == 22
    assert error_of(client, "filesystem.stat", "/etc/passwd").errno == 2  # nothing of the machine is shown
    statfs = client.call("filesystem.statfs", "/mnt/tank/a/file")
    assert (statfs["source"], statfs["dest"], statfs["fstype"]) == ("tank/a", "/mnt/tank/a", "zfs")


def test_setperm_changes_mode_and_owner(nas: Simulator, client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("pool.dataset.create", {"name": "tank/a/b"})
    inner = folder(nas, "tank/a") / "dir"
    inner.mkdir(0o700)
    (inner / "file").touch(0o600)
    assert (
        client.call("filesystem.setperm", {"path": "/mnt/tank/a", "mode": "0775", "user": "models", "gid": 950}) is None
    )
    row = client.call("filesystem.stat", "/mnt/tank/a")
    assert (stat.S_IMODE(row["mode"]), row["uid"], row["gid"]) == (0o775, 950, 950)
    assert (row["user"], row["group"]) == ("models", "models")
    assert stat.S_IMODE(folder(nas, "tank/a").stat().st_mode) == 0o775
    if os.geteuid() == 0:
        assert folder(nas, "tank/a").stat().st_uid == 950
    assert stat.S_IMODE(inner.stat().st_mode) == 0o700
    client.call("filesystem.setperm", {"path": "/mnt/tank/a", "mode": "750", "options": {"recursive": True}})
    assert [stat.S_IMODE(path.stat().st_mode) for path in (inner, inner / "file")] == [0o750, 0o640]
    assert stat.S_IMODE(folder(nas, "tank/a/b").stat().st_mode) == 0o755  # another dataset
    client.call(
        "filesystem.setperm", {"path": "/mnt/tank/a", "mode": "750", "options": {"recursive": True, "traverse": True}}
    )
    assert stat.S_IMODE(folder(nas, "tank/a/b").stat().st_mode) == 0o750


def test_chown_changes_only_the_owner(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("filesystem.chown", {"path": "/mnt/tank/a", "uid": 950})
    row = client.call("filesystem.stat", "/mnt/tank/a")
    assert (row["uid"], row["gid"], stat.S_IMODE(row["mode"])) == (950, 0, 0o755)


@pytest.mark.parametrize(
    ("data", "attribute", "text"),
    [
        (
            {"path": "/mnt/tank/a", "mode": "0999"},
            "filesystem_setperm.mode",
            "Value error, Not a valid integer. Must be between 000 and 777",
        ),
        (
            {"path": "/mnt/tank/a", "mode": "7777"},
            "filesystem_setperm.mode",
            "Value error, Please supply a value between 000 and 777",
        ),
        ({"path": "/mnt/tank/a", "mode": 775}, "filesystem_setperm.mode", "Input should be a valid string"),
        (
            {"path": "/mnt/tank/a"},
            "filesystem_setperm",
            "Value error, Payload must either explicitly specify permissions or contain the stripacl option.",
        ),
        ({"path": "/mnt/tank/a", "mode": "000"}, "filesystem.setperm.mode", "Empty permissions are not permitted."),
        ({"path": "/mnt/tank/a", "mode": "755", "user": "who"}, "filesystem.setperm.user", "who: user does not exist"),
        (
            {"path": "/mnt/tank/a", "mode": "755", "group": "who"},
            "filesystem.setperm.group",
            "who: group does not exist",
        ),
        (
            {"path": "/mnt/tank", "mode": "755"},
            "filesystem.setperm.path",
            'The specified path is a ZFS pool mountpoint "(/mnt/tank)" ',
        ),
    ],
)
def test_bad_permissions_are_refused(client: Client, data: dict[str, Any], attribute: str, text: str) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    assert problems(client, "filesystem.setperm", data) == [(attribute, text)]


# -- shares -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(client: Client) -> Client:
    client.call("pool.dataset.create", {"name": "tank/m"})
    return client


def share(**more: Any) -> dict[str, Any]:
    return {"path": "/mnt/tank/m", **more}


def test_a_share_is_made_changed_and_removed(shared: Client) -> None:
    row = shared.call("sharing.nfs.create", share(networks=["172.31.77.5/24", "10.0.0.7"], comment="c", ro=True))
    assert row == {
        "id": row["id"],
        "path": "/mnt/tank/m",
        "aliases": [],
        "comment": "c",
        "networks": ["172.31.77.0/24", "10.0.0.7/32"],
        "hosts": [],
        "ro": True,
        "maproot_user": None,
        "maproot_group": None,
        "mapall_user": None,
        "mapall_group": None,
        "security": [],
        "enabled": True,
        "locked": False,
        "expose_snapshots": False,
    }
    assert shared.call("sharing.nfs.update", row["id"], {"networks": ["fd00::1/64"], "ro": False})["networks"] == [
        "fd00::/64"
    ]
    extra = {"extra": {"retrieve_locked_info": False}, "get": True}
    assert shared.call("sharing.nfs.query", [], extra)["locked"] is None
    assert shared.call("sharing.nfs.delete", row["id"]) is True
    assert shared.call("sharing.nfs.query") == []
    assert (
        error_of(shared, "sharing.nfs.update", row["id"], {}).data["extra"][0][1]
        == f"SharingNFS {row['id']} does not exist"
    )
    assert shared.call("sharing.nfs.create", share())["id"] == row["id"] + 1


@pytest.mark.parametrize(
    ("more", "attribute", "text"),
    [
        ({"networks": ["0.0.0.0/0"]}, "networks", "Do not use 0.0.0.0/0 to represent all-networks.  No entry is required to configure 'allow everybody'.  Please remove 0.0.0.0/0."),
        ({"networks": ["::/0"]}, "networks", "Do not use ::/0 to represent all-networks.  No entry is required to configure 'allow everybody'.  Please remove ::/0."),
        ({"networks": ["10.0.0.0/33"]}, "networks", "The following do not appear to be valid IPv4 or IPv6 networks: 10.0.0.0/33"),
        ({"networks": ["10.0.0.0/8", "10.1.0.0/16"]}, "networks", "ERROR - Overlapped subnets: [('10.0.0.0/8', '10.1.0.0/16')]"),
        ({"networks": ["10.0.0.0/8", "10.0.0.0/8"]}, "networks", "Entries must be unique, the following are not: 10.0.0.0/8"),
        ({"hosts": ["a", "a"]}, "hosts", "Entries must be unique, the following are not: a"),
        ({"hosts": ["a b"]}, "hosts", "Cannot contain spaces or quotes: a b"),
        ({"hosts": ['a"']}, "hosts", 'Cannot contain spaces or quotes: a"'),
        ({"hosts": ["nowhere.invalid"]}, "hosts", "Unable to resolve host 'nowhere.invalid'"),
        ({"hosts": ["zelus.lab"], "networks": ["10.20.0.9"]}, "networks", "ERROR - Resolved hostname to duplicate address: host 'zelus.lab' resolves to '10.20.0.9/32'"),
        ({"maproot_group": "root"}, "maproot_user", "This field is required when map group is specified"),
        ({"mapall_user": "who"}, "mapall_user", "User not found: who"),
        ({"maproot_user": "root", "maproot_group": "who"}, "maproot_group", "Group not found: who"),
        ({"maproot_user": "root", "mapall_user": "root"}, "mapall_user", "maproot_user disqualifies mapall_user"),
        ({"expose_snapshots": True}, "expose_snapshots", "This is an enterprise feature and may not be enabled without a valid license."),
        ({"path": "/etc"}, "path", "The path must reside within a pool mount point"),
        ({"path": "/mnt/other"}, "path", "The path must reside within a pool mount point"),
    ],
)  # fmt: skip
def test_the_rules_of_a_share(shared: Client, more: dict[str, Any], attribute: str, text: str) -> None:
    assert problems(shared, "sharing.nfs.create", share(**more)) == [(f"sharingnfs_create.{attribute}", text)]
    assert shared.call("sharing.nfs.query") == []
    number = shared.call("sharing.nfs.create", share())["id"]
    assert problems(shared, "sharing.nfs.update", number, more) == [(f"sharingnfs_update.{attribute}", text)]


def test_a_path_must_exist_and_be_no_link(nas: Simulator, shared: Client) -> None:
    error = error_of(shared, "sharing.nfs.create", {"path": "/mnt/tank/none"})
    assert (error.code, error.errno) == (-32001, 2)
    (folder(nas, "tank/m") / "link").symlink_to(folder(nas, "tank"))
    assert problems(shared, "sharing.nfs.create", {"path": "/mnt/tank/m/link"}) == [
        ("sharingnfs_create.path", "Symbolic links are not allowed: /mnt/tank/m/link.")
    ]


def test_the_same_path_twice_needs_other_clients(shared: Client) -> None:
    shared.call("sharing.nfs.create", share(networks=["10.0.0.0/8"], hosts=["zelus.lab"]))
    shared.call("sharing.nfs.create", share(networks=["192.168.0.0/24"], hosts=["nyx.lab"], ro=True))
    create = "sharing.nfs.create"
    assert ("sharingnfs_create.networks", "ERROR - Another NFS share already exports /mnt/tank/m for network 10.0.0.0/8") in problems(shared, create, share(networks=["10.0.0.0/8"]))  # fmt: skip
    assert problems(shared, create, share(networks=["10.9.0.0/16"])) == [
        (
            "sharingnfs_create.networks",
            "ERROR - This or another NFS share exports /mnt/tank/m to 10.0.0.0/8 and overlaps network 10.9.0.0/16",
        )
    ]
    assert problems(shared, create, share(hosts=["zelus.lab"])) == [
        ("sharingnfs_create.hosts", "ERROR - Another NFS share already exports /mnt/tank/m for host zelus.lab")
    ]
    shared.call("pool.dataset.create", {"name": "tank/n"})
    shared.call(create, {"path": "/mnt/tank/n", "networks": ["10.0.0.0/8"]})  # another path


def test_everybody_leaves_room_for_no_other_network(shared: Client) -> None:
    shared.call("sharing.nfs.create", share())
    found = problems(shared, "sharing.nfs.create", share(networks=["10.0.0.0/8"]))
    assert found[0][1].startswith("ERROR - This or another NFS share exports /mnt/tank/m to ")


def test_patterns_and_groups_need_no_address(shared: Client) -> None:
    row = shared.call("sharing.nfs.create", share(hosts=["*", "@admins", "node-*", "*.example.lab"]))
    assert row["hosts"] == ["*", "@admins", "node-*", "*.example.lab"]
    assert problems(shared, "sharing.nfs.update", row["id"], {"hosts": ["*.nowhere.invalid"]})[0][0] == (
        "sharingnfs_update.hosts"
    )


def test_kerberos_needs_version_4(shared: Client) -> None:
    shared.call("nfs.update", {"protocols": ["NFSV3"]})
    assert problems(shared, "sharing.nfs.create", share(security=["SYS", "KRB5"])) == [
        ("sharingnfs_create.security", "The following security flavor(s) require NFSv4 to be enabled: KRB5.")
    ]
    shared.call("nfs.update", {"protocols": ["NFSV3", "NFSV4"]})
    assert shared.call("sharing.nfs.create", share(security=["SYS", "KRB5"]))["security"] == ["SYS", "KRB5"]


# -- the service --------------------------------------------------------------------------------------------------


def test_the_settings_of_the_service(client: Client) -> None:
    config = client.call("nfs.config")
    assert config == {
        "id": 1,
        "servers": 4,
        "allow_nonroot": False,
        "protocols": ["NFSV3", "NFSV4"],
        "v4_krb": False,
        "v4_domain": "",
        "bindip": [],
        "mountd_port": None,
        "rpcstatd_port": None,
        "rpclockd_port": None,
        "mountd_log": True,
        "statd_lockd_log": False,
        "v4_krb_enabled": False,
        "userd_manage_gids": False,
        "keytab_has_nfs_spn": False,
        "managed_nfsd": True,
        "rdma": False,
    }
    changed = client.call("nfs.update", {"servers": 16, "allow_nonroot": True})
    assert (changed["servers"], changed["managed_nfsd"], changed["allow_nonroot"]) == (16, False, True)
    assert client.call("nfs.update", {"servers": None})["managed_nfsd"] is True
    assert client.call("nfs.bindip_choices") == {"192.0.2.5": "192.0.2.5", "2001:db8::5": "2001:db8::5"}
    assert client.call("nfs.update", {"bindip": ["192.0.2.5"]})["bindip"] == ["192.0.2.5"]


@pytest.mark.parametrize(
    ("data", "attribute", "text"),
    [
        ({"servers": 0}, "servers", "Input should be greater than or equal to 1"),
        ({"servers": 257}, "servers", "Input should be less than or equal to 256"),
        ({"protocols": []}, "protocols", 'Must specify at least one value ("NFSV3", "NFSV4") in the "protocols" list.'),
        ({"protocols": ["NFSV2"]}, "protocols.0", "Input should be 'NFSV3' or 'NFSV4'"),
        ({"mountd_port": 20049}, "mountd_port", "Value error, 20049 is a reserved for internal use. Please select another value."),
        ({"mountd_port": 70000}, "mountd_port", "Input should be less than or equal to 65535"),
        ({"bindip": ["198.51.100.1"]}, "bindip.0", "Cannot use 198.51.100.1. Please provide a valid ip address."),
        ({"protocols": ["NFSV3"], "v4_domain": "x"}, "v4_domain", "This option does not apply to NFSv3"),
        ({"rdma": True}, "rdma", "This platform cannot support NFS over RDMA or is missing an RDMA capable NIC."),
    ],
)  # fmt: skip
def test_the_rules_of_the_settings(client: Client, data: dict[str, Any], attribute: str, text: str) -> None:
    before = client.call("nfs.config")
    assert problems(client, "nfs.update", data) == [(f"nfs_update.{attribute}", text)]
    assert client.call("nfs.config") == before


def nfs_state(client: Client) -> tuple[bool, str]:
    row = client.call("service.query", [["service", "=", "nfs"]], {"get": True})
    assert set(row) == {"id", "service", "enable", "state", "pids"}
    assert bool(row["pids"]) == (row["state"] == "RUNNING")
    return row["enable"], row["state"]


def test_the_service_is_started_and_stopped(client: Client) -> None:
    assert {"nfs", "cifs", "ssh"} <= {row["service"] for row in client.call("service.query")}
    assert nfs_state(client) == (False, "STOPPED")
    number = client.call("service.query", [["service", "=", "nfs"]], {"get": True})["id"]
    assert client.call("service.update", "nfs", {"enable": True}) == number
    assert nfs_state(client) == (True, "STOPPED")
    assert client.call("service.update", number, {"enable": False}) == number
    for verb, state in (("START", "RUNNING"), ("RELOAD", "RUNNING"), ("RESTART", "RUNNING"), ("STOP", "STOPPED")):
        assert client.call("service.control", verb, "nfs", {"silent": False}) is True
        assert nfs_state(client)[1] == state
    assert client.call("service.control", "RELOAD", "nfs") is False  # it does not run
    assert client.call("service.start", "nfs", {"silent": False}) is True
    assert client.call("service.started", "nfs") is True
    assert client.call("service.started_or_enabled", "nfs") is True
    assert client.call("service.stop", "nfs") is True
    assert client.call("service.query", [], {"extra": {"include_state": False}, "limit": 1})[0]["state"] == "UNKNOWN"
    assert problems(client, "service.control", "start", "nfs") == [
        ("verb", "Input should be 'START', 'STOP', 'RESTART' or 'RELOAD'")
    ]
    assert error_of(client, "service.control", "START", "nothing").data["reason"] == "'nothing'"


def test_a_failed_start_is_silent_unless_told_otherwise(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "service_fails", "match": "nfs", "times": 2})
    assert client.call("service.control", "START", "nfs") is False
    error = error_of(client, "service.control", "START", "nfs", {"silent": False})
    assert (error.errno, error.data["reason"]) == (14, "[EFAULT] Service not running after start")
    assert nfs_state(client)[1] == "STOPPED"
    assert client.call("service.control", "START", "nfs", {"silent": False}) is True


def test_new_settings_restart_the_service(nas: Simulator, client: Client) -> None:
    nas.faults({"kind": "service_fails", "match": "nfs"})
    client.call("nfs.update", {"servers": 2})  # it does not run, so nothing is started
    client.call("service.control", "STOP", "nfs")
    nas.faults()
    client.call("service.control", "START", "nfs")
    nas.faults({"kind": "service_fails", "match": "nfs"})
    error = error_of(client, "nfs.update", {"servers": 3})
    assert (error.errno, error.data["errname"]) == (202, "ESERVICESTARTFAILURE")
    assert error.data["extra"] == ["nfs"]
    assert nfs_state(client)[1] == "STOPPED"
    assert client.call("nfs.config")["servers"] == 3


# -- snapshots and replication ------------------------------------------------------------------------------------


def test_a_snapshot_task(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    task = client.call("pool.snapshottask.create", {"dataset": "tank/a"})
    assert task == {
        "id": task["id"],
        "dataset": "tank/a",
        "recursive": False,
        "lifetime_value": 2,
        "lifetime_unit": "WEEK",
        "enabled": True,
        "exclude": [],
        "naming_schema": "auto-%Y-%m-%d_%H-%M",
        "allow_empty": True,
        "schedule": {
            "minute": "00",
            "hour": "*",
            "dom": "*",
            "month": "*",
            "dow": "*",
            "begin": "00:00",
            "end": "23:59",
        },
        "vmware_sync": False,
        "state": {"state": "PENDING"},
    }
    changed = client.call("pool.snapshottask.update", task["id"], {"lifetime_value": 5, "fixate_removal_date": False})
    assert changed == task | {"lifetime_value": 5}
    client.call("pool.snapshottask.run", task["id"])
    snapshot = client.call("pool.snapshot.query", [["dataset", "=", "tank/a"]], {"get": True})
    assert snapshot["snapshot_name"].startswith("auto-")
    assert client.call("pool.snapshottask.delete", task["id"]) is True
    assert client.call("pool.snapshottask.query") == []
    error = error_of(client, "pool.snapshottask.update", task["id"], {})
    assert error.texts == [f"PeriodicSnapshotTask {task['id']} does not exist"]


@pytest.mark.parametrize(
    ("more", "attribute", "text"),
    [
        ({"naming_schema": "auto-%Y-%m-%d_%H"}, "data.naming_schema", "Value error, %M must be present in snapshot naming schema"),
        ({"naming_schema": "auto"}, "data.naming_schema", "Value error, %Y must be present in snapshot naming schema"),
        ({"naming_schema": "a/%Y-%m-%d_%H-%M"}, "data.naming_schema", "Value error, / is not an allowed character in ZFS snapshot name"),
        ({"lifetime_unit": "week"}, "data.lifetime_unit", "Input should be 'HOUR', 'DAY', 'WEEK', 'MONTH' or 'YEAR'"),
        ({"schedule": {"hour": "25"}}, "data.schedule", "Value error, Please ensure fields match cron syntax - [00 25 * * * ] is not acceptable, out of range"),
        ({"schedule": {"begin": "9"}}, "data.schedule.begin", 'Value error, Time should be in 24 hour format like "18:00"'),
        ({"dataset": "tank/none"}, "periodic_snapshot_create.dataset", "Dataset not found"),
        ({"exclude": ["tank/a"]}, "periodic_snapshot_create.exclude", "Excluding datasets is not necessary for non-recursive periodic snapshot tasks"),
        ({"recursive": True, "exclude": ["draid/b"]}, "periodic_snapshot_create.exclude.0", "Excluded dataset should be a child or other descendant of the selected dataset"),
        ({"name": "x"}, "data.name", "Extra inputs are not permitted"),
        ({"comment": "x"}, "data.comment", "Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_the_rules_of_a_snapshot_task(client: Client, more: dict[str, Any], attribute: str, text: str) -> None:
    assert problems(client, "pool.snapshottask.create", {"dataset": "tank", **more}) == [(attribute, text)]


def replication(**more: Any) -> dict[str, Any]:
    return {
        "name": "copy",
        "direction": "PUSH",
        "transport": "LOCAL",
        "source_datasets": ["tank/a"],
        "target_dataset": "tank/copy",
        "recursive": True,
        "auto": False,
        "retention_policy": "NONE",
        "name_regex": ".*",
        **more,
    }


def test_replication_brings_snapshots_and_files_to_the_target(nas: Simulator, client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    client.call("pool.dataset.create", {"name": "tank/a/b"})
    task = client.call("replication.create", replication())
    assert (task["ssh_credentials"], task["periodic_snapshot_tasks"], task["state"]) == (None, [], {"state": "PENDING"})
    error = error_of(client, "replication.run", task["id"])
    assert "No snapshots to send" in error.data["reason"]
    assert client.call("replication.get_instance", task["id"])["state"]["state"] == "ERROR"
    (folder(nas, "tank/a") / "file").write_text("one")
    (folder(nas, "tank/a/b") / "deep").write_text("two")
    client.call("pool.snapshot.create", {"dataset": "tank/a", "name": "s1", "recursive": True})
    (folder(nas, "tank/a") / "file").write_text("changed")
    assert client.call("replication.run", task["id"]) is None
    assert (folder(nas, "tank/copy") / "file").read_text() == "one"
    assert (folder(nas, "tank/copy/b") / "deep").read_text() == "two"
    row = client.call("pool.dataset.get_instance", "tank/copy")
    assert row["readonly"]["value"] == "ON"
    assert client.call("pool.snapshot.query", [["dataset", "^", "tank/copy"]], {"select": ["id"]}) == [
        {"id": "tank/copy@s1"},
        {"id": "tank/copy/b@s1"},
    ]
    assert client.call("replication.get_instance", task["id"])["state"]["state"] == "FINISHED"
    changed = client.call("replication.update", task["id"], {"retention_policy": "SOURCE", "enabled": False})
    assert (changed["retention_policy"], changed["enabled"]) == ("SOURCE", False)
    assert error_of(client, "replication.run", task["id"]).data["reason"] == "[EFAULT] Task is not enabled"
    assert client.call("replication.delete", task["id"]) is True
    assert error_of(client, "replication.get_instance", task["id"]).texts == [
        f"Replication {task['id']} does not exist"
    ]


def test_a_replication_holds_its_snapshot_tasks(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    number = client.call("pool.snapshottask.create", {"dataset": "tank/a"})["id"]
    task = client.call("replication.create", replication(name_regex=None, periodic_snapshot_tasks=[number], auto=True))
    assert [bound["id"] for bound in task["periodic_snapshot_tasks"]] == [number]
    assert "vmware_sync" not in task["periodic_snapshot_tasks"][0]
    assert problems(client, "pool.snapshottask.update", number, {"enabled": False}) == [
        (
            "periodic_snapshot_update.enabled",
            f"You can't disable this periodic snapshot task because it is bound to enabled replication task {task['id']}",
        )
    ]
    error = error_of(client, "pool.snapshottask.delete", number)
    assert error.code == -32001
    assert "You are deleting the last periodic snapshot task" in error.data["reason"]
    client.call("replication.update", task["id"], {"enabled": False})
    assert client.call("pool.snapshottask.update", number, {"enabled": False})["enabled"] is False
    assert problems(client, "replication.update", task["id"], {"enabled": True}) == [
        (
            "replication_update.periodic_snapshot_tasks.0",
            "You can't bind disabled periodic snapshot task to enabled replication task",
        )
    ]
    client.call("pool.snapshottask.delete", number)
    assert client.call("replication.get_instance", task["id"])["periodic_snapshot_tasks"] == []


@pytest.mark.parametrize(
    ("more", "attribute", "text"),
    [
        ({"source_datasets": []}, "replication_create.source_datasets", "List should have at least 1 item after validation, not 0"),
        ({"lifetime_value": 3}, "replication_create.lifetime_value", "This field has no sense for specified retention policy"),
        ({"schedule": {"hour": "1"}}, "replication_create.schedule", "You can't have schedule for replication that does not run automatically"),
        ({"schedule": {"begin": "10:00", "end": "09:00"}}, "replication_create.schedule", "Assertion failed, Begin time should be less than or equal to end time"),
        ({"transport": "SSH"}, "replication_create.ssh_credentials", "SSH Credentials are required for non-local replication"),
        ({"transport": "SSH", "ssh_credentials": 9}, "replication_create.ssh_credentials", "[ENOENT] Credential does not exist"),
        ({"compression": "LZ4"}, "replication_create.compression", "Compression has no sense for local replication"),
        ({"periodic_snapshot_tasks": [5], "name_regex": None, "also_include_naming_schema": ["a-%Y-%m-%d_%H-%M"]}, "replication_create.periodic_snapshot_tasks.0", "This snapshot task does not exist"),
        ({"periodic_snapshot_tasks": [5, 5]}, "replication_create.periodic_snapshot_tasks", "List must be unique"),
        ({"recursive": False, "exclude": ["tank/a/b"]}, "replication_create.exclude", "Excluding child datasets is only supported for recursive replication"),
        ({"name_regex": None}, "replication_create.periodic_snapshot_tasks", 'You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task'),
        ({"auto": True}, "replication_create.auto", "Push replication that runs automatically must be either bound to a periodic snapshot task or have a schedule"),
    ],
)  # fmt: skip
def test_the_rules_of_a_replication(client: Client, more: dict[str, Any], attribute: str, text: str) -> None:
    assert problems(client, "replication.create", replication(**more)) == [(attribute, text)]


def test_snapshots(client: Client) -> None:
    client.call("pool.dataset.create", {"name": "tank/a"})
    row = client.call("pool.snapshot.create", {"dataset": "tank/a", "name": "one", "properties": {"a:b": "c"}})
    assert (row["id"], row["name"], row["snapshot_name"], row["dataset"]) == (
        "tank/a@one",
        "tank/a@one",
        "one",
        "tank/a",
    )
    assert (row["pool"], row["type"]) == ("tank", "SNAPSHOT")
    assert row["properties"]["a:b"]["value"] == "c"
    assert error_of(client, "pool.snapshot.create", {"dataset": "tank/a", "name": "one"}).errno == 17
    assert client.call("pool.snapshot.create", {"dataset": "tank/a", "naming_schema": "x-%Y-%m-%d_%H-%M"})[
        "id"
    ].startswith("tank/a@x-")
    error = error_of(client, "pool.dataset.delete", "tank/a")
    assert "filesystem has children" in error.data["reason"]
    assert client.call("pool.snapshot.delete", "tank/a@one") is True
    assert error_of(client, "pool.snapshot.delete", "tank/a@one").data["extra"][0][2] == 2


def test_keys_for_other_machines(nas: Simulator, client: Client) -> None:
    pair = client.call("keychaincredential.generate_ssh_key_pair")
    assert "PRIVATE KEY" in pair["private_key"]
    entry = client.call("keychaincredential.create", {"name": "pair", "type": "SSH_KEY_PAIR", "attributes": pair})
    attributes = {"host": "192.0.2.9", "private_key": entry["id"], "remote_host_key": "ssh-ed25519 AAAA"}
    login = client.call(
        "keychaincredential.create", {"name": "nas2", "type": "SSH_CREDENTIALS", "attributes": attributes}
    )
    assert login["attributes"] == {"port": 22, "username": "root", "connect_timeout": 10, **attributes}
    assert problems(
        client, "keychaincredential.create", {"name": "pair", "type": "SSH_KEY_PAIR", "attributes": pair}
    ) == [("keychain_credential_create.name", "Object with this name already exists")]
    row = client.call("replication.create", replication(transport="SSH", ssh_credentials=login["id"]))
    assert row["ssh_credentials"]["id"] == login["id"]
    assert problems(client, "keychaincredential.delete", login["id"]) == [
        ("options.cascade", "This credential is used and no cascade option is specified")
    ]
    assert len(client.call("keychaincredential.query", [["type", "=", "SSH_KEY_PAIR"]])) == 1


def test_users_and_groups(client: Client) -> None:
    user = client.call("user.query", [["username", "=", "models"]], {"get": True})
    assert (user["uid"], user["group"]["bsdgrp_group"], user["builtin"]) == (950, "models", False)
    assert client.call("group.query", [["group", "=", "root"]], {"get": True})["gid"] == 0
    assert client.call("system.product_type") == "COMMUNITY_EDITION"
    assert client.call("system.info")["version"] == "25.10.6"
