# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes: what the owner writes, and what follows for machines, services and secrets."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import encrypted_volumes, secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import TIERS as KNOWN_TIERS
from ansible_collections.pantheon.ai.plugins.plugin_utils._encryption import TIERS, key_of, machines_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import Stack, render_stacks

DATA: dict[str, Any] = {
    "name": "data",
    "machines": ["erebus"],
    "device": "/dev/sdb",
    "path": "/srv/data",
    "tiers": ["data"],
}


def project(stack: Stack, path: str) -> dict[str, Any]:
    text = next(file["content"] for file in stack["files"] if file["path"] == path)
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_nothing_follows_from_no_setting(workshop: Any) -> None:
    site = workshop.load()
    assert site.settings.encryption == () and encrypted_volumes(site, "erebus") == []
    assert "encryption_key" not in secrets_of(site)
    for stack in render_stacks(site, "erebus"):
        assert "volumes" not in project(stack, "compose.override.yml")
        assert stack["storage"] == []


def test_services_of_the_tier_keep_their_volumes_there(workshop: Any) -> None:
    workshop.settings["pantheon_encryption"] = [DATA]
    site = workshop.load()
    stacks = {stack["name"]: stack for stack in render_stacks(site, "erebus")}
    assert project(stacks["redis"], "compose.override.yml")["volumes"] == {
        "data": {
            "name": "pantheon_redis_data",
            "driver": "local",
            "driver_opts": {"type": "none", "o": "bind", "device": "/srv/data/redis/data"},
        }
    }
    for name in ("redis", "postgresql", "etcd", "redis-sentinel"):
        # The stack waits for the mount: its unit reads this file, and a run looks at it before it starts a container.
        assert stacks[name]["storage"] == ["/srv/data"]
        assert "/srv/data\n" in [file["content"] for file in stacks[name]["files"] if file["path"] == "storage"]
    for name in ("redis-router", "postgresql-router", "postgresql-witness"):
        if name in stacks:
            assert stacks[name]["storage"] == [], "it keeps nothing"


def test_other_machines_are_as_before(workshop: Any) -> None:
    plain = workshop.load()
    workshop.settings["pantheon_encryption"] = [DATA]
    encrypted = workshop.load()
    for host in ("thanatos", "orpheus"):
        assert render_stacks(encrypted, host) == render_stacks(plain, host)
    base = [project(stack, "compose.yml") for stack in render_stacks(plain, "erebus")]
    assert [project(stack, "compose.yml") for stack in render_stacks(encrypted, "erebus")] == base


def test_what_the_role_is_given(workshop: Any) -> None:
    workshop.settings["pantheon_encryption"] = [
        DATA | {"unlock": "manual", "key_machine": "old"},
        {"name": "backups", "machines": ["data"], "directory": "/mnt/disk/backups", "path": "/srv/backups"},
    ]
    site = workshop.load()
    data, backups = encrypted_volumes(site, "erebus")
    assert {key: value for key, value in data.items() if key != "volumes"} == {
        "name": "data",
        "path": "/srv/data",
        "device": "/dev/sdb",
        "key_machine": "old",
        "method": "auto",
        "unlock": "manual",
    }
    assert {"name": "pantheon_postgresql_data", "directory": "postgresql/data"} in data["volumes"]
    assert backups == {
        "name": "backups",
        "path": "/srv/backups",
        "directory": "/mnt/disk/backups",
        "method": "auto",
        "unlock": "file",
    }
    assert [volume["name"] for volume in encrypted_volumes(site, "thanatos")] == ["backups"]
    assert machines_of(site.settings.encryption) == ["erebus", "thanatos", "hephaestus"]
    assert encrypted_volumes(site, "orpheus") == []


def test_without_machines_it_is_all_of_them(workshop: Any) -> None:
    workshop.settings["pantheon_encryption"] = [{key: value for key, value in DATA.items() if key != "machines"}]
    assert machines_of(workshop.load().settings.encryption) == workshop.groups["machines"]


def test_the_secret_is_declared_where_it_is_needed(workshop: Any) -> None:
    workshop.settings["pantheon_encryption"] = [DATA]
    assert secrets_of(workshop.load())["encryption_key"] == {"kind": "key", "length": 64}


def test_every_volume_of_every_machine_has_a_key_of_its_own() -> None:
    keys = {key_of("secret", machine, volume) for machine in ("one", "two") for volume in ("data", "backups")}
    assert len(keys) == 4 and all(len(key) == 64 for key in keys)
    # Disks out there depend on it.
    assert key_of("secret", "one", "data") == "2bf9a379bb10513d4e8a1141d25a4a0cc165592485d6b9429886bed80e4973df"
    assert key_of("other", "one", "data") not in keys


def test_tiers_are_those_of_the_catalog() -> None:
    assert set(TIERS) == set(KNOWN_TIERS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": None}, "pantheon_encryption[0].device: neither is given; give either device or directory."),
        ({"directory": "/mnt/x"}, "both are given"),
        ({"colour": "red"}, 'colour = "red": is an unknown key; known keys are name, machines'),
        ({"machines": ["erebos"]}, 'machines = "erebos": is neither a machine nor a group'),
        ({"machines": "erebus"}, "is no list"),
        ({"tiers": ["date"]}, 'tiers = "date": is no tier'),
        ({"method": "zfs"}, "use one of auto, luks, fscrypt"),
        ({"unlock": "usb"}, "use one of file, tpm2, manual"),
        ({"wipe": "/dev/sda"}, "is not the device /dev/sdb"),
        ({"path": "data"}, "is no path"),
        ({"name": "My Data"}, "is no name"),
    ],
)
def test_mistakes_are_told_with_value_and_remedy(workshop: Any, change: dict[str, Any], said: str) -> None:
    workshop.settings["pantheon_encryption"] = [DATA | change]
    (problem,) = [str(problem) for problem in workshop.problems()]
    assert said in problem


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"name": "data", "device": "/dev/sdc", "path": "/srv/x"}, 'name = "data": is used twice on erebus'),
        ({"name": "more", "device": "/dev/sdb", "path": "/srv/x"}, "is used twice on erebus"),
        ({"name": "more", "device": "/dev/sdc", "path": "/srv/data/x"}, "lies in /srv/data on erebus"),
        ({"name": "more", "device": "/dev/sdc", "path": "/srv/x", "tiers": ["data"]}, "is also in data on erebus"),
    ],
)
def test_two_volumes_of_a_machine_do_not_claim_the_same(workshop: Any, other: dict[str, Any], said: str) -> None:
    workshop.settings["pantheon_encryption"] = [DATA, {"machines": ["data"], **other}]
    problems = [str(problem) for problem in workshop.problems()]
    assert len(problems) == 1
    assert said in problems[0]
    workshop.settings["pantheon_encryption"] = [DATA, {"machines": ["thanatos"], **other}]
    assert workshop.problems() == []


def test_something_that_is_no_mapping(workshop: Any) -> None:
    workshop.settings["pantheon_encryption"] = ["/dev/sdb"]
    assert "is not a mapping" in str(workshop.problems()[0])
