# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controllers of the API: what each URL does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from . import php, schemas
from .api import Action, Controller, Grid, ModelController, Reply, ServiceController, UserError
from .app import App
from .fields import in_subnet
from .model import InvalidInput, Node, Row
from .state import KEPT_REVISIONS

# Unbound


class UnboundSettings(ModelController):
    """unbound/settings."""

    model_name = "unbound"
    mount = "unboundplus"
    HOSTS = Grid(
        "hostoverride",
        "host",
        "hosts.host",
        old_fields=("enabled", "hostname", "domain", "rr", "mxprio", "mx", "server", "description"),
        old_sort="hostname",
    )
    ALIASES = Grid(
        "hostalias",
        "alias",
        "aliases.alias",
        old_fields=("enabled", "host", "hostname", "domain", "description"),
        old_sort="hostname",
    )
    FORWARDS = Grid("forward", "dot", "dots.dot")
    ACCESS = Grid("acl", "acl", "acls.acl")
    grids = (HOSTS, ALIASES, ACCESS)

    def actions(self) -> dict[str, Action]:
        result = super().actions()
        grid = self.FORWARDS
        for kind in ("forward", "dot"):
            # Both kinds are one table; an action sees, or writes, its own kind.
            overlay = {"type": kind}
            result[f"search{kind}"] = Action(
                lambda *rest, kind=kind: self.search(grid, lambda node: node.text("type") == kind)
            )
            result[f"get{kind}"] = Action(lambda key=None, *rest: self.get(grid, key))
            result[f"add{kind}"] = Action(lambda *rest, overlay=overlay: self.add(grid, overlay))
            result[f"set{kind}"] = Action(lambda key, *rest, overlay=overlay: self.set(grid, key, overlay), 1)
            result[f"del{kind}"] = Action(lambda keys, *rest: self.delete(grid, keys), 1)
            result[f"toggle{kind}"] = Action(lambda keys, enabled=None, *rest: self.toggle(grid, keys, enabled), 1)
        result["searchhostoverride"] = Action(lambda *rest: self.search_hosts())
        result["searchhostalias"] = Action(lambda *rest: self.search_aliases())
        result["delhostoverride"] = Action(lambda keys, *rest: self.delete_hosts(keys), 1)
        result["gethostalias"] = Action(lambda key=None, *rest: self.get_alias(key))
        result["getnameservers"] = Action(lambda *rest: [])
        return result

    def fallback(self, name: str) -> Action:
        # The controller answers every method call, so unknown actions exist and say nothing.
        return Action(lambda *rest: None)

    def search_hosts(self) -> Any:
        """Host overrides, on 26.1 and later with their aliases as children."""
        result = self.search(self.HOSTS)
        if self.release.inline_aliases:
            for row in result["rows"]:
                child = {name: value for name, value in row.items() if name != "aliases"}
                row["isAlias"] = False
                for key, alias in schemas.host_aliases(self.model, row["uuid"]):
                    names = ("enabled", "hostname", "domain", "description")
                    own = {"uuid": key, "isAlias": True, **{name: alias[name] for name in names}}
                    row.setdefault("_children", []).append({**child, **own})
        return result

    def search_aliases(self) -> Any:
        """Aliases, of all hosts or of one."""
        host = php.to_string(self.request.get("host"))
        return self.search(self.ALIASES, (lambda node: node.text("host") == host) if host else None)

    def get_alias(self, key: str | None) -> Any:
        """An alias; the template may name its host."""
        result = self.get(self.ALIASES, key)
        host = php.to_string(self.request.get("host"))
        if key is None and host:
            for option, entry in result["alias"]["host"].items():
                entry["selected"] = int(option == host)
        return result

    def delete_hosts(self, keys: str) -> Any:
        """Host overrides with their aliases - which are found only when a single uuid was sent."""
        for key, alias in list(self.model.array("aliases.alias")[1].items()):
            if alias["host"] == keys:
                self.delete(self.ALIASES, key)
        return self.delete(self.HOSTS, keys)


class UnboundService(ServiceController):
    """unbound/service."""

    service = "unbound"

    def actions(self) -> dict[str, Action]:
        return {**super().actions(), "reconfiguregeneral": Action(lambda *rest: self.reconfigure())}

    def enabled(self) -> bool:
        return self.app.enabled("unbound")


