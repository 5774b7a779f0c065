# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Neo4j's statements about indexes, constraints and the server, as what FalkorDB has for them.

FalkorDB's own forms are left alone. Names of indexes and constraints, which it does not know, are kept beside the graph.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import DATABASE, SYSTEM, VERSION
from .cypher import literal, name
from .errors import Neo4jError
from .values import Result

if TYPE_CHECKING:
    from .store import Store

#: What dbms.components() answers.
COMPONENT = {"name": "FalkorDB behind a front of Pantheon", "versions": [VERSION], "edition": "stand-in"}

_N = r"(?:`[^`]+`|[^\W\d]\w*)"
_HEAD = rf"(?:(?!IF\b|FOR\b|ON\b)(?P<name>{_N})\s+)?(?P<unless>IF\s+NOT\s+EXISTS\s+)?"
_NODE = rf"\(\s*{_N}\s*:\s*(?P<label>{_N})\s*\)"
_EDGE = rf"\(\s*\)\s*<?-\s*\[\s*{_N}\s*:\s*(?P<type>{_N})\s*\]\s*->?\s*\(\s*\)"
_PROPERTY = rf"{_N}\s*\.\s*{_N}"
_LIST = rf"\(?\s*(?P<properties>{_PROPERTY}(?:\s*,\s*{_PROPERTY})*)\s*\)?"
_FOR = rf"FOR\s*(?:{_NODE}|{_EDGE})\s*"
_END = r"\s*;?\s*\Z"
_KINDS = r"(?:NODE\s+|RELATIONSHIP\s+|REL\s+)?(?P<kind>UNIQUE|KEY)|NOT\s+(?P<null>NULL)"
_FLAGS = re.IGNORECASE | re.DOTALL

_CREATE_INDEX = re.compile(rf"\s*CREATE\s+(?P<range>RANGE\s+)?INDEX\s+{_HEAD}{_FOR}ON\s*{_LIST}{_END}", _FLAGS)
_CREATE_CONSTRAINT = re.compile(
    rf"\s*CREATE\s+CONSTRAINT\s+{_HEAD}{_FOR}REQUIRE\s*{_LIST}\s*IS\s+(?:{_KINDS}){_END}", _FLAGS
)
_DROP = re.compile(
    rf"\s*DROP\s+(?P<what>INDEX|CONSTRAINT)\s+(?!ON\b|FOR\b)(?P<name>{_N})(?P<exists>\s+IF\s+EXISTS)?{_END}", _FLAGS
)
_SHOW = re.compile(
    r"\s*SHOW\s+(?:ALL\s+)?(?P<what>INDEX(?:ES)?|CONSTRAINTS?|DATABASES|(?:DEFAULT|HOME)\s+DATABASE|DATABASE\s+(?P<database>\w+))"
    r"(?P<rest>\b.*)?\Z",
    _FLAGS,
)
_COMPONENTS = re.compile(r"\s*CALL\s+dbms\.components\s*(?:\(\s*\))?(?P<rest>.*)\Z", _FLAGS)
_REST = re.compile(
    r"\s*(?:YIELD\s+(?P<yield>.*?))?\s*(?P<where>\bWHERE\b.*?)?\s*(?P<more>\b(?:RETURN|UNWIND|WITH)\b.*)?;?\s*\Z",
    _FLAGS,
)

_INDEX_COLUMNS = ("name", "type", "entityType", "labelsOrTypes", "properties", "state", "owningConstraint")
_CONSTRAINT_COLUMNS = ("name", "type", "entityType", "labelsOrTypes", "properties")


@dataclass(frozen=True)
class Subject:
    """What an index or a constraint is about."""

    relationship: bool
    label: str
    properties: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """The subject as FalkorDB's statements want it."""
        entity = f"()-[e:{name(self.label)}]-()" if self.relationship else f"(e:{name(self.label)})"
        return f"FOR {entity} ON ({', '.join(f'e.{name(item)}' for item in self.properties)})"

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """The subject as GRAPH.CONSTRAINT wants it."""
        entity = "RELATIONSHIP" if self.relationship else "NODE"
        return (entity, self.label, "PROPERTIES", len(self.properties), *self.properties)


