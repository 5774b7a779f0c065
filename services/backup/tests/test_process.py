# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs, pipes between them, and what may not be seen of them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from pantheon_backup.model import BackupError, Skipped, exec_command
from pantheon_backup.process import Runner


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_a_program_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(BackupError, match="status 3: the disk is full"):
        Runner().run(sh("echo the disk is full >&2; exit 3"))
    assert Runner().run(sh("exit 3"), check=False).status == 3


def test_a_program_that_has_nothing_to_do_says_why() -> None:
    with pytest.raises(Skipped, match="^a replica$"):
        Runner().run(sh("""echo '{"skip": "a replica"}'; exit 75"""))
    with pytest.raises(Skipped, match="not today"):
        Runner().run(sh("echo not today >&2; exit 75"))


def test_a_program_that_is_missing_or_hangs_is_named() -> None:
    with pytest.raises(BackupError, match="no-such-program is not installed"):
        Runner().run(["no-such-program"])
    with pytest.raises(BackupError, match="did not end within"):
        Runner().run(["sleep", "60"], timeout=0.1)
    with pytest.raises(BackupError, match="not answer with JSON"):
        Runner().run(["echo", "hello"]).json()


def test_a_stream_arrives_whole(tmp_path: Path) -> None:
    size = 3_000_000
    source = [sys.executable, "-c", f"import sys; sys.stdout.buffer.write(bytes(range(200)) * {size // 200})"]
    stream = Runner().pipe(source, sh(f"cat > {tmp_path}/all; echo kept"))
    data = (tmp_path / "all").read_bytes()
    assert (len(data), stream.bytes) == (size, size)
    assert stream.sha256 == hashlib.sha256(data).hexdigest()
    assert stream.sink.text == "kept"


@pytest.mark.parametrize(("status", "error"), [(1, BackupError), (75, Skipped)])
def test_half_a_stream_never_looks_whole(tmp_path: Path, status: int, error: type[Exception]) -> None:
    # The sink writes its mark only at the end of its input, which it must not see.
    sink = sh(f"cat > {tmp_path}/half && touch {tmp_path}/whole")
    with pytest.raises(error):
        Runner().pipe(sh(f"echo beginning; exit {status}"), sink)
    assert not (tmp_path / "whole").exists()


def test_a_source_that_skips_says_why_on_its_output(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="^a replica$"):
        Runner().pipe(sh("""echo '{"skip": "a replica"}'; exit 75"""), sh(f"cat > {tmp_path}/half"))


def test_a_sink_that_ends_early_is_an_error() -> None:
    with pytest.raises(BackupError, match="status 4: no space"):
        Runner().pipe(["yes"], sh("echo no space >&2; exit 4"))
    with pytest.raises(BackupError, match="before it had read everything"):
        Runner().pipe(["yes"], ["true"])


def test_secrets_of_a_container_are_no_arguments() -> None:
    command = exec_command("ledger", ["dump"], user="postgres", stdin=True, env={"PASSWORD": "hidden"})
    assert command == ["docker", "exec", "--interactive", "--user", "postgres", "--env", "PASSWORD", "ledger", "dump"]
    done = Runner().run(sh('echo "$PASSWORD"'), env={"PASSWORD": "hidden"})
    assert done.text == "hidden"
