# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests of the project in layers, the quick ones first, and end with one line of counts.

    python tools/run_tests.py                 everything
    python tools/run_tests.py lint unit       some layers
    python tools/run_tests.py --list          what there is

A layer whose result would mean nothing after a failure is not run, and counts as failed. Each step has a time limit in
minutes; what runs over it is ended together with the processes it started.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "tests" / "output"
COLLECTION_PYTHON = "3.11"
#: Programs in Python whose names do not end like it.
PROGRAMS = ("lab/images/postgresql/pg-backup",)


@dataclass(frozen=True)
class Counts:
    """How many checks of a step passed and failed."""

    passed: int
    failed: int


@dataclass(frozen=True)
class Step:
    """One program of a layer."""

    name: str
    command: tuple[str, ...]
    minutes: float
    counter: Callable[[str], Counts] | None = (
        None  # reads the counts from the output; without it the step counts as one
    )
    junit: bool = False  # pytest: counts come from its report
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "."


@dataclass(frozen=True)
class Layer:
    """Steps that belong together."""

    name: str
    summary: str
    steps: Callable[[], list[Step]]
    after: tuple[str, ...] = ()  # layers without whose success this one says nothing
    side_by_side: int = 1
    goes_on: bool = False  # the steps do not need each other
    always: Callable[[], list[Step]] | None = None  # cleaning up, whatever happened


@dataclass
class Result:
    """What a step did."""

    step: Step
    status: int
    seconds: float
    counts: Counts


class Running:
    """The programs that run now, so that an interruption ends these and no others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.interrupted = False

    def add(self, process: subprocess.Popen[str]) -> None:
        """Remember a process that was started."""
        with self._lock:
            self._processes.add(process)

    def remove(self, process: subprocess.Popen[str]) -> None:
        """Forget a process that ended."""
        with self._lock:
            self._processes.discard(process)

    def end_all(self, number: int, frame: FrameType | None) -> None:
        """End every running step; signal handler."""
        self.interrupted = True
        for process in list(self._processes):
            end(process)


RUNNING = Running()


def end(process: subprocess.Popen[str]) -> None:
    """End a process and those it started: they share its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 15
        while number == signal.SIGTERM and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)


