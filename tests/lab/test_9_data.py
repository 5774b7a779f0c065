# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data tier loses nothing: its leader's machine is killed or cut off while a client writes, and every acknowledged row is there."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import PREFIX, ROOT, Lab, docker

MEMBERS = ("erebus", "thanatos")
CLIENT = "orpheus"
INTERFACE = "pantheon-open-webui-open-webui-1"
WRITERS = ROOT / "roles" / "drill" / "files"
WRITER = (WRITERS / "postgresql_writer.py").read_text(encoding="utf-8")
REDIS_WRITER = (WRITERS / "redis_writer.py").read_text(encoding="utf-8")


def sql(lab: Lab, machine: str, query: str, database: str = "postgres") -> str:
    """Ask the server on a machine, over its socket; an empty text when it does not answer."""
    command = f'docker exec --user postgres pantheon-postgresql-postgresql-1 psql -d {database} -tAqc "{query}"'
    return lab.on(machine, command, check=False).strip()


def leaders(lab: Lab) -> list[str]:
    """The machines whose server takes writes."""
    return [name for name in MEMBERS if sql(lab, name, "SELECT pg_is_in_recovery()") == "f"]


def standby_streams(lab: Lab) -> bool:
    """Whether one machine leads and the other one has a copy of everything that is acknowledged."""
    found = leaders(lab)
    query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"
    return len(found) == 1 and sql(lab, found[0], query) == "1"


