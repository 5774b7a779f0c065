# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pantheon_ollama_api.names import ModelName
from pantheon_ollama_api.settings import Settings
from pantheon_ollama_api.store import NotFoundError, Store, StoreError, human_number


def name(text: str) -> ModelName:
    parsed = ModelName.parse(text)
    assert parsed is not None
    return parsed


def pull(store: Store, text: str) -> list[str]:
    return [step["status"] for step in store.pull(name(text))]


def blobs(settings: Settings) -> set[str]:
    return {path.name for path in (settings.models / "blobs").iterdir()}


def test_pull_then_find(store: Store) -> None:
    assert pull(store, "lab-small")[-2:] == ["writing manifest", "success"]
    model = store.find(name("LAB-SMALL:latest"))  # names are not case-sensitive
    assert model.name.short == "lab-small:latest"
    assert str(model.gguf.metadata["pantheon.answer"]).startswith("I am lab-small,")
    assert model.details["quantization_level"] == "F16"
    assert model.size > model.path.stat().st_size


def test_a_wrong_digest_never_becomes_visible(store: Store, settings: Settings) -> None:
    with (settings.library / "lab-small.gguf").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match="digest mismatch"):
        pull(store, "lab-small")
    assert store.models() == ([], [])
    assert blobs(settings) == set()


def test_an_interrupted_pull_leaves_nothing(store: Store, settings: Settings) -> None:
    steps = store.pull(name("lab-small"))
    for step in steps:
        if step.get("completed"):
            break
    steps.close()
    assert blobs(settings) == set()
    (settings.models / "blobs" / ".partial-killed").write_bytes(b"x")
    store.prepare()
    assert blobs(settings) == set()


def test_unknown_and_missing_library(store: Store, settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="pull model manifest: file does not exist"):
        pull(store, "nothing")
    (settings.library / "manifest.json").unlink()
    with pytest.raises(NotFoundError, match="pull model manifest: file does not exist"):
        pull(store, "lab-small")


def test_a_manifest_cannot_name_files_elsewhere(store: Store, settings: Settings) -> None:
    path = settings.library / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"][0]["file"] = "../../etc/passwd"
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="file is not valid"):
        pull(store, "lab-small")


def test_delete_keeps_shared_blobs(store: Store, settings: Settings) -> None:
    pull(store, "lab-small")
    store.copy(name("lab-small"), name("mine/other:v2"))
    before = blobs(settings)
    store.delete(name("lab-small"))
    assert blobs(settings) == before
    assert [model.name.short for model in store.models()[0]] == ["mine/other:v2"]
    store.delete(name("mine/other:v2"))
    assert blobs(settings) == set()
    with pytest.raises(NotFoundError):
        store.delete(name("mine/other:v2"))


def test_pull_again_keeps_the_date(store: Store) -> None:
    pull(store, "lab-small")
    before = store.find(name("lab-small"))
    pull(store, "lab-small")
    after = store.find(name("lab-small"))
    assert (before.digest, before.modified) == (after.digest, after.modified)


def test_a_damaged_model_is_reported_and_the_others_stay(store: Store, settings: Settings) -> None:
    pull(store, "lab-small")
    pull(store, "lab-large")
    store.find(name("lab-large")).path.unlink()
    manifest = settings.models / "manifests/registry.ollama.ai/library/lab-bad/latest"
    manifest.parent.mkdir()
    manifest.write_text("{")
    # A second store has not read the file that is gone now.
    models, broken = Store(settings.models, settings.library).models()
    assert [model.name.short for model in models] == ["lab-small:latest"]
    assert len(broken) == 2 and "lab-bad" in broken[0] and "is missing" in broken[1]


def test_upload(store: Store) -> None:
    digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(StoreError, match="digest mismatch, expected"):
        store.add_blob(digest, iter([b"ab"]))
    store.add_blob(digest, iter([b"a", b"bc"]))
    path = store.blob(digest)
    assert path is not None and path.read_bytes() == b"abc"
    assert store.blob("sha256:../../x") is None
    with pytest.raises(StoreError, match="GGUF"):
        list(store.create(name("x"), None, digest, {}))


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999"), (661_504, "662K"), (330_450_000, "330.45M"), (7 * 10**9, "7B"), (1_540_000_000, "1.5B")],
)
def test_human_number(number: int, text: str) -> None:
    assert human_number(number) == text


def test_blob_directory_is_made(tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "models", tmp_path).prepare()
    assert (tmp_path / "deep" / "models" / "blobs").is_dir()
