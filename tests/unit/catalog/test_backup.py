# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine backs up, and that the program would read it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._backup import (
    backed_up,
    backed_up_services,
    backup_config,
    backup_view,
    inventory_files,
    program,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import placed, secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

from .conftest import Workshop

REPOSITORY = Path(__file__).resolve().parents[3]


def with_nas(workshop: Workshop) -> Site:
    workshop.groups |= {"appliances": ["poseidon"], "truenas": ["poseidon"]}
    workshop.hosts["poseidon"] = {"ansible_host": "10.1.0.2"}
    return workshop.load()


def jobs(site: Site, host: str) -> dict[str, dict[str, Any]]:
    config = backup_config(site, host)
    assert config is not None
    return {job["name"]: job for job in config["jobs"]}


def test_a_machine_backs_up_its_services_and_their_configuration(workshop: Workshop) -> None:
    site = with_nas(workshop)
    found = jobs(site, "erebus")
    assert {"configuration", "postgresql", "redis"} <= set(found)
    assert "etcd" not in found
    assert found["configuration"]["paths"] == ["/opt/pantheon", "/etc/pantheon"]
    redis = found["redis"]
    assert (redis["project"], redis["container"]) == ("pantheon-redis", "pantheon-redis-redis-1")
    assert (redis["kind"], redis["directory"]) == ("command", "/opt/pantheon/redis")
    assert redis["dump"] == ["sh", "/usr/local/etc/redis/redis.sh", "dump"]
    assert jobs(site, "orpheus")["open-webui"]["volumes"] == ["data"]
    assert set(jobs(site, "nyx")) == {"configuration"}


def test_backups_go_to_the_nas_which_has_to_be_mounted(workshop: Workshop) -> None:
    site = with_nas(workshop)
    config = backup_config(site, "thanatos")
    assert config is not None
    assert config["target"] == {
        "path": "/backups/nas",
        "mount": True,
        "password": "@@secret:backup_password@@",
        "keep": {"daily": 7, "weekly": 4, "monthly": 6},
    }
    assert config["expected"] == backed_up(site)
    assert secrets_of(site)["backup_password"] == {"kind": "password", "length": 40}


def test_with_a_directory_of_its_own_a_machine_has_sets_of_its_own(workshop: Workshop) -> None:
    workshop.settings["pantheon_backup"] = {"path": "/srv/backups", "at": "01:15", "keep": {"daily": 3}}
    config = backup_config(workshop.load(), "erebus")
    assert config is not None
    assert config["target"]["path"] == "/srv/backups"
    assert not config["target"]["mount"]
    assert config["target"]["keep"] == {"daily": 3, "weekly": 4, "monthly": 6}
    assert config["schedule"] == {"every_hours": 24, "at": "01:15"}
    assert config["expected"] == ["erebus"]


@pytest.mark.parametrize("given", [{}, {"enabled": False, "path": "/srv/backups"}])
def test_without_a_place_there_are_no_backups(workshop: Workshop, given: dict[str, Any]) -> None:
    workshop.settings["pantheon_backup"] = given
    site = workshop.load()
    assert backup_config(site, "erebus") is None
    assert backed_up(site) == []
    assert "backup_password" not in secrets_of(site)
    view = backup_view(site, "erebus")
    # What an earlier run brought is named, to be taken away.
    assert (view["config"], view["inventory"]) == ("", "")
    assert {file["path"] for file in view["program"]} == {file["path"] for file in program()}
    assert not any("content" in file for file in view["program"])


def test_a_machine_without_services_backs_up_nothing(workshop: Workshop) -> None:
    workshop.groups["machines"].append("idle")
    workshop.hosts["idle"] = {"ansible_host": "10.1.0.99"}
    site = with_nas(workshop)
    assert backup_config(site, "idle") is None
    assert "idle" not in backed_up(site)


def test_services_are_restored_in_the_order_of_their_tiers(workshop: Workshop) -> None:
    site = with_nas(workshop)
    found = backed_up_services(site)
    assert found["redis"] == placed(site, "redis")
    names = list(found)
    assert names.index("redis") < names.index("open-webui")
    assert "ollama" not in found


def test_one_machine_keeps_the_inventory(workshop: Workshop) -> None:
    (workshop.inventory / "hosts.yml").write_text("all: {}\n")
    (workshop.inventory / "secrets.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")
    site = with_nas(workshop)
    kept = json.loads(backup_view(site, backed_up(site)[0])["inventory"])
    assert kept["files"]["secrets.yml"].startswith("$ANSIBLE_VAULT;")
    assert backup_view(site, backed_up(site)[1])["inventory"] == ""


def test_secrets_that_are_not_encrypted_and_files_beside_the_inventory_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "group_vars" / "all" / "main.yml").write_text("x: 1\n")
    (tmp_path / "hosts").write_text("[machines]\n")
    (tmp_path / "secrets.yml").write_text("password: plain\n")
    (tmp_path / "holiday" / "photos.yml").write_text("private\n")
    (tmp_path / ".hidden.yml").write_text("private\n")
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8")
    assert set(inventory_files(str(tmp_path))) == {"group_vars/all/main.yml", "hosts"}


def test_the_role_installs_every_module_of_the_program() -> None:
    source = REPOSITORY / "services" / "backup" / "src" / "pantheon_backup"
    modules = {str(path.relative_to(source)): path.read_text() for path in source.rglob("*.py")}
    library = "/usr/local/lib/pantheon/pantheon_backup/"
    installed = {file["path"].removeprefix(library): file["content"] for file in program() if library in file["path"]}
    assert installed == modules
    links = list((REPOSITORY / "roles" / "backup" / "files").rglob("*.py"))
    assert all(os.path.islink(path) for path in links)


def test_the_program_reads_what_is_written(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "services" / "backup" / "src"), *sys.path])
    configuration = importlib.import_module("pantheon_backup.config")
    kinds = importlib.import_module("pantheon_backup.jobs").KINDS

    site = with_nas(workshop)
    for host in backed_up(site):
        text = backup_view(site, host)["config"].replace("@@secret:backup_password@@", "x" * 40)
        config = configuration.parse(json.loads(text), "backup.json")
        assert {job.kind for job in config.jobs} <= set(kinds)
        assert config.machine == host


@pytest.mark.parametrize(
    ("backup", "words"),
    [
        ({"kind": "command", "dump": ["dump"]}, "'load' is a required property"),
        ({"kind": "files", "dump": ["dump"]}, "dump"),
        ({"kind": "qdrant", "volumes": ["data"]}, "volumes"),
        ({"kind": "tape"}, "'tape' is not one of"),
    ],
)
def test_a_backup_that_makes_no_sense_is_refused(workshop: Workshop, backup: dict[str, Any], words: str) -> None:
    workshop.add("ledger", ["erebus"], backup=backup)
    assert any(
        "backup" in problem.field and words in f"{problem.field} {problem.message}" for problem in workshop.problems()
    )
