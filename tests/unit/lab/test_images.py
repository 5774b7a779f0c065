# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.driver.hashing import context_files, digest, hash_files, write_tar
from lab.driver.images import Recipe, Wanted, build_missing, parse_recipes, plan, variables
from lab.driver.process import LabError

BASES = {"debian:trixie": "aaaa", "debian:bookworm": "bbbb"}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "lab" / "images" / "demo"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "start.sh").write_text("#!/bin/sh\n")
    return folder


def hash_of(folder: Path, *extra: Path) -> str:
    return hash_files(context_files(folder, extra))


def test_the_hash_follows_content_names_and_the_right_to_execute(context: Path) -> None:
    seen = {hash_of(context)}
    (context / "start.sh").chmod(0o755)
    seen.add(hash_of(context))
    (context / "start.sh").write_text("#!/bin/sh\nexec true\n")
    seen.add(hash_of(context))
    (context / "start.sh").rename(context / "run.sh")
    seen.add(hash_of(context))
    (context / "empty").touch()
    seen.add(hash_of(context))
    assert len(seen) == 5


def test_the_hash_ignores_times_and_the_caches_of_tools(context: Path) -> None:
    before = hash_of(context)
    (context / "Dockerfile").touch()
    (context / "__pycache__").mkdir()
    (context / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    assert hash_of(context) == before


def test_extra_paths_lie_in_the_context_under_their_last_name(context: Path, tmp_path: Path) -> None:
    service = tmp_path / "services" / "api"
    (service / "src").mkdir(parents=True)
    (service / "src" / "main.py").write_text("")
    (tmp_path / "LICENSE").write_text("")
    assert list(context_files(context, [service, tmp_path / "LICENSE"])) == [
        "Dockerfile",
        "LICENSE",
        "api/src/main.py",
        "start.sh",
    ]


def test_the_tar_is_the_same_for_the_same_files_and_keeps_the_right_to_execute(context: Path, tmp_path: Path) -> None:
    (context / "start.sh").chmod(0o744)
    write_tar(context_files(context, []), tmp_path / "one.tar", ["certs"])
    (context / "start.sh").touch()
    write_tar(context_files(context, []), tmp_path / "two.tar", ["certs"])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert {member.name: (member.isdir(), oct(member.mode)) for member in tar} == {
            "certs": (True, "0o755"),
            "Dockerfile": (False, "0o644"),
            "start.sh": (False, "0o755"),
        }


def recipe(name: str, context: Path, base: str = "debian:trixie", service: str | None = None) -> Recipe:
    return Recipe(name, (service,) if service else (), base, context, (), False)


def test_a_changed_base_changes_what_is_built_on_it_and_nothing_else(context: Path) -> None:
    recipes = [
        recipe("python", context, "debian:bookworm"),
        recipe("gateway", context, "image:python", "litellm"),
        recipe("cache", context, "debian:trixie", "redis"),
    ]
    before = {item.recipe.name: item for item in plan(recipes, BASES)}
    after = {item.recipe.name: item for item in plan(recipes, BASES | {"debian:bookworm": "cccc"})}
    assert before["gateway"].base == before["python"].reference
    assert {name for name in before if before[name].tag != after[name].tag} == {"python", "gateway"}


def test_references_name_registry_image_and_hash(context: Path) -> None:
    (item,) = plan([recipe("cache", context)], BASES)
    assert item.reference == f"10.77.0.5:5000/pantheon-lab/cache:{item.tag}"
    assert len(item.tag) == 16
    assert item.base == "pantheon-lab/debian:trixie"


def test_the_variables_name_the_image_of_each_service_and_the_anchor(context: Path) -> None:
    recipes = [
        recipe("anchor", context),
        recipe("python", context),
        recipe("gateway", context, "image:python", "litellm"),
        recipe("cache", context, service="a-cache"),
    ]
    wanted = {item.recipe.name: item.reference for item in plan(recipes, BASES)}
    assert variables(plan(recipes, BASES)).splitlines()[2:] == [
        f"overlay_anchor_image: {wanted['anchor']}",
        "pantheon_images:",
        f"  a-cache: {wanted['cache']}",
        f"  litellm: {wanted['gateway']}",
    ]


def test_recipes_are_read_in_their_order(context: Path, tmp_path: Path) -> None:
    entries = [
        {"name": "python", "base": "debian:bookworm", "context": "lab/images/demo"},
        {
            "name": "gateway", "service": "litellm", "base": "image:python", "context": "lab/images/demo",
            "extra": ["lab"], "stand_in": True,
        },
        {"name": "cache", "service": ["cache", "sentinel"], "base": "debian:trixie", "context": "lab/images/demo"},
    ]  # fmt: skip
    python, gateway, cache = parse_recipes({"images": entries}, tmp_path)
    assert (python.needs, python.services, python.stand_in) == (None, (), False)
    assert (gateway.needs, gateway.services, gateway.stand_in) == ("python", ("litellm",), True)
    assert cache.services == ("cache", "sentinel"), "one image for both"
    assert gateway.extra == (tmp_path / "lab",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"base": "alpine:3"}, "the base 'alpine:3' of demo is neither"),
        ({"base": "image:later"}, "the base 'image:later' of demo is neither"),
        ({"base": "debian:"}, "the base 'debian:' of demo is neither"),
        ({"context": "lab/images/none"}, "lab/images/none of demo does not exist"),
        ({"name": "first"}, "the image first is listed twice"),
    ],
)
def test_a_recipe_that_cannot_be_built_is_named(
    context: Path, tmp_path: Path, entry: dict[str, str], message: str
) -> None:
    good = {"name": "demo", "base": "debian:trixie", "context": "lab/images/demo"}
    with pytest.raises(LabError, match=message):
        parse_recipes({"images": [good | {"name": "first"}, good | entry]}, tmp_path)


def build_order(recipes: list[Recipe], workers: int, fail: str = "") -> list[str]:
    order: list[str] = []
    lock = threading.Lock()

    def build(item: Wanted, tick: Callable[[str], None]) -> None:
        tick("working")
        with lock:
            order.append(item.recipe.name)
        if item.recipe.name == fail:
            raise LabError("broken")

    try:
        build_missing(plan(recipes, BASES), build, lambda line: None, workers)
    except LabError:
        order.append("stopped")
    return order


def test_each_image_is_built_once_after_the_one_it_builds_on(context: Path) -> None:
    recipes = [
        recipe("a", context),
        recipe("b", context, "image:a"),
        recipe("c", context, "image:b"),
        recipe("d", context),
    ]
    order = build_order(recipes, 3)
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("a") < order.index("b") < order.index("c")


def test_a_failed_build_ends_the_step_before_what_builds_on_it(context: Path) -> None:
    assert build_order([recipe("a", context), recipe("b", context, "image:a")], 2, fail="a") == ["a", "stopped"]


def test_nothing_to_build_is_no_work() -> None:
    build_missing([], lambda item, tick: pytest.fail("nothing is to be built"), lambda line: None)


def test_digest_depends_on_every_part() -> None:
    assert digest("a", "b") != digest("ab")
    assert digest("a", None) != digest("a", "None")
