# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules as Ansible runs them, and see that no credential comes out anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Sweep:
    """Plays with modules whose credentials must not be found in any output, log or list of processes."""

    def __init__(self, folder: Path, secrets: Sequence[str]) -> None:
        self.folder, self.secrets = folder, list(secrets)
        self.number = 0

    def check(self, text: str, where: str = "the log of the simulator") -> None:
        """Fail when a secret is in a text; the secret itself is not told."""
        found = [number for number, secret in enumerate(self.secrets) if secret in text]
        assert not found, f"secrets {found} are in {where}"

    def play(self, tasks: Sequence[dict[str, Any]]) -> str:
        """Run tasks in real processes, with all that Ansible shows, and return it. Tasks that fail are ignored."""
        self.number += 1
        play = self.folder / f"play{self.number}.json"
        content = [{"hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": list(tasks)}]
        play.write_text(json.dumps(content))
        log = self.folder / f"ansible{self.number}.log"
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_LOG_PATH": str(log),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "false",  # as Ansible does it by itself: a module is a program with a name
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        with self.watched():
            done = subprocess.run(
                [
                    *(program, "-i", "localhost,", "-c", "local", "-vvv", "--diff"),
                    *("-e", f"ansible_python_interpreter={sys.executable}", play),
                ],
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=140,
            )
        output = done.stdout + done.stderr
        assert "PLAY RECAP" in output, output
        assert log.stat().st_size > 0, "Ansible wrote no log"
        self.check(output, "the output of Ansible")
        self.check(log.read_text(), "the log of Ansible")
        return output

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the arguments of all processes for as long as something runs."""
        over = threading.Event()
        seen: set[str] = set()

        def look() -> None:
            while not over.wait(0.05):  # the shortest module runs for longer
                for process in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        seen.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                    except OSError:
                        continue  # it ended meanwhile

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        assert any("AnsiballZ_" in line for line in seen), "no module was seen while it ran"
        self.check("\n".join(seen), "the list of processes")
