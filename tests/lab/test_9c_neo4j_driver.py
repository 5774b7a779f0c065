# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official driver of Neo4j works against the image that stands in for it, as built and deployed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import yaml

from .conftest import ROOT, Lab

MACHINE = "workstation"  # it runs no service
NAME = "pantheon-lab-driver-test"
PASSWORD = "only-for-this-test"
SERVICE = ROOT / "services" / "neo4j-api"


def test_the_official_driver_works_against_the_image(lab: Lab, tmp_path: Path) -> None:
    # A server of its own: these tests empty the graph again and again.
    image = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/lab_images.yml").read_text())["pantheon_images"][
        "neo4j"
    ]
    machines = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]["machines"]["hosts"]
    address = machines[MACHINE]["ansible_host"]
    report = tmp_path / "report.xml"

    def answers() -> bool:
        try:
            # HTTP and Bolt listen only when the graph is there.
            for port in (7474, 7687):
                socket.create_connection((address, port), 2).close()
        except OSError:
            return False
        return True

    ports = " ".join(f"-p {address}:{port}:{port}" for port in (7474, 7687))
    lab.on(
        MACHINE,
        f"docker rm -f {NAME} 2>/dev/null; docker run -d --name {NAME} {ports} -e NEO4J_AUTH=neo4j/{PASSWORD} {image}",
        limit=180,
    )
    try:
        lab.wait(answers, 60, f"{image} does not answer at {address}")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--timeout=120", f"--junitxml={report}", "tests/integration"],
            cwd=SERVICE,
            env=os.environ
            | {
                "NEO4J_URI": f"neo4j://{address}:7687",
                "NEO4J_HTTP": f"http://{address}:7474",
                "NEO4J_AUTH": f"neo4j/{PASSWORD}",
            },
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
    # The others kill the container; they are run where the image is made.
    assert int(suite.get("tests", 0)) - int(suite.get("skipped", 0)) >= 70, ran.stdout
