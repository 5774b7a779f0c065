# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OPNsense simulator: every behaviour that a client can rely on, or stumble over, through the network."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SIMULATOR = Path(__file__).resolve().parents[3] / "lab" / "simulators" / "opnsense"
RELEASES = ("24.7", "25.1", "25.7", "26.1", "26.7")
USERS = [
    {"name": "root", "key": "pantheon-key", "secret": "pantheon-secret", "privileges": ["page-all"]},
    {"name": "dns", "key": "dns", "secret": "s", "privileges": ["page-services-unbound"]},
    {"name": "overrides", "key": "overrides", "secret": "s", "privileges": ["page-services-dnsresolver-overrides"]},
    {"name": "lobby", "key": "lobby", "secret": "s", "privileges": ["page-system-login-logout"]},
    {"name": "reader", "key": "reader", "secret": "s", "privileges": ["page-all", "user-config-readonly"]},
]
JSON = "application/json"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the simulator's certificate")


@dataclass
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Box:
    """A running simulator."""

    def __init__(self, folder: Path, *arguments: str, config: dict[str, Any] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        config_file = folder / "config-file.json"
        config_file.write_text(json.dumps({"users": USERS, **(config or {})}), encoding="utf-8")
        command = [
            sys.executable, "-m", "opnsense_simulator", "--listen", "127.0.0.1:0", "--plain", "127.0.0.1:0",
            "--control", "127.0.0.1:0", "--state", str(folder / "state"), "--config", str(config_file),
        ]  # fmt: skip
        if "--auth-delay" not in arguments:
            command += ["--auth-delay", "0"]
        self.errors = folder / "errors.txt"
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=SIMULATOR, stdout=subprocess.PIPE, stderr=self.errors.open("a"), text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.errors.read_text(encoding="utf-8"))
        self.ready = json.loads(line)
        self.key = ("pantheon-key", "pantheon-secret")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def connection(self, kind: str = "plain") -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address(kind)[0], self.address(kind)[1], timeout=20)

    def address(self, kind: str = "plain") -> tuple[str, int]:
        url = urllib.parse.urlsplit(self.ready[kind])
        assert url.hostname is not None and url.port is not None
        return url.hostname, url.port

    def authorization(self, key: tuple[str, str] | None = None) -> dict[str, str]:
        text = ":".join(key or self.key)
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        key: tuple[str, str] | None = None,
        raw: bytes | None = None,
        on: http.client.HTTPConnection | None = None,
    ) -> Answer:
        sent = {**self.authorization(key), **(headers or {})}
        data = raw
        if body is not None:
            sent["Content-Type"], data = JSON, json.dumps(body).encode()
        connection = on or self.connection()
        try:
            connection.request(method, f"/api/{path}", data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            if on is None:
                connection.close()

    def get(self, path: str, **others: Any) -> Any:
        return self.call("GET", path, **others).json

    def post(self, path: str, body: Any = None, **others: Any) -> Any:
        return self.call("POST", path, {} if body is None else body, **others).json

    def control(self, method: str, path: str, body: Any = None) -> Any:
        connection = self.connection("control")
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            data = json.loads(answer.read())
            return data if answer.status == 200 else {"status": answer.status, **data}
        finally:
            connection.close()

    def state(self) -> Any:
        return self.control("GET", "/state")

    def seed(self, **parts: Any) -> None:
        assert self.control("PUT", "/state", parts) == {"status": "ok"}

    def fault(self, kind: str, match: str = "", times: int = 1, **more: Any) -> None:
        fault = {"kind": kind, "match": match, "times": times, **more}
        assert self.control("PUT", "/faults", {"faults": [fault]})["faults"]

    def add_host(self, **fields: str) -> str:
        answer = self.post("unbound/settings/add_host_override", {"host": fields})
        assert answer["result"] == "saved", answer
        return str(answer["uuid"])

    def records(self) -> set[tuple[str, str, str]]:
        self.post("unbound/service/reconfigure")
        answer = self.get("unbound/diagnostics/listlocaldata")
        assert answer["status"] == "ok", self.state()["running"]["unbound"]
        return {(row["name"], row["rrtype"], row["value"]) for row in answer["data"]}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Box]]:
    """One simulator per release, started when it is first asked for."""
    running: dict[str, Box] = {}

    def start(release: str) -> Box:
        if release not in running:
            folder = tmp_path_factory.mktemp(f"opnsense-{release}")
            running[release] = Box(folder, "--release", release, "--rollback-seconds", "0.4")
        box = running[release]
        box.control("POST", "/reset")
        return box

    yield start
    for box in running.values():
        box.stop()


@pytest.fixture
def box(boxes: Callable[[str], Box]) -> Box:
    """The newest release, as after its first start."""
    return boxes("26.7")


@pytest.fixture(params=RELEASES)
def each(request: pytest.FixtureRequest, boxes: Callable[[str], Box]) -> Box:
    """Every release in turn."""
    return boxes(request.param)


def release(box: Box) -> str:
    return str(box.ready["release"])


def hosts(box: Box) -> dict[str, Any]:
    found = box.get("unbound/settings/get")["unbound"]["hosts"]["host"]
    return found if isinstance(found, dict) else {}


A_RECORD = {"hostname": "nyx", "domain": "lab.internal", "rr": "A", "server": "10.0.0.11"}


# 1. Login and access


def test_wrong_key_gets_401_after_a_delay(tmp_path: Path) -> None:
    box = Box(tmp_path, "--auth-delay", "0.7")
    try:
        for key in (("nobody", "x"), ("pantheon-key", "x")):
            started = time.monotonic()
            answer = box.call("GET", "unbound/settings/get", key=key)
            assert time.monotonic() - started >= 0.7
            assert (answer.status, answer.json) == (401, {"status": 401, "message": "Authentication Failed"})
        started = time.monotonic()
        assert box.call("GET", "unbound/settings/get", headers={"Authorization": "Basic bm8ta2V5"}).status == 401
        assert box.call("GET", "unbound/settings/get").status == 200
        assert time.monotonic() - started < 0.7
    finally:
        box.stop()


def test_the_delay_is_two_seconds_by_default() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "opnsense_simulator", "--help"],
        cwd=SIMULATOR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "how long a wrong key waits (default: 2.0)" in " ".join(listed.stdout.split())


def test_without_authorization_401_and_nothing_else(box: Box) -> None:
    connection = box.connection()
    connection.request("GET", "/api/unbound/settings/get")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (401, b"")
    connection.close()


def test_access_by_privilege(box: Box) -> None:
    dns, overrides, lobby = ("dns", "s"), ("overrides", "s"), ("lobby", "s")
    forbidden = (403, {"status": 403, "message": "Forbidden"})
    for path in ("settings/get", "service/status", "diagnostics/listlocaldata"):
        assert box.call("GET", f"unbound/{path}", key=dns).status == 200
        answer = box.call("GET", f"unbound/{path}", key=overrides)
        assert (answer.status, answer.json) == forbidden
    assert box.call("POST", "unbound/service/reconfigure", {}, key=overrides).status == 403
    assert box.call("POST", "unbound/settings/set", {}, key=overrides).status == 403
    assert box.call("GET", "diagnostics/system/system_information", key=dns).status == 403
    assert box.call("GET", "diagnostics/system/system_information", key=lobby).status == 200


def test_spelling_of_the_access_list(each: Box) -> None:
    snake = each.call("GET", "unbound/settings/search_host_override", key=("overrides", "s"))
    camel = each.call("GET", "unbound/settings/searchHostOverride", key=("overrides", "s"))
    old = release(each) in ("24.7", "25.1")
    assert (camel.status, snake.status) == ((200, 403) if old else (403, 200))
    for path in ("unbound/settings/search_host_override", "unbound/settings/searchHostOverride"):
        assert each.call("GET", path, key=("dns", "s")).status == 200
    information = ("systemInformation", "system_information") if old else ("system_information", "systemInformation")
    statuses = [each.call("GET", f"diagnostics/system/{name}", key=("lobby", "s")).status for name in information]
    assert statuses == [200, 403]


# 2. Unknown things


def test_404_for_unknown_module_controller_and_parameter(box: Box) -> None:
    for path in (
        "nope/settings/get",
        "unbound/nope/get",
        "unbound/service/nope",
        "unbound/settings/set_host_override",
        "unbound/settings/del_host_override",
        "firewall/filter/nope",
    ):
        answer = box.call("POST", path, {})
        assert (answer.status, answer.json) == (404, {"errorMessage": "Endpoint not found"}), path


def test_404_comes_before_the_login(box: Box) -> None:
    assert box.call("GET", "nope/settings/get", key=("wrong", "key")).status == 404


def test_unknown_unbound_setting_is_an_empty_200(each: Box) -> None:
    for path in ("search_domain_override", "searchDomainOverride", "anything_at_all"):
        answer = each.call("GET", f"unbound/settings/{path}")
        assert (answer.status, answer.body) == (200, b"")


# 3. and 4. Methods and bodies


