# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server in memory: nothing is lost when the server is, and nobody waits for ever in vain."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable

import pytest
from fake import Inode, Server

from pantheon_nfs_fuse import client as code
from pantheon_nfs_fuse.client import Busy, Client, Lost, NfsError


class World:
    """A server, a client, and a clock that only moves while somebody waits."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 0.0
        self.wanted = True
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.client = Client(self.server.connect, lambda: self.wanted, self.sleep, lambda: self.now)
        self.client.start()

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        assert self.now < 10000, "waits for ever"
        for when, what in list(self.later):
            if self.now >= when:
                self.later.remove((when, what))
                what()

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        self.later.append((self.now + seconds, what))

    def up(self) -> None:
        self.server.down = False
        self.server.restart()


@pytest.fixture
def world() -> World:
    return World()


def test_a_file_is_made_with_its_mode_and_times(world: World) -> None:
    number = world.client.create("/a", os.O_WRONLY, 0o644)
    assert world.client.write(number, b"0123456789", 0) == 10, "the server takes four bytes at a time"
    world.client.commit(number)
    world.client.release(number)
    inode = world.server.files["/a"]
    assert (bytes(inode.disk), inode.mode) == (b"0123456789", 0o644)
    assert inode.times != (666, 666), "the random number of an exclusive creation stayed in the times"
    number = world.client.open("/a", os.O_RDONLY)
    assert world.client.read(number, 100, 2) == b"23456789", "the server gives five bytes at a time"


def test_an_expired_lease_is_renewed_with_a_new_connection(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.client.write(number, b"abc", 0)
    world.server.expire()
    world.client.write(number, b"def", 3)
    assert world.client.read(number, 6, 0) == b"abcdef"
    assert len(world.server.connections) == 2
    assert world.now == 0, "no waiting for a server that answers"
    assert world.server.connections[0].abandoned


def test_data_that_was_not_committed_survives_a_restart(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.client.write(number, b"abcdef", 0)
    world.server.restart()
    assert bytes(world.server.files["/a"].memory) == b""
    world.client.commit(number)
    assert bytes(world.server.files["/a"].disk) == b"abcdef"


def test_much_data_is_committed_on_the_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PENDING_BYTES", 8)
    number = world.client.create("/a", os.O_RDWR, 0o600)
    for place in range(0, 20, 5):
        world.client.write(number, b"12345", place)
    assert world.server.calls.count("commit /a") == 2


def test_calls_wait_for_a_server_that_is_gone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.client.write(number, b"abc", 0)
    world.client.commit(number)
    world.server.down = True
    world.at(100, world.up)
    assert world.client.read(number, 3, 0) == b"abc"
    assert 100 <= world.now < 105
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "one line when it goes and one when it comes back"
    assert "operations wait until it answers" in said[0]
    assert "answers again, after 10" in said[1]


def test_the_end_of_the_mount_ends_the_waiting(world: World) -> None:
    world.server.down = True

    def end() -> None:
        world.wanted = False

    world.at(5, end)
    with pytest.raises(NfsError) as caught:
        world.client.call(lambda connection: connection.lstat("/a"))
    assert caught.value.errno == errno.EIO
    assert world.now < 6


def test_a_call_that_breaks_every_connection_is_not_repeated_at_full_speed(world: World) -> None:
    world.server.trouble = [Lost(errno.EIO, "closed") for _ in range(20)]
    world.client.call(lambda connection: connection.statfs())
    assert world.now > 30


def test_a_state_that_stays_lost_is_an_error(world: World) -> None:
    world.server.trouble = [Lost(errno.EIO, "NFS4ERR_STALE", state=True) for _ in range(9)]
    with pytest.raises(Lost):
        world.client.call(lambda connection: connection.statfs())
    assert len(world.server.trouble) == 9 - code.STATE_TRIES


def test_a_busy_server_is_asked_again(world: World) -> None:
    world.server.trouble = [Busy(errno.EAGAIN, "NFS4ERR_GRACE") for _ in range(30)]
    assert world.client.call(lambda connection: connection.statfs()) == {"f_bsize": 4096, "f_blocks": 10}
    assert 30 <= world.now < 32


def test_an_export_that_is_taken_back_is_an_error_and_not_a_wait(world: World) -> None:
    world.server.expire()
    world.server.refuses = True
    with pytest.raises(NfsError) as caught:
        world.client.call(lambda connection: connection.statfs())
    assert caught.value.errno == errno.ESTALE
    world.server.refuses = False
    assert world.client.call(lambda connection: connection.statfs())


def test_an_answer_that_was_lost_counts(world: World) -> None:
    world.client.release(world.client.create("/a", os.O_RDWR, 0o600))

    def unlink(connection: code.Connection) -> None:
        gone = "/a" not in world.server.files
        connection.unlink("/a")
        if not gone:
            raise Lost(errno.EIO, "the answer was lost")

    world.client.call(unlink, forgive=errno.ENOENT)
    with pytest.raises(NfsError):
        world.client.call(lambda connection: connection.unlink("/a"), forgive=errno.ENOENT)


def test_two_descriptors_are_one_state(world: World) -> None:
    first = world.client.create("/a", os.O_RDWR, 0o600)
    second = world.client.open("/a", os.O_RDONLY)
    world.client.release(second)
    world.client.write(first, b"abc", 0)
    world.client.release(first)
    assert len(world.server.connections) == 1, "a close took the state of the other descriptor away"
    reader = world.client.open("/a", os.O_RDONLY)
    writer = world.client.open("/a", os.O_WRONLY)
    world.client.write(writer, b"x", 0)
    assert world.client.read(reader, 3, 0) == b"xbc"
    assert len(world.server.connections) == 1


def test_changes_by_name_do_not_end_an_open_file(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.client.write(number, b"abcdef", 0)
    world.client.truncate("/a", 3)
    world.client.chmod("/a", 0o640)
    world.client.chown("/a", 5, -1)
    world.client.utimens("/a", 1, 2)
    world.client.write(number, b"z", 3)
    inode = world.server.files["/a"]
    assert (bytes(inode.memory), inode.mode, inode.owner, inode.times) == (b"abcz", 0o640, (5, 0), (1, 2))
    assert len(world.server.connections) == 1
    reader = world.client.open("/a", os.O_RDONLY)
    world.client.release(number)
    world.client.truncate("/a", 1)
    assert world.client.read(reader, 9, 0) == b"a"


def test_owners_are_set_through_a_handle_and_only_where_they_differ(world: World) -> None:
    world.client.release(world.client.create("/a", os.O_RDWR, 0o600))
    world.server.files["/d"] = Inode(kind=0o040000)
    world.server.files["/l"] = Inode(kind=0o120000)
    world.server.calls.clear()
    world.client.chown("/a", -1, 7)
    assert world.server.files["/a"].owner == (0, 7)
    assert world.server.calls == ["lstat /a", "open /a", "chown_open /a", "close /a"]
    world.client.chown("/d", 0, -1)
    attempts: list[Callable[[], None]] = [
        lambda: world.client.chown("/l", 5, 5),
        lambda: world.client.utimens("/l", 1, 1),
        lambda: world.client.chmod("/d", 0o700),
    ]
    for attempt in attempts:
        with pytest.raises(NfsError) as caught:
            attempt()
        assert caught.value.errno == errno.EOPNOTSUPP
    assert (world.server.files["/d"].owner, world.server.files["/l"].times) == ((0, 0), (666, 666))


@pytest.mark.parametrize("as_told", [False, True])
def test_a_directory_gets_another_owner_and_the_one_it_is_in_does_not(world: World, as_told: bool) -> None:
    world.server.chown_as_told = as_told
    world.server.files["/d"] = Inode(kind=0o040000)
    world.server.files["/d/e"] = Inode(kind=0o040000)
    world.client.chown("/d/e", 5, 6)
    assert (world.server.files["/d"].owner, world.server.files["/d/e"].owner) == ((0, 0), (5, 6))


def test_an_open_file_is_followed_when_it_is_renamed(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.client.write(number, b"abc", 0)
    world.client.call(lambda connection: connection.rename("/a", "/b"))
    world.client.renamed("/a", "/b")
    world.server.restart()
    assert world.client.read(number, 3, 0) == b"abc"


def test_a_file_that_is_gone_after_a_restart_is_an_error_for_its_users_only(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    other = world.client.create("/b", os.O_RDWR, 0o600)
    world.client.write(number, b"abc", 0)
    del world.server.files["/a"]
    world.server.restart()
    world.client.write(other, b"b", 0)
    with pytest.raises(NfsError) as caught:
        world.client.read(number, 3, 0)
    assert caught.value.errno == errno.ESTALE
    with pytest.raises(NfsError) as caught:
        world.client.commit(number)
    assert caught.value.errno == errno.EIO, "data that was accepted is lost: that has to be told"


def test_somebody_else_made_the_file_meanwhile(world: World) -> None:
    world.client.release(world.client.create("/a", os.O_RDWR, 0o640))
    with pytest.raises(NfsError) as caught:
        world.client.create("/a", os.O_WRONLY | os.O_EXCL, 0o600)
    assert caught.value.errno == errno.EEXIST
    world.client.create("/a", os.O_WRONLY, 0o600)
    assert world.server.files["/a"].mode == 0o640


def test_closing_does_not_wait_for_a_server_that_is_gone(world: World) -> None:
    number = world.client.create("/a", os.O_RDWR, 0o600)
    world.server.down = True
    world.client.release(number)
    world.client.release_all()
    assert world.now == 0
