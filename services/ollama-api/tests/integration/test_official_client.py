# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The official client against a running server with the lab's library: `OLLAMA_HOST=http://... pytest tests/integration`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import ollama
import pytest

URL = os.environ.get("OLLAMA_HOST", "")
CONTAINER = os.environ.get("OLLAMA_CONTAINER", "")
DOCKER = os.environ.get("DOCKER", "docker")
SMALL = "I am lab-small, the small clockwork model of Pantheon's lab; this sentence is all it knows."
LARGE = "I am lab-large, the large clockwork model of Pantheon's lab; these words are everything it can say."

TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells the weather", "parameters": {}}}

pytestmark = pytest.mark.skipif(not URL, reason="OLLAMA_HOST is not set: no server to test against")


@pytest.fixture(scope="module")
def client() -> Iterator[ollama.Client]:
    with ollama.Client(URL, timeout=60) as client:
        for name in ("lab-small", "lab-large", "lab-embed"):
            client.pull(name)
        yield client


def ask(text: str = "Who are you?") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def names(client: ollama.Client) -> set[str]:
    return {str(model.model) for model in client.list().models}


def loaded(client: ollama.Client) -> set[str]:
    return {str(model.model) for model in client.ps().models}


# -- the server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_says_that_it_runs_and_that_it_is_a_stand_in(method: str, path: str) -> None:
    answer = httpx.request(method, URL + path)
    assert answer.status_code == 200
    assert answer.headers["X-Lab-Stand-In"] == "true"
    if method == "HEAD":
        assert answer.content == b""
    elif path == "/":
        assert answer.text == "Ollama is running"
    elif path == "/api/version":
        assert answer.json()["version"].endswith("-lab")


def test_unknown_paths_and_methods() -> None:
    assert httpx.get(URL + "/api/nothing").status_code == 404
    assert httpx.get(URL + "/api/chat").status_code == 405


# -- models ---------------------------------------------------------------------------------------------------------


def test_pull_reports_progress_and_checks_the_digest(client: ollama.Client) -> None:
    if "lab-small:latest" in names(client):
        client.delete("lab-small")
    assert "lab-small:latest" not in names(client)
    steps = list(client.pull("lab-small", stream=True))
    statuses = [step.status for step in steps]
    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    moving = [step for step in steps if step.total]
    assert moving[0].completed == 0
    assert moving[-1].completed == moving[-1].total > 600_000
    assert moving[-1].digest is not None and moving[-1].digest.startswith("sha256:")
    assert moving[0].status == "pulling " + moving[-1].digest.removeprefix("sha256:")[:12]
    assert "lab-small:latest" in names(client)
    assert client.chat("lab-small", ask()).message.content == SMALL


def test_pull_again_changes_nothing(client: ollama.Client) -> None:
    before = {model.model: (model.digest, model.modified_at) for model in client.list().models}
    assert client.pull("lab-small").status == "success"
    assert {model.model: (model.digest, model.modified_at) for model in client.list().models} == before


def test_pull_of_an_unknown_model(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist") as caught:
        client.pull("no-such-model")
    assert caught.value.status_code == 500
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        list(client.pull("no-such-model", stream=True))


def test_list_has_sizes_digests_and_details(client: ollama.Client) -> None:
    model = next(model for model in client.list().models if model.model == "lab-small:latest")
    assert model.size is not None and model.size > 600_000
    assert model.digest is not None and len(model.digest) == 64
    assert model.details is not None
    assert (model.details.family, model.details.format, model.details.quantization_level) == ("llama", "gguf", "F16")


def test_show(client: ollama.Client) -> None:
    shown = client.show("lab-small")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] >= 8192
    assert shown.modelinfo["pantheon.answer"] == SMALL
    assert shown.modelinfo["tokenizer.ggml.tokens"] == []
    assert client.show("lab-embed").capabilities == ["embedding"]
    with pytest.raises(ollama.ResponseError, match="model 'nothing' not found") as caught:
        client.show("nothing")
    assert caught.value.status_code == 404


