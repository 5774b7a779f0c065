# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements, parameters, answers of the engine, users and settings: functions without a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD

from pantheon_neo4j_api import admin, schema
from pantheon_neo4j_api.auth import Users
from pantheon_neo4j_api.compact import Names, UnknownNameError, to_result
from pantheon_neo4j_api.cypher import literal, may_write, split_mode, with_parameters
from pantheon_neo4j_api.engine import Engine, memory_limit
from pantheon_neo4j_api.errors import Neo4jError, from_engine
from pantheon_neo4j_api.query_json import plain, typed, untyped
from pantheon_neo4j_api.resp import EngineError, Pool
from pantheon_neo4j_api.schema import Create, Drop, Show, Subject, parse, tabulate
from pantheon_neo4j_api.settings import Settings, SettingsError
from pantheon_neo4j_api.store import Store
from pantheon_neo4j_api.values import Date, Duration, LocalDateTime, LocalTime, Node, Point, Relationship
from pantheon_neo4j_api.values import Path as Walk

# -- parameters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (-(2**63), "(-9223372036854775807 - 1)"),
        (1e22, "1.0e22"),
        (1e-7, "1.0e-7"),
        (0.1, "0.1"),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ([1, "a", None], '[1, "a", null]'),
        ({"a": 1, "b c": {}}, "{a: 1, `b c`: {}}"),
        (Point(2.0, 1.0), "point({latitude: 1.0, longitude: 2.0})"),
        (Date(-1), 'date("1969-12-31")'),
        (LocalTime(3661 * 10**9), 'localtime("01:01:01")'),
        (LocalDateTime(-1), 'localdatetime("1969-12-31T23:59:59")'),
        (Duration(1, 2, 3), "duration({months: 1, days: 2, seconds: 3})"),
    ],
)
def test_literals(value: Any, written: str) -> None:
    assert literal(value) == written


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        float("nan"),
        float("-inf"),
        2**63,
        "zero\x00byte",
        {"back`tick": 1},
        {"": 1},
        Point(1, 2, srid=7203),
        Date(10**9),
        LocalTime(1),
        LocalDateTime(0, 1),
        Duration(0, 0, 0, 1),
        object(),
    ],
)
def test_what_the_engine_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(Neo4jError) as caught:
        literal([value])
    assert caught.value.code == "Neo.ClientError.Statement.TypeError"


def test_parameters_stand_before_the_statement() -> None:
    assert with_parameters("RETURN 1", {}) == "RETURN 1"
    assert with_parameters("RETURN $a, $`b c`", {"a": 'x"', "b c": 2}) == 'CYPHER a="x\\"" `b c`=2 RETURN $a, $`b c`'


def test_points_and_times_stand_where_they_are_used() -> None:
    statement = "RETURN $d, '$d' AS a, $day, $`d`, {x: $d} // $d\n"
    wanted = 'RETURN date("1970-01-01"), \'$d\' AS a, $day, date("1970-01-01"), {x: date("1970-01-01")} // $d\n'
    assert with_parameters(statement, {"d": Date(0), "day": 1}) == f"CYPHER day=1 {wanted}"
    assert with_parameters("UNWIND $rows AS r RETURN r", {"rows": [{"d": Date(0)}]}).startswith("UNWIND [{d: date(")


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("MATCH (n) RETURN n", False),
        ("match (n) set n.x = 1", True),
        ("MATCH (n) RETURN 'CREATE', \"SET\", `DELETE`", False),
        ("MATCH (n) /* MERGE */ RETURN n // REMOVE", False),
        ("MATCH (n:Created {settings: 1}) RETURN n.asset", False),
        ("UNWIND [1] AS x MERGE (n {x: x})", True),
        ("CALL db.idx.fulltext.createNodeIndex('A', 'b')", True),
        ("CALL db.idx.fulltext.queryNodes('A', 'b')", False),
        ("CALL db.labels()", False),
    ],
)
def test_words_that_write(statement: str, writes: bool) -> None:
    assert may_write(statement) is writes


def test_explain_and_profile() -> None:
    assert split_mode("EXPLAIN RETURN 1") == ("EXPLAIN", " RETURN 1")
    assert split_mode("/* why */ profile RETURN 1")[0] == "PROFILE"
    assert split_mode("RETURN 'EXPLAIN'") == ("", "RETURN 'EXPLAIN'")


