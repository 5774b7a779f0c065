# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's models: their files are right, repeatable, and described by the manifest."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from pantheon_lab_models import gguf, library, models


def test_the_manifest_describes_the_files(tmp_path: Path) -> None:
    library.build(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["models"]] == ["lab-small", "lab-large", "lab-embed"]
    for entry in manifest["models"]:
        data = (tmp_path / entry["file"]).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["context_length"] >= 8192
        assert data[:8] == struct.pack("<4sI", b"GGUF", 3)
    chat = [entry for entry in manifest["models"] if entry["role"] == "chat"]
    assert all(entry["name"] in entry["answer"] for entry in chat)
    assert manifest["models"][-1]["dimensions"] == 64


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    first = library.build(tmp_path / "one")
    second = library.build(tmp_path / "two")
    assert first == second


def test_every_word_leads_to_the_next(tmp_path: Path) -> None:
    """Follows the output matrix of the written file by hand, as llama.cpp does when it samples the likeliest token."""
    sentence = "I speak five words here."
    built = models.clockwork(tmp_path / "m.gguf", "m", sentence)
    data = (tmp_path / "m.gguf").read_bytes()
    width = built.embedding_length
    block = 2 * models.HEAD * width * 4 + 2 * 32 * width * 3 + 2 * 4 * width  # what follows the output matrix
    tokens = 259 + 75 + 4  # specials and bytes, characters, and the sentence's words, of which the first two are one
    output = data[len(data) - block - 2 * tokens * width : len(data) - block]

    def after(token: int) -> int:
        rows = [struct.unpack_from("<e", output, 2 * (row * width + token))[0] for row in range(tokens)]
        assert sorted(rows)[-2:] == [0.0, 1.0]
        return rows.index(1.0)

    first = tokens - 4
    assert after(ord("x")) == first
    assert [after(token) for token in range(first, tokens)] == [first + 1, first + 2, first + 3, 2]


@pytest.mark.parametrize("sentence", ["", "alone", "one two one"])
def test_unusable_sentences_are_refused(tmp_path: Path, sentence: str) -> None:
    with pytest.raises(models.ModelError, match="each exactly once"):
        models.clockwork(tmp_path / "m.gguf", "m", sentence)
    assert not (tmp_path / "m.gguf").exists()


def test_unusable_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(models.ModelError, match="multiple of 32"):
        models.embedding(tmp_path / "m.gguf", "m", 65, 1)


def test_a_tensor_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        gguf.Tensor("t", (2, 2), b"\0" * 7, 1)
