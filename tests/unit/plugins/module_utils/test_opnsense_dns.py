# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records and forwards, against a router made of a dictionary that keeps the rules of OPNsense's API."""

from __future__ import annotations

import ipaddress
import uuid as uuids
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_dns as dns
from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_names as names
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Forbidden, Missing, OpnsenseError

OLD, NEW = "24.7", "26.7"
HOST = {
    "enabled": "1",
    "hostname": "",
    "domain": "",
    "rr": "A",
    "mxprio": "",
    "mx": "",
    "ttl": "",
    "server": "",
    "txtdata": "",
    "addptr": "1",
    "description": "",
}


class Router:
    """Host overrides of a router: what is saved, and what the running server has."""

    def __init__(self, release: str = NEW) -> None:
        self.release = release
        self.requests = 0
        self.apply_timeout = 5.0
        self.hosts: dict[str, dict[str, str]] = {}
        self.aliases: dict[str, dict[str, str]] = {}
        self.dots: dict[str, dict[str, str]] = {}
        self.general: dict[str, str] = {"enabled": "1", "regdhcp": "0", "regdhcpstatic": "0", "txtsupport": "0"}
        self.live: list[dict[str, str]] | None = []
        self.log: list[tuple[str, str, Any]] = []
        self.fail_next_start = 0
        self.no_dashboard = False
        self.before_set: Callable[[], None] = lambda: None

    @property
    def fields(self) -> list[str]:
        lacking = {"ttl", "txtdata", "addptr"} if self.release == OLD else set()
        return [name for name in HOST if name not in lacking]

    @property
    def writes(self) -> list[str]:
        return [path for method, path, _rest in self.log if method == "POST"]

    def another(self) -> Any:
        raise NotImplementedError  # part of the client that these tests must not come to

    def renew(self) -> None:
        raise NotImplementedError  # part of the client that these tests must not come to

    def endpoints(self) -> tuple[str, str, int]:
        raise NotImplementedError  # part of the client that these tests must not come to

    def add(self, name: str, server: str, description: str = "", **fields: str) -> str:
        host, domain = name.split(".", 1)
        uuid = str(uuids.uuid4())
        entry = {**HOST, "hostname": host, "domain": domain, "server": server, "description": description, **fields}
        entry.setdefault("rr", "AAAA" if ":" in server else "A")
        self.hosts[uuid] = {name: entry[name] for name in self.fields}
        return uuid

    def start(self) -> None:
        """Load what is saved; the server does not come up with what Unbound does not accept."""
        on = [host for host in self.hosts.values() if host["enabled"] == "1"]
        zones = {host["domain"] for host in on if host["hostname"] == "*" and host["rr"] in ("A", "AAAA")}
        live: list[dict[str, str]] = [
            {"name": "OPNsense.internal.", "ttl": "3600", "type": "IN", "rrtype": "A", "value": "10.0.0.1"}
        ]
        for host in on:
            name = ".".join(part for part in (host["hostname"], host["domain"]) if part)
            value = host["server"]
            if host["rr"] in ("A", "AAAA"):
                name = host["domain"] if host["hostname"] == "*" else name
                try:
                    bad = ipaddress.ip_address(value).version != (4 if host["rr"] == "A" else 6)
                except ValueError:
                    bad = True
                below = host["hostname"] != "*" and any(name.endswith(f".{zone}") for zone in zones)
                if bad or below or '"' in name or "internal" in zones:
                    self.live = None
                    return
                value = str(ipaddress.ip_address(value))
            elif host["rr"] == "MX":
                value = host["mxprio"]
            else:
                value = ('"' + host["txtdata"] + '"').split()[0]
            ttl = host.get("ttl") or "3600"
            live.append({"name": f"{name}.", "ttl": ttl, "type": "IN", "rrtype": host["rr"], "value": value})
        self.live = live
        if self.fail_next_start:
            self.fail_next_start -= 1
            self.live = None

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        self.requests += 1
        self.log.append(("GET", path, None))
        if path == "unbound/settings/get":
            return {
                "unbound": {
                    "general": dict(self.general),
                    "hosts": {"host": {u: self.shown(h) for u, h in self.hosts.items()} or []},
                    "aliases": {"alias": {u: dict(a) for u, a in self.aliases.items()} or []},
                    "dots": {"dot": {u: dict(d) for u, d in self.dots.items()} or []},
                }
            }
        if path == "unbound/settings/get_host_override":
            return {"host": self.shown({name: HOST[name] for name in self.fields})}
        if path == "unbound/settings/get_forward":
            return {"dot": {"domain": "", "forward_first": "0"} if self.release == NEW else {"domain": ""}}
        if path == "unbound/diagnostics/listlocaldata":
            return {"status": "failed"} if self.live is None else {"status": "ok", "data": self.live}
        if path == "unbound/service/status":
            return {"status": "stopped" if self.live is None else "running"}
        if path == "diagnostics/system/system_information":
            if self.no_dashboard:
                raise Forbidden("403", "Lobby: Dashboard")
            return {"name": "OPNsense.internal", "versions": []}
        raise Missing(path)

    @staticmethod
    def shown(host: dict[str, str]) -> dict[str, Any]:
        rr = {kind: {"value": f"{kind} (record)", "selected": int(kind == host["rr"])} for kind in names.TYPES}
        return {**host, "rr": rr}

    def post(self, path: str, data: Any = None, *, repeatable: bool = False, slow: bool = False) -> Any:
        self.requests += 1
        self.log.append(("POST", path, data))
        if path == "unbound/settings/set":
            self.before_set()
            for name, required, blank in (("host", "domain", HOST), ("alias", "host", {}), ("dot", "server", {})):
                answer = self.bulk(data, name, required, dict(blank))
                if answer:
                    return answer
            return {"result": "saved"}
        if path == "unbound/service/reconfigure":
            self.start()
            return {"status": "ok"}
        action, _rest, keys = path.rpartition("/")
        table = {
            "unbound/settings/del_host_override": self.hosts,
            "unbound/settings/del_host_alias": self.aliases,
            "unbound/settings/del_forward": self.dots,
        }.get(action)
        if table is None:
            raise Missing(path)
        wanted = keys.split(",") if self.release == NEW else [keys]
        assert len(path) < 16000
        result = "not found"
        for key in wanted:
            result = "deleted" if table.pop(key, None) else "not found"
        return {"result": result}

    def bulk(self, data: Any, name: str, required: str, blank: dict[str, str]) -> Any:
        content = data["unbound"].get(f"{name}s" if name != "alias" else "aliases", {}).get(name, {})
        table = {"host": self.hosts, "alias": self.aliases, "dot": self.dots}[name]
        planned: dict[str, dict[str, str]] = {}
        problems: dict[str, Any] = {}
        for key, fields in content.items():
            assert all(isinstance(value, str) for value in fields.values()), "values are sent as text"
            assert all(value != "" for key_, value in fields.items() if key_ in ("enabled", "addptr"))
            uuid = key if key in table else str(uuids.uuid4())
            known = {n: v for n, v in fields.items() if name != "host" or n in self.fields}
            base = table.get(key) or {n: v for n, v in blank.items() if n in self.fields}
            planned[uuid] = {**base, **known}
            if not planned[uuid].get(required):
                problems[f"unbound.{name}s.{name}.{uuid}.{required}"] = "A value is required."
            if "bad" in planned[uuid].get("description", ""):
                problems[f"unbound.{name}s.{name}.{uuid}.description"] = ["Not nice.", "Not at all."]
        if problems:
            return {"result": "failed", "validations": problems}
        table.update(planned)
        return None

    def names(self, owner: str = "aip") -> list[str]:
        return sorted(
            f"{h['hostname']}.{h['domain']} {h['server'] or h['mx'] or h.get('txtdata', '')}".lstrip(".")
            for h in self.hosts.values()
            if h["description"].endswith(f"[{owner}]")
        )


