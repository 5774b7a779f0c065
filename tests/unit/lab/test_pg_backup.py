# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg-backup, the program inside the image of PostgreSQL, without a PostgreSQL."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "lab" / "images" / "postgresql" / "pg-backup"

PGBACKREST = """\
#!/bin/sh
# Stands in for pgBackRest: writes down how it was called, and does what the test wants.
echo "$*" >> "$CALLS"
case "$*" in
*repo-ls*) cat "${REPO:-/dev/null}"; exit 0 ;;
*stanza-create*) touch "$STANZA"; exit "${STANZA_STATUS:-0}" ;;
esac
[ -n "${HANG:-}" ] && sleep 30
if [ ! -e "$STANZA" ]; then
    echo "ERROR: [103]: unable to find a valid repository:" >&2
    echo "       repo1: [FileMissingError] unable to load info file '/backups/pgbackrest/archive/pantheon/archive.info'" >&2
    echo "       HINT: has a stanza-create been performed?" >&2
    exit 103
fi
[ -z "${COMPLAINT:-}" ] || echo "$COMPLAINT" >&2
exit "${STATUS:-0}"
"""

Module = Any


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """The program as a module, with a pgBackRest of the test's own and nothing of the real paths."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("pg_backup", str(PROGRAM))
    spec = importlib.util.spec_from_loader("pg_backup", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "pgbackrest"
    tool.write_text(PGBACKREST, encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("STANZA", str(tmp_path / "stanza"))
    monkeypatch.setattr(module, "CONFIG", tmp_path / "pgbackrest.conf")
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    (tmp_path / "pgbackrest.conf").write_text(
        f"[global]\nrepo1-path=/backups/pgbackrest\nspool-path={tmp_path}/spool\n", encoding="utf-8"
    )
    return module


def calls(tmp_path: Path) -> list[str]:
    """How pgBackRest was called."""
    path = tmp_path / "calls"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_the_first_segment_makes_the_stanza(program: Module, tmp_path: Path) -> None:
    assert program.archive("pg_wal/000000010000000000000001") == 0
    push = "--stanza=pantheon archive-push pg_wal/000000010000000000000001"
    made = [call for call in calls(tmp_path) if "repo-ls" not in call]
    assert made == [push, "--stanza=pantheon stanza-create", push]
    before = len(calls(tmp_path))
    assert program.archive("pg_wal/000000010000000000000002") == 0
    assert len(calls(tmp_path)) == before + 1, "once it is there, nobody asks for it"
    assert (tmp_path / "spool").is_dir()


def test_a_segment_that_is_not_archived_is_kept_and_the_reason_is_one_line(
    program: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stanza").touch()
    monkeypatch.setenv("STATUS", "41")
    monkeypatch.setenv("COMPLAINT", "ERROR: [041]: unable to open file for write\n       HINT: permission\nINFO: end")
    assert program.archive("pg_wal/000000010000000000000003") == 1
    said = capsys.readouterr().err
    assert said == (
        "pgbackrest-archive: 000000010000000000000003 is not archived: [041] unable to open file for write HINT: permission\n"
    )


def test_a_stanza_that_cannot_be_made_is_no_success(
    program: Module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STANZA_STATUS", "47")
    assert program.archive("pg_wal/000000010000000000000001") == 1
    assert "the stanza pantheon cannot be made" in capsys.readouterr().err


def test_without_a_place_for_backups_the_log_is_let_go(program: Module, tmp_path: Path) -> None:
    program.CONFIG.write_text("# There is no place for backups.\n", encoding="utf-8")
    assert program.archive("pg_wal/000000010000000000000001") == 0
    assert calls(tmp_path) == []


def test_a_file_that_is_missing_is_not_taken_for_no_backups(
    program: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.CONFIG.unlink()
    assert program.archive("pg_wal/000000010000000000000001") == 1
    assert "cannot be read" in capsys.readouterr().err
    assert calls(tmp_path) == []


def test_a_warning_of_pgbackrest_reaches_the_log(
    program: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stanza").touch()
    monkeypatch.setenv("COMPLAINT", "WARN: dropped WAL file '1' because archive queue exceeded 4GB")
    assert program.archive("pg_wal/000000010000000000000001") == 0
    assert "dropped WAL file" in capsys.readouterr().err


def test_a_push_that_hangs_is_ended(
    program: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stanza").touch()
    monkeypatch.setenv("HANG", "yes")
    monkeypatch.setattr(program, "PUSH_SECONDS", 0.2)
    assert program.archive("pg_wal/000000010000000000000001") == 1
    assert "is the NAS away?" in capsys.readouterr().err


@pytest.fixture
def pushing(program: Module, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that is believed to push in the background for long, and the spool in which nothing has happened for long."""
    spool = tmp_path / "spool"
    (spool / "archive" / "pantheon" / "out").mkdir(parents=True)
    os.utime(spool, (0, 0))
    with subprocess.Popen(["sleep", "60"]) as process:
        entry = program.PROC / str(process.pid)
        entry.mkdir(parents=True)
        (entry / "cmdline").write_bytes(b"pgbackrest\0--stanza=pantheon\0archive-push:async\0/pg_wal\0")
        # Of the fields after the name, the twentieth is when it began.
        (entry / "stat").write_text(f"{process.pid} (a b) S {' 1' * 18} 100 0\n", encoding="utf-8")
        (program.PROC / "uptime").write_text(f"{2 * program.HUNG_SECONDS} 1\n", encoding="utf-8")
        yield process, spool
        if process.poll() is None:
            process.kill()