class UnboundDiagnostics(Controller):
    """unbound/diagnostics."""

    def actions(self) -> dict[str, Action]:
        return {"listlocaldata": Action(lambda *rest: self.local_data())}

    def local_data(self) -> Any:
        """The records of the running server."""
        data = self.app.resolver.local_data()
        return {"status": "failed"} if data is None else {"status": "ok", "data": data}


# Dnsmasq and leases


class DnsmasqSettings(ModelController):
    """dnsmasq/settings."""

    model_name = "dnsmasq"
    mount = "dnsmasq"
    safe_delete = True
    NAMES: ClassVar[dict[str, str]] = {
        "ip": "ip_address",
        "hwaddr": "hw_address",
        "host": "hostname",
        "descr": "description",
    }
    grids = (
        Grid("host", "host", "hosts", toggle=False),
        Grid("domain", "domainoverride", "domainoverrides", toggle=False),
        Grid("tag", "tag", "dhcp_tags", toggle=False),
        Grid("range", "range", "dhcp_ranges", toggle=False),
    )

    def actions(self) -> dict[str, Action]:
        return {
            **super().actions(),
            "downloadhosts": Action(lambda *rest: self.download("hosts", self.NAMES, ("comments",))),
            "uploadhosts": Action(lambda *rest: self.upload_hosts()),
        }

    def get_all(self, *_rest: str) -> Any:
        result = super().get_all()
        if result:
            result["dnsmasq"]["dhcp"]["%domain"] = self.store.content.system["domain"]
        return result

    def upload_hosts(self) -> Any:
        """Add or change hosts, found by host, domain and address."""
        if not self.request.is_post or not self.request.has_post("payload"):
            return {"status": "failed"}

        def rename(record: Row) -> None:
            for name, other in self.NAMES.items():
                if other in record:
                    record[name] = record[other]

        return self.upload("hosts", ("host", "domain", "ip"), rename)


class DnsmasqService(ServiceController):
    """dnsmasq/service."""

    service = "dnsmasq"

    def enabled(self) -> bool:
        return self.app.enabled("dnsmasq")


class Leases(Controller):
    """dnsmasq/leases, kea/leases4 and dhcpv4/leases."""

    source = ""
    action = "search"

    def actions(self) -> dict[str, Action]:
        return {self.action: Action(lambda *rest: self.search())}

    def completed(self, lease: Row) -> Row:
        """A lease with every field that the source reports."""
        interfaces = self.store.content.interfaces
        key = php.to_string(lease.get("if_name"))
        if not key:
            device = lease.get("if")
            key = next((name for name, row in interfaces.items() if device and row.get("if") == device), "")
        row = interfaces.get(key, {})
        return {
            "expire": 0,
            "hwaddr": "",
            "iaid": "",
            "address": "",
            "hostname": "",
            "client_id": "",
            "if": row.get("if", ""),
            "mac_info": "",
            "is_reserved": [],
            **lease,
            "if_name": key,
            "if_descr": (row.get("descr") or key.upper()) if row else "",
        }

    def search(self) -> Any:
        """The leases, of all interfaces or of some."""
        records = [self.completed(lease) for lease in self.store.content.leases[self.source]]
        chosen = self.request.get("selected_interfaces")
        if chosen:
            records = [record for record in records if record["if_name"] in chosen]
        result = self.search_records(records, "address")
        result["interfaces"] = {row["if_name"]: row["if_descr"] for row in records if row["if_name"]}
        return result


class DnsmasqLeases(Leases):
    """dnsmasq/leases."""

    source = "dnsmasq"

    def completed(self, lease: Row) -> Row:
        result = super().completed(lease)
        hosts = self.store.model("dnsmasq").array("hosts")[1].values()
        known = {mac.lower() for host in hosts for mac in host["hwaddr"].split(",") if mac}
        if result["hwaddr"].lower() in known:
            result["is_reserved"] = ["hwaddr"]
        return result


