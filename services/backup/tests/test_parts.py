# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration, target, memory and metrics, exchange of directories, the copy of the inventory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from frame_fakes import FakeRunner, config, context, docker, service

from pantheon_backup import config as configuration
from pantheon_backup import exchange, inventory, target
from pantheon_backup.model import (
    FAILED,
    OK,
    SKIPPED,
    BackupError,
    Comparison,
    Job,
    Part,
    Target,
    TargetAway,
    UsageError,
    Verdict,
)
from pantheon_backup.state import State

DATA: dict[str, Any] = {
    "machine": "erebus",
    "environment": "test",
    "target": {"path": "/backups/nas", "mount": True, "password": "p" * 20, "keep": {"daily": 7}},
    "schedule": {"every_hours": 24, "at": "02:30"},
    "expected": ["erebus"],
    "metrics": "/var/lib/pantheon/metrics/backup.prom",
    "jobs": [{"name": "redis", "kind": "command", "directory": "/opt/pantheon/redis", "dump": ["x"]}],
}


def test_a_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "backup.json"
    file.write_text(json.dumps(DATA))
    found = configuration.load(file)
    assert found.target.mount
    assert found.job("redis").options == {"dump": ["x"]}
    assert "p" * 20 not in repr(found)
    with pytest.raises(UsageError, match="no job neo4j on erebus; known are redis"):
        found.job("neo4j")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": {"path": "/backups"}}, "mount is missing"),
        ({"target": {**DATA["target"], "password": "@@secret:backup_password@@"}}, "was not filled in"),
        ({"target": {**DATA["target"], "path": "backups"}}, "absolute path"),
        ({"jobs": [{"kind": "files"}]}, "without name or kind"),
        ({"schedule": {"every_hours": "daily", "at": "02:30"}}, "invalid literal"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configuration.parse({**DATA, **change}, "/etc/pantheon/backup.json")


MOUNTS = """\
22 1 0:20 / / rw - overlay overlay rw
31 22 0:40 / /backups/nas rw,relatime shared:5 - {kind} source rw
32 22 0:41 / /srv/my\\040disk rw - ext4 /dev/sdb rw
"""


@pytest.mark.parametrize(("kind", "path", "mounted"), [
    ("nfs4", "/backups/nas", True),
    ("autofs", "/backups/nas", False),
    ("nfs4", "/backups", False),
    ("nfs4", "/srv/my disk", True),
])  # fmt: skip
def test_a_mount_is_known_from_a_directory(tmp_path: Path, kind: str, path: str, mounted: bool) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS.format(kind=kind))
    assert target.is_mounted(path, tmp_path / "mountinfo") is mounted


