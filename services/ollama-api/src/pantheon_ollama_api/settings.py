# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment: Ollama's own variables plus a few of the lab's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .durations import DurationError, parse_keep_alive

FOREVER = -1.0


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What the server runs with.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        models: directory with blobs/ and manifests/, as Ollama lays it out (OLLAMA_MODELS).
        library: directory with manifest.json, which `pull` copies from (PANTHEON_LIBRARY).
        runtime: directory for the router's socket and preset file (PANTHEON_RUNTIME).
        llama_server: the llama-server program (PANTHEON_LLAMA_SERVER).
        context: tokens per request unless it says otherwise (OLLAMA_CONTEXT_LENGTH).
        parallel: requests that one model answers at the same time (OLLAMA_NUM_PARALLEL).
        loaded: models loaded at the same time (OLLAMA_MAX_LOADED_MODELS).
        queue: requests accepted at the same time; more get 503 (OLLAMA_MAX_QUEUE).
        keep_alive: seconds a model stays loaded after its last request, negative for ever (OLLAMA_KEEP_ALIVE).
        load_timeout: seconds a model may take to load (OLLAMA_LOAD_TIMEOUT).
        threads: CPU threads per model (PANTHEON_THREADS). Automatic threads under a CPU limit are far slower than one.
        debug: whether llama-server logs every request (OLLAMA_DEBUG).
    """

    host: str
    port: int
    models: Path
    library: Path
    runtime: Path
    llama_server: str
    context: int
    parallel: int
    loaded: int
    queue: int
    keep_alive: float
    load_timeout: float
    threads: int
    debug: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Args:
            environment: variables to read; the process's own by default.

        Returns:
            The settings.

        Raises:
            SettingsError: A variable cannot be used; the message names it and its value.
        """
        values = os.environ if environment is None else environment
        host, port = _address(values.get("OLLAMA_HOST", ""))
        return cls(
            host=host,
            port=port,
            models=Path(values.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models"),
            library=Path(values.get("PANTHEON_LIBRARY") or "/models"),
            runtime=Path(values.get("PANTHEON_RUNTIME") or "/run/pantheon-ollama"),
            llama_server=values.get("PANTHEON_LLAMA_SERVER") or "llama-server",
            context=_number(values, "OLLAMA_CONTEXT_LENGTH", 16384, 16),
            parallel=_number(values, "OLLAMA_NUM_PARALLEL", 2, 1),
            loaded=_number(values, "OLLAMA_MAX_LOADED_MODELS", 3, 1),
            queue=_number(values, "OLLAMA_MAX_QUEUE", 512, 1),
            keep_alive=_duration(values, "OLLAMA_KEEP_ALIVE", 300.0),
            load_timeout=_duration(values, "OLLAMA_LOAD_TIMEOUT", 300.0),
            threads=_number(values, "PANTHEON_THREADS", 1, 1),
            debug=values.get("OLLAMA_DEBUG", "").lower() in ("1", "true"),
        )


def _address(text: str) -> tuple[str, int]:
    """OLLAMA_HOST, as Ollama reads it: [scheme://]host[:port]."""
    rest = text.strip().strip("\"'").rpartition("://")[2].split("/")[0]
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, "11434"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"OLLAMA_HOST: {text!r}: {port!r} is not a port; use host:port, e.g. 0.0.0.0:11434")
    return host.strip("[]") or "127.0.0.1", int(port)


def _number(values: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = values.get(name, "").strip()
    if text in ("", "0"):
        return default  # Ollama takes 0 for "choose yourself" too
    if not text.isdigit() or int(text) < least:
        raise SettingsError(f"{name}: {text!r} is not a whole number of at least {least}")
    return int(text)


def _duration(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name, "").strip()
    if not text:
        return default
    try:
        return parse_keep_alive(float(text) if _numeric(text) else text)
    except DurationError as error:
        raise SettingsError(f"{name}: {text!r} is not a duration ({error}); use e.g. 5m, 1h30m, 0 or -1") from error


def _numeric(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()
