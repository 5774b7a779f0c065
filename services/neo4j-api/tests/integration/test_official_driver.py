# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official driver against a running server; see README.md for the variables."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

neo4j = pytest.importorskip("neo4j")

from neo4j import READ_ACCESS, AsyncGraphDatabase, Driver, GraphDatabase
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConstraintError,
    CypherSyntaxError,
    ServiceUnavailable,
    TransientError,
)
from neo4j.graph import Node, Path, Relationship
from neo4j.spatial import WGS84Point
from neo4j.time import Date

URI = os.environ.get("NEO4J_URI", "")
HTTP = os.environ.get("NEO4J_HTTP", "")
USER, _SLASH, PASSWORD = os.environ.get("NEO4J_AUTH", "").partition("/")
CONTAINER = os.environ.get("NEO4J_CONTAINER", "")

pytestmark = pytest.mark.skipif(not URI, reason="NEO4J_URI names no server")


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with GraphDatabase.driver(URI, auth=(USER, PASSWORD)) as made:
        yield made


@pytest.fixture(autouse=True)
def _empty(driver: Driver) -> None:
    driver.execute_query("MATCH (n) DETACH DELETE n")
    for kind, kinds in (("CONSTRAINT", "CONSTRAINTS"), ("INDEX", "INDEXES")):
        for row in driver.execute_query(f"SHOW {kinds} YIELD name, type").records:
            driver.execute_query(f"DROP {kind} `{row['name']}` IF EXISTS")


def one(driver: Driver, statement: str, **parameters: Any) -> Any:
    return driver.execute_query(statement, **parameters).records[0][0]


def count(driver: Driver) -> int:
    found: int = one(driver, "MATCH (n) RETURN count(n)")
    return found


# -- connections ------------------------------------------------------------------------------------------------------


def test_the_server_says_what_it_is(driver: Driver) -> None:
    driver.verify_connectivity()
    assert driver.get_server_info().agent.endswith("-lab")
    row = driver.execute_query(
        "CALL dbms.components() YIELD name, versions, edition UNWIND versions AS version RETURN name, version, edition"
    ).records[0]
    assert row["name"].startswith("FalkorDB")
    assert row["edition"] == "stand-in"
    assert row["version"].endswith("-lab")


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_with_and_without_routing(scheme: str) -> None:
    with GraphDatabase.driver(f"{scheme}://{URI.split('//')[1]}", auth=(USER, PASSWORD)) as made:
        made.verify_connectivity()
        assert made.verify_authentication((USER, PASSWORD))
        assert not made.verify_authentication((USER, f"not-{PASSWORD}"))


@pytest.mark.parametrize("auth", [(USER, f"not-{PASSWORD}"), ("somebody", PASSWORD), None])
def test_a_wrong_password_is_refused(auth: tuple[str, str] | None) -> None:
    time.sleep(5.2)  # so that wrong passwords of other tests do not count
    with GraphDatabase.driver(URI, auth=auth) as made, pytest.raises((AuthError, ClientError)) as caught:
        made.verify_connectivity()
    assert "Unauthorized" in str(caught.value.code)


def test_too_many_wrong_passwords_have_to_wait() -> None:
    time.sleep(5.2)
    codes = []
    for _attempt in range(4):
        with GraphDatabase.driver(URI, auth=(USER, f"not-{PASSWORD}")) as made:
            with pytest.raises((AuthError, ClientError)) as caught:
                made.verify_connectivity()
            codes.append(str(caught.value.code).rsplit(".", 1)[1])
    assert codes == [*["Unauthorized"] * 3, "AuthenticationRateLimit"]
    with GraphDatabase.driver(URI, auth=(USER, PASSWORD)) as made:
        made.verify_connectivity()  # whoever was in before is not locked out


