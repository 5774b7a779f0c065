# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pool, router and synchronous standby cost: pgbench on the deployed lab, the ways side by side. README.md explains it.

python benchmarks/data/run.py [--seconds 10] [--rounds 3] [--clients 8]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLIENT = "pantheon-lab-orpheus"
MEMBERS = {"pantheon-lab-erebus": "10.77.0.11", "pantheon-lab-thanatos": "10.77.0.12"}
POSTGRESQL = "pantheon-postgresql-postgresql-1"
INTERFACE = "pantheon-open-webui-open-webui-1"
SCALE = 5
RATE = re.compile(r"tps = ([0-9.]+)")
LATENCY = re.compile(r"latency average = ([0-9.]+) ms")

WRITE = """\
\\set aid random(1, 100000 * {scale})
\\set bid random(1, 1 * {scale})
\\set tid random(1, 10 * {scale})
\\set delta random(-5000, 5000)
BEGIN;
{setting}UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
"""
READ = "\\set aid random(1, 100000 * {scale})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"


@dataclass(frozen=True)
class Way:
    """One way to the database."""

    name: str
    port: str  # 6432 the pool, 5000 the router, 5432 the primary itself
    script: str  # write, write-async, read
    connect: bool = False  # a new connection for each transaction
    database: str = "open_webui"


WAYS = (
    Way("write, primary itself", "5432", "write"),
    Way("write, through the router", "5000", "write"),
    Way("write, through the pool", "6432", "write"),
    Way("write, pool, not waiting for the standby", "6432", "write-async"),
    Way("write, primary, not waiting for the standby", "5432", "write-async"),
    Way("write, primary itself, connects each time", "5432", "write", True),
    Way("write, through the pool, connects each time", "6432", "write", True),
    Way("read, primary itself", "5432", "read"),
    Way("read, through the pool", "6432", "read"),
    Way("read, through the pool, from the standby", "6432", "read", database="open_webui_ro"),
)


class BenchmarkError(Exception):
    """It cannot be measured; the text says why."""


def run(container: str, script: str, seconds: float = 300) -> str:
    """Run a shell script in a machine of the lab; it comes on the standard input, so that nothing of it is in a process list."""
    answer = subprocess.run(
        ["docker", "exec", "--interactive", container, "sh", "-eu"],
        input=script,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if answer.returncode != 0:
        raise BenchmarkError(f"{container}: {(answer.stderr or answer.stdout).strip()[-600:]}")
    return answer.stdout


def primary() -> str:
    """Return the address of the server that leads."""
    found = []
    for name, address in MEMBERS.items():
        said = run(name, f"docker exec --user postgres {POSTGRESQL} psql -tAqc 'SELECT pg_is_in_recovery()'")
        if said.strip() == "f":
            found.append(address)
    if len(found) != 1:
        raise BenchmarkError(f"there are {len(found)} primaries: bring the cluster in order (playbooks/data.yml)")
    return found[0]


def pgbench(image: str, host: str, way: Way | None, arguments: list[str]) -> str:
    """Run pgbench on the client's machine, from the image of the database, with the account of Open WebUI."""
    address = host if way is None or way.port == "5432" else "127.0.0.1"
    port = "5432" if way is None else way.port
    database = "open_webui" if way is None else way.database
    texts = ""
    if way is not None:
        setting = "SET LOCAL synchronous_commit = local;\n" if way.script == "write-async" else ""
        texts = (READ if way.script == "read" else WRITE).format(scale=SCALE, setting=setting)
    return run(
        CLIENT,
        f"""
url=$(docker exec {INTERFACE} printenv DATABASE_URL)
rest=${{url#*://*:}}
PGPASSWORD=${{rest%%@*}}
export PGPASSWORD
cat > /tmp/pantheon-bench.sql <<'SCRIPT'
{texts}
SCRIPT
exec docker run --rm --network host --entrypoint pgbench --env PGPASSWORD --env PGSSLMODE=require \
  --volume /tmp/pantheon-bench.sql:/bench.sql:ro {image} -h {address} -p {port} -U open_webui {" ".join(arguments)} {database}
""",
    )


def measure(image: str, host: str, way: Way, clients: int, seconds: int) -> tuple[float, float]:
    """Return transactions in a second, and the average latency in milliseconds."""
    arguments = ["-n", "-M", "simple", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", "/bench.sql"]
    said = pgbench(image, host, way, arguments + (["-C"] if way.connect else []))
    rate, latency = RATE.search(said), LATENCY.search(said)
    if rate is None or latency is None or "failed" in said and not re.search(r"failed transactions: 0 ", said):
        raise BenchmarkError(f"{way.name}: pgbench said {said.strip()[-400:]}")
    return float(rate.group(1)), float(latency.group(1))


def main() -> int:
    """Measure all ways in turns, and write results.json."""
    parser = argparse.ArgumentParser(description="What pool, router and synchronous standby cost.")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    chosen = parser.parse_args()
    try:
        host = primary()
        machine = next(name for name, address in MEMBERS.items() if address == host)
        image = run(machine, f"docker inspect --format '{{{{.Config.Image}}}}' {POSTGRESQL}").strip()
        pgbench(image, host, None, ["-i", "-q", "-s", str(SCALE)])
        seen: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
        loads: list[float] = []
        try:
            for _round in range(chosen.rounds):
                for way in WAYS:
                    seen[way.name].append(measure(image, host, way, chosen.clients, chosen.seconds))
                    loads.append(os.getloadavg()[0])
        finally:
            names = ", ".join(f"pgbench_{table}" for table in ("accounts", "branches", "history", "tellers"))
            drop = f"docker exec --user postgres {POSTGRESQL} psql -d open_webui -qc 'DROP TABLE IF EXISTS {names}'"
            run(machine, f"{drop}; true")
            run(CLIENT, "rm -f /tmp/pantheon-bench.sql")
    except BenchmarkError as error:
        print(f"benchmarks/data: {error}", file=sys.stderr)
        return 1
    results: list[dict[str, Any]] = [
        {
            "way": name,
            "transactions_per_second": round(statistics.median(rate for rate, _latency in rows), 1),
            "latency_ms": round(statistics.median(latency for _rate, latency in rows), 2),
            "all": [[round(rate, 1), round(latency, 2)] for rate, latency in rows],
        }
        for name, rows in seen.items()
    ]
    about = {
        "seconds": chosen.seconds,
        "rounds": chosen.rounds,
        "clients": chosen.clients,
        "scale": SCALE,
        "cores": os.cpu_count(),
    }
    about["load"] = [min(loads), max(loads)]
    (HERE / "results.json").write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")
    for row in results:
        print(f"{row['way']:<46} {row['transactions_per_second']:>8.1f} /s {row['latency_ms']:>8.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