# -- indexes and constraints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("CREATE INDEX a FOR (n:L) ON (n.p)", Create("a", False, Subject(False, "L", ("p",)))),
        (
            "create index if not exists for (n:L) on (n.p, n.`q r`);",
            Create("", True, Subject(False, "L", ("p", "q r"))),
        ),
        ("CREATE RANGE INDEX FOR ()-[r:T]->() ON (r.p)", Create("", False, Subject(True, "T", ("p",)))),
        ("CREATE INDEX FOR (n:L) ON (n.p)", None),
        ("CREATE INDEX ON :L(p)", None),
        ("CREATE FULLTEXT INDEX f FOR (n:L) ON EACH [n.p]", None),
        ("CREATE (n:INDEX)", None),
        (
            "CREATE CONSTRAINT c IF NOT EXISTS FOR (n:L) REQUIRE n.p IS UNIQUE",
            Create("c", True, Subject(False, "L", ("p",)), ("UNIQUE",)),
        ),
        (
            "CREATE CONSTRAINT FOR (n:L) REQUIRE (n.p, n.q) IS NODE KEY",
            Create("", False, Subject(False, "L", ("p", "q")), ("UNIQUE", "MANDATORY")),
        ),
        (
            "CREATE CONSTRAINT `c d`\nFOR ()-[r:T]-() REQUIRE r.p IS NOT NULL",
            Create("c d", False, Subject(True, "T", ("p",)), ("MANDATORY",)),
        ),
        ("DROP INDEX a IF EXISTS", Drop("a", False, True)),
        ("DROP CONSTRAINT a", Drop("a", True, False)),
        ("DROP INDEX ON :L(p)", None),
        ("DROP INDEX FOR (n:L) ON (n.p)", None),
        ("SHOW INDEXES", Show("indexes", "")),
        ("SHOW CONSTRAINTS YIELD *", Show("constraints", " YIELD *")),
        ("SHOW DATABASES", Show("databases", "")),
        ("SHOW DEFAULT DATABASE", Show("databases", "", "neo4j")),
        ("SHOW DATABASE system", Show("databases", "", "system")),
        ("SHOW USERS", None),
        ("CALL dbms.components() YIELD name", Show("components", " YIELD name")),
        ("MATCH (n) RETURN n", None),
    ],
)
def test_statements_of_neo4j_about_the_schema(statement: str, found: Any) -> None:
    assert parse(statement) == found


def test_a_subject_in_the_words_of_the_engine() -> None:
    subject = Subject(True, "A B", ("p", "q r"))
    assert subject.pattern == "FOR ()-[e:`A B`]-() ON (e.p, e.`q r`)"
    assert subject.arguments == ("RELATIONSHIP", "A B", "PROPERTIES", 2, "p", "q r")


@pytest.mark.parametrize(
    ("rest", "end"),
    [
        ("", "RETURN a, b"),
        (" YIELD *", "RETURN a, b"),
        (" YIELD a AS x, b", "WITH a AS x, b RETURN x, b"),
        (" YIELD a WHERE a = 1 RETURN count(*)", "WITH a WHERE a = 1 RETURN count(*)"),
        (" WHERE a = 1;", "WHERE a = 1 RETURN a, b"),
        (" YIELD a UNWIND a AS x RETURN x", "WITH a UNWIND a AS x RETURN x"),
    ],
)
def test_tables(rest: str, end: str) -> None:
    start = 'UNWIND [{a: 1, b: "x"}] AS row WITH row.a AS a, row.b AS b '
    assert tabulate([{"a": 1, "b": "x", "hidden": 2}], ("a", "b"), rest) == start + end


def test_nonsense_after_a_table_is_a_mistake() -> None:
    with pytest.raises(Neo4jError, match="expected"):
        tabulate([], ("a",), " nonsense")


# -- answers of the engine ------------------------------------------------------------------------------------------------


async def _listed(procedure: str) -> list[str]:
    return {"db.labels()": ["P", "Q"], "db.relationshipTypes()": ["R"], "db.propertyKeys()": ["name", "w"]}[procedure]


def names() -> Names:
    made = Names(_listed)
    asyncio.run(made.refresh())
    return made


