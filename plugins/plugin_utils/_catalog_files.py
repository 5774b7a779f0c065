# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the catalog: YAML files, schema, overrides, defaults (private to this collection)."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible.errors import AnsibleError

try:
    # Here and not where it is used: the parent process imports this once, and the workers of all hosts inherit it.
    import jsonschema
except ImportError:
    jsonschema = None  # type: ignore[assignment]

#: libyaml's loader is ten times faster; the pure one gives the same data where libyaml is missing.
_BaseLoader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Problem:
    """One fault of the site: where it is, what is there, and what to do about it.

    ``message`` continues a sentence whose subject is the field: "names the unknown service x".
    """

    file: str
    field: str
    value: t.Any
    remedy: str
    message: str

    def __str__(self) -> str:
        value = "" if self.value is None else f" = {json.dumps(self.value, default=str)}"
        return f"{self.file}: {self.field}{value}: {self.message}; {self.remedy}."


def describe(problems: list[Problem]) -> str:
    """Return the text of an error about all of *problems*, one per line."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"The site has {count}:", *(f"- {problem}" for problem in problems)])


class _StrictLoader(_BaseLoader):
    """A safe loader that refuses a key given twice: YAML would silently keep the last one."""


def _mapping(loader: t.Any, node: yaml.MappingNode, deep: bool = False) -> dict[t.Any, t.Any]:
    seen = set()
    for key_node, _value in node.value:
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key_node.value!r} stands here twice", key_node.start_mark
            )
        seen.add(key_node.value)
    loader.flatten_mapping(node)
    result: dict[t.Any, t.Any] = yaml.constructor.SafeConstructor.construct_mapping(loader, node, deep=True)
    return result


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> tuple[dict[str, t.Any] | None, list[Problem]]:
    """Return the mapping in the file *path*, or the reason why there is none."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "file"
        reason = getattr(error, "problem", None) or str(error)
        return None, [Problem(str(path), where, None, "correct the syntax", f"is not valid YAML ({reason})")]
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(str(path), "file", None, "make it a readable UTF-8 file", f"cannot be read ({error})")]
    if not isinstance(data, dict):
        return None, [Problem(str(path), "file", None, "write a mapping of fields", "holds no mapping")]
    return data, []


def merge(base: dict[str, t.Any], override: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return *base* with *override* over it: mappings deep, everything else (lists too) replaced.

    A null in the override takes the field away.
    """
    result = dict(base)
    for key, value in override.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class _Schema:
    """The schema with its compiled validator."""

    def __init__(self, path: Path) -> None:
        if jsonschema is None:
            raise AnsibleError(
                f"The Python package jsonschema is missing for {sys.executable}, which runs Ansible. Install it there, for "
                "example with: python3 -m pip install jsonschema."
            )
        self.data: dict[str, t.Any] = json.loads(path.read_text(encoding="utf-8"))
        self.validator: t.Any = jsonschema.Draft202012Validator(self.data)

    def problems(self, data: dict[str, t.Any], file: str) -> list[Problem]:
        """Return what the schema has to say about *data*."""
        if self.validator.is_valid(data):
            return []
        errors = sorted(self.validator.iter_errors(data), key=lambda error: [str(part) for part in error.path])
        return [problem for error in errors for problem in _schema_problem(error, file)]

    def with_defaults(self, data: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return *data* with the schema's defaults where a field is missing."""
        result: dict[str, t.Any] = self._fill(self.data, data)
        return result

    def _fill(self, schema: dict[str, t.Any], data: t.Any) -> t.Any:
        if isinstance(data, list):
            items = schema.get("items")
            return [self._fill(items, item) for item in data] if items else data
        if not isinstance(data, dict):
            return data
        properties: dict[str, t.Any] = schema.get("properties", {})
        other = schema.get("additionalProperties")
        result = {}
        for key, value in data.items():
            part = properties.get(key, other if isinstance(other, dict) else {})
            result[key] = self._fill(part, value)
        for key, part in properties.items():
            if key not in result and isinstance(part, dict) and "default" in part:
                result[key] = copy.deepcopy(part["default"])
        return result


@functools.lru_cache(maxsize=4)
def _schema(path: Path, _mtime: int) -> _Schema:
    return _Schema(path)


_REMEDIES = {
    "additionalProperties": "remove it or correct its spelling",
    "required": "add it",
    "enum": "use one of the allowed values",
    "pattern": "use the form that the schema gives",
}


def _schema_problem(error: t.Any, file: str) -> list[Problem]:
    field = ".".join(str(part) for part in error.absolute_path) or "file"
    kind = error.validator
    value = error.instance if not isinstance(error.instance, (dict, list)) else None
    if kind == "additionalProperties":
        known = set(error.schema.get("properties", {}))
        prefix = "" if field == "file" else f"{field}."
        remedy = f"{_REMEDIES[kind]}; known keys are {', '.join(sorted(known))}"
        return [
            Problem(file, f"{prefix}{key}", None, remedy, "is an unknown key")
            for key in error.instance
            if key not in known
        ]
    if kind == "not" and isinstance(error.instance, str) and error.instance in error.validator_value.get("enum", []):
        return [Problem(file, field, value, "name the exact version", "is a tag that moves")]
    if kind == "not":
        return [Problem(file, field, value, "remove it or use another value", "is not allowed here")]
    if kind == "oneOf":
        choices = [" and ".join(choice.get("required", [])) for choice in error.validator_value]
        return [Problem(file, field, value, f"give exactly one of {', '.join(choices)}", "is ambiguous or incomplete")]
    return [Problem(file, field, value, _REMEDIES.get(kind, "correct it"), error.message)]


@dataclass
class Catalog:
    """What :func:`read_catalog` found. With problems, services are as written; without, defaults are filled in."""

    services: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    templates: dict[str, str | None] = dataclasses.field(default_factory=dict)
    disabled: list[str] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)


