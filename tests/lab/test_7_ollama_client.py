# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official Ollama client drives the image that stands in for Ollama, as built and deployed."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

import yaml

from .conftest import ROOT, Lab

MACHINE = "workstation"  # it runs no service
NAME = "pantheon-lab-client-test"
SERVICE = ROOT / "services" / "ollama-api"


def test_the_official_client_works_against_the_image(lab: Lab, tmp_path: Path) -> None:
    # A server of its own: this test creates, copies and deletes models, and unloads what others may use.
    image = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/lab_images.yml").read_text())["pantheon_images"][
        "ollama"
    ]
    machines = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]["machines"]["hosts"]
    address = machines[MACHINE]["ansible_host"]
    url = f"http://{address}:11434"
    report = tmp_path / "report.xml"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    lab.on(
        MACHINE,
        f"docker rm -f {NAME} 2>/dev/null; docker run -d --name {NAME} -p {address}:11434:11434 {image}",
        limit=180,
    )
    try:
        lab.wait(answers, 60, f"{image} does not answer at {url}")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--timeout=120", f"--junitxml={report}", "tests/integration"],
            cwd=SERVICE,
            env=os.environ | {"OLLAMA_HOST": url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
    finally:
        lab.on(MACHINE, f"docker rm -fv {NAME}", check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    # Three tests need a shell in the container; they are run where the image is made.
    assert int(suite.get("tests", 0)) - int(suite.get("skipped", 0)) >= 30, ran.stdout