def test_copy_create_delete(client: ollama.Client) -> None:
    client.copy("lab-small", "mine/copied:v1")
    assert "mine/copied:v1" in names(client)
    assert client.chat("mine/copied:v1", ask()).message.content == SMALL
    steps = [
        step.status
        for step in client.create(
            "short-one", from_="lab-large", system="Be brief.", parameters={"num_predict": 2}, stream=True
        )
    ]
    assert steps[-1] == "success"
    answer = client.chat("short-one", ask())
    assert answer.done_reason == "length"
    assert answer.eval_count == 2
    assert client.show("short-one").parameters == f"{'num_predict':<30} 2"
    for name in ("mine/copied:v1", "short-one"):
        client.delete(name)
        assert name not in {item.removesuffix(":latest") for item in names(client)}
    # The blobs that the deleted models shared with others are still there.
    assert client.chat("lab-small", ask()).message.content == SMALL
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        client.delete("short-one")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        client.copy("nothing", "else")
    assert caught.value.status_code == 404


def test_blobs() -> None:
    data = os.urandom(3 << 20)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert httpx.head(f"{URL}/api/blobs/{digest}").status_code == 404
    wrong = httpx.post(f"{URL}/api/blobs/{digest}", content=data[:-1])
    assert wrong.status_code == 400 and "digest mismatch" in wrong.json()["error"]
    assert httpx.head(f"{URL}/api/blobs/{digest}").status_code == 404
    assert httpx.post(f"{URL}/api/blobs/{digest}", content=data).status_code == 201
    assert httpx.head(f"{URL}/api/blobs/{digest}").status_code == 200
    assert httpx.post(f"{URL}/api/blobs/{digest}", content=data).status_code == 200
    assert httpx.post(f"{URL}/api/blobs/nonsense", content=data).status_code == 400
    broken = httpx.post(f"{URL}/api/create", json={"model": "broken", "files": {"m.gguf": digest}, "stream": False})
    assert broken.status_code == 500 and "GGUF" in broken.json()["error"]


# -- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "sentence"), [("lab-small", SMALL), ("lab-large", LARGE)])
def test_chat_proves_which_model_spoke(client: ollama.Client, model: str, sentence: str) -> None:
    answer = client.chat(model, ask(), options={"temperature": 1.5, "seed": 7, "num_predict": 100})
    assert answer.message.role == "assistant"
    assert answer.message.content == sentence
    assert answer.model == model
    assert answer.done is True and answer.done_reason == "stop"
    assert answer.prompt_eval_count is not None and answer.prompt_eval_count > 5
    assert answer.eval_count is not None and answer.eval_count > 10
    assert answer.total_duration is not None and answer.eval_duration is not None
    assert answer.total_duration > answer.eval_duration > 0


def test_chat_streams(client: ollama.Client) -> None:
    parts = list(client.chat("lab-small", ask(), stream=True))
    assert "".join(part.message.content or "" for part in parts) == SMALL
    assert len(parts) > 10
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].message.content == ""
    assert parts[-1].done_reason == "stop"
    assert parts[-1].eval_count == len(parts)  # every word, and the end of the answer
    assert all(part.created_at for part in parts)


def test_streams_are_one_object_per_line() -> None:
    body = {"model": "lab-small", "messages": ask()}
    answer = httpx.post(URL + "/api/chat", json=body)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.text.endswith("}\n") and "\n\n" not in answer.text
    assert (
        httpx.post(URL + "/api/chat", json={**body, "stream": False})
        .headers["Content-Type"]
        .startswith("application/json")
    )


def test_async_client() -> None:
    async def run() -> str:
        client = ollama.AsyncClient(URL)
        return "".join(
            [part.message.content or "" async for part in await client.chat("lab-large", ask(), stream=True)]
        )

    assert asyncio.run(run()) == LARGE


