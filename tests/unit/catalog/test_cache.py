# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog is checked once per run: the same as without a cache, and never an old one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils import _catalog_files
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import cached_catalog, read_catalog

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "catalog", tmp_path / "catalog")
    (tmp_path / "run").mkdir()
    return tmp_path / "catalog"


def test_the_second_time_nothing_is_checked(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached_catalog(catalog, None, tmp_path / "run")
    assert first == read_catalog(catalog, None)

    def never(*_arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(_catalog_files, "read_catalog", never)
    assert cached_catalog(catalog, None, tmp_path / "run") == first


@pytest.mark.parametrize("changed", ["services/redis.yml", "service.schema.json", "templates", "override"])
def test_whatever_changes_is_read_again(catalog: Path, tmp_path: Path, changed: str) -> None:
    overrides = tmp_path / "overrides"
    overrides.mkdir()
    cached_catalog(catalog, overrides, tmp_path / "run")
    if changed == "override":
        (overrides / "redis.yml").write_text("image: {tag: 8.9.9}\n")
    else:
        path = catalog / changed
        path = next(item for item in sorted(path.rglob("*")) if item.is_file()) if path.is_dir() else path
        path.write_text(path.read_text() + "\n")
    cached_catalog(catalog, overrides, tmp_path / "run")
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_an_override_reaches_the_result(catalog: Path, tmp_path: Path) -> None:
    overrides = tmp_path / "overrides"
    overrides.mkdir()
    cached_catalog(catalog, overrides, tmp_path / "run")
    (overrides / "redis.yml").write_text("image: {tag: 8.9.9}\n")
    assert cached_catalog(catalog, overrides, tmp_path / "run").services["redis"]["image"]["tag"] == "8.9.9"


def test_a_catalog_with_problems_is_not_kept(catalog: Path, tmp_path: Path) -> None:
    (catalog / "services" / "redis.yml").write_text("name: other\n")
    assert cached_catalog(catalog, None, tmp_path / "run").problems
    assert list((tmp_path / "run").iterdir()) == []