def options(records: list[dict[str, Any]], **others: Any) -> dict[str, Any]:
    return {
        "records": records,
        "owner": "aip",
        "zones": [],
        "state": "present",
        "unmanaged_conflict": "fail",
        "apply": True,
        "verify": True,
        "rollback": True,
        **others,
    }


def run(router: Router, records: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    clock = iter(range(100000))
    router.requests = 0
    router.log.clear()
    engine = dns.UnboundRecords(
        router, options(records, **others), check_mode, sleep=lambda _: None, clock=lambda: next(clock) / 10
    )
    return engine.run()


def fails(router: Router, records: list[dict[str, Any]], **others: Any) -> OpnsenseError:
    with pytest.raises(OpnsenseError) as caught:
        run(router, records, **others)
    assert caught.value.remedy
    return caught.value


NYX = {"name": "nyx.lab.internal", "value": "10.0.0.11"}

# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"value": "10.0.0.1"}, "give either name, or domain"),
        ({"name": "a.b", "domain": "b", "value": "10.0.0.1"}, "give either name, or domain"),
        ({"name": "a.b"}, "value is empty"),
        ({"name": "a.b", "value": []}, "value is empty"),
        ({"name": "a.b", "value": {"x": 1}}, "a text or a list of texts"),
        ({"name": "a.b", "value": "hello"}, "is no address"),
        ({"name": "a.b", "value": "any"}, "is no address"),
        ({"name": "a.b", "value": "any", "type": "A"}, "type A needs an IPv4"),
        ({"name": "a.b", "value": "::1", "type": "A"}, "is an IPv6 address; type A needs"),
        ({"name": "a.b", "value": "10.0.0.1", "type": "AAAA"}, "is an IPv4 address; type AAAA needs"),
        ({"name": "x" * 64 + ".b", "value": "10.0.0.1"}, "64 characters"),
        ({"name": "a." + "y" * 64, "value": "10.0.0.1"}, "64 characters"),
        ({"name": ".".join(["a" * 60] * 5), "value": "10.0.0.1"}, "at most 253"),
        ({"name": 'a"b.c', "value": "10.0.0.1"}, "contains a quote"),
        ({"name": "a b.c", "value": "10.0.0.1"}, "the label 'a b'"),
        ({"name": "a..b", "value": "10.0.0.1"}, "empty label"),
        ({"name": "-a.b", "value": "10.0.0.1"}, "the label '-a'"),
        ({"name": "a.b", "value": "10.0.0.1", "ttl": -1}, "ttl -1"),
        ({"name": "a.b", "value": "10.0.0.1", "ttl": 2147483648}, "ttl 2147483648"),
        ({"name": "a.b", "value": "10.0.0.1", "priority": 1}, "priority belongs to type MX"),
        ({"name": "a.b", "value": "x" * 256, "type": "TXT"}, "1 to 255 characters"),
        ({"name": "a.b", "value": "10.0.0.1", "type": "MX"}, "names a mail server"),
        ({"name": "a.b", "value": "m.b", "type": "MX", "priority": 70000}, "priority 70000"),
        ({"name": "a.b", "value": "x", "type": "TXT", "aliases": ["c.b"]}, "aliases are copies of A"),
        ({"name": "*.b", "value": "10.0.0.1", "ptr": "true"}, "ptr is only possible"),
        ({"name": "a.b", "value": "10.0.0.1", "description": "x\ny"}, "line break"),
        ({"name": "a.b", "value": "10.0.0.1", "description": "x" * 250}, "longer than the 249 characters"),
        ({"name": "a.b", "value": "10.0.0.1", "aliases": ["c d"]}, "records[0].aliases[0]: name 'c d'"),
        ({"hostname": "a", "domain": "b_c.d", "value": "10.0.0.1"}, "put that label into hostname"),
    ],
)
def test_a_wrong_record_is_refused_before_a_write(record: dict[str, Any], part: str) -> None:
    router = Router()
    error = fails(router, [record])
    assert part in str(error) and "records[0]" in str(error)
    assert router.writes == []


