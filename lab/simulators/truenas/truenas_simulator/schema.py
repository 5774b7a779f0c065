# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict models of what methods accept. Texts and attribute names are those of the appliance's own validation.

A value is never converted: "1" is no number and 1 is no boolean. Unknown keys are refused, strings are bounded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .errors import ValidationErrors

MAX_STRING = 1024
LONG = 2048000

Location = tuple[str, ...]
Problems = list[tuple[Location, str]]


class _Missing:
    """The value of a key that was not sent."""


MISSING: Final = _Missing()
REQUIRED: Final = _Missing()
NOT_REQUIRED: Final = _Missing()
"""A key that may be left out and then has no value at all."""


class Type:
    """What a value must be; check returns the value to use and notes problems."""

    label = ""

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        raise NotImplementedError  # every kind has its own

    def members(self) -> list[Type]:
        """Return the alternatives, each of which names itself in the location of a problem."""
        return [self]


class Str(Type):
    """Text; after sees the accepted value and may raise ValueError, before sees any value."""

    def __init__(
        self,
        minimum: int = 0,
        pattern: str | None = None,
        after: Callable[[str], None] | None = None,
        before: Callable[[Any], None] | None = None,
        maximum: int = MAX_STRING,
    ) -> None:
        self.minimum, self.pattern, self.after, self.before, self.maximum = minimum, pattern, after, before, maximum
        self.label = "constrained-str"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if self.before:
            try:
                self.before(value)
            except ValueError as error:
                problems.append((where, f"Value error, {error}"))
                return value
        if not isinstance(value, str):
            problems.append((where, "Input should be a valid string"))
        elif len(value) > self.maximum:
            problems.append((where, f"String should have at most {self.maximum} characters"))
        elif len(value) < self.minimum:
            plural = "" if self.minimum == 1 else "s"
            problems.append((where, f"String should have at least {self.minimum} character{plural}"))
        elif self.pattern and not re.search(self.pattern, value):
            problems.append((where, f"String should match pattern '{self.pattern}'"))
        elif self.after:
            try:
                self.after(value)
            except ValueError as error:
                problems.append((where, f"Value error, {error}"))
        return value


class Int(Type):
    """A number, optionally within bounds."""

    def __init__(
        self, ge: int | None = None, le: int | None = None, after: Callable[[int], None] | None = None
    ) -> None:
        self.ge, self.le, self.after = ge, le, after
        self.label = "int" if ge is None and le is None else "constrained-int"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if not isinstance(value, int) or isinstance(value, bool):
            problems.append((where, "Input should be a valid integer"))
        elif self.ge is not None and value < self.ge:
            problems.append((where, f"Input should be greater than or equal to {self.ge}"))
        elif self.le is not None and value > self.le:
            problems.append((where, f"Input should be less than or equal to {self.le}"))
        elif self.after:
            try:
                self.after(value)
            except ValueError as error:
                problems.append((where, f"Value error, {error}"))
        return value


class Bool(Type):
    """True or false."""

    label = "bool"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if not isinstance(value, bool):
            problems.append((where, "Input should be a valid boolean"))
        return value


class Choice(Type):
    """One of a few values."""

    def __init__(self, *values: str | int | None, show: Callable[[Any], str] = repr) -> None:
        self.values, self.show = values, show
        self.label = f"literal[{','.join(repr(value) for value in values)}]"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        for known in self.values:
            # Of the whole validation only this takes false for 0.
            same = type(known) is type(value) or (type(known) is int and isinstance(value, bool))
            if same and known == value:
                return known
        shown = [self.show(known) for known in self.values]
        text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
        problems.append((where, f"Input should be {text}"))
        return value


