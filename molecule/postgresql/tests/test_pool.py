# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service on another machine reaches the database: through the pool on its own machine, which follows the primary."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from testinfra.backend.base import CommandResult
from testinfra.host import Host

testinfra_hosts = ["ansible://open_webui"]

POOL = "pantheon-postgresql-pool-postgresql-pool-1"
SECRETS = Path(__file__).resolve().parents[1] / "inventory" / "secrets.yml"


@pytest.fixture(scope="module")
def password() -> str:
    """The password that the environment's secrets hold for the database of Open WebUI."""
    vault = VaultLib([("default", VaultSecret(b"only-for-this-scenario"))])
    values: dict[str, str] = yaml.safe_load(vault.decrypt(SECRETS.read_text(encoding="utf-8")))
    return values["open_webui_database_password"]


def ask(host: Host, password: str, query: str, database: str = "open_webui") -> CommandResult:
    """Ask through the pool, as the service does."""
    command = "docker exec --env PGPASSWORD=%s %s psql -h 127.0.0.1 -p 6432 -U open_webui -d %s -tAqc %s"
    return host.run(command, password, POOL, database, query)


def test_the_pool_leads_to_the_primary(host: Host, password: str) -> None:
    answer = ask(host, password, "SELECT current_user, pg_is_in_recovery()")
    assert answer.stdout.strip() == "open_webui|f", answer.stderr


def test_readers_are_led_to_the_standby(host: Host, password: str) -> None:
    answer = ask(host, password, "SELECT pg_is_in_recovery()", "open_webui_ro")
    assert answer.stdout.strip() == "t", answer.stderr


def test_another_password_is_refused(host: Host, password: str) -> None:
    answer = ask(host, f"{password}x", "SELECT 1")
    assert answer.rc != 0
    assert "SASL authentication failed" in answer.stderr or "password authentication failed" in answer.stderr


def test_the_user_of_the_pool_sees_no_other_passwords_than_those_of_services(host: Host) -> None:
    script = """psql -h 127.0.0.1 -p 5000 -U pgbouncer -d postgres -tAqc "SELECT count(*) FROM pgbouncer.user_lookup('$1')" """
    count = {
        user: host.check_output("docker exec %s sh -c %s sh %s", POOL, script, user)
        for user in ("open_webui", "postgres", "replicator", "nobody")
    }
    assert count == {"open_webui": "1", "postgres": "0", "replicator": "0", "nobody": "0"}


def test_a_container_of_the_machine_reaches_the_pool_by_its_name(host: Host) -> None:
    image = host.check_output("docker inspect --format {{.Config.Image}} %s", POOL)
    run = "docker run --rm --add-host postgresql-pool:host-gateway --entrypoint sh %s -c %s"
    # psql fails, as nobody is no user: which error it is says who answered, and that is asserted.
    probe = "psql -h postgresql-pool -p 6432 -U nobody -d open_webui -w -c 'SELECT 1' 2>&1 || true"
    answer = host.check_output(run, image, probe)
    assert "no such user" in answer, "it is the pool that answers"


def test_a_container_does_not_reach_the_database_itself(host: Host) -> None:
    image = host.check_output("docker inspect --format {{.Config.Image}} %s", POOL)
    probe = "timeout 5 psql -h 10.78.0.31 -p 5432 -U open_webui -d open_webui -w -c 'SELECT 1' 2>&1; echo status $?"
    answer = host.check_output("docker run --rm --entrypoint sh %s -c %s", image, probe)
    assert "status 124" in answer, answer
