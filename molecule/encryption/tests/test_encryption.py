# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk says about rows that were written to it, with encryption and without."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://pantheon-test-d"]

SECRET, OPEN = "/srv/pantheon/data", "/srv/open"
DISKS = {SECRET: "/dev/vdb", OPEN: "/dev/vdc"}
KEY = "/etc/pantheon/encryption/data.key"

ROW, LINE, NAME = "row-about-mrs-robinson", "line-about-mrs-robinson", "file-about-mrs-robinson"

INSERT = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1] + "/rows.db")
base.execute("create table people (note text)")
base.execute("insert into people values (?)", ("%s",))
base.commit()
""" % ("row-about-" + "mrs-robinson")


def found(host: Host, disk: str, text: str) -> int:
    """Count the lines of a raw disk that hold a text; read past the cache, as a thief would."""
    host.check_output("sync")
    command = f"dd if={disk} bs=1M iflag=direct status=none | grep --text --count {text}"
    return int(host.run(f"bash -o pipefail -c '{command}'").stdout or 0)


@pytest.fixture(scope="module")
def written(host: Host) -> Host:
    """The same rows on both disks."""
    for place in (SECRET, OPEN):
        host.check_output(f"rm -rf {place}/rows && mkdir {place}/rows")
        host.check_output(f"printf '%s' '{INSERT}' | python3 - {place}/rows")
        host.check_output(f"echo {LINE} > {place}/rows/{NAME}")
    return host


def test_the_volume_is_mounted_and_encrypted(host: Host) -> None:
    source, kind = host.check_output(f"findmnt --noheadings --output SOURCE,FSTYPE {SECRET}").split()
    assert source == "/dev/vdb[/data]" and kind == "ext4"
    probed = host.check_output("blkid --probe --output export /dev/vdb")
    assert "UUID=70616e74-6865-6f6e-" in probed and "TYPE=ext4" in probed


@pytest.mark.parametrize("text", [ROW, LINE, NAME])
def test_the_search_finds_what_is_not_encrypted(written: Host, text: str) -> None:
    assert found(written, DISKS[OPEN], text) > 0


@pytest.mark.parametrize("text", [ROW, LINE, NAME])
def test_the_raw_disk_does_not_show_it(written: Host, text: str) -> None:
    assert found(written, DISKS[SECRET], text) == 0


def test_it_can_be_read_while_the_volume_is_unlocked(written: Host) -> None:
    assert written.file(f"{SECRET}/rows/{NAME}").content_string == f"{LINE}\n"
    query = 'import sqlite3; print(sqlite3.connect("%s/rows/rows.db").execute("select note from people").fetchone()[0])'
    assert written.check_output(f"python3 -c '{query % SECRET}'") == ROW


def test_a_row_in_a_volume_of_docker_is_encrypted_too(host: Host) -> None:
    options = f"--opt type=none --opt o=bind --opt device={SECRET}/store/data"
    host.check_output(f"docker volume create {options} pantheon_store_data")
    host.check_output(
        "docker run --rm --volume pantheon_store_data:/data --entrypoint sh pantheon-test/tools:1 "
        "-c 'echo container-about-mrs-robinson > /data/row'"
    )
    assert host.file(f"{SECRET}/store/data/row").content_string == "container-about-mrs-robinson\n"
    assert found(host, DISKS[SECRET], "container-about-mrs-robinson") == 0
    host.check_output("docker volume rm pantheon_store_data")


def test_only_root_reads_the_key(host: Host) -> None:
    key = host.file(KEY)
    assert (key.mode, key.user, key.group) == (0o400, "root", "root")
    assert host.file("/etc/pantheon/encryption").mode == 0o700
    assert host.file("/etc/pantheon/encryption/data.json").mode == 0o600


def test_the_key_is_nowhere_else_on_the_machine(host: Host) -> None:
    key = host.file(KEY).content_string
    assert (
        host.run(
            f"grep --recursive --files-with-matches {key} /etc/systemd /usr/local /var/lib/pantheon /run/log"
        ).stdout
        == ""
    )
    assert host.run(f"journalctl --no-pager | grep --count {key}").stdout.strip() in ("0", "")


def test_units_are_ordered_before_docker(host: Host) -> None:
    for unit in ("srv-pantheon-data.mount", "pantheon-encrypted-data.service"):
        assert "docker.service" in host.check_output(f"systemctl show --property=Before {unit}")
        assert host.check_output(f"systemctl is-enabled {unit}") == "enabled"
