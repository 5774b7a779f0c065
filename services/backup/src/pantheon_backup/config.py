# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the machine: /etc/pantheon/backup.json, written by the role backup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pantheon_backup.model import Config, Job, Target, UsageError

FILE = Path("/etc/pantheon/backup.json")
JOB_KEYS = ("name", "kind", "project", "directory", "container", "image")


def load(file: Path = FILE) -> Config:
    """Read the configuration; what is wrong is said in one sentence."""
    try:
        data = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{file} is not there. Deploy this machine with site.yml.") from None
    except PermissionError:
        raise UsageError(f"{file} cannot be read. Run this program as root.") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON ({error}). Deploy this machine with site.yml again.") from None
    return parse(data, str(file))


def parse(data: Any, file: str) -> Config:
    """Make a configuration of what the file holds."""
    try:
        target = data["target"]
        config = Config(
            machine=str(data["machine"]),
            environment=str(data["environment"]),
            target=Target(
                path=Path(target["path"]),
                mount=bool(target["mount"]),
                password=str(target["password"]),
                keep={str(period): int(number) for period, number in target["keep"].items()},
            ),
            every_hours=int(data["schedule"]["every_hours"]),
            at=str(data["schedule"]["at"]),
            expected=[str(name) for name in data["expected"]],
            metrics=Path(data["metrics"]),
            jobs=[_job(job) for job in data["jobs"]],
        )
    except KeyError as error:
        raise UsageError(f"{file}: {error.args[0]} is missing. Deploy this machine with site.yml again.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file}: {error}. Deploy this machine with site.yml again.") from None
    if not config.target.path.is_absolute():
        raise UsageError(f"{file}: target.path is {config.target.path}. Make it an absolute path.")
    if "@@secret:" in config.target.password or not config.target.password:
        raise UsageError(f"{file}: target.password was not filled in. Deploy this machine with site.yml again.")
    return config


def _job(data: Mapping[str, Any]) -> Job:
    known = {key: str(data[key]) for key in JOB_KEYS if key in data}
    if "name" not in known or "kind" not in known:
        raise ValueError(f"jobs has one without name or kind, {sorted(data)}")
    return Job(**known, options={key: value for key, value in data.items() if key not in JOB_KEYS})