class Writing:
    """A writer in the container of Open WebUI, with the address and password that Open WebUI itself has."""

    def __init__(self, seconds: float, table: str, program: str = WRITER) -> None:
        command = ["docker", "exec", "--interactive", PREFIX + CLIENT, "docker", "exec", "--interactive", INTERFACE]
        self.process = subprocess.Popen(
            [*command, "python3", "-", str(seconds), table],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(program)
        self.process.stdin.close()
        self.process.stdin = None

    def result(self) -> dict[str, Any]:
        """What the writer saw, once it has ended."""
        out, err = self.process.communicate(timeout=180)
        assert self.process.returncode == 0, err
        said: dict[str, Any] = json.loads(out)
        return said


def longest_gap(said: dict[str, Any]) -> float:
    """The longest time in which nothing was acknowledged, in seconds."""
    moments: list[float] = [moment for _number, moment in said["acknowledged"]]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def lost(lab: Lab, machine: str, table: str, said: dict[str, Any]) -> list[int]:
    """The acknowledged numbers that the server on a machine does not have."""
    there = set(sql(lab, machine, f"SELECT number FROM {table}", "open_webui").split())
    return [number for number, _moment in said["acknowledged"] if str(number) not in there]


QUIET_SECONDS = 65
"""The witnesses act once in a minute at most: who loses one leader after the other waits for the key's time to live."""

last_take_over: list[float] = []


@pytest.fixture
def whole(lab: Lab) -> Lab:
    """A lab whose database has its standby, and whose last take-over is long ago."""
    if last_take_over:
        time.sleep(max(0.0, last_take_over[-1] + QUIET_SECONDS - time.monotonic()))
    lab.wait(lambda: standby_streams(lab), 120, lambda: f"no standby streams; leaders are {leaders(lab)}")
    return lab


@pytest.fixture
def table(lab: Lab) -> Any:
    """A table of a test's own in the database of Open WebUI."""
    name = f"drill_{int(time.time())}"
    yield name
    for leader in leaders(lab):
        sql(lab, leader, f"DROP TABLE IF EXISTS {name}", "open_webui")


def test_what_the_primary_has_the_standby_has(whole: Lab, table: str) -> None:
    said = Writing(2, table).result()
    (leader,) = leaders(whole)
    other = next(name for name in MEMBERS if name != leader)
    assert not said["errors"]
    assert len(said["acknowledged"]) > 20
    assert not lost(whole, leader, table, said)
    whole.wait(lambda: not lost(whole, other, table, said), 10, "the standby does not have every row")


def test_the_leaders_machine_is_killed_under_load(whole: Lab, table: str) -> None:
    wanted = set(whole.containers())
    (leader,) = leaders(whole)
    other = next(name for name in MEMBERS if name != leader)
    writing = Writing(22, table)
    time.sleep(7)
    docker("kill", PREFIX + leader)
    last_take_over.append(time.monotonic())
    try:
        said = writing.result()
        assert leaders(whole) == [other] or leaders(whole) == [], "somebody leads on a machine that is off"
        assert said["acknowledged"][-1][1] > 18, f"nobody took over: {said['errors'][-3:]}"
        assert not lost(whole, other, table, said)
        gap = longest_gap(said)
        print(f"leader {leader} killed: {len(said['acknowledged'])} acknowledged, 0 lost, gap {gap:.1f} s")
        # Without the witness it is the twenty seconds of the leader's key; the figure itself is in docs/failures.md.
        assert gap < 12
    finally:
        docker("start", PREFIX + leader)
    whole.wait(lambda: whole.booted(leader), 120, f"{leader} did not boot")
    whole.wait(lambda: standby_streams(whole), 120, f"{leader} does not stand by again")
    whole.wait(lambda: whole.settled(wanted), 240, lambda: f"not every service came back: {whole.unsettled(wanted)}")
    assert not lost(whole, leader, table, said), "the machine that came back lacks rows"


def test_the_drill_of_the_playbook(whole: Lab) -> None:
    """It kills the leader's machine as a person would ask for it, and its report says what came of it."""
    (leader,) = leaders(whole)
    folder = ROOT / "artifacts" / "lab" / "drills"
    before = set(folder.glob("*.json"))
    last_take_over.append(time.monotonic())
    run = whole.play("-e", "target=postgresql", playbook="playbooks/drill.yml")
    assert run.status == 0, run.problems
    (report,) = set(folder.glob("*.json")) - before
    said = json.loads(report.read_text(encoding="utf-8"))
    (round_,) = said["rounds"]
    assert round_["machines"] == [leader]
    assert round_["leader_after"] != leader
    assert (round_["postgresql"]["lost"], round_["problems"]) == (0, [])
    assert 0.5 < round_["postgresql"]["gap_seconds"] < 12, "nobody noticed the fault"
    print(said["summary"]["table"])


def test_a_drill_refuses_what_it_must_not_do(lab: Lab) -> None:
    for arguments, expected in (
        (("-e", "target=orpheus"), "The clients of the drill run in the container of open-webui"),
        (("-e", "target=nowhere"), "name a machine that runs something"),
        (("-e", "target=zelus", "-e", '{"drill_power_off": []}'), "Say -e sure=yes if that is meant"),
    ):
        run = lab.play(*arguments, playbook="playbooks/drill.yml")
        assert run.status != 0
        assert expected in run.problems, run.problems


def test_a_leader_that_is_cut_off_from_the_others_but_not_from_its_clients(whole: Lab, table: str) -> None:
    """What either acknowledged is there afterwards, though for a moment both call themselves primary."""
    (leader,) = leaders(whole)
    other = next(name for name in MEMBERS if name != leader)
    addresses = ", ".join(
        docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", PREFIX + name).strip()
        for name in ("erebus", "thanatos", "zelus")
        if name != leader
    )
    rules = "\n".join(
        [
            "table inet drill {",
            f"  chain input {{ type filter hook input priority -20; ip saddr {{ {addresses} }} drop; }}",
            f"  chain output {{ type filter hook output priority -20; ip daddr {{ {addresses} }} drop; }}",
            "}",
        ]
    )
    writing = Writing(40, table)
    time.sleep(5)
    whole.on(leader, f"nft '{rules}'")
    last_take_over.append(time.monotonic())
    try:
        both = 0
        while writing.process.poll() is None:
            both += len(leaders(whole)) > 1
            time.sleep(1)
        said = writing.result()
    finally:
        whole.on(leader, "nft delete table inet drill", check=False)
    assert said["acknowledged"][-1][1] > 35, f"nobody took over: {said['errors'][-3:]}"
    assert not lost(whole, other, table, said)
    print(
        f"leader {leader} cut off: gap {longest_gap(said):.1f} s, {both} looks found two servers that call themselves primary"
    )
    whole.wait(lambda: standby_streams(whole), 120, f"{leader} does not stand by again")
    assert not lost(whole, leader, table, said)


def test_the_master_of_redis_is_killed(whole: Lab) -> None:
    wanted = set(whole.containers())
    ask = "docker exec pantheon-redis-redis-1 sh -c 'redis-cli -h 127.0.0.1 --user health info replication'"

    def masters() -> list[str]:
        return [name for name in MEMBERS if "role:master" in whole.on(name, ask, check=False)]

    def replicated() -> bool:
        found = masters()
        return len(found) == 1 and "connected_slaves:1" in whole.on(found[0], ask, check=False)

    whole.wait(replicated, 60, lambda: f"no replica; masters are {masters()}")
    (master,) = masters()
    writing = Writing(20, "drill", REDIS_WRITER)
    time.sleep(6)
    docker("kill", PREFIX + master)
    try:
        said = writing.result()
        assert said["acknowledged"][-1][1] > 17, f"nobody took over: {said['errors'][-3:]}"
        gap = longest_gap(said)
        print(f"master {master} killed: gap {gap:.1f} s, {said['missing']} of {len(said['acknowledged'])} missing")
        assert gap < 8
    finally:
        docker("start", PREFIX + master)
    whole.wait(lambda: whole.booted(master), 120, f"{master} did not boot")
    whole.wait(replicated, 60, f"{master} is no replica again")
    whole.wait(lambda: whole.settled(wanted), 240, lambda: f"not every service came back: {whole.unsettled(wanted)}")


def test_the_data_tier_is_closed_to_others(lab: Lab) -> None:
    """Neither this computer nor a container on another machine reaches the ports, and the machines do."""
    for port in (2379, 2380, 5432, 6379, 6432, 8008, 26379):
        probe = f"timeout 3 bash -c '</dev/tcp/10.77.0.11/{port}'"
        assert subprocess.run(["bash", "-c", probe], capture_output=True, check=False).returncode != 0, port
        inside = f"docker exec {INTERFACE} timeout 3 python3 -c \"import socket; socket.create_connection(('10.77.0.11', {port}), 2)\""
        assert "open" not in lab.on(CLIENT, f"{inside} && echo open", check=False), port
    # The same look finds what is open: the pool, by its name, from that container, and the database from a machine.
    pool = f"docker exec {INTERFACE} timeout 3 python3 -c \"import socket; socket.create_connection(('postgresql-pool', 6432), 2)\""
    assert "open" in lab.on(CLIENT, f"{pool} && echo open", check=False)
    assert "open" in lab.on("kratos", "timeout 3 bash -c '</dev/tcp/10.77.0.11/5432' && echo open", check=False)


def test_a_change_of_files_is_made_on_one_machine_after_the_other(
    whole: Lab, table: str, changed_inventory: Callable[..., Path]
) -> None:
    """PostgreSQL gets another environment while a client writes; etcd and Redis are rolled in the same way."""
    (leader,) = leaders(whole)
    folder = changed_inventory("postgresql", {"PANTHEON_LAB_TEST": "rolling"})
    before = whole.containers()
    writing = Writing(45, table)
    try:
        run = whole.play("--tags", "postgresql", inventory=folder)
        assert run.status == 0, run.problems
        changed = whole.containers()
        said = writing.result()
    finally:
        back = whole.play("--tags", "postgresql")
    assert back.status == 0, back.problems
    assert not said["missing"]
    print(f"a change of the environment of PostgreSQL: {run.seconds:.0f} s, gap {longest_gap(said):.1f} s")
    assert longest_gap(said) < 10
    servers = {name: f"{name}/pantheon-postgresql-postgresql-1" for name in MEMBERS}
    assert changed[servers[leader]].started > max(
        changed[one].started for name, one in servers.items() if name != leader
    )
    again = {name for name in before if before[name].started != changed[name].started}
    assert again == set(servers.values())


def test_a_setting_of_the_owner_restarts_nothing_that_it_need_not(
    whole: Lab, changed_inventory: Callable[..., Path]
) -> None:
    folder = changed_inventory("ollama", {})
    (folder / "group_vars" / "all" / "drill.yml").write_text(
        "pantheon_postgresql: {parameters: {work_mem: 6MB}}\n", encoding="utf-8"
    )
    before = whole.containers()
    try:
        run = whole.play("--skip-tags", "verify", inventory=folder)
        assert run.status == 0, run.problems
        (leader,) = leaders(whole)
        assert sql(whole, leader, "SHOW work_mem") == "6MB"
        after = whole.containers()
        assert {name for name, one in after.items() if before[name].started != one.started} <= {
            name for name in after if "/pantheon-ollama" in name
        }
    finally:
        back = whole.play("--skip-tags", "verify")
    assert back.status == 0, back.problems
    (leader,) = leaders(whole)
    assert sql(whole, leader, "SHOW work_mem") == "4MB"
