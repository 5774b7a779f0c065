# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DHCP reservations and hosts of Dnsmasq, and the facts of the router, against a router made of dictionaries."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_dhcp as dhcp
from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_dns as dns
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import Forbidden, Missing, OpnsenseError
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_info import Info

NEW, OLD = "26.7", "24.7"


class Router:
    """Kea and Dnsmasq with the rules that matter: unique addresses, one subnet, labels in rows of old releases."""

    def __init__(self, release: str = NEW, kea: bool = True, dnsmasq: bool = False, bulk: bool = True) -> None:
        self.release, self.kea_on, self.dnsmasq_on, self.bulk = release, kea, dnsmasq, bulk
        self.requests = 0
        self.apply_timeout = 3.0
        self.reservations: dict[str, dict[str, str]] = {}
        self.hosts: dict[str, dict[str, str]] = {}
        self.ranges: dict[str, Any] = {}
        self.subnets = {"s1": "10.0.0.0/24", "s2": "10.0.0.0/16"}
        self.states: list[str] = []
        self.log: list[tuple[str, str]] = []
        self.counter = 0

    def another(self) -> Any:
        raise NotImplementedError  # part of the client that these tests must not come to

    renew = endpoints = another

    @property
    def writes(self) -> list[str]:
        return [path for method, path in self.log if method == "POST"]

    def uuid(self) -> str:
        self.counter += 1
        return f"00000000-0000-0000-0000-{self.counter:012d}"

    def get(self, path: str, query: dict[str, str] | None = None) -> Any:
        self.requests += 1
        self.log.append(("GET", path))
        if path.startswith("dnsmasq/") and self.release == OLD:
            raise Missing(path)
        if path.endswith("/service/status"):
            return {"status": self.states.pop(0) if self.states else "running"}
        if path == "kea/dhcpv4/get":
            return {"dhcpv4": {"general": {"enabled": "1" if self.kea_on else "0"}}}
        if path == "dnsmasq/settings/get":
            hosts = {
                u: {**h, "ip": self.listed(h["ip"]), "cnames": self.listed(h["cnames"])} for u, h in self.hosts.items()
            }
            return {
                "dnsmasq": {
                    "enable": "1" if self.dnsmasq_on else "0",
                    "hosts": hosts or [],
                    "dhcp_ranges": self.ranges or [],
                }
            }
        if path == "dnsmasq/settings/get_host":
            return {"host": {"host": "", "cnames": {"": {"value": "", "selected": 1}}}}
        if path == "kea/dhcpv4/search_subnet":
            return {"rows": [{"uuid": uuid, "subnet": subnet} for uuid, subnet in self.subnets.items()]}
        if path == "kea/dhcpv4/search_reservation":
            labels = self.subnets if self.release == OLD else {}
            return {
                "rows": [
                    {"uuid": u, **r, "subnet": labels.get(r["subnet"], r["subnet"]), "%subnet": "10.0.0.0/24"}
                    for u, r in self.reservations.items()
                ]
            }
        raise Missing(path)

    @staticmethod
    def listed(value: str) -> Any:
        return {one: {"value": one, "selected": 1} for one in value.split(",")}

    def post(self, path: str, data: Any = None, *, repeatable: bool = False, slow: bool = False) -> Any:
        self.requests += 1
        self.log.append(("POST", path))
        action, _rest, key = path.rpartition("/")
        if path == "kea/dhcpv4/set" and self.bulk:
            return self.save(self.reservations, data["dhcpv4"]["reservations"]["reservation"], "ip_address")
        if path == "kea/dhcpv4/set":
            return {"result": "failed"}
        if path == "dnsmasq/settings/set":
            return self.save(self.hosts, data["dnsmasq"]["hosts"], "ip", {"cnames": "", "hwaddr": "", "descr": ""})
        if path == "kea/dhcpv4/add_reservation":
            return {
                **self.save(self.reservations, {"new": data["reservation"]}, "ip_address"),
                "uuid": list(self.reservations)[-1],
            }
        if action == "kea/dhcpv4/set_reservation":
            return self.save(self.reservations, {key: data["reservation"]}, "ip_address")
        if action in ("kea/dhcpv4/del_reservation", "dnsmasq/settings/del_host"):
            table = self.reservations if "kea" in action else self.hosts
            keys = [key] if self.release == OLD else key.split(",")
            return {"result": "deleted" if [table.pop(one, None) for one in keys][-1] else "not found"}
        if path.endswith("/service/reconfigure"):
            return {"status": "ok"}
        raise Missing(path)

    def save(self, table: Any, content: Any, unique: str, blank: Any = None) -> Any:
        planned = {k: {**(table.get(k) or blank or {}), **fields} for k, fields in content.items()}
        problems: dict[str, Any] = {}
        after = {**table, **planned}
        for key, entry in planned.items():
            prefix = f"x.reservations.reservation.{key if key in table else 'fresh'}"
            if "kea" in self.log[-1][1] and not entry.get("subnet"):
                problems[f"{prefix}.subnet"] = "Related subnet not found."
            twins = [e for k, e in after.items() if k != key and e[unique] == entry[unique] and e.get("hwaddr", "x")]
            if twins and entry.get("hwaddr", "x"):
                problems[f"{prefix}.{unique}"] = ["Duplicate entry exists."]
        if problems:
            return {"result": "failed", "validations": problems}
        table.update({(key if key in table else self.uuid()): entry for key, entry in planned.items()})
        return {"result": "saved"}


