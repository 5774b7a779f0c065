# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind postgres: what it decides, from answers as PostgreSQL and pgBackRest give them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from frame_fakes import FakeRunner, context, docker, service

from pantheon_backup.jobs import postgres
from pantheon_backup.jobs.postgres import Postgres, moment
from pantheon_backup.model import OK, BackupError, Context, Part, Skipped, TargetAway

DAY = 24 * 3600
IN = "docker exec --user postgres pantheon-ledger-ledger-1"
ROLE = f"{IN} psql -XtAqc SELECT pg_is_in_recovery()"

COUNTED = {
    "exact": True,
    "lsn": "0/5000028",
    "segment": "000000030000000000000005",
    "timeline": 3,
    "server": "17.6",
    "system": "7711",
    "roles": {"rows": 4, "checksum": "12"},
    "databases": {
        "open_webui": {
            "tables": {"public.chat": {"rows": 7, "checksum": "99"}},
            "extensions": {"vector": "0.8.0"},
        }
    },
}


def made(label: str, kind: str, stop: float, cluster: int = 1, error: bool = False) -> dict[str, Any]:
    """Return a backup as pgBackRest lists it."""
    return {
        "label": label,
        "type": kind,
        "error": error,
        "database": {"id": cluster, "repo-key": 1},
        "timestamp": {"start": stop - 3, "stop": stop},
        "archive": {"start": "000000030000000000000004", "stop": "000000030000000000000004"},
        "backrest": {"format": 5, "version": "2.55.1"},
        "info": {"size": 1000, "delta": 900, "repository": {"size": 300, "delta": 250}},
    }


def information(*backups: dict[str, Any]) -> str:
    """Return what pgBackRest says about its repository."""
    stanza = {
        "name": "pantheon",
        "db": [{"id": 1, "system-id": 7711, "version": "17"}],
        "archive": [{"id": "17-1", "min": "000000010000000000000001", "max": "000000030000000000000005"}],
        "backup": list(backups),
    }
    return json.dumps([stanza])


def primary(tmp_path: Path, **more: Any) -> FakeRunner:
    """Return the machine of the member that leads."""
    (tmp_path / "target").mkdir()
    return FakeRunner(
        docker(tmp_path)
        | {
            ROLE: "f\n",
            f"{IN} pgbackrest --stanza=pantheon stanza-create": "",
            f"{IN} pgbackrest --stanza=pantheon --output=json info": information(made("20261125-023000F", "full", 0)),
            f"{IN} pgbackrest --stanza=pantheon --type=": "",
            f"{IN} pgbackrest --stanza=pantheon --archive-timeout=120 check": "",
            f"{IN} pgbackrest --output=json repo-ls archive/pantheon/17-1/0000000300000000": json.dumps(
                {".": {"type": "path"}, "000000030000000000000005-abc.zst": {"type": "file"}}
            ),
            f"{IN} pg-backup count": json.dumps(COUNTED),
        }
        | more
    )


