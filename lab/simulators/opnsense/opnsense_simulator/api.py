# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The framework of the API: requests, replies, and the actions that all models have in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import php
from .fields import Field
from .model import InvalidInput, Model, Node, Row
from .releases import Release
from .state import READ_ONLY, Store, User

if TYPE_CHECKING:
    from .app import App

Filter = Callable[[Node], bool]


@dataclass
class Request:
    """One call, after the router and the login."""

    method: str
    query: dict[str, Any]
    post: dict[str, Any]
    user: User
    wrote: bool = False

    @property
    def is_post(self) -> bool:
        """Whether the call may write."""
        return self.method == "POST"

    @property
    def is_get(self) -> bool:
        """Whether the call reads."""
        return self.method == "GET"

    def has_post(self, name: str) -> bool:
        """`isset($_POST[name])`."""
        return self.post.get(name) is not None

    def get(self, name: str) -> Any:
        """A parameter of the body or of the URL."""
        return self.post[name] if self.has_post(name) else self.query.get(name)


@dataclass
class Reply:
    """The answer. `body` is encoded as JSON unless it is bytes; None is an empty answer."""

    status: int = 200
    body: Any = None
    content_type: str = "application/json; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A refusal with a status."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.reply = Reply(status, body)


class UserError(Exception):
    """A refusal for reasons of business: 500 with a message and a title."""

    def __init__(self, message: str, title: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.title = title

    def reply(self, release: Release) -> Reply:
        """How this release words it."""
        body = {"errorMessage": self.message, "errorTitle": self.title}
        if release.error_level:
            body["errorLevel"] = "error"
        return Reply(500, body)


NOT_FOUND = {"errorMessage": "Endpoint not found"}
UNEXPECTED = {"errorMessage": "Unexpected error, check log for details"}


@dataclass(frozen=True)
class Action:
    """A method of a controller, with the number of URL parameters it cannot do without."""

    call: Callable[..., Any]
    required: int = 0


class Controller:
    """A controller; its actions are found by their name in lower case, without underscores."""

    def __init__(self, app: App, request: Request) -> None:
        self.app = app
        self.store: Store = app.store
        self.release: Release = app.store.release
        self.request = request

    def actions(self) -> dict[str, Action]:
        """The actions of this release."""
        raise NotImplementedError  # every controller has its own

    def fallback(self, name: str) -> Action | None:
        """What an unknown action does; None is a 404."""
        return None

    def refuse_read_only(self) -> None:
        """Users who may not write the configuration get a refusal when something is about to be saved."""
        if READ_ONLY in self.request.user.privileges:
            raise UserError(
                f"User {self.request.user.name} denied for write access (user-config-readonly set)",
                "General access" if self.release.error_title else "",
            )

    def search_records(self, records: list[Row], default_sort: str | None = None) -> dict[str, Any]:
        """Sort, search and page rows that are not records of a model."""
        request = self.request
        phrase = php.to_string(request.post.get("searchPhrase"))
        sort = request.post.get("sort")
        key, descending = default_sort, False
        if isinstance(sort, Mapping) and sort:
            key = next(iter(sort))
            descending = sort[key] != "asc"
        records = [dict(record) for record in records]
        if key:
            for record in records:
                record.setdefault(key, None)
            records.sort(key=lambda record: php.natural_key(php.to_string(record[key])), reverse=descending)
        found = [record for record in records if all(_mentions(record, token) for token in phrase.split())]
        per_page = php.integer(request.post.get("rowCount"), 9999)
        per_page = len(records) if per_page == -1 else per_page
        current = php.integer(request.post.get("current"), 1)
        start = (current - 1) * per_page
        rows = found[start:][:per_page] if per_page >= 0 else found
        return {"total": len(found), "rowCount": len(rows), "current": current, "rows": rows}


def _mentions(record: Row, token: str) -> bool:
    return any(
        token.lower() in php.to_string(value).lower() for value in record.values() if not isinstance(value, list)
    )


@dataclass(frozen=True)
class Grid:
    """Records of a model with the usual actions: search_x, get_x, add_x, set_x, del_x, toggle_x."""

    suffix: str
    post_field: str
    path: str
    sort: str | None = None
    old_fields: tuple[str, ...] = ()  # columns of search on 24.7
    old_sort: str | None = None
    toggle: bool = True


class ModelController(Controller):
    """A controller that reads and writes one model."""

    model_name = ""
    mount = ""  # where the model lies in config.xml, as messages name it
    safe_delete = False
    grids: tuple[Grid, ...] = ()

    def __init__(self, app: App, request: Request) -> None:
        super().__init__(app, request)
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        """The working copy of this request."""
        if self._model is None:
            self._model = self.store.model(self.model_name)
        return self._model

    def actions(self) -> dict[str, Action]:
        result = {"get": Action(self.get_all), "set": Action(self.set_all)}
        for grid in self.grids:
            suffix = grid.suffix
            result[f"search{suffix}"] = Action(lambda grid=grid: self.search(grid))
            result[f"get{suffix}"] = Action(lambda key=None, *rest, grid=grid: self.get(grid, key))
            result[f"add{suffix}"] = Action(lambda grid=grid: self.add(grid))
            result[f"set{suffix}"] = Action(lambda key, *rest, grid=grid: self.set(grid, key), 1)
            result[f"del{suffix}"] = Action(lambda keys, *rest, grid=grid: self.delete(grid, keys), 1)
            if grid.toggle:
                result[f"toggle{suffix}"] = Action(
                    lambda keys, enabled=None, *rest, grid=grid: self.toggle(grid, keys, enabled), 1
                )
        return result

    # The model as a whole

    def get_all(self, *_rest: str) -> Any:
        """`get`: the whole model."""
        return {self.model_name: self.model.nodes()} if self.request.is_get else []

    def set_all(self, *_rest: str) -> Any:
        """`set`: the bulk write. Everything or nothing, one revision."""
        if not self.request.is_post:
            return {"result": "failed"}
        data = self.request.post.get(self.model_name)
        if data is not None:
            self.model.set_all(data)
        result = self.validate()
        if not result["result"]:
            self.before_save()
            return self.save()
        return result

    def before_save(self) -> None:
        """A hook for side effects of a save."""

    def validate(self, node: Node | None = None, prefix: str = "", full: bool = False) -> dict[str, Any]:
        """Check the model; a single action reports only what concerns its record."""
        found: dict[str, Any] = {}
        for path, text in self.model.check(full):
            if node is not None:
                if not path.startswith(f"{node.path}."):
                    continue
                path = path.replace(node.path, prefix, 1)
            else:
                path = f"{prefix or self.model_name}.{path}"
            if path not in found:
                found[path] = text
            else:
                # A second message turns the text into a list, also when it says the same.
                texts = found[path] if isinstance(found[path], list) else [found[path]]
                found[path] = texts if text in texts else [*texts, text]
        return {"result": "failed", "validations": found} if found else {"result": ""}

    def save(self, description: str = "") -> dict[str, Any]:
        """Store the model: one revision."""
        self.refuse_read_only()
        self.store.save(self.model, self.request.user.name, description or f"{self.model_name} changed")
        return {"result": "saved"}

    # Records

    def get(self, grid: Grid, key: str | None = None) -> Any:
        """One record, or without a uuid a template with defaults."""
        if key is not None:
            array, rows = self.model.array(grid.path)
            if key in rows or key in self.model.static_rows(array):
                return {grid.post_field: self.model.record_nodes(self.model.node(grid.path, key))}
            return []
        return {grid.post_field: self.model.record_nodes(self.model.add(grid.path))}

    def add(self, grid: Grid, overlay: Row | None = None) -> Any:
        """A new record."""
        if not self.request.is_post or not self.request.has_post(grid.post_field):
            return {"result": "failed"}
        node = self.model.add(grid.path)
        self.model.set_record(node, self.request.post[grid.post_field])
        if overlay:
            self.model.set_record(node, overlay)
        result = self.validate(node, grid.post_field)
        if "validations" in result:
            return result
        self.save(f"added {node.path}")
        return {"result": "saved", "uuid": node.key}

    def set(self, grid: Grid, key: str, overlay: Row | None = None) -> Any:
        """Change a record; an unknown uuid creates it."""
        if not self.request.is_post or not self.request.has_post(grid.post_field):
            return {"result": "failed"}
        _array, rows = self.model.array(grid.path)
        if key in rows:
            node = self.model.node(grid.path, key)
        elif php.is_uuid(key):
            node = self.model.add(grid.path, key)
        else:
            return {"result": "failed"}
        self.model.set_record(node, self.request.post[grid.post_field])
        if overlay:
            self.model.set_record(node, overlay)
        result = self.validate(node, grid.post_field, full=True)
        if "validations" in result:
            return result
        self.save(f"changed {node.path}")
        return {"result": "saved"}

    def delete(self, grid: Grid, keys: str) -> Any:
        """Remove records; the answer tells of the last one."""
        if not self.request.is_post:
            return {"result": "failed"}
        result, changed = "failed", False
        for key in keys.split(",") if self.release.comma_delete else [keys]:
            if self.safe_delete:
                self.refuse_in_use(grid, key)
            if self.model.delete(grid.path, key):
                result, changed = "deleted", True
                if not self.release.comma_delete:
                    self.save(f"deleted {grid.path}.{key}")
            else:
                result = "not found"
        if changed and self.release.comma_delete:
            self.save(f"deleted {grid.path}")
        return {"result": result}

    def toggle(self, grid: Grid, keys: str, enabled: str | None = None) -> Any:
        """Switch records on or off."""
        if not self.request.is_post:
            return {"result": "failed"}
        uuids = keys.split(",") if self.release.comma_delete else [keys]
        if len(uuids) > 1 and enabled is None:
            raise UserError("Toggle with a list of items in only supported for explicit actions [0,1]", "Toggle")
        _array, rows = self.model.array(grid.path)
        result: dict[str, Any] = {"result": "failed"}
        for key in uuids:
            row = rows.get(key)
            if row is None:
                continue
            if enabled in ("0", "1"):
                result = {"result": "Enabled" if enabled == "1" else "Disabled", "changed": row["enabled"] != enabled}
                row["enabled"] = enabled
            elif enabled is not None:
                result["changed"] = False
                break
            else:
                row["enabled"] = "0" if row["enabled"] == "1" else "1"
                result = {"result": "Enabled" if row["enabled"] == "1" else "Disabled", "changed": True}
        if "changed" not in result and self.release.comma_delete:
            raise InvalidInput("toggle of an unknown record reads a variable that was never set")
        if result.get("changed"):
            self.save(f"toggled {grid.path}")
        return result

    def refuse_in_use(self, grid: Grid, key: str) -> None:
        """Refuse to delete what another record of the configuration names."""
        usages = []
        for path, array, rows in self.model.arrays():
            for other, row in rows.items():
                for name in array.children:
                    if isinstance(row[name], str) and key in row[name]:
                        text = row.get("description") or row.get("descr") or row.get("name") or ""
                        usages.append(f"{self.mount} - {text} {{{self.mount}.{path}.{other}}}\n")
        if usages:
            row = self.model.array(grid.path)[1].get(key, {})
            name = row.get("description") or row.get("descr") or row.get("name") or key
            title = f"Item {grid.path} {{{name}}} in use by:" if self.release.at_least_26 else "Item in use by"
            raise UserError("".join(usages), title)

    # Searching

    def search(self, grid: Grid, keep: Filter | None = None) -> Any:
        """The table of records: sorted, searched, paged."""
        request, model = self.request, self.model
        array, stored = model.array(grid.path)
        nodes = [Node(model, array, row, array, f"{grid.path}.{key}", key) for key, row in stored.items()]
        nodes += [model.node(grid.path, key) for key in model.static_rows(array)]
        fields = grid.old_fields if self.release.name == "24.7" and grid.old_fields else tuple(array.children)
        sort: Any = request.get("sort")
        default = grid.old_sort if self.release.name == "24.7" and grid.old_sort else grid.sort
        names, descending = ([default] if default else []), False
        if request.has_post("sort") and isinstance(sort, Mapping) and sort:
            names = list(sort)
            descending = sort[names[0]] == "desc"
        nodes = _sorted(nodes, names, descending)
        tokens = php.to_string(request.get("searchPhrase")).lower().split()
        per_page = php.integer(request.get("rowCount"), -1)
        current = php.integer(request.get("current"), 1)
        rows: list[Row] = []
        total = 0
        for node in nodes:
            if keep is not None and not keep(node):
                continue
            row, texts = self.row(node, fields)
            if not all(any(token in text for text in texts) for token in tokens):
                continue
            if per_page == -1 or (len(rows) < per_page and total >= per_page * (current - 1)):
                rows.append(row)
            total += 1
        return {"rows": rows, "rowCount": len(rows), "total": total, "current": current}

    def row(self, node: Node, fields: Iterable[str]) -> tuple[Row, list[str]]:
        """A row of a table, and the texts that a search looks at."""
        row: Row = {"uuid": node.key}
        texts: list[str] = []
        if not self.release.raw_search:
            for name in fields:
                child = node.container.children.get(name)
                if child is not None:
                    row[name] = child.label(node.row[name], node) if isinstance(child, Field) else ""
                    texts.append(row[name].lower())
            return row, texts
        for path, leaf, value, owner in self.model.flat(node):
            row[path] = value
            label = leaf.label(value, owner)
            if label != value:
                head, dot, last = path.rpartition(".")
                row[f"{head}.%{last}" if dot and not self.release.at_least_26 else f"%{path}"] = label
            texts.append((label or value).lower())
        if php.is_uuid(php.to_string(self.request.get("searchPhrase"))):
            texts.append(node.key)
        return row, texts

    # Tables as CSV

    def upload(self, path: str, keys: tuple[str, ...], prepare: Callable[[Row], None] | None = None) -> dict[str, Any]:
        """Add and change records from a table. What is invalid is left out and reported, the rest is saved."""
        payload = php.to_string(self.request.post.get("payload"))
        first = {mark: payload.find(mark) if mark in payload else 9999 for mark in ",;"}
        reader = csv.reader(io.StringIO(payload), delimiter="," if first[","] < first[";"] else ";")
        lines = [line for line in reader if line]
        heading = lines[0] if lines else []
        data = {index: dict(zip(heading, line, strict=False)) for index, line in enumerate(lines[1:])}
        answer: dict[str, Any] = {}
        for _attempt in range(2):
            self._model = None
            result = self._import(path, data, keys, prepare)
            answer = answer or result
            if not result["validations"]:
                if result["inserted"] or result["updated"]:
                    self.save(f"imported {path}")
                break
            data = {
                index: row
                for index, row in data.items()
                if index not in {fault["sequence"] for fault in result["validations"]}
            }
        return {**answer, "fieldnames": heading}

    def _import(
        self, path: str, data: Mapping[int, Row], keys: tuple[str, ...], prepare: Callable[[Row], None] | None
    ) -> dict[str, Any]:
        model = self.model
        array, rows = model.array(path)
        present: dict[tuple[str, ...], str | None] = {}
        for uuid, row in rows.items():
            key = tuple(row[name] for name in keys)
            present[key] = None if key in present else uuid
        result: dict[str, Any] = {"validations": [], "inserted": 0, "updated": 0, "uuids": {}}
        for index, given in data.items():
            record = dict(given)
            if prepare is not None:
                prepare(record)
            key = tuple(php.to_string(record.get(name)) for name in keys)
            if key in present and present[key] is None:
                result["validations"].append({"sequence": index, "message": "Duplicate key entry found"})
                continue
            known = present.get(key)
            node = model.node(path, known) if known is not None else model.add(path)
            result["updated" if known is not None else "inserted"] += 1
            result["uuids"][node.key] = index
            model.set_record(node, {name: value for name, value in record.items() if name in array.children})
        seen = set()
        for place, text in model.check():
            uuid, _dot, name = place[len(path) + 1 :].partition(".")
            if uuid in result["uuids"] and place not in seen:
                seen.add(place)
                fault = {"sequence": result["uuids"][uuid], "message": text, "field": name}
                result["validations"].append(fault)
        return result

    def download(self, path: str, names: Mapping[str, str], leave_out: tuple[str, ...]) -> Reply:
        """Records as a table."""
        _array, rows = self.model.array(path)
        stream = io.StringIO()
        separator = ";" if self.release.at_least_26 else ","
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        for number, row in enumerate(rows.values()):
            flat = {names.get(name, name): value for name, value in row.items() if name not in leave_out}
            flat = {name: value for name, value in flat.items() if isinstance(value, str)}
            if number == 0:
                writer.writerow(flat)
            writer.writerow(flat.values())
        return Reply(200, stream.getvalue().encode(), "text/csv")


def _sorted(nodes: list[Node], names: list[str], descending: bool) -> list[Node]:
    """Sorted as OPNsense does it: by labels padded to 30 characters, numbers on the right."""
    if not names:
        return nodes

    def key(node: Node) -> list[tuple[int, int, str]]:
        text = ""
        for name in names:
            child = node.container.children.get(name)
            if isinstance(child, Field):
                label = child.label(node.row[name], node)
                text += f"{label:>30}," if php.is_numeric(label) else f"{label:<30},"
        return php.natural_key(text + node.key)

    return sorted(nodes, key=key, reverse=descending)


class ServiceController(Controller):
    """Start, stop and status of a service."""

    service = ""

    def actions(self) -> dict[str, Action]:
        return {
            "status": Action(lambda *rest: self.status()),
            "reconfigure": Action(lambda *rest: self.reconfigure()),
            "start": Action(lambda *rest: self.switch("start")),
            "stop": Action(lambda *rest: self.switch("stop")),
            "restart": Action(lambda *rest: self.switch("restart")),
        }

    def enabled(self) -> bool:
        """Whether the configuration wants the service."""
        raise NotImplementedError  # every controller has its own

    def status(self) -> Any:
        """running, stopped, disabled."""
        down = "stopped" if self.enabled() else "disabled"
        status = "running" if self.app.service_running(self.service) else down
        captions = {"caption_restart": "Restart", "caption_start": "Start", "caption_stop": "Stop"}
        return {"status": status, "widget": captions}

    def reconfigure(self) -> Any:
        """Stop and start. The answer is always ok."""
        if not self.request.is_post:
            return {"status": "failed"}
        self.app.service_apply(self.service, self.enabled())
        return {"status": "ok"}

    def switch(self, command: str) -> Any:
        """One of start, stop and restart."""
        if not self.request.is_post:
            return {"response": []}
        self.app.service_apply(self.service, self.enabled() and command != "stop")
        return {"response": "OK"}
