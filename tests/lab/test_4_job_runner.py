# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-runner, which AWX uses inside, runs the same site.yml."""

from __future__ import annotations

import os
from pathlib import Path

import ansible_runner

from .conftest import ROOT, Lab


def test_ansible_runner_runs_the_whole_site(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "project").symlink_to(ROOT)
    result = ansible_runner.run(
        private_data_dir=str(tmp_path),
        playbook="site.yml",
        inventory=str(lab.inventory),
        envvars={"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"},
        quiet=True,
        timeout=600,
    )
    assert result.rc == 0, (Path(result.config.artifact_dir) / "stdout").read_text()[-4000:]
    assert result.status == "successful"
    assert set(result.stats["ok"]) == {*lab.machines, *lab.appliances, "localhost"}
    assert not result.stats["changed"], result.stats["changed"]
