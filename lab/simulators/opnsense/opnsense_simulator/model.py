# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model: a tree of fields, its values, and the rules for writing and checking them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from . import php
from .fields import Constraint, Field
from .releases import Release

Row = dict[str, Any]


class InvalidInput(Exception):
    """The request has a shape that makes the real API fail: 500."""


class World(Protocol):
    """What fields need to know of the rest of the configuration."""

    release: Release

    def alias_names(self, ports: bool = False) -> set[str]:
        """The names of firewall aliases."""

    def network_options(self) -> Mapping[str, str]:
        """What a rule may name as source or destination."""

    def interface_options(self) -> Mapping[str, str]:
        """The interfaces with their descriptions."""

    def categories(self) -> Mapping[str, str]:
        """The firewall categories by uuid."""

    def gateways(self) -> Mapping[str, str]:
        """The gateways by name."""


class Container:
    """Named fields, containers and arrays."""

    def __init__(self, name: str, children: list[Field | Container | Array]) -> None:
        self.name = name
        self.children = {child.name: child for child in children}

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Field]]:
        """Every field outside arrays, with its path."""
        for name, child in self.children.items():
            if isinstance(child, Field):
                yield prefix + name, child
            elif isinstance(child, Container) and not isinstance(child, Array):
                yield from child.leaves(f"{prefix}{name}.")


class Array(Container):
    """Records of one shape, keyed by uuid; `static` adds records that nobody can change or delete."""

    def __init__(
        self,
        name: str,
        children: list[Field | Container | Array],
        *,
        static: Callable[[Any], Mapping[str, Mapping[str, str]]] | None = None,
    ) -> None:
        super().__init__(name, children)
        self.static = static


class Node:
    """One record, or the fields outside all arrays: what fields see when they are asked something."""

    def __init__(self, model: Model, container: Container, row: Row, array: Array | None, path: str, key: str) -> None:
        self.model = model
        self.container = container
        self.row = row
        self.array = array
        self.path = path  # "hosts.host.<uuid>", or the path of the container
        self.key = key
        self.release = model.release
        self.world = model.world

    def text(self, name: str) -> str:
        """The value of a field beside the asking one; absent fields are empty."""
        value = self.row.get(name, "")
        return value if isinstance(value, str) else ""

    def field(self, name: str) -> Field:
        """A field by its name."""
        child = self.container.children[name]
        assert isinstance(child, Field)
        return child

    def column(self, name: str) -> list[str]:
        """The values of a field in all records of the array."""
        return [row.get(name, "") for row in self.model.rows(self.array)] if self.array is not None else []

    def occurrences(self, names: tuple[str, ...], ignore_case: bool) -> int:
        """How many records of the array have this record's values in some fields."""
        return self.model.count_keys(self.array, names, ignore_case, tuple(self.text(name) for name in names))


