# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds command and files, scratch containers, and what the frame makes of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from frame_fakes import FakeRestic, FakeRunner, config, context, docker, service

from pantheon_backup import scratch as scratches
from pantheon_backup.jobs import KINDS, kind_of
from pantheon_backup.jobs.command import Command, compare
from pantheon_backup.jobs.files import on_disk, promised, summary
from pantheon_backup.model import (
    FAILED,
    OK,
    SKIPPED,
    BackupError,
    Comparison,
    Context,
    Job,
    Part,
    Skipped,
    UsageError,
    Verdict,
)
from pantheon_backup.operations import Operations
from pantheon_backup.scratch import Mount, Scratch
from pantheon_backup.state import State

ARGV = {"dump": ["dump"], "load": ["load"], "count": ["count"], "drill": ["drill"]}
COUNT = "docker exec pantheon-ledger-ledger-1 count"


def composed(folder: Path) -> dict[str, Any]:
    """Return the compose file of the scratch container."""
    found: dict[str, Any] = json.loads(next(folder.glob("run/work/ledger/*/compose.json")).read_text())
    return found


def test_every_kind_can_be_made() -> None:
    for name in KINDS:
        kind = kind_of(name)
        assert all(hasattr(kind, method) for method in ("backup", "restore", "drill"))
    with pytest.raises(UsageError, match="known are command, files, postgres, qdrant"):
        kind_of("tape")


# -- scratch containers --------------------------------------------------------------------------------------------------


def test_a_scratch_container_is_the_service_without_what_others_could_meet(tmp_path: Path) -> None:
    runner = FakeRunner(docker(tmp_path, **{"docker compose --file": "counted"}))
    with Scratch(context(tmp_path, service(tmp_path), runner), mounts=[Mount("/backups", "/backups")]) as scratch:
        done = scratch.run(["count", "$HOME"], env={"TOKEN": "to$ken"})
        compose = composed(tmp_path)
        assert (
            tmp_path / "run" / "work" / "ledger" / "pantheon-drill-ledger" / "compose.json"
        ).stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "volumes" / "pantheon_drill_ledger_data").is_dir()
        assert scratch.volume("data").name == "pantheon_drill_ledger_data"
        with pytest.raises(BackupError, match="has no volume logs; it has data"):
            scratch.volume("logs")
    assert done.text == "counted"
    copy = compose["services"]["ledger"]
    for gone in ("networks", "ports", "extra_hosts", "healthcheck", "deploy"):
        assert gone not in copy
    assert (copy["network_mode"], copy["restart"], copy["pull_policy"]) == ("none", "no", "never")
    assert (copy["entrypoint"], copy["command"]) == (["count"], ["$$HOME"])
    assert copy["environment"] == {"PASSWORD": "of-the-service", "PRICE": "5$$", "TOKEN": "to$$ken"}
    assert copy["mem_limit"] == "64m"
    assert copy["security_opt"] == ["no-new-privileges:true"]
    assert "ai.pantheon.service" not in copy["labels"]
    # Its own files and what was asked for; nothing else of the machine, and nothing of the NAS.
    assert [mount["target"] for mount in copy["volumes"]] == ["/data", "/etc/x", "/backups"]
    assert copy["volumes"][2]["read_only"]
    assert compose["volumes"] == {"data": {"external": True, "name": "pantheon_drill_ledger_data"}}
    # Nothing is left, and no secret was an argument.
    assert not list((tmp_path / "run" / "work" / "ledger").iterdir())
    assert not [call for call in runner.calls if "of-the-service" in " ".join(call) or "to$ken" in " ".join(call)]


def test_a_scratch_container_with_the_volumes_of_the_service_makes_none(tmp_path: Path) -> None:
    runner = FakeRunner(docker(tmp_path, **{"docker compose --file": ""}))
    with Scratch(context(tmp_path, service(tmp_path), runner), volumes=scratches.SERVICE) as scratch:
        scratch.run(["dump"], user="999")
        assert composed(tmp_path)["volumes"] == {"data": {"external": True, "name": "pantheon_ledger_data"}}
        assert composed(tmp_path)["services"]["ledger"]["user"] == "999"
    assert not runner.said("docker volume create")