def test_another_database_does_not_exist(driver: Driver) -> None:
    with pytest.raises(ClientError) as caught:
        driver.execute_query("RETURN 1", database_="other")
    assert caught.value.code == "Neo.ClientError.Database.DatabaseNotFound"
    rows = driver.execute_query("SHOW DATABASES YIELD name, default WHERE name <> 'x'", database_="system").records
    assert [tuple(row) for row in rows] == [("neo4j", True), ("system", False)]
    with pytest.raises(ClientError):
        driver.execute_query("CREATE DATABASE other", database_="system")


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        *(0, 1, -1, 127, 128, -128, -129, 2**15, -(2**31), 2**31, 2**63 - 1, -(2**63)),
        *(0.0, -1.5, 1e300, 1.5e-7, 1e22),
        *("", "ä€😀", "quote \" ' ` back\\slash\nline\ttab $p //c /*d*/", "x" * 70_000),
        [],
        [1, "a", None, [2.5, True]],
        {},
        {"a": 1, "b c": {"d": [None]}},
        list(range(300)),
        [{"n": number} for number in range(20)],
    ],
)
def test_parameters_come_back_as_they_were(driver: Driver, value: Any) -> None:
    assert one(driver, "RETURN $p", p=value) == value


@pytest.mark.parametrize(
    "value",
    [
        WGS84Point((13.4, 52.5)),
        Date(2024, 2, 29),
        datetime.date(1960, 1, 2),
        datetime.time(10, 11, 12),
        datetime.datetime(2024, 2, 29, 10, 11, 12),
    ],
)
def test_points_and_times(driver: Driver, value: Any) -> None:
    found = one(driver, "CREATE (n:T {v: $p}) WITH n, '$p' AS text RETURN n.v", p=value)
    if isinstance(value, WGS84Point):
        assert tuple(found) == pytest.approx(tuple(value))
    elif isinstance(value, Date):
        assert found == value
    else:
        assert found.to_native() == value
    assert one(driver, "UNWIND $rows AS row RETURN row.when = $p", rows=[{"when": value}], p=value) is True


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        float("nan"),
        float("inf"),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
        datetime.datetime(2024, 1, 1, 0, 0, 0, 1),
    ],
)
def test_values_that_the_engine_does_not_have_are_refused(driver: Driver, value: Any) -> None:
    with pytest.raises(ClientError) as caught:
        driver.execute_query("RETURN $p", p=value)
    assert caught.value.code == "Neo.ClientError.Statement.TypeError"
    with pytest.raises(ClientError):
        driver.execute_query("RETURN duration({days: 1})")


def test_nodes_relationships_and_paths(driver: Driver) -> None:
    driver.execute_query("CREATE (:A {n: 1})-[:R {w: 2}]->(:A:B {n: 2})<-[:S]-(:C)")
    node = one(driver, "MATCH (n {n: 2}) RETURN n")
    assert isinstance(node, Node)
    assert set(node.labels) == {"A", "B"}
    assert dict(node) == {"n": 2}
    relationship = one(driver, "MATCH ()-[r:R]->() RETURN r")
    assert isinstance(relationship, Relationship)
    assert (relationship.type, dict(relationship)) == ("R", {"w": 2})
    path = one(driver, "MATCH p=(:A {n: 1})-[*2]-(:C) RETURN p")
    assert isinstance(path, Path)
    assert [set(node.labels) for node in path.nodes] == [{"A"}, {"A", "B"}, {"C"}]
    assert [step.type for step in path.relationships] == ["R", "S"]
    assert path.relationships[1].end_node == path.nodes[1], "the second one is walked backwards"
    assert one(driver, "MATCH p=(:A {n: 1}) RETURN p").relationships == ()
    nested = one(driver, "MATCH (n:C) RETURN {list: [n], null: null}")
    assert set(nested["list"][0].labels) == {"C"}


def test_large_results_are_fetched_in_parts(driver: Driver) -> None:
    with driver.session(fetch_size=100) as session:
        assert sum(row[0] for row in session.run("UNWIND range(1, 20000) AS i RETURN i")) == 200010000
        result = session.run("UNWIND range(1, 20000) AS i RETURN i")
        assert next(iter(result))[0] == 1
        result.consume()
        assert session.run("RETURN 1").single()[0] == 1


# -- statements -------------------------------------------------------------------------------------------------------


