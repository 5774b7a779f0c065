# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records and forwards of an OPNsense router (private to the collection)."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_names as names
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Api,
    Fields,
    Forbidden,
    Json,
    Missing,
    OpnsenseError,
    Refused,
    Unreachable,
    boolean,
    entries,
    part,
    text,
)
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_plan import (
    Item,
    Plan,
    Store,
    apply_by_hand,
    check_description,
    check_owner,
    conflict_remedy,
    make_plan,
    old_values,
    refuse,
    save_explained,
    tagged,
    take_back,
    untagged,
)

DEFAULT_TTL = "3600"
REQUEST_BUDGET = 6
"""How many requests a change may cost, whatever the number of records."""

Options = t.Mapping[str, t.Any]
Token = t.Tuple[str, str, str]
"""Name, type and value of a record in the list of the running server."""


class Record:
    """One record in full, for the check of what the server would be started with."""

    def __init__(self, host: str, domain: str, kind: str, server: str, label: str) -> None:
        self.host, self.domain, self.kind, self.server, self.label = host, domain, kind, server, label
        self.name = names.join(host, domain)
        self.wildcard = host == "*" and kind in ("A", "AAAA")


def outages(records: t.Sequence[Record], system_domain: str = "") -> t.List[str]:
    """Return what would keep Unbound from starting. The router accepts all of it and says ok."""
    problems: t.List[str] = []
    wildcards: t.Dict[str, Record] = {}
    for record in records:
        if record.wildcard:
            wildcards.setdefault(record.domain, record)
    for record in records:
        version = names.family(record.server)
        if record.kind in ("A", "AAAA") and record.server.lower() == "any":
            problems.append(f"{record.label}: 'any' is not an address; give one")
        elif record.kind == "A" and version != 4 or record.kind == "AAAA" and version != 6:
            kind = {4: "an IPv4 address", 6: "an IPv6 address"}.get(version, "no address")
            problems.append(f"{record.label}: type {record.kind} with {kind}; make type and value agree")
        labels = record.name.split(".")
        if any(len(label) > 63 for label in labels):
            problems.append(f"{record.label}: a label is longer than 63 characters; shorten it")
        if len(record.name) > 253:
            problems.append(f"{record.label}: the name is longer than 253 characters; shorten it")
        if '"' in record.name:
            problems.append(f"{record.label}: the name contains a double quote; take it out")
        if not record.wildcard:
            for step in range(1, len(labels)):
                over = wildcards.get(".".join(labels[step:]))
                if over is not None:
                    problems.append(
                        f"{record.label}: lies below the wildcard {over.label}; the resolver does not start with both, "
                        "remove one of them"
                    )
                    break
        elif system_domain and record.domain == system_domain:
            problems.append(
                f"{record.label}: a wildcard for {system_domain}, the router's own domain; use another domain"
            )
    return problems


class Server:
    """How a DNS server of the router is restarted and asked whether it lives."""

    def __init__(
        self, api: Api, module: str, title: str, sleep: t.Callable[[float], None], clock: t.Callable[[], float]
    ) -> None:
        self.api, self.module, self.title, self.sleep, self.clock = api, module, title, sleep, clock

    def restart(self) -> None:
        """Restart the server. The router says ok whether it started or not."""
        answer = self.api.post(f"{self.module}/service/reconfigure", repeatable=True, slow=True)
        if str(part(answer, "status")).lower() != "ok":
            raise OpnsenseError(
                f"The router did not apply the settings of {self.title}: {part(answer, 'status') or 'no status'}",
                "Look at System: Log Files: Backend on the router, then run again.",
            )

    def status(self) -> str:
        """Return running, stopped, disabled or unknown."""
        return str(part(self.api.get(f"{self.module}/service/status"), "status") or "unknown")

    def runs(self) -> t.Optional[bool]:
        """Tell whether the server runs, giving it a moment to start; None when the router does not know."""
        deadline = self.clock() + self.api.apply_timeout
        tries = 0
        while True:
            status = self.status()
            if status == "running":
                return True
            if status == "disabled":
                raise OpnsenseError(
                    f"{self.title} is disabled on the router: what was written is saved and not active",
                    f"Enable it under Services: {self.title}, or set apply to false to save only.",
                )
            if status != "stopped":
                return None
            tries += 1
            if tries >= 3 or self.clock() >= deadline:
                return False
            self.sleep(0.5 * tries)


class Unbound(Server):
    """The resolver: it also tells which records it serves."""

    def __init__(self, api: Api, sleep: t.Callable[[float], None], clock: t.Callable[[], float]) -> None:
        super().__init__(api, "unbound", "Unbound", sleep, clock)

    def live(self) -> t.Optional[t.Dict[t.Tuple[str, str], t.Dict[str, str]]]:
        """Return value and TTL of the served records by name and type, or None when the server is down."""
        answer = self.api.get("unbound/diagnostics/listlocaldata")
        data = answer.get("data") if isinstance(answer, dict) and answer.get("status") == "ok" else None
        if not isinstance(data, list):
            return None
        found: t.Dict[t.Tuple[str, str], t.Dict[str, str]] = {}
        for row in data:
            kind = str(row.get("rrtype", "")).upper()
            token = names.live_token(kind, str(row.get("value", "")))
            found.setdefault((names.plain(str(row.get("name", ""))), kind), {})[token] = str(row.get("ttl", ""))
        return found

    def wait(
        self, ready: t.Callable[[t.Dict[t.Tuple[str, str], t.Dict[str, str]]], bool]
    ) -> t.Optional[t.Dict[t.Tuple[str, str], t.Dict[str, str]]]:
        """Ask until the records are served; return what is served, or None when the server is down."""
        deadline = self.clock() + self.api.apply_timeout
        stopped = tries = 0
        while True:
            live = self.live()
            if live is not None and (ready(live) or tries >= 5):
                return live
            tries += live is not None
            if live is None and self.status() != "running":
                stopped += 1
            if stopped >= 3 or self.clock() >= deadline:
                return live
            self.sleep(min(2.0, 0.5 * (stopped + tries + 1)))


