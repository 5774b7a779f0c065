# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills the machine of the leader while a client writes through the pool of another machine, and counts what is left.

Fails when an acknowledged row is missing, when nobody takes over, or when the killed machine does not stand by again.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

MACHINES = ("pantheon-test-postgresql-a", "pantheon-test-postgresql-b")
CLIENT = "pantheon-test-postgresql-c"
CONTAINER = "pantheon-postgresql-postgresql-1"
WRITER = Path(__file__).resolve().parents[2] / "roles" / "drill" / "files" / "postgresql_writer.py"
FOLDER = Path(__file__).resolve().parent


def run(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a program on this computer."""
    answer = subprocess.run(arguments, input=stdin, capture_output=True, text=True, timeout=180, check=False)
    if check and answer.returncode != 0:
        sys.exit(f"{' '.join(arguments)[:200]} ended with status {answer.returncode}: {answer.stderr.strip()[-500:]}")
    return answer.stdout


def sql(machine: str, query: str, database: str = "postgres", check: bool = True) -> str:
    """Ask the server on a machine, over its socket."""
    command = ("docker", "exec", machine, "docker", "exec", "--user", "postgres", CONTAINER)
    return run(*command, "psql", "-d", database, "-tAqc", query, check=check).strip()


def leader() -> str:
    """Return the machine whose server takes writes, or an empty text."""
    return next((name for name in MACHINES if sql(name, "SELECT pg_is_in_recovery()", check=False) == "f"), "")


def password() -> str:
    """Return the password of the application from the encrypted secrets."""
    view = run(
        "ansible-vault",
        "view",
        "--vault-password-file",
        str(FOLDER.parents[1] / "tools" / "vault-password"),
        str(FOLDER / "inventory" / "secrets.yml"),
    )
    return next(
        line.split(": ", 1)[1].strip() for line in view.splitlines() if line.startswith("open_webui_database_password:")
    )


def main() -> None:
    """Kill, count, and wait for the return."""
    first = leader()
    if not first:
        sys.exit("nobody leads before the test")
    image = run(
        "docker",
        "exec",
        CLIENT,
        "docker",
        "inspect",
        "--format",
        "{{.Config.Image}}",
        "pantheon-postgresql-witness-postgresql-witness-1",
    ).strip()
    # The address stands in the environment of the container, which nobody else on the machine lists.
    writer = subprocess.Popen(
        ["docker", "exec", "--interactive", "--env", "DATABASE_URL", CLIENT, "docker", "run", "--rm", "--interactive", "--network", "host",
         "--env", "DATABASE_URL", "--entrypoint", "python3", image, "-", "25", "drill"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DATABASE_URL": f"postgresql://open_webui:{password()}@127.0.0.1:6432/open_webui"},
    )  # fmt: skip
    time.sleep(0.1)
    if writer.stdin is None:
        sys.exit("the writer has no input")
    writer.stdin.write(WRITER.read_text(encoding="utf-8"))
    writer.stdin.close()
    writer.stdin = None
    time.sleep(8)
    run("docker", "kill", first)
    out, err = writer.communicate(timeout=120)
    run("docker", "start", first)
    if writer.returncode != 0:
        sys.exit(f"the writer failed: {err[-800:]}")
    said = json.loads(out)
    second = leader()
    if second in ("", first):
        sys.exit(f"nobody took over from {first}")
    there = set(map(int, sql(second, "SELECT number FROM drill", "open_webui").split()))
    lost = [number for number, _moment in said["acknowledged"] if number not in there]
    moments = [moment for _number, moment in said["acknowledged"]]
    gap = max(later - earlier for earlier, later in itertools.pairwise(moments))
    if moments[-1] < said["seconds"] - 5:
        sys.exit(f"nothing was written after the leader was killed: {said['errors'][-1:]}")
    began = time.monotonic()
    while (
        sql(second, "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')", check=False)
        != "1"
    ):
        if time.monotonic() - began > 120:
            sys.exit(f"{first} does not stand by again after two minutes")
        time.sleep(1)
    print(
        json.dumps(
            {
                "acknowledged": len(moments),
                "lost": len(lost),
                "gap_seconds": round(gap, 2),
                "back_seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    if lost:
        sys.exit(f"{len(lost)} acknowledged rows are lost: {lost[:20]}")


if __name__ == "__main__":
    main()
