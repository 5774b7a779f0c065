# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine looks like after the role storage: real NFS, from another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import testinfra
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-a"]

EXPORT = "10.78.0.12:/mnt/tank/models"


def eventually(condition: Callable[[], bool], seconds: float = 40) -> bool:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


@pytest.fixture
def server() -> Host:
    """The machine that serves NFS."""
    host: Host = testinfra.get_host("docker://pantheon-test-b")
    return host


@pytest.fixture
def stopped(server: Host) -> Iterator[Host]:
    """A server that is stopped; it runs again afterwards, whatever happened."""
    server.check_output("systemctl stop pantheon-test-nfs.service")
    yield server
    server.check_output("systemctl start pantheon-test-nfs.service")


@pytest.mark.parametrize(("path", "mode"), [("/models", "rw"), ("/srv/library", "ro")])
def test_the_export_is_mounted(host: Host, path: str, mode: str) -> None:
    kind, source, options = host.check_output(f"findmnt --noheadings --output FSTYPE,SOURCE,OPTIONS {path}").split()
    assert (kind, source) == ("fuse.pantheon-nfs", EXPORT)
    assert options.split(",")[0] == mode
    assert "default_permissions" in options


def test_what_the_writer_writes_the_reader_reads(host: Host, server: Host) -> None:
    host.check_output("head -c 3000000 /dev/urandom > /models/weights && sha256sum /models/weights > /models/sum")
    wanted = host.check_output("cut -d' ' -f1 /models/sum")
    assert host.check_output("sha256sum /srv/library/weights").split()[0] == wanted
    there = "/var/lib/docker/pantheon-test-nfs/models/weights"
    assert server.check_output(f"sha256sum {there}").split()[0] == wanted
    assert server.file(there).mode == 0o644


def test_the_reader_cannot_write(host: Host) -> None:
    for command in ("touch /srv/library/new", "rm /srv/library/weights", "chmod 600 /srv/library/weights"):
        result = host.run(command)
        assert result.rc != 0
        assert "Read-only file system" in result.stderr


def test_the_bare_directory_cannot_be_written(host: Host) -> None:
    host.run("systemctl stop srv-library.timer srv-library.automount")
    host.check_output("systemctl stop srv-library.mount")
    try:
        assert not host.mount_point("/srv/library").exists
        assert host.file("/srv/library").mode == 0
        result = host.run("echo x > /srv/library/x")
        assert result.rc != 0, "root could write to the disk of the machine"
    finally:
        host.run("systemctl start srv-library.timer || systemctl start srv-library.automount")
    assert eventually(lambda: host.run("test -e /srv/library/.").rc == 0 and host.mount_point("/srv/library").exists)


def test_a_reader_waits_for_a_server_that_is_gone(host: Host, server: Host) -> None:
    host.check_output("echo patience > /models/word")
    server.check_output("systemctl stop pantheon-test-nfs.service")
    try:
        host.check_output("rm -f /tmp/read; (cat /models/word > /tmp/read 2>&1 &) ; sleep 2")
        assert host.file("/tmp/read").content_string in ("", "patience")
    finally:
        server.check_output("systemctl start pantheon-test-nfs.service")
    assert eventually(lambda: host.file("/tmp/read").content_string == "patience\n")


def test_a_mount_that_was_missed_comes_by_itself(host: Host, stopped: Host) -> None:
    host.check_output("systemctl stop srv-library.mount")
    assert not host.mount_point("/srv/library").exists
    stopped.check_output("systemctl start pantheon-test-nfs.service")
    assert eventually(lambda: host.run("test -e /srv/library/word").rc == 0)


def test_the_journal_says_what_happened(host: Host) -> None:
    assert "operations wait until it answers" in host.check_output("journalctl --unit models.mount --output cat")
