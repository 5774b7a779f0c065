# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine serves after the role ollama."""

from __future__ import annotations

import json
from typing import Any

from testinfra.host import Host

testinfra_hosts = ["ansible://machines"]

# Host networks: the server answers at the address of the machine.
API = "http://10.78.0.32:11434/api"


def ask(host: Host, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = f"--data '{json.dumps(body)}'" if body else ""
    answer: dict[str, Any] = json.loads(host.check_output(f"curl --fail --silent --max-time 60 {data} {API}/{path}"))
    return answer


def test_exactly_the_models_of_this_machine_are_there(host: Host) -> None:
    names = sorted(model["name"] for model in ask(host, "tags")["models"])
    assert names == ["lab-embed:latest", "lab-small:latest"]


def test_the_chat_model_answers_and_says_who_it_is(host: Host) -> None:
    question = {"model": "lab-small", "stream": False, "messages": [{"role": "user", "content": "Who are you?"}]}
    assert "I am lab-small" in ask(host, "chat", question)["message"]["content"]


def test_the_embedding_model_gives_vectors(host: Host) -> None:
    vectors = ask(host, "embed", {"model": "lab-embed", "input": ["one", "two"]})["embeddings"]
    assert len(vectors) == 2
    assert len(vectors[0]) == 64
    assert vectors[0] != vectors[1]


def test_the_models_are_in_the_volume(host: Host) -> None:
    found = host.check_output(
        "find \"$(docker volume inspect --format '{{.Mountpoint}}' pantheon_ollama_models)\" -size +100k"
    )
    assert len(found.splitlines()) >= 2