def test_counters_and_kinds(driver: Driver) -> None:
    summary = driver.execute_query("CREATE (:A {n: 1})-[:R]->(:B) RETURN 1").summary
    counters = summary.counters
    assert (counters.nodes_created, counters.relationships_created, counters.properties_set) == (2, 1, 1)
    assert counters.labels_added == 2
    assert (counters.contains_updates, summary.query_type, summary.database) == (True, "rw", "neo4j")
    assert driver.execute_query("CREATE (:A)").summary.query_type == "w"
    summary = driver.execute_query("MATCH (n) RETURN n").summary
    assert (summary.counters.contains_updates, summary.query_type) == (False, "r")
    assert driver.execute_query("MATCH (n) DETACH DELETE n").summary.counters.nodes_deleted == 3


@pytest.mark.parametrize(
    ("statement", "error", "code"),
    [
        ("GIVE 1", CypherSyntaxError, "Statement.SyntaxError"),
        ("RETURN unheard_of(1)", CypherSyntaxError, "Statement.SyntaxError"),
        ("RETURN x", CypherSyntaxError, "Statement.SyntaxError"),
        ("RETURN $missing", ClientError, "Statement.ParameterMissing"),
        ("CALL apoc.help('x')", ClientError, "Procedure.ProcedureNotFound"),
        ("RETURN 1 / 0", ClientError, "Statement.ArithmeticError"),
        ("CREATE (:A {m: {x: 1}})", ClientError, "Statement.TypeError"),
        ("PROFILE RETURN 1", ClientError, "Statement.NotImplemented"),
        ("// nothing", CypherSyntaxError, "Statement.SyntaxError"),
    ],
)
def test_errors_have_their_code_and_the_words_of_the_engine(
    driver: Driver, statement: str, error: type[Exception], code: str
) -> None:
    with driver.session() as session:
        with pytest.raises(error) as caught:
            session.run(statement).consume()
        assert caught.value.code == f"Neo.ClientError.{code}"  # type: ignore[attr-defined]
        assert session.run("RETURN 1").single()[0] == 1, "the connection goes on"


def test_a_failed_statement_changes_nothing(driver: Driver) -> None:
    with pytest.raises(ClientError):
        driver.execute_query("UNWIND [2, 1, 0] AS n CREATE (:A {v: 2 / n})")
    assert count(driver) == 0


def test_explain_runs_nothing(driver: Driver) -> None:
    summary = driver.execute_query("EXPLAIN CREATE (:A)").summary
    assert summary.plan["operatorType"] == "Create"
    assert count(driver) == 0


def test_reading_sessions_cannot_write(driver: Driver) -> None:
    with driver.session(default_access_mode=READ_ACCESS) as session:
        assert session.run("MATCH (n) RETURN count(n)").single()[0] == 0
        with pytest.raises(ClientError) as caught:
            session.run("CREATE (:A)").consume()
        assert caught.value.code == "Neo.ClientError.Statement.AccessMode"
        with pytest.raises(ClientError):
            session.execute_read(lambda tx: tx.run("CREATE (:A)").consume())
    assert count(driver) == 0


def test_indexes_and_constraints_in_the_words_of_neo4j(driver: Driver) -> None:
    for _twice in range(2):
        driver.execute_query("CREATE CONSTRAINT person_id IF NOT EXISTS FOR (p:Person) REQUIRE p.id IS UNIQUE")
        driver.execute_query("CREATE INDEX person_name IF NOT EXISTS FOR (p:Person) ON (p.name)")
        driver.execute_query("CREATE RANGE INDEX knows_since IF NOT EXISTS FOR ()-[k:KNOWS]-() ON (k.since, k.how)")
        driver.execute_query("CREATE CONSTRAINT person_born IF NOT EXISTS FOR (p:Person) REQUIRE p.born IS NOT NULL")
    driver.execute_query("CREATE (:Person {id: 1, born: 1})")
    for wrong in ("CREATE (:Person {id: 1, born: 2})", "CREATE (:Person {id: 2})"):
        with pytest.raises(ConstraintError):
            driver.execute_query(wrong)
    constraints = driver.execute_query("SHOW CONSTRAINTS YIELD name, type, properties").records
    assert sorted(tuple(row) for row in constraints) == [
        ("person_born", "NODE_PROPERTY_EXISTENCE", ["born"]),
        ("person_id", "UNIQUENESS", ["id"]),
    ]
    indexes = {row["name"]: row for row in driver.execute_query("SHOW INDEXES").records}
    assert indexes["person_name"]["state"] == "ONLINE"
    assert indexes["knows_since"]["properties"] == ["since", "how"]
    assert "Index Scan" in str(driver.execute_query("EXPLAIN MATCH (p:Person {id: 1}) RETURN p").summary.plan)
    with pytest.raises(ClientError) as caught:
        driver.execute_query("CREATE INDEX person_name FOR (p:Person) ON (p.other)")
    assert caught.value.code == "Neo.ClientError.Schema.IndexWithNameAlreadyExists"
    for name, kind in (("person_id", "CONSTRAINT"), ("person_born", "CONSTRAINT"), ("person_name", "INDEX")):
        driver.execute_query(f"DROP {kind} {name}")
        driver.execute_query(f"DROP {kind} {name} IF EXISTS")
    with pytest.raises(ClientError):
        driver.execute_query("DROP INDEX person_name")
    driver.execute_query("CREATE (:Person {id: 1})")
    assert [row["name"] for row in driver.execute_query("SHOW INDEXES").records] == ["knows_since"]


