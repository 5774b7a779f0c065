# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every member of a real cluster holds after the role postgresql; the standby has it from the primary."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from testinfra.backend.base import CommandResult
from testinfra.host import Host

testinfra_hosts = ["ansible://postgresql"]

CONTAINER = "pantheon-postgresql-postgresql-1"
SECRETS = Path(__file__).resolve().parents[1] / "inventory" / "secrets.yml"


@pytest.fixture(scope="module")
def password() -> str:
    """The password that the environment's secrets hold for the database of Open WebUI."""
    vault = VaultLib([("default", VaultSecret(b"only-for-this-scenario"))])
    values: dict[str, str] = yaml.safe_load(vault.decrypt(SECRETS.read_text(encoding="utf-8")))
    return values["open_webui_database_password"]


def sql(host: Host, query: str, database: str = "postgres") -> list[str]:
    """Ask as the superuser, who needs no password within the container."""
    answer: str = host.check_output("docker exec --user postgres %s psql -d %s -tAqc %s", CONTAINER, database, query)
    return answer.splitlines()


def sign_in(host: Host, user: str, password: str, database: str, query: str = "SELECT current_user") -> CommandResult:
    """Connect over the network to the port of the machine, where the server asks for TLS and a password."""
    return host.run(
        "docker exec --env PGPASSWORD=%s %s psql -h %s -U %s -d %s -tAqc %s",
        password,
        CONTAINER,
        host.ansible.get_variables()["pantheon_address"],
        user,
        database,
        query,
    )


def test_the_role_signs_in_over_the_network_with_the_password_of_the_secrets(host: Host, password: str) -> None:
    answer = sign_in(host, "open_webui", password, "open_webui")
    assert answer.rc == 0, answer.stderr
    assert answer.stdout.strip() == "open_webui"


def test_another_password_is_refused(host: Host, password: str) -> None:
    answer = sign_in(host, "open_webui", f"{password}x", "open_webui")
    assert answer.rc != 0
    assert "password authentication failed" in answer.stderr


def test_the_server_knows_only_a_verifier(host: Host, password: str) -> None:
    stored = sql(host, "SELECT rolpassword FROM pg_authid WHERE rolname = 'open_webui'")
    assert stored[0].startswith("SCRAM-SHA-256$")
    assert password not in host.check_output("docker logs %s 2>&1", CONTAINER)


def test_the_role_has_no_power_over_the_server(host: Host) -> None:
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    assert sql(host, f"SELECT rolcanlogin, ({powers}) FROM pg_roles WHERE rolname = 'open_webui'") == ["t|f"]


def test_the_role_owns_its_database_and_may_make_tables(host: Host, password: str) -> None:
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'open_webui'"
    assert sql(host, owner) == ["open_webui"]
    made = sign_in(
        host, "open_webui", password, "open_webui", "CREATE TEMPORARY TABLE probe (v vector(3)); SELECT 'made'"
    )
    if sql(host, "SELECT pg_is_in_recovery()") == ["t"]:
        assert "read-only" in made.stderr or "during recovery" in made.stderr
    else:
        assert made.stdout.strip() == "made", made.stderr


def test_the_extension_computes(host: Host, password: str) -> None:
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'vector'", "open_webui") == ["vector"]
    distance = sign_in(host, "open_webui", password, "open_webui", "SELECT '[1,2,3]'::vector <-> '[1,2,5]'::vector")
    assert distance.stdout.strip() == "2", distance.stderr


def test_everybody_else_has_no_right_in_the_database(host: Host) -> None:
    public = "SELECT has_database_privilege('public', 'open_webui', '{}')"
    rights = [sql(host, public.format(right)) for right in ("CONNECT", "TEMPORARY", "CREATE")]
    assert rights == [["f"], ["f"], ["f"]]


def test_a_database_made_by_hand_is_untouched(host: Host) -> None:
    found = sql(host, "SELECT pg_get_userbyid(datdba), datacl IS NULL FROM pg_database WHERE datname = 'ledger'")
    assert found == ["postgres|t"]
    assert sql(host, "SELECT amount FROM entries", "ledger") == ["42"]
    assert sql(host, "SELECT extname FROM pg_extension WHERE extname = 'vector'", "ledger") == []


def test_nobody_signs_in_without_tls(host: Host, password: str) -> None:
    address = host.ansible.get_variables()["pantheon_address"]
    plain = f"host={address} user=open_webui dbname=open_webui sslmode=disable"
    answer = host.run("docker exec --env PGPASSWORD=%s %s psql -tAqc 'SELECT 1' %s", password, CONTAINER, plain)
    assert answer.rc != 0
    assert "no encryption" in answer.stderr


def test_one_leads_and_the_other_has_what_it_acknowledges(host: Host) -> None:
    listed = json.loads(host.check_output("docker exec --user postgres %s patronictl list --format json", CONTAINER))
    assert sorted((member["Role"], member["State"]) for member in listed) == [
        ("Leader", "running"),
        ("Sync Standby", "streaming"),
    ]
    if sql(host, "SELECT pg_is_in_recovery()") == ["f"]:
        assert sql(host, "SELECT sync_state, state FROM pg_stat_replication") == ["sync|streaming"]
    assert sql(host, "SHOW data_checksums") == ["on"]
    assert sql(host, "SHOW server_encoding") == ["UTF8"]


def test_only_the_machines_of_the_platform_reach_it(host: Host) -> None:
    address = host.ansible.get_variables()["pantheon_address"]
    for port in (2379, 2380, 5432, 8008):
        with pytest.raises(OSError), socket.create_connection((address, port), 2):
            pass  # this computer is none of them
