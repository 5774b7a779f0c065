# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine can do after the role backup: back up, prove it, and restore, with real Redis, restic and Docker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]

PROGRAM = "/usr/local/sbin/pantheon-backup"
TARGET = "/srv/backups/pantheon"
MACHINE = "pantheon-test-backup"


def redis(host: Host, *words: str) -> str:
    """Ask Redis as the user that a service has, whose password is in the environment of its container."""
    password = host.check_output("sed -n s/^LEDGER_PASSWORD=//p /opt/pantheon/ollama/.env")
    command = "docker exec --env REDISCLI_AUTH=%s pantheon-redis-redis-1 redis-cli --user ledger " + " ".join(
        ["%s"] * len(words)
    )
    answer: str = host.check_output(command, password, *words)
    return answer


def volume(host: Host) -> str:
    """Return where the files of the service lie."""
    path: str = host.check_output("docker volume inspect --format '{{.Mountpoint}}' pantheon_ollama_models")
    return path


def ask(host: Host, *arguments: str, rc: int = 0) -> dict[str, Any]:
    """Run the program; return what it says as JSON."""
    done = host.run(" ".join([PROGRAM, *arguments]))
    assert done.rc == rc, done.stderr
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return said


@pytest.fixture(scope="module")
def data(host: Host) -> None:
    """Keys without an end, a key with one, and files with owners and links."""
    for number in range(50):
        redis(host, "set", f"ledger:{number}", f"row {number}")
    redis(host, "set", "ledger:cache", "goes by itself", "ex", "5000")
    place = volume(host)
    host.check_output(
        f"mkdir -p {place}/deep/er && echo precious > {place}/deep/er/file && chown 1234:4321 {place}/deep/er/file"
    )
    host.check_output(f"ln -sfn er/file {place}/deep/link && chmod 0640 {place}/deep/er/file")


@pytest.fixture(scope="module")
def made(host: Host, data: None) -> str:
    """A complete set."""
    said = ask(host, "run")
    assert {name: part["status"] for name, part in said["jobs"].items()} == {
        "configuration": "ok",
        "ollama": "ok",
        "redis": "ok",
    }
    assert said["jobs"]["redis"]["counts"] == {"keys": 50}
    set_id: str = said["set"]
    return set_id


@pytest.fixture
def damaged(host: Host, made: str) -> Iterator[None]:
    """A repository in which some bytes of each file are others; it is whole again afterwards."""
    place = f"{TARGET}/restic/{MACHINE}"
    host.check_output(f"cp -a {place} /srv/whole")
    host.check_output(
        f"find {place}/data -type f | while read -r file; do chmod u+w $file; "
        "printf '\\377\\376\\375' | dd of=$file bs=1 seek=20 conv=notrunc status=none; done"
    )
    yield
    host.check_output(f"rm -rf {place} && mv /srv/whole {place}")


def test_the_configuration_is_for_root_and_holds_the_secret(host: Host) -> None:
    file = host.file("/etc/pantheon/backup.json")
    assert (file.mode, file.user) == (0o600, "root")
    config = json.loads(file.content_string)
    assert config["target"] | {"password": ""} == {
        "path": TARGET,
        "mount": False,
        "password": "",
        "keep": {"daily": 7, "weekly": 4, "monthly": 6},
    }
    assert len(config["target"]["password"]) == 40
    assert [job["name"] for job in config["jobs"]] == ["configuration", "redis", "ollama"]
    assert host.run("journalctl --no-pager | grep -F %s", config["target"]["password"]).rc == 1


def test_the_timers_run(host: Host) -> None:
    for timer, time in (("pantheon-backup", "*-*-* 03:10:00"), ("pantheon-restore-drill", "Sun 05:10")):
        assert host.service(f"{timer}.timer").is_running
        assert host.service(f"{timer}.timer").is_enabled
        assert f"OnCalendar={time}\n" in host.file(f"/etc/systemd/system/{timer}.timer").content_string
        assert host.run(f"systemd-analyze verify /etc/systemd/system/{timer}.service").rc == 0


def test_a_set_is_complete_and_nothing_in_it_can_be_read_without_the_password(host: Host, made: str) -> None:
    (row,) = [row for row in json.loads(host.check_output(f"{PROGRAM} list --json")) if row["set"] == made]
    assert row["complete"]
    assert row["missing"] == []
    assert host.run(f"grep -rqF 'precious' {TARGET}").rc == 1
    assert host.run(f"grep -rqF 'row 7' {TARGET}").rc == 1
    metrics = host.file("/var/lib/pantheon/metrics/backup.prom").content_string
    assert 'pantheon_backup_last_status{job="redis"} 1\n' in metrics
    assert "pantheon_backup_set_complete 1\n" in metrics


def test_the_inventory_is_kept_with_its_secrets_encrypted(host: Host, made: str) -> None:
    place = f"{TARGET}/configuration/inventory"
    assert host.file(f"{place}/hosts.yml").contains("pantheon-test-backup")
    assert host.file(f"{place}/secrets.yml").content_string.startswith("$ANSIBLE_VAULT;")
    assert host.file(f"{place}/secrets.yml").mode == 0o600


def test_a_service_that_is_stopped_for_its_backup_runs_again(host: Host, made: str) -> None:
    state = json.loads(host.check_output("docker inspect pantheon-ollama-ollama-1"))[0]["State"]
    assert state["Running"]
    assert state["Health"]["Status"] == "healthy"