@pytest.fixture(autouse=True)
def _no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may give folders away."""
    monkeypatch.setattr("os.chown", lambda *_: None)


def part(**more: Any) -> Part:
    """Return a part as a backup leaves it."""
    details = {
        "exact": True,
        "lsn": "0/5000028",
        "timeline": 3,
        "segment": "000000030000000000000005",
        "system": "7711",
        "reason": "",
    }
    counts = postgres.promised(COUNTED)
    return Part(status=OK, snapshot="20261125-023000F", counts=counts, details=details | more)


# -- backup --------------------------------------------------------------------------------------------------------------


def test_a_standby_makes_no_backup(tmp_path: Path) -> None:
    runner = FakeRunner({ROLE: "t\n"})
    with pytest.raises(Skipped, match="standby"):
        Postgres().backup(context(tmp_path, service(tmp_path), runner))
    assert len(runner.calls) == 1


def test_a_member_that_does_not_answer_is_no_standby(tmp_path: Path) -> None:
    runner = FakeRunner({ROLE: (2, "", "psql: error: connection to server on socket failed")})
    with pytest.raises(BackupError, match="connection to server"):
        Postgres().backup(context(tmp_path, service(tmp_path), runner))


def test_the_leader_backs_up_counts_and_sees_the_log_archived(tmp_path: Path) -> None:
    runner = primary(tmp_path)
    found = Postgres().backup(context(tmp_path, service(tmp_path), runner))
    assert (found.status, found.snapshot, found.bytes) == (OK, "20261125-023000F", 250)
    assert found.counts["open_webui/public.chat"] == {"rows": 7, "checksum": "99"}
    assert found.counts["roles"] == {"rows": 4, "checksum": "12"}
    assert found.details["lsn"] == "0/5000028"
    assert found.versions["postgresql"] == "17.6"
    assert (tmp_path / "target" / "pgbackrest").stat().st_mode & 0o777 == 0o700
    done = [" ".join(call) for call in runner.calls]
    (backup,) = [call for call in done if call.endswith(" backup")]
    # As old as the epoch, so a full one is due.
    assert "--type=full --repo1-retention-full=4 --repo1-retention-diff=7 --annotation=set=20261125T023000Z" in backup
    count, check = (
        done.index(f"{IN} pg-backup count"),
        next(n for n, call in enumerate(done) if call.endswith(" check")),
    )
    assert done.index(backup) < count < check, "the place that was counted at has to lie behind the backup"


def test_a_segment_that_is_not_in_the_archive_makes_the_backup_worthless(tmp_path: Path) -> None:
    listing = f"{IN} pgbackrest --output=json repo-ls archive/pantheon/17-1/0000000300000000"
    runner = primary(tmp_path, **{listing: json.dumps({"000000030000000000000004-abc.zst": {"type": "file"}})})
    with pytest.raises(BackupError, match="000000030000000000000005 of the log is not in the archive"):
        Postgres().backup(context(tmp_path, service(tmp_path), runner))


def test_the_repository_of_another_cluster_is_said_with_what_to_do(tmp_path: Path) -> None:
    words = "ERROR: [028]: backup and archive info files exist but do not match the database\n HINT: x"
    runner = primary(tmp_path, **{f"{IN} pgbackrest --stanza=pantheon stanza-create": (28, "", words)})
    with pytest.raises(BackupError, match="another cluster: bring that one back with playbooks/restore.yml"):
        Postgres().backup(context(tmp_path, service(tmp_path), runner))


def test_without_a_quiet_moment_the_part_says_so(tmp_path: Path) -> None:
    restless = {
        **{key: value for key, value in COUNTED.items() if key != "roles"},
        "exact": False,
        "reason": "something was written at every moment for 60 s",
        "databases": {"open_webui": {"tables": {"public.chat": None}, "extensions": {}}},
    }
    runner = primary(tmp_path, **{f"{IN} pg-backup count": json.dumps(restless)})
    found = Postgres().backup(context(tmp_path, service(tmp_path), runner))
    assert found.details["exact"] is False
    assert "every moment" in found.details["reason"]
    assert found.counts["open_webui/public.chat"] is None
    assert "roles" not in found.counts


@pytest.mark.parametrize(
    ("backups", "kind"),
    [
        ([], "full"),
        ([made("a", "full", 5 * DAY)], "diff"),
        ([made("a", "full", 3 * DAY)], "full"),
        ([made("a", "full", 3 * DAY), made("b", "diff", 9 * DAY)], "full"),
        ([made("a", "full", 9 * DAY, cluster=2)], "full"),
        ([made("a", "full", 9 * DAY, error=True)], "full"),
    ],
)
def test_a_full_backup_once_a_week(backups: list[dict[str, Any]], kind: str) -> None:
    found = json.loads(information(*backups))[0]
    assert Postgres.next_kind(found, 10 * DAY) == kind


def test_before_the_first_backup_there_is_nothing(tmp_path: Path) -> None:
    assert Postgres.next_kind(postgres.one_stanza([]), 0) == "full"


# -- drill ---------------------------------------------------------------------------------------------------------------


def drilled(tmp_path: Path, answer: Any, wanted: Part | None = None) -> tuple[Any, list[str], Context]:
    """Drill with what the container answers; returns the verdict, what ran in containers, and the context."""
    (tmp_path / "target" / "pgbackrest").mkdir(parents=True)
    ran: list[str] = []
    job = service(tmp_path)

    def run(argv: tuple[str, ...], _stdin: bytes | None) -> Any:
        project = json.loads(Path(argv[argv.index("--file") + 1]).read_text())
        one = project["services"]["ledger"]
        ran.append(" ".join([*one["entrypoint"], *one["command"]]))
        assert one["user"] == "postgres"
        assert one["network_mode"] == "none"
        repository = str(tmp_path / "target" / "pgbackrest")
        assert {"type": "bind", "source": repository, "target": repository, "read_only": True} in [
            {key: value for key, value in mount.items() if key != "bind"} for mount in one["volumes"]
        ], "a drill cannot change the repository"
        if ran[-1].endswith("info"):
            return information(made("20261125-023000F", "full", 5))
        return answer

    where = context(tmp_path, job, FakeRunner(docker(tmp_path, **{"docker compose --file": run})))
    verdict = Postgres().drill(where, wanted or part())
    return verdict, ran, where


CHECKS = {"amcheck": "ok", "checksums": "ok", "seconds": {"restore": 1}, "label": "20261125-023000F"}


def test_a_drill_restores_to_the_place_that_was_counted_at(tmp_path: Path) -> None:
    verdict, ran, _where = drilled(tmp_path, json.dumps(COUNTED | CHECKS))
    assert verdict.ok, verdict.reason
    assert ran[-1] == "pg-backup drill --lsn=0/5000028 --timeline=3 --set=20261125-023000F"
    assert {one.what for one in verdict.compared} >= {"open_webui/public.chat", "roles", "pg_amcheck", "pg_checksums"}


def test_a_row_that_is_missing_or_different_fails_the_drill(tmp_path: Path) -> None:
    copy = json.loads(json.dumps(COUNTED))
    copy["databases"]["open_webui"]["tables"]["public.chat"] = {"rows": 7, "checksum": "98"}
    verdict, _ran, _where = drilled(tmp_path, json.dumps(copy | CHECKS))
    assert not verdict.ok
    assert "open_webui/public.chat" in verdict.reason


def test_a_table_that_is_missing_or_too_many_fails_the_drill(tmp_path: Path) -> None:
    copy = json.loads(json.dumps(COUNTED))
    tables = copy["databases"]["open_webui"]["tables"]
    tables["public.other"] = tables.pop("public.chat")
    verdict, _ran, _where = drilled(tmp_path, json.dumps(copy | CHECKS))
    assert not verdict.ok
    assert {one.what for one in verdict.compared if not one.equal} == {
        "open_webui/public.chat",
        "open_webui/public.other",
    }


def test_a_page_that_is_damaged_fails_the_drill(tmp_path: Path) -> None:
    verdict, _ran, _where = drilled(tmp_path, json.dumps(COUNTED | CHECKS | {"checksums": "pg_checksums ended with 1"}))
    assert not verdict.ok
    assert "pg_checksums" in verdict.reason


def test_a_backup_that_cannot_be_restored_is_said_in_one_sentence(tmp_path: Path) -> None:
    answer = (1, "", " Container creating\npg-backup drill: pgBackRest restore: [029] data corruption detected.\n")
    with pytest.raises(BackupError, match=r"^pgBackRest restore: \[029\] data corruption detected\.$"):
        drilled(tmp_path, answer)


def test_without_counts_a_drill_says_what_it_did_not_compare(tmp_path: Path) -> None:
    copy = {**COUNTED, "databases": {"open_webui": {"tables": {"public.chat": None}, "extensions": {}}}}
    del copy["roles"]
    wanted = dataclasses.replace(
        part(exact=False, reason="something was written at every moment"), counts=postgres.promised(copy)
    )
    verdict, ran, _where = drilled(tmp_path, json.dumps(copy | CHECKS), wanted)
    assert verdict.ok
    assert "Rows were not counted" in verdict.reason
    assert ran[-1].endswith("--names-only")


def test_a_drill_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "free_bytes", lambda _place: 1100)
    with pytest.raises(BackupError, match="MiB are free"):
        drilled(tmp_path, json.dumps(COUNTED | CHECKS))


def test_without_a_repository_the_target_is_away(tmp_path: Path) -> None:
    with pytest.raises(TargetAway, match="no backup of PostgreSQL was made yet"):
        Postgres().drill(context(tmp_path, service(tmp_path), FakeRunner({})), part())


# -- restore -------------------------------------------------------------------------------------------------------------


def restored(tmp_path: Path, answer: dict[str, Any], options: dict[str, str]) -> str:
    """Restore with what the container answers; returns what ran in it."""
    (tmp_path / "target" / "pgbackrest").mkdir(parents=True)
    ran: list[str] = []

    def run(argv: tuple[str, ...], _stdin: bytes | None) -> str:
        project = json.loads(Path(argv[argv.index("--file") + 1]).read_text())
        one = project["services"]["ledger"]
        ran.append(" ".join([*one["entrypoint"], *one["command"]]))
        assert project["volumes"]["data"]["name"] == "pantheon_ledger_data", "the data of the service itself"
        return json.dumps(answer)

    stopped = {"docker inspect --format {{.State.Running}} pantheon-ledger-ledger-1": "false"}
    runner = FakeRunner(docker(tmp_path, **{"docker compose --file": run}) | stopped)
    where = dataclasses.replace(context(tmp_path, service(tmp_path), runner), options=options)
    Postgres().restore(where, part())
    return ran[-1]


ANSWER = {**COUNTED, "timeline": 4, "seconds": {}, "put_aside": "", "label": "20261125-023000F"}


def test_a_restore_goes_to_what_the_set_promises_and_compares_it(tmp_path: Path) -> None:
    assert restored(tmp_path, ANSWER, {}) == "pg-backup restore --lsn=0/5000028 --timeline=3 --set=20261125-023000F"


def test_a_restore_that_is_not_as_promised_is_an_error(tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(ANSWER))
    wrong["databases"]["open_webui"]["tables"]["public.chat"]["rows"] = 6
    with pytest.raises(BackupError, match="not as it was"):
        restored(tmp_path, wrong, {})


@pytest.mark.parametrize(
    ("time", "arguments"),
    [
        ("2026-11-25 02:00:00+00", "--time=2026-11-25 02:00:00+00"),
        ("2026-11-25T02:00:00.5Z", "--time=2026-11-25 02:00:00.5+00"),
        ("2026-11-25 02:00:00+01:00@7", "--time=2026-11-25 02:00:00+01:00 --timeline=7"),
        ("latest@2", "--timeline=2"),
    ],
)
def test_a_restore_goes_to_any_moment(tmp_path: Path, time: str, arguments: str) -> None:
    assert restored(tmp_path, ANSWER, {"time": time}) == f"pg-backup restore {arguments}"


def test_a_restore_to_the_end_of_the_log(tmp_path: Path) -> None:
    assert restored(tmp_path, ANSWER, {"time": "latest"}) == "pg-backup restore"


@pytest.mark.parametrize("time", ["yesterday", "2026-11-25 02:00:00", "02:00:00+00", "latest@x"])
def test_a_moment_without_its_zone_is_refused(tmp_path: Path, time: str) -> None:
    with pytest.raises(BackupError, match="time: "):
        restored(tmp_path, ANSWER, {"time": time})


def test_the_data_of_a_server_that_runs_are_left_alone(tmp_path: Path) -> None:
    runner = FakeRunner(docker(tmp_path))
    with pytest.raises(BackupError, match="restore with playbooks/restore.yml"):
        Postgres().restore(context(tmp_path, service(tmp_path), runner), part())
    assert not runner.said("docker compose")


def test_moments() -> None:
    assert moment(" 2026-11-25 02:00:00-0530 ") == "2026-11-25 02:00:00-0530"
