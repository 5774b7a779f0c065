# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine looks like after its stacks were deployed."""

from __future__ import annotations

import json
import re

from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]


def test_the_containers_are_healthy(host: Host) -> None:
    for service in ("redis", "ollama"):
        inspected = json.loads(host.check_output("docker inspect pantheon-%s-%s-1", service, service))[0]
        assert inspected["State"]["Health"]["Status"] == "healthy"
        labels = inspected["Config"]["Labels"]
        assert labels["ai.pantheon.service"] == service
        assert re.fullmatch(r"[0-9a-f]{64}", labels["ai.pantheon.config"])
        assert labels["ai.pantheon.stand-in"] == "a program that sleeps"


def test_secrets_are_for_root_and_the_service_only(host: Host) -> None:
    environment = host.file("/opt/pantheon/redis/.env")
    assert (environment.mode, environment.user) == (0o600, "root")
    secret = re.search(r"^REDISCLI_AUTH=['\"]?([\w.~-]{16,})", environment.content_string, re.MULTILINE)
    assert secret
    settings = host.file("/opt/pantheon/redis/files/usr/local/etc/redis/users.acl")
    assert (settings.mode, settings.uid) == (0o400, 999)
    assert secret.group(1) in settings.content_string
    for name in ("compose.yml", "compose.override.yml", ".pantheon.json"):
        assert secret.group(1) not in host.file(f"/opt/pantheon/redis/{name}").content_string
    assert host.run("journalctl --no-pager | grep -F %s", secret.group(1)).rc == 1


def test_a_person_can_use_compose_in_the_directory(host: Host) -> None:
    running = host.check_output("cd /opt/pantheon/redis && docker compose ps --services --status running")
    assert running.split() == ["redis"]
    # What compose would do with these files: nothing. So the unit does not restart anything at boot.
    said = host.run("cd /opt/pantheon/redis && docker compose --ansi never --dry-run up --detach --no-build")
    assert said.rc == 0
    assert "Recreate" not in said.stdout + said.stderr


def test_the_stacks_start_at_boot(host: Host) -> None:
    assert host.service("pantheon-stack@redis").is_enabled
    assert host.service("pantheon-stack@ollama").is_enabled


def test_a_stack_comes_back_after_the_engine_restarted(host: Host) -> None:
    host.check_output("docker stop --time 1 pantheon-redis-redis-1")
    host.check_output("systemctl restart docker.service")
    state = host.check_output(
        "for try in $(seq 60); do "
        "docker inspect --format '{{.State.Status}}' pantheon-redis-redis-1 2>/dev/null | grep -qx running && break; "
        "sleep 0.5; done; docker inspect --format '{{.State.Status}}' pantheon-redis-redis-1"
    )
    assert state.strip() == "running"