def test_all_problems_come_at_once_and_name_their_records() -> None:
    router = Router()
    router.add("taken.lab.internal", "10.0.0.99")
    router.add("bad.lab.internal", "::1", "by hand", rr="A")
    records: list[dict[str, Any]] = [NYX, {"name": "a.b", "value": "x"}, {"name": "c.d", "value": "::1", "type": "A"}]
    error = str(fails(router, [*records, {"name": "taken.lab.internal", "value": "10.0.0.5"}], owner="[x]"))
    for part in ("owner '[x]'", "records[1] a.b", "records[2] c.d A", "records[3] taken.lab.internal A 10.0.0.5"):
        assert part in error
    assert router.writes == []


def test_two_records_that_contradict_each_other_are_refused() -> None:
    error = fails(Router(), [NYX, {**NYX, "ttl": 60}])
    assert "records[1] nyx.lab.internal A 10.0.0.11: says something else than records[0]" in str(error)


@pytest.mark.parametrize("owner", ["", "a]", "x" * 64, " a", "a\n"])
def test_a_wrong_owner_is_refused(owner: str) -> None:
    assert "owner" in str(fails(Router(), [NYX], owner=owner))


# -- outages -----------------------------------------------------------------------------------------------------------

OUTAGES = [
    ({"server": "::1", "rr": "A"}, "type A with an IPv6 address"),
    ({"server": "10.0.0.1", "rr": "AAAA"}, "type AAAA with an IPv4 address"),
    ({"server": "any"}, "'any' is not an address"),
    ({"domain": "d" * 64 + ".internal"}, "longer than 63"),
    ({"domain": ".".join(["d" * 60] * 5)}, "longer than 253"),
    ({"hostname": 'a"b'}, "double quote"),
    ({"hostname": "*", "domain": "lab.internal"}, "lies below the wildcard"),
    ({"hostname": "*", "domain": "internal"}, "the router's own domain"),
]


@pytest.mark.parametrize(("fields", "part"), OUTAGES)
def test_a_record_of_somebody_else_that_stops_the_server_is_refused_before_a_write(
    fields: dict[str, str], part: str
) -> None:
    router = Router()
    router.hosts[router.add("old.other.net", "10.0.0.2")].update(fields)
    error = fails(router, [NYX])
    assert part in str(error)
    assert "nyx.lab.internal" in str(error) if "below" in part else "on the router:" in str(error)
    assert router.writes == []


@pytest.mark.parametrize(("fields", "part"), OUTAGES)
def test_what_is_disabled_stops_nobody(fields: dict[str, str], part: str) -> None:
    router = Router()
    router.hosts[router.add("old.other.net", "10.0.0.2", enabled="0")].update(fields)
    assert run(router, [NYX])["created"] == ["nyx.lab.internal A 10.0.0.11"]


def test_a_wildcard_and_records_below_it_are_refused() -> None:
    router = Router()
    router.add("deep.x.apps.lab.internal", "10.0.0.2")
    records: list[dict[str, Any]] = [
        {"name": "*.apps.lab.internal", "value": "10.0.0.9"},
        {"name": "a.apps.lab.internal", "value": "10.0.0.1"},
    ]
    error = str(fails(router, records))
    assert "records[1] a.apps.lab.internal A 10.0.0.1: lies below the wildcard" in error
    assert "on the router: deep.x.apps.lab.internal" in error
    assert router.writes == []


def test_a_text_below_a_wildcard_is_refused_as_well() -> None:
    records: list[dict[str, Any]] = [
        {"name": "*.apps.lab.internal", "value": "10.0.0.9"},
        {"name": "*.apps.lab.internal", "type": "TXT", "value": "x"},
    ]
    assert "lies below the wildcard" in str(fails(Router(), records))


