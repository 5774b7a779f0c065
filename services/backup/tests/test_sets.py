# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets: parts of several machines, what is missing, and what stays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pantheon_backup.model import FAILED, OK, SKIPPED, BackupError, Part, UsageError, set_time
from pantheon_backup.sets import Sets, kept, scheduled

ID = "20261125T023000Z"
GOOD = Part(status=OK, snapshot="abc", bytes=3)


def sets(folder: Path, *expected: str) -> Sets:
    return Sets(folder / "sets", expected or ("erebus",), "test")


def test_a_set_is_complete_when_every_machine_has_every_job(tmp_path: Path) -> None:
    found = sets(tmp_path, "erebus", "thanatos")
    first = found.add(ID, "erebus", ["redis"], {"redis": GOOD}, "now")
    assert not first["complete"]
    assert first["missing"] == [{"machine": "thanatos", "job": "", "reason": "it has no part in the set"}]
    second = found.add(ID, "thanatos", ["redis"], {"redis": Part(SKIPPED, "a replica")}, "now")
    assert second["complete"]
    assert second["parts"]["thanatos"]["jobs"] == {"redis": SKIPPED}
    assert found.newest_complete() == ID
    assert found.jobs(ID, "erebus")["redis"] == GOOD


def test_a_service_that_everybody_skips_is_missing(tmp_path: Path) -> None:
    found = sets(tmp_path, "erebus", "thanatos")
    for machine in ("erebus", "thanatos"):
        manifest = found.add(ID, machine, ["redis"], {"redis": Part(SKIPPED, "a replica")}, "now")
    assert not manifest["complete"]
    assert {gap["machine"] for gap in manifest["missing"]} == {"erebus", "thanatos"}
    assert "a replica" in manifest["missing"][0]["reason"]


def test_what_failed_or_was_not_tried_is_missing(tmp_path: Path) -> None:
    found = sets(tmp_path)
    manifest = found.add(ID, "erebus", ["neo4j", "redis"], {"redis": Part(FAILED, "no answer")}, "now")
    assert [(gap["job"], gap["reason"]) for gap in manifest["missing"]] == [
        ("neo4j", "it was not backed up"),
        ("redis", "no answer"),
    ]


def test_a_later_run_adds_to_a_set_and_never_makes_it_worse(tmp_path: Path) -> None:
    found = sets(tmp_path)
    found.add(ID, "erebus", ["redis", "neo4j"], {"redis": GOOD, "neo4j": Part(FAILED, "x")}, "now")
    found.add(ID, "erebus", ["redis", "neo4j"], {"neo4j": GOOD}, "now", partial=True)
    manifest = found.add(ID, "erebus", ["redis", "neo4j"], {"redis": Part(FAILED, "later")}, "now", partial=True)
    assert manifest["complete"]
    assert not manifest["partial"]
    assert found.jobs(ID, "erebus")["redis"] == GOOD


def test_a_set_of_one_service_says_so(tmp_path: Path) -> None:
    manifest = sets(tmp_path).add(ID, "erebus", ["redis", "neo4j"], {"redis": GOOD}, "now", partial=True)
    assert manifest["partial"]
    assert not manifest["complete"]


def test_a_part_that_comes_while_the_manifest_is_written_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pantheon_backup import sets as module

    found, other = sets(tmp_path, "erebus", "thanatos"), sets(tmp_path, "erebus", "thanatos")
    real, once = module.write, []

    def slow(path: Path, data: object, mode: int = 0o600) -> None:
        if path.name == "manifest.json" and not once:
            once.append(path)
            # The other machine writes its part and its manifest before ours takes its place.
            other.add(ID, "thanatos", ["redis"], {"redis": GOOD}, "now")
        real(path, data, mode)

    monkeypatch.setattr(module, "write", slow)
    found.add(ID, "erebus", ["redis"], {"redis": GOOD}, "now")
    assert found.manifest(ID)["complete"]
    assert set(found.manifest(ID)["parts"]) == {"erebus", "thanatos"}


def test_a_manifest_that_is_older_than_the_parts_is_not_believed(tmp_path: Path) -> None:
    """A client of NFS may still show the one that another machine has replaced a second ago."""
    found = sets(tmp_path, "erebus", "thanatos")
    found.add(ID, "erebus", ["redis"], {"redis": GOOD}, "now")
    manifest = tmp_path / "sets" / ID / "manifest.json"
    old = manifest.read_bytes()
    found.add(ID, "thanatos", ["redis"], {"redis": GOOD}, "now")
    manifest.write_bytes(old)
    assert found.manifest(ID)["complete"]
    assert found.newest_complete() == ID