MAC = "52:54:00:12:34:11"
NYX: dict[str, Any] = {"mac": MAC, "address": "10.0.0.11", "hostname": "nyx"}


def run(router: Router, wanted: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    router.log.clear()
    router.requests = 0
    base = {
        "owner": "aip",
        "state": "present",
        "unmanaged_conflict": "fail",
        "apply": True,
        "verify": True,
        "rollback": True,
        "domain": "lab.internal",
        "backend": "kea",
    }
    seconds = iter(range(100000))
    engine = dhcp.reservations(
        router, {**base, "reservations": wanted, **others}, check_mode, lambda _: None, lambda: next(seconds) / 10
    )
    return engine.run()


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"mac": "52:54", "address": "10.0.0.1"}, "mac '52:54' is not"),
        ({"mac": MAC}, "address None is not an IPv4 address"),
        ({"mac": MAC, "address": "fd00::1"}, "is not an IPv4 address"),
        ({"mac": MAC, "address": "192.168.0.1"}, "lies in no subnet of Kea"),
        ({"mac": MAC, "address": "10.0.0.1", "hostname": "a b"}, "hostname 'a b'"),
        ({"mac": MAC, "address": "10.0.0.1", "description": "a\nb"}, "line break"),
    ],
)
def test_a_wrong_reservation_is_refused(wrong: dict[str, Any], part: str) -> None:
    router = Router()
    with pytest.raises(OpnsenseError, match=r"reservations\[0\]") as caught:
        run(router, [wrong])
    assert part in str(caught.value) and router.writes == []


def test_two_that_share_a_card_or_an_address_are_refused() -> None:
    other = {"mac": "52:54:00:12:34:12", "address": "10.0.0.11"}
    with pytest.raises(
        OpnsenseError, match=r"reservations\[1\] 52:54:00:12:34:12: address 10.0.0.11 is in reservations\[0\]"
    ):
        run(Router(), [NYX, other])
    with pytest.raises(OpnsenseError, match=r"reservations\[1\] .*: the MAC address is in reservations\[0\]"):
        run(Router(), [NYX, {**NYX, "mac": MAC.upper(), "address": "10.0.0.12"}])


@pytest.mark.parametrize(("release", "bulk"), [(NEW, True), (OLD, True), (OLD, False)])
@pytest.mark.parametrize("backend", ["kea", "dnsmasq"])
def test_the_life_of_a_reservation(release: str, bulk: bool, backend: str) -> None:
    router = Router(release, kea=backend == "kea", dnsmasq=backend == "dnsmasq", bulk=bulk)
    if backend == "dnsmasq" and release == OLD:
        with pytest.raises(OpnsenseError, match=r"before OPNsense 25\.1\.2"):
            run(router, [NYX], backend=backend)
        return
    planned = run(router, [NYX], check_mode=True, backend=backend)
    assert planned["changed"] is True and router.writes == []
    made = run(router, [NYX], backend=backend)
    assert made["diff"] == planned["diff"] and (made["applied"], made["verified"]) == (True, True)
    assert made["requests"] <= 7 and made["reservations"][MAC][0]["uuid"]
    again = run(router, [{**NYX, "mac": "5254.0012.3411", "hostname": "NYX"}], backend=backend)
    assert again["changed"] is False and again["requests"] == 2
    moved = run(router, [{**NYX, "address": "10.0.0.12"}], backend=backend)
    assert len(moved["updated"]) == 1 and moved["created"] == moved["deleted"] == []
    swapped = run(router, [{**NYX, "mac": "52:54:00:99:99:99", "address": "10.0.0.12"}], backend=backend, state="exact")
    assert len(swapped["updated"]) == 1 and swapped["created"] == swapped["deleted"] == []
    assert run(router, [], backend=backend, state="exact")["changed"] is True
    assert run(router, [], backend=backend, state="exact")["changed"] is False
    assert router.reservations == router.hosts == {}