def test_what_is_harmless_is_written() -> None:
    router = Router()
    records: list[dict[str, Any]] = [
        {"name": "*.apps.lab.internal", "value": ["10.0.0.9", "fd00::9"]},
        {"name": "apps.lab.internal", "value": "10.0.0.8"},
        {"name": "t.lab.internal", "type": "TXT", "value": "say \"x\" 'y' \\"},
        {"name": "z.lab.internal", "value": "10.0.0.1", "ttl": 0},
    ]
    assert run(router, records)["verified"] is True


def test_an_alias_object_of_somebody_else_counts_too() -> None:
    router = Router()
    uuid = router.add("old.other.net", "10.0.0.2")
    router.aliases["a1"] = {"enabled": "1", "host": uuid, "hostname": "*", "domain": "lab.internal"}
    assert "lies below the wildcard on the router: alias *.lab.internal" in str(fails(router, [NYX]))


def test_a_bad_record_that_this_run_removes_stops_nobody() -> None:
    router = Router()
    router.add("*.lab.internal", "10.0.0.2", "[aip]")
    assert run(router, [NYX], state="exact")["deleted"] == ["*.lab.internal A 10.0.0.2"]


def test_the_own_domain_is_refused_as_wildcard() -> None:
    router = Router()
    assert "own domain" in str(fails(router, [{"name": "*.internal", "value": "10.0.0.9"}]))
    assert router.writes == []


def test_an_unknown_own_domain_is_asked_for() -> None:
    router = Router()
    router.no_dashboard = True
    error = fails(router, [{"name": "*.lab.internal", "value": "10.0.0.9"}])
    assert "Lobby: Dashboard" in error.remedy and "system_domain" in error.remedy
    assert router.writes == []
    records: list[dict[str, Any]] = [{"name": "*.lab.internal", "value": "10.0.0.9"}]
    assert run(router, records, system_domain="Internal.")["changed"] is True
    assert "own domain" in str(
        fails(Router(), [{"name": "*.internal", "value": "10.0.0.9"}], system_domain="Internal.")
    )


def test_an_old_wildcard_of_others_does_not_need_the_privilege() -> None:
    router = Router()
    router.no_dashboard = True
    router.add("*.apps.lab.internal", "10.0.0.9")
    assert run(router, [NYX])["changed"] is True


# -- the life of a record ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", [OLD, NEW])
def test_create_update_delete_each_once(release: str) -> None:
    router = Router(release)
    router.start()
    planned = run(router, [NYX], check_mode=True)
    assert router.writes == [] and router.hosts == {}
    assert (planned["changed"], planned["applied"]) == (True, False)
    assert planned["diff"]["before"] == ""
    assert planned["diff"]["after"] == "nyx.lab.internal. 3600 IN A 10.0.0.11 ; ptr [aip]\n"

    made = run(router, [NYX])
    assert made["diff"] == planned["diff"]
    assert made["created"] == planned["created"] == ["nyx.lab.internal A 10.0.0.11"]
    assert (made["applied"], made["verified"], made["rolled_back"]) == (True, True, False)
    uuid = next(iter(router.hosts))
    assert made["records"] == {"nyx.lab.internal": [{"type": "A", "value": "10.0.0.11", "uuid": uuid}]}
    assert router.writes == ["unbound/settings/set", "unbound/service/reconfigure"]
    assert made["requests"] <= 6 and made["revisions"] == 1

    again = run(router, [NYX])
    assert (again["changed"], again["requests"], again["unchanged"]) == (False, 2, ["nyx.lab.internal A 10.0.0.11"])
    assert again["verified"] is True and again["diff"]["before"] == again["diff"]["after"]

    moved = run(router, [{**NYX, "value": "10.0.0.12"}])
    assert (moved["created"], moved["updated"], moved["deleted"]) == ([], ["nyx.lab.internal A 10.0.0.12"], [])
    assert router.log[1][2] == {"unbound": {"hosts": {"host": {uuid: {"server": "10.0.0.12"}}}}}, "only what changes"
    assert list(router.hosts) == [uuid]
    assert run(router, [{**NYX, "value": "10.0.0.12"}])["changed"] is False

    gone = run(router, [NYX], state="absent")
    assert gone["deleted"] == ["nyx.lab.internal A 10.0.0.12"]
    assert router.hosts == {} and gone["requests"] <= 6
    assert run(router, [NYX], state="absent")["changed"] is False


@pytest.mark.parametrize("check_mode", [True, False])
def test_both_modes_report_the_same_change(check_mode: bool) -> None:
    router = Router()
    router.add("old.lab.internal", "10.0.0.1", "[aip]")
    router.add("move.lab.internal", "10.0.0.2", "[aip]")
    router.start()
    records: list[dict[str, Any]] = [{"name": "move.lab.internal", "value": "10.0.0.3"}, NYX]
    result = run(router, records, check_mode=check_mode, state="exact")
    assert result["created"] == ["nyx.lab.internal A 10.0.0.11"]
    assert result["updated"] == ["move.lab.internal A 10.0.0.3"]
    assert result["deleted"] == ["old.lab.internal A 10.0.0.1"]
    assert result["diff"]["before"].count("\n") == 2 and result["diff"]["after"].count("\n") == 2
    assert len(router.hosts) == 2
    assert bool(router.writes) is not check_mode


