# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure `ansible-inventory --list` with the settings of the home lab and 10, 100 and 1,000 machines.

The catalog never enters host variables, so the cost has to grow with the machines only. The figures are written to
results.json beside this file and printed as a table.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
RUNS = 3
# Enough for an honest run and far below what a quadratic inventory takes: it ends in an error instead of in swap.
ADDRESS_SPACE = 2 * 1024**3


@dataclass(frozen=True)
class Measurement:
    """One run of ansible-inventory."""

    hosts: int
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    output_bytes: int


def write_inventory(folder: Path, hosts: int) -> None:
    """Write an inventory with so many machines: the groups and settings of the home lab, every machine in a service."""
    home = ROOT / "inventories" / "homelab"
    shutil.copytree(home / "group_vars", folder / "group_vars")
    if (home / "catalog").is_dir():
        shutil.copytree(home / "catalog", folder / "catalog")
    names = [f"machine{number:04d}" for number in range(hosts)]
    machines = {
        name: {
            "ansible_host": f"10.42.{number // 250}.{number % 250 + 1}",
            "pantheon_memory_mb": 65536,
            "pantheon_gpu": "nvidia",
        }
        for number, name in enumerate(names)
    }

    def every(step: int) -> dict[str, dict[str, dict[str, str]]]:
        return {"hosts": {name: {} for name in names[::step]}}

    compute = {"ollama": every(1), "litellm": every(2), "open_webui": every(4)}
    children = {
        "machines": {"hosts": machines},
        "overlay_manager": {"hosts": {name: {} for name in names[:3]}},
        "data": {"children": {"postgresql": every(10), "redis": every(10)}},
        "compute": {"children": compute},
        "edge": {"children": {"edge_proxy": every(10)}},
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}, sort_keys=False))


def measure(folder: Path, hosts: int) -> Measurement:
    """Run ansible-inventory once in a process of limited memory; what it used comes from the kernel."""
    program = Path(sys.executable).with_name("ansible-inventory")
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.chdir(ROOT)
            os.dup2(output.fileno(), 1)
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            os.execv(program, [str(program), "-i", str(folder), "--list"])
        _, status, used = os.wait4(child, 0)
        wall = time.monotonic() - began
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(
                f"ansible-inventory failed with {hosts} hosts within {ADDRESS_SPACE} bytes of address space"
            )
        output.seek(0)
        listed = json.load(output)
        found = len(listed["_meta"]["hostvars"])
        if found != hosts:
            raise SystemExit(f"{found} hosts were listed instead of {hosts}")
        size = output.tell()
    return Measurement(hosts, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, size)


def main() -> int:
    """Measure, print, and publish."""
    table: list[Measurement] = []
    for hosts in (10, 100, 1000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "homelab"
            folder.mkdir()
            write_inventory(folder, hosts)
            runs = [measure(folder, hosts) for _ in range(RUNS)]
        table.append(
            Measurement(
                hosts,
                round(statistics.median(run.wall_seconds for run in runs), 2),
                round(statistics.median(run.cpu_seconds for run in runs), 2),
                round(max(run.peak_mb for run in runs), 1),
                runs[0].output_bytes,
            )
        )
    print("| hosts | wall | CPU | peak memory | output |\n|---:|---:|---:|---:|---:|")
    for row in table:
        print(
            f"| {row.hosts} | {row.wall_seconds:.2f} s | {row.cpu_seconds:.2f} s | {row.peak_mb:.0f} MB | {row.output_bytes / 1024:.0f} KB |"
        )
    result = {
        "what": "ansible-inventory --list, median of runs (memory: maximum)",
        "runs": RUNS,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "rows": [asdict(row) for row in table],
    }
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    largest = table[-1]
    return 0 if largest.wall_seconds <= 3 and largest.peak_mb <= 150 else 1


if __name__ == "__main__":
    sys.exit(main())