def test_the_narrowest_subnet_is_taken() -> None:
    router = Router()
    run(router, [NYX, {"mac": "52:54:00:12:34:12", "address": "10.0.7.1"}])
    assert [entry["subnet"] for entry in router.reservations.values()] == ["s1", "s2"]
    assert ipaddress.ip_address("10.0.7.1") in ipaddress.ip_network(router.subnets["s2"])


def test_an_address_of_others_is_refused() -> None:
    router = Router()
    router.reservations["x"] = {
        "subnet": "s1",
        "ip_address": "10.0.0.11",
        "hw_address": "aa:aa:aa:aa:aa:aa",
        "description": "",
    }
    with pytest.raises(OpnsenseError, match="the address belongs to aa:aa:aa:aa:aa:aa"):
        run(router, [NYX])
    assert router.writes == []


def test_the_backend_is_the_enabled_one() -> None:
    assert isinstance(dhcp.reservations(Router(kea=True), {"owner": "x"}, True), dhcp.KeaReservations)
    assert isinstance(dhcp.reservations(Router(OLD, kea=True), {"owner": "x"}, True), dhcp.KeaReservations)
    router = Router(kea=False, dnsmasq=True)
    assert isinstance(dhcp.reservations(router, {"owner": "x"}, True), dhcp.DnsmasqReservations)
    router = Router(kea=True, dnsmasq=True)
    assert isinstance(dhcp.reservations(router, {"owner": "x"}, True), dhcp.KeaReservations), "Dnsmasq only does DNS"
    router.ranges = {"r": {"start_addr": "10.0.0.100"}}
    assert isinstance(dhcp.reservations(router, {"owner": "x"}, True), dhcp.DnsmasqReservations)
    with pytest.raises(OpnsenseError, match="neither Dnsmasq nor Kea"):
        dhcp.reservations(Router(kea=False), {"owner": "x"}, True)


@pytest.mark.parametrize("backend", ["kea", "dnsmasq"])
def test_a_server_that_goes_down_gets_its_old_state_back(backend: str) -> None:
    router = Router(kea=backend == "kea", dnsmasq=backend == "dnsmasq")
    old = {"mac": "52:54:00:12:34:99", "address": "10.0.0.99", "hostname": "old"}
    run(router, [NYX, old], backend=backend)
    before = sorted(sorted(e.items()) for e in [*router.reservations.values(), *router.hosts.values()])
    router.states = ["stopped"] * 3
    with pytest.raises(OpnsenseError, match=MAC) as caught:
        run(
            router,
            [{**NYX, "address": "10.0.0.13"}, {"mac": "52:54:00:12:34:12", "address": "10.0.0.14"}],
            backend=backend,
            state="exact",
        )
    assert caught.value.result["rolled_back"] is True
    after = sorted(sorted(e.items()) for e in [*router.reservations.values(), *router.hosts.values()])
    assert [[i for i in e if i[1]] for e in after] == [[i for i in e if i[1]] for e in before]


def test_a_router_that_does_not_know_is_a_warning_and_a_disabled_server_an_error() -> None:
    router = Router()
    router.states = ["unknown"] * 9
    result = run(router, [NYX])
    assert result["verified"] is False and "does not tell whether" in result["warnings"][0]
    router.states = ["disabled"]
    with pytest.raises(OpnsenseError, match="Kea DHCP is disabled on the router") as caught:
        run(router, [{**NYX, "address": "10.0.0.12"}])
    assert caught.value.result["changed"] is True
    with pytest.raises(OpnsenseError, match="Dnsmasq DNS & DHCP is disabled in the general settings"):
        run(Router(dnsmasq=False), [NYX], backend="dnsmasq")


@pytest.mark.parametrize(("backend", "named"), [("kea", True), ("dnsmasq", False)])
def test_nothing_is_saved_while_looking_for_what_is_not_accepted(backend: str, named: bool) -> None:
    class Picky(Router):
        def save(self, table: Any, content: Any, unique: str, blank: Any = None) -> Any:
            found = {
                f"dhcpv4.reservations.reservation.{number}.{unique}": "Not accepted."
                for number, entry in enumerate(content.values())
                if entry.get(unique, "").endswith(".12") or unique not in entry
            }
            return {"result": "failed", "validations": found} if found else super().save(table, content, unique, blank)

    router = Picky(kea=True, dnsmasq=True)
    wanted = [{"mac": f"52:54:00:12:34:{n}", "address": f"10.0.0.{n}"} for n in (11, 12, 13)]
    with pytest.raises(OpnsenseError, match="Not accepted") as caught:
        run(router, wanted, backend=backend)
    assert "reservations[1] 52:54:00:12:34:12" in str(caught.value)
    assert ("reservations[0]" in str(caught.value)) is not named
    assert router.reservations == router.hosts == {}
    assert router.writes.count("dnsmasq/settings/set") == (0 if named else 1), "there, each attempt could be saved"