class Model:
    """The values of one model. A request works on a copy, which is stored when it is valid."""

    def __init__(self, name: str, schema: Container, values: Row, world: World) -> None:
        self.name = name
        self.schema = schema
        self.world = world
        self.release = world.release
        self.values: Row = self._load(schema, values)
        self.before: Row = self._load(schema, values)
        self._keys: dict[tuple[str, tuple[str, ...], bool], dict[tuple[str, ...], int]] = {}
        self.after_set: Callable[[Node, str, str], None] | None = None
        self.more_checks: Callable[[Model, bool], Iterator[tuple[str, str]]] | None = None

    # Loading and storing

    def _load(self, container: Container, values: Any) -> Row:
        """Complete values: every field of the schema, in its order."""
        values = values if isinstance(values, Mapping) else {}
        result: Row = {}
        for name, child in container.children.items():
            if isinstance(child, Array):
                rows = values.get(name) or {}
                result[name] = {key: self._load_fields(child, row) for key, row in rows.items()}
            elif isinstance(child, Container):
                result[name] = self._load(child, values.get(name))
            else:
                result[name] = values.get(name, child.default)
        return result

    def _load_fields(self, container: Container, values: Mapping[str, Any]) -> Row:
        return {
            name: self._load_fields(child, values.get(name) or {})
            if isinstance(child, Container)
            else values.get(name, child.default)
            for name, child in container.children.items()
        }

    def stored(self) -> Row:
        """The values to keep: everything but volatile fields."""
        return self._stored(self.schema, self.values)

    def _stored(self, container: Container, values: Row) -> Row:
        result: Row = {}
        for name, child in container.children.items():
            if isinstance(child, Array):
                result[name] = {key: self._stored_row(child, row) for key, row in values[name].items()}
            elif isinstance(child, Container):
                result[name] = self._stored(child, values[name])
            elif not child.volatile:
                result[name] = values[name]
        return result

    def _stored_row(self, container: Container, row: Row) -> Row:
        return {
            name: self._stored_row(child, row[name]) if isinstance(child, Container) else row[name]
            for name, child in container.children.items()
            if isinstance(child, Container) or not child.volatile
        }

    # Finding

    def array(self, path: str) -> tuple[Array, Row]:
        """An array by its path, with its records."""
        container: Container = self.schema
        values = self.values
        for step in path.split("."):
            child = container.children[step]
            assert isinstance(child, Container)
            container, values = child, values[step]
        assert isinstance(container, Array)
        return container, values

    def arrays(self) -> Iterator[tuple[str, Array, Row]]:
        """Every array with its path and records."""
        yield from self._arrays(self.schema, self.values, "")

    def _arrays(self, container: Container, values: Row, prefix: str) -> Iterator[tuple[str, Array, Row]]:
        for name, child in container.children.items():
            if isinstance(child, Array):
                yield prefix + name, child, values[name]
            elif isinstance(child, Container):
                yield from self._arrays(child, values[name], f"{prefix}{name}.")

    def rows(self, array: Array | None) -> list[Row]:
        """The records of an array."""
        for _path, candidate, rows in self.arrays():
            if candidate is array:
                return list(rows.values())
        return []

    def node(self, path: str, key: str) -> Node:
        """A record as fields see it."""
        array, rows = self.array(path)
        row = rows[key] if key in rows else self.static_rows(array)[key]
        return Node(self, array, row, array, f"{path}.{key}", key)

    def static_rows(self, array: Array) -> dict[str, Row]:
        """The built-in records of an array."""
        if array.static is None:
            return {}
        return {key: self._load_fields(array, row) for key, row in array.static(self.world).items()}

    def count_keys(self, array: Array | None, names: tuple[str, ...], ignore_case: bool, key: tuple[str, ...]) -> int:
        """How often a combination of values occurs; counted once per check of the model."""
        if array is None:
            return 0
        fold: Callable[[str], str] = str.lower if ignore_case else str
        cache = self._keys.get((array.name, names, ignore_case))
        if cache is None:
            cache = {}
            for row in [*self.rows(array), *self.static_rows(array).values()]:
                value = tuple(fold(row.get(name, "")) for name in names)
                cache[value] = cache.get(value, 0) + 1
            self._keys[(array.name, names, ignore_case)] = cache
        return cache.get(tuple(map(fold, key)), 0)

    # Showing

    def nodes(self) -> Row:
        """What `get` of the whole model shows."""
        return self._nodes(self.schema, self.values, "")

    def _nodes(self, container: Container, values: Row, path: str) -> Row:
        node = Node(self, container, values, None, path, "")
        result: Row = {}
        for name, child in container.children.items():
            here = f"{path}.{name}" if path else name
            if isinstance(child, Array):
                result[name] = {
                    key: self.record_nodes(Node(self, child, row, child, f"{here}.{key}", key))
                    for key, row in [*values[name].items(), *self.static_rows(child).items()]
                }
            elif isinstance(child, Container):
                result[name] = self._nodes(child, values[name], here)
            else:
                self._show(result, child, values[name], node)
        return result

    def record_nodes(self, node: Node) -> Row:
        """What `get` of one record shows."""
        result: Row = {}
        for name, child in node.container.children.items():
            if isinstance(child, Container):
                inner = Node(self, child, node.row[name], None, f"{node.path}.{name}", node.key)
                result[name] = self.record_nodes(inner)
            else:
                self._show(result, child, node.row[name], node)
        return result

    def _show(self, result: Row, field: Field, value: str, node: Node) -> None:
        data = field.data(value, node)
        result[field.name] = data
        if self.release.labels_in_get and isinstance(data, str):
            label = field.label(value, node)
            if label != data:
                result[f"%{field.name}"] = label

    def flat(self, node: Node) -> Iterator[tuple[str, Field, str, Node]]:
        """Every field of a record, also of its containers, with its path inside the record."""
        for name, child in node.container.children.items():
            if isinstance(child, Container):
                inner = Node(self, child, node.row[name], None, f"{node.path}.{name}", node.key)
                for path, field, value, owner in self.flat(inner):
                    yield f"{name}.{path}", field, value, owner
            else:
                yield name, child, node.row[name], node

    # Writing

    def add(self, path: str, key: str | None = None) -> Node:
        """A new record with defaults."""
        array, rows = self.array(path)
        key = key or str(uuid.uuid4())
        row: Row = self._load_fields(array, {})
        node = Node(self, array, row, array, f"{path}.{key}", key)
        for name, child in array.children.items():
            if isinstance(child, Field):
                row[name] = child.initial(node)
        rows[key] = row
        self._keys.clear()
        return node

    def delete(self, path: str, key: str) -> bool:
        """Remove a record, if it is there."""
        _array, rows = self.array(path)
        self._keys.clear()
        return rows.pop(key, None) is not None

    def set_all(self, data: Any) -> None:
        """Write to the whole model, as a bulk write does."""
        self._set(self.schema, self.values, data, "")

    def set_record(self, node: Node, data: Any) -> None:
        """Write to one record."""
        self._set(node.container, node.row, data, node.path, node)

    def _set(self, container: Container, values: Row, data: Any, path: str, node: Node | None = None) -> None:
        given = _as_array(data)
        self._keys.clear()
        if isinstance(container, Array) and node is None:
            if not isinstance(data, (Mapping, list)):
                raise InvalidInput(path)
            for key in list(values):
                if given.get(key) is not None:
                    if not isinstance(given[key], (Mapping, list)):
                        raise InvalidInput(path)
                    record = Node(self, container, values[key], container, f"{path}.{key}", key)
                    self._set(container, values[key], given[key], record.path, record)
            for key in [key for key in given if key not in values]:
                record = self.add(path)
                self._set(container, record.row, given[key], record.path, record)
            return
        owner = node or Node(self, container, values, None, path, "")
        for name, child in container.children.items():
            value = given.get(name)
            if value is None:
                continue
            if isinstance(child, Container):
                if not isinstance(value, (Mapping, list)):
                    raise InvalidInput(f"{path}.{name}")
                here = f"{path}.{name}" if path else name
                inner = Node(self, child, values[name], None, here, owner.key) if node is not None else None
                self._set(child, values[name], value, here, inner)
            else:
                if isinstance(value, (Mapping, list)):
                    raise InvalidInput(f"{path}.{name}")
                old, values[name] = values[name], child.normalize(php.to_string(value))
                if self.after_set is not None:
                    self.after_set(owner, name, old)

    # Checking

    def check(self, full: bool = False) -> list[tuple[str, str]]:
        """Everything wrong with what changed (or with everything): pairs of path and text, grouped by path."""
        self._keys.clear()
        found: dict[str, list[str]] = {}
        for path, text in self._check_container(self.schema, self.values, self.before, "", full):
            found.setdefault(path, []).append(text)
        messages = [(path, text) for path, texts in found.items() for text in texts]
        if self.more_checks is not None:
            messages += list(self.more_checks(self, full))
        return messages

    def _check_container(
        self, container: Container, values: Row, before: Row, path: str, full: bool
    ) -> Iterator[tuple[str, str]]:
        node = Node(self, container, values, None, path, "")
        for name, child in container.children.items():
            here = f"{path}.{name}" if path else name
            if isinstance(child, Array):
                for key, row in values[name].items():
                    old = before[name].get(key)
                    if full or row != old:
                        record = Node(self, child, row, child, f"{here}.{key}", key)
                        yield from self._check_record(record, old, full)
            elif isinstance(child, Container):
                yield from self._check_container(child, values[name], before[name], here, full)
            elif full or values[name] != before.get(name):
                yield from self._check_field(node, child)

    def _check_record(self, node: Node, before: Row | None, full: bool) -> Iterator[tuple[str, str]]:
        for name, child in node.container.children.items():
            old = None if before is None else before.get(name)
            if isinstance(child, Container):
                inner = Node(self, child, node.row[name], None, f"{node.path}.{name}", node.key)
                yield from self._check_record(inner, old, full)
            elif full or before is None or node.row[name] != old:
                yield from self._check_field(node, child)

    def _check_field(self, node: Node, field: Field) -> Iterator[tuple[str, str]]:
        path = f"{node.path}.{field.name}" if node.path else field.name
        for constraint in field.constraints:
            yield from self._check_constraint(node, field.name, constraint)
        for text in field.check(node.row[field.name], node):
            yield path, text

    def _check_constraint(self, node: Node, name: str, constraint: Constraint) -> Iterator[tuple[str, str]]:
        if constraint.kind == "reference":
            # The other field's rule, checked because this field changed; the message goes to the other field. When both
            # changed, the text comes twice, which is why such messages are lists.
            if constraint.field in node.container.children:
                other = node.field(constraint.field).constraints[constraint.index]
                yield from self._check_constraint(node, constraint.field, other)
        elif constraint.broken(node, name):
            yield f"{node.path}.{name}" if node.path else name, constraint.message


def _as_array(data: Any) -> Mapping[str, Any]:
    """PHP's view of a JSON value as an array: lists have the keys 0, 1, 2 ..., scalars have none."""
    if isinstance(data, Mapping):
        return data
    if isinstance(data, list):
        return {str(index): value for index, value in enumerate(data)}
    return {}