def test_a_constraint_that_the_data_breaks_is_refused(driver: Driver) -> None:
    driver.execute_query("CREATE (:D {id: 1}), (:D {id: 1})")
    with pytest.raises(ClientError) as caught:
        driver.execute_query("CREATE CONSTRAINT d FOR (d:D) REQUIRE d.id IS UNIQUE")
    assert caught.value.code == "Neo.ClientError.Schema.ConstraintCreationFailed"
    assert driver.execute_query("SHOW CONSTRAINTS").records == []


# -- transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_of_several_statements_is_committed_whole(driver: Driver) -> None:
    with driver.session() as session, driver.session() as other:
        with session.begin_transaction() as tx:
            first = tx.run("CREATE (a:A {n: 1}) RETURN id(a)").single()[0]
            tx.run("MATCH (a) WHERE id(a) = $id CREATE (a)-[:R]->(:B)", id=first)
            assert tx.run("MATCH (n) RETURN count(n)").single()[0] == 2, "it sees its own changes"
            assert other.run("MATCH (n) RETURN count(n)").single()[0] == 0, "nobody else does"
            tx.commit()
        assert other.run("MATCH (:A)-[:R]->(:B) RETURN count(*)").single()[0] == 1


def test_rolled_back_is_as_if_it_had_never_been(driver: Driver) -> None:
    driver.execute_query("CREATE (:Before {v: 1})")
    with driver.session() as session:
        with session.begin_transaction() as tx:
            tx.run("MATCH (n) SET n.v = 2 CREATE (:A)").consume()
            tx.rollback()
        with contextlib.suppress(ZeroDivisionError), session.begin_transaction() as tx:
            tx.run("MATCH (n) DETACH DELETE n").consume()
            raise ZeroDivisionError
        with pytest.raises(ClientError), session.begin_transaction() as tx:
            tx.run("CREATE (:A)").consume()
            tx.run("RETURN 1 / 0").consume()
    assert [tuple(row) for row in driver.execute_query("MATCH (n) RETURN labels(n), n.v").records] == [(["Before"], 1)]


def test_several_results_open_in_one_transaction(driver: Driver) -> None:
    with driver.session(fetch_size=2) as session, session.begin_transaction() as tx:
        first = tx.run("UNWIND range(1, 10) AS i RETURN i")
        second = tx.run("UNWIND range(11, 20) AS i RETURN i")
        pairs = [(a[0], b[0]) for a, b in zip(first, second, strict=True)]
        assert pairs[0] == (1, 11)
        assert pairs[-1] == (10, 20)
        tx.commit()


def test_a_connection_that_breaks_rolls_back(driver: Driver) -> None:
    made = GraphDatabase.driver(URI, auth=(USER, PASSWORD))
    session = made.session()
    tx = session.begin_transaction()
    tx.run("CREATE (:A)").consume()
    made.close()
    driver.execute_query("CREATE (:B)")  # would wait for the lock of the broken one
    assert one(driver, "MATCH (n) RETURN collect(labels(n)[0])") == ["B"]


