# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for what the program needs of a machine: programs that answer from a table, and a repository in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pantheon_backup.model import BackupError, Config, Context, Job, Target
from pantheon_backup.process import Completed, demand
from pantheon_backup.restic import Saved

Answer = Callable[[tuple[str, ...], bytes | None], tuple[int, str, str]]


class FakeRunner:
    """Answers commands from a table, by the first words that fit; what is not in it is an error of the test."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.calls: list[tuple[str, ...]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        command = " ".join(argv)
        self.calls.append(tuple(argv))
        found = max((key for key in self.table if command.startswith(key)), key=len, default=None)
        if found is None:
            raise AssertionError(f"nobody expected: {command}")
        answer = self.table[found]
        if callable(answer):
            answer = answer(tuple(argv), stdin)
        if isinstance(answer, Exception):
            raise answer
        status, out, err = answer if isinstance(answer, tuple) else (0, answer, "")
        done = Completed(tuple(argv), status, out.encode(), err)
        if check:
            demand(done)
        return done

    def said(self, start: str) -> list[tuple[str, ...]]:
        """Return the commands that began so."""
        return [call for call in self.calls if " ".join(call).startswith(start)]


class FakeRestic:
    """Keeps streams and listings in memory. Loads give a stream to nobody, but compare its digest."""

    def __init__(self) -> None:
        self.streams: dict[str, bytes] = {}
        self.forgotten: list[str] = []
        self.give: bytes | Exception = b"data"
        self.loaded: list[tuple[str, ...]] = []

    def save(self, argv: Sequence[str], name: str, *, env: Mapping[str, str] | None = None) -> Saved:
        if isinstance(self.give, Exception):
            raise self.give
        snapshot = f"snapshot{len(self.streams)}"
        self.streams[snapshot] = self.give
        return Saved(snapshot, len(self.give), len(self.give), hashlib.sha256(self.give).hexdigest())

    def load(
        self, snapshot: str, name: str, argv: Sequence[str], *, sha256: str = "", env: Mapping[str, str] | None = None
    ) -> None:
        self.loaded.append(tuple(argv))
        if hashlib.sha256(self.streams[snapshot]).hexdigest() != sha256:
            raise BackupError("another digest")

    def forget(self, snapshots: Sequence[str]) -> None:
        self.forgotten += snapshots

    def version(self) -> str:
        return "0.18.0"


def config(folder: Path, *jobs: Job, expected: Sequence[str] = ("erebus",), machine: str = "erebus") -> Config:
    """Return a configuration whose target is a folder of the test."""
    return Config(
        machine=machine,
        environment="test",
        target=Target(folder / "target", False, "secret-of-restic", {"daily": 7, "weekly": 4, "monthly": 6}),
        every_hours=24,
        at="02:30",
        expected=list(expected),
        metrics=folder / "metrics" / "backup.prom",
        jobs=list(jobs),
    )


def service(folder: Path, **options: Any) -> Job:
    """Return a job of a service that is deployed in a folder of the test."""
    directory = folder / "opt" / "ledger"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "compose.yml").touch()
    return Job(
        name="ledger",
        kind="command",
        project="pantheon-ledger",
        directory=str(directory),
        container="pantheon-ledger-ledger-1",
        image="example/ledger:1",
        options=options,
    )


def project(folder: Path) -> str:
    """Return what docker compose says about that service."""
    directory = folder / "opt" / "ledger"
    return json.dumps(
        {
            "name": "pantheon-ledger",
            "services": {
                "ledger": {
                    "image": "example/ledger:1",
                    "command": ["serve"],
                    "entrypoint": ["/start"],
                    "environment": {"PASSWORD": "of-the-service", "PRICE": "5$$"},
                    "restart": "unless-stopped",
                    "networks": {"pantheon-data": {"aliases": ["ledger"]}},
                    "ports": [{"target": 80, "published": "80"}],
                    "extra_hosts": ["pool=host-gateway"],
                    "healthcheck": {"test": ["CMD", "true"]},
                    "labels": {"ai.pantheon.service": "ledger"},
                    "mem_limit": "64m",
                    "security_opt": ["no-new-privileges:true"],
                    "deploy": {"resources": {"reservations": {"devices": [{"driver": "nvidia"}]}}},
                    "volumes": [
                        {"type": "volume", "source": "data", "target": "/data"},
                        {"type": "bind", "source": f"{directory}/files/etc/x", "target": "/etc/x", "read_only": True},
                        {"type": "bind", "source": "/shared", "target": "/shared"},
                    ],
                }
            },
            "networks": {"pantheon-data": {"external": True}},
            "volumes": {"data": {"name": "pantheon_ledger_data"}},
        }
    )


def docker(folder: Path, **more: Any) -> dict[str, Any]:
    """Return the table of an engine with that service; its volumes are folders of the test."""

    def inspected(argv: tuple[str, ...], _stdin: bytes | None) -> tuple[int, str, str]:
        place = folder / "volumes" / argv[-1]
        return (
            (0, json.dumps([{"Mountpoint": str(place), "Labels": {}}]), "")
            if place.is_dir()
            else (1, "", "no such volume")
        )

    def created(argv: tuple[str, ...], _stdin: bytes | None) -> str:
        (folder / "volumes" / argv[-1]).mkdir(parents=True)
        return argv[-1]

    (folder / "volumes" / "pantheon_ledger_data").mkdir(parents=True, exist_ok=True)
    return {
        f"docker compose --project-directory {folder / 'opt' / 'ledger'}": project(folder),
        "docker volume inspect": inspected,
        "docker volume create": created,
        "docker volume ls": "",
        "docker volume rm": "",
        "docker ps": "",
        "docker rm": "",
        "docker inspect --format {{.State.Running}} pantheon-ledger-ledger-1": "true",
        "docker inspect --format {{.State.Running}} {{if .State.Health}}": "true healthy",
        "docker inspect --format {{.Image}}": "sha256:1",
        "docker stop": "",
        "docker start": "",
        **more,
    }


def context(folder: Path, job: Job, runner: Any, restic: Any = None) -> Context:
    """Return what a job works with."""
    return Context(
        config=config(folder, job),
        job=job,
        set_id="20261125T023000Z",
        machine="erebus",
        runner=runner,
        restic=restic or FakeRestic(),
        log=lambda text: None,
        runtime=folder / "run",
    )