@dataclass(frozen=True)
class Create:
    """Make an index (kinds is empty), or constraints of these kinds."""

    name: str
    unless_exists: bool
    subject: Subject
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drop:
    """Remove an index or a constraint by its name."""

    name: str
    constraint: bool
    if_exists: bool


@dataclass(frozen=True)
class Show:
    """A question about the server or the schema: its table, and what is asked of it."""

    table: str
    rest: str
    database: str = ""


def names_of(key: str) -> str:
    """Return where the names of a graph's indexes and constraints are kept."""
    return f"schema:{key}"


def parse(statement: str) -> Create | Drop | Show | None:
    """Return what a statement wants, or None when it is for the engine as it is."""
    found = _CREATE_INDEX.match(statement)
    if found and (found["name"] or found["unless"] or found["range"]):
        return Create(_plain(found["name"]), bool(found["unless"]), _subject(found))
    found = _CREATE_CONSTRAINT.match(statement)
    if found:
        kinds = {"UNIQUE": ("UNIQUE",), "KEY": ("UNIQUE", "MANDATORY")}.get(
            (found["kind"] or "").upper(), ("MANDATORY",)
        )
        return Create(_plain(found["name"]), bool(found["unless"]), _subject(found), kinds)
    found = _DROP.match(statement)
    if found:
        return Drop(_plain(found["name"]), found["what"].upper() == "CONSTRAINT", bool(found["exists"]))
    found = _SHOW.match(statement)
    if found:
        what = found["what"].upper().split()
        table = {"I": "indexes", "C": "constraints"}.get(what[0][0], "databases")
        one = "" if what[0] == "DATABASES" or table != "databases" else found["database"] or DATABASE
        return Show(table, found["rest"] or "", one)
    found = _COMPONENTS.match(statement)
    return Show("components", found["rest"]) if found else None


def _plain(text: str | None) -> str:
    return (text or "").strip("`")


def _subject(found: re.Match[str]) -> Subject:
    properties = [item.strip() for item in re.findall(_PROPERTY, found["properties"])]
    names = tuple(_plain(re.split(r"\s*\.\s*", item, maxsplit=1)[1]) for item in properties)
    return Subject(bool(found["type"]), _plain(found["type"] or found["label"]), names)


# -- changes ----------------------------------------------------------------------------------------------------------


async def apply(store: Store, key: str, change: Create | Drop) -> Result:
    """Make or remove an index or a constraint."""
    if isinstance(change, Drop):
        return await _drop(store, key, change)
    indexes, constraints = await _listed(store, key)
    known = constraints if change.kinds else indexes
    same = [row for row in known if row["name"] == change.name or _is(row, change)]
    if same:
        if change.unless_exists:
            return Result(kind="s")
        what = "constraint" if change.kinds else "index"
        if same[0]["name"] == change.name:
            code, reason = f"{what.title()}WithNameAlreadyExists", f"with the name {change.name!r}"
        else:
            code, reason = "EquivalentSchemaRuleAlreadyExists", f"on the same properties of {change.subject.label!r}"
        raise Neo4jError(f"Neo.ClientError.Schema.{code}", f"There is already a schema rule ({what}) {reason}.")
    chosen = change.name or _generated("constraint" if change.kinds else "index", change.subject, change.kinds)
    await _index(store, key, change, indexes)
    made: list[str] = []
    try:
        for kind in change.kinds:
            await store.command("GRAPH.CONSTRAINT", "CREATE", key, kind, *change.subject.arguments)
            made.append(kind)
            await _wait_for_constraint(store, key, change.subject, kind)
    except Neo4jError:
        for kind in made:
            await store.command("GRAPH.CONSTRAINT", "DROP", key, kind, *change.subject.arguments)
        raise
    entry = {
        "constraint": list(change.kinds),
        "relationship": change.subject.relationship,
        "label": change.subject.label,
        "properties": list(change.subject.properties),
    }
    await store.command("HSET", names_of(key), chosen, json.dumps(entry))
    return Result(kind="s", counters={"constraints-added" if change.kinds else "indexes-added": 1})