class KeaLeases(Leases):
    """kea/leases4."""

    source = "kea"

    def completed(self, lease: Row) -> Row:
        more = {"prefix_len": 128, "type": "", "duid": "", "valid_lifetime": 4000, "state": 0}
        result = {**more, **super().completed(lease)}
        rows = self.store.model("dhcpv4").array("reservations.reservation")[1].values()
        if result["hwaddr"].lower() in {row["hw_address"].lower() for row in rows if row["hw_address"]}:
            result["is_reserved"] = ["hwaddr"]
        return result

    def search(self) -> Any:
        result = super().search()
        states = [lease.get("state", 0) for lease in self.store.content.leases["kea"]]
        active = states.count(0)
        result["stats"] = {"active": active, "inactive": len(states) - active, "total": len(states)}
        return result


class IscLeases(Leases):
    """dhcpv4/leases, in the core up to 25.7."""

    source = "isc"
    action = "searchlease"

    def completed(self, lease: Row) -> Row:
        interfaces = self.store.content.interfaces
        key = php.to_string(lease.get("if"))
        defaults = {
            "address": "", "type": "dynamic", "status": "offline", "descr": "", "mac": "", "starts": "", "ends": "",
            "hostname": "", "state": "active", "man": "", "if": "",
        }  # fmt: skip
        label = interfaces.get(key, {}).get("descr") or key.upper()
        return {**defaults, **lease, "if_descr": label, "if_name": key}

    def search(self) -> Any:
        result = super().search()
        for row in result["rows"]:
            row.pop("if_name")
        return result


# Kea


class KeaDhcpv4(ModelController):
    """kea/dhcpv4."""

    model_name = "dhcpv4"
    mount = "dhcp4"
    safe_delete = True
    RESERVATIONS = "reservations.reservation"
    grids = (
        Grid("subnet", "subnet4", "subnets.subnet4", "subnet", toggle=False),
        Grid("reservation", "reservation", RESERVATIONS, "hw_address", toggle=False),
    )

    def actions(self) -> dict[str, Action]:
        return {
            **super().actions(),
            "downloadreservations": Action(lambda *rest: self.download(self.RESERVATIONS, {}, ("subnet",))),
            "uploadreservations": Action(lambda *rest: self.upload_reservations()),
        }

    def get_all(self, *_rest: str) -> Any:
        # Subnets and reservations are hidden here.
        result = super().get_all()
        if not result:
            return result
        nodes = result["dhcpv4"]
        nodes["ha"]["%this_server_name"] = self.store.content.system["hostname"]
        parts = ("general", "lexpire", "ha") if self.release.at_least_25_7 else ("general", "ha")
        return {"dhcpv4": {part: nodes[part] for part in parts}}

    def upload_reservations(self) -> Any:
        """Add or change reservations, found by MAC address and subnet."""
        if not self.request.is_post or not self.request.has_post("payload"):
            return {"status": "failed"}
        subnets = {row["subnet"]: key for key, row in self.model.array("subnets.subnet4")[1].items()}

        def find_subnet(record: Row) -> None:
            for subnet, key in subnets.items():
                if in_subnet(php.to_string(record.get("ip_address")), subnet):
                    record["subnet"] = key

        return self.upload(self.RESERVATIONS, ("hw_address", "subnet"), find_subnet)


class KeaService(ServiceController):
    """kea/service."""

    service = "kea"

    def enabled(self) -> bool:
        return self.app.enabled("kea")


# Firewall