def test_writers_wait_for_each_other_and_lose_nothing(driver: Driver) -> None:
    driver.execute_query("CREATE (:Counter {n: 0})")

    def add(number: int) -> None:
        with driver.session() as session:
            for turn in range(5):
                statement = "MATCH (c:Counter) SET c.n = c.n + 1"
                if (number + turn) % 2:
                    session.run(statement).consume()
                else:
                    session.execute_write(lambda tx: tx.run(statement).consume())  # noqa: B023

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one(driver, "MATCH (c:Counter) RETURN c.n") == 20


def test_a_transaction_ends_when_its_time_is_over(driver: Driver) -> None:
    with driver.session() as session:
        tx = session.begin_transaction(timeout=1)
        tx.run("CREATE (:A)").consume()
        time.sleep(1.5)
        with pytest.raises((ClientError, TransientError)) as caught:
            tx.commit()
        assert "TransactionTimedOut" in str(caught.value.code)
    assert count(driver) == 0


def test_a_slow_question_is_cut_off(driver: Driver) -> None:
    statement = "UNWIND range(1, 20000) AS a UNWIND range(1, 20000) AS b RETURN sum(a * b % 7)"
    with driver.session() as session, pytest.raises(ClientError) as caught:
        session.run(neo4j.Query(statement, timeout=0.1)).consume()
    assert "TransactionTimedOut" in str(caught.value.code)


@pytest.mark.skipif(not CONTAINER, reason="needs a server with little memory")
def test_a_greedy_question_ends_alone(driver: Driver) -> None:
    with driver.session() as session:
        with pytest.raises(TransientError) as caught:
            session.run("UNWIND range(1, 3000) AS a UNWIND range(1, 3000) AS b RETURN collect(a * b)").consume()
        assert caught.value.code == "Neo.TransientError.General.MemoryPoolOutOfMemoryError"
        assert session.run("RETURN 1").single()[0] == 1


def test_constraints_hold_in_a_transaction(driver: Driver) -> None:
    driver.execute_query("CREATE CONSTRAINT c FOR (p:P) REQUIRE p.id IS UNIQUE")
    driver.execute_query("CREATE (:P {id: 1})")
    with driver.session() as session:
        with pytest.raises(ConstraintError):
            session.execute_write(lambda tx: tx.run("CREATE (:P {id: 1})").consume())
        session.execute_write(lambda tx: tx.run("CREATE (:P {id: 2})").consume())
    assert [row["name"] for row in driver.execute_query("SHOW CONSTRAINTS").records] == ["c"]


def test_a_constraint_on_nothing_yet_does_not_bring_the_engine_down(driver: Driver) -> None:
    """What FalkorDB copies of such a constraint does, with the value 0."""
    driver.execute_query("CREATE CONSTRAINT c FOR (p:Fresh) REQUIRE p.number IS UNIQUE")
    with driver.session() as session:
        for number in range(5):
            session.execute_write(lambda tx: tx.run("CREATE (:Fresh {number: $n})", n=number).consume())  # noqa: B023
            session.run("CREATE (:Fresh {number: $n})-[:R]->(:B)", n=100 + number).consume()
    assert count(driver) == 15


def test_the_asynchronous_driver() -> None:
    async def main() -> list[int]:
        async with AsyncGraphDatabase.driver(URI, auth=(USER, PASSWORD)) as made:
            answers = await asyncio.gather(*(made.execute_query("RETURN $n", n=n) for n in range(20)))
        return [answer.records[0][0] for answer in answers]

    assert asyncio.run(main()) == list(range(20))


# -- the Query API ----------------------------------------------------------------------------------------------------


