# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill comes to: how long nothing was written, and what is missing (private to this collection).

Pure functions over what the writers of the role drill print.
"""

from __future__ import annotations

import itertools
import statistics
import typing as t

OPEN_SECONDS = 2.0
"""A writer whose last acknowledgement is so old at its end was not served again."""


def ranges(numbers: t.Iterable[int]) -> str:
    """Return numbers as the writer takes them back: "1-500,502-900"."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def writes(said: t.Mapping[str, t.Any], fault: float | None = None) -> dict[str, t.Any]:
    """Return what one writer saw, in figures.

    Args:
        said: what the writer printed.
        fault: when the fault was made, in seconds since 1970; without it the time since then is left out.
    """
    moments = [float(moment) for _number, moment in said["acknowledged"]]
    started, ended = float(said["started"]), float(said["seconds"])
    if not moments:
        first = said["errors"][0][1] if said["errors"] else "it said nothing"
        raise ValueError(f"the writer wrote nothing at all: {first}")
    resumed = ended - moments[-1] < OPEN_SECONDS
    pairs = list(itertools.pairwise(moments)) + ([] if resumed else [(moments[-1], ended)])
    begin, end = max(pairs, key=lambda pair: pair[1] - pair[0]) if pairs else (moments[-1], ended)
    missing = said["missing"]
    result: dict[str, t.Any] = {
        "acknowledged": len(moments),
        "refused": len(said["errors"]),
        "lost": missing if isinstance(missing, int) else len(missing),
        "gap_seconds": round(end - begin, 2),
        "resumed": resumed,
        "numbers": ranges(int(number) for number, _moment in said["acknowledged"]),
    }
    if fault is not None:
        result["seconds_from_fault"] = round(started + end - fault, 2)
    return result


def summary(rounds: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Return the figures of all rounds together, what is wrong in them, and a table for people.

    What Redis lost is told, not held against it: it acknowledges before its replica has a write (docs/data.md).
    """
    found: dict[str, t.Any] = {"rounds": len(rounds), "problems": []}
    for kind in ("postgresql", "redis"):
        seen = [one[kind] for one in rounds if one.get(kind)]
        if not seen:
            continue
        gaps = [float(one["gap_seconds"]) for one in seen]
        found[kind] = {
            "gap_median": round(statistics.median(gaps), 2),
            "gap_largest": max(gaps),
            "gap_smallest": min(gaps),
            "acknowledged": sum(int(one["acknowledged"]) for one in seen),
            "refused": sum(int(one["refused"]) for one in seen),
            "lost": sum(int(one["lost"]) for one in seen),
        }
    for number, one in enumerate(rounds, 1):
        problems = [str(problem) for problem in one.get("problems") or ()]
        for kind in ("postgresql", "redis"):
            if one.get(kind) and not one[kind]["resumed"]:
                problems.append(f"{kind} took no writes again before the writer ended")
        if one.get("postgresql") and one["postgresql"]["lost"]:
            problems.append(f"{one['postgresql']['lost']} acknowledged rows of PostgreSQL are gone")
        found["problems"] += [f"round {number}: {problem}" for problem in problems]
    found["ok"] = not found["problems"]
    found["table"] = table(rounds)
    return found


COLUMNS = ("round", "target", "PostgreSQL", "lost", "Redis", "lost", "standby", "healthy", "load")


def table(rounds: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return the rounds as lines of a table: gaps in seconds, and seconds until standby and services were back."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for number, one in enumerate(rounds, 1):
        cells = [str(number), " ".join(one["machines"])]
        for kind in ("postgresql", "redis"):
            seen = one.get(kind)
            cells += (
                [f"{seen['gap_seconds']:.2f} s", f"{seen['lost']} of {seen['acknowledged']}"] if seen else ["-", "-"]
            )
        cells += [_seconds(one.get("standby_seconds")), _seconds(one.get("healthy_seconds")), str(one.get("load", "-"))]
        rows.append(tuple(cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _seconds(value: t.Any) -> str:
    return "-" if value is None else f"{float(value):.0f} s"


# --- Redis, as redis-cli prints it ----------------------------------------------------------------------------------


def replication(answers: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Return who is the master of Redis, from `info replication` of each machine."""
    masters, linked = [], 0
    for machine, text in answers.items():
        fields = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
        if fields.get("role") == "master":
            masters.append(machine)
            linked = sum(
                1
                for name, value in fields.items()
                if name.startswith("slave") and name[5:].isdigit() and "state=online" in value
            )
    wanted = len(answers) - 1
    return {
        "master": masters[0] if len(masters) == 1 else "",
        "replicas": linked,
        "whole": len(masters) == 1 and linked >= wanted,
    }