def test_an_answer_as_it_was_recorded() -> None:
    one = [8, [0, [0], [[0, 2, "x"]]]]
    two = [8, [1, [0, 1], []]]
    step = [7, [0, 0, 0, 1, [[1, 3, 2]]]]
    rows = [
        [[9, [[6, [one, two]], [6, [step]]]], [10, ["m", [2, "x"]]], [11, ["1.5", "2.5"]], [12, ["1.5"]], [1, None]],
        [[14, 1706918400], [15, -2208952128], [13, 1706955072], [5, "-nan"], [4, "true"]],
    ]
    header = [[1, name] for name in "abcde"]
    result = to_result([header, rows, ["Nodes created: 2", "Properties set: 3", "Cached execution: 0"]], names())
    assert result.fields == list("abcde")
    first, second = Node(0, ["P"], {"name": "x"}), Node(1, ["P", "Q"], {})
    walk = Walk([first, second], [Relationship(0, "R", 0, 1, {"w": 2})])
    assert result.rows[0] == [walk, {"m": "x"}, Point(2.5, 1.5), [1.5], None]
    assert result.rows[1][:3] == [Date(19756), LocalTime(36672 * 10**9), LocalDateTime(1706955072)]
    assert str(result.rows[1][3]) == "nan"
    assert result.counters == {"nodes-created": 2, "properties-set": 3}


def test_an_answer_without_rows() -> None:
    result = to_result([["Indices created: 1", "Query internal execution time: 1.6 milliseconds"]], names())
    assert (result.fields, result.rows, result.counters, result.milliseconds) == ([], [], {"indexes-added": 1}, 2)


def test_a_new_name_has_to_be_read() -> None:
    with pytest.raises(UnknownNameError):
        to_result([[[1, "n"]], [[[8, [0, [9], []]]]], []], names())


@pytest.mark.parametrize("cell", [EngineError("Query timed out"), [99, 1], [16, 5]])
def test_an_answer_that_cannot_be_used_is_an_error(cell: Any) -> None:
    with pytest.raises(EngineError):
        to_result([[[1, "n"]], [[cell]], []], names())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("errMsg: Invalid input 'R'", "Neo.ClientError.Statement.SyntaxError"),
        ("Unknown function 'foo'", "Neo.ClientError.Statement.SyntaxError"),
        ("unique constraint violation on node of type P", "Neo.ClientError.Schema.ConstraintValidationFailed"),
        ("Query timed out", "Neo.ClientError.Transaction.TransactionTimedOut"),
        ("graph.RO_QUERY is to be executed only on read-only queries", "Neo.ClientError.Statement.AccessMode"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "Neo.TransientError.General.OutOfMemoryError"),
        ("ERR something new", "Neo.ClientError.Statement.ArgumentError"),
    ],
)
def test_codes(message: str, code: str) -> None:
    error = from_engine(message)
    assert error.code == code
    assert error.message == f"FalkorDB: {message.removeprefix('ERR ')}"


# -- JSON -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, True, 2**60, 1.5, "x", [1, {"a": None}], Point(1.0, 2.0), Date(5), LocalDateTime(86400)]
)
def test_typed_json_loses_nothing(value: Any) -> None:
    assert untyped(json.loads(json.dumps(typed(value)))) == value


def test_plain_json() -> None:
    node = Node(1, ["A"], {"when": Date(0)})
    assert plain(node) == {"elementId": "1", "labels": ["A"], "properties": {"when": "1970-01-01"}}
    walk = Walk([node, node], [Relationship(2, "R", 1, 1, {})])
    assert [entry["elementId"] for entry in plain(walk)] == ["1", "2", "1"]
    assert plain([float("inf"), LocalTime(10**9)]) == ["inf", "00:00:01"]


# -- users ----------------------------------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_the_first_start_takes_the_password(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    assert Users(file).prepare(("neo4j", PASSWORD)) is True
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    again = Users(file)
    assert again.prepare(("neo4j", "another-password")) is False
    again.check("neo4j", PASSWORD)
    with pytest.raises(Neo4jError):
        again.check("neo4j", "another-password")


def test_wrong_passwords_make_everybody_else_wait(tmp_path: Path) -> None:
    clock = Clock()
    users = Users(tmp_path / "users.json", clock)
    users.prepare(("neo4j", PASSWORD))
    for _attempt in range(3):
        with pytest.raises(Neo4jError) as caught:
            users.check("neo4j", "wrong-password")
        assert caught.value.code.endswith("Unauthorized")
    with pytest.raises(Neo4jError) as caught:
        users.check("neo4j", PASSWORD)
    assert caught.value.code.endswith("AuthenticationRateLimit")
    clock.now += 6
    users.check("neo4j", PASSWORD)