def test_generate(client: ollama.Client) -> None:
    answer = client.generate("lab-large", "Say something", system="You are terse.")
    assert answer.response == LARGE
    assert answer.context is not None and len(answer.context) > 20
    again = client.generate("lab-large", "And more", context=answer.context)
    assert again.response == LARGE
    assert again.prompt_eval_count is not None and again.prompt_eval_count > len(answer.context)
    parts = list(client.generate("lab-large", "Say something", stream=True))
    assert "".join(part.response or "" for part in parts) == LARGE
    raw = client.generate("lab-large", "Say something", raw=True)
    assert raw.response == LARGE and raw.context is None


def test_options(client: ollama.Client) -> None:
    cut = client.generate("lab-large", "x", options={"num_predict": 2})
    assert cut.response == "I am lab-large,"
    assert cut.done_reason == "length"
    stopped = client.generate("lab-large", "x", options={"stop": [" clockwork"]})
    assert stopped.response == "I am lab-large, the large"
    assert stopped.done_reason == "stop"
    with pytest.raises(ollama.ResponseError, match='option "temperature" must be of type float32') as caught:
        client.generate("lab-large", "x", options={"temperature": "hot"})
    assert caught.value.status_code == 400


def test_logprobs(client: ollama.Client) -> None:
    answer = client.chat("lab-large", ask(), logprobs=True, top_logprobs=2, options={"num_predict": 2})
    assert answer.logprobs is not None and len(answer.logprobs) == 2
    assert answer.logprobs[0].token == "I am"
    assert answer.logprobs[0].top_logprobs is not None and len(answer.logprobs[0].top_logprobs) == 2


def test_context_length(client: ollama.Client) -> None:
    client.generate("lab-large", "x", options={"num_ctx": 512})
    assert next(model.context_length for model in client.ps().models if model.model == "lab-large:latest") == 512
    long = "many words " * 100
    with pytest.raises(ollama.ResponseError, match="exceeds the context length") as caught:
        client.generate("lab-large", long, options={"num_ctx": 512})
    assert caught.value.status_code == 400
    # The oldest messages of a conversation make room, as Ollama has it.
    answer = client.chat("lab-large", [*ask(long), *ask("short")], options={"num_ctx": 512})
    assert answer.message.content == LARGE
    assert answer.prompt_eval_count is not None and answer.prompt_eval_count < 100
    client.generate("lab-large", "x")
    assert next(model.context_length for model in client.ps().models if model.model == "lab-large:latest") >= 8192


def test_a_long_prompt_fits(client: ollama.Client) -> None:
    answer = client.chat("lab-small", ask("some words of a document " * 320))
    assert answer.message.content == SMALL
    assert answer.prompt_eval_count is not None and answer.prompt_eval_count > 8000


def test_refusals(client: ollama.Client) -> None:
    cases = [
        (lambda: client.chat("nothing", ask()), 404, "model 'nothing' not found"),
        (lambda: client.generate("nothing", "x"), 404, "model 'nothing' not found"),
        (lambda: client.embed("nothing", "x"), 404, "model 'nothing' not found"),
        (lambda: client.embeddings("nothing", "x"), 404, 'model "nothing" not found, try pulling it first'),
        (lambda: client.chat("lab-embed", ask()), 400, '"lab-embed" does not support chat'),
        (lambda: client.generate("lab-embed", "x"), 400, '"lab-embed" does not support generate'),
        (lambda: client.embed("lab-small", "x"), 501, "does not support embeddings"),
        (lambda: client.chat("lab-small", ask(), think=True), 400, '"lab-small" does not support thinking'),
        (lambda: client.chat("lab-small", ask(), tools=[TOOL]), 400, "does not support tools"),
        (lambda: client.generate("lab-small", "x", suffix="y"), 400, "does not support insert"),
        (lambda: client.generate("lab-small", "x", images=[b"picture"]), 400, "cannot read images"),
        (lambda: client.chat("lab-small", ask(), keep_alive="soon"), 400, "time: invalid duration"),
        (lambda: client.chat("lab-small", ask(), format="yaml"), 400, "format"),
        (lambda: list(client.chat("nothing", ask(), stream=True)), 404, "model 'nothing' not found"),
    ]
    for call, status, message in cases:
        try:
            call()
        except ollama.ResponseError as error:
            assert message in error.error
            assert error.status_code == status, error
        except ValueError:
            assert message == "format"  # the client refuses this one itself
        else:
            pytest.fail(f"not refused: {message}")
    assert httpx.post(URL + "/api/chat").json() == {"error": "missing request body"}
    assert httpx.post(URL + "/api/chat", content=b"{").status_code == 400
    assert httpx.post(URL + "/api/chat", json={"messages": []}).json() == {"error": "model is required"}


