# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup pantheon.ai.catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.pantheon.ai.plugins.lookup import catalog

VARIABLES: dict[str, Any] = {
    "inventory_hostname": "one",
    "groups": {name: ["one"] for name in ("machines", "redis", "ollama", "litellm", "edge_proxy")},
    "hostvars": {"one": {"ansible_host": "10.0.0.1"}},
    "pantheon_models": [{"name": "chat"}],
    "pantheon_domain": "example.test",
}


def ask(*terms: str) -> list[Any]:
    return list(catalog.LookupModule(loader=DataLoader()).run(list(terms), VARIABLES))


def test_a_view_per_term() -> None:
    placement, networks, models = ask("placement", "networks", "models")
    assert placement["redis"] == ["one"] and placement["postgresql"] == []
    assert networks["litellm"] == ["pantheon-data", "pantheon-ai", "pantheon-edge"]
    assert models == [{"name": "chat", "role": "chat", "machines": ["one"]}]


def test_the_files_of_the_host_that_asks() -> None:
    (files,) = ask("files")
    assert sorted(files) == ["edge-proxy", "litellm", "ollama", "redis"]
    assert "requirepass @@secret:redis_password@@" in files["redis"]["files/usr/local/etc/redis/redis.conf"]


def test_every_documented_view_exists_and_is_plain_data() -> None:
    choices = yaml.safe_load(catalog.DOCUMENTATION)["options"]["_terms"]["choices"]
    views = dict(zip(choices, ask(*choices), strict=True))
    yaml.safe_dump(views)
    assert {route["hosts"][0] for route in views["routes"]} == {"llm.example.test"}
    assert views["settings"]["domain"] == "example.test"
    assert views["secrets"]["redis_password"]["kind"] == "password"


def test_an_unknown_view_names_the_known_ones() -> None:
    with pytest.raises(AnsibleError, match=r"no view 'rotues'. Use one of: .*routes"):
        ask("rotues")


def test_the_documentation_is_complete() -> None:
    assert Path(catalog.__file__).name == "catalog.py"
    assert yaml.safe_load(catalog.EXAMPLES) and yaml.safe_load(catalog.RETURN)["_raw"]["sample"]
