# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what router and NAS are asked for 10, 100 and 1,000 entries: requests, applies, seconds.

    python benchmarks/appliances/run.py [--rounds N]

The counterparts are the simulators, on this computer, without TLS-offloading web servers, disks of ZFS or a real restart of a
resolver: seconds compare with each other only, requests are those that a real box gets.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
SIZES = (10, 100, 1000)
SHARES = (10, 100)
KEY, SECRET = "pantheon-key", "pantheon-secret"


@dataclass(frozen=True)
class Simulator:
    """A running simulator."""

    plain: str
    control: str

    def log(self) -> list[dict[str, Any]]:
        """Return the requests since the last call."""
        with urllib.request.urlopen(f"{self.control}/log", timeout=30) as answer:
            requests: list[dict[str, Any]] = json.load(answer)["requests"]
        urllib.request.urlopen(urllib.request.Request(f"{self.control}/log", method="DELETE"), timeout=30).close()
        return requests


@contextlib.contextmanager
def simulator(name: str) -> Iterator[Simulator]:
    """Run a simulator for a while."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                sys.executable, "-m", f"{name}_simulator", "--listen", "127.0.0.1:0", "--plain", "127.0.0.1:0",
                "--control", "127.0.0.1:0", "--state", folder, "--auth-delay", "0",
            ],
            cwd=ROOT / "lab" / "simulators" / name,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Simulator(ready["plain"], ready["control"])
        finally:
            process.terminate()
            process.wait(30)


def module(name: str, arguments: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Run a module as Ansible does, without Ansible; return its seconds and its result."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"ANSIBLE_MODULE_ARGS": arguments}, file)
        file.flush()
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(ROOT / "plugins" / "modules" / f"{name}.py"), file.name],
            env=os.environ | {"PYTHONPATH": str(ROOT / "collections")},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
    result: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.returncode or result.get("failed"):
        raise SystemExit(f"{name}: {result.get('msg') or done.stderr}")
    return seconds, result


def records(count: int, changed: int = 0) -> list[dict[str, Any]]:
    """Return records; the first *changed* of them have another address."""
    return [
        {
            "name": f"host{number}.bench.internal",
            "value": f"10.{20 if number < changed else 10}.{number // 250}.{number % 250 + 1}",
        }
        for number in range(count)
    ]


def router_bulk(box: Simulator, count: int) -> list[dict[str, Any]]:
    """Measure opnsense_dns_records: everything new, nothing new, one changed."""
    place = urlsplit(box.plain)
    connection = {"host": place.hostname, "port": place.port, "scheme": "http", "api_key": KEY, "api_secret": SECRET}
    rows = []
    for step, wanted, expected in (
        ("first", records(count), True),
        ("unchanged", records(count), False),
        ("one change", records(count, 1), True),
    ):
        box.log()
        seconds, result = module(
            "opnsense_dns_records", {**connection, "owner": "bench", "state": "exact", "records": wanted}
        )
        if result["changed"] is not expected:
            raise SystemExit(f"{step}: changed is {result['changed']}")
        rows.append(
            {"what": "router, all in one task", "count": count, "step": step, "seconds": seconds, **counted(box.log())}
        )
    return rows


def router_one_by_one(box: Simulator, count: int) -> list[dict[str, Any]]:
    """Measure the usual way on the same API: look, add and apply for each record, with a connection each."""
    place = urlsplit(box.plain)
    header = {
        "Authorization": "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode(),
        "Content-Type": "application/json",
    }

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        client = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            client.request("POST", f"/api/{path}", json.dumps(body), header)
            answer: dict[str, Any] = json.loads(client.getresponse().read() or b"{}")
            return answer
        finally:
            client.close()

    box.log()
    began = time.monotonic()
    for record in records(count):
        host, _dot, domain = record["name"].partition(".")
        post("unbound/settings/search_host_override", {"searchPhrase": host})
        added = {"hostname": host, "domain": domain, "rr": "A", "server": record["value"], "enabled": "1"}
        if post("unbound/settings/add_host_override", {"host": added}).get("result") != "saved":
            raise SystemExit(f"{record['name']} was not saved")
        post("unbound/service/reconfigure", {})
    return [
        {
            "what": "router, one by one",
            "count": count,
            "step": "first",
            "seconds": time.monotonic() - began,
            **counted(box.log()),
        }
    ]


def nas(box: Simulator, count: int) -> list[dict[str, Any]]:
    """Measure truenas_nfs_storage with as many datasets and shares."""
    place = urlsplit(box.plain)
    connection = {
        "host": place.hostname, "port": place.port, "scheme": "ws", "username": "pantheon", "api_key": "1-" + "k" * 64,
        "owner": "bench", "pool": "tank",
    }  # fmt: skip

    def wanted(comment: str) -> dict[str, Any]:
        names = [f"set{number}" for number in range(count)]
        shares = [{"dataset": name, "networks": ["10.10.0.0/24"]} for name in names]
        shares[0]["comment"] = comment
        return {"datasets": [{"name": name} for name in names], "shares": shares}

    rows = []
    for step, comment, expected in (("first", "a", True), ("unchanged", "a", False), ("one change", "b", True)):
        box.log()
        seconds, result = module("truenas_nfs_storage", {**connection, **wanted(comment)})
        if result["changed"] is not expected:
            raise SystemExit(f"{step}: changed is {result['changed']}")
        rows.append(
            {"what": "NAS, datasets and shares", "count": count, "step": step, "seconds": seconds, **counted(box.log())}
        )
    return rows


def counted(log: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many requests there were, how many of them wrote, and how often something was restarted."""
    names = [str(entry.get("path", "")) + str(entry.get("method", "")) for entry in log]
    return {
        "requests": len(log),
        "writes": sum(bool(entry.get("write")) for entry in log),
        "applies": sum("service/reconfigure" in name or "service.control" in name for name in names),
    }


def main() -> int:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(description="Measure what router and NAS are asked.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    arguments = parser.parse_args()
    samples: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for _round in range(arguments.rounds):
        rows = []
        for count in SIZES:
            with simulator("opnsense") as box:
                rows += router_bulk(box, count)
        for count in SIZES[:2]:
            with simulator("opnsense") as box:
                rows += router_one_by_one(box, count)
        for count in SHARES:
            with simulator("truenas") as box:
                rows += nas(box, count)
        for row in rows:
            samples.setdefault((row["what"], row["count"], row["step"]), []).append(row)
    table = []
    print("| what | entries | run | requests | writes | applies | seconds |\n|---|---:|---|---:|---:|---:|---:|")
    for (what, count, step), found in samples.items():
        row = {**found[0], "seconds": round(statistics.median(one["seconds"] for one in found), 2)}
        table.append(row)
        print(
            f"| {what} | {count} | {step} | {row['requests']} | {row['writes']} | {row['applies']} | {row['seconds']:.2f} |"
        )
    document = {
        "what": "requests and seconds against the simulators; medians",
        "rounds": arguments.rounds,
        "rows": table,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