def run(step: Step, stream: bool) -> Result:
    """Run one step; its output is shown while it runs, or in one piece afterwards."""
    report = OUTPUT / f"{re.sub('[^a-z0-9]+', '-', step.name.lower())}.xml"
    command = list(step.command)
    if step.junit:
        report.unlink(missing_ok=True)
        command.append(f"--junitxml={report}")
    environment = (
        os.environ | {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"} | step.environment
    )
    began = time.monotonic()
    if stream:
        print(f"\n--- {step.name}: {' '.join(command)}", flush=True)
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT / step.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        print(f"\n--- {step.name}: {error}", flush=True)
        return Result(step, 127, 0.0, Counts(0, 1))
    RUNNING.add(process)
    over = threading.Event()

    def out_of_time() -> None:
        over.set()
        end(process)

    timer = threading.Timer(step.minutes * 60, out_of_time)
    timer.start()
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if stream:
            sys.stdout.write(line)
            sys.stdout.flush()
    status = process.wait()
    timer.cancel()
    RUNNING.remove(process)
    seconds = time.monotonic() - began
    if over.is_set():
        lines.append(f"{step.name}: ended after its limit of {step.minutes:g} minutes\n")
        status = status or 124
        if stream:
            print(lines[-1], end="", flush=True)
    if not stream:
        print(f"\n--- {step.name} ({seconds:.1f} s): {' '.join(command)[:300]}\n{''.join(lines)}", end="", flush=True)
    return Result(step, status, seconds, counts_of(step, status, "".join(lines), report))


def counts_of(step: Step, status: int, output: str, report: Path) -> Counts:
    """Count the checks of a step. A failure is at least one, whatever the program said of itself."""
    counts = Counts(1, 0) if status == 0 else Counts(0, 1)
    if step.junit:
        # A pytest without a report, or with no test that ran, has shown nothing.
        counts = count_junit(report) if report.is_file() else Counts(0, 1)
        if counts.passed + counts.failed == 0:
            counts = Counts(0, 1)
    elif step.counter is not None:
        counts = step.counter(output)
    if status != 0 and counts.failed == 0:
        counts = Counts(counts.passed, 1)
    return counts


def count_junit(report: Path) -> Counts:
    """Read how many tests passed and failed from a report of pytest."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return Counts(total - failed - skipped, failed)


def count_sanity(output: str) -> Counts:
    """Count the sanity tests of ansible-test: each announces itself, and the failed ones are listed at the end."""
    started = len(set(re.findall(r'Running sanity test "([^"]+)"', output)))
    failed = re.search(r"The (\d+) sanity test\(s\) listed below", output)
    failures = int(failed.group(1)) if failed else 0
    return Counts(started - failures, failures) if started else Counts(0, 1)


def count_scenarios(output: str) -> Counts:
    """Count what testinfra checked on the machines, and the steps of Molecule's scenarios that ended."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    passed = sum(int(number) for number in re.findall(r"(\d+) passed", plain))
    failed = sum(int(number) for number in re.findall(r"(\d+) failed", plain))
    steps = re.findall(r"> (\w+): Executed: (Successful|Failed)", plain)
    passed += sum(1 for name, state in steps if state == "Successful" and name in ("check", "converge", "idempotence"))
    failed += sum(1 for name, state in steps if state == "Failed" and name in ("check", "converge", "idempotence"))
    return Counts(passed, failed) if passed + failed else Counts(0, 1)


def tracked(*patterns: str) -> list[str]:
    """The files of the checkout that match, tracked or new, without ignored ones."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(listed) if (ROOT / name).is_file() and not name.startswith("collections/"))


def shell_scripts() -> list[str]:
    """Every shell script, also those without an ending."""
    scripts = []
    for name in tracked():
        path = ROOT / name
        if name.endswith(".sh") or (
            "." not in path.name
            and path.read_bytes()[:64].startswith((b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash"))
        ):
            scripts.append(name)
    return scripts


def typed_packages() -> list[tuple[str, list[str]]]:
    """What mypy checks, in groups that have no module name in common."""
    groups = [
        ("collection", ["plugins"]),
        (
            "tools",
            [
                "tools/run_tests.py",
                *tracked("benchmarks/*.py"),
                *tracked("tests/lab/*.py"),
                *tracked("roles/drill/files/*.py"),
            ],
        ),
    ]
    laboratory = [name for name in tracked("lab/*.py") if "/images/" not in name and "/tests/" not in name]
    if (ROOT / "lab" / "lab").is_file():
        laboratory.append("lab/lab")
    if laboratory:
        groups.append(("lab", laboratory))
    # psycopg2 ships no types.
    groups.append(("programs", ["--disable-error-code=import-untyped", *PROGRAMS]))
    return groups


def service_folders() -> list[Path]:
    """The programs of our own; each is a Python project with its own settings."""
    return sorted(path.parent for path in (ROOT / "services").glob("*/pyproject.toml"))


def lint_steps() -> list[Step]:
    """Everything that reads files and runs nothing."""
    playbooks = ["site.yml", *(name for name in tracked("playbooks/*.yml", "lab/playbooks/*.yml"))]
    services = tracked("catalog/services/*.yml")
    lint = [
        # The slowest first: the others fit beside it.
        Step("ansible-lint", ("ansible-lint",), 12, environment={"ANSIBLE_HOME": str(ROOT / ".cache/ansible-home")}),
        Step("syntax of the playbooks", ("ansible-playbook", "-i", "inventories/lab", "--syntax-check", *playbooks), 5),
        Step("ruff", ("ruff", "check", ".", *PROGRAMS), 2),
        Step("yamllint", ("yamllint", "--strict", "."), 5),
        Step("shellcheck", ("shellcheck", *shell_scripts()), 3),
        Step("codespell", ("codespell", *tracked("*.md", "*.py", "*.yml", "*.sh", "Makefile")), 3),
        Step(
            "catalog against its schema",
            ("check-jsonschema", "--schemafile", "catalog/service.schema.json", *services),
            3,
        ),
        Step("changelog fragments", ("antsibull-changelog", "lint"), 2),
    ]
    for name, paths in typed_packages():
        lint.insert(2, Step(f"types of the {name}", ("mypy", "--cache-dir", f".mypy_cache/{name}", *paths), 8))
    for folder in service_folders():
        lint.append(Step(f"types of {folder.name}", ("mypy", "src"), 5, folder=str(folder.relative_to(ROOT))))
    return lint


def unit_steps() -> list[Step]:
    """Tests of functions and programs; no machine, no network. Many of the programs' tests wait, so two run side by side."""
    command = ("pytest", "-q", "-n", "2")
    steps = [Step("unit tests", (*command, "tests/unit"), 12, junit=True)]
    for folder in service_folders():
        if (folder / "tests").is_dir():
            name = f"unit tests of {folder.name}"
            steps.append(
                Step(name, ("pytest", "-q", "--timeout=120"), 5, junit=True, folder=str(folder.relative_to(ROOT)))
            )
    return steps


def sanity_steps() -> list[Step]:
    """The checks that the Galaxy asks of a collection."""
    command = ("tools/ansible_test.sh", "sanity", "--local", "--python", COLLECTION_PYTHON, "--color", "no")
    return [Step("ansible-test sanity", command, 15, counter=count_sanity)]


def package_steps() -> list[Step]:
    """The tarball, as somebody gets it who has no checkout."""
    return [Step("build and install the collection", ("bash", "tools/check_package.sh"), 8)]


def simulator_steps() -> list[Step]:
    """The modules for router and NAS against the simulators of their APIs, release by release."""
    command = ("pytest", "-q", "-n", "2", "--timeout=300", "tests/simulators")
    return [Step("modules against simulators", command, 12, junit=True)]


def molecule_steps() -> list[Step]:
    """Every role on containers."""
    environment = {"MOLECULE_GLOB": "molecule/*/molecule.yml"}
    images = Step("images of the machines and the services", ("python3", "lab/lab", "build"), 25)
    return [
        images,
        Step(
            "Molecule", ("molecule", "test", "--all", "--report"), 35, counter=count_scenarios, environment=environment
        ),
    ]


def lab_steps() -> list[Step]:
    """The whole platform on ten simulated machines, and what has to stay true of it afterwards."""
    return [
        Step("the lab from nothing", ("python3", "lab/lab", "up"), 35),
        Step("tests on the lab", ("pytest", "-v", "--timeout=900", "tests/lab"), 40, junit=True),
    ]


def lab_down_steps() -> list[Step]:
    """Give everything back."""
    if os.environ.get("PANTHEON_KEEP_LAB"):
        return []
    return [Step("remove the lab", ("python3", "lab/lab", "down"), 5)]


LAYERS = (
    Layer("lint", "linters, types, syntax", lint_steps, side_by_side=2),
    Layer("unit", "unit tests of the collection and of the programs", unit_steps, side_by_side=2, goes_on=True),
    Layer("sanity", "ansible-test sanity on a staged copy", sanity_steps),
    Layer("package", "the collection built, installed elsewhere and documented", package_steps),
    Layer("simulators", "modules for router and NAS against simulators of their APIs", simulator_steps),
    Layer("molecule", "every role on containers", molecule_steps),
    Layer(
        "lab",
        "ten simulated machines, deployed, changed, broken, rebooted",
        lab_steps,
        after=("unit",),
        always=lab_down_steps,
    ),
)


def run_layer(layer: Layer, failed_before: set[str]) -> list[Result]:
    """Run the steps of a layer; in a layer of several machines a failed step ends it."""
    missing = [name for name in layer.after if name in failed_before]
    if missing:
        print(f"not run: {', '.join(missing)} failed, and without it this layer says nothing", flush=True)
        return [Result(Step(f"{layer.name} (not run)", (), 0), 1, 0.0, Counts(0, 1))]
    results: list[Result] = []
    try:
        steps = layer.steps()
        if layer.side_by_side > 1:
            with ThreadPoolExecutor(layer.side_by_side) as pool:
                results = list(pool.map(lambda step: run(step, stream=False), steps))
        else:
            for step in steps:
                results.append(run(step, stream=True))
                if RUNNING.interrupted or (results[-1].status != 0 and not layer.goes_on):
                    break
    finally:
        if layer.always is not None:
            results.extend(run(step, stream=True) for step in layer.always())
    return results


def main() -> int:
    """Run the layers named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Run the tests of the project in layers.")
    parser.add_argument(
        "layers", nargs="*", metavar="layer", help=f"one of: {', '.join(layer.name for layer in LAYERS)}"
    )
    parser.add_argument("--list", action="store_true", help="print the layers and what they do")
    arguments = parser.parse_args()
    known = {layer.name: layer for layer in LAYERS}
    if arguments.list:
        for layer in LAYERS:
            print(f"{layer.name:10} {layer.summary}")
        return 0
    unknown = [name for name in arguments.layers if name not in known]
    if unknown:
        parser.error(f"no such layer: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in arguments.layers] or list(LAYERS)

    OUTPUT.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, RUNNING.end_all)
    signal.signal(signal.SIGTERM, RUNNING.end_all)
    results: list[Result] = []
    failed_layers: set[str] = set()
    times: list[str] = []
    for layer in chosen:
        print(f"\n=== {layer.name}: {layer.summary}", flush=True)
        began = time.monotonic()
        outcome = run_layer(layer, failed_layers)
        results.extend(outcome)
        bad = any(result.status != 0 or result.counts.failed for result in outcome)
        if bad:
            failed_layers.add(layer.name)
        times.append(f"{layer.name:10} {time.monotonic() - began:7.1f} s  {'FAILED' if bad else 'ok'}")
        print(f"=== {times[-1]}", flush=True)
        if RUNNING.interrupted:
            print("interrupted", flush=True)
            break

    print("\n" + "\n".join(times))
    for result in results:
        if result.status != 0 or result.counts.failed:
            print(f"failed: {result.step.name} (status {result.status})")
    passed = sum(result.counts.passed for result in results)
    failed = sum(result.counts.failed for result in results) + (1 if RUNNING.interrupted else 0)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
