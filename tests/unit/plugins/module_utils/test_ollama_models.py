# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of an Ollama server: the logic against a fake, the client against a real HTTP server."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _ollama_models as ollama


class Fake:
    """A server that fetches what it is told to, in the lines it is given."""

    def __init__(self, there: list[str], source: dict[str, list[dict[str, Any]]]) -> None:
        self.there, self.source = there, source
        self.pulled: list[str] = []

    def tags(self) -> list[dict[str, Any]]:
        return [{"name": name, "size": 7, "digest": f"sha-{name}"} for name in self.there]

    def pull(self, name: str) -> Iterator[dict[str, Any]]:
        self.pulled.append(name)
        for line in self.source.get(name, [{"error": "pull model manifest: file does not exist"}]):
            if line.get("status") == "success":
                self.there.append(name)
            yield line


GOOD: list[dict[str, Any]] = [
    {"status": "pulling manifest"},
    {"status": "pulling abc", "digest": "abc", "total": 10, "completed": 4},
    {"status": "pulling abc", "digest": "abc", "total": 10, "completed": 10},
    {"status": "success"},
]


@pytest.mark.parametrize("check_mode", [True, False])
def test_only_what_is_missing_is_fetched_and_both_modes_agree(check_mode: bool) -> None:
    server = Fake(["small:latest", "own:latest"], {"large:70b": GOOD})
    result, errors = ollama.Models(server, check_mode).present(["small", "large:70b"])
    assert errors == []
    assert result["changed"] is True
    assert {name: model["action"] for name, model in result["models"].items()} == {
        "small:latest": "none",
        "large:70b": "pulled",
    }
    assert result["diff"] == {"before": "small:latest\n", "after": "large:70b\nsmall:latest\n"}
    assert server.pulled == ([] if check_mode else ["large:70b"])
    assert "own:latest" in server.there, "a model that is not wanted is left alone"
    if not check_mode:
        assert result["models"]["large:70b"]["digest"] == "sha-large:70b"
        assert result["models"]["large:70b"]["bytes"] == 10


def test_a_second_run_changes_nothing() -> None:
    server = Fake([], {"small:latest": GOOD})
    ollama.Models(server, False).present(["small"])
    result, errors = ollama.Models(server, False).present(["small", "small:latest"])
    assert (result["changed"], errors, server.pulled) == (False, [], ["small:latest"])


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("pull model manifest: file does not exist", "there is no such model", "pantheon_models"),
        ("write /x: no space left on device", "the disk is full", "ollama rm"),
        ("this model requires a newer version of Ollama", "newer version", "Raise the version"),
        ("max retries exceeded", "max retries exceeded", "logs"),
    ],
)
def test_errors_of_the_server_become_a_sentence_and_the_others_are_tried(text: str, message: str, remedy: str) -> None:
    server = Fake([], {"bad:latest": [{"status": "pulling manifest"}, {"error": text}], "good:latest": GOOD})
    result, errors = ollama.Models(server, False).present(["bad", "good"])
    assert len(errors) == 1
    assert message in str(errors[0])
    assert "bad:latest" in str(errors[0])
    assert remedy in errors[0].remedy
    assert result["models"]["bad:latest"]["action"] == "failed"
    assert result["models"]["good:latest"]["action"] == "pulled"
    assert result["changed"] is True


def test_a_server_that_repeats_itself_is_given_up() -> None:
    seconds = iter(range(1000))
    waiting = [{"status": "pulling abc", "digest": "abc", "total": 10, "completed": 4}] * 300
    server = Fake([], {"slow:latest": waiting})
    _result, errors = ollama.Models(server, False, 60, lambda: next(seconds)).present(["slow"])
    assert [str(error) for error in errors] == ["model slow:latest: no progress for 60 s"]


def test_an_end_without_success_is_an_error() -> None:
    _result, errors = ollama.Models(Fake([], {"cut:latest": GOOD[:2]}), False).present(["cut"])
    assert "stopped at 'pulling abc' without saying that it was fetched" in str(errors[0])


def test_a_server_that_does_not_list_what_it_fetched_is_not_believed() -> None:
    class Liar(Fake):
        def tags(self) -> list[dict[str, Any]]:
            return []

    result, errors = ollama.Models(Liar([], {"x:latest": GOOD}), False).present(["x"])
    assert "does not list it" in str(errors[0])
    assert result["changed"] is False


@pytest.mark.parametrize(
    ("name", "full"),
    [("a", "a:latest"), ("a:3b", "a:3b"), ("hf.co:443/x/y", "hf.co:443/x/y:latest"), ("hf.co/x/y:q4", "hf.co/x/y:q4")],
)
def test_names_are_compared_with_their_tag(name: str, full: str) -> None:
    assert ollama.normalise(name) == full


# -- over HTTP --------------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """The part of Ollama's API that is used."""

    protocol_version = "HTTP/1.1"
    stall = threading.Event()

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        body = json.dumps({"models": [{"name": "small:latest", "size": 3, "digest": "d"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def line(data: dict[str, Any]) -> None:
            text = json.dumps(data).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()

        line({"status": f"pulling manifest of {wanted['model']}"})
        if wanted["model"] == "hangs":
            self.stall.wait(10)
            return
        line({"status": "success"})
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def url() -> Iterator[str]:
    Handler.stall.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.stall.set()
    server.shutdown()
    server.server_close()


def test_the_client_reads_the_progress_as_it_comes(url: str) -> None:
    client = ollama.Ollama(url)
    assert client.tags() == [{"name": "small:latest", "size": 3, "digest": "d"}]
    assert [line["status"] for line in client.pull("x")] == ["pulling manifest of x", "success"]


def test_a_silent_connection_is_given_up(url: str) -> None:
    started = time.monotonic()
    with pytest.raises(ollama.OllamaError, match="model hangs: no progress for 0 s|no progress"):
        list(ollama.Ollama(url, stall_timeout=0.3).pull("hangs"))
    assert time.monotonic() - started < 5


def test_nobody_answers() -> None:
    with pytest.raises(ollama.Unreachable, match="no Ollama answers at http://127.0.0.1:9"):
        ollama.Ollama("http://127.0.0.1:9", wait=0).tags()
    with pytest.raises(ollama.OllamaError, match="is not an address"):
        ollama.Ollama("localhost")