def test_the_password_is_changed_by_a_statement(users: Users) -> None:
    statement = "ALTER CURRENT USER SET PASSWORD FROM $old TO 'the-next-password'"
    assert not users.alters("RETURN 1", {})
    for old in ("wrong-password", 1, None):
        with pytest.raises(Neo4jError):
            users.alters(statement, {"old": old})
    assert users.alters(statement, {"old": PASSWORD})
    users.check("neo4j", PASSWORD)
    users.alter(statement, {"old": PASSWORD})
    users.check("neo4j", "the-next-password")
    with pytest.raises(Neo4jError):
        users.check("neo4j", PASSWORD)


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic ???", "Basic bmVvNGo=", "Bearer x", "Basic bmVvNGo6eA=="])
def test_wrong_headers(users: Users, header: str | None) -> None:
    with pytest.raises(Neo4jError) as caught:
        users.check_header(header)
    assert caught.value.code == "Neo.ClientError.Security.Unauthorized"


def test_without_authentication_everybody_comes_in() -> None:
    users = Users(None)
    users.prepare(None)
    users.check_header(None)
    users.check_token({"scheme": "none"})


# -- settings and engine --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("", "neo4j/<password>"),
        ("neo4j", "neo4j/<password>"),
        ("somebody/a-good-password", "'somebody'"),
        ("neo4j/short", "8 characters"),
        ("neo4j/neo4j", "default"),
        ("neo4j/a-good-password/true", "change of password"),
    ],
)
def test_wrong_settings_are_named_without_the_password(value: str, part: str) -> None:
    with pytest.raises(SettingsError, match=part) as caught:
        Settings.from_environment({"NEO4J_AUTH": value})
    assert "a-good-password" not in str(caught.value)


def test_settings() -> None:
    settings = Settings.from_environment({"NEO4J_AUTH": "neo4j/a-good-password", "PANTHEON_NEO4J_BOLT_PORT": "1"})
    assert (settings.auth, settings.bolt_port) == (("neo4j", "a-good-password"), 1)
    assert Settings.from_environment({"NEO4J_AUTH": "none"}).auth is None
    with pytest.raises(SettingsError, match="PANTHEON_NEO4J_THREADS"):
        Settings.from_environment({"NEO4J_AUTH": "none", "PANTHEON_NEO4J_THREADS": "many"})


def test_half_of_the_memory_of_the_container(tmp_path: Path) -> None:
    limit = tmp_path / "limit"
    for text, wanted in (("268435456\n", 134217728), ("max\n", 0), (f"{2**63 - 4096}\n", 0)):
        limit.write_text(text)
        assert memory_limit((str(limit),)) == wanted
    assert memory_limit((str(tmp_path / "none"),)) == 0


def test_the_engine_listens_to_nobody_else_and_saves_only_when_told(tmp_path: Path) -> None:
    engine = Engine(Settings(auth=None, data=tmp_path, runtime=tmp_path / "run"))
    lines = engine.configuration().splitlines()
    assert {"port 0", "unixsocketperm 600", 'save ""', "appendonly no", f"dir {tmp_path}"} <= set(lines)


class SlowPool(Pool):
    """An engine that saves when it is allowed to."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.saves = 0
        self.fails = False
        self.gate = asyncio.Event()

    async def call(self, *arguments: str | bytes | int) -> Any:
        assert arguments == ("SAVE",)
        await self.gate.wait()
        self.saves += 1
        if self.fails:
            raise EngineError("ERR disk full")
        return "OK"


def test_changes_that_come_while_one_is_saved_share_the_next_time() -> None:
    async def main() -> int:
        pool = SlowPool()
        store = Store(pool)
        tasks = [asyncio.create_task(store.save()) for _number in range(10)]
        await asyncio.sleep(0)
        pool.gate.set()
        await asyncio.gather(*tasks)
        return pool.saves

    assert asyncio.run(main()) <= 2


def test_a_change_that_cannot_be_saved_is_not_acknowledged() -> None:
    async def main() -> None:
        pool = SlowPool()
        pool.gate.set()
        pool.fails = True
        store = Store(pool)
        with pytest.raises(Neo4jError, match="disk full"):
            await store.save()
        pool.fails = False
        await store.save()

    asyncio.run(main())


def test_the_program_for_backups_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEO4J_AUTH", "none")
    monkeypatch.setenv("PANTHEON_NEO4J_DATA", str(tmp_path))
    monkeypatch.setenv("PANTHEON_NEO4J_RUNTIME", str(tmp_path))
    for command, part in (("count", "is it running"), ("dump", "is it running"), ("drill", "load one first")):
        assert admin.main([command]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert part in captured.err


def test_a_table_of_databases_has_the_one_that_people_use() -> None:
    rows = schema._databases("")
    assert [(row["name"], row["default"]) for row in rows] == [("neo4j", True), ("system", False)]