async def renew_constraints(store: Store, key: str) -> None:
    """Make the constraints of uniqueness of a graph that was copied or loaded anew, with their indexes.

    Those that the engine copied bring it down when something is added to the copy; one that was loaded is made by the same code.
    """
    _indexes, constraints = await _listed(store, key)
    for row in constraints:
        if "UNIQUE" in row["kinds"]:
            entity = row["entityType"] == "RELATIONSHIP"
            subject = Subject(entity, row["labelsOrTypes"][0], tuple(row["properties"]))
            await store.command("GRAPH.CONSTRAINT", "DROP", key, "UNIQUE", *subject.arguments)
            await store.query(key, f"DROP INDEX {subject.pattern}", {}, False)
            await store.query(key, f"CREATE INDEX {subject.pattern}", {}, False)
            await _wait(functools.partial(_index_is_ready, store, key, subject), f"the index on {subject.label!r}")
            await store.command("GRAPH.CONSTRAINT", "CREATE", key, "UNIQUE", *subject.arguments)
            await _wait_for_constraint(store, key, subject, "UNIQUE")


async def _index(store: Store, key: str, change: Create, indexes: Sequence[dict[str, Any]]) -> None:
    """Make the index; a constraint of uniqueness needs one as well, and may find it there."""
    subject = change.subject
    if change.kinds and "UNIQUE" not in change.kinds:
        return
    there = {item for row in indexes if _about(row, subject) for item in row["properties"]}
    missing = tuple(item for item in subject.properties if item not in there)
    if missing:
        wanted = Subject(subject.relationship, subject.label, missing)
        await store.query(key, f"CREATE INDEX {wanted.pattern}", {}, False)
    await _wait(lambda: _index_is_ready(store, key, subject), f"the index on {subject.label!r}")


async def _index_is_ready(store: Store, key: str, subject: Subject) -> bool:
    entity = "RELATIONSHIP" if subject.relationship else "NODE"
    rows = (await store.query(key, "CALL db.indexes() YIELD label, entitytype, status", {}, True)).rows
    return all(status == "OPERATIONAL" for label, kind, status in rows if (label, kind) == (subject.label, entity))


async def _wait_for_constraint(store: Store, key: str, subject: Subject, kind: str) -> None:
    async def ready() -> bool:
        _indexes, constraints = await _listed(store, key)
        states = [row["state"] for row in constraints if _about(row, subject) and kind in row["kinds"]]
        if "FAILED" in states:
            raise Neo4jError(
                "Neo.ClientError.Schema.ConstraintCreationFailed",
                f"The data of {subject.label!r} does not fulfil the constraint on {', '.join(subject.properties)}.",
            )
        return states == ["OPERATIONAL"]

    await _wait(ready, f"the constraint on {subject.label!r}")