def cached_catalog(folder: Path, overrides: Path | None, cache: Path) -> Catalog:
    """Return what :func:`read_catalog` returns, worked out once per run.

    Every task of every host is a process of its own, and checking the catalog against its schema is most of what such a
    task costs. *cache* is a folder of this run and this user; the name of a file in it is the hash of everything that is
    read, so that a changed file is another entry. A catalog with problems is never kept.
    """
    digest = hashlib.sha256()
    schema = folder / "service.schema.json"
    templates = sorted(path for path in (folder / "templates").rglob("*") if path.is_file())
    for path in (schema, *_yaml_files(folder / "services"), *templates, *_yaml_files(overrides)):
        for part in (str(path).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    kept = cache / f"pantheon-catalog-{digest.hexdigest()}.json"
    try:
        return Catalog(**json.loads(kept.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    catalog = read_catalog(folder, overrides)
    if catalog.problems:
        return catalog
    values = {field.name: getattr(catalog, field.name) for field in dataclasses.fields(catalog)}
    text = json.dumps(values, default=str)
    if json.loads(text) == values:  # what JSON has no word for, such as a date, is read anew each time
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, kept)
    return catalog


def read_catalog(folder: Path, overrides: Path | None) -> Catalog:
    """Return the services with overrides and defaults, their files, the templates they use, and all faults."""
    schema_path = folder / "service.schema.json"
    schema = _schema(schema_path, schema_path.stat().st_mtime_ns)
    catalog = Catalog()
    override_files = {path.stem: path for path in _yaml_files(overrides)}
    service_files = _yaml_files(folder / "services")
    for path in service_files:
        _read_service(catalog, schema, path, override_files.get(path.stem))
    known = ", ".join(path.stem for path in service_files)
    for name in sorted(set(override_files) - {path.stem for path in service_files}):
        catalog.problems.append(
            Problem(
                str(override_files[name]),
                "file",
                None,
                f"rename it, or put a new service into catalog/services; known services are {known}",
                f"overrides {name}, which is not in the catalog",
            )
        )
    if catalog.problems:
        return catalog
    filled = {name: schema.with_defaults(data) for name, data in catalog.services.items()}
    catalog.disabled = [name for name, data in filled.items() if not data["enabled"]]
    catalog.services = {name: data for name, data in filled.items() if data["enabled"]}
    catalog.templates = _read_templates(folder / "templates", catalog.services)
    return catalog


def _read_service(catalog: Catalog, schema: _Schema, path: Path, override_path: Path | None) -> None:
    source = str(path)
    data, problems = read_yaml(path)
    if data is not None:
        problems += schema.problems(data, source)
        if "stand_in" in data:
            problems.append(
                Problem(
                    source,
                    "stand_in",
                    None,
                    "move it to catalog/ beside the inventory",
                    "stands in the catalog, which describes the real program",
                )
            )
    if override_path is not None:
        source = str(override_path)
        override, faults = read_yaml(override_path)
        problems += faults
        if data is not None and override is not None:
            data = merge(data, override)
            # What is wrong with the service file itself was said above, under the name of that file.
            problems = problems or schema.problems(data, source)
    catalog.problems += problems
    if data is None:
        return
    if data.get("name") != path.stem:
        catalog.problems.append(
            Problem(source, "name", data.get("name"), f"write {path.stem}", "differs from the name of the file")
        )
    catalog.services[path.stem] = data
    catalog.sources[path.stem] = source


def _yaml_files(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml") and path.is_file())


def _read_templates(folder: Path, services: dict[str, dict[str, t.Any]]) -> dict[str, str | None]:
    names = {entry["template"] for data in services.values() for entry in data["files"] if "template" in entry}
    texts: dict[str, str | None] = {}
    for name in sorted(names):
        path = folder / name
        texts[name] = path.read_text(encoding="utf-8") if path.is_file() else None
    return texts
