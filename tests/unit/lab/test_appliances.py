# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Router and NAS of the lab as the driver makes them."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from lab.driver import appliances
from lab.driver.appliances import CONFIG, NAS, ROUTER, ensure_credentials, folder, keep_certificate, spec
from lab.driver.machines import machine_specs
from lab.driver.process import LabError
from lab.driver.settings import Paths

CERTIFICATE = """-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
"""


def test_keys_are_made_once_and_fit_what_the_simulator_is_told(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    config = ensure_credentials(paths, ROUTER)
    (user,) = json.loads(config.read_text())["users"]
    told = (folder(paths) / "opnsense.txt").read_text()
    assert told == f"key={user['key']}\nsecret={user['secret']}\n"
    assert ensure_credentials(paths, ROUTER).read_text() == config.read_text()
    assert (folder(paths) / "opnsense.txt").read_text() == told


def test_the_key_of_the_nas_has_the_form_of_truenas(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    config = json.loads(ensure_credentials(paths, NAS).read_text())
    key = (folder(paths) / "truenas.key").read_text().strip()
    assert re.fullmatch(r"1-[A-Za-z0-9]{64}", key)
    (kept,) = config["api_keys"]
    assert f"{kept['id']}-{kept['key']}" == key
    # What the platform's account may do: it cannot destroy a dataset.
    assert "DATASET_WRITE" in config["users"][0]["roles"]
    assert not {"DATASET_DELETE", "FULL_ADMIN"} & set(config["users"][0]["roles"])


@pytest.mark.parametrize("name", ["opnsense.json", "opnsense.txt", "truenas.json", "truenas.key"])
def test_keys_are_for_their_owner_only(tmp_path: Path, name: str) -> None:
    for kind in appliances.KINDS:
        ensure_credentials(Paths(tmp_path), kind)
    assert stat.S_IMODE((folder(Paths(tmp_path)) / name).stat().st_mode) == 0o600


def test_an_appliance_gets_its_rights_its_volumes_and_its_configuration() -> None:
    arguments = spec(NAS, "poseidon", "10.77.0.2", "truenas:1", Path("/c.json"), "192.0.2.53").arguments
    assert {"--cap-add=DAC_READ_SEARCH", "--cap-add=SYS_ADMIN", "--ip=10.77.0.2"} <= set(arguments)
    assert f"--volume=/c.json:{CONFIG}:ro" in arguments
    assert not [argument for argument in arguments if "privileged" in argument or "UPSTREAM_DNS" in argument]
    router = spec(ROUTER, "prometheus", "10.77.0.1", "opnsense:1", Path("/c.json"), "192.0.2.53").arguments
    assert "--env=UPSTREAM_DNS=192.0.2.53" in router
    assert not [argument for argument in router if "cap-add" in argument]


def test_machines_ask_the_router_for_names() -> None:
    (with_router,) = machine_specs({"erebus": "10.77.0.11"}, "node:1", [], "10.77.0.1")
    (without,) = machine_specs({"erebus": "10.77.0.11"}, "node:1", [])
    assert "--dns=10.77.0.1" in with_router.arguments
    assert not [argument for argument in without.arguments if "--dns" in argument]


def test_the_certificate_and_its_fingerprint_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appliances.engine, "tell", lambda *_arguments, **_more: CERTIFICATE)
    keep_certificate(Paths(tmp_path), NAS, "pantheon-lab-poseidon")
    assert (folder(Paths(tmp_path)) / "truenas.crt").read_text() == CERTIFICATE
    # sha256 of the three zero bytes that AAAA stands for
    expected = "709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c"
    assert (folder(Paths(tmp_path)) / "truenas.sha256").read_text().strip() == expected


def test_one_that_stops_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        appliances.engine,
        "inspect",
        lambda *_arguments: [{"State": {"Status": "exited", "Health": {"Status": "starting"}}}],
    )
    with pytest.raises(LabError, match=r"pantheon-lab-poseidon does not answer \(exited, health starting\)") as caught:
        appliances.wait_until_healthy("pantheon-lab-poseidon", lambda _line: None)
    assert "docker logs pantheon-lab-poseidon" in caught.value.remedy