async def _wait(ready: Any, what: str, seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await ready():
        if asyncio.get_running_loop().time() > deadline:
            raise Neo4jError(
                "Neo.DatabaseError.Schema.SchemaRuleAccessFailed", f"The engine did not finish {what} in time."
            )
        await asyncio.sleep(0.005)


async def _drop(store: Store, key: str, change: Drop) -> Result:
    indexes, constraints = await _listed(store, key)
    what = "constraint" if change.constraint else "index"
    rows = [row for row in (constraints if change.constraint else indexes) if row["name"] == change.name]
    if not rows:
        if change.if_exists:
            return Result(kind="s")
        raise Neo4jError(
            f"Neo.ClientError.Schema.{what.title()}DropFailed", f"There is no {what} with the name {change.name!r}."
        )
    row = rows[0]
    subject = Subject(row["entityType"] == "RELATIONSHIP", row["labelsOrTypes"][0], tuple(row["properties"]))
    if change.constraint:
        for kind in row["kinds"]:
            await store.command("GRAPH.CONSTRAINT", "DROP", key, kind, *subject.arguments)
    if not change.constraint or "UNIQUE" in row["kinds"]:
        await store.query(key, f"DROP INDEX {subject.pattern}", {}, False)
    await store.command("HDEL", names_of(key), change.name)
    return Result(kind="s", counters={f"{'constraints' if change.constraint else 'indexes'}-removed": 1})


# -- tables -----------------------------------------------------------------------------------------------------------


def _about(row: dict[str, Any], subject: Subject) -> bool:
    return (row["labelsOrTypes"], row["entityType"] == "RELATIONSHIP") == ([subject.label], subject.relationship)


def _is(row: dict[str, Any], change: Create) -> bool:
    if not _about(row, change.subject) or set(row["properties"]) != set(change.subject.properties):
        return False
    return not change.kinds or set(change.kinds) <= set(row["kinds"])


def _generated(what: str, subject: Subject, kinds: Sequence[str]) -> str:
    text = json.dumps([subject.relationship, subject.label, sorted(subject.properties), sorted(kinds)])
    return f"{what}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


async def _listed(store: Store, key: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the indexes and the constraints of a graph: what the engine has, under the names that are known for it."""
    flat = await store.command("HGETALL", names_of(key))
    named = {str(flat[n]): json.loads(flat[n + 1]) for n in range(0, len(flat), 2)}
    constraints = await _constraints(store, key, named)
    indexes: list[dict[str, Any]] = []
    statement = "CALL db.indexes() YIELD label, types, entitytype, status"
    for label, types, entity, status in (await store.query(key, statement, {}, True)).rows:
        left: dict[str, list[str]] = {}
        for item, kinds in types.items():
            for kind in kinds:
                left.setdefault(kind, []).append(item)
        for kind, properties in left.items():
            subject = Subject(entity == "RELATIONSHIP", label, tuple(properties))
            for group, own in _grouped(subject, named) if kind == "RANGE" else [(properties, None)]:
                chosen = own or _generated("index", Subject(subject.relationship, label, tuple(group)), [kind])
                owner = next((row["name"] for row in constraints if _covers(row, subject, group)), None)
                indexes.append(_row(chosen, kind, entity, label, group, status) | {"owningConstraint": owner})
    return indexes, constraints


def _covers(row: dict[str, Any], subject: Subject, properties: Sequence[str]) -> bool:
    return _about(row, subject) and "UNIQUE" in row["kinds"] and set(row["properties"]) == set(properties)


def _grouped(subject: Subject, named: dict[str, Any]) -> list[tuple[list[str], str | None]]:
    """FalkorDB has one index for each label; its properties are shown in the groups in which they were asked for."""
    groups: list[tuple[list[str], str | None]] = []
    left = list(subject.properties)
    for chosen, entry in named.items():
        about = (entry["relationship"], entry["label"]) == (subject.relationship, subject.label)
        if about and set(entry["properties"]) <= set(subject.properties) and "MANDATORY" not in entry["constraint"][:1]:
            groups.append((entry["properties"], None if entry["constraint"] else chosen))
            left = [item for item in left if item not in entry["properties"]]
    return groups + [([item], None) for item in left]


async def _constraints(store: Store, key: str, named: dict[str, Any]) -> list[dict[str, Any]]:
    statement = "CALL db.constraints() YIELD type, label, properties, entitytype, status"
    rows = (await store.query(key, statement, {}, True)).rows
    found: list[dict[str, Any]] = []
    left = {(kind, label, tuple(properties), entity): status for kind, label, properties, entity, status in rows}
    for chosen, entry in named.items():
        entity = "RELATIONSHIP" if entry["relationship"] else "NODE"
        keys = [(kind, entry["label"], tuple(entry["properties"]), entity) for kind in entry["constraint"]]
        if keys and all(item in left for item in keys):
            states = [left.pop(item) for item in keys]
            state = states[0] if len(set(states)) == 1 else "PENDING"
            found.append(
                _row(chosen, _kind(entry["constraint"], entity), entity, entry["label"], entry["properties"], state)
            )
            found[-1]["kinds"] = entry["constraint"]
    for (kind, label, properties, entity), state in left.items():
        subject = Subject(entity == "RELATIONSHIP", label, properties)
        row = _row(
            _generated("constraint", subject, [kind]), _kind([kind], entity), entity, label, list(properties), state
        )
        found.append(row | {"kinds": [kind]})
    return found


def _kind(kinds: Sequence[str], entity: str) -> str:
    if len(kinds) == 2:
        return f"{entity}_KEY"
    if kinds[0] == "UNIQUE":
        return "UNIQUENESS" if entity == "NODE" else "RELATIONSHIP_UNIQUENESS"
    return f"{entity}_PROPERTY_EXISTENCE"


def _row(chosen: str, kind: str, entity: str, label: str, properties: Sequence[str], state: str) -> dict[str, Any]:
    return {
        "name": chosen,
        "type": kind,
        "entityType": entity,
        "labelsOrTypes": [label],
        "properties": list(properties),
        "state": "ONLINE" if state == "OPERATIONAL" and "INDEX" not in kind and kind in _INDEX_KINDS else state,
    }


_INDEX_KINDS = ("RANGE", "FULLTEXT", "VECTOR")


def _databases(only: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for item, kind in ((DATABASE, "standard"), (SYSTEM, "system")):
        row = {
            "name": item,
            "type": kind,
            "aliases": [],
            "access": "read-write",
            "address": "localhost:7687",
            "role": "primary",
            "writer": True,
            "requestedStatus": "online",
            "currentStatus": "online",
            "statusMessage": COMPONENT["name"] if item == DATABASE else "",
            "default": item == DATABASE,
            "home": item == DATABASE,
            "constituents": [],
        }
        if only in ("", item):
            rows.append(row)
    return rows


async def show(store: Store, key: str, question: Show) -> Result:
    """Answer a question about the schema or the server: the engine is given the table, and works out the rest."""
    if question.table == "components":
        rows: list[dict[str, Any]] = [COMPONENT]
        columns: tuple[str, ...] = ("name", "versions", "edition")
    elif question.table == "databases":
        rows, columns = _databases(question.database), tuple(_databases(DATABASE)[0])
    else:
        indexes, constraints = await _listed(store, key)
        rows = indexes if question.table == "indexes" else constraints
        columns = _INDEX_COLUMNS if question.table == "indexes" else _CONSTRAINT_COLUMNS
    result = await store.query(key, tabulate(rows, columns, question.rest), {}, True)
    result.kind = "r"
    return result


def tabulate(rows: Sequence[dict[str, Any]], columns: Sequence[str], rest: str) -> str:
    """Return a statement that yields a table and does with it what stands after YIELD, WHERE and RETURN."""
    found = _REST.match(rest)
    if found is None:
        raise Neo4jError(
            "Neo.ClientError.Statement.SyntaxError", f"YIELD, WHERE or RETURN were expected at {rest.strip()!r}."
        )
    wanted = [{column: row.get(column) for column in columns} for row in rows]
    table = ", ".join(f"row.{name(column)} AS {name(column)}" for column in columns)
    chosen = (found["yield"] or "").strip()
    picked = ", ".join(name(column) for column in columns) if chosen in ("", "*") else chosen
    statement = f"UNWIND {literal(wanted)} AS row WITH {table}"
    if chosen not in ("", "*"):
        statement += f" WITH {chosen}"
    if found["where"]:
        statement += f" {found['where'].strip()}"
    if found["more"]:
        return f"{statement} {found['more'].strip().rstrip(';')}"
    shown = ", ".join(re.split(r"(?i)\s+AS\s+", item)[-1].strip() for item in picked.split(","))
    return f"{statement} RETURN {shown}"
