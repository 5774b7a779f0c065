# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups are worth something: a drill restores them, a damaged one is found, and PostgreSQL goes back to before a mistake."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from .conftest import Lab
from .test_9_data import MEMBERS, leaders, sql, standby_streams

DATABASE = "open_webui"
TARGET = "/backups/nas"
ROWS = 5000
#: The sum over the rows does not depend on their order.
SUM = "SELECT count(*), sum(hashtextextended(ROW(x.*)::text, 0)::numeric) FROM {} x"
FLIP = """
import sys
path = sys.argv[1]
with open(path, "r+b") as file:
    data = bytearray(file.read())
    for place in range(len(data) // 2, len(data) // 2 + 64):
        data[place] ^= 0xFF
    file.seek(0)
    file.write(data)
"""


@pytest.fixture
def whole(lab: Lab) -> Lab:
    """A lab whose database has its standby."""
    lab.wait(lambda: standby_streams(lab), 120, lambda: f"no standby streams; leaders are {leaders(lab)}")
    return lab


@pytest.fixture
def table(whole: Lab) -> Iterator[str]:
    """A table of the test's own, with rows."""
    name = f"backup_{int(time.time())}"
    (leader,) = leaders(whole)
    sql(
        whole,
        leader,
        f"CREATE TABLE {name} AS SELECT i, md5(i::text) AS body FROM generate_series(1, {ROWS}) i",
        DATABASE,
    )
    yield name
    for leader in leaders(whole):
        sql(whole, leader, f"DROP TABLE IF EXISTS {name}", DATABASE)


def back_up(lab: Lab) -> str:
    """Make a complete set of all machines; returns its id."""
    run = lab.play(playbook="playbooks/backup.yml")
    assert run.status == 0, run.problems
    sets = json.loads(lab.on("erebus", "pantheon-backup list --json"))
    assert sets[0]["complete"], sets[0]
    return str(sets[0]["set"])


def drill(lab: Lab, machine: str, set_id: str) -> tuple[bool, str]:
    """Drill PostgreSQL's part of a set on the machine that made it; returns the verdict and its reason."""
    said = lab.on(machine, f"pantheon-backup drill --set {set_id} --job postgresql", limit=300, check=False)
    verdict = json.loads(said)["jobs"]["postgresql"]
    return bool(verdict["ok"]), str(verdict["reason"])


def test_a_backup_is_proven_and_a_damaged_one_is_found(whole: Lab, table: str) -> None:
    (leader,) = leaders(whole)
    set_id = back_up(whole)
    part = json.loads(whole.on(leader, f"cat {TARGET}/sets/{set_id}/{leader}.json"))["jobs"]["postgresql"]
    assert part["details"]["exact"], part["details"]
    assert part["counts"][f"{DATABASE}/public.{table}"]["rows"] == ROWS
    run = whole.play("-e", f"set={set_id}", playbook="playbooks/restore_drill.yml")
    assert run.status == 0, run.problems

    # What the backup itself holds is what a restore of it needs in any case; of an older one below it only a part.
    folder = f"{TARGET}/pgbackrest/backup/pantheon/{part['snapshot']}"
    victim = whole.on(leader, f"find {folder} -type f -path '*/bundle/*' -printf '%s %p\\n' | sort -n | tail -1")
    path = victim.split(maxsplit=1)[1].strip()
    whole.on(leader, f"cp -p {path} /var/tmp/backup-victim && python3 -c '{FLIP}' {path}")
    try:
        right, reason = drill(whole, leader, set_id)
        assert not right, "a damaged backup was called right"
        print(f"a damaged backup: {reason}")
    finally:
        whole.on(leader, f"cat /var/tmp/backup-victim > {path} && rm /var/tmp/backup-victim")
    right, reason = drill(whole, leader, set_id)
    assert right, reason
    left = "docker ps -aq --filter label=ai.pantheon.scratch; docker volume ls -q --filter label=ai.pantheon.scratch"
    assert not whole.on(leader, left).strip(), "a drill left something behind"


def test_postgresql_goes_back_to_the_second_before_a_table_was_dropped(whole: Lab, table: str) -> None:
    wanted = set(whole.containers())
    (leader,) = leaders(whole)
    back_up(whole)
    # After the backup, so that only the log has it.
    sql(whole, leader, f"INSERT INTO {table} SELECT i, 'late' FROM generate_series(1, 100) i", DATABASE)
    before = sql(whole, leader, SUM.format(table), DATABASE)
    assert before.startswith(f"{ROWS + 100}|")
    time.sleep(1)
    moment = sql(
        whole,
        leader,
        "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') || 'T' || to_char(now() AT TIME ZONE 'UTC', 'HH24:MI:SS') || 'Z'",
    )
    time.sleep(2)
    sql(whole, leader, f"DROP TABLE {table}", DATABASE)
    assert not sql(whole, leader, SUM.format(table), DATABASE)

    asked = ["-e", "service=postgresql", "-e", "set=newest", "-e", f"time={moment}"]
    look = whole.play(*asked, playbook="playbooks/restore.yml")
    assert look.status == 0, look.problems
    assert not look.changed(), "without sure=yes it only says what it would do"
    run = whole.play(*asked, "-e", "sure=yes", playbook="playbooks/restore.yml")
    assert run.status == 0, run.problems
    print(f"restored to {moment} in {run.seconds:.0f} s")

    (leader,) = leaders(whole)
    assert sql(whole, leader, SUM.format(table), DATABASE) == before
    assert standby_streams(whole)
    for name in MEMBERS:
        whole.wait(lambda name=name: sql(whole, name, SUM.format(table), DATABASE) == before, 30, f"{name} lacks rows")  # type: ignore[misc]
    whole.wait(lambda: whole.settled(wanted), 240, lambda: f"not every service came back: {whole.unsettled(wanted)}")
    verdict = whole.play(playbook="playbooks/verify.yml")
    assert verdict.status == 0, verdict.problems


def test_postgresql_starts_and_works_while_the_target_is_away(whole: Lab, table: str) -> None:
    (leader,) = leaders(whole)
    container = "pantheon-postgresql-postgresql-1"
    # What is mounted at a lower place hides the target, as a mount that is missing would.
    whole.on(leader, f"mount --types tmpfs --options mode=0000 none {TARGET}")
    try:
        sql(whole, leader, "SELECT pg_switch_wal()")
        whole.on(leader, f"docker restart --time 60 {container}", limit=120)
        whole.wait(lambda: standby_streams(whole), 120, lambda: f"no standby streams; leaders are {leaders(whole)}")
        for name in leaders(whole):
            sql(whole, name, f"INSERT INTO {table} VALUES (0, 'while the target was away')", DATABASE)
            found = sql(whole, name, f"SELECT count(*) FROM {table} WHERE i = 0", DATABASE)
            assert found == "1"
    finally:
        whole.on(leader, f"umount {TARGET}")

    def archived() -> bool:
        (now,) = leaders(whole) or [""]
        command = f"docker exec --user postgres {container} pgbackrest --stanza=pantheon --archive-timeout=60 check >/dev/null 2>&1 && echo right"
        return bool(now) and "right" in whole.on(now, command, limit=120, check=False)

    whole.wait(archived, 240, "the log does not reach the archive again")