class FirewallAlias(ModelController):
    """firewall/alias."""

    model_name = "alias"
    mount = "Alias"
    ITEMS = Grid(
        "item",
        "alias",
        "aliases.alias",
        "name",
        old_fields=("enabled", "name", "description", "type", "content", "current_items", "last_updated"),
        old_sort="name",
    )
    grids = (ITEMS,)

    def actions(self) -> dict[str, Action]:
        return {
            **super().actions(),
            "searchitem": Action(lambda *rest: self.search_items()),
            "getitem": Action(lambda key=None, *rest: self.get_item(key)),
            "setitem": Action(lambda key, *rest: self.set_item(key), 1),
            "delitem": Action(lambda keys, *rest: self.delete_items(keys), 1),
            "getaliasuuid": Action(lambda name, *rest: self.uuid_of(name), 1),
            "listnetworkaliases": Action(lambda *rest: self.list_networks()),
            "listcategories": Action(lambda *rest: self.list_categories()),
            "export": Action(lambda *rest: self.export()),
            "import": Action(lambda *rest: self.import_aliases()),
            "reconfigure": Action(lambda *rest: self.reconfigure()),
        }

    def _rows(self) -> dict[str, Row]:
        array, rows = self.model.array("aliases.alias")
        return {**rows, **self.model.static_rows(array)}

    def search_items(self) -> Any:
        """Aliases, also the built-in ones."""
        types, wanted = self.request.get("type"), self.request.get("category")

        def keep(node: Node) -> bool:
            if types and node.text("type") not in types:
                return False
            return not wanted or bool(set(node.text("categories").split(",")) & set(wanted))

        result = self.search(self.ITEMS, keep)
        rows = self._rows()
        for row in result["rows"]:
            row["categories_uuid"] = [key for key in rows[row["uuid"]]["categories"].split(",") if key]
        return result

    def get_item(self, key: str | None) -> Any:
        """An alias; its content also offers all other aliases."""
        found = self.get(self.ITEMS, key)
        result: dict[str, Any] = found if found else {"alias": {"content": {}}}
        content = result["alias"]["content"]
        for row in self._rows().values():
            content.setdefault(row["name"], {"selected": 0, "value": row["name"]})
            content[row["name"]]["description"] = row["description"]
        return result

    def set_item(self, key: str) -> Any:
        """Change an alias; a new name is carried to everything that names it."""
        request = self.request
        row = self.model.array("aliases.alias")[1].get(key)
        rules = self.store.model("filter")
        renamed = False
        if request.is_post and request.has_post("alias") and row is not None:
            given = request.post["alias"]
            new = php.to_string(given.get("name")) if isinstance(given, Mapping) else ""
            if new and new != row["name"]:
                renamed = True
                self._rename(row["name"], new, rules.array("rules.rule")[1])
        result = self.set(self.ITEMS, key)
        if renamed and result == {"result": "saved"}:
            self.store.content.models["filter"] = rules.stored()
            self.store.write()
        return result

    def _rename(self, old: str, new: str, rules: dict[str, Row]) -> None:
        def replaced(value: str, separator: str) -> str:
            return separator.join(new if entry == old else entry for entry in value.split(separator))

        for row in self.model.array("aliases.alias")[1].values():
            row["content"] = replaced(row["content"], "\n")
        for rule in rules.values():
            for name in _RULE_TARGETS:
                rule[name] = replaced(rule[name], ",")

    def delete_items(self, keys: str) -> Any:
        """Delete aliases that nothing uses. The check does not ask whether this is a POST."""
        for key in keys.split(",") if self.release.comma_delete else [keys]:
            row = self._rows().get(key)
            uses = self._uses(row["name"]) if row is not None else {}
            if row is not None and uses:
                which = f" {row['name']}" if self.release.at_least_26 else ""
                text = "".join(f"\n[{place}] {label}" for place, label in uses.items())
                raise UserError(f"Cannot delete alias{which}. Currently in use by {text}", "Alias in use")
        return self.delete(self.ITEMS, keys)

    def _uses(self, name: str) -> dict[str, str]:
        result: dict[str, str] = {}
        rules = self.store.model("filter").array("rules.rule")[1]
        for field in _RULE_TARGETS:
            for number, rule in enumerate(rules.values()):
                if name in rule[field].split(","):
                    result[f"OPNsense.Firewall.Filter.rules.rule.{number}/{field}"] = ""
        for key, row in self._rows().items():
            if row["type"] not in ("geoip", "urltable") and name in row["content"].split("\n"):
                result[f"aliases.alias.{key}"] = row["description"] or row["name"]
        return result

    def uuid_of(self, name: str) -> Any:
        """The uuid of an alias by its name."""
        return next(({"uuid": key} for key, row in self._rows().items() if row["name"] == name), [])

    def list_networks(self) -> Any:
        """Aliases of addresses."""
        rows = sorted(self._rows().values(), key=lambda row: str(row["name"]))
        return {
            row["name"]: {"name": row["name"], "description": row["description"]}
            for row in rows
            if row["type"] not in ("external", "port")
        }

    def list_categories(self) -> Any:
        """The categories of aliases."""
        used = [key for row in self._rows().values() for key in row["categories"].split(",")]
        return {
            "rows": [
                {"uuid": key, "name": row["name"], "color": row.get("color", ""), "used": used.count(key)}
                for key, row in self.store.content.categories.items()
            ]
        }

    def export(self) -> Any:
        """The raw values of the user's aliases."""
        if self.request.method not in ("GET", "POST"):
            raise UserError("Unsupported request type")
        ids = self.request.get("ids")
        rows = self.model.array("aliases.alias")[1]
        if self.store.content.options.get("alias_export_built_ins"):
            rows = self._rows()
        if ids:
            wanted = ids if isinstance(ids, list) else php.to_string(ids).split(",")
            payload = {"aliases": {"alias": {key: row for key, row in rows.items() if key in wanted}}}
            return Reply(200, php.encode_pretty(payload))
        geoip = self.model.values["geoip"]
        return Reply(200, php.encode_pretty({"geoip": geoip, "aliases": {"alias": rows}}))

    def import_aliases(self) -> Any:
        """Add or change aliases by name: all or nothing, one revision."""
        if not self.request.is_post:
            raise UserError("Unsupported request type")
        result: dict[str, Any] = {"existing": 0, "new": 0, "status": "failed"}
        data = self.request.post.get("data")
        inner = data.get("aliases") if isinstance(data, Mapping) else None
        given = inner.get("alias") if isinstance(inner, Mapping) else None
        if isinstance(given, list):
            given = {str(index): entry for index, entry in enumerate(given)}
        if not isinstance(given, Mapping) or not given:
            return result
        array, rows = self.model.array("aliases.alias")
        static = self.model.static_rows(array)
        sent: dict[str, str] = {}
        for key, content in given.items():
            if not isinstance(content, Mapping) or not content.get("name") or content.get("type") == "internal":
                continue
            unknown = [name for name in content if name not in array.children]
            if unknown or any(isinstance(value, (list, Mapping)) for value in content.values()):
                raise InvalidInput(f"not an attribute of an alias: {unknown}")
            if content["name"] in static:
                result["existing"] += 1  # built-in aliases are found by name, and never stored
                continue
            known = next((uuid for uuid, row in rows.items() if row["name"] == content["name"]), None)
            result["new" if known is None else "existing"] += 1
            node = self.model.add("aliases.alias") if known is None else self.model.node("aliases.alias", known)
            self.model.set_record(node, {name: php.to_string(value) for name, value in content.items()})
            sent[node.key] = key
        for path, text in self.model.check():
            parts = path.split(".")
            result.setdefault("validations", {})[f"{sent.get(parts[-2], '')}.{parts[-1]}"] = text
        if "validations" not in result:
            result["status"] = "ok"
            self.save("imported aliases")
        return result

    def reconfigure(self) -> Any:
        """Load the aliases into the packet filter."""
        if not self.request.is_post:
            return {"status": "failed"}
        self.app.apply_firewall("alias")
        return {"status": "ok"}


