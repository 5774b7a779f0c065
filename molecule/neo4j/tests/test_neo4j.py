# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine with Neo4j serves: to the official driver, with the right password, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from neo4j import Driver, GraphDatabase
from neo4j.exceptions import ClientError, ConstraintError
from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]

CONTAINER = "pantheon-neo4j-neo4j-1"
# Host networks: the server answers at the address of the machine.
URI = "neo4j://10.78.0.43:7687"


@pytest.fixture
def driver(host: Host) -> Iterator[Driver]:
    """The official driver, with the password that the secrets gave to the container."""
    found = json.loads(host.check_output(f"docker inspect --format '{{{{json .Config.Env}}}}' {CONTAINER}"))
    user, _slash, password = dict(entry.partition("=")[::2] for entry in found)["NEO4J_AUTH"].partition("/")
    with GraphDatabase.driver(URI, auth=(user, password)) as made:
        yield made


def test_the_container_is_healthy(host: Host) -> None:
    assert host.check_output(f"docker inspect --format '{{{{.State.Health.Status}}}}' {CONTAINER}") == "healthy"


def test_the_official_driver_stores_and_finds(driver: Driver) -> None:
    driver.execute_query("MATCH (n) DETACH DELETE n")
    driver.execute_query("CREATE CONSTRAINT thing_id IF NOT EXISTS FOR (t:Thing) REQUIRE t.id IS UNIQUE")
    with driver.session() as session, session.begin_transaction() as tx:
        tx.run("UNWIND range(1, 500) AS i CREATE (:Thing {id: i})").consume()
        tx.run("MATCH (a:Thing), (b:Thing {id: a.id + 1}) CREATE (a)-[:NEXT {by: 1}]->(b)").consume()
        tx.commit()
    found = driver.execute_query("MATCH p=(:Thing {id: 7})-[:NEXT*3]->(t) RETURN t.id, length(p)").records
    assert [tuple(row) for row in found] == [(10, 3)]
    with pytest.raises(ConstraintError):
        driver.execute_query("CREATE (:Thing {id: 7})")


@pytest.mark.parametrize("auth", [None, ("neo4j", "not-the-password")])
def test_nobody_else_gets_an_answer(auth: tuple[str, str] | None) -> None:
    with GraphDatabase.driver(URI, auth=auth) as stranger, pytest.raises(ClientError) as caught:
        stranger.execute_query("RETURN 1")
    assert "Security" in str(caught.value.code)


def test_the_counts_of_the_image_and_those_over_http_agree(host: Host) -> None:
    """What production counts with is asked of the stand-in here, which is the nearest that there is."""
    own = json.loads(host.check_output(f"docker exec {CONTAINER} pantheon-neo4j-admin count"))
    asked = json.loads(host.check_output(f"docker exec {CONTAINER} bash /usr/local/etc/neo4j/neo4j.sh count"))
    assert own == asked
    assert own["nodes"] == 500
    assert own["types"] == "NEXT:499 "


def test_the_password_shows_in_no_list_of_processes(host: Host) -> None:
    password = host.check_output(f"docker exec {CONTAINER} printenv NEO4J_AUTH").partition("/")[2]
    assert len(password) >= 8
    assert password not in host.check_output("ps -eo args")


def test_the_graph_is_in_the_volume(host: Host) -> None:
    found = host.check_output(
        "find \"$(docker volume inspect --format '{{.Mountpoint}}' pantheon_neo4j_data)\" -name dump.rdb -size +4k"
    )
    assert len(found.splitlines()) == 1