def test_scratch_volumes_lie_where_those_of_the_service_lie(tmp_path: Path) -> None:
    own = tmp_path / "encrypted" / "data"
    own.mkdir(parents=True, mode=0o750)

    def inspected(argv: tuple[str, ...], _stdin: bytes | None) -> str:
        bound = {"Options": {"type": "none", "o": "bind", "device": str(own)}, "Mountpoint": "/never", "Labels": {}}
        if "drill" in argv[-1]:
            bound["Labels"] = {"ai.pantheon.scratch.directory": str(own.parent / f".scratch-{argv[-1]}")}
        return json.dumps([bound])

    table = docker(tmp_path, **{"docker volume inspect": inspected, "docker volume create": ""})
    runner = FakeRunner(table)
    with Scratch(context(tmp_path, service(tmp_path), runner)):
        (made,) = runner.said("docker volume create")
        place = own.parent / ".scratch-pantheon_drill_ledger_data"
        assert f"device={place}" in made
        assert place.stat().st_mode & 0o777 == own.stat().st_mode & 0o777
        table["docker volume ls"] = "pantheon_drill_ledger_data"
    assert not place.exists()
    assert own.exists()


def test_what_a_killed_run_left_is_removed_and_what_it_stopped_is_started(tmp_path: Path) -> None:
    marks = scratches.marks_of(tmp_path)
    marks.mkdir()
    (marks / "pantheon-ledger-ledger-1").touch()
    left = {"docker ps": "c1\nc2", "docker volume ls": "pantheon_drill_ledger_data"}
    runner = FakeRunner(docker(tmp_path, **left))
    (tmp_path / "volumes" / "pantheon_drill_ledger_data").mkdir()
    scratches.recover(runner, "erebus", tmp_path, lambda text: None)  # type: ignore[arg-type]
    assert runner.said("docker start")
    assert not list(marks.iterdir())
    assert runner.said("docker rm") == [("docker", "rm", "--force", "--volumes", "c1", "c2")]
    assert "label=ai.pantheon.scratch=erebus" in runner.said("docker volume ls")[0]
    assert runner.said("docker volume rm")


def test_a_service_that_is_not_deployed_is_named(tmp_path: Path) -> None:
    job = Job("ledger", "command", directory=str(tmp_path / "nowhere"))
    with (
        pytest.raises(BackupError, match="there is no compose.yml. Deploy ledger"),
        Scratch(context(tmp_path, job, FakeRunner(docker(tmp_path)))),
    ):
        pass


# -- command -------------------------------------------------------------------------------------------------------------


def test_a_backup_is_a_stream_with_counts(tmp_path: Path) -> None:
    runner, restic = FakeRunner(docker(tmp_path, **{COUNT: '{"rows": 5}'})), FakeRestic()
    part = Command().backup(context(tmp_path, service(tmp_path, **ARGV), runner, restic))
    assert (part.status, part.bytes, part.counts, part.details) == (OK, 4, {"rows": 5}, {})
    assert part.versions["image"] == "example/ledger:1"
    assert restic.streams[part.snapshot] == b"data"


def test_counts_that_move_are_tried_again_and_then_both_kept(tmp_path: Path) -> None:
    number = iter(range(100))
    table = docker(tmp_path, **{COUNT: lambda _argv, _stdin: json.dumps({"rows": next(number)})})
    restic = FakeRestic()
    part = Command().backup(context(tmp_path, service(tmp_path, **ARGV), FakeRunner(table), restic))
    assert restic.forgotten == ["snapshot0", "snapshot1"]
    assert (part.snapshot, part.counts, part.details) == ("snapshot2", {"rows": 4}, {"after": {"rows": 5}})