_RULE_TARGETS = ("source_net", "source_port", "destination_net", "destination_port")


class FirewallFilter(ModelController):
    """firewall/filter."""

    model_name = "filter"
    mount = "Filter"
    RULES = Grid(
        "rule",
        "rule",
        "rules.rule",
        "sort_order",
        old_fields=("enabled", "sequence", "action", "description"),
        old_sort="sequence",
    )
    grids = (RULES,)

    def actions(self) -> dict[str, Action]:
        result = {
            **super().actions(),
            "searchrule": Action(lambda *rest: self.search_rules()),
            "apply": Action(lambda revision=None, *rest: self.apply(revision)),
        }
        if self.release.savepoint:
            result["savepoint"] = Action(lambda *rest: self.savepoint())
            result["cancelrollback"] = Action(lambda revision, *rest: self.cancel(revision), 1)
            result["revert"] = Action(lambda revision, *rest: self.revert(revision), 1)
        return result

    # Rules

    def search_rules(self) -> Any:
        """The rules; on 26.x always with the automatic ones, on 25.x when `show_all` asks for them."""
        if self.release.name == "24.7":
            return self.search(self.RULES)
        rows = self._own_rules()
        if self.release.all_rules or not php.is_empty(self.request.get("show_all")):
            rows += self.app.automatic_rules()
        for row in rows:
            row["category_colors"] = []
        return self.search_records(rows, "sort_order")

    def _own_rules(self) -> list[Row]:
        array, stored = self.model.array("rules.rule")
        wanted = self.request.get("interface")
        chosen = None if wanted is None else [name for name in php.to_string(wanted).split(",") if name]
        rows = []
        for key, row in stored.items():
            own = [name for name in row["interface"].split(",") if name]
            if self.release.all_rules:
                if chosen is None or not own or (not chosen and len(own) != 1):
                    keep = True
                else:
                    keep = bool(set(own) & set(chosen))
            elif not chosen:
                keep = len(own) != 1  # without an interface, only floating rules
            else:
                keep = bool(set(own) & set(chosen))
            if keep:
                node = Node(self.model, array, row, array, f"rules.rule.{key}", key)
                rows.append(self.row(node, array.children)[0])
        return rows

    # Applying, with a way back where the release has one

    def apply(self, revision: str | None) -> Any:
        """Load the rules; with a revision, start the timer that takes them back."""
        if not self.request.is_post:
            return {"status": "error"}
        if self.release.savepoint:
            self.refuse_read_only()
            if revision is not None:
                self.app.start_rollback(revision)
        self.app.apply_firewall("filter")
        return {"status": "OK\n\n"}

    def savepoint(self) -> Any:
        """A revision to go back to."""
        if not self.request.is_post:
            return {"status": "error"}
        self.refuse_read_only()
        revision = self.store.save(None, self.request.user.name, "savepoint")
        return {"status": "ok", "retention": str(KEPT_REVISIONS), "revision": revision.time}

    def cancel(self, revision: str) -> Any:
        """Keep the new rules."""
        if not self.request.is_post:
            return {"status": "error"}
        self.refuse_read_only()
        return {"status": "OK\n\n" if self.app.cancel_rollback(revision) else "Error (1)\n\n"}

    def revert(self, revision: str) -> Any:
        """Go back to a revision."""
        if not self.request.is_post:
            return {"status": "error"}
        self.refuse_read_only()
        if not self.app.revert(revision, self.request.user.name):
            return {"status": "unknown (or removed) savepoint"}
        return {"status": "ok"}