def test_a_background_push_that_got_nowhere_is_ended(program: Module, pushing: Any) -> None:
    process, spool = pushing
    program.end_hung(spool)
    assert process.wait(30) == -9


def test_a_background_push_that_gets_on_is_left_alone(program: Module, pushing: Any) -> None:
    process, spool = pushing
    (spool / "archive" / "pantheon" / "out" / "000000010000000000000001.ok").touch()
    program.end_hung(spool)
    assert process.poll() is None


def test_a_background_push_that_has_just_begun_is_left_alone(program: Module, pushing: Any) -> None:
    process, spool = pushing
    (program.PROC / "uptime").write_text("2 1\n", encoding="utf-8")
    program.end_hung(spool)
    assert process.poll() is None


def test_another_process_is_left_alone(program: Module, pushing: Any) -> None:
    process, spool = pushing
    (program.PROC / str(process.pid) / "cmdline").write_bytes(b"vi\0notes about archive-push:async\0")
    program.end_hung(spool)
    assert process.poll() is None


def test_the_backups_of_another_cluster_are_named_as_such(program: Module) -> None:
    text = (
        "ERROR: [028]: PostgreSQL version 17, system-id 7577 do not match stanza version 17, system-id 7576\n"
        "       HINT: are you archiving to the correct stanza?"
    )
    done = subprocess.CompletedProcess([], 28, "", text)
    assert "another cluster" in program.explained(done)
    assert "another cluster" not in program.explained(subprocess.CompletedProcess([], 1, "", "ERROR: [041]: x"))


HISTORIES = {
    # The second timeline left the first at 0/30; the third, of a restore, left the second at 0/50; the fourth followed it.
    "00000002.history": "1\t0/3000000\tno recovery target specified\n",
    "00000003.history": "1\t0/3000000\tno\n\n2\t0/5000000\tbefore 2026-11-25 02:00:00+00\n",
    "00000004.history": "1\t0/3000000\tno\n\n2\t0/5000000\tno\n\n3\t0/6000000\tno\n",
}
BEGUN = {"00000002.history": 2000, "00000003.history": 3000, "00000004.history": 4000}


def backup(label: str, timeline: int, lsn: str, stop: float, **more: Any) -> dict[str, Any]:
    """A backup as pgBackRest lists it."""
    return {
        "label": label,
        "archive": {"stop": f"{timeline:08X}0000000000000001"},
        "lsn": {"stop": lsn},
        "timestamp": {"stop": stop},
        "database": {"id": 1},
        "error": False,
        **more,
    }


