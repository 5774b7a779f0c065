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
from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import storage_key

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
    assert networks["litellm"] == ["pantheon-ai", "pantheon-edge"] and networks["redis"] == []
    assert placement["redis-router"] == ["one"], "beside litellm"
    assert models == [{"name": "chat", "role": "chat", "machines": ["one"]}]


def test_the_files_of_the_host_that_asks() -> None:
    (files,) = ask("files")
    assert sorted(files) == ["edge-proxy", "litellm", "ollama", "redis", "redis-router"]
    assert "masterauth @@secret:redis_replication_password@@" in files["redis"]["files/usr/local/etc/redis/redis.conf"]


def test_every_documented_view_exists_and_is_plain_data() -> None:
    choices = yaml.safe_load(catalog.DOCUMENTATION)["options"]["_terms"]["choices"]
    views = dict(zip(choices, ask(*choices), strict=True))
    yaml.safe_dump(views)
    assert {route["hosts"][0] for route in views["routes"]} == {"llm.example.test"}
    assert views["settings"]["domain"] == "example.test"
    assert views["secrets"]["redis_replication_password"]["kind"] == "password"


def test_an_unknown_view_names_the_known_ones() -> None:
    with pytest.raises(AnsibleError, match=r"no view 'rotues'. Use one of: .*routes"):
        ask("rotues")


def test_the_documentation_is_complete() -> None:
    assert Path(catalog.__file__).name == "catalog.py"
    assert yaml.safe_load(catalog.EXAMPLES) and yaml.safe_load(catalog.RETURN)["_raw"]["sample"]


def to_do(settings: dict[str, Any] | None = None, **results: Any) -> list[str]:
    """Ask for the machines with something to do, after a run that saw this of one, two and three."""
    hosts = ("one", "two", "three")
    variables = {
        **{name: value for name, value in VARIABLES.items() if name != "inventory_hostname"},
        "groups": {"machines": list(hosts), "appliances": ["nas"], "truenas": ["nas"]},
        "hostvars": {
            "nas": {"ansible_host": "10.0.0.9"},
            **{
                host: {
                    "ansible_host": f"10.0.0.{number}",
                    **(settings or {}),
                    **({"docker_result": results[host]} if host in results else {}),
                }
                for number, host in enumerate(hosts, 1)
            },
        },
    }
    return list(catalog.LookupModule(loader=DataLoader()).run(["mounts_to_do"], variables)[0])


def in_order(read_only: bool = True, pool: str = "tank") -> dict[str, Any]:
    """Return what the call of a machine leaves whose mounts are in order."""
    mounts = [
        {"name": "models", "source": f"10.0.0.9:/mnt/{pool}/models", "path": "/models", "read_only": read_only},
        {"name": "shared", "source": f"10.0.0.9:/mnt/{pool}/shared", "path": "/shared", "read_only": False},
        {"name": "backups", "source": f"10.0.0.9:/mnt/{pool}/backups", "path": "/backups/nas", "read_only": False},
    ]
    keys = {"mounts": storage_key({"mounts": mounts})}
    return {"looks": [{"module": "storage_mounts", "keys": keys, "result": {"changed": False}}]}


def test_machines_that_were_seen_in_order_have_nothing_to_do() -> None:
    assert to_do(one=in_order(), two={"looks": []}, three={"changed": True}) == ["two", "three"]
    assert to_do(one=in_order(), two=in_order(), three=in_order()) == []


def test_a_look_at_other_mounts_does_not_count() -> None:
    assert to_do(one=in_order(read_only=False), two=in_order(), three=in_order()) == ["one"]


def test_a_machine_that_is_off_is_left_out_where_others_were_seen() -> None:
    assert to_do(one=in_order(), two={"looks": []}) == ["two"]


def test_the_owners_settings_are_known_where_the_hosts_of_a_play_are_worked_out() -> None:
    """There is no host yet, and so no variable of the inventory but in hostvars."""
    results = {"one": in_order(pool="fast"), "two": in_order(pool="fast"), "three": in_order(pool="fast")}
    assert to_do(settings={"pantheon_pool": "fast"}, **results) == []
    assert to_do(**results) == ["one", "two", "three"]


def test_where_nobody_looked_all_have_something_to_do() -> None:
    assert to_do() == ["one", "two", "three"]
