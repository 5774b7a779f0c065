# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that have to agree with each other."""

from __future__ import annotations

import configparser
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINKS = ROOT / "collections" / "ansible_collections" / "pantheon" / "ai"
INVENTORIES = ("homelab", "lab", "single")
DATA = {"etcd", "postgresql", "redis", "redis_sentinel", "qdrant", "neo4j"}
SLICE = DATA | {"ollama", "litellm", "open_webui", "edge_proxy"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _only_in_a_checkout() -> None:
    # ansible-test stages the collection without the project around it.
    if not LINKS.is_dir():
        pytest.skip("not a checkout")


@functools.cache
def inventory(name: str) -> dict[str, Any]:
    """What Ansible makes of an inventory."""
    program = Path(sys.executable).with_name("ansible-inventory")
    answer = subprocess.run(
        [str(program), "-i", f"inventories/{name}", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "[WARNING]" not in answer.stderr, answer.stderr
    parsed: dict[str, Any] = json.loads(answer.stdout)
    return parsed


def members(parsed: dict[str, Any], group: str) -> set[str]:
    entry = parsed.get(group, {})
    return set(entry.get("hosts", [])).union(*(members(parsed, child) for child in entry.get("children", [])), set())


def test_galaxy_and_requirements_name_the_same_collections() -> None:
    wanted = {entry["name"]: entry["version"] for entry in yaml.safe_load(read("requirements.yml"))["collections"]}
    assert wanted == yaml.safe_load(read("galaxy.yml"))["dependencies"]
    image = yaml.safe_load(read("execution-environment.yml"))["dependencies"]["galaxy"]["collections"]
    assert wanted == {entry["name"]: entry["version"] for entry in image}


def test_the_pinned_ansible_package_satisfies_the_requirements() -> None:
    """Otherwise a job runner without network fails where it installs collections."""
    import ansible_collections

    for entry in yaml.safe_load(read("requirements.yml"))["collections"]:
        namespace, name = entry["name"].split(".")
        manifests = [Path(base) / namespace / name / "MANIFEST.json" for base in ansible_collections.__path__]
        found = next(json.loads(path.read_text()) for path in manifests if path.is_file())
        bundled = [int(part) for part in found["collection_info"]["version"].split(".")]
        assert bundled >= [int(part) for part in entry["version"].removeprefix(">=").split(".")]


def test_versions_agree() -> None:
    assert f'version = "{yaml.safe_load(read("galaxy.yml"))["version"]}"' in read("pyproject.toml")
    for requirement in ("ansible-core", "ansible-runner"):
        locked = re.search(rf"^{requirement}==(\S+)", read("requirements.txt"), re.MULTILINE)
        assert locked
        assert f"{requirement}=={locked.group(1)}" in read("execution-environment.yml")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_locked_with_hashes_and_without_an_index(name: str) -> None:
    text = read(name)
    pinned = [block for block in re.split(r"\n(?=[A-Za-z0-9])", text) if re.match(r"[A-Za-z0-9]", block)]
    assert len(pinned) > 10
    for block in pinned:
        assert "==" in block.splitlines()[0]
        assert "--hash=sha256:" in block, f"{block.splitlines()[0]} has no hash"
    assert not re.search(r"https?://|--index|--find-links|/opt/", text)


def test_the_development_lock_contains_the_runtime_lock() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", read(name), re.MULTILINE))

    assert versions("requirements.txt").items() <= versions("requirements-dev.txt").items()


def test_the_collection_is_linked_from_the_root() -> None:
    for link in LINKS.iterdir():
        assert link.is_symlink()
        assert link.resolve() == ROOT / link.name
    assert {link.name for link in LINKS.iterdir()} >= {"plugins", "roles", "playbooks", "catalog", "meta", "galaxy.yml"}


def test_configuration_keeps_to_what_job_runners_can_read() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "ansible.cfg")
    assert parser["defaults"]["collections_path"].split(":")[0] == "./collections"
    assert "roles_path" not in parser["defaults"], "with roles_path every role exists under two names"
    assert parser["defaults"]["callback_result_format"] == "yaml"
    assert not (ROOT / "collections" / "requirements.yml").exists(), "exactly one real Galaxy file"


@pytest.mark.parametrize("name", INVENTORIES)
def test_every_service_of_the_slice_has_machines(name: str) -> None:
    parsed = inventory(name)
    machines = members(parsed, "machines")
    assert len(machines) == (1 if name == "single" else 10)
    for group in SLICE | {"overlay_manager"}:
        assert members(parsed, group), f"{name}: the group {group} is empty"
        assert members(parsed, group) <= machines
    assert len(members(parsed, "overlay_manager")) in (1, 3)
    for tier, services in {"data": {"postgresql"}, "compute": {"ollama"}, "edge": {"edge_proxy"}}.items():
        assert services <= set(parsed[tier]["children"])


@pytest.mark.parametrize("name", INVENTORIES)
def test_every_model_names_machines_of_the_inventory(name: str) -> None:
    parsed = inventory(name)
    models = next(iter(parsed["_meta"]["hostvars"].values()))["pantheon_models"]
    assert {model["role"] for model in models} == {"chat", "embedding"}
    for model in models:
        for target in model.get("machines", ["ollama"]):
            assert target in members(parsed, "ollama") or members(parsed, target) <= members(parsed, "ollama"), (
                name,
                model,
            )


def test_the_lab_is_the_home_lab() -> None:
    """The same machines and the same placement: what the lab proves holds for the real ones."""
    lab, home = inventory("lab"), inventory("homelab")
    assert set(lab["_meta"]["hostvars"]) == set(home["_meta"]["hostvars"])
    for group in SLICE | {"machines", "appliances", "overlay_manager"}:
        assert members(lab, group) == members(home, group), group


@pytest.mark.parametrize("name", INVENTORIES)
def test_appliances_are_no_machines(name: str) -> None:
    parsed = inventory(name)
    assert not members(parsed, "appliances") & members(parsed, "machines")
    for host in members(parsed, "appliances"):
        assert parsed["_meta"]["hostvars"][host]["ansible_connection"] == "local"


def test_the_readme_names_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", read("README.md") + read("CONTRIBUTING.md")))
    assert {"lab", "test"} <= named
    assert named <= targets, f"no such target: {sorted(named - targets)}"


def test_links_in_the_documents_lead_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), (
                f"{document.relative_to(ROOT)} links to {target}, which is not there"
            )


def test_every_program_of_the_environment_is_the_locked_one() -> None:
    """A test that passes with other versions than the locked ones says nothing about what is shipped."""
    for name in ("ansible-core", "ansible-runner", "jsonschema"):
        assert f"{name}=={importlib.metadata.version(name)}" in read("requirements.txt")


def test_no_file_is_executable_by_accident() -> None:
    for path in (ROOT / "tools").iterdir():
        if path.is_file() and path.read_bytes()[:2] == b"#!":
            assert os.access(path, os.X_OK), f"{path.relative_to(ROOT)} has a shebang and cannot be run"