def test_a_drill_is_right_and_leaves_nothing(host: Host, made: str) -> None:
    before = host.check_output("docker ps --all --quiet --no-trunc | sort; docker volume ls --quiet | sort")
    said = ask(host, "drill", "--set", made)
    assert {name: verdict["ok"] for name, verdict in said["jobs"].items()} == {
        "configuration": True,
        "ollama": True,
        "redis": True,
    }
    assert said["jobs"]["redis"]["compared"] == [{"what": "keys", "wanted": 50, "found": 50, "most": None}]
    assert host.check_output("docker ps --all --quiet --no-trunc | sort; docker volume ls --quiet | sort") == before
    assert json.loads(host.file(f"{TARGET}/drills/{made}.json").content_string)["ok"]


def test_a_damaged_repository_fails_the_drill(host: Host, damaged: None) -> None:
    said = ask(host, "drill", rc=1)
    assert not any(verdict["ok"] for verdict in said["jobs"].values())
    assert (
        'pantheon_restore_drill_last_status{job="redis"} 0\n'
        in host.file("/var/lib/pantheon/metrics/backup.prom").content_string
    )
    # And nobody can restore it over what is there.
    redis(host, "set", "ledger:0", "still here")
    assert host.run(f"{PROGRAM} restore --set newest --job redis --no-safety").rc == 1
    assert redis(host, "get", "ledger:0") == "still here"
    redis(host, "set", "ledger:0", "row 0")


def test_a_wrong_promise_fails_the_drill(host: Host, made: str) -> None:
    part, manifest = f"{TARGET}/sets/{made}/{MACHINE}.json", f"{TARGET}/sets/{made}/manifest.json"
    host.check_output(f'cp {part} /srv/part; cp {manifest} /srv/manifest; sed -i \'s/"keys": 50/"keys": 51/\' {part}')
    said = ask(host, "drill", "--set", made, "--job", "redis", rc=1)
    assert "not the file that the manifest" in said["jobs"]["redis"]["reason"]
    host.check_output(
        "python3 -c 'import hashlib, json, sys; part, manifest = sys.argv[1:]; data = json.load(open(manifest)); "
        'data["parts"]["pantheon-test-backup"]["sha256"] = hashlib.sha256(open(part, "rb").read()).hexdigest(); '
        f'json.dump(data, open(manifest, "w"))\' {part} {manifest}'
    )
    said = ask(host, "drill", "--set", made, "--job", "redis", rc=1)
    assert said["jobs"]["redis"]["reason"] == "keys: the backup promises 51, the restored copy has 50."
    host.check_output(f"mv /srv/part {part}; mv /srv/manifest {manifest}")


def test_a_run_that_is_killed_leaves_the_service_running(host: Host, made: str) -> None:
    mark = "/run/pantheon-backup/stopped/pantheon-ollama-ollama-1"
    host.check_output(
        "systemctl reset-failed pantheon-backup.service; systemctl start --no-block pantheon-backup.service"
    )
    host.check_output(f"for try in $(seq 300); do test -e {mark} && exit 0; sleep 0.1; done; exit 1")
    host.check_output("kill -9 $(systemctl show --property MainPID --value pantheon-backup.service)")
    host.check_output(f"for try in $(seq 300); do test -e {mark} || exit 0; sleep 0.1; done; exit 1")
    host.check_output("systemctl stop pantheon-backup.service")
    assert host.check_output("docker inspect --format '{{.State.Running}}' pantheon-ollama-ollama-1") == "true"


def test_a_restore_brings_back_what_was_lost(host: Host, made: str) -> None:
    place = volume(host)
    redis(host, "del", *(f"ledger:{number}" for number in range(40)))
    host.check_output(f"rm -rf {place}/deep && echo wrong > {place}/new")
    for job in ("redis", "ollama"):
        assert ask(host, "restore", "--set", made, "--job", job)["restored"]
    assert redis(host, "get", "ledger:7") == "row 7"
    assert int(redis(host, "ttl", "ledger:cache")) > 0
    file = host.file(f"{place}/deep/er/file")
    assert (file.content_string, file.uid, file.gid, file.mode) == ("precious\n", 1234, 4321, 0o640)
    assert host.file(f"{place}/deep/link").linked_to == f"{place}/deep/er/file"
    assert host.check_output(f"ls -A {place}") == "deep"
    # What was there before the restore is in a set of its own, so that the restore can be undone.
    sets = json.loads(host.check_output(f"{PROGRAM} list --json"))
    undo = next(row["set"] for row in sets if row["partial"] and "ollama" in row["parts"][MACHINE]["jobs"])
    assert ask(host, "restore", "--set", undo, "--job", "ollama", "--no-safety")["restored"]
    assert host.check_output(f"ls -A {place}") == "new"
    assert ask(host, "restore", "--set", made, "--job", "ollama", "--no-safety")["restored"]


def test_a_target_that_is_only_a_directory_where_a_mount_should_be_is_away(host: Host, made: str) -> None:
    host.check_output('sed \'s/"mount": false/"mount": true/\' /etc/pantheon/backup.json > /run/mounted.json')
    done = host.run(f"{PROGRAM} --config /run/mounted.json --state /run/state.json run")
    assert done.rc == 75
    assert "is not mounted, and nothing is written to the disk in its place" in done.stderr