def test_a_thousand_records_cost_the_same() -> None:
    router = Router()
    records: list[dict[str, Any]] = [
        {"name": f"m{n}.lab.internal", "value": f"10.1.{n // 250}.{n % 250}"} for n in range(1000)
    ]
    assert run(router, records)["requests"] <= 6
    assert len(router.hosts) == 1000
    assert run(router, list(reversed(records)))["requests"] == 2
    records[500] = {"name": "m500.lab.internal", "value": "10.9.9.9"}
    result = run(router, records)
    assert (result["requests"] <= 6, result["updated"]) == (True, ["m500.lab.internal A 10.9.9.9"])
    result = run(router, records[:1], state="exact")
    assert len(result["deleted"]) == 999
    deletes = [path for path in router.writes if "del_host_override" in path]
    assert [path.count(",") + 1 for path in deletes] == [200, 200, 200, 200, 199]


def test_old_releases_delete_one_after_the_other() -> None:
    router = Router(OLD)
    for number in range(5):
        router.add(f"m{number}.lab.internal", f"10.0.0.{number}", "[aip]")
    assert run(router, [], state="exact")["requests"] == 3 + 5
    assert router.hosts == {}


def test_several_values_are_several_records() -> None:
    router = Router()
    record: dict[str, Any] = {"name": "rr.lab.internal", "value": ["10.0.0.1", "10.0.0.2", "fd00::1"]}
    assert len(run(router, [record])["created"]) == 3
    assert run(router, [{**record, "value": ["fd00::1", "10.0.0.2", "10.0.0.1"]}])["changed"] is False
    result = run(router, [{**record, "value": ["10.0.0.2", "10.0.0.3"]}])
    assert (result["updated"], result["unchanged"]) == (["rr.lab.internal A 10.0.0.3"], ["rr.lab.internal A 10.0.0.2"])
    assert router.names() == ["rr.lab.internal 10.0.0.2", "rr.lab.internal 10.0.0.3", "rr.lab.internal fd00::1"]


def test_duplicates_of_the_owner_are_cleaned_up() -> None:
    router = Router()
    for _turn in range(3):
        router.add("nyx.lab.internal", "10.0.0.11", "[aip]")
    result = run(router, [NYX])
    assert (len(result["deleted"]), len(router.hosts)) == (2, 1)


@pytest.mark.parametrize(
    "record",
    [
        {"name": "NYX.Lab.Internal.", "value": "10.0.0.11"},
        {"hostname": "Nyx", "domain": "LAB.internal.", "value": ["10.0.0.11"]},
        {"hostname": "nyx.lab", "domain": "internal", "value": " 10.0.0.11 "},
        {"name": "nyx.lab.internal", "value": "10.0.0.11", "type": "A", "ttl": 3600},
    ],
)
def test_spelling_makes_no_difference(record: dict[str, Any]) -> None:
    router = Router()
    run(router, [NYX])
    assert run(router, [record])["changed"] is False


def test_what_the_router_has_in_capitals_is_the_same() -> None:
    router = Router()
    router.add("NYX.Lab.Internal", "10.0.0.11", "[aip]")
    router.add("V6.lab.internal", "FD00:0::A", "[aip]", rr="AAAA")
    router.start()
    assert run(router, [NYX, {"name": "v6.lab.internal", "value": "fd00::a"}], state="exact")["changed"] is False


def test_names_of_any_language_become_ascii() -> None:
    router = Router()
    result = run(router, [{"name": "Bücher.lab.internal", "value": "10.0.0.1"}])
    assert result["created"] == ["xn--bcher-kva.lab.internal A 10.0.0.1"]
    assert run(router, [{"name": "xn--bcher-kva.lab.internal", "value": "10.0.0.1"}])["changed"] is False


@pytest.mark.parametrize(
    ("name", "host", "domain"),
    [
        ("a.b.c", "a", "b.c"),
        ("*.b.c", "*", "b.c"),
        ("_acme.b.c", "_acme", "b.c"),
        ("_sip._tcp.b.c", "_sip._tcp", "b.c"),
        ("router", "", "router"),
    ],
)
def test_a_name_is_split_so_that_the_router_accepts_it(name: str, host: str, domain: str) -> None:
    assert names.split(name) == (host, domain)
    assert names.join(host, domain) == name


def test_mail_and_text_are_known_although_the_list_is_cut() -> None:
    router = Router()
    records: list[dict[str, Any]] = [
        {"name": "lab.internal", "type": "MX", "value": "Mail.lab.internal.", "priority": 5},
        {"name": "t.lab.internal", "type": "TXT", "value": 'v=x a "quoted" text'},
        {"name": "u.lab.internal", "type": "TXT", "value": 'beg"in'},
    ]
    run(router, records)
    assert [row["value"] for row in router.live or [] if row["rrtype"] != "A"] == ["5", '"v=x', '"beg"in"']
    assert run(router, records)["changed"] is False
    result = run(router, [{**records[0], "priority": 6}])
    assert result["updated"] == ["lab.internal MX 6 mail.lab.internal"]


def test_aliases_become_records_without_a_pointer() -> None:
    router = Router()
    record: dict[str, Any] = {**NYX, "aliases": ["gpu.lab.internal", "llm.lab.internal"]}
    assert len(run(router, [record])["created"]) == 3
    assert {h["hostname"]: h["addptr"] for h in router.hosts.values()} == {"nyx": "1", "gpu": "0", "llm": "0"}
    assert router.aliases == {}
    assert run(router, [record])["changed"] is False
    assert len(run(router, [record], state="absent")["deleted"]) == 3


