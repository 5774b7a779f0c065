# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, durations, settings, presets and the GGUF reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantheon_ollama_api import gguf
from pantheon_ollama_api.durations import DurationError, parse_keep_alive
from pantheon_ollama_api.names import ModelName
from pantheon_ollama_api.router import Preset, presets_text
from pantheon_ollama_api.settings import Settings, SettingsError
from pantheon_ollama_api.store import Store


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("-1s", -1),
        ("0", 0),
        (0, 0),
        (-1, -1),
        (2.5, 2.5),
        ("1.5h", 5400),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_keep_alive(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "300", "5 m", "m", "5d", True, None, [5]])
def test_wrong_durations(value: object) -> None:
    with pytest.raises(DurationError):
        parse_keep_alive(value)


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("lab-small", "lab-small:latest", "registry.ollama.ai/library/lab-small:latest"),
        ("qwen3:8b", "qwen3:8b", "registry.ollama.ai/library/qwen3:8b"),
        ("me/m:v1", "me/m:v1", "registry.ollama.ai/me/m:v1"),
        ("host:5000/me/m", "host:5000/me/m:latest", "host:5000/me/m:latest"),
    ],
)
def test_names(text: str, short: str, full: str) -> None:
    name = ModelName.parse(text)
    assert name is not None and (name.short, name.full) == (short, full)
    assert ":" not in name.router_id and "/" not in name.router_id


@pytest.mark.parametrize("text", ["", "a b", "../x", "a/../b", "a/b/c/d", "m:", ":t", "m:t/..", ".hidden"])
def test_wrong_names(text: str) -> None:
    assert ModelName.parse(text) is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 11434)),
        ("0.0.0.0", ("0.0.0.0", 11434)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("http://[::1]:8080/", ("::1", 8080)),
        (":9000", ("127.0.0.1", 9000)),
    ],
)
def test_host(text: str, address: tuple[str, int]) -> None:
    settings = Settings.from_environment({"OLLAMA_HOST": text})
    assert (settings.host, settings.port) == address


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OLLAMA_HOST", "0.0.0.0:http"),
        ("OLLAMA_NUM_PARALLEL", "two"),
        ("OLLAMA_CONTEXT_LENGTH", "3"),
        ("OLLAMA_KEEP_ALIVE", "soon"),
    ],
)
def test_wrong_settings_name_the_variable_and_the_value(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: '{value}'"):
        Settings.from_environment({variable: value})


def test_keep_alive_setting() -> None:
    assert Settings.from_environment({"OLLAMA_KEEP_ALIVE": "-1"}).keep_alive == -1
    assert Settings.from_environment({"OLLAMA_KEEP_ALIVE": "30m"}).keep_alive == 1800


def test_presets(store: Store, settings: Settings) -> None:
    for text in ("lab-small", "lab-embed"):
        name = ModelName.parse(text)
        assert name is not None
        list(store.pull(name))
    models, _broken = store.models()
    text = presets_text([Preset(model, 2048) for model in models], settings)
    assert text == presets_text([Preset(model, 2048) for model in reversed(models)], settings)
    common, embed, small = text.split("\n[")[1:]
    assert "threads = 1" in common and "parallel = 2" in common and "embeddings" not in common
    assert "embeddings = 1\npooling = mean" in embed and "embeddings" not in small
    assert "ctx-size = 4096" in small


def test_gguf_reader(store: Store, tmp_path: Path, settings: Settings) -> None:
    read = gguf.read(settings.library / "lab-small.gguf")
    assert read.architecture == "llama" and read.quantization == "F16" and read.context >= 8192
    assert read.metadata["tokenizer.ggml.tokens"] == []
    assert read.capabilities == ["completion"]
    assert gguf.read(settings.library / "lab-embed.gguf").capabilities == ["embedding"]
    for number, data in enumerate((b"", b"nonsense" * 10, (settings.library / "lab-small.gguf").read_bytes()[:500])):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(data)
        with pytest.raises(gguf.GgufError):
            gguf.read(path)
