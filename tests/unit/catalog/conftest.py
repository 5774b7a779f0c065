# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A workshop: a copy of the catalog and an inventory of ten machines, to be changed by a test and loaded."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import check_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import merge
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Problem, Site, SiteError, load_site

REPOSITORY = Path(__file__).resolve().parents[3]

GROUPS: dict[str, list[str]] = {
    "machines": ["erebus", "thanatos", "orpheus", "kratos", "nyx", "hades", "hephaestus"],
    "appliances": ["poseidon"],
    "data": ["erebus", "thanatos", "hephaestus"],
    "etcd": ["erebus", "thanatos", "hephaestus"],
    "postgresql": ["erebus", "thanatos"],
    "redis": ["erebus", "thanatos"],
    "redis_sentinel": ["erebus", "thanatos", "hephaestus"],
    "qdrant": ["erebus"],
    "neo4j": ["thanatos"],
    "compute": ["orpheus", "kratos", "nyx", "hades"],
    "ollama": ["orpheus", "kratos", "nyx", "hades"],
    "litellm": ["orpheus", "kratos"],
    "open_webui": ["orpheus"],
    "edge": ["hephaestus"],
    "edge_proxy": ["hephaestus"],
}

HOSTS: dict[str, dict[str, Any]] = {
    name: {"ansible_host": f"10.1.0.{number}", "pantheon_memory_mb": 65536, "pantheon_gpu": gpu}
    for number, (name, gpu) in enumerate(
        [
            ("erebus", "none"),
            ("thanatos", "none"),
            ("orpheus", "nvidia"),
            ("kratos", "nvidia"),
            ("nyx", "nvidia"),
            ("hades", "rocm"),
            ("hephaestus", "none"),
        ],
        start=11,
    )
}

MODELS = [
    {"name": "small", "role": "chat", "machines": ["orpheus", "kratos", "nyx"]},
    {"name": "large", "role": "chat", "machines": ["hades"]},
    {"name": "embed", "role": "embedding"},
]

SETTINGS: dict[str, Any] = {
    "pantheon_domain": "example.test",
    "pantheon_admin_email": "admin@example.test",
    "pantheon_timezone": "Europe/Berlin",
    "pantheon_models": MODELS,
}


class Workshop:
    """Catalog and inventory of one test."""

    def __init__(self, folder: Path) -> None:
        self.catalog = folder / "catalog"
        self.inventory = folder / "inventories" / "test"
        shutil.copytree(REPOSITORY / "catalog", self.catalog)
        (self.inventory / "catalog").mkdir(parents=True)
        self.groups = copy.deepcopy(GROUPS)
        self.hosts = copy.deepcopy(HOSTS)
        self.settings = copy.deepcopy(SETTINGS)

    def override(self, service: str, data: dict[str, Any]) -> Path:
        """Write an override beside the inventory."""
        path = self.inventory / "catalog" / f"{service}.yml"
        path.write_text(yaml.safe_dump(data))
        return path

    def edit(self, service: str, change: dict[str, Any]) -> Path:
        """Merge *change* into the service file itself."""
        path = self.catalog / "services" / f"{service}.yml"
        path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), change)))
        return path

    def add(self, name: str, hosts: list[str] | None = None, **fields: Any) -> Path:
        """Write a small service of its own; *hosts* is its group."""
        group = name.replace("-", "_")
        data: dict[str, Any] = {
            "name": name,
            "summary": "A service made for a test",
            "licence": "MIT",
            "tier": "tools",
            "image": {"repository": f"example/{name}", "tag": "1.0"},
            "placement": {"group": group},
            "resources": {"memory_mb": 64},
            "endpoints": {"http": {"port": 9000}},
            "health": {"command": ["true"]},
            "backup": {"kind": "none", "reason": "Nothing is stored."},
            "failure": {"effect": "The test stops."},
        } | fields
        if hosts is not None:
            self.groups[group] = hosts
            tier = self.groups.setdefault(data["tier"], [])
            tier += [host for host in hosts if host not in tier]
        path = self.catalog / "services" / f"{name}.yml"
        path.write_text(yaml.safe_dump(data))
        return path

    def variables(self) -> dict[str, Any]:
        """Return what Ansible would hand to a plugin."""
        everyone = sorted({host for hosts in self.groups.values() for host in hosts})
        return {
            "inventory_dir": str(self.inventory),
            "inventory_hostname": "localhost",  # as in a task
            "groups": {"all": everyone, **self.groups},
            "hostvars": self.hosts,
            **self.settings,
        }

    def load(self) -> Site:
        """Load the site."""
        return load_site(self.variables(), catalog=self.catalog)

    def problems(self) -> list[Problem]:
        """Return the problems, of whatever stage."""
        try:
            return check_site(self.load())
        except SiteError as error:
            return error.problems


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A fresh workshop."""
    return Workshop(tmp_path)


@pytest.fixture
def site(workshop: Workshop) -> Site:
    """The unchanged site."""
    return workshop.load()
