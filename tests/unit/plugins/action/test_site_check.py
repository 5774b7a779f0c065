# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action site_check: what it says, and that it says everything at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.pantheon.ai.plugins.action.site_check import ActionModule

GROUPS = {
    "machines": ["one"],
    **{name: ["one"] for name in ("data", "etcd", "postgresql", "redis", "redis_sentinel", "qdrant", "neo4j")},
    **{name: ["one"] for name in ("compute", "ollama", "litellm", "open_webui")},
    **{name: ["one"] for name in ("edge", "edge_proxy")},
}


def run(variables: dict[str, Any], arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    task = SimpleNamespace(
        args=arguments or {}, check_mode=False, diff=False, async_val=0, environment=None, action="site_check"
    )
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = ActionModule(task, connection, SimpleNamespace(), DataLoader(), None, None)
    result: dict[str, Any] = action.run(task_vars=variables)
    return result


def variables(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "inventory_dir": str(tmp_path),
        "groups": GROUPS,
        "hostvars": {"one": {"ansible_host": "10.0.0.1"}},
        "pantheon_models": [{"name": "chat"}, {"name": "embed", "role": "embedding"}],
        **more,
    }


def test_a_good_site(tmp_path: Path) -> None:
    result = run(variables(tmp_path))
    assert (result["changed"], result["problems"], result.get("failed", False)) == (False, [], False)
    assert result["msg"] == "14 services on 1 machines, no problems."
    assert result["placement"]["litellm"] == ["one"]


def test_all_problems_at_once(tmp_path: Path) -> None:
    result = run(variables(tmp_path, pantheon_images={"nothing": "x:1", "redis": "redis:latest"}, pantheon_models=[]))
    assert result["failed"] and not result["changed"]
    fields = [problem["field"] for problem in result["problems"]]
    assert {"pantheon_images.nothing", "pantheon_images.redis", "environment.DEFAULT_MODELS"} <= set(fields)
    assert result["msg"].splitlines()[0] == f"The site has {len(fields)} problems:"
    assert len(result["msg"].splitlines()) == len(fields) + 1
    assert set(result["problems"][0]) == {"file", "field", "value", "message", "remedy"}


def test_faults_of_form(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "redis.yml").write_text("memory: 5\n")
    result = run(variables(tmp_path))
    assert [problem["field"] for problem in result["problems"]] == ["memory"]


@pytest.mark.parametrize("groups", [{}, {"all": ["localhost"]}, {"machines": []}])
def test_an_inventory_without_machines_fails(groups: dict[str, list[str]]) -> None:
    result = run({"groups": groups})
    assert result["failed"] and "the inventory has no machines" in result["msg"]


def test_it_takes_no_arguments(tmp_path: Path) -> None:
    from ansible.errors import AnsibleError

    with pytest.raises(AnsibleError):
        run(variables(tmp_path), {"stict": True})