def test_an_offline_backup_starts_the_service_again_also_after_an_error(tmp_path: Path) -> None:
    runner, restic = FakeRunner(docker(tmp_path, **{COUNT: '{"rows": 5}'})), FakeRestic()
    restic.give = BackupError("the dump failed")
    with pytest.raises(BackupError, match="the dump failed"):
        Command().backup(context(tmp_path, service(tmp_path, **ARGV, offline=True), runner, restic))
    words = [" ".join(call[:2]) for call in runner.calls]
    assert words.index("docker stop") < len(words) - 1 - words[::-1].index("docker start")
    assert not list(scratches.marks_of(tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("found", "ok"), [('{"rows": 5}', True), ('{"rows": 4}', False), ('{"rows": 5, "more": 1}', False)]
)
def test_a_drill_compares_what_it_loaded(tmp_path: Path, found: str, ok: bool) -> None:
    runner, restic = (
        FakeRunner(docker(tmp_path, **{COUNT: '{"rows": 5}', "docker compose --file": found})),
        FakeRestic(),
    )
    one = context(tmp_path, service(tmp_path, **ARGV), runner, restic)
    part = Command().backup(one)
    verdict = Command().drill(one, part)
    assert verdict.ok is ok
    assert restic.loaded[0][-1] == "ledger"
    assert not runner.said("docker stop")


def test_a_restore_of_a_backup_that_is_not_right_touches_nothing(tmp_path: Path) -> None:
    runner, restic = (
        FakeRunner(docker(tmp_path, **{COUNT: '{"rows": 5}', "docker compose --file": '{"rows": 0}'})),
        FakeRestic(),
    )
    one = context(tmp_path, service(tmp_path, **ARGV), runner, restic)
    part = Command().backup(one)
    with pytest.raises(BackupError, match="nothing was touched: rows: the backup promises 5"):
        Command().restore(one, part)
    assert not runner.said("docker stop")


def test_a_restore_puts_what_was_loaded_into_the_volume_of_the_service(tmp_path: Path) -> None:
    def load(_argv: tuple[str, ...], _stdin: bytes | None) -> str:
        (tmp_path / "volumes" / "pantheon_restore_ledger_data" / "rows").write_text("restored")
        return '{"rows": 5}'

    runner, restic = FakeRunner(docker(tmp_path, **{COUNT: '{"rows": 5}', "docker compose --file": load})), FakeRestic()
    (tmp_path / "volumes" / "pantheon_ledger_data" / "rows").write_text("before")
    one = context(tmp_path, service(tmp_path, **ARGV), runner, restic)
    part = Command().backup(one)
    Command().restore(one, part)
    assert (tmp_path / "volumes" / "pantheon_ledger_data" / "rows").read_text() == "restored"


def test_what_is_compared() -> None:
    assert compare({"a": 1, "b": "x"}, None, {"a": 1, "b": "x"}) == [Comparison("a", 1, 1), Comparison("b", "x", "x")]
    assert compare({"a": 1}, {"a": 3}, {"a": 2})[0].equal
    assert not compare({"a": 1}, {"a": 3}, {"a": 4})[0].equal
    assert compare({"a": "x"}, {"a": "y"}, {"a": "y"})[0].equal
    assert not compare({"a": "x"}, {"a": "y"}, {"a": "z"})[0].equal
    assert not compare({"a": 1}, None, {})[0].equal


# -- files ---------------------------------------------------------------------------------------------------------------


def test_a_snapshot_and_its_copy_have_the_same_digest(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("hello")
    (root / "link").symlink_to("sub/file")
    status = root.stat()
    owner = {"uid": status.st_uid, "gid": status.st_gid}
    listing = [
        {"path": "/v", "type": "dir", "mode": 0o40755, **owner},
        {"path": "/v/sub", "type": "dir", "mode": 0x80000000 | (root / "sub").stat().st_mode & 0o777, **owner},
        {
            "path": "/v/sub/file",
            "type": "file",
            "size": 5,
            "mode": (root / "sub" / "file").stat().st_mode & 0o777,
            **owner,
        },
        {"path": "/v/link", "type": "symlink", "mode": 0o777, **owner},
        {"path": "/vnext/file", "type": "file", "size": 1, "mode": 0o644, **owner},
    ]
    wanted = summary(promised(listing, "/v"))
    assert wanted == summary(on_disk(root))
    assert (wanted["files"], wanted["bytes"]) == (1, 5)
    (root / "sub" / "file").chmod(0o600)
    assert summary(on_disk(root)) != wanted


# -- the frame -----------------------------------------------------------------------------------------------------------


class Kind:
    """A kind of job that does what the test says."""

    outcome: Any = Part(OK, snapshot="abc")
    verdict: Any = Verdict(True, compared=(Comparison("rows", 1, 1),))
    restored: list[str] = []  # noqa: RUF012

    def backup(self, context: Context) -> Part:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        found: Part = self.outcome
        return found

    def drill(self, context: Context, part: Part) -> Verdict:
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        found: Verdict = self.verdict
        return found

    def restore(self, context: Context, part: Part) -> None:
        self.restored.append(f"{context.machine} {part.snapshot}")


@pytest.fixture
def operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operations:
    """The frame with one job of a kind of the test."""
    monkeypatch.setattr("pantheon_backup.operations.kind_of", lambda _name: Kind())
    monkeypatch.setattr(Kind, "restored", [])
    wanted = config(tmp_path, Job("ledger", "test"))
    table = {
        "stat": "directory",
        "mkdir": "",
        "restic init": "",
        "restic unlock": "",
        "restic snapshots": "[]",
        "docker ps": "",
        "docker volume ls": "",
    }
    runner: Any = FakeRunner(table)
    return Operations(wanted, State(wanted, tmp_path / "state.json"), runner, lambda text: None, tmp_path / "run")


ID = "20991125T023000Z"


def test_a_backup_a_drill_and_a_restore(operations: Operations) -> None:
    assert operations.backup(ID)["ledger"].status == OK
    assert operations.state.data["complete_set"] == ID
    set_id, verdicts = operations.drill("newest")
    assert (set_id, verdicts["ledger"].ok) == (ID, True)
    joined = json.loads((operations.config.target.path / "drills" / f"{ID}.json").read_text())
    assert joined["ok"]
    assert joined["machines"]["erebus"]["jobs"]["ledger"]["compared"] == [
        {"what": "rows", "wanted": 1, "found": 1, "most": None}
    ]
    operations.restore("newest", "ledger", safety=False, options={})
    assert Kind.restored == ["erebus abc"]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (BackupError("no answer"), FAILED, "no answer"),
        (Skipped("a replica"), SKIPPED, "a replica"),
        (ZeroDivisionError("oops"), FAILED, "ZeroDivisionError: oops"),
    ],
)
def test_a_job_that_does_not_work_is_in_the_set(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, outcome: Exception, status: str, reason: str
) -> None:
    monkeypatch.setattr(Kind, "outcome", outcome)
    part = operations.backup(ID)["ledger"]
    assert (part.status, part.reason) == (status, reason)
    assert operations.sets.jobs(ID, "erebus")["ledger"].status == status
    assert not operations.sets.manifest(ID)["complete"]
    with pytest.raises(BackupError, match="There is no complete set"):
        operations.drill("newest")
    with pytest.raises(BackupError, match="has no backup of ledger"):
        operations.restore(ID, "ledger", options={})