# System


class DiagnosticsSystem(Controller):
    """diagnostics/system."""

    def actions(self) -> dict[str, Action]:
        return {"systeminformation": Action(lambda *rest: self.information())}

    def information(self) -> Any:
        """Name and versions of the box."""
        system = self.store.content.system
        return {
            "name": f"{system['hostname']}.{system['domain']}",
            "versions": [f"OPNsense {self.release.version}-amd64", "FreeBSD 14.3-RELEASE-p1", "OpenSSL 3.0.16"],
            "updates": "Click to check for updates.",
        }


class DiagnosticsInterface(Controller):
    """diagnostics/interface."""

    def actions(self) -> dict[str, Action]:
        return {
            "searcharp": Action(lambda *rest: self.search_records(self.arp())),
            "getarp": Action(lambda *rest: self.arp()),
        }

    def arp(self) -> list[Row]:
        """The ARP table."""
        names = {
            row.get("if", ""): row.get("descr") or key.upper() for key, row in self.store.content.interfaces.items()
        }
        defaults = {
            "mac": "", "ip": "", "intf": "", "expired": False, "expires": 1200, "permanent": False,
            "type": "ethernet", "manufacturer": "", "hostname": "",
        }  # fmt: skip
        rows = [{**defaults, **row} for row in self.store.content.leases["arp"]]
        return [{**row, "intf_description": names.get(row["intf"], "")} for row in rows]