def test_embed(client: ollama.Client) -> None:
    answer = client.embed("lab-embed", ["the cat sat on the mat", "the cat sat on a mat", "quarterly revenue figures"])
    assert [len(vector) for vector in answer.embeddings] == [64] * 3
    assert answer.prompt_eval_count is not None and answer.prompt_eval_count > 20
    one, two, three = answer.embeddings
    assert sum(x * x for x in one) == pytest.approx(1.0, abs=1e-4)

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert likeness(list(one), list(two)) > 0.9 > likeness(list(one), list(three))
    assert client.embed("lab-embed", "the cat sat on the mat").embeddings[0] == pytest.approx(one, abs=1e-4)
    assert len(client.embed("lab-embed", "x", dimensions=8).embeddings[0]) == 8
    assert client.embed("lab-embed", "").embeddings == []
    assert len(client.embeddings("lab-embed", "the cat").embedding) == 64
    long = client.embed("lab-embed", "zq9 " * 2000)  # too long, so it is cut
    assert len(long.embeddings[0]) == 64
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed("lab-embed", "zq9 " * 2000, truncate=False)
    assert caught.value.status_code == 400


def test_structured_output_is_json(client: ollama.Client) -> None:
    # The clockwork knows no JSON: what is tested is that llama-server got the grammar and held the model to it.
    answer = client.chat("lab-small", ask(), format="json", options={"num_predict": 40})
    assert not (answer.message.content or "").startswith("I am")


# -- loading --------------------------------------------------------------------------------------------------------


def test_keep_alive(client: ollama.Client) -> None:
    client.chat("lab-small", ask(), keep_alive="10m")
    expires = next(model.expires_at for model in client.ps().models if model.model == "lab-small:latest")
    assert expires is not None and 590 < expires.timestamp() - time.time() < 601
    client.chat("lab-small", ask(), keep_alive=-1)
    expires = next(model.expires_at for model in client.ps().models if model.model == "lab-small:latest")
    assert expires is not None and expires.year > 2200
    assert client.chat("lab-small", [], keep_alive=0).done_reason == "unload"
    assert "lab-small:latest" not in loaded(client)
    assert client.generate("lab-small", "").done_reason == "load"
    assert "lab-small:latest" in loaded(client)
    client.chat("lab-small", ask(), keep_alive=0)
    until(lambda: "lab-small:latest" not in loaded(client))
    client.chat("lab-small", ask(), keep_alive="300ms")
    assert "lab-small:latest" in loaded(client)
    until(lambda: "lab-small:latest" not in loaded(client))
    answer = client.chat("lab-small", ask())
    assert answer.load_duration is not None and answer.load_duration > 5_000_000
    assert answer.message.content == SMALL


def until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_many_at_once(client: ollama.Client) -> None:
    wrong: list[str] = []

    def talk(model: str, sentence: str) -> None:
        for number in range(5):
            text = client.chat(model, ask(f"question {number}")).message.content
            if text != sentence:
                wrong.append(str(text))

    threads = [threading.Thread(target=talk, args=item) for item in (("lab-small", SMALL), ("lab-large", LARGE)) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_context_changes_wait_for_running_requests(client: ollama.Client) -> None:
    failed: list[str] = []

    def talk(size: int) -> None:
        for _unused in range(3):
            try:
                if client.chat("lab-small", ask(), options={"num_ctx": size}).message.content != SMALL:
                    failed.append("wrong answer")
            except ollama.ResponseError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=talk, args=(size,)) for size in (1024, 2048, 1024, 2048)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# -- OpenAI's and Anthropic's forms ---------------------------------------------------------------------------------