def test_a_target_that_is_away_is_said_and_never_written(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("22 1 0:20 / / rw - overlay overlay rw\n")
    wanted = Target(tmp_path / "nas", True, "x", {})
    runner = FakeRunner({"stat": "directory"})
    with pytest.raises(TargetAway, match="is not mounted, and nothing is written"):
        target.demand(wanted, runner, tmp_path / "mountinfo")  # type: ignore[arg-type]
    assert not runner.said("mkdir")
    with pytest.raises(TargetAway, match="does not answer within 30 seconds"):
        target.demand(wanted, FakeRunner({"stat": BackupError("took too long")}))  # type: ignore[arg-type]


def test_metrics_keep_the_last_success_of_a_job_that_fails(tmp_path: Path) -> None:
    wanted = config(tmp_path, Job("redis", "command"), Job("neo4j", "command"))
    state = State(wanted, tmp_path / "state.json")
    state.backed_up("redis", "20261125T023000Z", Part(OK, seconds=2.5, bytes=10))
    success = state.data["jobs"]["redis"]["last_success"]
    state.backed_up("redis", "20261126T023000Z", Part(FAILED, "no answer", seconds=1))
    state.backed_up("neo4j", "20261126T023000Z", Part(SKIPPED, "elsewhere"))
    state.drilled("redis", "20261125T023000Z", Verdict(False, "wrong", 3.0))
    text = wanted.metrics.read_text()
    assert f'pantheon_backup_last_success_timestamp_seconds{{job="redis"}} {success:.3f}'.removesuffix(".000") in text
    assert 'pantheon_backup_last_status{job="redis"} 0\n' in text
    assert 'pantheon_backup_last_status{job="neo4j"}' not in text
    assert 'pantheon_backup_last_skipped{job="neo4j"} 1\n' in text
    assert 'pantheon_restore_drill_last_status{job="redis"} 0\n' in text
    assert "pantheon_restore_drill_last_success_timestamp_seconds{job=" not in text
    assert "pantheon_backup_period_seconds 86400\n" in text
    assert wanted.metrics.stat().st_mode & 0o777 == 0o644
    again = State(wanted, tmp_path / "state.json")
    assert again.data["jobs"]["redis"]["reason"] == "no answer"


def test_what_is_late_is_said(tmp_path: Path) -> None:
    wanted = config(tmp_path, Job("redis", "command"), Job("neo4j", "command"), Job("qdrant", "qdrant"))
    state = State(wanted, tmp_path / "state.json")
    state.backed_up("redis", "20261125T023000Z", Part(OK))
    state.backed_up("qdrant", "20261125T023000Z", Part(SKIPPED, "a replica"))
    now = state.data["jobs"]["redis"]["last_success"]
    assert state.status(now + 60)["late"] == ["neo4j"]
    assert state.status(now + 3 * 86400)["late"] == ["neo4j", "qdrant", "redis"]


def test_a_job_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    State(config(tmp_path, Job("redis", "command")), tmp_path / "state.json").backed_up("redis", "x", Part(OK))
    later = State(config(tmp_path, Job("neo4j", "command")), tmp_path / "state.json")
    later.save()
    assert 'job="redis"' not in later.config.metrics.read_text()


def trees(tmp_path: Path) -> tuple[Path, Path]:
    new, place = tmp_path / "new", tmp_path / "place"
    (new / "sub").mkdir(parents=True)
    (new / "sub" / "file").write_text("restored")
    place.mkdir()
    (place / "file").write_text("before")
    (place / "old").symlink_to("file")
    return new, place


def test_contents_are_replaced(tmp_path: Path) -> None:
    new, place = trees(tmp_path)
    runner = FakeRunner(docker(tmp_path))
    exchange.replace(context(tmp_path, service(tmp_path), runner), [(new, place)])
    assert sorted(os.listdir(place)) == ["sub"]
    assert (place / "sub" / "file").read_text() == "restored"
    assert runner.said("docker start")


def test_when_the_service_does_not_start_what_was_there_comes_back(tmp_path: Path) -> None:
    new, place = trees(tmp_path)
    runner = FakeRunner(docker(tmp_path, **{"docker start": (1, "", "cannot start")}))
    with pytest.raises(BackupError, match="cannot start"):
        exchange.replace(context(tmp_path, service(tmp_path), runner), [(new, place)])
    assert sorted(os.listdir(place)) == ["file", "old"]
    assert (place / "file").read_text() == "before"
    assert (place / "old").readlink() == Path("file")


@pytest.mark.parametrize("complete", [True, False])
def test_a_restore_that_was_killed_is_undone_by_the_next(tmp_path: Path, complete: bool) -> None:
    _new, place = trees(tmp_path)
    aside = place / exchange.BEFORE
    aside.mkdir()
    os.rename(place / "old", aside / "old")
    if complete:  # all was set aside, and something new had come
        os.rename(place / "file", aside / "file")
        (aside / ".complete").touch()
        (place / "half").mkdir()
        (place / "half" / "restored").touch()
    exchange.put_back(place)
    assert sorted(os.listdir(place)) == ["file", "old"]
    assert (place / "file").read_text() == "before"


def test_the_inventory_is_kept_with_earlier_secrets(tmp_path: Path) -> None:
    file, folder = tmp_path / "inventory.json", tmp_path / "target"
    for number, secret in enumerate(["one", "one", "two"]):
        files = {"hosts.yml": "all: {}\n", "group_vars/all.yml": "x: 1\n", "secrets.yml": f"$ANSIBLE_VAULT;{secret}"}
        file.write_text(json.dumps({"files": files}))
        inventory.keep(folder, "home", f"2026112{number}T023000Z", lambda text: None, file)
    place = folder / "configuration" / "home"
    assert (place / "secrets.yml").read_text() == "$ANSIBLE_VAULT;two"
    assert (place / "group_vars" / "all.yml").read_text() == "x: 1\n"
    assert [path.name for path in (place / "earlier").iterdir()] == ["secrets.yml.20261122T023000Z"]
    assert (place / "secrets.yml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_the_inventory_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "inventory.json").write_text(json.dumps({"files": {name: "x"}}))
    with pytest.raises(BackupError, match="lies outside"):
        inventory.keep(tmp_path / "target", "home", "x", print, tmp_path / "inventory.json")


def test_a_machine_without_the_inventory_keeps_none(tmp_path: Path) -> None:
    inventory.keep(tmp_path / "target", "home", "x", print, tmp_path / "missing.json")
    assert not (tmp_path / "target").exists()


def test_a_verdict_needs_something_compared() -> None:
    assert not Verdict.of([]).ok
    assert Verdict.of([Comparison("rows", 5, 5)]).ok
    wrong = Verdict.of([Comparison("rows", 5, 4), Comparison("tables", 1, 0), Comparison("x", 1, 1)])
    assert not wrong.ok
    assert wrong.reason == "rows: the backup promises 5, the restored copy has 4 (1 more differ)."


@pytest.mark.parametrize(
    ("found", "right"), [(3, True), (5, True), (2, False), (6, False), (None, False), ("4", False)]
)
def test_a_number_that_moved_may_lie_in_between(found: Any, right: bool) -> None:
    assert Comparison("rows", 3, found, 5).equal is right
