# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the data tier is configured with: etcd, Patroni, its witness, router and pool."""

from __future__ import annotations

import configparser
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import SECRET_PATTERN, secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._postgresql import (
    KEPT_CONNECTIONS,
    etcd_config,
    haproxy_config,
    patroni_config,
    pgbackrest_config,
    pgbouncer_config,
    pgbouncer_users,
    pool_size,
    postgresql_dynamic,
    witness_config,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, load_site

REPOSITORY = Path(__file__).resolve().parents[4]

ADDRESSES = {
    "erebus": "10.1.0.11",
    "thanatos": "10.1.0.12",
    "zelus": "10.1.0.13",
    "orpheus": "10.1.0.14",
    "kratos": "10.1.0.15",
}

Make = Callable[..., Site]


def client(name: str, databases: list[str]) -> dict[str, Any]:
    """Return a service that wants databases through the pool."""
    return {
        "name": name,
        "summary": "A service made for a test",
        "licence": "MIT",
        "tier": "tools",
        "image": {"repository": f"example/{name}", "tag": "1.0"},
        "placement": {"group": name},
        "resources": {"memory_mb": 64},
        "endpoints": {},
        "health": {"command": ["true"]},
        "secrets": [{"name": f"{name}_password"}],
        "databases": [
            {"service": "postgresql", "name": database, "user": name, "secret": f"{name}_password"}
            for database in databases
        ],
        "requires": ["postgresql-pool"],
        "backup": {"kind": "none", "reason": "Nothing is stored."},
        "failure": {"effect": "The test stops."},
    }


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a site of the catalog's data tier and two services with databases."""

    def site(
        postgresql: tuple[str, ...] = ("erebus", "thanatos"),
        etcd: tuple[str, ...] = ("erebus", "thanatos", "zelus"),
        addresses: dict[str, str] | None = None,
        settings: dict[str, Any] | None = None,
        databases: tuple[str, ...] = ("chats",),
        empty: bool = False,
    ) -> Site:
        catalog = tmp_path / "catalog"
        shutil.rmtree(catalog, ignore_errors=True)
        (catalog / "services").mkdir(parents=True)
        shutil.copy(REPOSITORY / "catalog" / "service.schema.json", catalog)
        for path in (REPOSITORY / "catalog" / "services").glob("*.yml"):
            if path.stem == "etcd" or path.stem.startswith("postgresql"):
                shutil.copy(path, catalog / "services")
        groups = {"machines": list(ADDRESSES), "etcd": list(etcd), "postgresql": list(postgresql)}
        if not empty:
            groups |= {"web": ["orpheus", "kratos"], "notes": ["kratos"]}
            for name, wanted in (("web", list(databases)), ("notes", ["notes"])):
                (catalog / "services" / f"{name}.yml").write_text(yaml.safe_dump(client(name, wanted)))
        known = ADDRESSES | (addresses or {})
        return load_site(
            {
                "inventory_dir": str(tmp_path),
                "groups": groups,
                "hostvars": {name: {"ansible_host": address} for name, address in known.items()},
                **(settings or {}),
            },
            catalog=catalog,
        )

    return site


def ini(text: str) -> configparser.ConfigParser:
    """Read pgbouncer.ini."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=(";",))
    parser.read_string(text)
    return parser


def test_every_voter_of_etcd_knows_the_others(make: Make) -> None:
    config = etcd_config(make(), "thanatos")
    assert config["name"] == "thanatos"
    assert config["initial-cluster"] == (
        "erebus=https://10.1.0.11:2380,thanatos=https://10.1.0.12:2380,zelus=https://10.1.0.13:2380"
    )
    assert config["initial-cluster-state"] == "new"
    assert config["advertise-client-urls"] == "https://10.1.0.12:2379"
    assert config["listen-client-urls"] == "https://0.0.0.0:2379"


def test_etcd_speaks_with_nobody_without_a_certificate(make: Make) -> None:
    config = etcd_config(make(), "erebus")
    for part in ("client", "peer"):
        assert config[f"{part}-transport-security"]["client-cert-auth"] is True
        assert config[f"{part}-transport-security"]["trusted-ca-file"] == "/etc/etcd/tls/ca.crt"
    assert config["listen-metrics-urls"] == "http://127.0.0.1:2381", "without a certificate on the machine itself only"


def test_patroni_of_a_member(make: Make) -> None:
    config = patroni_config(make(), "thanatos")
    assert (config["scope"], config["namespace"], config["name"]) == ("pantheon", "/service/", "thanatos")
    assert config["restapi"]["connect_address"] == "10.1.0.12:8008"
    assert config["postgresql"]["connect_address"] == "10.1.0.12:5432"
    assert config["etcd3"]["hosts"] == ["10.1.0.12:2379", "10.1.0.11:2379", "10.1.0.13:2379"], "its own first"
    assert config["etcd3"]["protocol"] == "https"
    assert config["restapi"]["verify_client"] == "optional"
    assert {"encoding": "UTF8"} in config["bootstrap"]["initdb"]
    assert "data-checksums" in config["bootstrap"]["initdb"]


def test_what_members_share_stands_in_the_file_for_the_first_start_only(make: Make) -> None:
    site = make()
    config = patroni_config(site, "erebus")
    first, later = config["bootstrap"]["dcs"], postgresql_dynamic(site)
    assert {**first, "postgresql": None} == {**later, "postgresql": None}
    assert first["postgresql"]["parameters"].items() <= later["postgresql"]["parameters"].items()


def test_every_member_admits_the_same(make: Make) -> None:
    site = make()
    rules = patroni_config(site, "erebus")["postgresql"]["pg_hba"]
    assert rules == patroni_config(site, "thanatos")["postgresql"]["pg_hba"]
    sources = [rule.split()[3] for rule in rules if rule.startswith("hostssl replication")]
    assert sources == ["127.0.0.1/32", "::1/128", "10.1.0.11/32", "10.1.0.12/32"]
    assert not [rule for rule in rules if rule.startswith(("host ", "hostnossl ")) and not rule.endswith(" reject")]
    assert not [rule for rule in rules if "trust" in rule or "md5" in rule]


def test_the_accounts_of_the_database_itself_are_refused_before_all_others_are_admitted(make: Make) -> None:
    rules = patroni_config(make(), "erebus")["postgresql"]["pg_hba"]
    refused = rules.index("host all replicator,rewind,postgres all reject")
    assert refused < rules.index("hostssl all all all scram-sha-256")
    assert all(rules.index(rule) < refused for rule in rules if " replicator " in rule or " rewind " in rule)


@pytest.mark.parametrize(
    ("members", "synchronous", "strict"),
    [
        (("erebus",), False, False),
        (("erebus", "thanatos"), True, False),
        (("erebus", "thanatos", "zelus"), True, True),
    ],
)
def test_how_sure_a_write_is(make: Make, members: tuple[str, ...], synchronous: bool, strict: bool) -> None:
    config = postgresql_dynamic(make(postgresql=members))
    assert config["synchronous_mode"] is synchronous
    assert config["synchronous_mode_strict"] is strict, "strict with two would stop all writes when one is away"


def test_a_take_over_is_never_slower_than_patroni_allows(make: Make) -> None:
    config = postgresql_dynamic(make())
    assert config["ttl"] >= config["loop_wait"] + 2 * config["retry_timeout"]


def test_memory_follows_the_catalog(make: Make) -> None:
    site = make()
    site.services["postgresql"]["resources"]["memory_mb"] = 512
    parameters = postgresql_dynamic(site)["postgresql"]["parameters"]
    assert parameters["shared_buffers"] == "128MB"
    assert parameters["effective_cache_size"] == "320MB"


def test_the_owner_has_the_last_word(make: Make) -> None:
    wanted = {"max_connections": 300, "shared_buffers": "1GB", "work_mem": "16MB"}
    site = make(settings={"pantheon_postgresql": {"parameters": wanted}})
    parameters = postgresql_dynamic(site)["postgresql"]["parameters"]
    assert {name: parameters[name] for name in wanted} == wanted
    assert parameters["wal_level"] == "replica", "what the owner does not name stays"
    assert postgresql_dynamic(make())["postgresql"]["parameters"]["max_connections"] == 100


def test_nothing_is_set_without_a_word_of_the_owner(make: Make) -> None:
    plain = postgresql_dynamic(make())
    given: list[dict[str, Any]] = [{}, {"pantheon_postgresql": {}}, {"pantheon_postgresql": {"parameters": None}}]
    for settings in given:
        assert postgresql_dynamic(make(settings=settings)) == plain


def test_a_witness_asks_every_member_and_counts_the_witnesses(make: Make) -> None:
    config = witness_config(make(), "zelus")
    assert config["name"] == "zelus"
    assert config["members"] == {"erebus": "https://10.1.0.11:8008", "thanatos": "https://10.1.0.12:8008"}
    assert config["etcd"]["endpoints"][0] == "https://10.1.0.13:2379", "its own first"
    assert config["witnesses"] == 3
    assert (config["scope"], config["namespace"]) == ("pantheon", "/service/")
    assert config["status"] == "127.0.0.1:8009"


def test_the_router_asks_every_member(make: Make) -> None:
    text = haproxy_config(make(), "orpheus")
    assert text == haproxy_config(make(), "kratos")
    lines = [line.strip() for line in text.splitlines()]
    assert "server erebus 10.1.0.11:5432 check inter 500ms downinter 250ms verifyhost erebus" in lines
    assert "server thanatos 10.1.0.12:5432 check inter 500ms downinter 250ms verifyhost thanatos" in lines
    assert text.count("    server ") == 4
    assert "resolvers" not in text, "addresses need no DNS"
    for port in (5000, 5001, 7000):
        assert f"bind 127.0.0.1:{port}" in lines
    assert "on-marked-down shutdown-sessions" in text
    assert "port 8008 check-ssl verify required" in text


def test_a_machine_without_an_address_is_looked_up_by_its_name(make: Make) -> None:
    site = make(addresses={"thanatos": "thanatos.lan"})
    text = haproxy_config(site, "orpheus")
    assert "thanatos.lan:5432" in text
    assert "init-addr last,libc,none resolvers system" in text
    assert "\nresolvers system\n" in text
    assert (
        "hostssl replication replicator thanatos.lan scram-sha-256"
        in patroni_config(site, "erebus")["postgresql"]["pg_hba"]
    )


def test_ipv6(make: Make) -> None:
    site = make(addresses={"erebus": "fd00::11", "thanatos": "fd00::12", "zelus": "fd00::13"})
    etcd = etcd_config(site, "erebus")
    assert etcd["initial-cluster"].startswith("erebus=https://[fd00::11]:2380,")
    assert etcd["listen-client-urls"] == "https://[::]:2379"
    patroni = patroni_config(site, "erebus")
    assert patroni["postgresql"]["connect_address"] == "[fd00::11]:5432"
    assert patroni["etcd3"]["hosts"][0] == "[fd00::11]:2379"
    assert "hostssl replication replicator fd00::12/128 scram-sha-256" in patroni["postgresql"]["pg_hba"]
    assert "server erebus [fd00::11]:5432 " in haproxy_config(site, "orpheus")
    assert witness_config(site, "zelus")["members"]["erebus"] == "https://[fd00::11]:8008"


def test_the_pool_has_each_database_twice(make: Make) -> None:
    config = ini(pgbouncer_config(make(), "kratos"))
    assert config["databases"]["chats"] == "host=127.0.0.1 port=5000 dbname=chats"
    assert config["databases"]["chats_ro"] == "host=127.0.0.1 port=5001 dbname=chats"
    assert set(config["databases"]) == {"postgres", "chats", "chats_ro", "notes", "notes_ro"}
    settings = config["pgbouncer"]
    assert settings["pool_mode"] == "transaction"
    assert settings["max_prepared_statements"] == "256"
    assert settings["auth_query"] == "SELECT uname, phash FROM pgbouncer.user_lookup($1)"
    assert settings["auth_dbname"] in config["databases"], "PgBouncer looks for it among its own"
    assert settings["server_tls_sslmode"] == "verify-ca"
    assert settings["listen_port"] == "6432"


def test_a_pool_without_databases_is_still_readable(make: Make) -> None:
    config = ini(pgbouncer_config(make(empty=True), "orpheus"))
    assert set(config["databases"]) == {"postgres"}


def test_all_pools_together_stay_below_what_the_database_admits(make: Make) -> None:
    for databases in (("chats",), tuple(f"d{number}" for number in range(9))):
        site = make(databases=databases)
        machines, pools = 2, 2 * (len(databases) + 1)
        assert 1 <= pool_size(site) <= 20
        assert machines * (pools * pool_size(site) + 2) + KEPT_CONNECTIONS <= 100
    more = make(databases=databases, settings={"pantheon_postgresql": {"parameters": {"max_connections": 400}}})
    assert pool_size(more) > pool_size(site)


def test_secrets_are_placeholders_that_somebody_declares(make: Make) -> None:
    site = make()
    declared = {*secrets_of(site)}
    texts = {
        "patroni": json.dumps(patroni_config(site, "erebus")),
        "users": pgbouncer_users(site, "orpheus"),
        "pool": pgbouncer_config(site, "orpheus"),
        "router": haproxy_config(site, "orpheus"),
        "witness": json.dumps(witness_config(site, "zelus")),
        "etcd": json.dumps(etcd_config(site, "zelus")),
    }
    found = {name: set(SECRET_PATTERN.findall(text)) for name, text in texts.items()}
    assert found.pop("patroni") == {
        "postgresql_superuser_password",
        "postgresql_replication_password",
        "postgresql_rewind_password",
    }
    assert found.pop("users") == {"postgresql_pooler_password"}
    assert not any(found.values()), "no other file holds one"
    for text in texts.values():
        assert set(SECRET_PATTERN.findall(text)) <= declared
    assert "postgresql_superuser_password" not in json.dumps(postgresql_dynamic(site)), "it lies in etcd"


def test_certificates_name_the_machines(make: Make) -> None:
    specs = secrets_of(make())
    assert {"erebus", "10.1.0.11", "thanatos", "127.0.0.1"} <= set(specs["postgresql_certificate"]["names"])
    assert {"zelus", "10.1.0.13", "localhost"} <= set(specs["etcd_certificate"]["names"])
    assert {specs[name]["ca"] for name in specs if specs[name]["kind"] == "certificate"} == {"data_ca"}


def test_what_may_change_later_does_not_change_the_file_of_a_member(make: Make) -> None:
    before = patroni_config(make(), "erebus")
    wanted = {"max_connections": 300, "work_mem": "8MB", "shared_buffers": "1GB"}
    after = patroni_config(make(settings={"pantheon_postgresql": {"parameters": wanted}}), "erebus")
    assert after == before


def ini_of_pgbackrest(text: str) -> configparser.ConfigParser:
    """Read pgbackrest.conf."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.read_string(text)
    return parser


def test_backups_go_to_the_place_of_the_inventory_and_are_encrypted(make: Make) -> None:
    site = make(settings={"pantheon_backup": {"path": "/srv/backups"}})
    text = pgbackrest_config(site, "erebus")
    assert text == pgbackrest_config(site, "thanatos"), "the members share one repository"
    config = ini_of_pgbackrest(text)
    assert config["global"]["repo1-path"] == "/srv/backups/pgbackrest"
    assert config["global"]["repo1-cipher-type"] == "aes-256-cbc"
    assert config["global"]["repo1-cipher-pass"] == "@@secret:backup_postgresql_passphrase@@"
    assert config["pantheon"]["pg1-path"] == patroni_config(site, "erebus")["postgresql"]["data_dir"]
    assert "backup_postgresql_passphrase" in secrets_of(site)


def test_a_nas_that_is_away_neither_fills_the_disk_nor_holds_up_the_end(make: Make) -> None:
    site = make(settings={"pantheon_backup": {"path": "/srv/backups"}})
    config = ini_of_pgbackrest(pgbackrest_config(site, "erebus"))
    assert config["global"]["archive-async"] == "y"
    assert config["global"]["archive-push-queue-max"] == "4GiB"
    assert config["global"]["spool-path"].startswith("/var/lib/postgresql/"), (
        "in the volume, which outlives the container"
    )
    # At the end the archiver tries three times, each of which may take so long.
    seconds = int(config["global:archive-push"]["archive-timeout"])
    assert 3 * (seconds + 1) < site.services["postgresql"]["stop"]["seconds"]


def test_without_a_place_for_backups_the_file_names_no_repository(make: Make) -> None:
    text = pgbackrest_config(make(), "erebus")
    assert not [line for line in text.splitlines() if not line.startswith("#")]


def test_the_log_is_always_archived_so_that_a_place_for_backups_costs_no_restart_later(make: Make) -> None:
    with_place = make(settings={"pantheon_backup": {"path": "/srv/backups"}})
    dynamic = postgresql_dynamic(with_place)
    assert dynamic == postgresql_dynamic(make())
    assert dynamic["postgresql"]["parameters"]["archive_mode"] == "on"
    # pgBackRest insists on its own name in there.
    assert dynamic["postgresql"]["parameters"]["archive_command"] == "pgbackrest-archive %p"