class HostDiscovery(Controller):
    """hostdiscovery/service, from 26.1."""

    def actions(self) -> dict[str, Action]:
        captions = {"caption_restart": "Restart", "caption_start": "Start", "caption_stop": "Stop"}
        return {
            "search": Action(lambda *rest: self.search_records(self.hosts())),
            "status": Action(lambda *rest: {"status": "running", "widget": captions}),
        }

    def hosts(self) -> list[Row]:
        """Every neighbour that was seen."""
        names = {
            row.get("if", ""): row.get("descr") or key.upper() for key, row in self.store.content.interfaces.items()
        }
        defaults = {
            "source": "discovery", "interface_name": "", "ether_address": "", "ip_address": "",
            "organization_name": "", "first_seen": "", "last_seen": "",
        }  # fmt: skip
        rows = [{**defaults, **row} for row in self.store.content.leases["hostdiscovery"]]
        return [{**row, "interface_name": names.get(row["interface_name"], row["interface_name"])} for row in rows]


class CoreFirmware(Controller):
    """core/firmware: enough to tell the version."""

    def actions(self) -> dict[str, Action]:
        return {"status": Action(lambda *rest: self.status()), "info": Action(lambda *rest: self.info())}

    def _product(self) -> dict[str, Any]:
        return {
            "product_abi": self.release.name,
            "product_arch": "amd64",
            "product_check": None,
            "product_id": "opnsense",
            "product_name": "OPNsense",
            "product_nickname": "",
            "product_series": self.release.name,
            "product_version": self.release.version,
        }

    def status(self) -> Any:
        """The state of updates."""
        return {
            "product": self._product(),
            "status_msg": "Firmware status requires to check for update first to provide more information.",
            "status": "none",
        }

    def info(self) -> Any:
        """Product and packages."""
        core = {
            "name": "opnsense",
            "version": self.release.version,
            "comment": "OPNsense core",
            "installed": "1",
            "provided": "1",
        }
        return {
            "product_id": "opnsense",
            "product_version": self.release.version,
            "package": [core],
            "plugin": [],
            "changelog": [],
            "product": self._product(),
        }


class CoreService(Controller):
    """core/service: what runs."""

    LABELS: ClassVar[dict[str, str]] = {"unbound": "Unbound DNS", "dnsmasq": "Dnsmasq DNS/DHCP", "kea": "Kea DHCP"}

    def actions(self) -> dict[str, Action]:
        return {"search": Action(lambda *rest: self.search())}

    def search(self) -> Any:
        """The enabled services."""
        names = [name for name in self.LABELS if self.app.enabled(name)]
        rows: list[Row] = [
            {
                "id": name,
                "locked": 0,
                "running": int(self.app.service_running(name)),
                "description": self.LABELS[name],
                "name": name,
            }
            for name in names
        ]
        return self.search_records(rows, "description")


CONTROLLERS: dict[tuple[str, str], type[Controller]] = {
    ("unbound", "Settings"): UnboundSettings,
    ("unbound", "Service"): UnboundService,
    ("unbound", "Diagnostics"): UnboundDiagnostics,
    ("dnsmasq", "Settings"): DnsmasqSettings,
    ("dnsmasq", "Service"): DnsmasqService,
    ("dnsmasq", "Leases"): DnsmasqLeases,
    ("kea", "Dhcpv4"): KeaDhcpv4,
    ("kea", "Service"): KeaService,
    ("kea", "Leases4"): KeaLeases,
    ("dhcpv4", "Leases"): IscLeases,
    ("firewall", "Alias"): FirewallAlias,
    ("firewall", "Filter"): FirewallFilter,
    ("diagnostics", "System"): DiagnosticsSystem,
    ("diagnostics", "Interface"): DiagnosticsInterface,
    ("hostdiscovery", "Service"): HostDiscovery,
    ("core", "Firmware"): CoreFirmware,
    ("core", "Service"): CoreService,
}
_NEEDS = {"dnsmasq": "dnsmasq", "dhcpv4": "isc_dhcp", "hostdiscovery": "host_discovery"}


def find(app: App, module: str, controller: str) -> type[Controller] | None:
    """The controller of a URL: modules in any case, controllers in camel case from either spelling."""
    name = "".join(part[:1].upper() + part[1:] for part in controller.split("_"))
    key = module.replace("_", "").lower()
    if key in _NEEDS and not getattr(app.store.release, _NEEDS[key]):
        return None
    return CONTROLLERS.get((key, name))
