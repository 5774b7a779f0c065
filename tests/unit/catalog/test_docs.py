# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/catalog.md is followed as written: its files are put where it says, and its commands are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import to_routes
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "docs" / "catalog.md").read_text(encoding="utf-8")
STEPS = TEXT[: TEXT.index("## An inventory's own wishes")]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the steps need, with the files of the document written into it."""
    root = tmp_path / "pantheon"
    for folder in ("catalog", "inventories", "plugins", "meta", "tools"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    for file in ("ansible.cfg", "galaxy.yml"):
        shutil.copy(REPOSITORY / file, root / file)
    shutil.copytree(REPOSITORY / "collections", root / "collections", symlinks=True)
    files = blocks("yaml", STEPS)
    assert len(files) == 2
    for block in files:
        match = re.match(r"# (\S+)\n", block)
        assert match, "each file of the example starts with its path"
        path = root / match[1]
        assert not path.exists()
        path.write_text(block[match.end() :], encoding="utf-8")
    return root


def test_the_commands_of_the_document_succeed(checkout: Path) -> None:
    commands = [shlex.split(line) for block in blocks("sh", STEPS) for line in block.splitlines()]
    assert commands and commands[0][0] == "ansible"
    for command in commands:
        result = subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            cwd=checkout,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_COLLECTIONS_PATH": str(checkout / "collections"),
                "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
                "PANTHEON_VAULT_PASSWORD": "of no use here",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        answer = json.loads(result.stdout[result.stdout.index("{") :])
        placement = answer["plays"][0]["tasks"][0]["hosts"]["localhost"]["placement"]
        assert placement["whoami"] == ["moros"]


def test_the_service_of_the_document_is_rendered(checkout: Path) -> None:
    group = yaml.safe_load((checkout / "inventories/homelab/whoami.yml").read_text())
    hosts = list(group["all"]["children"]["compute"]["children"]["whoami"]["hosts"])
    inventory = yaml.safe_load((checkout / "inventories/homelab/hosts.yml").read_text())["all"]["children"]
    machines = inventory["machines"]["hosts"]
    site = load_site(
        {
            "inventory_dir": str(checkout / "inventories/homelab"),
            "groups": {"machines": list(machines), "compute": hosts, "whoami": hosts},
            "hostvars": machines,
            "pantheon_domain": "example.test",
        },
        catalog=checkout / "catalog",
    )
    (stack,) = render_stacks(site, hosts[0])
    assert (stack["name"], stack["networks"]) == ("whoami", ["pantheon-edge"])
    assert stack["images"] == ["docker.io/traefik/whoami:v1.11.0"]
    (route,) = [route for route in to_routes(site) if route["service"] == "whoami"]
    assert route["hosts"] == ["whoami.example.test"]
    assert route["upstreams"] == [{"machine": "moros", "address": "whoami-moros:8000"}]


def test_the_override_of_the_document_is_valid(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("yaml", TEXT) if block.startswith("# inventories/homelab/catalog/")]
    path = tmp_path / block.splitlines()[0].removeprefix("# inventories/homelab/")
    path.parent.mkdir()
    path.write_text(block)
    site = load_site({"inventory_dir": str(tmp_path)}, catalog=REPOSITORY / "catalog")
    assert site.services["postgresql"]["resources"]["memory_mb"] == 8192


def test_the_document_names_what_there_is() -> None:
    from ansible_collections.pantheon.ai.plugins.plugin_utils._derived import DERIVED

    for name in DERIVED:
        assert f"`{name}`" in TEXT
    for path in (REPOSITORY / "catalog/services").glob("*.yml"):
        image = yaml.safe_load(path.read_text())["image"]
        assert f"{image['repository'].removeprefix('library/')}:{image['tag']}" in TEXT