class AnyValue(Type):
    """Anything."""

    label = "any"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Return the value."""
        return value


class List(Type):
    """A list, every item of one type."""

    def __init__(self, item: Type, minimum: int = 0, unique: bool = False) -> None:
        self.item, self.minimum, self.unique = item, minimum, unique
        self.label = f"list[{item.label}]"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if not isinstance(value, list):
            problems.append((where, "Input should be a valid list"))
            return value
        if len(value) < self.minimum:
            plural = "" if self.minimum == 1 else "s"
            problems.append(
                (where, f"List should have at least {self.minimum} item{plural} after validation, not {len(value)}")
            )
            return value
        mine: Problems = []
        result = [self.item.check(item, (*where, str(index)), mine) for index, item in enumerate(value)]
        if self.unique and not mine and len({repr(item) for item in result}) != len(result):
            mine.append((where, "List must be unique"))
        problems += mine
        return result


class Dict(Type):
    """An object with free keys."""

    label = "dict[str,any]"

    def __init__(self, item: Type | None = None) -> None:
        self.item = item

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if not isinstance(value, dict):
            problems.append((where, "Input should be a valid dictionary"))
            return value
        if self.item is None:
            return dict(value)
        return {key: self.item.check(item, (*where, key), problems) for key, item in value.items()}


class Nullable(Type):
    """A type or null; null does not show in the location of a problem."""

    def __init__(self, inner: Type) -> None:
        self.inner = inner
        self.label = f"nullable[{inner.label}]"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        return None if value is None else self.inner.check(value, where, problems)


class _NotRequired(Type):
    label = "is-instance[_NotRequired]"

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        problems.append((where, "Input should be an instance of _NotRequired"))
        return value


class Union(Type):
    """The first alternative that accepts the value; if none does, the problems of all of them."""

    def __init__(self, *alternatives: Type) -> None:
        self.alternatives = [member for alternative in alternatives for member in alternative.members()]

    def members(self) -> list[Type]:
        """Return the alternatives: a union within a union is one union."""
        return self.alternatives

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        found: Problems = []
        for alternative in self.alternatives:
            mine: Problems = []
            result = alternative.check(value, (*where, alternative.label), mine)
            if not mine:
                return result
            found += mine
        problems += found
        return value


class Field:
    """A key of a model: its type and what it is when it is not sent."""

    def __init__(self, kind: Type, default: Any = REQUIRED) -> None:
        # The appliance checks a key that may be left out as "its type, or the mark of a key that was left out".
        self.kind = Union(kind, _NotRequired()) if default is NOT_REQUIRED else kind
        self.default = default

    def for_update(self) -> Field:
        """Return the same key for a partial update: not required, without a default."""
        field = Field.__new__(Field)
        field.kind, field.default = self.kind, NOT_REQUIRED
        return field


class Model(Type):
    """An object with known keys; unknown ones are refused."""

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Field],
        after: Callable[[dict[str, Any]], None] | None = None,
        ignore_unknown: bool = False,
    ) -> None:
        self.name, self.fields, self.after, self.ignore_unknown = name, dict(fields), after, ignore_unknown
        self.label = name

    def for_update(self, name: str, without: Sequence[str] = (), more: Mapping[str, Field] | None = None) -> Model:
        """Return the model of an update: every key may be left out."""
        fields = {key: field.for_update() for key, field in self.fields.items() if key not in without}
        fields |= {key: field.for_update() for key, field in (more or {}).items()}
        return Model(name, fields, ignore_unknown=self.ignore_unknown)

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it, with the defaults of what was not sent."""
        if not isinstance(value, dict):
            problems.append((where, f"Input should be a valid dictionary or instance of {self.name}"))
            return value
        mine: Problems = []
        result: dict[str, Any] = {}
        for key, field in self.fields.items():
            if key in value:
                result[key] = field.kind.check(value[key], (*where, key), mine)
            elif field.default is REQUIRED:
                mine.append(((*where, key), "Field required"))
            elif field.default is not NOT_REQUIRED:
                result[key] = copy.deepcopy(field.default() if callable(field.default) else field.default)
        if not self.ignore_unknown:
            mine += [((*where, str(key)), "Extra inputs are not permitted") for key in value if key not in self.fields]
        if not mine and self.after:
            try:
                self.after(result)
            except ValueError as error:
                mine.append((where, f"Value error, {error}"))
            except AssertionError as error:
                mine.append((where, f"Assertion failed, {error}"))
        problems += mine
        return result


class Tagged(Type):
    """One of several models; a key says which, and its value names the model in the location of a problem."""

    def __init__(
        self,
        key: str,
        models: Mapping[str, Model],
        default: str | None = None,
        show: Callable[[str], str] = repr,
    ) -> None:
        self.key, self.models, self.default, self.show = key, dict(models), default, show

    def check(self, value: Any, where: Location, problems: Problems) -> Any:
        """Note what is wrong with the value and return it."""
        if not isinstance(value, dict):
            problems.append((where, "Input should be a valid dictionary or object to extract fields from"))
            return value
        tag = value.get(self.key, self.default)
        if tag is None and self.key not in value:
            problems.append(((*where, self.key), "Field required"))
            return value
        if not isinstance(tag, str) or tag not in self.models:
            known = ", ".join(self.show(name) for name in self.models)
            problems.append(
                (where, f"Input tag '{tag}' found using '{self.key}' does not match any of the expected tags: {known}")
            )
            return value
        return self.models[tag].check(value, (*where, tag), problems)


def _merged(problems: Problems) -> Problems:
    """Return the problems with the alternatives of one value put together, as newer releases do."""
    result: Problems = []
    alternatives: dict[Location, list[str]] = {}
    for where, text in problems:
        if where and ("[" in where[-1] or "(" in where[-1]):
            alternatives.setdefault(where[:-1], []).append(text)
        else:
            result.append((where, text))
    return [*result, *((where, " or ".join(texts)) for where, texts in alternatives.items())]


def accept(parameters: Mapping[str, Field], arguments: Sequence[Any], merge: bool = False) -> list[Any]:
    """Check the arguments of a call against the parameters of the method; return them with the defaults."""
    errors = ValidationErrors()
    if len(arguments) > len(parameters):
        errors.add("", f"Too many arguments (expected {len(parameters)}, found {len(arguments)})")
        raise errors
    problems: Problems = []
    sent = dict(zip(parameters, arguments, strict=False))
    result = Model("arguments", parameters).check(sent, (), problems)
    for where, text in _merged(problems) if merge else problems:
        errors.add(".".join(where), text)
    errors.check()
    return [result[name] for name in parameters]