class Engine:
    """What all DNS modules share: read, plan, write once, apply once, look, and go back if the server is down."""

    kind = "record"
    list_name = "records"
    whole_updates = False
    repairs = False
    """Whether a later run sees that something is saved and not active."""

    def __init__(
        self,
        api: Api,
        options: Options,
        check_mode: bool,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.api, self.options, self.check_mode = api, options, check_mode
        self.sleep, self.clock = sleep, clock
        self.owner = str(options["owner"])
        self.warnings: t.List[str] = []
        self.existing: t.List[Item] = []
        self.plan = Plan()
        self.server = Server(api, "unbound", "Unbound", sleep, clock)
        self.store = self.make_store()

    # what differs between the modules

    def make_store(self) -> Store:
        """Return how the entries are written."""
        raise NotImplementedError  # every kind of entry and backend has its own

    def read(self) -> t.List[Item]:
        """Read all entries of the router."""
        raise NotImplementedError  # every kind of entry and backend has its own

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        """Return the wanted entries; append what is wrong with them."""
        raise NotImplementedError  # every kind of entry and backend has its own

    def enabled(self) -> bool:
        """Tell whether the server is enabled in the settings."""
        raise NotImplementedError  # every kind of entry and backend has its own

    def purge(self, item: Item) -> bool:
        """Tell whether an entry of the owner that is not wanted may be deleted."""
        return True

    def reuse(self, old: Item, new: Item) -> bool:
        """Tell whether a superfluous entry has to become a new one, because both cannot exist."""
        return False

    def dangers(self) -> t.List[str]:
        """Return what must not be written, over what is planned and what is there."""
        return []

    def lists(self) -> t.Optional[bool]:
        """Tell whether the release deletes comma lists; None when that is not known."""
        return None

    def stale(self) -> t.List[str]:
        """Return what is saved and not active."""
        return []

    def alive(self) -> t.Tuple[t.Optional[bool], t.List[str]]:
        """Tell after a restart whether the server runs, and which records it does not serve; None for unknown."""
        return self.server.runs(), []

    def before_delete(self) -> None:
        """Delete what hangs on the entries that are deleted."""

    def delete_first(self) -> bool:
        """Tell whether deletes have to come before new entries."""
        return False

    # the flow

    def run(self) -> t.Dict[str, t.Any]:
        """Bring the router into the wanted state and return the result of the module."""
        options = self.options
        problems = check_owner(self.owner)
        self.existing = self.read()
        wanted = self.wanted(problems)
        self.plan = make_plan(
            wanted, self.existing, self.owner, options["state"], options["unmanaged_conflict"], self.purge, self.reuse
        )
        dangers = self.dangers() if self.plan and not problems else []
        remedies = (
            [f"Correct the {self.kind}s and run again; the service was left alone."] if problems or dangers else []
        )
        if self.plan.conflicts:
            remedies.append(conflict_remedy(f"{self.kind}s"))
        refuse(problems + self.plan.conflicts + dangers, " ".join(remedies))
        for item in self.plan.skipped:
            self.warnings.append(f"{item.where} {item.label} was left out: somebody else has the name")
        if options["apply"] and not self.enabled():
            raise OpnsenseError(
                f"{self.server.title} is disabled in the general settings of the router, so nothing can become active",
                f"Enable it under Services: {self.server.title}: General, or set apply to false to save only. "
                "Nothing was written.",
            )
        result = self.plan.result(self.list_name)
        result.update(applied=False, verified=False, rolled_back=False, warnings=self.warnings)
        result[self.list_name] = self.uuids()
        try:
            if self.plan:
                self.change(result)
            else:
                self.look(result)
        except OpnsenseError as error:
            if self.plan and not self.check_mode:
                self.not_active(error, result)
            error.result = {**result, "requests": self.api.requests, "revisions": self.store.revisions, **error.result}
            raise
        result["requests"], result["revisions"] = self.api.requests, self.store.revisions
        return result

    def look(self, result: t.Dict[str, t.Any]) -> None:
        """Nothing is to be written: repair what an earlier run saved and did not apply."""
        if not self.options["apply"] or not self.options["verify"]:
            return
        stale = self.stale()
        if not stale:
            result["verified"] = True
            return
        result["changed"] = True
        self.warnings.append("Saved and not active, so it is applied: " + "; ".join(stale[:20]))
        if not self.check_mode:
            self.activate(result)

    def change(self, result: t.Dict[str, t.Any]) -> None:
        """Write the plan, and apply it."""
        if self.check_mode:
            return
        first = self.delete_first()
        if first:
            self.delete()
        for number, uuid in enumerate(save_explained(self.store, self.plan, self.whole_updates)):
            self.plan.creates[number].uuid = uuid
        if not first:
            self.delete()
        if self.options["apply"]:
            self.activate(result)
        unknown = any(not item.uuid for item in self.plan.creates)
        if unknown and self.api.requests < REQUEST_BUDGET:
            # The router does not say which uuid a new entry of a bulk write got.
            result[self.list_name] = self.uuids(self.read())
        else:
            result[self.list_name] = self.uuids()

    def not_active(self, error: OpnsenseError, result: t.Dict[str, t.Any]) -> None:
        """See to it that the next run applies what this one may have written and did not apply."""
        # A write whose answer is missing may have been carried out.
        saved = bool(self.store.revisions) or isinstance(error, (Unreachable, Refused))
        if not saved:
            result["changed"] = False
        if not saved or result["applied"] or not self.options["apply"]:
            return
        if self.repairs and self.options["verify"]:
            result["changed"] = bool(self.store.revisions) or isinstance(error, Unreachable)
            if self.store.revisions:
                error.remedy = (
                    f"{error.remedy} What was written is saved and may not be active; the next run applies it."
                )
            return
        place = f"Services: {self.server.title}"
        if self.options["rollback"]:
            result["changed"] = not take_back(error, self.restore, place, self.sleep)
        else:
            error.remedy = f"{error.remedy} What was written may be saved and not active. {apply_by_hand(place)}"

    def delete(self) -> None:
        """Delete what the plan says."""
        if self.plan.deletes:
            self.before_delete()
            self.store.delete([item.uuid for item in self.plan.deletes], self.lists())

    def activate(self, result: t.Dict[str, t.Any]) -> None:
        """Restart the server once and look at it; go back to the old state when it is down."""
        self.server.restart()
        result["applied"] = True
        if not self.options["verify"]:
            return
        running, missing = self.alive()
        if running and not missing:
            result["verified"] = True
            return
        if running is None:
            self.warnings.append(f"The router does not tell whether {self.server.title} runs, so that was not verified")
            return
        names_ = [change.new.label for change in self.plan.updates] + [item.label for item in self.plan.creates]
        names_ += [f"{item.label} (deleted)" for item in self.plan.deletes]
        if running:
            raise self.failure(
                result,
                f"{self.server.title} runs, but does not serve: " + ", ".join(missing[:20]),
                "Look at its log on the router, and whether another setting overrides these names.",
            )
        if not self.plan:
            raise self.failure(
                result,
                f"{self.server.title} does not run, and did not start when it was asked to. This run changed no record",
                f"Look at Services: {self.server.title}: Log File on the router."
                + "".join(f" Known to stop it: {problem}." for problem in self.dangers()[:5]),
            )
        offending = ", ".join(names_[:20]) + (f" and {len(names_) - 20} more" if len(names_) > 20 else "")
        log = f"Look at Services: {self.server.title}: Log File on the router, correct the {self.list_name} and run again."
        if not self.options["rollback"]:
            raise self.failure(
                result, f"{self.server.title} is down since these {self.list_name} were applied: {offending}", log
            )
        try:
            self.restore()
            self.server.restart()
            back = self.alive_at_all()
        except OpnsenseError as error:
            raise self.failure(
                result,
                f"{self.server.title} is down since these {self.list_name} were applied: {offending}. "
                f"The old state could not be restored: {error}",
                "DNS IS DOWN. Restore a backup under System: Configuration: History on the router now.",
            ) from None
        result["rolled_back"] = back
        if back:
            raise self.failure(
                result,
                f"{self.server.title} went down when these {self.list_name} were applied: {offending}. The old state was "
                "restored and the server runs again",
                log,
            )
        raise self.failure(
            result,
            f"{self.server.title} went down when these {self.list_name} were applied: {offending}. The old state was "
            "restored, but the server still does not run",
            "DNS IS DOWN. " + log,
        )

    def alive_at_all(self) -> bool:
        """Tell whether the server runs, whatever it serves."""
        return self.server.runs() is True

    def failure(self, result: t.Dict[str, t.Any], message: str, remedy: str) -> OpnsenseError:
        """Return an error that carries what was done."""
        done = {**result, "requests": self.api.requests, "revisions": self.store.revisions}
        return OpnsenseError(message, remedy, done)

    def restore(self) -> bool:
        """Write the old state back the same way; tell whether anything was to be written."""
        now = {item.uuid: item for item in self.read()}
        known = {item.uuid for item in self.existing}
        made = {(item.key, item.value) for item in self.plan.creates}
        updates = {
            change.old.uuid: old_values(change.old, now[change.old.uuid], change.fields)
            for change in self.plan.updates
            if change.old.uuid in now
        }
        updates = {uuid: fields for uuid, fields in updates.items() if fields}
        lost = [item for item in self.plan.deletes if item.uuid not in now]
        lost += [change.old for change in self.plan.updates if change.old.uuid not in now]
        extra = [
            item.uuid
            for item in now.values()
            if item.uuid not in known and item.owner == self.owner and (item.key, item.value) in made
        ]
        # First what is too much: addresses and names that only one entry may have are free again then.
        self.store.delete(extra, self.lists())
        self.store.save(updates, [self.restored(item) for item in lost])
        self.restore_attached(lost)
        return bool(updates or lost or extra)

    def restored(self, item: Item) -> Fields:
        """Return the fields with which a deleted entry comes back."""
        return {name: value for name, value in item.raw.items() if value != ""}

    def restore_attached(self, lost: t.Sequence[Item]) -> None:
        """Bring back what hung on deleted entries."""

    def uuids(self, now: t.Optional[t.Sequence[Item]] = None) -> t.Dict[str, t.List[t.Dict[str, str]]]:
        """Return the entries of the wanted state by name, with the uuid as far as it is known."""
        new: t.Dict[t.Tuple[t.Tuple[str, ...], str], str] = {
            (item.key, item.value): item.uuid for item in (now or []) if item.owner == self.owner
        }
        pairs = [(wanted, old.uuid) for wanted, old in self.plan.unchanged + self.plan.satisfied]
        pairs += [(change.new, change.old.uuid) for change in self.plan.updates]
        pairs += [(item, new.get((item.key, item.value), item.uuid)) for item in self.plan.creates]
        result: t.Dict[str, t.List[t.Dict[str, str]]] = {}
        for item, uuid in pairs:
            entry = {"value": item.value, "uuid": uuid}
            if len(item.key) > 1:
                entry["type"] = item.key[1]
            result.setdefault(item.key[0], []).append(entry)
        return {name: sorted(found, key=lambda entry: sorted(entry.items())) for name, found in sorted(result.items())}


def record_name(record: Options, where: str, problems: t.List[str]) -> t.Tuple[str, str]:
    """Return host and domain of a record; append what is wrong with them."""
    full, host, domain = record.get("name"), record.get("hostname"), record.get("domain")
    if full and (host or domain) or not full and not domain:
        problems.append(f"{where}: give either name, or domain with or without hostname")
        return "", ""
    field = "name" if full else "domain"
    try:
        if full:
            name = names.normalise(str(full))
            faults = names.check_name(name, wildcard=True)
            host, domain = names.split(name) if not faults else ("", name)
        else:
            domain = names.normalise(str(domain))
            faults = names.check_name(domain)
            if not faults and any(not names.HOST_LABEL.fullmatch(label) for label in domain.split(".")):
                faults = ["contains a label with _ or a - at an end; put that label into hostname"]
            if host:
                field, host = ("hostname", str(host)) if not faults else (field, str(host))
                host = names.normalise(host)
                faults += names.check_name(names.join(host, domain), wildcard=True) if not faults else []
    except ValueError as error:
        problems.append(f"{where}: {field} {error}")
        return "", ""
    for fault in faults:
        problems.append(f"{where}: {field} {str(full or host or domain)[:80]!r} {fault}")
    return ("", "") if faults else (str(host or ""), str(domain))


def record_values(record: Options, where: str, problems: t.List[str]) -> t.List[str]:
    """Return the values of a record as texts."""
    value = record.get("value")
    values = [value] if not isinstance(value, (list, tuple)) else list(value)
    result = []
    for item in values:
        if isinstance(item, (dict, list, bool)):
            problems.append(f"{where}: value has to be a text or a list of texts")
        elif item is not None and str(item).strip():
            result.append(str(item) if record.get("type") == "TXT" else str(item).strip())
    return result


class UnboundRecords(Engine):
    """Host overrides of Unbound."""

    repairs = True

    def __init__(self, *arguments: t.Any, **others: t.Any) -> None:
        super().__init__(*arguments, **others)
        self.resolver = Unbound(self.api, self.sleep, self.clock)
        self.server = self.resolver
        self.general: t.Dict[str, Json] = {}
        self.known: t.Set[str] = set()
        self.aliases: t.List[t.Tuple[str, Fields]] = []
        self.sharing_names: t.Dict[str, t.List[str]] = {}

    def make_store(self) -> Store:
        return Store(
            self.api,
            "record",
            delete="unbound/settings/del_host_override",
            bulk="unbound/settings/set",
            envelope=("unbound", "hosts", "host"),
            required="domain",
        )

    def read(self) -> t.List[Item]:
        answer = part(self.api.get("unbound/settings/get"), "unbound")
        self.general = part(answer, "general")
        hosts = entries(part(answer, "hosts", "host"))
        for host in hosts.values():
            self.known = set(host)
            break
        self.aliases = [
            (uuid, {name: text(value) for name, value in alias.items()})
            for uuid, alias in entries(part(answer, "aliases", "alias")).items()
        ]
        return [self.parse(uuid, host) for uuid, host in hosts.items()]

    def parse(self, uuid: str, host: t.Dict[str, Json]) -> Item:
        """Return a host override as it is compared."""
        raw = {name: text(value) for name, value in host.items() if name not in ("aliases", "aliascount")}
        kind = raw.get("rr", "A")
        name = names.join(names.plain(raw.get("hostname", "")), names.plain(raw.get("domain", "")))
        server, exchange = names.address(raw.get("server", "")), names.plain(raw.get("mx", ""))
        value = {"MX": f"{raw.get('mxprio', '')} {exchange}", "TXT": raw.get("txtdata", "")}.get(kind, server)
        fields = {
            "enabled": raw.get("enabled", "") or "0",
            "server": server,
            "mxprio": raw.get("mxprio", ""),
            "mx": exchange,
            "txtdata": raw.get("txtdata", ""),
            "ttl": raw.get("ttl", "") or DEFAULT_TTL,
            "addptr": raw.get("addptr", "") or "0",
            "description": raw.get("description", ""),
        }
        owner = untagged(fields["description"])[1]
        return Item(
            (name, kind),
            value,
            fields,
            f"{name} {kind} {value}",
            line=self.line(name, kind, value, fields),
            owner=owner,
            uuid=uuid,
            where="on the router:",
            raw=raw,
        )

    def line(self, name: str, kind: str, value: str, fields: Fields) -> str:
        """Return a record as a line of a zone file."""
        shown = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if kind == "TXT" else value
        shown += "." if kind == "MX" else ""
        remarks = [fields.get("description", "")]
        if kind in ("A", "AAAA") and fields.get("addptr") == "1" and not name.startswith("*."):
            remarks.insert(0, "ptr")
        if fields.get("enabled") == "0":
            remarks.insert(0, "disabled")
        return f"{name}. {fields.get('ttl', DEFAULT_TTL)} IN {kind} {shown} ; {' '.join(part_ for part_ in remarks if part_)}"

    def has(self, field: str) -> bool:
        """Tell whether the release has a field of host overrides."""
        if not self.known:
            # Without any record, only the template of a new one tells.
            self.known = set(part(self.api.get("unbound/settings/get_host_override"), "host") or {"hostname"})
        return field in self.known

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        found: t.Dict[t.Tuple[t.Tuple[str, ...], str], Item] = {}
        absent = self.options["state"] == "absent"
        pointers: t.List[t.Tuple[Item, str]] = []
        for number, record in enumerate(self.options["records"] or []):
            where = f"records[{number}]"
            for item, pointer in self.items(record, where, absent, problems):
                twin = found.setdefault((item.key, item.value), item)
                if twin is not item and twin.fields != item.fields:
                    problems.append(f"{where} {item.label}: says something else than {twin.where}; make them agree")
                elif twin is item and pointer:
                    pointers.append((item, pointer))
        self.choose_pointers(pointers)
        for item in found.values():
            if "description" in item.fields:
                item.line = self.line(item.key[0], item.key[1], item.value, item.fields)
        return list(found.values())

    def items(self, record: Options, where: str, absent: bool, problems: t.List[str]) -> t.List[t.Tuple[Item, str]]:
        """Return the entries of one record and of its aliases, each with its wish about the PTR record."""
        host, domain = record_name(record, where, problems)
        aliases = []
        for number, alias in enumerate(record.get("aliases") or []):
            pair = record_name({"name": alias}, f"{where}.aliases[{number}]", problems)
            if pair[1]:
                aliases.append(pair)
        if not domain:
            return []
        name = names.join(host, domain)
        values, kind = record_values(record, f"{where} {name}", problems), record.get("type")
        if absent:
            kinds = [str(kind)] if kind else list(names.TYPES)
            return [
                (Item((names.join(*pair), one), "", {}, f"{names.join(*pair)} {one}", where=where), "")
                for one in kinds
                for pair in [(host, domain), *(aliases if one in ("A", "AAAA") else [])]
            ]
        if not values:
            problems.append(f"{where} {name}: value is empty; give an address, a name or a text")
        result: t.List[t.Tuple[Item, str]] = []
        for value in values:
            result += self.item(record, where, host, domain, value, str(kind or ""), aliases, problems)
        return result

    def item(
        self,
        record: Options,
        where: str,
        host: str,
        domain: str,
        value: str,
        kind: str,
        aliases: t.Sequence[t.Tuple[str, str]],
        problems: t.List[str],
    ) -> t.List[t.Tuple[Item, str]]:
        """Return the entries of one value."""
        version = names.family(value)
        kind = kind or {4: "A", 6: "AAAA"}.get(version, "")
        name = names.join(host, domain)
        at = f"{where} {name}{' ' + kind if kind else ''}"
        faults: t.List[str] = []
        if not kind:
            faults.append(f"value {value[:80]!r} is no address; correct it, or give type MX or TXT")
        if kind in ("A", "AAAA"):
            if version != {"A": 4, "AAAA": 6}[kind]:
                other = {0: "not an address", 4: "an IPv4 address", 6: "an IPv6 address"}[version]
                faults.append(
                    f"value {value[:80]!r} is {other}; type {kind} needs an {'IPv4' if kind == 'A' else 'IPv6'} address"
                )
        elif aliases:
            faults.append("aliases are copies of A and AAAA records; give the other names records of their own")
        if record.get("priority") is not None and kind != "MX":
            faults.append("priority belongs to type MX; leave it out")
        ttl = record.get("ttl")
        if ttl is not None and not 0 <= int(ttl) <= names.MAX_TTL:
            faults.append(f"ttl {ttl} is not between 0 and {names.MAX_TTL}")
        pointer = str(record.get("ptr") or "auto").lower()
        if pointer == "true" and (kind not in ("A", "AAAA") or host == "*"):
            faults.append("ptr is only possible for A and AAAA records without *; leave it out")
        fields: Fields = {"enabled": boolean(record.get("enabled") is not False)}
        if kind == "MX":
            priority = 10 if record.get("priority") is None else int(record["priority"])
            if not 0 <= priority <= 65535:
                faults.append(f"priority {priority} is not between 0 and 65535")
            try:
                value = names.normalise(value)
                faults += [f"value {value[:80]!r} {fault}" for fault in names.check_name(value)]
                if version:
                    faults.append("value is an address; an MX record names a mail server")
            except ValueError as error:
                faults.append(f"value {error}")
            fields.update(mxprio=str(priority), mx=value)
            value = f"{priority} {value}"
        elif kind == "TXT":
            if not 1 <= len(value) <= 255 or any(ord(character) < 32 for character in value):
                faults.append("value has to be 1 to 255 characters in one line")
            if value != value.strip():
                faults.append("value begins or ends with a blank, which the router does not keep; take it out")
            fields["txtdata"] = value
        elif version:
            value = names.address(value)
            fields["server"] = value
        # Without any record, the template has to be asked for; so only if something that is wanted depends on it.
        if ttl is not None and str(ttl) != DEFAULT_TTL and not self.has("ttl"):
            faults.append("ttl is not possible before OPNsense 25.1.5; leave it out or update the router")
        if kind == "TXT" and not self.has("txtdata"):
            faults.append("TXT records are not possible before OPNsense 25.7.4; leave it out or update the router")
        if pointer == "false" and kind in ("A", "AAAA") and host != "*" and not self.has("addptr"):
            faults.append("ptr false is not possible before OPNsense 26.1.3; leave it out or update the router")
        text_ = str(record.get("description") or "").strip()
        problems += check_description(text_, self.owner, at)
        problems += [f"{at}: {fault}" for fault in faults]
        if faults:
            return []
        fields["description"] = tagged(text_, self.owner)
        asked = []
        if not self.known or "ttl" in self.known:
            fields["ttl"] = DEFAULT_TTL if ttl is None else str(int(ttl))
            asked += ["ttl"] if ttl is not None else []
        points = kind in ("A", "AAAA") and host != "*" and (not self.known or "addptr" in self.known)
        result = []
        for number, (one_host, one_domain) in enumerate([(host, domain), *aliases]):
            full = names.join(one_host, one_domain)
            own = dict(fields)
            if kind in ("A", "AAAA") and (not self.known or "addptr" in self.known):
                own["addptr"] = "0"
            item = Item(
                (full, kind),
                value,
                own,
                f"{full} {kind} {value}",
                base={"hostname": one_host, "domain": one_domain, "rr": kind},
                owner=self.owner,
                where=where if not number else f"{where}.aliases[{number - 1}]",
                asked=asked + (["addptr"] if points and pointer != "auto" and not number else []),
            )
            result.append((item, pointer if points and not number and own["enabled"] == "1" else ""))
        return result

    def choose_pointers(self, pointers: t.Sequence[t.Tuple[Item, str]]) -> None:
        """Decide which record of an address gets the PTR record.

        Among those that leave it open, the one that has it keeps it, so that the order of the list does not matter.
        """
        pointing = {
            (item.key, item.value)
            for item in self.existing
            if item.owner == self.owner and item.fields["addptr"] == "1" and item.fields["enabled"] == "1"
        }
        groups: t.Dict[str, t.List[t.Tuple[Item, str]]] = {}
        for item, wish in pointers:
            groups.setdefault(item.value, []).append((item, wish))
        for group in groups.values():
            chosen = [item for item, wish in group if wish == "true"]
            open_ = [item for item, wish in group if wish == "auto"]
            if not chosen and open_:
                chosen = [item for item in open_ if (item.key, item.value) in pointing][:1] or open_[:1]
            for item in chosen:
                item.fields["addptr"] = "1"

    def purge(self, item: Item) -> bool:
        zones = [names.plain(str(zone)) for zone in self.options.get("zones") or []]
        return not zones or any(names.inside(item.key[0], zone) for zone in zones)

    def enabled(self) -> bool:
        return text(self.general.get("enabled", "1")) == "1"

    def lists(self) -> t.Optional[bool]:
        return "addptr" in self.known

    def final(self) -> t.List[t.Tuple[str, Fields, str]]:
        """Return uuid, fields and label of all enabled records as they will be."""
        gone = {item.uuid for item in self.plan.deletes}
        changed = {change.old.uuid: change.new for change in self.plan.updates}
        result = []
        for item in self.existing:
            if item.uuid in gone:
                continue
            new = changed.get(item.uuid)
            fields = {**item.raw, **(new.complete() if new else {})}
            result.append((item.uuid, fields, f"{new.where} {new.label}" if new else f"on the router: {item.label}"))
        result += [("", item.complete(), f"{item.where} {item.label}") for item in self.plan.creates]
        return [entry for entry in result if entry[1].get("enabled") == "1"]

    def records_of(self, final: t.Sequence[t.Tuple[str, Fields, str]]) -> t.List[Record]:
        """Return all records that the server would get, those of alias objects included."""
        result = []
        for uuid, fields, label in final:
            host, domain = names.plain(fields.get("hostname", "")), names.plain(fields.get("domain", ""))
            kind, server = fields.get("rr", "A"), names.address(fields.get("server", ""))
            result.append(Record(host, domain, kind, server, label))
            for _alias_uuid, alias in self.aliases:
                if uuid and alias.get("host") == uuid and alias.get("enabled") == "1":
                    one = Record(
                        names.plain(alias.get("hostname", "")) or host,
                        names.plain(alias.get("domain", "")) or domain,
                        kind,
                        server,
                        "",
                    )
                    one.label = f"on the router: alias {one.name} of {fields.get('hostname')}.{domain}"
                    result.append(one)
        return result

    def dangers(self) -> t.List[str]:
        records = self.records_of(self.final())
        system_domain = ""
        if any(record.wildcard for record in records):
            system_domain = self.system_domain()
        return outages(records, system_domain)

    def system_domain(self) -> str:
        """Return the router's own domain, for which there must be no wildcard."""
        given = self.options.get("system_domain")
        if given:
            return names.plain(str(given))
        reason = "The router does not tell its name."
        try:
            own = names.plain(str(part(self.api.get("diagnostics/system/system_information"), "name") or ""))
            if "." in own:
                return own.partition(".")[2]
        except (Forbidden, Missing, Refused) as error:
            reason = f"{error}."
        new = [item for item in self.plan.creates if item.base.get("hostname") == "*"]
        new += [change.new for change in self.plan.updates if change.new.base.get("hostname") == "*"]
        if not new:
            return ""
        raise OpnsenseError(
            f"{new[0].where} {new[0].label}: whether this wildcard is for the router's own domain is not known, and then "
            f"DNS would stop. {reason}",
            "Give the key the privilege 'Lobby: Dashboard', or set system_domain to the domain under System: "
            "Settings: General. Nothing was written.",
        )

    def before_delete(self) -> None:
        gone = {item.uuid for item in self.plan.deletes}
        attached = [uuid for uuid, alias in self.aliases if alias.get("host") in gone]
        if attached:
            # A list of hosts leaves their aliases behind.
            store = Store(self.api, "alias", delete="unbound/settings/del_host_alias")
            store.delete(attached, self.lists())
            self.store.revisions += store.revisions

    def restore_attached(self, lost: t.Sequence[Item]) -> None:
        attached = [(uuid, alias) for uuid, alias in self.aliases_before if alias.get("host") in {i.uuid for i in lost}]
        if not attached:
            return
        now = self.read()
        there = {uuid for uuid, _rest in self.aliases}
        by_uuid = {item.uuid: item for item in lost}
        creates = []
        for uuid, alias in attached:
            old = by_uuid[alias["host"]]
            new = next((item for item in now if item.key == old.key and item.value == old.value), None)
            if uuid not in there and new is not None:
                creates.append({**{name: value for name, value in alias.items() if value}, "host": new.uuid})
        store = Store(
            self.api,
            "alias",
            delete="unbound/settings/del_host_alias",
            bulk="unbound/settings/set",
            envelope=("unbound", "aliases", "alias"),
        )
        store.save({}, creates)
        self.store.revisions += store.revisions

    def change(self, result: t.Dict[str, t.Any]) -> None:
        self.aliases_before = list(self.aliases)
        super().change(result)

    # -- the running server --------------------------------------------------------------------------------------------

    def expected(self) -> t.Dict[Token, t.Tuple[str, str]]:
        """Return what the server has to serve of the wanted records, with TTL and label."""
        found: t.Dict[Token, t.Tuple[str, str]] = {}
        wanted = [item for item, _rest in self.plan.unchanged + self.plan.satisfied]
        wanted += [change.new for change in self.plan.updates] + self.plan.creates
        for item in wanted:
            if item.fields.get("enabled") == "1":
                found[self.token(item.key, item.fields, item.value)] = (item.fields.get("ttl", ""), item.label)
        return found

    @staticmethod
    def token(key: t.Tuple[str, ...], fields: Fields, value: str) -> Token:
        name, kind = key
        if kind in ("A", "AAAA") and name.startswith("*."):
            # A wildcard is a zone that answers everything with the record of its top.
            name = name[2:]
        if kind == "MX":
            return name, kind, fields.get("mxprio", "")
        return name, kind, names.first_words(value) if kind == "TXT" else value

    def missing(self, live: t.Dict[t.Tuple[str, str], t.Dict[str, str]]) -> t.List[str]:
        """Return the labels of the wanted records that the server does not serve."""
        return sorted(
            label
            for (name, kind, value), (_ttl, label) in self.expected().items()
            if value not in live.get((name, kind), {})
        )

    def outdated(self, live: t.Dict[t.Tuple[str, str], t.Dict[str, str]]) -> t.List[str]:
        """Return what the server serves although it is saved otherwise."""
        expected = self.expected()
        sets: t.Dict[t.Tuple[str, str], t.List[t.Tuple[str, str, str]]] = {}
        for (name, kind, value), (ttl, label) in expected.items():
            sets.setdefault((name, kind), []).append((value, ttl, label))
        configured: t.Dict[t.Tuple[str, str], t.Set[str]] = {}
        for _uuid, fields, _label in self.final():
            item = self.parse("", dict(fields))
            name, kind, value = self.token(item.key, item.fields, item.value)
            configured.setdefault((name, kind), set()).add(value)
        for record in self.records_of(self.final()):
            name = record.domain if record.wildcard else record.name
            configured.setdefault((name, record.kind), set()).add(record.server)
        result = []
        for key, group in sets.items():
            ttls = {ttl for _value, ttl, _label in group}
            if len(ttls) == 1 and "" not in ttls and set(live.get(key, {})) == {value for value, _t, _l in group}:
                result += [
                    f"{label} (TTL {live[key][value]} instead of {ttl})"
                    for value, ttl, label in group
                    if live[key][value] not in ("", ttl)
                ]
        registers = any(text(self.general.get(name)) == "1" for name in ("regdhcp", "regdhcpstatic", "enable_wpad"))
        if not registers:
            keys = {item.key for item, _rest in self.plan.unchanged + self.plan.satisfied} | self.absent_keys()
            described = text(self.general.get("txtsupport")) == "1"
            for name, kind in sorted(keys):
                if kind == "TXT" and described:
                    continue
                top = (name[2:] if name.startswith("*.") and kind in ("A", "AAAA") else name, kind)
                for value in sorted(set(live.get(top, {})) - configured.get(top, set())):
                    result.append(f"{name} {kind} {value} (deleted, still served)")
            result += self.outdated_zones(live, configured)
        return result

    def absent_keys(self) -> t.Set[t.Tuple[str, ...]]:
        """Return the keys that are asked to be absent."""
        if self.options["state"] != "absent":
            return set()
        return {item.key for item in self.wanted([])}

    def outdated_zones(
        self,
        live: t.Dict[t.Tuple[str, str], t.Dict[str, str]],
        configured: t.Dict[t.Tuple[str, str], t.Set[str]],
    ) -> t.List[str]:
        """Return names in the zones that the server serves although no record says so."""
        zones = [names.plain(str(zone)) for zone in self.options.get("zones") or []]
        if self.options["state"] != "exact" or not zones:
            return []
        known = {name for name, _kind in configured}
        strange = [
            (name, kind)
            for name, kind in live
            if kind in names.TYPES
            and name not in known
            and any(inside_below(name, zone) for zone in zones)
            and name.split(".")[0] not in ("localhost", "wpad")
        ]
        if not strange:
            return []
        # The router's own name is served without a record; it is asked for only when there is something to explain.
        try:
            own = names.plain(str(part(self.api.get("diagnostics/system/system_information"), "name") or ""))
        except (Forbidden, Missing, Refused):
            return []
        label = own.partition(".")[0]
        return [
            f"{name} {kind} (deleted, still served)" for name, kind in sorted(strange) if name.split(".")[0] != label
        ]

    def stale(self) -> t.List[str]:
        live = self.resolver.live()
        if live is None:
            return ["the resolver does not run"]
        return [f"{label} (not served)" for label in self.missing(live)] + self.outdated(live)

    def alive(self) -> t.Tuple[t.Optional[bool], t.List[str]]:
        live = self.resolver.wait(lambda found: not self.missing(found))
        if live is None:
            return False, []
        return True, self.missing(live)

    def alive_at_all(self) -> bool:
        return self.resolver.wait(lambda found: True) is not None


def inside_below(name: str, zone: str) -> bool:
    """Tell whether a name lies below a zone."""
    return name != zone and names.inside(name, zone)


class DnsmasqRecords(Engine):
    """Hosts of Dnsmasq: a name with its addresses and its CNAMEs is one entry."""

    whole_updates = True

    def __init__(self, *arguments: t.Any, **others: t.Any) -> None:
        super().__init__(*arguments, **others)
        self.server = Server(self.api, "dnsmasq", "Dnsmasq DNS & DHCP", self.sleep, self.clock)
        self.settings: t.Dict[str, Json] = {}
        self.known: t.Set[str] = set()

    def make_store(self) -> Store:
        return Store(
            self.api,
            "record",
            delete="dnsmasq/settings/del_host",
            bulk="dnsmasq/settings/set",
            envelope=("dnsmasq", "hosts"),
        )

    def read(self) -> t.List[Item]:
        try:
            self.settings = part(self.api.get("dnsmasq/settings/get"), "dnsmasq")
        except Missing as error:
            raise OpnsenseError(
                f"backend dnsmasq is not possible before OPNsense 25.1.2: {error}", "Use backend unbound."
            ) from None
        hosts = entries(self.settings.get("hosts"))
        for host in hosts.values():
            self.known = set(host)
            break
        return [self.parse(uuid, host) for uuid, host in hosts.items()]

    def names_field(self) -> str:
        """Return the field of further names."""
        if not self.known:
            self.known = set(part(self.api.get("dnsmasq/settings/get_host"), "host") or {"host"})
        return "cnames" if "cnames" in self.known else "aliases"

    def parse(self, uuid: str, host: t.Dict[str, Json]) -> Item:
        """Return a host as it is compared."""
        raw = {name: text(value) for name, value in host.items()}
        name = names.join(names.plain(raw.get("host", "")), names.plain(raw.get("domain", "")))
        addresses = joined(names.address(one) for one in raw.get("ip", "").split(","))
        fields = {
            "ip": addresses,
            "cnames": joined(names.plain(one) for one in raw.get("cnames", "").split(",")),
            "aliases": joined(names.plain(one) for one in raw.get("aliases", "").split(",")),
            "descr": raw.get("descr", ""),
        }
        owner = untagged(fields["descr"])[1]
        if raw.get("hwaddr") or raw.get("client_id"):
            # A reservation belongs to DHCP, even if the owner has the same name.
            owner = ""
        return Item(
            (name,),
            addresses,
            fields,
            f"{name} {addresses}",
            line=self.line(name, addresses, fields),
            owner=owner,
            uuid=uuid,
            where="on the router:",
            raw=raw,
        )

    @staticmethod
    def line(name: str, addresses: str, fields: Fields) -> str:
        lines = [f"{name}. IN {'AAAA' if ':' in one else 'A'} {one}" for one in addresses.split(",") if one]
        lines += [
            f"{alias}. IN CNAME {name}."
            for alias in (fields.get("cnames") or fields.get("aliases") or "").split(",")
            if alias
        ]
        return "\n".join(f"{line} ; {fields.get('descr', '')}" for line in lines)

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        groups: t.Dict[str, t.Dict[str, t.Any]] = {}
        absent = self.options["state"] == "absent"
        for number, record in enumerate(self.options["records"] or []):
            where = f"records[{number}]"
            host, domain = record_name(record, where, problems)
            if not domain:
                continue
            name = names.join(host, domain)
            if not host:
                host, _rest, domain = domain.partition(".")
            at = f"{where} {name}"
            for option, wrong in (
                ("ttl", record.get("ttl") is not None),
                ("priority", record.get("priority") is not None),
                ("ptr false", str(record.get("ptr") or "").lower() == "false"),
                ("enabled false", record.get("enabled") is False),
                (f"type {record.get('type')}", record.get("type") in ("MX", "TXT")),
            ):
                if wrong:
                    problems.append(f"{at}: Dnsmasq has no {option} for hosts; leave it out or use backend unbound")
            if not domain:
                problems.append(f"{at}: Dnsmasq needs a domain; write the full name")
            values = record_values(record, at, problems)
            if not values and not absent:
                problems.append(f"{at}: value is empty; give an address")
            for value in values:
                version = names.family(value)
                kind = str(record.get("type") or "")
                if not absent and (not version or kind in ("A", "AAAA") and version != {"A": 4, "AAAA": 6}[kind]):
                    problems.append(f"{at}: value {value[:80]!r} is no address of type {kind or 'A or AAAA'}")
            aliases = []
            for index, alias in enumerate(record.get("aliases") or []):
                pair = record_name({"name": alias}, f"{where}.aliases[{index}]", problems)
                aliases += [names.join(*pair)] if pair[1] else []
            description = str(record.get("description") or "").strip()
            problems += check_description(description, self.owner, at)
            group = groups.setdefault(
                name,
                {"host": host, "domain": domain, "where": where, "ip": [], "aliases": [], "description": description},
            )
            group["ip"] += [names.address(value) for value in values]
            group["aliases"] += aliases
            if description and group["description"] and description != group["description"]:
                problems.append(f"{at}: description says something else than {group['where']}; make them agree")
            group["description"] = group["description"] or description
        result = []
        for name, group in groups.items():
            addresses = joined(group["ip"])
            fields = {"ip": addresses, "descr": tagged(group["description"], self.owner)}
            if group["aliases"] or self.known:
                fields[self.names_field()] = joined(group["aliases"])
            result.append(
                Item(
                    (name,),
                    addresses,
                    fields,
                    f"{name} {addresses}".strip(),
                    base={"host": group["host"], "domain": group["domain"]},
                    line=self.line(name, addresses, fields),
                    owner=self.owner,
                    where=group["where"],
                    asked=[self.names_field()] if group["aliases"] else [],
                )
            )
        return result

    def purge(self, item: Item) -> bool:
        zones = [names.plain(str(zone)) for zone in self.options.get("zones") or []]
        return not zones or any(names.inside(item.key[0], zone) for zone in zones)

    def reuse(self, old: Item, new: Item) -> bool:
        return bool(set(old.fields["cnames"].split(",")) & set(new.fields.get("cnames", "").split(",")) - {""})

    def delete_first(self) -> bool:
        wanted = {one for item in self.plan.creates for one in item.fields.get("cnames", "").split(",")}
        wanted |= {one for change in self.plan.updates for one in change.fields.get("cnames", "").split(",")}
        held = {one for item in self.plan.deletes for one in [*item.fields["cnames"].split(","), item.key[0]]}
        return bool((wanted & held) - {""})

    def enabled(self) -> bool:
        return text(self.settings.get("enable", "1")) == "1"

    def stale(self) -> t.List[str]:
        return ["the server does not run"] if self.server.status() == "stopped" else []


def joined(values: t.Iterable[str]) -> str:
    """Return values in one order, without repetitions."""
    return ",".join(sorted({value for value in values if value}))


class Forwards(Engine):
    """Query forwards of Unbound: which server answers for a domain."""

    kind = "forward"
    list_name = "forwards"
    whole_updates = True

    def __init__(self, *arguments: t.Any, **others: t.Any) -> None:
        super().__init__(*arguments, **others)
        self.general: t.Dict[str, Json] = {}
        self.comma: t.Optional[bool] = None
        self.known: t.Set[str] = set()

    def make_store(self) -> Store:
        return Store(
            self.api,
            "forward",
            delete="unbound/settings/del_forward",
            bulk="unbound/settings/set",
            envelope=("unbound", "dots", "dot"),
            required="server",
        )

    def read(self) -> t.List[Item]:
        answer = part(self.api.get("unbound/settings/get"), "unbound")
        self.general = part(answer, "general")
        for host in entries(part(answer, "hosts", "host")).values():
            self.comma = "addptr" in host
            break
        found = entries(part(answer, "dots", "dot"))
        for forward in found.values():
            self.known = set(forward)
            break
        return [self.parse(uuid, forward) for uuid, forward in found.items() if text(forward.get("type")) == "forward"]

    def parse(self, uuid: str, forward: t.Dict[str, Json]) -> Item:
        """Return a forward as it is compared."""
        raw = {name: text(value) for name, value in forward.items()}
        server, _rest, inline = raw.get("server", "").partition("@")
        port = raw.get("port", "") or inline
        domain = names.plain(raw.get("domain", ""))
        fields = {
            "enabled": raw.get("enabled", "") or "0",
            "server": names.address(server),
            "port": "" if port == "53" else port,
            "forward_tcp_upstream": raw.get("forward_tcp_upstream", "") or "0",
            "forward_first": raw.get("forward_first", "") or "0",
            "description": raw.get("description", ""),
        }
        value = f"{fields['server']}@{fields['port'] or '53'}"
        return Item(
            (domain or ".",),
            value,
            fields,
            f"{domain or '.'} -> {value}",
            line=self.line(domain, value, fields),
            owner=untagged(fields["description"])[1],
            uuid=uuid,
            where="on the router:",
            raw=raw,
        )

    @staticmethod
    def line(domain: str, value: str, fields: Fields) -> str:
        remarks = ["disabled"] if fields.get("enabled") == "0" else []
        remarks += [name for name in ("forward_tcp_upstream", "forward_first") if fields.get(name) == "1"]
        return f"{domain}. forward {value} ; {' '.join([*remarks, fields.get('description', '')])}"

    def has(self, field: str) -> bool:
        """Tell whether the release has a field of forwards."""
        if not self.known:
            self.known = set(part(self.api.get("unbound/settings/get_forward"), "dot") or {"domain"})
        return field in self.known

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        found: t.Dict[t.Tuple[str, str], Item] = {}
        absent = self.options["state"] == "absent"
        for number, forward in enumerate(self.options["forwards"] or []):
            where = f"forwards[{number}]"
            domain = ""
            if str(forward.get("domain") or "").strip() != ".":
                _rest, domain = "", record_name({"domain": forward.get("domain")}, where, problems)[1]
                if not domain:
                    continue
            at = f"{where} {domain or '.'}"
            if absent:
                found[(domain, "")] = Item((domain or ".",), "", {}, domain or ".", where=where)
                continue
            servers = record_values({"value": forward.get("server")}, at, problems)
            if not servers:
                problems.append(f"{at}: server is empty; give an address, with @port if it is not 53")
            description = str(forward.get("description") or "").strip()
            problems += check_description(description, self.owner, at)
            for server in servers:
                host, separator, port = server.partition("@")
                fault = ""
                if not names.family(host):
                    fault = f"server {server[:80]!r} is not an address; names are not possible here"
                elif separator and not (port.isdigit() and 0 < int(port) < 65536):
                    fault = f"server {server[:80]!r} has no valid port behind the @"
                if fault:
                    problems.append(f"{at}: {fault}")
                    continue
                host, port = names.address(host), str(int(port or 53))
                fields = {
                    "enabled": boolean(forward.get("enabled") is not False),
                    "server": host,
                    "port": "" if port == "53" else port,
                    "forward_tcp_upstream": boolean(bool(forward.get("tcp"))),
                    "description": tagged(description, self.owner),
                }
                if forward.get("first") is not None and not self.has("forward_first"):
                    problems.append(f"{at}: first is not possible in this release; leave it out or update the router")
                elif "forward_first" in self.known:
                    fields["forward_first"] = boolean(bool(forward.get("first")))
                value = f"{host}@{port}"
                item = Item(
                    (domain or ".",),
                    value,
                    fields,
                    f"{domain or '.'} -> {value}",
                    base={"type": "forward", "domain": domain},
                    line=self.line(domain, value, fields),
                    owner=self.owner,
                    where=where,
                )
                twin = found.setdefault((domain, value), item)
                if twin is not item and twin.fields != fields:
                    problems.append(f"{at}: says something else than {twin.where} for {value}; make them agree")
        return list(found.values())

    def enabled(self) -> bool:
        return text(self.general.get("enabled", "1")) == "1"

    def lists(self) -> t.Optional[bool]:
        return self.comma

    def stale(self) -> t.List[str]:
        return ["the resolver does not run"] if self.server.status() == "stopped" else []
