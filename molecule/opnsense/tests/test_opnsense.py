# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the router holds after the role, asked as a client of its API asks."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest

testinfra_hosts = ["local://"]

SCENARIO = Path(__file__).resolve().parents[1]
CREDENTIALS = base64.b64encode(b"pantheon-key:pantheon-secret").decode()


def ask(path: str) -> Any:
    """Return the answer of the API, over TLS with its own certificate."""
    context = ssl.create_default_context(cafile=str(SCENARIO / ".state/data/cert.pem"))
    context.check_hostname = False  # the certificate names no address
    request = urllib.request.Request(
        f"https://127.0.0.1:18443/api/{path}", headers={"Authorization": f"Basic {CREDENTIALS}"}
    )
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return json.load(answer)


def served(kind: str) -> dict[str, set[str]]:
    """Return what the running resolver serves, by name."""
    found: dict[str, set[str]] = {}
    for record in ask("unbound/diagnostics/listlocaldata")["data"]:
        if record["rrtype"] == kind:
            found.setdefault(record["name"].rstrip("."), set()).add(record["value"])
    return found


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("erebus.test.internal", "10.80.0.11"),
        ("hephaestus.test.internal", "10.80.0.18"),
        ("box.test.internal", "10.80.0.1"),
    ],
)
def test_every_machine_is_served_under_its_name(name: str, address: str) -> None:
    assert served("A")[name] == {address}


def test_addresses_lead_back_to_machines() -> None:
    assert {"erebus.test.internal."} <= {value for values in served("PTR").values() for value in values}


def test_records_of_the_owner_are_served_too() -> None:
    assert "mail.test.internal" in served("MX")
    assert "note.test.internal" in served("TXT")


def test_what_is_ours_carries_our_mark() -> None:
    hosts = ask("unbound/settings/get")["unbound"]["hosts"]["host"].values()
    assert hosts
    assert all(host["description"].endswith("[pantheon]") for host in hosts)


def test_the_machine_with_a_hardware_address_has_a_reservation() -> None:
    hosts = list(ask("dnsmasq/settings/get")["dnsmasq"]["hosts"].values())
    assert [host["host"] for host in hosts] == ["erebus"]


def test_the_firewall_knows_the_platform() -> None:
    aliases = ask("firewall/alias/export")["aliases"]["alias"].values()
    names = {alias["name"]: alias["content"] for alias in aliases}
    assert set(names["pantheon_machines"].split("\n")) == {"10.80.0.11", "10.80.0.18"}
    assert set(names["pantheon_edge_ports"].split("\n")) == {"80", "443"}