def test_one_name_of_an_address_gets_the_pointer_and_keeps_it() -> None:
    router = Router()
    records: list[dict[str, Any]] = [
        {"name": "a.lab.internal", "value": "10.0.0.1"},
        {"name": "b.lab.internal", "value": "10.0.0.1"},
    ]
    run(router, records)
    assert {h["hostname"]: h["addptr"] for h in router.hosts.values()} == {"a": "1", "b": "0"}
    assert run(router, records[::-1])["changed"] is False, "the order of the list does not matter"
    result = run(router, [records[0], {**records[1], "ptr": "true"}])
    assert len(result["updated"]) == 2
    assert {h["hostname"]: h["addptr"] for h in router.hosts.values()} == {"a": "0", "b": "1"}
    run(router, [{**records[0], "ptr": "false"}, {**records[1], "ptr": "false"}])
    assert {h["addptr"] for h in router.hosts.values()} == {"0"}


def test_a_disabled_record_is_kept_and_not_served() -> None:
    router = Router()
    record: dict[str, Any] = {**NYX, "enabled": False}
    result = run(router, [record])
    assert "disabled" in result["diff"]["after"]
    assert next(iter(router.hosts.values()))["enabled"] == "0"
    assert run(router, [record])["changed"] is False
    assert run(router, [NYX])["updated"] == ["nyx.lab.internal A 10.0.0.11"]


def test_the_time_to_live_may_change() -> None:
    router = Router()
    run(router, [{**NYX, "ttl": 60}])
    assert run(router, [NYX])["updated"] == ["nyx.lab.internal A 10.0.0.11"], "left out means the default again"
    assert next(iter(router.hosts.values()))["ttl"] == "3600"


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("record", "version"),
    [
        ({**NYX, "ttl": 60}, "25.1.5"),
        ({"name": "t.lab.internal", "type": "TXT", "value": "x"}, "25.7.4"),
        ({**NYX, "ptr": "false"}, "26.1.3"),
    ],
)
def test_what_a_release_lacks_is_refused(record: dict[str, Any], version: str, existing: bool) -> None:
    router = Router(OLD)
    if existing:
        router.add("other.lab.internal", "10.0.0.1")
    assert version in str(fails(router, [record]))
    assert router.writes == []
    assert run(Router(NEW), [record])["changed"] is True


# -- others ------------------------------------------------------------------------------------------------------------


def test_an_identical_record_of_others_is_enough() -> None:
    router = Router()
    uuid = router.add("nyx.lab.internal", "10.0.0.11", "by hand")
    router.start()
    for conflict in ("fail", "adopt", "ignore"):
        result = run(router, [NYX], unmanaged_conflict=conflict)
        assert (result["changed"], result["foreign"]) == (False, ["nyx.lab.internal A 10.0.0.11"])
        assert result["records"]["nyx.lab.internal"][0]["uuid"] == uuid
    assert run(router, [], state="exact")["changed"] is False
    assert run(router, [NYX], state="absent")["changed"] is False
    assert router.hosts[uuid]["description"] == "by hand"


@pytest.mark.parametrize("description", ["by hand", "x [other]", "[aip] x", "aip"])
def test_a_different_record_of_others_is_never_touched(description: str) -> None:
    router = Router()
    uuid = router.add("nyx.lab.internal", "10.0.0.99", description)
    before = dict(router.hosts[uuid])
    error = fails(router, [NYX])
    assert "records[0] nyx.lab.internal A 10.0.0.11: the router has nyx.lab.internal A 10.0.0.99" in str(error)
    assert "unmanaged_conflict" in error.remedy and router.writes == []
    ignored = run(router, [NYX, {"name": "b.lab.internal", "value": "10.0.0.2"}], unmanaged_conflict="ignore")
    assert ignored["created"] == ["b.lab.internal A 10.0.0.2"]
    assert any("nyx.lab.internal" in warning for warning in ignored["warnings"])
    run(router, [], state="exact")
    assert router.hosts == {uuid: before}


def test_a_record_of_others_is_adopted_in_place_when_asked() -> None:
    router = Router()
    uuid = router.add("nyx.lab.internal", "10.0.0.99", "by hand")
    result = run(router, [NYX], unmanaged_conflict="adopt")
    assert (result["updated"], result["created"]) == (["nyx.lab.internal A 10.0.0.11"], [])
    assert router.hosts[uuid]["description"] == "[aip]"
    assert "by hand" in result["diff"]["before"]
    assert run(router, [NYX])["changed"] is False


def test_exact_removes_only_inside_the_zones() -> None:
    router = Router()
    router.add("a.lab.internal", "10.0.0.1", "[aip]")
    router.add("b.other.net", "10.0.0.2", "x [aip]")
    router.add("c.notlab.internal", "10.0.0.3", "[aip]")
    router.add("d.lab.internal", "10.0.0.4", "[else]")
    result = run(router, [], state="exact", zones=["Lab.internal."])
    assert result["deleted"] == ["a.lab.internal A 10.0.0.1"]
    assert len(router.hosts) == 3
    assert len(run(router, [], state="exact")["deleted"]) == 2