def test_get_on_writes(box: Box) -> None:
    key = box.add_host(**A_RECORD)
    for path in (
        "unbound/settings/set",
        "unbound/settings/add_host_override",
        f"unbound/settings/set_host_override/{key}",
        f"unbound/settings/del_host_override/{key}",
        f"unbound/settings/toggle_host_override/{key}",
        "dnsmasq/settings/add_host",
        "kea/dhcpv4/set",
        "firewall/alias/add_item",
    ):
        assert box.get(path) == {"result": "failed"}, path
    for action in ("add_host_override", f"set_host_override/{uuid.uuid4()}"):
        assert box.get(f"unbound/settings/{action}", body={"host": A_RECORD}) == {"result": "failed"}
    assert box.get("unbound/settings/set", body={"unbound": {"general": {"txtsupport": "1"}}}) == {"result": "failed"}
    assert box.state()["revision_count"] == 1
    assert box.get("unbound/service/reconfigure") == {"status": "failed"}
    assert box.get("firewall/alias/reconfigure") == {"status": "failed"}
    assert list(hosts(box)) == [key]


def test_bodies(box: Box) -> None:
    empty = box.call("POST", "unbound/settings/add_host_override", raw=b"", headers={"Content-Type": JSON})
    assert (empty.status, empty.json) == (400, {"status": 400, "message": "Invalid JSON syntax"})
    get = box.call("GET", "unbound/settings/get", headers={"Content-Type": "Application/JSON; charset=UTF-8"})
    assert get.status == 400
    broken = box.call("POST", "unbound/settings/add_host_override", raw=b'{"host":', headers={"Content-Type": JSON})
    assert (broken.status, broken.json) == (200, {"result": "failed"})
    assert box.call("POST", "unbound/service/reconfigure").json == {"status": "ok"}
    form = urllib.parse.urlencode({f"host[{name}]": value for name, value in A_RECORD.items()}).encode()
    kind = "application/x-www-form-urlencoded"
    posted = box.call("POST", "unbound/settings/add_host_override", raw=form, headers={"Content-Type": kind})
    assert posted.json["result"] == "saved"
    charset = box.call(
        "POST",
        "unbound/settings/add_host_override",
        raw=json.dumps({"host": A_RECORD}).encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert charset.json["result"] == "saved"
    other = box.call("POST", "unbound/settings/add_host_override", raw=b"{}", headers={"Content-Type": "text/plain"})
    assert other.json == {"result": "failed"}


def test_texts_are_kept_byte_for_byte(each: Box) -> None:
    text = 'Bücher & <b>"quotes"</b> \\ € [aip]'
    key = each.add_host(**A_RECORD, description=text)
    answer = each.call("GET", f"unbound/settings/get_host_override/{key}")
    assert answer.json["host"]["description"] == text
    assert b"&amp;" not in answer.body and b"\\u20ac" in answer.body


# 5. Encodings


def test_record_encodings(box: Box) -> None:
    key = box.add_host(**A_RECORD)
    host = box.get(f"unbound/settings/get_host_override/{key}")["host"]
    assert host["enabled"] == "1" and host["server"] == "10.0.0.11" and host["mxprio"] == ""
    assert host["rr"]["A"] == {"value": "A (IPv4 address)", "selected": 1}
    assert host["rr"]["TXT"] == {"value": "TXT (text)", "selected": 0}
    assert host["aliases"] == {"": {"value": "", "selected": 1}}
    whole = box.get("unbound/settings/get")["unbound"]
    assert whole["aliases"]["alias"] == [] and whole["dots"]["dot"] == []
    assert whole["hosts"]["host"][key] == host
    # PHP turns the keys 0, 1, 2 ... into a list.
    assert whole["advanced"]["logverbosity"][1] == {"value": "Level 1 (Default)", "selected": 1}


def test_template_and_unknown_uuid(box: Box) -> None:
    template = box.get("unbound/settings/get_host_override")["host"]
    assert template["enabled"] == "1" and template["rr"]["A"]["selected"] == 1 and template["domain"] == ""
    assert hosts(box) == {}
    answer = box.call("GET", f"unbound/settings/get_host_override/{uuid.uuid4()}")
    assert (answer.status, answer.json) == (200, [])


def test_values_that_are_sent(box: Box) -> None:
    key = box.add_host(**A_RECORD, description="first")
    path = f"unbound/settings/set_host_override/{key}"

    def stored(name: str) -> str:
        return str(hosts(box)[key][name])

    assert box.post(path, {"host": {"addptr": "0", "description": None, "nonsense": "x"}}) == {"result": "saved"}
    assert (stored("addptr"), stored("description")) == ("0", "first")
    assert "nonsense" not in hosts(box)[key]
    assert box.post(path, {"host": {"addptr": True}}) == {"result": "saved"}
    assert stored("addptr") == "1"
    refused = box.post(path, {"host": {"addptr": False}})
    assert refused == {"result": "failed", "validations": {"host.addptr": "A value is required."}}
    listed = box.call("POST", path, {"host": {"server": ["10.0.0.1"]}})
    assert (listed.status, listed.json) == (500, {"errorMessage": "Unexpected error, check log for details"})
    assert box.call("POST", "unbound/settings/set", {"unbound": {"hosts": "text"}}).status == 500
    assert box.post(path, {"host": {"ttl": 300}}) == {"result": "saved"}
    assert stored("ttl") == "300"


# 6. Validations


def test_validations_of_single_actions(box: Box) -> None:
    def check(**fields: str) -> Any:
        answer = box.post("unbound/settings/add_host_override", {"host": {**A_RECORD, **fields}})
        assert answer["result"] == "failed"
        return answer["validations"]

    segment = "Please specify a valid network segment or IP address."
    assert check(domain="") == {"host.domain": "A value is required."}
    assert check(server="nonsense") == {"host.server": segment}
    assert check(server="10.0.0.0/8") == {"host.server": segment}
    assert check(hostname="a b") == {"host.hostname": "A valid hostname must be specified."}
    assert check(hostname="end.") == {"host.hostname": "A valid hostname must be specified."}
    assert check(domain="under_score") == {"host.domain": "A valid domain must be specified."}
    assert check(ttl="-1") == {"host.ttl": "Invalid integer value."}
    assert check(ttl="2147483648") == {"host.ttl": "Invalid integer value."}
    assert check(rr="CNAME") == {"host.rr": "Option [] not in list."}
    assert check(rr="MX") == {
        "host.mxprio": ["The field MX Priority is required."],
        "host.mx": ["The field MX Host is required."],
    }
    assert check(rr="TXT", txtdata="x" * 256)["host.txtdata"]
    assert "host.description" in check(description="a\nb")
    assert check(domain="", server="x").keys() == {"host.domain", "host.server"}
    assert box.state()["revision_count"] == 0


def test_validation_texts_differ_between_releases(each: Box) -> None:
    old = release(each) in ("24.7", "25.1", "25.7")
    host = {**A_RECORD, "rr": "CNAME", "hostname": "a..b"}
    found = each.post("unbound/settings/add_host_override", {"host": host})["validations"]
    assert found["host.rr"] == ("Option not in list." if old else "Option [] not in list.")
    hostname = "Please specify a valid IP address or hostname." if old else "A valid hostname must be specified."
    assert found["host.hostname"] == hostname
    blank = each.post("unbound/settings/add_host_override", {"host": {**A_RECORD, "hostname": "a b"}})
    assert blank["result"] == ("saved" if release(each) == "24.7" else "failed")


def test_validations_of_a_bulk_write_carry_paths_and_new_uuids(each: Box) -> None:
    records = {"mine": {**A_RECORD, "server": "x"}, "other": A_RECORD}
    answer = each.post("unbound/settings/set", {"unbound": {"hosts": {"host": records}}})
    assert answer["result"] == "failed"
    (path,) = answer["validations"]
    parts = path.split(".")
    assert parts[:3] == ["unbound", "hosts", "host"] and parts[4] == "server"
    assert uuid.UUID(parts[3]) and "mine" not in path


# 7. The bulk write


def test_bulk_write(each: Box) -> None:
    first, second = each.add_host(**A_RECORD, description="keep"), each.add_host(**A_RECORD)
    before = each.state()["revision_count"]
    body = {first: {"server": "10.0.0.12"}, "anything": {"hostname": "hades", "domain": "lab.internal",
                                                         "server": "10.0.0.13"}}  # fmt: skip
    answer = each.post("unbound/settings/set", {"unbound": {"hosts": {"host": body}}})
    assert answer == {"result": "saved"}
    found = hosts(each)
    assert (found[first]["server"], found[first]["hostname"], found[first]["description"]) == (
        "10.0.0.12",
        "nyx",
        "keep",
    )
    assert found[second]["server"] == "10.0.0.11"
    (new,) = set(found) - {first, second}
    assert new != "anything" and uuid.UUID(new) and found[new]["hostname"] == "hades"
    assert each.state()["revision_count"] == before + 1


def test_bulk_write_is_all_or_nothing(box: Box) -> None:
    key = box.add_host(**A_RECORD)
    body = {key: {"server": "10.0.0.99"}, "new": {"hostname": "x", "domain": "lab.internal", "server": "nonsense"}}
    assert box.post("unbound/settings/set", {"unbound": {"hosts": {"host": body}}})["result"] == "failed"
    assert list(hosts(box)) == [key] and hosts(box)[key]["server"] == "10.0.0.11"
    assert box.state()["revision_count"] == 1


def test_only_what_changed_is_checked(each: Box) -> None:
    key = str(uuid.uuid4())
    broken = {**A_RECORD, "domain": "not valid"}
    each.seed(unbound={"hosts": {"host": {key: broken}}})
    body = {"x": A_RECORD, key: {"description": "touched"}}
    answer = each.post("unbound/settings/set", {"unbound": {"hosts": {"host": {"x": A_RECORD}}}})
    assert answer == {"result": "saved"}
    # The record is touched, its domain is not: no objection either.
    assert each.post("unbound/settings/set", {"unbound": {"hosts": {"host": body}}}) == {"result": "saved"}
    # A single set checks the whole record, and reports nothing of others.
    single = each.post(f"unbound/settings/set_host_override/{key}", {"host": {"description": "again"}})
    assert single["validations"] == {"host.domain": "A valid domain must be specified."}
    other = next(other for other in hosts(each) if other != key)
    path = f"unbound/settings/set_host_override/{other}"
    assert each.post(path, {"host": {"description": "fine"}}) == {"result": "saved"}


def test_partial_update_of_a_vanished_uuid_fails(box: Box) -> None:
    gone = str(uuid.uuid4())
    answer = box.post("unbound/settings/set", {"unbound": {"hosts": {"host": {gone: {"server": "10.0.0.5"}}}}})
    assert answer["result"] == "failed"
    assert [path.rsplit(".", 1)[1] for path in answer["validations"]] == ["domain"]
    assert hosts(box) == {}


def test_bulk_write_takes_lists_and_many_records(box: Box) -> None:
    records = [{"hostname": f"h{number}", "domain": "lab.internal", "server": "10.1.0.1"} for number in range(1000)]
    started = time.monotonic()
    assert box.post("unbound/settings/set", {"unbound": {"hosts": {"host": records}}}) == {"result": "saved"}
    assert time.monotonic() - started < 10
    assert len(hosts(box)) == 1000 and box.state()["revision_count"] == 1


def test_bulk_write_of_other_parts(each: Box) -> None:
    dots = {"f": {"type": "forward", "domain": "corp.example", "server": "10.9.9.9", "port": "5353"}}
    assert each.post("unbound/settings/set", {"unbound": {"dots": {"dot": dots}}}) == {"result": "saved"}
    general = {"unbound": {"general": {"txtsupport": "1"}}}
    assert each.post("unbound/settings/set", general) == {"result": "saved"}
    whole = each.get("unbound/settings/get")["unbound"]
    assert whole["general"]["txtsupport"] == "1"
    (dot,) = whole["dots"]["dot"].values()
    assert dot["type"]["forward"]["selected"] == 1 and dot["port"] == "5353"
    assert each.post("unbound/settings/set") == {"result": "saved"}


# 8. Upsert, delete, toggle


def test_upsert(each: Box) -> None:
    key = str(uuid.uuid4())
    assert each.post(f"unbound/settings/set_host_override/{key}", {"host": A_RECORD}) == {"result": "saved"}
    assert list(hosts(each)) == [key]
    assert each.post("unbound/settings/set_host_override/not-a-uuid", {"host": A_RECORD}) == {"result": "failed"}
    upper = str(uuid.uuid4()).upper()
    assert each.post(f"unbound/settings/set_host_override/{upper}", {"host": A_RECORD}) == {"result": "failed"}


def test_delete_with_a_comma_list(each: Box) -> None:
    keys = [each.add_host(**A_RECORD) for _ in range(3)]
    before = each.state()["revision_count"]
    answer = each.post(f"unbound/settings/del_host_override/{','.join(keys)}")
    if release(each) in ("26.1", "26.7"):
        assert answer == {"result": "deleted"}
        assert hosts(each) == {} and each.state()["revision_count"] == before + 1
    else:
        assert answer == {"result": "not found"}
        assert list(hosts(each)) == keys and each.state()["revision_count"] == before
        assert each.post(f"unbound/settings/del_host_override/{keys[0]}") == {"result": "deleted"}
        assert list(hosts(each)) == keys[1:]


def test_delete_answers_for_the_last_uuid(box: Box) -> None:
    key, unknown = box.add_host(**A_RECORD), str(uuid.uuid4())
    assert box.post(f"unbound/settings/del_host_override/{key},{unknown}") == {"result": "not found"}
    assert hosts(box) == {}
    assert box.post(f"unbound/settings/del_host_override/{unknown}") == {"result": "not found"}


def test_parameters_are_not_decoded(box: Box) -> None:
    keys = [box.add_host(**A_RECORD) for _ in range(2)]
    assert box.post(f"unbound/settings/del_host_override/{keys[0]}%2C{keys[1]}") == {"result": "not found"}
    assert len(hosts(box)) == 2


def test_deletes_and_dangling_aliases(box: Box) -> None:
    keys = [box.add_host(**A_RECORD) for _ in range(3)]
    for key in keys:
        alias = {"host": key, "hostname": "www", "domain": "lab.internal"}
        assert box.post("unbound/settings/add_host_alias", {"alias": alias})["result"] == "saved"
    box.post(f"unbound/settings/del_host_override/{keys[0]}")
    aliases = box.get("unbound/settings/search_host_alias")["rows"]
    assert [row["host"] for row in aliases] == keys[1:]
    box.post(f"unbound/settings/del_host_override/{keys[1]},{keys[2]}")
    assert hosts(box) == {}
    aliases = box.get("unbound/settings/search_host_alias")["rows"]
    assert [row["host"] for row in aliases] == keys[1:]
    assert box.post(f"unbound/settings/del_host_alias/{','.join(row['uuid'] for row in aliases)}") == {
        "result": "deleted"
    }


def test_toggle(each: Box) -> None:
    key = each.add_host(**A_RECORD)
    path = f"unbound/settings/toggle_host_override/{key}"
    assert each.post(path) == {"result": "Disabled", "changed": True}
    assert each.post(path) == {"result": "Enabled", "changed": True}
    assert each.post(f"{path}/1") == {"result": "Enabled", "changed": False}
    assert each.post(f"{path}/0") == {"result": "Disabled", "changed": True}
    assert hosts(each)[key]["enabled"] == "0"
    assert each.post(f"{path}/x") == {"result": "failed", "changed": False}
    unknown = each.call("POST", f"unbound/settings/toggle_host_override/{uuid.uuid4()}", {})
    if release(each) in ("26.1", "26.7"):
        assert unknown.status == 500
        listed = each.call("POST", f"unbound/settings/toggle_host_override/{key},{key}", {})
        assert listed.status == 500 and listed.json["errorTitle"] == "Toggle"
    else:
        assert unknown.json == {"result": "failed"}


# 9. Uniqueness


def test_unbound_has_none(each: Box) -> None:
    keys = {each.add_host(**A_RECORD) for _ in range(3)}
    assert set(hosts(each)) == keys


def test_dnsmasq_addresses_and_cnames(box: Box) -> None:
    def add(**fields: str) -> Any:
        return box.post("dnsmasq/settings/add_host", {"host": {"domain": "lab.internal", **fields}})

    assert add(host="a", ip="10.10.0.11", hwaddr="00:11:22:33:44:55", cnames="db.lab.internal")["result"] == "saved"
    assert add(host="b", ip="10.10.0.11")["result"] == "saved"  # no MAC: a name only
    assert add(host="c", ip="10.10.0.11", hwaddr="00:11:22:33:44:66") == {
        "result": "failed",
        "validations": {"host.ip": "'10.10.0.11' is already used in another DHCP host entry."},
    }
    assert add(host="d", ip="10.10.0.12", cnames="db.lab.internal")["validations"] == {
        "host.cnames": "CNAME 'db.lab.internal' is already in use by a host override."
    }
    assert add(host="e", ip="10.10.0.1,10.10.0.2", hwaddr="00:11:22:33:44:77")["result"] == "failed"
    assert add(host="*", ip="10.10.0.3", hwaddr="00:11:22:33:44:88")["result"] == "failed"
    assert add(host="*", ip="10.10.0.3")["result"] == "saved"
    bulk = {"x": {"host": "f", "ip": "10.10.0.20"}, "y": {"host": "g", "ip": "10.10.0.21"}}
    assert box.post("dnsmasq/settings/set", {"dnsmasq": {"hosts": bulk}}) == {"result": "saved"}
    found = box.get("dnsmasq/settings/get")["dnsmasq"]["hosts"]
    ips = [next(iter(host["ip"])) for host in found.values() if host["host"] == "f"]
    assert ips == ["10.10.0.20"]


@pytest.fixture
def subnet(box: Box) -> str:
    """A Kea subnet."""
    answer = box.post("kea/dhcpv4/add_subnet", {"subnet4": {"subnet": "10.10.0.0/16"}})
    assert answer["result"] == "saved", answer
    return str(answer["uuid"])


def test_kea_reservations(box: Box, subnet: str) -> None:
    def add(**fields: str) -> Any:
        reservation = {"subnet": subnet, **fields}
        return box.post("kea/dhcpv4/add_reservation", {"reservation": reservation})

    assert add(ip_address="10.10.0.5", hw_address="aa:bb:cc:00:00:01", hostname="nyx")["result"] == "saved"
    assert add(ip_address="10.10.0.6", hw_address="AA:BB:CC:00:00:01")["validations"] == {
        "reservation.hw_address": ["Duplicate entry exists."]
    }
    assert add(ip_address="10.10.0.5", hw_address="aa:bb:cc:00:00:02")["validations"] == {
        "reservation.ip_address": "Duplicate entry exists."
    }
    assert add(ip_address="10.11.0.5", hw_address="aa:bb:cc:00:00:02")["validations"] == {
        "reservation.ip_address": "Address not in specified subnet"
    }
    wrong = add(subnet="10.10.0.0/16", ip_address="10.10.0.7", hw_address="aa:bb:cc:00:00:03")["validations"]
    assert wrong["reservation.subnet"] == "Related subnet not found."
    body = {"dhcpv4": {"reservations": {"reservation": {"n": {
        "subnet": subnet, "ip_address": "10.10.0.8", "hw_address": "aa:bb:cc:00:00:08"}}}}}  # fmt: skip
    assert box.post("kea/dhcpv4/set", body) == {"result": "saved"}
    assert set(box.get("kea/dhcpv4/get")["dhcpv4"]) == {"general", "lexpire", "ha"}
    rows = box.get("kea/dhcpv4/search_reservation")["rows"]
    assert [row["ip_address"] for row in rows] == ["10.10.0.5", "10.10.0.8"]
    assert rows[0]["subnet"] == subnet and rows[0]["%subnet"] == "10.10.0.0/16"


def test_alias_names(box: Box) -> None:
    def add(**fields: str) -> Any:
        return box.post("firewall/alias/add_item", {"alias": {"type": "network", "content": "10.0.0.0/8", **fields}})

    assert add(name="lab_net")["result"] == "saved"
    assert add(name="lab_net")["validations"] == {"alias.name": "An alias with this name already exists."}
    assert add(name="bogons")["validations"] == {"alias.name": "An alias with this name already exists."}
    assert add(name="pass")["result"] == "failed"
    assert add(name="x" * 32)["result"] == "failed"
    assert add(name="with-dash")["result"] == "failed"
    assert add(name="xyz", content="xyz!")["validations"] == {"alias.content": 'Entry "xyz!" is not a network.'}
    assert add(name="two", content="a!\nb!")["validations"] == {
        "alias.content": ['Entry "a!" is not a network.', 'Entry "b!" is not a network.']
    }
    assert add(name="comma", content="10.0.0.0/8,10.1.0.0/16")["result"] == "failed"
    assert add(name="nested", content="lab_net\n10.2.0.1")["result"] == "saved"
    untyped = box.post("firewall/alias/add_item", {"alias": {"name": "u", "content": ""}})
    assert untyped["validations"] == {"alias.type": "Option [] not in list."}


# 10. Searching


def test_rows_hold_labels_or_values(each: Box) -> None:
    key = each.add_host(**A_RECORD)
    alias = {"host": key, "hostname": "www", "domain": "lab.internal"}
    each.post("unbound/settings/add_host_alias", {"alias": alias})
    (row,) = each.get("unbound/settings/search_host_override")["rows"]
    (alias_row,) = each.get("unbound/settings/search_host_alias")["rows"]
    if release(each) in ("24.7", "25.1"):
        assert row["rr"] == "A (IPv4 address)" and "%rr" not in row
        assert alias_row["host"] == "nyx.lab.internal"
    else:
        assert (row["rr"], row["%rr"]) == ("A", "A (IPv4 address)") and "%server" not in row
        assert (alias_row["host"], alias_row["%host"]) == (key, "nyx.lab.internal")
    assert row["uuid"] == key and row["server"] == "10.0.0.11"


def test_children_of_hosts_from_26_1(each: Box) -> None:
    key = each.add_host(**A_RECORD)
    if release(each) in ("26.1", "26.7"):
        path = f"unbound/settings/set_host_override/{key}"
        assert each.post(path, {"host": {"aliases": "www.lab.internal,other.test"}}) == {"result": "saved"}
        (row,) = each.get("unbound/settings/search_host_override")["rows"]
        assert row["isAlias"] is False and row["aliases"] == "www.lab.internal,other.test"
        children = [(child["hostname"], child["domain"], child["isAlias"]) for child in row["_children"]]
        assert children == [("www", "", True), ("other", "test", True)]
        assert each.post(path, {"host": {"aliases": "other.test"}}) == {"result": "saved"}
        assert [row["hostname"] for row in each.get("unbound/settings/search_host_alias")["rows"]] == ["other"]
    else:
        (row,) = each.get("unbound/settings/search_host_override")["rows"]
        assert "isAlias" not in row and "aliases" not in row


def test_paging_sorting_searching(box: Box) -> None:
    for number in (10, 9, 1):
        box.add_host(**{**A_RECORD, "hostname": f"h{number}", "description": f"rack {number}"})
    path = "unbound/settings/search_host_override"

    def names(**query: Any) -> list[str]:
        return [row["hostname"] for row in box.post(path, query)["rows"]]

    assert names() == ["h10", "h9", "h1"]
    assert names(sort={"hostname": "asc"}) == ["h1", "h9", "h10"]
    assert names(sort={"hostname": "desc"}) == ["h10", "h9", "h1"]
    assert names(rowCount=2, current=2, sort={"hostname": "asc"}) == ["h10"]
    assert names(searchPhrase="RACK 9") == ["h9"]
    page = box.get(f"{path}?rowCount=2&current=1")
    assert (page["rowCount"], page["total"], page["current"]) == (2, 3, 1)
    assert names(searchPhrase="ipv4") == ["h10", "h9", "h1"]  # the label is searched


def test_recordset_search_stops_at_9999(box: Box) -> None:
    box.seed(leases={"dnsmasq": [{"address": f"10.{i // 65536}.{i // 256 % 256}.{i % 256}"} for i in range(10050)]})
    answer = box.get("dnsmasq/leases/search")
    assert (answer["rowCount"], answer["total"]) == (9999, 10050)
    assert box.post("dnsmasq/leases/search", {"rowCount": -1})["rowCount"] == 10050


# 11. Saved and applied are two things


def test_records_live_only_after_reconfigure(each: Box) -> None:
    live = each.records()
    each.add_host(**A_RECORD)
    answer = each.get("unbound/diagnostics/listlocaldata")
    assert {(row["name"], row["rrtype"], row["value"]) for row in answer["data"]} == live
    assert each.post("unbound/service/reconfigure") == {"status": "ok"}
    row = next(
        row for row in each.get("unbound/diagnostics/listlocaldata")["data"] if row["name"] == "nyx.lab.internal."
    )
    assert row == {"name": "nyx.lab.internal.", "ttl": "3600", "type": "IN", "rrtype": "A", "value": "10.0.0.11"}
    status = each.get("unbound/service/status")
    captions = {"caption_restart": "Restart", "caption_start": "Start", "caption_stop": "Stop"}
    assert status == {"status": "running", "widget": captions}


def test_generated_records(box: Box) -> None:
    box.add_host(**A_RECORD)
    second = box.add_host(**{**A_RECORD, "hostname": "second", "ttl": "60"})
    box.add_host(**{**A_RECORD, "hostname": "quiet", "server": "10.0.0.12", "addptr": "0"})
    box.add_host(hostname="", domain="lab.internal", rr="MX", mxprio="10", mx="mail.lab.internal")
    box.add_host(hostname="note", domain="lab.internal", rr="TXT", txtdata="two words")
    box.add_host(hostname="six", domain="lab.internal", rr="AAAA", server="fd00::1", description="a text")
    box.add_host(hostname="*", domain="wild.test", server="10.0.0.13", description="hidden")
    box.add_host(**{**A_RECORD, "hostname": "off", "enabled": "0"})
    box.post("unbound/settings/add_host_alias", {"alias": {"host": second, "hostname": "copy"}})
    found = box.records()
    assert ("11.0.0.10.in-addr.arpa.", "PTR", "nyx.lab.internal.") in found
    pointers = {name for name, kind, _value in found if kind == "PTR" and name.endswith(".10.in-addr.arpa.")}
    assert pointers == {"11.0.0.10.in-addr.arpa."}  # the first record per address; no wildcard, no addptr=0
    assert {("copy.lab.internal.", "A", "10.0.0.11"), ("wild.test.", "A", "10.0.0.13")} <= found
    assert {("lab.internal.", "MX", "10"), ("note.lab.internal.", "TXT", '"two')} <= found  # cut at the first blank
    assert ("six.lab.internal.", "AAAA", "fd00::1") in found
    assert not any(name.startswith("off.") for name, _kind, _value in found)
    assert ("six.lab.internal.", "TXT", '"a') not in found
    box.post("unbound/settings/set", {"unbound": {"general": {"txtsupport": "1"}}})
    found = box.records()
    assert ("six.lab.internal.", "TXT", '"a') in found and ("wild.test.", "TXT", '"hidden"') not in found


LONG_NAME = ".".join(["a" * 60] * 4)
OUTAGES = {
    "A with an IPv6 address": [{"hostname": "x", "domain": "lab.test", "server": "fd00::1"}],
    "AAAA with an IPv4 address": [{"hostname": "x", "domain": "lab.test", "rr": "AAAA", "server": "10.0.0.1"}],
    "server any": [{"hostname": "x", "domain": "lab.test", "server": "any"}],
    "long label in the domain": [{"hostname": "x", "domain": f"{'a' * 64}.test", "server": "10.0.0.1"}],
    "name over 253 characters": [{"hostname": "x" * 20, "domain": LONG_NAME, "server": "10.0.0.1"}],
    "double quote": [{"hostname": 'x"y', "domain": "lab.test", "server": "10.0.0.1"}],
    "wildcard and a record below": [
        {"hostname": "*", "domain": "lab.test", "server": "10.0.0.1"},
        {"hostname": "x", "domain": "lab.test", "server": "10.0.0.1"},
    ],
    "wildcard over the system domain": [{"hostname": "*", "domain": "internal", "server": "10.0.0.1"}],
}
HARMLESS = {
    "wildcard and a record at the domain": [
        {"hostname": "*", "domain": "lab.test", "server": "10.0.0.1"},
        {"hostname": "", "domain": "lab.test", "server": "10.0.0.2"},
    ],
    "A and AAAA wildcards": [
        {"hostname": "*", "domain": "lab.test", "server": "10.0.0.1"},
        {"hostname": "*", "domain": "lab.test", "rr": "AAAA", "server": "fd00::1"},
    ],
    "quotes in TXT": [{"hostname": "x", "domain": "lab.test", "rr": "TXT", "txtdata": "a \"b\" 'c' ; d"}],
    "duplicates": [A_RECORD, A_RECORD],
    "largest TTL": [{**A_RECORD, "ttl": "2147483647"}, {**A_RECORD, "hostname": "zero", "ttl": "0"}],
    "unicode": [{"hostname": "bücher", "domain": "lab.test", "server": "10.0.0.1"}],
    "wildcard above a wildcard": [
        {"hostname": "*", "domain": "lab.test", "server": "10.0.0.1"},
        {"hostname": "*", "domain": "deep.lab.test", "server": "10.0.0.2"},
    ],
}


@pytest.mark.parametrize("case", OUTAGES)
def test_outages(box: Box, case: str) -> None:
    for record in OUTAGES[case]:
        box.add_host(**record)  # the API has no objection
    assert box.post("unbound/service/reconfigure") == {"status": "ok"}
    assert box.get("unbound/service/status")["status"] == "stopped"
    assert box.get("unbound/diagnostics/listlocaldata") == {"status": "failed"}
    box.post(f"unbound/settings/del_host_override/{','.join(hosts(box))}")
    assert box.get("unbound/service/status")["status"] == "stopped"
    box.post("unbound/service/reconfigure")
    assert box.get("unbound/service/status")["status"] == "running"


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_input(box: Box, case: str) -> None:
    for record in HARMLESS[case]:
        box.add_host(**record)
    box.post("unbound/service/reconfigure")
    assert box.get("unbound/service/status")["status"] == "running"


def test_disabled_outage_records_do_no_harm(box: Box) -> None:
    box.add_host(**A_RECORD, enabled="0")
    box.add_host(hostname="x", domain="lab.test", server="any", enabled="0")
    box.post("unbound/service/reconfigure")
    assert box.get("unbound/service/status")["status"] == "running"


def test_switching_unbound_off(box: Box) -> None:
    box.post("unbound/settings/set", {"unbound": {"general": {"enabled": "0"}}})
    assert box.get("unbound/service/status")["status"] == "running"
    assert box.post("unbound/service/reconfigure") == {"status": "ok"}
    assert box.get("unbound/service/status")["status"] == "disabled"
    assert box.get("unbound/diagnostics/listlocaldata") == {"status": "failed"}


def test_other_services(box: Box) -> None:
    assert box.get("dnsmasq/service/status")["status"] == "running"
    assert box.get("kea/service/status")["status"] == "disabled"
    box.post("kea/dhcpv4/set", {"dhcpv4": {"general": {"enabled": "1"}}})
    assert box.get("kea/service/status")["status"] == "stopped"
    assert box.post("kea/service/reconfigure") == {"status": "ok"}
    assert box.get("kea/service/status")["status"] == "running"


# 12. Revisions


def test_one_revision_per_save_and_the_last_100(box: Box) -> None:
    for _ in range(103):
        box.add_host(**A_RECORD)
    state = box.state()
    assert state["revision_count"] == 103 and len(state["revisions"]) == 100
    times = [float(revision["time"]) for revision in state["revisions"]]
    assert times == sorted(set(times)) and state["revisions"][-1]["user"] == "root"
    box.get("unbound/settings/get")
    box.post("unbound/service/reconfigure")
    assert box.state()["revision_count"] == 103


# 13. and 14. Refusals of business


def test_read_only_user(each: Box) -> None:
    reader = ("reader", "s")
    answer = each.call("POST", "unbound/settings/add_host_override", {"host": A_RECORD}, key=reader)
    body = {"errorMessage": "User reader denied for write access (user-config-readonly set)", "errorTitle": ""}
    if release(each) in ("26.1", "26.7"):
        body["errorTitle"] = "General access"
    if release(each) == "26.7":
        body["errorLevel"] = "error"
    assert (answer.status, answer.json) == (500, body)
    assert hosts(each) == {} and each.state()["revision_count"] == 0
    assert each.call("GET", "unbound/settings/get", key=reader).status == 200
    # What is invalid is refused as invalid, before the right to write matters.
    refused = each.call("POST", "unbound/settings/add_host_override", {"host": {}}, key=reader)
    assert refused.status == 200 and refused.json["result"] == "failed"


def test_subnet_in_use(box: Box, subnet: str) -> None:
    reservation = {"subnet": subnet, "ip_address": "10.10.0.5", "hw_address": "aa:bb:cc:00:00:01"}
    key = box.post("kea/dhcpv4/add_reservation", {"reservation": {**reservation, "description": "nyx"}})["uuid"]
    answer = box.call("POST", f"kea/dhcpv4/del_subnet/{subnet}", {})
    assert answer.status == 500
    assert f"dhcp4 - nyx {{dhcp4.reservations.reservation.{key}}}" in answer.json["errorMessage"]
    assert answer.json["errorTitle"] == f"Item subnets.subnet4 {{{subnet}}} in use by:"
    assert box.post(f"kea/dhcpv4/del_reservation/{key}") == {"result": "deleted"}
    assert box.post(f"kea/dhcpv4/del_subnet/{subnet}") == {"result": "deleted"}


def test_alias_in_use(box: Box) -> None:
    alias = {"name": "lab_net", "type": "network", "content": "10.0.0.0/8"}
    key = box.post("firewall/alias/add_item", {"alias": alias})["uuid"]
    outer = box.post("firewall/alias/add_item", {"alias": {**alias, "name": "outer", "content": "lab_net"}})["uuid"]
    rule = {"source_net": "lab_net", "interface": "lan", "description": "pass the lab"}
    rule_key = box.post("firewall/filter/add_rule", {"rule": rule})["uuid"]
    answer = box.call("POST", f"firewall/alias/del_item/{key}", {})
    assert (answer.status, answer.json["errorTitle"]) == (500, "Alias in use")
    assert answer.json["errorMessage"].startswith("Cannot delete alias lab_net. Currently in use by ")
    assert f"[aliases.alias.{outer}] outer" in answer.json["errorMessage"]
    assert "OPNsense.Firewall.Filter.rules.rule.0/source_net" in answer.json["errorMessage"]
    before = box.state()["revision_count"]
    assert box.post(f"firewall/alias/set_item/{key}", {"alias": {"name": "renamed"}}) == {"result": "saved"}
    assert box.get(f"firewall/filter/get_rule/{rule_key}")["rule"]["source_net"] == "renamed"
    assert "renamed" in box.get(f"firewall/alias/get_item/{outer}")["alias"]["content"]
    assert box.state()["revision_count"] == before + 1


# 15. Limits of the web server


def test_fifteen_requests_per_connection(box: Box) -> None:
    connection = box.connection()
    closing = []
    for _ in range(15):
        answer = box.call("GET", "unbound/service/status", on=connection)
        assert answer.status == 200
        closing.append(answer.headers["connection"])
    connection.close()
    assert closing == ["keep-alive"] * 14 + ["close"]
    numbers = [entry["connection"] for entry in box.control("GET", "/log")["requests"]]
    assert len(set(numbers)) == 1


def raw_request(box: Box, data: bytes) -> bytes:
    with socket.create_connection(box.address(), 10) as stream:
        stream.sendall(data)
        received = b""
        while chunk := stream.recv(65536):
            received += chunk
    return received


def test_header_limit(box: Box) -> None:
    uuids = ",".join(str(uuid.uuid4()) for _ in range(500))
    path = f"/api/unbound/settings/del_host_override/{uuids}"
    assert raw_request(box, f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 414 ")
    large = f"GET /api/unbound/settings/get HTTP/1.1\r\nHost: x\r\nX-Large: {'x' * 17000}\r\n\r\n".encode()
    assert raw_request(box, large).startswith(b"HTTP/1.1 400 ")
    fitting = ",".join(str(uuid.uuid4()) for _ in range(200))
    assert box.post(f"unbound/settings/del_host_override/{fitting}") == {"result": "not found"}
    assert raw_request(box, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_idle_connections_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path, "--idle-seconds", "0.3")
    try:
        with socket.create_connection(box.address(), 10) as stream:
            started = time.monotonic()
            assert stream.recv(1) == b""  # closed by the server
            assert 0.2 < time.monotonic() - started < 5
    finally:
        box.stop()
    monkeypatch.syspath_prepend(str(SIMULATOR))
    from opnsense_simulator import server

    assert server.IDLE_SECONDS == 30.0


# 16. What a release can do


def test_capabilities_show_in_keys(each: Box) -> None:
    host = each.get("unbound/settings/get_host_override")["host"]
    name = release(each)
    assert ("ttl" in host) == (name != "24.7")
    assert ("txtdata" in host) == (name in ("25.7", "26.1", "26.7")) == ("TXT" in host["rr"])
    assert ("addptr" in host) == (name in ("26.1", "26.7")) == ("aliases" in host)
    assert each.call("GET", "dnsmasq/settings/get").status == (404 if name == "24.7" else 200)
    assert each.call("GET", "dhcpv4/leases/searchLease").status == (200 if name < "26" else 404)
    assert each.call("GET", "hostdiscovery/service/search").status == (404 if name < "26" else 200)
    if name not in ("24.7",):
        cnames = "cnames" in each.get("dnsmasq/settings/get_host")["host"]
        assert cnames == (name != "25.1")
    versions = each.get("diagnostics/system/system_information")
    assert versions["name"] == "OPNsense.internal" and versions["versions"][0].startswith(f"OPNsense {name}.")
    assert each.get("core/firmware/info")["product_version"].startswith(name)


def test_unknown_field_vanishes_on_old_releases(boxes: Callable[[str], Box]) -> None:
    box = boxes("24.7")
    key = box.add_host(**A_RECORD, ttl="60")
    assert "ttl" not in hosts(box)[key]


def test_forwards(each: Box) -> None:
    forward = {"domain": "corp.example", "server": "10.9.9.9"}
    assert each.post("unbound/settings/add_forward", {"dot": forward})["result"] == "saved"
    assert each.post("unbound/settings/add_dot", {"dot": {**forward, "verify": "dns.example"}})["result"] == "saved"
    (plain,) = each.get("unbound/settings/search_forward")["rows"]
    (tls,) = each.get("unbound/settings/searchDot")["rows"]
    assert (plain["verify"], tls["verify"]) == ("", "dns.example")
    key = plain["uuid"]
    assert each.post(f"unbound/settings/set_forward/{key}", {"dot": {"server": "10.9.9.8"}}) == {"result": "saved"}
    assert each.get(f"unbound/settings/get_forward/{key}")["dot"]["type"]["forward"]["selected"] == 1
    assert each.post(f"unbound/settings/toggle_forward/{key}")["result"] == "Disabled"
    assert each.post(f"unbound/settings/del_forward/{key}") == {"result": "deleted"}


# 17. TLS


def test_certificate_has_the_name_and_no_address(box: Box) -> None:
    host, port = box.address("listen")
    context = ssl.create_default_context(cafile=box.ready["certificate"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection((host, port), 10) as stream,
        context.wrap_socket(stream, server_hostname="OPNsense.internal") as secure,
    ):
        certificate = secure.getpeercert()
        der = secure.getpeercert(binary_form=True)
    assert certificate is not None and der is not None
    assert certificate["subjectAltName"] == (("DNS", "OPNsense.internal"),)
    assert hashlib.sha256(der).hexdigest() == box.ready["fingerprint"]
    with socket.create_connection((host, port), 10) as stream, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(stream, server_hostname="127.0.0.1")


def test_api_over_tls(box: Box) -> None:
    host, port = box.address("listen")
    connection = http.client.HTTPSConnection(host, port, timeout=10, context=ssl._create_unverified_context())
    assert box.call("GET", "unbound/service/status", on=connection).status == 200
    assert box.call("GET", "unbound/service/status", on=connection).status == 200
    connection.close()


# 18. Aliases and rules


def test_alias_import_and_export(each: Box) -> None:
    def send(**aliases: dict[str, Any]) -> Any:
        return each.post("firewall/alias/import", {"data": {"aliases": {"alias": aliases}}})

    one = {"name": "one", "type": "host", "content": "10.0.0.1\n10.0.0.2"}
    assert send(a=one, b={"name": "two", "type": "port", "content": "80\nhttps"}) == {
        "existing": 0,
        "new": 2,
        "status": "ok",
    }
    exported = each.get("firewall/alias/export")["aliases"]["alias"]
    keys = {row["name"]: key for key, row in exported.items()}
    assert set(keys) == {"one", "two"} and exported[keys["one"]]["content"] == "10.0.0.1\n10.0.0.2"
    assert exported[keys["one"]]["enabled"] == "1" and exported[keys["one"]]["type"] == "host"
    before = each.state()["revision_count"]
    assert send(x={"name": "one", "content": "10.0.0.3"}, y={"name": "three", "type": "host"}) == {
        "existing": 1,
        "new": 1,
        "status": "ok",
    }
    exported = each.get("firewall/alias/export")["aliases"]["alias"]
    assert exported[keys["one"]]["content"] == "10.0.0.3"
    assert each.state()["revision_count"] == before + 1
    failed = send(p={"name": "four", "type": "host"}, q={"name": "one", "content": "not valid!"})
    assert failed["status"] == "failed" and set(failed["validations"]) == {"q.content"}
    assert len(each.get("firewall/alias/export")["aliases"]["alias"]) == 3
    unknown = {"data": {"aliases": {"alias": {"a": {**one, "nonsense": "x"}}}}}
    assert each.call("POST", "firewall/alias/import", unknown).status == 500
    assert each.state()["revision_count"] == before + 1
    assert each.post("firewall/alias/import", {"data": {}})["status"] == "failed"
    names = {row["name"] for row in each.get("firewall/alias/search_item")["rows"]}
    assert {"one", "bogons", "bogonsv6", "virusprot", "sshlockout", "__lan_network"} <= names
    again = each.get("firewall/alias/export")["aliases"]["alias"]
    answer = each.post("firewall/alias/import", {"data": {"aliases": {"alias": again}}})
    assert answer == {"existing": 3, "new": 0, "status": "ok"}
    assert each.post("firewall/alias/reconfigure") == {"status": "ok"}


def test_built_in_aliases_stay(box: Box) -> None:
    assert box.post("firewall/alias/del_item/bogons") == {"result": "not found"}
    content = box.get("firewall/alias/get_item")["alias"]["content"]
    assert content["bogons"] == {"selected": 0, "value": "bogons", "description": "bogon networks (internal)"}
    assert box.get("firewall/alias/export")["aliases"]["alias"] == []


def test_rules(box: Box) -> None:
    rows = box.get("firewall/filter/search_rule")["rows"]
    assert len(rows) == 32 and all(row["legacy"] is True for row in rows)
    rule = {"action": "pass", "interface": "lan", "protocol": "tcp", "source_net": "any", "destination_net": "lan",
            "destination_port": "443", "description": "web [aip]"}  # fmt: skip
    answer = box.post("firewall/filter/add_rule", {"rule": rule})
    assert answer["result"] == "saved", answer
    found = box.get(f"firewall/filter/get_rule/{answer['uuid']}")["rule"]
    assert found["protocol"]["TCP"]["selected"] == 1 and found["interface"]["lan"]["selected"] == 1
    assert (found["destination_net"], found["%destination_net"]) == ("lan", "LAN net")
    assert found["sequence"] == "101"
    own = [row for row in box.get("firewall/filter/search_rule")["rows"] if row["uuid"] == answer["uuid"]]
    assert own[0]["sort_order"] == "400000.0000101" and "legacy" not in own[0]
    udp = box.post("firewall/filter/add_rule", {"rule": {**rule, "protocol": "any"}})["validations"]
    assert udp == {"rule.destination_port": "Destination ports are only valid for tcp or udp type rules."}
    v6 = box.post("firewall/filter/add_rule", {"rule": {**rule, "source_net": "fd00::/8"}})["validations"]
    assert v6 == {"rule.source_net": "Source address type should match selected TCP/IP protocol version."}
    bulk = {"filter": {"rules": {"rule": {answer["uuid"]: {"log": "1"}, "new": rule}}}}
    assert box.post("firewall/filter/set", bulk) == {"result": "saved"}
    assert box.post(f"firewall/filter/toggle_rule/{answer['uuid']}/0") == {"result": "Disabled", "changed": True}
    assert answer["uuid"] not in box.state()["running"]["firewall"]["filter"]["rules"]["rule"]
    assert box.post("firewall/filter/apply") == {"status": "OK\n\n"}
    assert answer["uuid"] in box.state()["running"]["firewall"]["filter"]["rules"]["rule"]


def test_automatic_rules_need_asking_on_25(boxes: Callable[[str], Box]) -> None:
    box = boxes("25.7")
    assert box.get("firewall/filter/search_rule")["rows"] == []
    assert len(box.get("firewall/filter/search_rule?show_all=1")["rows"]) == 32


def test_savepoints(each: Box) -> None:
    savepoint = each.call("POST", "firewall/filter/savepoint", {})
    if release(each) == "26.7":
        assert (savepoint.status, savepoint.json) == (404, {"errorMessage": "Endpoint not found"})
        assert each.call("POST", "firewall/filter/cancel_rollback/1.0", {}).status == 404
        assert each.call("POST", "firewall/filter/revert/1.0", {}).status == 404
        return
    answer = savepoint.json
    assert answer["status"] == "ok" and float(answer["revision"]) > 0 and answer["retention"] == "100"
    rule = {"action": "pass", "interface": "lan", "description": "web"}
    key = each.post("firewall/filter/add_rule", {"rule": rule})["uuid"]
    revision = answer["revision"]
    assert each.post(f"firewall/filter/apply/{revision}") == {"status": "OK\n\n"}
    assert key in each.state()["running"]["firewall"]["filter"]["rules"]["rule"]
    assert each.post(f"firewall/filter/cancelRollback/{revision}")["status"].startswith("OK")
    time.sleep(0.6)
    assert key in each.state()["filter"]["rules"]["rule"]
    each.post(f"firewall/filter/apply/{revision}")
    deadline = time.monotonic() + 10
    while each.state()["filter"]["rules"]["rule"] and time.monotonic() < deadline:
        time.sleep(0.05)
    state = each.state()
    assert state["filter"]["rules"]["rule"] == {} == state["running"]["firewall"]["filter"]["rules"]["rule"]
    assert each.post("firewall/filter/revert/1.0") == {"status": "unknown (or removed) savepoint"}
    each.post("firewall/filter/add_rule", {"rule": rule})
    assert each.post(f"firewall/filter/revert/{revision}") == {"status": "ok"}
    assert each.state()["filter"]["rules"]["rule"] == {}


# Leases and tables


def test_leases(box: Box) -> None:
    host = {"host": "nyx", "domain": "lab.internal", "ip": "10.0.0.11", "hwaddr": "aa:bb:cc:00:00:01"}
    box.post("dnsmasq/settings/add_host", {"host": host})
    lease = {"address": "10.0.0.11", "hwaddr": "AA:BB:CC:00:00:01", "hostname": "nyx", "if": "vtnet0", "expire": 1}
    arp = {"mac": "aa:bb:cc:00:00:01", "ip": "10.0.0.11", "intf": "vtnet0"}
    seen = {"interface_name": "vtnet0", "ether_address": "aa:bb:cc:00:00:01", "ip_address": "10.0.0.11"}
    box.seed(leases={"dnsmasq": [lease], "kea": [{**lease, "state": 0}], "arp": [arp], "hostdiscovery": [seen]})
    answer = box.get("dnsmasq/leases/search")
    (row,) = answer["rows"]
    assert (row["if_name"], row["if_descr"], row["is_reserved"]) == ("lan", "LAN", ["hwaddr"])
    assert answer["interfaces"] == {"lan": "LAN"}
    kea = box.get("kea/leases4/search")
    assert kea["rows"][0]["is_reserved"] == [] and kea["stats"] == {"active": 1, "inactive": 0, "total": 1}
    assert box.get("diagnostics/interface/search_arp")["rows"][0]["intf_description"] == "LAN"
    assert box.get("hostdiscovery/service/search")["rows"][0]["interface_name"] == "LAN"
    assert box.post("dnsmasq/leases/search", {"selected_interfaces": ["wan"]})["rows"] == []


def test_tables_as_csv(box: Box, subnet: str) -> None:
    payload = "ip_address,hw_address,hostname\n10.10.0.5,aa:bb:cc:00:00:01,nyx\n192.0.2.1,aa:bb:cc:00:00:02,bad\n"
    answer = box.post("kea/dhcpv4/upload_reservations", {"payload": payload})
    assert answer["inserted"] == 2 and {fault["sequence"] for fault in answer["validations"]} == {1}
    rows = box.get("kea/dhcpv4/search_reservation")["rows"]
    assert [row["hostname"] for row in rows] == ["nyx"]
    payload = "host,domain,ip,descr\nnyx,lab.internal,10.0.0.11,first\n"
    assert box.post("dnsmasq/settings/upload_hosts", {"payload": payload})["inserted"] == 1
    assert box.post("dnsmasq/settings/upload_hosts", {"payload": payload.replace("first", "again")})["updated"] == 1
    table = box.call("GET", "dnsmasq/settings/download_hosts").body.decode()
    assert "hostname" in table.splitlines()[0] and "again" in table.splitlines()[1]


# The control interface


def test_request_log(box: Box) -> None:
    box.get("unbound/settings/get")
    box.add_host(**A_RECORD)
    box.post("unbound/settings/search_host_override")
    box.call("GET", "unbound/settings/get", key=("wrong", "x"))
    log = box.control("GET", "/log")["requests"]
    assert [(entry["method"], entry["path"], entry["status"], entry["user"], entry["write"]) for entry in log] == [
        ("GET", "/api/unbound/settings/get", 200, "root", False),
        ("POST", "/api/unbound/settings/add_host_override", 200, "root", True),
        ("POST", "/api/unbound/settings/search_host_override", 200, "root", False),
        ("GET", "/api/unbound/settings/get", 401, None, False),
    ]
    assert "pantheon-secret" not in json.dumps(log)
    box.control("DELETE", "/log")
    assert box.control("GET", "/log") == {"requests": []}


def test_faults(box: Box) -> None:
    path = "unbound/settings/get"
    expected = {"unauthorized": (401, None), "forbidden": (403, None), "error": (500, None), "empty": (200, b"")}
    for kind, (status, body) in expected.items():
        box.fault(kind, "settings/get")
        assert box.call("GET", "unbound/service/status").status == 200
        answer = box.call("GET", path)
        assert answer.status == status and (body is None or answer.body == body), kind
        assert box.call("GET", path).json["unbound"]
    box.fault("drop", "settings", times=2)
    for _ in range(2):
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            box.call("GET", path)
    assert box.call("GET", path).status == 200
    box.fault("slow", seconds=0.4)
    started = time.monotonic()
    assert box.call("GET", path).status == 200 and time.monotonic() - started >= 0.4
    box.fault("service_fails", "unbound")
    assert box.get("unbound/service/status")["status"] == "running"
    assert box.post("unbound/service/reconfigure") == {"status": "ok"}
    assert box.get("unbound/service/status")["status"] == "stopped"
    box.post("unbound/service/reconfigure")
    assert box.get("unbound/service/status")["status"] == "running"
    assert box.control("PUT", "/faults", {"faults": [{"kind": "nonsense"}]})["status"] == 400
    box.fault("error", times=5)
    assert box.control("DELETE", "/faults") == {"status": "ok"} and box.control("GET", "/faults") == {"faults": []}
    assert box.call("GET", path).status == 200


def test_seed_and_reset(box: Box) -> None:
    key = str(uuid.uuid4())
    box.seed(system={"domain": "home.arpa"}, unbound={"hosts": {"host": {key: A_RECORD}}})
    assert list(hosts(box)) == [key]
    assert box.get("diagnostics/system/system_information")["name"] == "OPNsense.home.arpa"
    live = {row["name"] for row in box.get("unbound/diagnostics/listlocaldata")["data"]}
    assert {"nyx.lab.internal.", "OPNsense.home.arpa."} <= live
    box.seed(apply=False, unbound={"hosts": {"host": []}})
    assert hosts(box) == {} and "nyx.lab.internal." in str(box.get("unbound/diagnostics/listlocaldata"))
    box.seed(running={"unbound": False})
    assert box.get("unbound/service/status")["status"] == "stopped"
    assert box.control("GET", "/health")["status"] == 503
    assert box.control("PUT", "/state", {"nonsense": {}})["status"] == 400
    assert box.control("PUT", "/state", {"unbound": {"hosts": {"host": [{"nonsense": "x"}]}}})["status"] == 400
    box.control("POST", "/reset")
    assert hosts(box) == {} and box.state()["system"]["domain"] == "internal"
    assert box.get("unbound/service/status")["status"] == "running"


def test_state_survives_a_restart(tmp_path: Path) -> None:
    box = Box(tmp_path)
    try:
        key = box.add_host(**A_RECORD)
        fingerprint, file = box.ready["fingerprint"], tmp_path / "state" / "config.json"
        assert json.loads(file.read_text(encoding="utf-8"))["revision_count"] == 1
    finally:
        assert box.stop() == 0
    box = Box(tmp_path)
    try:
        assert list(hosts(box)) == [key] and box.state()["revision_count"] == 1
        assert box.ready["fingerprint"] == fingerprint
        # A start is a boot: it runs what is saved.
        assert "nyx.lab.internal." in str(box.get("unbound/diagnostics/listlocaldata"))
    finally:
        box.stop()
    assert not list((tmp_path / "state").glob("*.tmp"))
    failed = subprocess.run(
        [sys.executable, "-m", "opnsense_simulator", "--state", str(tmp_path / "state"), "--release", "25.7"],
        cwd=SIMULATOR,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert failed.returncode == 1 and "belongs to release 26.7" in failed.stderr


def test_default_identity(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SIMULATOR)}
    process = subprocess.Popen(
        [sys.executable, "-m", "opnsense_simulator"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert (
            ready["plain"] is None and ready["release"] == "26.7" and ready["listen"].startswith("https://127.0.0.1:")
        )
        url = urllib.parse.urlsplit(ready["listen"])
        connection = http.client.HTTPSConnection(
            str(url.hostname), url.port, timeout=10, context=ssl._create_unverified_context()
        )
        token = base64.b64encode(b"pantheon-key:pantheon-secret").decode()
        connection.request("GET", "/api/unbound/service/status", headers={"Authorization": f"Basic {token}"})
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("body", [{"host": "text"}, {"host": {"rr": {"A": 1}}}, {"host": [1, 2]}, [1], "x", 5])
def test_strange_bodies_are_answered(box: Box, body: Any) -> None:
    answer = box.call("POST", "unbound/settings/add_host_override", body)
    assert answer.status in (200, 500) and b"saved" not in answer.body
    assert hosts(box) == {}


def test_parallel_writers_lose_nothing(box: Box) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        keys = list(pool.map(lambda _: box.add_host(**A_RECORD), range(24)))
    assert set(hosts(box)) == set(keys) and box.state()["revision_count"] == 24


# With a real Unbound

UNBOUND = shutil.which("unbound", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_unbound = pytest.mark.skipif(UNBOUND is None, reason="Unbound is not installed (Debian: unbound)")
TYPES = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NXDOMAIN = 3


def free_port() -> int:
    """A port that neither TCP nor UDP uses at the moment."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, socket.socket() as stream:
            probe.bind(("127.0.0.1", 0))
            try:
                stream.bind(probe.getsockname())
            except OSError:
                continue
            return int(probe.getsockname()[1])


def start_real(folder: Path, *arguments: str) -> tuple[Box, int]:
    """A simulator with a real Unbound; another port where somebody else was faster."""
    for attempt in range(5):
        port = free_port()
        box = Box(folder / str(attempt), "--unbound", str(folder / "unbound"), "--unbound-port", str(port), *arguments)
        if box.get("unbound/service/status")["status"] == "running":
            return box, port
        box.stop()
    raise AssertionError((folder / "unbound" / "unbound.log").read_text(encoding="utf-8"))


def encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decoded(packet: bytes, offset: int) -> tuple[str, int]:
    labels, end = [], None
    while length := packet[offset]:
        if length >= 192:
            end = end or offset + 2
            offset = struct.unpack("!H", packet[offset : offset + 2])[0] & 0x3FFF
            continue
        labels.append(packet[offset + 1 : offset + 1 + length].decode())
        offset += 1 + length
    return ".".join(labels), end or offset + 1


def ask(port: int, name: str, kind: str = "A", timeout: float = 5) -> tuple[int, list[tuple[int, str]]]:
    """Ask a server; the response code and the answers as TTL and value."""
    question = encoded(name) + struct.pack("!HH", TYPES[kind], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.settimeout(timeout)
        stream.connect(("127.0.0.1", port))
        stream.send(struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question)
        packet = stream.recv(65535)
    code, count, offset = packet[3] & 15, struct.unpack("!H", packet[6:8])[0], 12 + len(question)
    answers = []
    for _ in range(count):
        _owner, offset = decoded(packet, offset)
        rtype, _class, ttl, length = struct.unpack("!HHIH", packet[offset : offset + 10])
        offset += 10
        data = packet[offset : offset + length]
        if rtype == TYPES["A"]:
            value = socket.inet_ntop(socket.AF_INET, data)
        elif rtype == TYPES["AAAA"]:
            value = socket.inet_ntop(socket.AF_INET6, data)
        elif rtype == TYPES["TXT"]:
            value = data[1 : 1 + data[0]].decode()
        elif rtype == TYPES["MX"]:
            value = f"{struct.unpack('!H', data[:2])[0]} {decoded(packet, offset + 2)[0]}"
        else:
            value = decoded(packet, offset)[0]
        answers.append((ttl, value))
        offset += length
    return code, sorted(answers)


class Upstream:
    """A name server that knows one address for everything."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.questions: list[str] = []
        self.stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stream.bind(("127.0.0.1", 0))
        self.port = int(self.stream.getsockname()[1])
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                packet, client = self.stream.recvfrom(65535)
            except OSError:
                return
            name, end = decoded(packet, 12)
            self.questions.append(name)
            header = packet[:2] + struct.pack("!5H", 0x8580, 1, 1, 0, 0)
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + socket.inet_aton(self.address)
            self.stream.sendto(header + packet[12 : end + 4] + answer, client)


@pytest.fixture(scope="module")
def real_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, int]]:
    """A simulator with a real Unbound."""
    box, port = start_real(tmp_path_factory.mktemp("real"))
    yield box, port
    box.stop()


@pytest.fixture
def real(real_box: tuple[Box, int]) -> tuple[Box, int]:
    real_box[0].control("POST", "/reset")
    return real_box


@needs_unbound
def test_unbound_answers(real: tuple[Box, int]) -> None:
    box, port = real
    box.add_host(**A_RECORD, ttl="77")
    second = box.add_host(**{**A_RECORD, "server": "10.0.0.12"})
    box.add_host(hostname="six", domain="lab.internal", rr="AAAA", server="fd00::1")
    box.add_host(hostname="", domain="lab.internal", rr="MX", mxprio="10", mx="mail.lab.internal")
    box.add_host(hostname="note", domain="lab.internal", rr="TXT", txtdata='say "hi"; twice')
    box.add_host(hostname="*", domain="wild.test", server="10.0.0.13")
    box.post("unbound/settings/add_host_alias", {"alias": {"host": second, "hostname": "copy"}})
    assert ask(port, "nyx.lab.internal") == (NXDOMAIN, [])  # saved, not applied
    assert box.post("unbound/service/reconfigure") == {"status": "ok"}
    assert ask(port, "nyx.lab.internal") == (0, [(77, "10.0.0.11"), (3600, "10.0.0.12")])
    assert ask(port, "six.lab.internal", "AAAA") == (0, [(3600, "fd00::1")])
    assert ask(port, "11.0.0.10.in-addr.arpa", "PTR") == (0, [(3600, "nyx.lab.internal")])
    assert ask(port, "13.0.0.10.in-addr.arpa", "PTR")[1] == []
    assert ask(port, "any.thing.wild.test") == (0, [(3600, "10.0.0.13")])
    assert ask(port, "lab.internal", "MX") == (0, [(3600, "10 mail.lab.internal")])
    assert ask(port, "note.lab.internal", "TXT") == (0, [(3600, 'say "hi"; twice')])
    assert ask(port, "copy.lab.internal") == (0, [(3600, "10.0.0.12")])
    assert ask(port, "OPNsense.internal") == (0, [(3600, "192.168.1.1")])
    started = time.monotonic()
    assert ask(port, "www.example.org") == (NXDOMAIN, []) and ask(port, "gone.internal") == (NXDOMAIN, [])
    assert time.monotonic() - started < 2  # nobody to ask, and no time lost over it


@needs_unbound
def test_both_resolvers_list_the_same_records(real: tuple[Box, int], box: Box) -> None:
    records = [record for case in HARMLESS.values() for record in case if record["domain"] != "deep.lab.test"]
    records = [record for record in records if record["hostname"] != "*"]
    records += [{**A_RECORD, "hostname": "NYX"}, {**A_RECORD, "hostname": "six", "rr": "AAAA", "server": "FD00:0::1"}]
    lists = []
    for candidate in (real[0], box):
        body = {"hosts": {"host": records}, "general": {"txtsupport": "1"}}
        assert candidate.post("unbound/settings/set", {"unbound": body}) == {"result": "saved"}
        candidate.post("unbound/service/reconfigure")
        data = candidate.get("unbound/diagnostics/listlocaldata")["data"]
        lists.append({tuple(row.values()) for row in data if row["rrtype"] not in ("SOA", "NS")})
    assert lists[0] == lists[1]


@needs_unbound
@pytest.mark.parametrize("case", OUTAGES)
def test_outages_of_a_real_unbound(real: tuple[Box, int], case: str) -> None:
    box, port = real
    for record in OUTAGES[case]:
        box.add_host(**record)
    assert box.post("unbound/service/reconfigure") == {"status": "ok"}
    assert box.get("unbound/service/status")["status"] == "stopped"
    assert box.get("unbound/diagnostics/listlocaldata") == {"status": "failed"}
    assert box.state()["running"]["unbound"]["fault"]
    with pytest.raises(OSError):
        ask(port, "OPNsense.internal", timeout=0.3)
    box.post(f"unbound/settings/del_host_override/{','.join(hosts(box))}")
    box.post("unbound/service/reconfigure")
    assert ask(port, "OPNsense.internal")[0] == 0


@needs_unbound
@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_input_for_a_real_unbound(real: tuple[Box, int], case: str) -> None:
    box, _port = real
    for record in HARMLESS[case]:
        box.add_host(**record)
    box.post("unbound/service/reconfigure")
    assert box.get("unbound/service/status")["status"] == "running", box.state()["running"]["unbound"]["fault"]


@needs_unbound
def test_forwards_and_upstreams_of_a_real_unbound(tmp_path: Path) -> None:
    corporate, internet = Upstream("10.9.9.9"), Upstream("192.0.2.7")
    box, port = start_real(tmp_path, "--upstream", f"127.0.0.1@{internet.port}")
    try:
        forward = {"domain": "corp.example", "server": "127.0.0.1", "port": str(corporate.port)}
        assert box.post("unbound/settings/add_forward", {"dot": forward})["result"] == "saved"
        assert ask(port, "git.corp.example")[1] == [(30, "192.0.2.7")]
        box.post("unbound/service/reconfigure")
        assert ask(port, "git.corp.example")[1] == [(30, "10.9.9.9")]
        assert ask(port, "www.example.org")[1] == [(30, "192.0.2.7")]
        assert "git.corp.example" in corporate.questions and "www.example.org" in internet.questions
        assert ask(port, "OPNsense.internal")[1] == [(3600, "192.168.1.1")]
    finally:
        box.stop()
        corporate.stream.close()
        internet.stream.close()


@needs_unbound
def test_a_real_unbound_that_dies_and_restarts(tmp_path: Path) -> None:
    box, port = start_real(tmp_path, "--lan-address", "127.0.0.9")
    try:
        box.add_host(**A_RECORD)
        box.post("unbound/service/reconfigure")
        os.kill(box.state()["running"]["unbound"]["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 5
        while box.get("unbound/service/status")["status"] == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert box.get("unbound/service/status")["status"] == "stopped"
        assert box.get("unbound/diagnostics/listlocaldata") == {"status": "failed"}
        box.post("unbound/service/reconfigure")
        assert ask(port, "nyx.lab.internal")[1] == [(3600, "10.0.0.11")]
    finally:
        assert box.stop() == 0
    with pytest.raises(OSError):
        ask(port, "nyx.lab.internal", timeout=0.3)
    more = ("--unbound", str(tmp_path / "unbound"), "--unbound-port", str(port), "--lan-address", "127.0.0.9")
    box = Box(box.folder, *more)
    try:
        assert ask(port, "nyx.lab.internal")[1] == [(3600, "10.0.0.11")]
        assert ask(port, "OPNsense.internal")[1] == [(3600, "127.0.0.9")]
    finally:
        box.stop()


def test_unbound_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SIMULATOR))
    from opnsense_simulator import resolver

    monkeypatch.setattr(resolver.shutil, "which", lambda *_arguments, **_options: None)
    with pytest.raises(resolver.ResolverError, match="install Debian's package unbound"):
        resolver.Unbound(resolver.UnboundOptions(tmp_path))