def test_openai_form() -> None:
    body = {"model": "lab-small", "messages": ask()}
    answer = httpx.post(URL + "/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.json()["model"] == "lab-small"
    assert answer.json()["choices"][0]["message"]["content"] == SMALL
    streamed = httpx.post(URL + "/v1/chat/completions", json={**body, "stream": True})
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert '"model":"lab-small"' in streamed.text
    completion = httpx.post(URL + "/v1/completions", json={"model": "lab-large", "prompt": "x"})
    assert completion.json()["choices"][0]["text"] == LARGE
    vectors = httpx.post(URL + "/v1/embeddings", json={"model": "lab-embed", "input": ["a", "b"]}).json()
    assert [len(item["embedding"]) for item in vectors["data"]] == [64, 64]
    message = httpx.post(URL + "/v1/messages", json={"model": "lab-small", "max_tokens": 99, "messages": ask()})
    assert message.json()["content"][0]["text"] == SMALL
    response = httpx.post(URL + "/v1/responses", json={"model": "lab-small", "input": "Who?"})
    assert response.status_code == 200 and SMALL in response.text
    listed = httpx.get(URL + "/v1/models").json()["data"]
    assert {"lab-small:latest", "lab-large:latest", "lab-embed:latest"} <= {item["id"] for item in listed}
    assert httpx.get(URL + "/v1/models/lab-small").json()["owned_by"] == "library"
    unknown = httpx.post(URL + "/v1/chat/completions", json={**body, "model": "nothing"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"] == "model 'nothing' not found"


# -- the container --------------------------------------------------------------------------------------------------


def docker(*arguments: str) -> str:
    return subprocess.run([DOCKER, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


# Kills what has this argument and prints how many there were.
KILL = """
import os, pathlib, signal, sys
found = 0
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if int(path.parent.name) != os.getpid() and sys.argv[1] in path.read_text().split(chr(0)):
        os.kill(int(path.parent.name), signal.SIGKILL)
        found += 1
print(found)
"""


@pytest.mark.skipif(not CONTAINER, reason="OLLAMA_CONTAINER is not set: not in a container of ours")
@pytest.mark.parametrize("argument", ["--models-preset", "--alias"], ids=["router", "models"])
def test_a_killed_process_comes_back(client: ollama.Client, argument: str) -> None:
    client.chat("lab-small", ask())
    docker("exec", CONTAINER, "pantheon-ollama-health")
    assert int(docker("exec", CONTAINER, "python3", "-c", KILL, argument)) >= 1
    assert client.chat("lab-small", ask()).message.content == SMALL
    docker("exec", CONTAINER, "pantheon-ollama-health")


@pytest.mark.skipif(not CONTAINER, reason="OLLAMA_CONTAINER is not set: not in a container of ours")
def test_a_library_file_with_a_wrong_digest_never_becomes_a_model(client: ollama.Client) -> None:
    client.delete("lab-large")
    docker("exec", CONTAINER, "sh", "-c", "cp /models/lab-large.gguf /tmp/good && echo >> /models/lab-large.gguf")
    try:
        with pytest.raises(ollama.ResponseError, match="digest mismatch"):
            client.pull("lab-large")
        assert "lab-large:latest" not in names(client)
        left = docker("exec", CONTAINER, "find", "/root/.ollama/models/blobs", "-name", "*partial*")
        assert left == ""
    finally:
        docker("exec", CONTAINER, "cp", "/tmp/good", "/models/lab-large.gguf")
    client.pull("lab-large")
    assert client.chat("lab-large", ask()).message.content == LARGE