def test_alias_objects_on_a_deleted_record_go_too() -> None:
    router = Router()
    uuid = router.add("nyx.lab.internal", "10.0.0.11", "[aip]")
    router.aliases = {"a1": {"host": uuid, "enabled": "1", "hostname": "x"}, "a2": {"host": "other", "enabled": "1"}}
    assert run(router, [NYX], state="absent")["requests"] <= 6
    assert list(router.aliases) == ["a2"]


# -- the running server ------------------------------------------------------------------------------------------------


def test_saved_and_not_applied_is_noticed_and_repaired() -> None:
    router = Router()
    router.start()
    saved = run(router, [NYX], apply=False)
    assert (saved["changed"], saved["applied"], saved["verified"]) == (True, False, False)
    assert "unbound/service/reconfigure" not in router.writes
    planned = run(router, [NYX], check_mode=True)
    assert (planned["changed"], router.writes) == (True, [])
    repaired = run(router, [NYX])
    assert (repaired["changed"], repaired["applied"], repaired["verified"]) == (True, True, True)
    assert router.writes == ["unbound/service/reconfigure"]
    assert any("nyx.lab.internal" in warning for warning in repaired["warnings"])
    assert run(router, [NYX])["changed"] is False


@pytest.mark.parametrize(
    "later",
    [{**NYX, "value": "10.0.0.12"}, {**NYX, "ttl": 60}, {**NYX, "enabled": False}, {**NYX, "type": "A", "value": []}],
)
def test_a_change_that_was_not_applied_is_noticed(later: dict[str, Any]) -> None:
    router = Router()
    run(router, [NYX])
    state = "present" if later["value"] else "absent"
    run(router, [later], apply=False, state=state)
    assert run(router, [later], state=state)["applied"] is True
    assert run(router, [later], state=state)["changed"] is False


def test_a_record_that_exact_removed_and_nobody_applied_is_noticed() -> None:
    router = Router()
    run(router, [NYX, {"name": "b.lab.internal", "value": "10.0.0.2"}])
    run(router, [NYX], apply=False, state="exact", zones=["internal"])
    assert run(router, [NYX], state="exact", zones=["internal"])["applied"] is True
    result = run(router, [NYX], state="exact", zones=["internal"])
    assert result["changed"] is False, "the router's own name is none of ours"


def test_leases_that_the_server_registers_are_no_leftovers() -> None:
    router = Router()
    run(router, [NYX])
    router.general["regdhcp"] = "1"
    assert router.live is not None
    router.live.append({"name": "nyx.lab.internal.", "ttl": "60", "type": "IN", "rrtype": "A", "value": "10.0.0.77"})
    assert run(router, [NYX])["changed"] is False


def test_without_verification_nobody_is_asked() -> None:
    router = Router()
    assert run(router, [NYX], verify=False)["verified"] is False
    assert run(router, [NYX], verify=False)["requests"] == 1
    assert not any("listlocaldata" in path for _method, path, _rest in router.log)


@pytest.mark.parametrize("state", ["present", "exact"])
def test_a_server_that_went_down_gets_its_old_state_back(state: str) -> None:
    router = Router()
    router.add("keep.lab.internal", "10.0.0.1", "keep [aip]", ttl="120", addptr="0")
    moved = router.add("move.lab.internal", "10.0.0.2", "[aip]")
    gone = router.add("gone.lab.internal", "10.0.0.3", "gone [aip]")
    router.add("other.lab.internal", "10.0.0.4")
    router.aliases["a1"] = {"enabled": "1", "host": gone, "hostname": "x", "domain": "lab.internal"}
    router.start()
    before = sorted(sorted(host.items()) for host in router.hosts.values())
    live = list(router.live or [])
    router.fail_next_start = 1
    records: list[dict[str, Any]] = [
        {"name": "keep.lab.internal", "value": "10.0.0.1", "ttl": 120, "ptr": "false", "description": "keep"},
        {"name": "move.lab.internal", "value": "10.0.0.22"},
        NYX,
    ]
    error = fails(router, records, state=state)
    assert "move.lab.internal A 10.0.0.22" in str(error) and "nyx.lab.internal A 10.0.0.11" in str(error)
    assert "keep.lab.internal" not in str(error)
    assert error.result["rolled_back"] is True and error.result["applied"] is True
    assert error.result["verified"] is False
    assert sorted(sorted(host.items()) for host in router.hosts.values()) == before
    assert sorted(map(str, router.live or [])) == sorted(map(str, live))
    assert router.hosts[moved]["server"] == "10.0.0.2"
    alias = next(iter(router.aliases.values()))
    assert router.hosts[alias["host"]]["hostname"] == "gone"
    assert len(router.aliases) == 1
    assert run(router, [NYX])["verified"] is True


def test_a_server_that_stays_down_is_said_loudly() -> None:
    router = Router()
    router.start()
    router.fail_next_start = 2
    error = fails(router, [NYX])
    assert error.result["rolled_back"] is False
    assert "DNS IS DOWN" in error.remedy
    assert router.hosts == {}


def test_without_rollback_the_new_state_stays() -> None:
    router = Router()
    router.fail_next_start = 1
    error = fails(router, [NYX], rollback=False)
    assert "is down since" in str(error) and error.result["rolled_back"] is False
    assert len(router.hosts) == 1