def test_a_part_that_somebody_changed_is_refused(tmp_path: Path) -> None:
    found = sets(tmp_path)
    found.add(ID, "erebus", ["redis"], {"redis": GOOD}, "now")
    found.check(ID, "erebus")
    path = tmp_path / "sets" / ID / "erebus.json"
    path.write_text(path.read_text().replace('"abc"', '"xyz"'))
    with pytest.raises(BackupError, match="not the file that the manifest"):
        found.check(ID, "erebus")


def test_damage_is_named(tmp_path: Path) -> None:
    found = sets(tmp_path)
    found.add(ID, "erebus", ["redis"], {"redis": GOOD}, "now")
    (tmp_path / "sets" / ID / "erebus.json").write_text("{")
    with pytest.raises(BackupError, match="erebus.json cannot be read"):
        found.jobs(ID, "erebus")
    assert found.make_manifest(ID, "erebus")["missing"][0]["reason"] == "its part is damaged"
    (tmp_path / "sets" / ID / "erebus.json").write_text(json.dumps({"form": 99}))
    with pytest.raises(BackupError, match="later version"):
        found.jobs(ID, "erebus")


def days(*numbers: int) -> list[tuple[str, bool]]:
    start = datetime(2026, 1, 1, 2, 30, tzinfo=timezone.utc)
    return [((start + timedelta(days=number)).strftime("%Y%m%dT%H%M%SZ"), True) for number in numbers]


def test_days_weeks_and_months_stay() -> None:
    found = days(*range(120))
    stay = kept(found, {"daily": 7, "weekly": 4, "monthly": 3}, datetime(2026, 5, 1, tzinfo=timezone.utc))
    assert len([one for one, _complete in found[-7:] if one in stay]) == 7
    # The end of each of the last months, and of the last weeks.
    assert {"20260228T023000Z", "20260331T023000Z", "20260430T023000Z"} <= stay
    assert len(stay) <= 7 + 4 + 3


def test_an_incomplete_set_does_not_push_a_complete_one_out() -> None:
    found = [("20260101T023000Z", True), ("20260101T120000Z", False), ("20260102T023000Z", False)]
    stay = kept(found, {"daily": 1, "weekly": 0, "monthly": 0}, datetime(2026, 6, 1, tzinfo=timezone.utc))
    # The day's only set, and the newest complete one, which is all there is to restore from.
    assert stay == {"20260102T023000Z", "20260101T023000Z"}
    assert "20260101T120000Z" not in kept(found, {"daily": 2}, datetime(2026, 6, 1, tzinfo=timezone.utc))


def test_what_was_made_today_stays() -> None:
    found = [("20260601T090000Z", False), ("20260601T100000Z", False), ("20260601T110000Z", True)]
    assert kept(found, {"daily": 1}, datetime(2026, 6, 1, 12, tzinfo=timezone.utc)) == {one for one, _complete in found}


def test_sets_that_need_not_stay_lose_the_part_of_the_machine_and_then_go(tmp_path: Path) -> None:
    found = sets(tmp_path, "erebus", "thanatos")
    old, new = "20250101T023000Z", "20260601T023000Z"
    for set_id in (old, new):
        for machine in ("erebus", "thanatos", "gone"):
            found.add(set_id, machine, ["redis"], {"redis": GOOD}, "now")
    now = datetime(2026, 6, 1, 3, tzinfo=timezone.utc)
    assert found.expire({"daily": 1}, "erebus", now) == [new]
    assert sorted(path.name for path in (tmp_path / "sets" / old).glob("*s.json")) == ["thanatos.json"]
    found.expire({"daily": 1}, "thanatos", now)
    assert found.ids() == [new]


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ("2026-11-25T02:30:00", "20261125T013000Z"),
        ("2026-11-25T23:59:00", "20261125T013000Z"),
        ("2026-11-25T02:29:59", "20261124T013000Z"),
        ("2026-07-01T09:00:00", "20260701T003000Z"),
    ],
)
def test_the_id_is_the_time_that_was_due(now: str, wanted: str) -> None:
    local = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert scheduled(local, "02:30", 24) == wanted


def test_shorter_periods_begin_at_the_time_of_day() -> None:
    now = datetime(2026, 11, 25, 9, 0, tzinfo=timezone.utc)
    assert scheduled(now, "02:30", 6) == "20261125T083000Z"


def test_an_id_is_a_time() -> None:
    assert set_time(ID) == datetime(2026, 11, 25, 2, 30, tzinfo=timezone.utc)
    with pytest.raises(UsageError, match="looks like"):
        set_time("yesterday")