def http(method: str, path: str, body: Any = None, password: str = PASSWORD, kind: str = "application/json") -> Any:
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    request = urllib.request.Request(
        HTTP + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Basic {token}", "Content-Type": kind, "Accept": kind},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


needs_http = pytest.mark.skipif(not HTTP, reason="NEO4J_HTTP names no server")


@needs_http
def test_the_query_api() -> None:
    path = "/db/neo4j/query/v2"
    with urllib.request.urlopen(HTTP + "/", timeout=10) as response:
        assert json.load(response)["query"].endswith("/db/{databaseName}/query/v2")
    statement = "CREATE (n:A {name: $name, n: 1}) RETURN n, n.n, [1.5, null]"
    status, answer = http("POST", path, {"statement": statement, "parameters": {"name": "x"}, "includeCounters": True})
    assert status == 202
    assert answer["data"]["fields"] == ["n", "n.n", "[1.5, null]"]
    node = answer["data"]["values"][0][0]
    assert (node["labels"], node["properties"]) == (["A"], {"name": "x", "n": 1})
    assert answer["data"]["values"][0][1:] == [1, [1.5, None]]
    assert (answer["counters"]["nodesCreated"], answer["counters"]["containsUpdates"]) == (1, True)
    status, answer = http("POST", path, {"statement": "GIVE 1"})
    assert (status, answer["errors"][0]["code"]) == (400, "Neo.ClientError.Statement.SyntaxError")
    status, answer = http("POST", path, {"statement": "CREATE (:A)", "accessMode": "READ"})
    assert (status, answer["errors"][0]["code"]) == (400, "Neo.ClientError.Statement.AccessMode")
    status, answer = http("POST", "/db/other/query/v2", {"statement": "RETURN 1"})
    assert (status, answer["errors"][0]["code"]) == (404, "Neo.ClientError.Database.DatabaseNotFound")
    time.sleep(5.2)
    status, answer = http("POST", path, {"statement": "RETURN 1"}, password="wrong-password")
    assert (status, answer["errors"][0]["code"]) == (401, "Neo.ClientError.Security.Unauthorized")


@needs_http
def test_typed_json() -> None:
    kind = "application/vnd.neo4j.query"
    body = {
        "statement": "RETURN $n, 1.5, date('2024-02-29'), point({latitude: 1, longitude: 2})",
        "parameters": {"n": {"$type": "Integer", "_value": "9007199254740993"}},
    }
    status, answer = http("POST", "/db/neo4j/query/v2", body, kind=kind)
    assert status == 202
    assert answer["data"]["values"] == [
        [
            {"$type": "Integer", "_value": "9007199254740993"},
            {"$type": "Float", "_value": "1.5"},
            {"$type": "Date", "_value": "2024-02-29"},
            {"$type": "Point", "_value": "SRID=4326;POINT (2.0 1.0)"},
        ]
    ]


@needs_http
def test_transactions_over_http(driver: Driver) -> None:
    path = "/db/neo4j/query/v2/tx"
    status, answer = http("POST", path, {"statement": "CREATE (a:A) RETURN id(a)"})
    assert status == 202
    number = answer["transaction"]["id"]
    assert count(driver) == 0
    http("POST", f"{path}/{number}", {"statement": "CREATE (:B)"})
    status, answer = http("POST", f"{path}/{number}/commit", {"statement": "MATCH (n) RETURN count(n)"})
    assert (status, answer["data"]["values"]) == (202, [[2]])
    assert count(driver) == 2
    number = http("POST", path, {"statement": "MATCH (n) DETACH DELETE n"})[1]["transaction"]["id"]
    assert http("DELETE", f"{path}/{number}")[0] == 200
    assert count(driver) == 2
    status, answer = http("POST", f"{path}/{number}/commit", {})
    assert (status, answer["errors"][0]["code"]) == (404, "Neo.ClientError.Transaction.TransactionNotFound")


# -- the container ----------------------------------------------------------------------------------------------------

needs_container = pytest.mark.skipif(not CONTAINER, reason="NEO4J_CONTAINER names no container")


def inside(*command: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    argv = ["docker", "exec", "--interactive", CONTAINER, *command]
    return subprocess.run(argv, input=stdin, capture_output=True, check=check, timeout=120)


def come_back(driver: Driver) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(ServiceUnavailable, TransientError, OSError):
            driver.verify_connectivity()
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


@needs_container
def test_what_was_acknowledged_survives_a_kill(driver: Driver) -> None:
    for number in range(20):
        with driver.session() as session:
            session.run("CREATE (:K {n: $n})", n=number).consume()
            session.execute_write(lambda tx: tx.run("CREATE (:L {n: $n})", n=number).consume())  # noqa: B023
    with driver.session() as session:
        tx = session.begin_transaction()
        tx.run("CREATE (:Uncommitted)").consume()
        subprocess.run(["docker", "kill", CONTAINER], check=True, capture_output=True, timeout=60)
        subprocess.run(["docker", "start", CONTAINER], check=True, capture_output=True, timeout=60)
    come_back(driver)
    rows = driver.execute_query("MATCH (n) RETURN labels(n)[0], count(*) ORDER BY labels(n)[0]").records
    assert [tuple(row) for row in rows] == [("K", 20), ("L", 20)]


@needs_container
def test_the_schema_survives_as_well_also_what_was_removed(driver: Driver) -> None:
    driver.execute_query("CREATE CONSTRAINT kept FOR (p:P) REQUIRE p.id IS UNIQUE")
    driver.execute_query("CREATE CONSTRAINT gone FOR (p:Q) REQUIRE p.id IS UNIQUE")
    for turn in range(3):
        if turn == 1:
            driver.execute_query("DROP CONSTRAINT gone")
        subprocess.run(["docker", "kill", CONTAINER], check=True, capture_output=True, timeout=60)
        subprocess.run(["docker", "start", CONTAINER], check=True, capture_output=True, timeout=60)
        come_back(driver)
        names = [row["name"] for row in driver.execute_query("SHOW CONSTRAINTS").records]
        assert sorted(names) == (["kept"] if turn else ["gone", "kept"])
    driver.execute_query("CREATE (:P {id: 1}), (:Q {id: 1}), (:Q {id: 1})")
    with pytest.raises(ConstraintError):
        driver.execute_query("CREATE (:P {id: 1})")


@needs_container
def test_an_engine_that_dies_takes_the_container_along(driver: Driver) -> None:
    inside(
        "sh",
        "-c",
        'for p in /proc/[0-9]*; do grep -q redis-server "$p/comm" && kill -9 "${p#/proc/}"; done; true',
        check=False,
    )
    deadline = time.monotonic() + 30
    while True:
        asked = ["docker", "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", CONTAINER]
        state = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.split()
        if state[0] == "false":
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert state == ["false", "1"]
    subprocess.run(["docker", "start", CONTAINER], check=True, capture_output=True, timeout=60)
    come_back(driver)


@needs_container
def test_dump_load_count_and_drill(driver: Driver) -> None:
    driver.execute_query("CREATE CONSTRAINT c FOR (p:P) REQUIRE p.id IS UNIQUE")
    driver.execute_query("UNWIND range(1, 500) AS i CREATE (:P {id: i})-[:R {w: i}]->(:Q)")
    counted = json.loads(inside("pantheon-neo4j-admin", "count").stdout)
    assert (counted["nodes"], counted["relationships"], counted["labels"]) == (1000, 500, "P:500 Q:500 ")
    dump = inside("pantheon-neo4j-admin", "dump").stdout
    assert dump.startswith(b"REDIS")
    driver.execute_query("MATCH (q:Q) DETACH DELETE q")
    image = subprocess.run(
        ["docker", "inspect", "--format", "{{.Image}}", CONTAINER],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.strip()
    volume = f"{CONTAINER}-drill"

    def scratch(command: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        argv = ["docker", "run", "--rm", "--interactive", "--network=none", f"--volume={volume}:/data"]
        argv += ["--env=NEO4J_AUTH", "--entrypoint=pantheon-neo4j-admin", image, command]
        return subprocess.run(argv, input=stdin, capture_output=True, check=check, timeout=120)

    try:
        assert scratch("drill", check=False).returncode == 1, "nothing was loaded yet"
        scratch("load", dump)
        assert json.loads(scratch("drill").stdout) == counted
        damaged = bytearray(dump)
        damaged[len(damaged) // 2] ^= 0xFF
        for wrong in (bytes(damaged), dump[: len(dump) // 2], b"", b"text"):
            failed = scratch("load", wrong, check=False)
            assert failed.returncode == 1, failed.stderr
        assert json.loads(scratch("drill").stdout) == counted, "what was there was not touched"
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", volume], check=False, capture_output=True, timeout=60)