# -- names in Dnsmasq --------------------------------------------------------------------------------------------------


def records(router: Router, wanted: list[dict[str, Any]], check_mode: bool = False, **others: Any) -> dict[str, Any]:
    router.log.clear()
    router.requests = 0
    base = {
        "owner": "aip",
        "state": "present",
        "unmanaged_conflict": "fail",
        "apply": True,
        "verify": True,
        "rollback": True,
        "zones": [],
    }
    engine = dns.DnsmasqRecords(router, {**base, "records": wanted, **others}, check_mode, lambda _: None)
    return engine.run()


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"type": "MX", "value": "m.b"}, "no type MX"),
        ({"value": "10.0.0.1", "ttl": 60}, "no ttl"),
        ({"value": "10.0.0.1", "ptr": "false"}, "no ptr false"),
        ({"value": "10.0.0.1", "enabled": False}, "no enabled false"),
        ({"value": "x"}, "is no address"),
        ({}, "value is empty"),
    ],
)
def test_what_dnsmasq_cannot_do_is_refused(wrong: dict[str, Any], part: str) -> None:
    router = Router(dnsmasq=True)
    with pytest.raises(OpnsenseError, match=r"records\[0\] a\.b") as caught:
        records(router, [{"name": "a.b", **wrong}])
    assert part in str(caught.value) and router.writes == []


def test_a_name_in_dnsmasq_is_one_entry_with_its_aliases() -> None:
    router = Router(dnsmasq=True)
    wanted: list[dict[str, Any]] = [
        {
            "name": "nyx.lab.internal",
            "value": ["10.0.0.11", "FD00::11"],
            "aliases": ["gpu.lab.internal", "llm.lab.internal"],
        }
    ]
    planned = records(router, wanted, check_mode=True)
    assert router.writes == [] and "gpu.lab.internal. IN CNAME nyx.lab.internal." in planned["diff"]["after"]
    records(router, wanted)
    entry = next(iter(router.hosts.values()))
    assert (entry["host"], entry["domain"], entry["ip"]) == ("nyx", "lab.internal", "10.0.0.11,fd00::11")
    assert entry["cnames"] == "gpu.lab.internal,llm.lab.internal"
    assert records(router, wanted)["requests"] == 2
    wanted[0]["aliases"].reverse()
    assert records(router, wanted)["changed"] is False
    # An alias that moves to another name: the old entry becomes the new one.
    moved = records(
        router, [{"name": "orpheus.lab.internal", "value": "10.0.0.12", "aliases": ["llm.lab.internal"]}], state="exact"
    )
    assert len(moved["updated"]) == 1 and next(iter(router.hosts.values()))["host"] == "orpheus"


def test_reservations_and_names_of_one_owner_leave_each_other_alone() -> None:
    router = Router(dnsmasq=True)
    run(router, [NYX], backend="dnsmasq")
    records(router, [{"name": "a.lab.internal", "value": "10.0.0.50"}])
    assert records(router, [], state="exact")["deleted"] == ["a.lab.internal 10.0.0.50"]
    assert len(router.hosts) == 1
    same = records(router, [{"name": "nyx.lab.internal", "value": "10.0.0.11"}])
    assert (same["changed"], same["foreign"]) == (False, ["nyx.lab.internal 10.0.0.11"])
    records(router, [{"name": "a.lab.internal", "value": "10.0.0.50"}])
    assert run(router, [], backend="dnsmasq", state="exact")["deleted"] == [f"{MAC} 10.0.0.11 nyx.lab.internal"]
    assert len(router.hosts) == 1


# -- facts -------------------------------------------------------------------------------------------------------------


def test_what_may_not_be_read_is_unknown_and_named() -> None:
    class Closed(Router):
        def get(self, path: str, query: dict[str, str] | None = None) -> Any:
            if path.startswith(("unbound", "diagnostics")):
                raise Forbidden("403", "")
            return super().get(path)

    found = Info(Closed()).collect()
    assert found["privileges"]["unbound"] is False and found["privileges"]["kea"] is True
    assert found["missing_privileges"] == ["Lobby: Dashboard", "Services: Unbound"]
    assert found["capabilities"]["record_ttl"] is None and found["capabilities"]["dnsmasq"] is True
    assert found["services"]["unbound"] == {"enabled": None, "status": "unknown"}
    assert found["services"]["kea"] == {"enabled": True, "status": "running"}