def test_a_drill_that_cannot_be_done_is_not_right(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    operations.backup(ID)
    monkeypatch.setattr(Kind, "verdict", BackupError("the repository is damaged"))
    verdict = operations.drill(ID)[1]["ledger"]
    assert (verdict.ok, verdict.reason) == (False, "the repository is damaged")
    assert 'pantheon_restore_drill_last_status{job="ledger"} 0' in operations.config.metrics.read_text()


def test_a_set_without_a_part_of_this_machine_is_not_right(operations: Operations) -> None:
    operations.backup(ID)
    (operations.config.target.path / "sets" / ID / "erebus.json").unlink()
    verdict = operations.drill(ID)[1]["ledger"]
    assert not verdict.ok
    assert "erebus has no part" in verdict.reason


def test_what_cannot_be_backed_up_is_not_restored_over(operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    operations.backup(ID)
    monkeypatch.setattr(Kind, "outcome", BackupError("it is broken"))
    with pytest.raises(BackupError, match="it is not touched: it is broken. Give --no-safety"):
        operations.restore(ID, "ledger", options={})
    assert not Kind.restored


def test_a_job_that_is_interrupted_is_not_taken_for_done(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kind, "outcome", SystemExit(143))
    with pytest.raises(SystemExit):
        operations.backup(ID)
    assert operations.state.data["jobs"]["ledger"]["status"] == FAILED


def test_snapshots_of_sets_that_went_are_forgotten(operations: Operations) -> None:
    table = operations.runner.table  # type: ignore[attr-defined]
    snapshots = [{"id": "old", "tags": ["set=20200101T000000Z"]}, {"id": "new", "tags": [f"set={ID}"]}]
    table |= {"restic snapshots": json.dumps(snapshots), "restic forget": ""}
    operations.backup(ID)
    (forgotten,) = operations.runner.said("restic forget")  # type: ignore[attr-defined]
    assert forgotten[-1] == "old"
    assert "new" not in forgotten


def test_a_set_that_is_not_there(operations: Operations) -> None:
    with pytest.raises(UsageError, match="There is no set 20200101T000000Z"):
        operations.drill("20200101T000000Z")
