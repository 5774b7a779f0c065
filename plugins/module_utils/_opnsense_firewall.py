# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewall aliases and filter rules of an OPNsense router (private to the collection)."""

from __future__ import annotations

import ipaddress
import re
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
    WrongKey,
    boolean,
    entries,
    part,
    rows,
    text,
    validations,
)
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dns import Options, joined
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_plan import (
    Item,
    Plan,
    Store,
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

ALIAS_NAME = re.compile(r"[a-zA-Z]|(?:_[a-zA-Z0-9]|[a-zA-Z][_a-zA-Z0-9])[_a-zA-Z0-9]{0,29}")

RESERVED = frozenset(
    [
        "all",
        "altq",
        "anchor",
        "antispoof",
        "any",
        "bandwidth",
        "binat",
        "bitmask",
        "block",
        "buckets",
        "cbq",
        "code",
        "codelq",
        "crop",
        "debug",
        "drop",
        "fairq",
        "fastroute",
        "file",
        "fingerprints",
        "flags",
        "floating",
        "flush",
        "for",
        "fragment",
        "from",
        "global",
        "group",
        "hfsc",
        "hogs",
        "hostid",
        "in",
        "include",
        "inet",
        "inet6",
        "interval",
        "keep",
        "label",
        "limit",
        "linkshare",
        "load",
        "log",
        "loginterface",
        "max",
        "modulate",
        "nat",
        "no",
        "on",
        "optimization",
        "os",
        "out",
        "overload",
        "pass",
        "port",
        "prio",
        "priority",
        "priq",
        "probability",
        "proto",
        "qlimit",
        "queue",
        "quick",
        "random",
        "rdr",
        "realtime",
        "reassemble",
        "return",
        "route",
        "rtable",
        "rule",
        "scrub",
        "set",
        "skip",
        "sloppy",
        "state",
        "synproxy",
        "table",
        "tag",
        "tagged",
        "target",
        "tbrsize",
        "timeout",
        "to",
        "tos",
        "ttl",
        "upperlimit",
        "user",
        "bogons",
        "bogonsv6",
        "virusprot",
        "sshlockout",
    ]
)
"""Words of the packet filter, and aliases that the router brings along."""

ALIAS_TYPES = ("host", "network", "port", "url", "urltable", "geoip", "networkgroup", "mac", "asn", "external")

ROLLBACK_SECONDS = 60.0
"""After so long the router takes unconfirmed rules back, up to release 26.1."""


def network(value: str) -> str:
    """Return an address or a network in its shortest form, anything else as it is."""
    bare = value.removeprefix("!")
    try:
        shown = str(ipaddress.ip_network(bare)) if "/" in bare else str(ipaddress.ip_address(bare))
    except ValueError:
        return value
    return f"!{shown}" if value.startswith("!") else shown


def alias_content(kind: str, values: t.Iterable[str]) -> str:
    """Return the content of an alias in one order and form."""
    forms: t.Dict[str, t.Callable[[str], str]] = {
        "host": lambda value: (
            network(value).lower() if names.LABEL.match(value.lower()) and "." in value else network(value)
        ),
        "network": network,
        "mac": str.lower,
        "geoip": str.upper,
        "asn": lambda value: value.upper().replace("AS", ""),
        "port": lambda value: value.replace("-", ":"),
    }
    form = forms.get(kind, str)
    return "\n".join(sorted({form(value.strip()) for value in values if value.strip()}))


class Aliases:
    """Named lists of addresses, networks and ports. The name is the key, the order of the content does not matter."""

    def __init__(self, api: Api, options: Options, check_mode: bool) -> None:
        self.api, self.options, self.check_mode = api, options, check_mode
        self.owner = str(options["owner"])
        self.store = Store(api, "alias", delete="firewall/alias/del_item")
        self.known: t.Set[str] = set()

    def run(self) -> t.Dict[str, t.Any]:
        """Bring the aliases into the wanted state and return the result of the module."""
        options = self.options
        problems = check_owner(self.owner)
        existing = self.read()
        wanted = self.wanted(problems)
        plan = make_plan(
            wanted, existing, self.owner, options["state"], options["unmanaged_conflict"], lambda item: True
        )
        remedies = ["Correct the aliases and run again."] if problems else []
        remedies += [conflict_remedy("aliases")] if plan.conflicts else []
        refuse(problems + plan.conflicts, " ".join(remedies))
        result = plan.result("aliases")
        result.update(applied=False, in_use=[], aliases=self.uuids(plan))
        result["warnings"] = [f"{item.where} {item.label} was left out: somebody else has it" for item in plan.skipped]
        if plan and not self.check_mode:
            try:
                self.change(plan, result)
            except OpnsenseError as error:
                # A write whose answer is missing may have been carried out.
                saved = bool(self.store.revisions) or isinstance(error, (Unreachable, Refused))
                if not saved:
                    result["changed"] = False
                elif options["apply"] and not result["applied"]:
                    result["changed"] = not take_back(error, lambda: self.restore(plan), "Firewall: Aliases")
                cost = {"requests": self.api.requests, "revisions": self.store.revisions}
                error.result = {**result, **error.result, **cost}
                raise
        result.update(requests=self.api.requests, revisions=self.store.revisions)
        return result

    def read(self) -> t.List[Item]:
        """Read the aliases that somebody made; the built-in ones are not in the export."""
        found = entries(part(self.api.get("firewall/alias/export"), "aliases", "alias"))
        for alias in found.values():
            self.known |= set(alias)
        return [self.parse(uuid, {name: text(value) for name, value in alias.items()}) for uuid, alias in found.items()]

    def parse(self, uuid: str, raw: Fields) -> Item:
        """Return an alias as it is compared."""
        kind, name = raw.get("type", ""), raw.get("name", "")
        content = alias_content(kind, raw.get("content", "").split("\n"))
        fields = {
            "type": kind,
            "content": content,
            "enabled": raw.get("enabled", "") or "0",
            "description": raw.get("description", ""),
            "proto": joined(raw.get("proto", "").split(",")),
            "interface": raw.get("interface", ""),
            "counters": raw.get("counters", "") or "0",
            "updatefreq": decimal(raw.get("updatefreq", "")),
        }
        return Item(
            (name,),
            f"{kind} {content}",
            fields,
            name,
            line=self.line(name, fields),
            owner=untagged(fields["description"])[1],
            uuid=uuid,
            where="on the router:",
            raw=raw,
        )

    @staticmethod
    def line(name: str, fields: Fields) -> str:
        """Return an alias as one line."""
        shown = ", ".join(fields["content"].split("\n"))
        disabled = "disabled " if fields["enabled"] == "0" else ""
        extra = "".join(
            f" {field}={fields[field]}"
            for field in ("proto", "interface", "counters", "updatefreq")
            if fields.get(field, "0") not in ("", "0")
        )
        return f"{name} {fields['type']} {{{shown}}}{extra} ; {disabled}{fields['description']}"

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        """Return the wanted aliases; append what is wrong with them."""
        found: t.Dict[str, Item] = {}
        for number, alias in enumerate(self.options["aliases"] or []):
            name = str(alias.get("name") or "")
            at = f"aliases[{number}] {name}"
            if not ALIAS_NAME.fullmatch(name):
                problems.append(
                    f"{at}: name has to be 1 to 31 letters, digits and _, and begin with a letter or one single _"
                )
            if name.lower() in RESERVED:
                problems.append(f"{at}: name is a word that the router keeps for itself; choose another one")
            if name in found:
                problems.append(f"{at}: is in {found[name].where} as well; keep one of them")
                continue
            if self.options["state"] == "absent":
                found[name] = Item((name,), "", {}, name, where=f"aliases[{number}]")
                continue
            kind = str(alias.get("type") or "host")
            values = [str(value) for value in alias.get("content") or []]
            for value in values:
                if "," in value or "\n" in value:
                    problems.append(
                        f"{at}: content {value[:60]!r} holds several entries; make them entries of the list"
                    )
            content = alias_content(kind, values)
            if not content and kind != "external":
                problems.append(f"{at}: content is empty; give at least one entry")
            description = str(alias.get("description") or "").strip()
            problems += check_description(description, self.owner, at)
            fields = {
                "type": kind,
                "content": content,
                "enabled": boolean(alias.get("enabled") is not False),
                "description": tagged(description, self.owner),
            }
            if alias.get("proto"):
                fields["proto"] = joined(str(one) for one in alias["proto"])
            if alias.get("interface"):
                fields["interface"] = str(alias["interface"])
            if alias.get("counters") is not None:
                fields["counters"] = boolean(bool(alias["counters"]))
            if alias.get("updatefreq") is not None:
                fields["updatefreq"] = decimal(str(alias["updatefreq"]))
            found[name] = Item(
                (name,),
                f"{kind} {content}",
                fields,
                name,
                base={"name": name},
                line=self.line(name, fields),
                owner=self.owner,
                where=f"aliases[{number}]",
                asked=[field for field in ("proto", "interface", "counters", "updatefreq") if field in fields],
            )
        return list(found.values())

    def change(self, plan: Plan, result: t.Dict[str, t.Any]) -> None:
        """Write by import, which is one revision and all or nothing; then delete; then apply once."""
        items = plan.creates + [change.new for change in plan.updates]
        if items:
            answer = self.api.post(
                "firewall/alias/import",
                {"data": {"aliases": {"alias": {f"n{number}": item.complete() for number, item in enumerate(items)}}}},
                repeatable=True,
            )
            if part(answer, "status") != "ok":
                lines = []
                for path, texts in validations(answer).items():
                    key, _rest, field = path.partition(".")
                    index = int(key[1:]) if key[1:].isdigit() else -1
                    item = items[index] if 0 <= index < len(items) else None
                    lines.append(f"{item.where + ' ' + item.label if item else path}: {field}: {' '.join(texts)}")
                raise OpnsenseError(
                    "The router does not accept these aliases: " + ("; ".join(lines) or "it gave no reason"),
                    "Nothing was saved. Correct them and run again.",
                )
            self.store.revisions += 1
        in_use = self.delete(plan.deletes)
        if self.options["apply"]:
            answer = self.api.post("firewall/alias/reconfigure", repeatable=True, slow=True)
            if str(part(answer, "status")).lower() != "ok":
                raise OpnsenseError(
                    f"The router did not load the aliases: {part(answer, 'status') or 'no status'}",
                    "Take the reason away and run again.",
                )
            result["applied"] = True
        if plan.creates:
            now = {item.key[0]: item.uuid for item in self.read()}
            result["aliases"].update({item.key[0]: now.get(item.key[0], "") for item in plan.creates})
        if in_use:
            result["in_use"] = sorted(in_use)
            result["deleted"] = [name for name in result["deleted"] if name not in in_use]
            raise OpnsenseError(
                "These aliases are in use and were not deleted: "
                + "; ".join(f"{name}: {reason}" for name, reason in sorted(in_use.items())),
                "Take them out of the rules and aliases that the router names, and run again. All else was done.",
                result,
            )

    def restore(self, plan: Plan) -> bool:
        """Save the old aliases again; tell whether anything was to be written."""
        now = {item.key[0]: item for item in self.read()}
        old = plan.deletes + [change.old for change in plan.updates]
        lost = [item for item in old if item.key[0] not in now or now[item.key[0]].raw != item.raw]
        if lost:
            answer = self.api.post(
                "firewall/alias/import",
                {"data": {"aliases": {"alias": {f"n{number}": item.raw for number, item in enumerate(lost)}}}},
                repeatable=True,
            )
            if part(answer, "status") != "ok":
                raise OpnsenseError("the router does not accept the old aliases", "Restore a backup on the router.")
            self.store.revisions += 1
        extra = [now[item.key[0]] for item in plan.creates if item.key[0] in now]
        if self.delete(extra):
            raise OpnsenseError("new aliases are in use already", "Delete them on the router.")
        return bool(lost or extra)

    def delete(self, items: t.Sequence[Item]) -> t.Dict[str, str]:
        """Delete aliases; return those in use, with what the router says."""
        left = {item.uuid: item.key[0] for item in items}
        if not left:
            return {}
        try:
            self.store.delete(list(left), None)
            return {}
        except Refused as error:
            if not error.reasoned:
                raise
            if len(left) == 1:
                return {next(iter(left.values())): error.text}
        # One of them is in use, maybe by another of them: one after the other, as long as that gets further.
        reasons: t.Dict[str, str] = {}
        while left:
            before = len(left)
            for uuid in list(left):
                try:
                    self.store.delete([uuid], False)
                    reasons.pop(left.pop(uuid), None)
                except Refused as error:
                    if not error.reasoned:
                        raise
                    reasons[left[uuid]] = error.text
            if len(left) == before:
                break
        return reasons

    def uuids(self, plan: Plan) -> t.Dict[str, str]:
        """Return the uuid of each alias of the wanted state by name."""
        found = {wanted.key[0]: old.uuid for wanted, old in plan.unchanged + plan.satisfied}
        found.update({change.new.key[0]: change.old.uuid for change in plan.updates})
        found.update({item.key[0]: "" for item in plan.creates})
        return found


def decimal(value: str) -> str:
    """Return a number in its shortest form, or nothing."""
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number == int(number) else str(number)


# -- rules -------------------------------------------------------------------------------------------------------------

RULE_DEFAULTS: Fields = {
    "enabled": "0",
    "quick": "0",
    "log": "0",
    "source_not": "0",
    "destination_not": "0",
    "source_net": "any",
    "destination_net": "any",
    "direction": "in",
    "ipprotocol": "inet",
    "protocol": "any",
}

FIRST_SEQUENCE = 1000


def rule_description(name: str, comment: str, owner: str) -> str:
    """Return the description of a rule, which carries its key."""
    return tagged(f"{name} | {comment}" if comment else name, owner)


def rule_name(description: str) -> t.Tuple[str, str]:
    """Return name and owner of a rule."""
    words, owner = untagged(description)
    return words.partition(" | ")[0].strip(), owner


class Rules:
    """Filter rules, known by owner and name."""

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
        self.store = Store(
            api,
            "rule",
            delete="firewall/filter/del_rule",
            bulk="firewall/filter/set",
            envelope=("filter", "rules", "rule"),
            add="firewall/filter/add_rule",
            change="firewall/filter/set_rule",
            envelope_single="rule",
        )
        self.extra_requests = 0
        self.loading = False
        """Whether rules that the router takes back without a confirmation were to be loaded."""
        self.existing: t.List[Item] = []
        self.plan = Plan()

    def run(self) -> t.Dict[str, t.Any]:
        """Bring the rules into the wanted state and return the result of the module."""
        problems = check_owner(self.owner)
        self.existing = self.read()
        wanted = self.wanted(problems)
        self.plan = make_plan(wanted, self.existing, self.owner, self.options["state"], "ignore", lambda item: True)
        refuse(problems, "Correct the rules and run again.")
        result = self.plan.result("rules")
        result.pop("foreign")
        result.update(applied=False, verified=False, rolled_back=False, protected="", rules=self.uuids())
        if self.plan:
            savepoints = self.has_savepoints()
            result["protected"] = "savepoint" if savepoints else "reachability"
            if not savepoints:
                self.guard()
            if not self.check_mode:
                try:
                    self.change(savepoints, result)
                except OpnsenseError as error:
                    self.not_active(error, result)
                    error.result = {**result, **error.result, **self.cost()}
                    raise
        result.update(self.cost())
        return result

    def not_active(self, error: OpnsenseError, result: t.Dict[str, t.Any]) -> None:
        """See to it that the next run applies what this one may have written and did not apply."""
        # A write whose answer is missing may have been carried out.
        saved = bool(self.store.revisions) or isinstance(error, (Unreachable, Refused))
        if not saved:
            result["changed"] = False
        elif self.options["apply"] and not result["applied"]:
            result["changed"] = not take_back(error, self.restore, "Firewall: Rules", self.sleep)
            if self.loading:
                error.remedy = (
                    f"Wait {ROLLBACK_SECONDS:g} s first: if the rules were loaded all the same, the router takes them "
                    f"back by then. {error.remedy}"
                )

    def cost(self) -> t.Dict[str, int]:
        """Return what the run cost so far."""
        return {"requests": self.api.requests + self.extra_requests, "revisions": self.store.revisions}

    def read(self) -> t.List[Item]:
        """Read the rules that carry the mark of the owner."""
        try:
            rules = part(self.api.get("firewall/filter/get"), "filter", "rules")
        except Missing:
            rules = None
        there = isinstance(rules, dict) and "rule" in rules
        found = entries(rules["rule"]) if there else self.search()
        items = [self.parse(uuid, {name: text(value) for name, value in rule.items()}) for uuid, rule in found.items()]
        return [item for item in items if item.owner == self.owner]

    def search(self) -> t.Dict[str, t.Dict[str, Json]]:
        """Read the rules one by one: rows of a search hold labels on old releases."""
        found = {}
        for row in rows(self.api.get("firewall/filter/search_rule")):
            uuid = str(row.get("uuid") or "")
            if row.get("legacy") or not uuid or rule_name(str(row.get("description", "")))[1] != self.owner:
                continue
            rule = part(self.api.get(f"firewall/filter/get_rule/{uuid}"), "rule")
            if rule:
                found[uuid] = rule
        return found

    def parse(self, uuid: str, raw: Fields) -> Item:
        """Return a rule as it is compared."""
        fields = {name: raw.get(name, "") or default for name, default in RULE_DEFAULTS.items()}
        fields.update(
            sequence=raw.get("sequence", ""),
            action=raw.get("action", ""),
            interface=joined(raw.get("interface", "").split(",")),
            source_net=networks(fields["source_net"].split(",")),
            destination_net=networks(fields["destination_net"].split(",")),
            source_port=ports(raw.get("source_port", "")),
            destination_port=ports(raw.get("destination_port", "")),
            protocol=protocol(fields["protocol"]),
            gateway=raw.get("gateway", ""),
            description=raw.get("description", ""),
        )
        name, owner = rule_name(fields["description"])
        return Item(
            (name,),
            name,
            fields,
            name,
            line=self.line(fields),
            owner=owner,
            uuid=uuid,
            where="on the router:",
            raw=raw,
        )

    @staticmethod
    def line(fields: Fields) -> str:
        """Return a rule as one line, in the order of the packet filter."""

        def end(side: str) -> str:
            negated = "!" if fields[f"{side}_not"] == "1" else ""
            port = f" port {fields[f'{side}_port']}" if fields[f"{side}_port"] else ""
            return f"{negated}{fields[f'{side}_net']}{port}"

        words = [
            fields["sequence"].rjust(6),
            fields["action"],
            fields["direction"],
            *(["log"] if fields["log"] == "1" else []),
            *(["quick"] if fields["quick"] == "1" else []),
            f"on {fields['interface'] or 'any'}",
            *([f"via {fields['gateway']}"] if fields["gateway"] else []),
            fields["ipprotocol"],
            f"proto {fields['protocol']}",
            f"from {end('source')} to {end('destination')}",
            f"; {'disabled ' if fields['enabled'] == '0' else ''}{fields['description']}",
        ]
        return " ".join(words)

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        """Return the wanted rules; append what is wrong with them."""
        found: t.Dict[str, Item] = {}
        for number, rule in enumerate(self.options["rules"] or []):
            name = str(rule.get("name") or "").strip()
            at = f"rules[{number}] {name}"
            if not name or " | " in name or "[" in name or "]" in name:
                problems.append(f"{at}: name has to be given, without [ ] and without a | between blanks")
                continue
            if name in found:
                problems.append(f"{at}: is in {found[name].where} as well; give each rule a name of its own")
                continue
            if self.options["state"] == "absent":
                found[name] = Item((name,), "", {}, name, where=f"rules[{number}]")
                continue
            fields = self.fields(rule, name, number, at, problems)
            found[name] = Item(
                (name,), name, fields, name, line=self.line(fields), owner=self.owner, where=f"rules[{number}]"
            )
        return list(found.values())

    def fields(self, rule: Options, name: str, number: int, at: str, problems: t.List[str]) -> Fields:
        """Return the fields of a wanted rule."""
        proto = protocol(str(rule.get("protocol") or "any"))
        source, destination = listed(rule.get("source")), listed(rule.get("destination"))
        sequence = FIRST_SEQUENCE + 10 * number if rule.get("sequence") is None else int(rule["sequence"])
        comment = str(rule.get("description") or "").strip()
        fields = {
            "enabled": boolean(rule.get("enabled") is not False),
            "sequence": str(sequence),
            "action": str(rule.get("action") or "pass"),
            "quick": boolean(rule.get("quick") is not False),
            "interface": joined(listed(rule.get("interface"))),
            "direction": str(rule.get("direction") or "in"),
            "ipprotocol": str(rule.get("ipprotocol") or "inet"),
            "protocol": proto,
            "source_net": networks(source) or "any",
            "source_not": boolean(bool(rule.get("source_not"))),
            "source_port": ports(str(rule.get("source_port") or "")),
            "destination_net": networks(destination) or "any",
            "destination_not": boolean(bool(rule.get("destination_not"))),
            "destination_port": ports(str(rule.get("destination_port") or "")),
            "gateway": str(rule.get("gateway") or ""),
            "log": boolean(bool(rule.get("log"))),
            "description": rule_description(name, comment, self.owner),
        }
        if not 1 <= sequence <= 999999:
            problems.append(f"{at}: sequence {sequence} is not between 1 and 999999")
        for side in ("source", "destination"):
            if fields[f"{side}_port"] and proto not in ("TCP", "UDP", "TCP/UDP"):
                problems.append(f"{at}: {side}_port needs protocol TCP, UDP or TCP/UDP, not {proto}")
            values = fields[f"{side}_net"].split(",")
            if len(values) > 1 and "any" in values:
                problems.append(f"{at}: {side} cannot be any together with others; leave one of them out")
            if fields[f"{side}_not"] == "1" and len(values) > 1:
                problems.append(f"{at}: {side}_not is only possible with a single {side}")
            for value in values:
                version = family(value)
                if version and fields["ipprotocol"] != {4: "inet", 6: "inet6"}[version]:
                    problems.append(
                        f"{at}: {side} {value} does not fit ipprotocol {fields['ipprotocol']}; make them agree"
                    )
        problems += check_description(f"{name} | {comment}" if comment else name, self.owner, at)
        return fields

    def uuids(self, now: t.Sequence[Item] = ()) -> t.Dict[str, str]:
        """Return the uuid of each rule of the wanted state by name."""
        found = {wanted.key[0]: old.uuid for wanted, old in self.plan.unchanged}
        found.update({change.new.key[0]: change.old.uuid for change in self.plan.updates})
        new = {item.key[0]: item.uuid for item in now}
        found.update({item.key[0]: new.get(item.key[0], "") for item in self.plan.creates})
        return found

    def has_savepoints(self) -> bool:
        """Tell whether the release takes back rules that are not confirmed. Reading the action changes nothing."""
        try:
            self.api.get("firewall/filter/savepoint")
        except Missing:
            return False
        return True

    # -- safety --------------------------------------------------------------------------------------------------------

    def guard(self) -> None:
        """Refuse to touch the rule that carries this connection, where the router would not take it back."""
        own, router, port = self.api.endpoints()
        touched = [(change.old, "changed") for change in self.plan.updates]
        touched += [(item, "deleted") for item in self.plan.deletes]
        problems = [
            f"rule {item.label} would be {what}, and carries the connection from {own} to {router} port {port} by which "
            "the router is reached"
            for item, what in touched
            if carries(item.fields, own, router, port)
        ]
        refuse(
            problems,
            "This release cannot take rules back by itself. Change that rule in the web interface, or reach the router "
            "another way for this task.",
        )

    def reachable(self, seconds: float) -> bool:
        """Tell whether a new connection reaches the router; an old one is let through by its state."""
        deadline = self.clock() + seconds
        while True:
            other = self.api.another()
            try:
                other.get("firewall/filter/get_rule")
                return True
            except (Forbidden, Missing, Refused, WrongKey):
                # Not what was asked for, but the router said it, so it is reached.
                return True
            except Unreachable:
                if self.clock() >= deadline:
                    return False
                self.sleep(1.0)
            finally:
                self.extra_requests += other.requests

    def change(self, savepoints: bool, result: t.Dict[str, t.Any]) -> None:
        """Write, apply, and see whether the router can still be reached."""
        # A fresh connection has requests left for going back, should no new one be let in.
        self.api.renew()
        revision = ""
        if savepoints and self.options["apply"]:
            revision = str(part(self.api.post("firewall/filter/savepoint"), "revision") or "")
            self.store.revisions += 1
            # The bulk write of rules belongs to the releases without savepoints.
        if savepoints:
            self.store.bulk = ""
        made = save_explained(self.store, self.plan, whole=True)
        if self.plan.deletes:
            self.store.delete([item.uuid for item in self.plan.deletes], None if savepoints else True)
        if self.options["apply"]:
            self.activate(revision, result)
        if self.plan.creates:
            for number, uuid in enumerate(made):
                self.plan.creates[number].uuid = uuid
            result["rules"] = self.uuids(self.plan.creates if made else self.read())

    def activate(self, revision: str, result: t.Dict[str, t.Any]) -> None:
        """Load the rules; take them back when the router can no longer be reached."""
        path = f"firewall/filter/apply/{revision}" if revision else "firewall/filter/apply"
        self.loading = bool(revision)
        answer = self.api.post(path, repeatable=not revision, slow=True)
        status = str(part(answer, "status") or "").strip()
        if status.lower() not in ("ok", ""):
            raise OpnsenseError(
                f"The router did not load the rules: {' '.join(status.split())[:300]}",
                "Correct them and run again.",
            )
        result["applied"] = True
        if self.reachable(min(self.api.apply_timeout, 10.0)):
            if revision:
                self.confirm(revision)
            result["verified"] = True
            return
        labels = ", ".join(
            [change.new.label for change in self.plan.updates]
            + [item.label for item in self.plan.creates]
            + [f"{item.label} (deleted)" for item in self.plan.deletes]
        )
        if revision:
            result["rolled_back"] = self.reachable(ROLLBACK_SECONDS + self.api.apply_timeout)
        else:
            try:
                self.restore()
                self.api.post("firewall/filter/apply", repeatable=True, slow=True)
                result["rolled_back"] = self.reachable(min(self.api.apply_timeout, 10.0))
            except OpnsenseError:
                result["rolled_back"] = False
        if result["rolled_back"]:
            raise OpnsenseError(
                f"With these rules the router could no longer be reached, so the old ones were restored: {labels}",
                "Look for a rule that blocks this machine, correct it and run again.",
                result,
            )
        raise OpnsenseError(
            f"Since these rules were loaded, the router cannot be reached, and they could not be taken back: {labels}",
            "Go to the console of the router and restore a backup (option 13).",
            result,
        )

    def confirm(self, revision: str) -> None:
        """Keep the rules: without this the router takes them back."""
        try:
            self.api.post(f"firewall/filter/cancel_rollback/{revision}", repeatable=True)
        except OpnsenseError as error:
            text_ = str(error).rstrip(".")
            text_ += ". So the rules were loaded and not confirmed, and the router takes them back"
            error.args = (f"{text_} after {ROLLBACK_SECONDS:g} s",)
            error.remedy = f"{error.remedy} Wait until they are taken back, then run again."
            raise

    def restore(self) -> bool:
        """Write the old rules back over the connection that is still open; tell whether anything was to be written."""
        now = {item.uuid: item for item in self.read()}
        known = {item.uuid for item in self.existing}
        updates = {
            change.old.uuid: old_values(change.old, now[change.old.uuid], change.fields)
            for change in self.plan.updates
            if change.old.uuid in now
        }
        updates = {uuid: fields for uuid, fields in updates.items() if fields}
        lost = [
            {
                name: value
                for name, value in item.raw.items()
                if value != "" and name not in ("sort_order", "prio_group")
            }
            for item in self.plan.deletes
            if item.uuid not in now
        ]
        extra = [uuid for uuid in now if uuid not in known]
        self.store.save(updates, lost)
        # Releases with savepoints delete one rule for each request.
        self.store.delete(extra, None if self.loading or not self.store.bulk else True)
        return bool(updates or lost or extra)


def listed(value: t.Any) -> t.List[str]:
    """Return an option that may be a text or a list as a list."""
    if value is None:
        return []
    return [str(item).strip() for item in value] if isinstance(value, (list, tuple)) else [str(value).strip()]


def networks(values: t.Iterable[str]) -> str:
    """Return sources or destinations in one order and form."""
    return ",".join(sorted({network(value.strip()) for value in values if value.strip()}))


def ports(value: str) -> str:
    """Return a port, a range, a name or an alias in the form of the router."""
    value = value.strip()
    return re.sub(r"^(\d+)\s*[:-]\s*(\d+)$", r"\1-\2", value)


def protocol(value: str) -> str:
    """Return the name of a protocol in the form of the router."""
    return "any" if value.lower() == "any" else value.upper()


def family(value: str) -> int:
    """Return 4 or 6 for an address or a network, 0 for a name."""
    return names.family(value.split("/")[0])


def carries(fields: Fields, own: str, router: str, port: int) -> bool:
    """Tell whether an enabled rule may let the connection of the API in. Names of lists are taken to hold it."""
    if fields["enabled"] != "1" or fields["action"] != "pass" or fields["direction"] == "out":
        return False
    if fields["protocol"] not in ("TCP", "TCP/UDP", "any"):
        return False
    if fields["ipprotocol"] == {4: "inet6", 6: "inet"}.get(names.family(router)):
        return False
    if not port_matches(fields["destination_port"], port):
        return False
    return side_matches(fields, "source", own) and side_matches(fields, "destination", router)


def port_matches(wanted: str, port: int) -> bool:
    """Tell whether a port is meant."""
    known = {"http": "80", "https": "443"}
    if wanted in ("", "any"):
        return True
    first, _rest, last = known.get(wanted.lower(), wanted).partition("-")
    if first.isdigit() and (last or first).isdigit():
        return int(first) <= port <= int(last or first)
    # A name is another service of the list of the router, or an alias, whose ports are not known here.
    return not re.fullmatch(r"[a-z0-9-]+", wanted) or "-" not in wanted


def side_matches(fields: Fields, side: str, address: str) -> bool:
    """Tell whether an address is meant."""
    inside = False
    certain = True
    for value in fields[f"{side}_net"].split(","):
        if value == "any" or not names.family(address):
            inside = True
        elif family(value):
            inside = inside or ipaddress.ip_address(address) in ipaddress.ip_network(value, strict=False)
        else:
            inside, certain = True, False
    return not inside if fields[f"{side}_not"] == "1" and certain else inside
