# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner of the tests has to notice failures of every kind: a green line it should not print would hide them all."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "run_tests.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_tests"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def output(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "OUTPUT", tmp_path)
    return tmp_path


def test_counts_come_from_the_report_of_pytest(runner: ModuleType, output: Path) -> None:
    (output / "test_two.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    step = runner.Step(
        "two", (sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", str(output / "test_two.py")), 1, junit=True
    )
    result = runner.run(step, stream=False)
    assert (result.counts.passed, result.counts.failed) == (1, 1)
    assert result.status != 0


def test_a_pytest_without_tests_is_a_failure(runner: ModuleType, output: Path) -> None:
    (output / "test_none.py").write_text("")
    step = runner.Step(
        "none", (sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", str(output / "test_none.py")), 1, junit=True
    )
    assert runner.run(step, stream=False).counts.failed == 1


def test_a_program_that_is_missing_is_a_failure(runner: ModuleType, output: Path) -> None:
    result = runner.run(runner.Step("missing", ("no-such-program-here",), 1), stream=False)
    assert (result.status, result.counts.failed) == (127, 1)


def test_a_status_that_says_failure_wins_over_counts_that_do_not(runner: ModuleType, output: Path) -> None:
    step = runner.Step("liar", ("sh", "-c", "echo '5 passed'; exit 3"), 1, counter=runner.count_scenarios)
    result = runner.run(step, stream=False)
    assert (result.counts.passed, result.counts.failed) == (5, 1)


def test_what_runs_over_its_limit_is_ended_with_its_children(runner: ModuleType, output: Path) -> None:
    marker = output / "survived"
    began = time.monotonic()
    step = runner.Step("slow", ("sh", "-c", f"(sleep 4; touch {marker}) & sleep 60"), 0.01)
    result = runner.run(step, stream=False)
    assert time.monotonic() - began < 20
    assert result.counts.failed == 1
    time.sleep(4.5)
    assert not marker.exists()


def test_sanity_is_counted_by_its_own_announcements(runner: ModuleType) -> None:
    text = 'Running sanity test "pep8"\nRunning sanity test "pylint"\nRunning sanity test "yamllint"\n'
    assert runner.count_sanity(text) == runner.Counts(3, 0)
    failed = text + "FATAL: The 1 sanity test(s) listed below (out of 3) failed. See error output above for details.\n"
    assert runner.count_sanity(failed) == runner.Counts(2, 1)
    # In a checkout, ansible-test prints success without having checked a file.
    assert runner.count_sanity("") == runner.Counts(0, 1)


def test_a_layer_is_not_run_when_the_one_it_needs_failed(runner: ModuleType, output: Path) -> None:
    layer = runner.Layer("late", "needs the early one", lambda: [runner.Step("fine", ("true",), 1)], after=("early",))
    assert [result.counts.failed for result in runner.run_layer(layer, {"early"})] == [1]
    assert [result.counts.failed for result in runner.run_layer(layer, set())] == [0]


def test_cleaning_up_happens_after_a_failure_too(runner: ModuleType, output: Path) -> None:
    cleaned = output / "cleaned"
    layer = runner.Layer(
        "broken",
        "fails",
        lambda: [runner.Step("fails", ("false",), 1), runner.Step("never", ("touch", str(output / "never")), 1)],
        always=lambda: [runner.Step("cleans", ("touch", str(cleaned)), 1)],
    )
    runner.run_layer(layer, set())
    assert cleaned.exists()
    assert not (output / "never").exists()


def test_an_unknown_layer_is_refused() -> None:
    answer = subprocess.run(
        [sys.executable, str(PROGRAM), "nonsense"], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 2
    assert "no such layer: nonsense" in answer.stderr