@pytest.fixture
def repository(program: Module, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A repository with a restore in its past: "late" was made on the branch that the restore left."""
    backups = [
        backup("first", 1, "0/2000000", 1500),
        backup("second", 2, "0/4000000", 2500),
        backup("late", 2, "0/5800000", 2900),
        backup("broken", 3, "0/5400000", 3300, error=True),
        backup("other", 3, "0/5400000", 3400, database={"id": 2}),
        backup("third", 3, "0/5500000", 3500),
    ]
    stanza = {"db": [{"id": 2}, {"id": 1, "system-id": 7}], "archive": [{"id": "17-1"}], "backup": backups}

    def asked(command: Any, *, stanza_: dict[str, Any] = stanza, **_options: Any) -> str:
        if command[-1] == "info":
            return json.dumps([stanza_])
        if command[0] == "repo-get":
            return HISTORIES[command[-1].rpartition("/")[2]]
        names = {name: {"type": "file", "time": begun} for name, begun in BEGUN.items()}
        return json.dumps({".": {"type": "path"}, "0000000100000000": {"type": "path"}} | names)

    monkeypatch.setattr(program, "asked", asked)
    return program.Repository()


def options(repository: Any, lsn: str = "", moment: str = "", timeline: str = "", label: str = "") -> str:
    """The options as one text."""
    return " ".join(repository.options(lsn, moment, timeline, label))


def test_a_restore_to_a_place_in_the_log_stops_right_before_it(repository: Any) -> None:
    assert options(repository, "0/4500000", "", "2", "second") == (
        "--type=lsn --target=0/4500000 --target-exclusive --target-action=promote --target-timeline=2 --set=second"
    )


def test_a_backup_that_is_kept_no_more_is_replaced_by_one_before_it(repository: Any) -> None:
    assert options(repository, "0/4500000", "", "2", "gone").endswith("--set=second")
    assert options(repository, "0/5900000", "", "2", "gone").endswith("--set=late")


def test_a_branch_that_was_left_is_of_no_use_for_what_came_after(repository: Any) -> None:
    """By its time and its place in the log "late" would be the one that is nearest."""
    assert options(repository, "0/5450000", "", "3", "gone").endswith("--target-timeline=3 --set=second")
    assert options(repository, "0/6500000", "", "4", "gone").endswith("--target-timeline=4 --set=third")


def test_a_moment_belongs_to_the_timeline_of_then(repository: Any) -> None:
    assert options(repository, moment="1970-01-01 00:49:00+00").endswith("--target-timeline=2 --set=late")
    assert options(repository, moment="1970-01-01 00:51:00+00").endswith("--target-timeline=3 --set=second")
    assert options(repository, moment="1970-01-01 00:30:00+00").endswith("--target-timeline=1 --set=first")
    assert options(repository).endswith("--target-timeline=4 --set=third"), "the end of the log"
    assert options(repository, timeline="2") == "--target-timeline=2 --set=late", "undoes the restore"


def test_before_the_oldest_backup_there_is_nothing(repository: Any, program: Module) -> None:
    with pytest.raises(program.Failure, match="no backup is kept from which the log leads there; the oldest is first"):
        options(repository, moment="1970-01-01 00:20:00+00")


def test_a_new_leader_archives_what_the_last_one_may_have_left(
    program: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stanza").touch()
    (tmp_path / "repo").write_text("17-1/0000000100000000/000000010000000000000002-0af3.zst\n", encoding="utf-8")
    monkeypatch.setenv("REPO", str(tmp_path / "repo"))
    wal = tmp_path / "pg_wal"
    status = wal / "archive_status"
    status.mkdir(parents=True)
    for name in (
        "000000010000000000000002",
        "000000010000000000000003",
        "000000020000000000000004",
        "00000002.history",
    ):
        (wal / name).touch()
        (status / f"{name}.done").touch()
    (status / "000000010000000000000001.done").touch()  # the segment itself is gone
    assert program.archive(str(wal / "000000020000000000000004")) == 0
    assert [path.stem for path in status.glob("*.ready")] == ["000000010000000000000003"]
    assert "archives 1 segments" in capsys.readouterr().err
    (status / "000000010000000000000003.ready").rename(status / "000000010000000000000003.done")
    assert program.archive(str(wal / "000000020000000000000005")) == 0
    assert not list(status.glob("*.ready")), "once for each timeline"


def test_names_are_quoted(program: Module) -> None:
    assert program.quoted("public", 'a"b') == '"public"."a""b"'


def test_what_was_written_for_the_recovery_is_taken_out_again(program: Module, tmp_path: Path) -> None:
    path = tmp_path / "postgresql.auto.conf"
    path.write_text(
        "work_mem = '8MB'\n"
        "# Recovery settings generated by pgBackRest restore on 2026-11-25 02:00:00\n"
        "restore_command = 'pgbackrest --stanza=pantheon archive-get %f \"%p\"'\n"
        "recovery_target = 'immediate'\nrecovery_target_timeline = '1'\n",
        encoding="utf-8",
    )
    program.forget_recovery(path)
    assert path.read_text(encoding="utf-8") == "work_mem = '8MB'\n"


def test_segments_that_are_nowhere_else_are_found(program: Module, tmp_path: Path) -> None:
    status = tmp_path / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    (status / "000000010000000000000004.ready").touch()
    (status / "000000010000000000000003.done").touch()
    assert program.unarchived(tmp_path) == ["000000010000000000000004"]
    assert program.unarchived(tmp_path / "nothing") == []


def test_a_drill_refuses_where_there_are_data(program: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "DATA", tmp_path)
    (tmp_path / "PG_VERSION").write_text("17\n", encoding="utf-8")
    with pytest.raises(program.Failure, match="not empty"):
        program.drill("0/1", "1", "", rows=True)
    assert calls(tmp_path) == []