def test_a_server_that_was_down_before_is_started() -> None:
    router = Router()
    run(router, [NYX])
    router.live = None
    assert run(router, [NYX])["applied"] is True
    router.live, router.fail_next_start = None, 1
    error = fails(router, [NYX])
    assert "This run changed no record" in str(error)


def test_records_that_are_not_served_are_named() -> None:
    router = Router()
    router.start = lambda: None  # type: ignore[method-assign]
    error = fails(router, [NYX])
    assert "does not serve: nyx.lab.internal A 10.0.0.11" in str(error)
    assert error.result["rolled_back"] is False


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_disabled_resolver_is_said_before_a_write(check_mode: bool) -> None:
    router = Router()
    router.general["enabled"] = "0"
    error = fails(router, [NYX], check_mode=check_mode)
    assert "Unbound is disabled in the general settings" in str(error)
    assert "apply to false" in error.remedy and router.writes == []
    assert run(router, [NYX], apply=False)["changed"] is True


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_record_that_vanished_meanwhile_does_not_come_back_in_pieces() -> None:
    router = Router()
    router.add("nyx.lab.internal", "10.0.0.10", "[aip]")
    router.start()
    router.before_set = router.hosts.clear
    error = fails(router, [NYX])
    assert "no longer there to be changed: records[0] nyx.lab.internal A 10.0.0.11 (was nyx.lab.internal" in str(error)
    assert router.hosts == {}


def test_what_the_router_does_not_accept_is_named_as_the_user_gave_it() -> None:
    router = Router()
    changed = router.add("old.lab.internal", "10.0.0.1", "[aip]")
    records: list[dict[str, Any]] = [{"name": f"m{n}.lab.internal", "value": f"10.0.1.{n}"} for n in range(20)]
    records[7]["description"] = "bad"
    records[13]["description"] = "bad too"
    error = str(fails(router, records))
    assert "records[7] m7.lab.internal A 10.0.1.7: description: Not nice. Not at all." in error
    assert "records[13] m13.lab.internal A 10.0.1.13" in error
    assert "records[8]" not in error
    assert list(router.hosts) == [changed], "nothing was saved while looking for it"
    error = str(fails(router, [{"name": "old.lab.internal", "value": "10.0.0.1", "description": "bad"}]))
    assert "records[0] old.lab.internal A 10.0.0.1: description: Not nice." in error


# -- forwards ----------------------------------------------------------------------------------------------------------


def forward(router: Router, forwards: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    clock = iter(range(100000))
    router.requests = 0
    router.log.clear()
    params = {**options([], **others), "forwards": forwards}
    return dns.Forwards(router, params, check_mode, sleep=lambda _: None, clock=lambda: next(clock) / 10).run()


LAN = {"domain": "lan.internal", "server": "10.0.0.53"}


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"domain": "a b", "server": "10.0.0.1"}, "the label 'a b'"),
        ({"domain": "a", "server": "ns.example"}, "is not an address"),
        ({"domain": "a", "server": "10.0.0.1@99999"}, "no valid port"),
        ({"domain": "a", "server": "10.0.0.1@"}, "no valid port"),
        ({"domain": "a"}, "server is empty"),
    ],
)
def test_a_wrong_forward_is_refused(wrong: dict[str, Any], part: str) -> None:
    router = Router()
    with pytest.raises(OpnsenseError, match=r"forwards\[0\]") as caught:
        forward(router, [wrong])
    assert part in str(caught.value) and router.writes == []


def test_the_life_of_a_forward() -> None:
    router = Router()
    router.dots["tls"] = {
        "type": "dot",
        "domain": "lan.internal",
        "server": "9.9.9.9",
        "enabled": "1",
        "description": "x",
    }
    assert forward(router, [LAN], check_mode=True)["created"] == ["lan.internal -> 10.0.0.53@53"]
    assert router.writes == []
    made = forward(router, [LAN])
    assert made["verified"] is True and made["requests"] <= 6
    uuid = made["forwards"]["lan.internal"][0]["uuid"]
    assert router.dots[uuid]["type"] == "forward" and router.dots[uuid]["port"] == ""
    assert forward(router, [{**LAN, "domain": "LAN.Internal."}])["changed"] is False
    assert forward(router, [{**LAN, "server": "10.0.0.53@53"}])["requests"] <= 2
    moved = forward(router, [{**LAN, "server": "10.0.0.53@5353"}])
    assert moved["updated"] == ["lan.internal -> 10.0.0.53@5353"] and router.dots[uuid]["port"] == "5353"
    assert forward(router, [LAN], state="absent")["deleted"] == ["lan.internal -> 10.0.0.53@5353"]
    assert forward(router, [LAN], state="absent")["changed"] is False
    assert list(router.dots) == ["tls"]


def test_a_forward_of_others_is_a_conflict() -> None:
    router = Router()
    router.dots["u"] = {"type": "forward", "domain": "lan.internal", "server": "10.9.9.9", "enabled": "1", "port": ""}
    with pytest.raises(OpnsenseError, match=r"the router has lan.internal -> 10.9.9.9@53"):
        forward(router, [LAN])
    assert router.writes == []


def test_forwards_go_back_when_the_server_is_down() -> None:
    router = Router()
    router.fail_next_start = 1
    with pytest.raises(OpnsenseError, match="lan.internal -> 10.0.0.53@53") as caught:
        forward(router, [LAN])
    assert caught.value.result["rolled_back"] is True and router.dots == {}
