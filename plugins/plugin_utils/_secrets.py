# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of an environment: one ansible-vault file beside the inventory (private to the collection).

The file is a flat mapping from name to string. It is read by action plugins when they need it, and never becomes a
variable of a host. Values are made once; a run adds what a new service needs and changes nothing that is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets as random
import string
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import AnsibleVaultError, AnsibleVaultFormatError, VaultLib, VaultSecret, is_encrypted

from ansible_collections.pantheon.ai.plugins.plugin_utils import _pki

SECRETS_FILE = "secrets.yml"
NO_PASSWORD = b"pantheon-no-vault-password"
"""What tools/vault-password prints when there is no password: Ansible starts, and secrets are refused here."""

ALPHABET = string.ascii_letters + string.digits + "_-"
ALLOWED = re.compile(r"[A-Za-z0-9_.~-]+")
"""Values that stand in .env files, YAML, JSON and URLs without escaping."""
DEFAULT_LENGTH = 40
SHORTEST = 16

_TEMPORARY = f".{SECRETS_FILE}."


class SecretsError(Exception):
    """The secrets cannot be read or written; the text names the file, the problem and the remedy.

    It is raised without a cause: Ansible shows causes behind the message, and they say less.
    """


@dataclass
class Ensured:
    """What making the secrets complete did, or would do in check mode. It holds names only, never values."""

    file: str
    added: list[str] = field(default_factory=list)
    renewed: dict[str, str] = field(default_factory=dict)  # name -> reason
    kept: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the file differs from before."""
        return bool(self.added or self.renewed)


def environment_directory(inventory_dir: str | os.PathLike[str]) -> Path:
    """Return the folder of the environment: the inventory itself, or the folder of the inventory file."""
    path = Path(inventory_dir)
    return path.parent if path.is_file() else path


def secrets_file(inventory_dir: str | os.PathLike[str]) -> Path:
    """Return where the secrets of the environment are kept."""
    return environment_directory(inventory_dir) / SECRETS_FILE


def artifacts_directory(inventory_dir: str | os.PathLike[str]) -> Path:
    """Return the folder for what a run leaves on the controller: artifacts/<environment>.

    It lies in the repository for inventories/<environment>, else beside the inventory: never inside it, because Ansible
    would read it as a part of the inventory.
    """
    environment = environment_directory(inventory_dir).resolve()
    parent = environment.parent
    root = parent.parent if parent.name == "inventories" else parent
    return root / "artifacts" / environment.name


def value_names(specification: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of all values that the specification asks for: two for an authority or a certificate, else one."""
    names: list[str] = []
    for name, spec in specification.items():
        pair = spec.get("kind") in ("ca", "certificate")
        names += [f"{name}_key", f"{name}_certificate"] if pair else [name]
    return sorted(names)


def load_secrets(inventory_dir: str | os.PathLike[str], loader: Any) -> dict[str, str]:
    """Return the secrets of the environment, decrypted with the vault passwords of the loader (an Ansible DataLoader).

    Raises SecretsError when the file is missing, is not encrypted, cannot be decrypted or does not hold a flat mapping.
    """
    file = secrets_file(inventory_dir)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise SecretsError(
            f"{file}: there are no secrets for this environment yet. Run site.yml, or playbooks/preflight.yml, which make them."
        ) from None
    except OSError as error:
        raise SecretsError(f"{file}: cannot be read ({error.strerror}). Run as the user that owns the file.") from None
    return _decrypt(file, content, vault_secrets(loader))[0]


def vault_secrets(loader: Any) -> list[tuple[str, VaultSecret]]:
    """Return the vault passwords that the run was given, without the placeholder for "none"."""
    # DataLoader has a setter for the vault secrets and no getter; Ansible's own callers read this attribute, too.
    given: list[tuple[str, VaultSecret]] = list(loader._vault.secrets or [])
    return [(name, secret) for name, secret in given if secret.bytes.strip() != NO_PASSWORD]


def ensure(
    inventory_dir: str | os.PathLike[str],
    loader: Any,
    specification: Mapping[str, Mapping[str, Any]],
    domain: str,
    check_mode: bool = False,
    renew_days: int = _pki.RENEW_DAYS,
) -> tuple[Ensured, dict[str, str]]:
    """Make the secrets file hold every secret of the specification; return what happened, and all values.

    Existing values stay as they are (only server certificates are issued again before they end or when their names
    change) and unknown ones are kept. The file is locked, so two runs at once end with one set of values, and replaced
    atomically with mode 0600. In check mode nothing is written and the values hold no new ones.

    Raises SecretsError when no password was given, or the file cannot be used as it is.
    """
    file = secrets_file(inventory_dir)
    passwords = vault_secrets(loader)
    if not passwords:
        raise SecretsError(
            f"{file}: no vault password is set, so secrets can be neither read nor written. Run `make setup` (it makes the file "
            ".vault-password), set PANTHEON_VAULT_PASSWORD, or give the job runner a vault credential."
        )
    lock: contextlib.AbstractContextManager[None] = contextlib.nullcontext() if check_mode else _locked(file.parent)
    with lock:
        present: dict[str, str] = {}
        identity, password = passwords[0]
        exists = file.exists()
        if exists:
            try:
                content = file.read_bytes()
            except OSError as error:
                raise SecretsError(
                    f"{file}: cannot be read ({error.strerror}). Run as the user that owns the file."
                ) from None
            present, identity, password = _decrypt(file, content, passwords)
        _check_values(file, present, specification)
        result, wanted = complete(str(file), present, specification, domain, renew_days)
        if check_mode:
            return result, present
        if result.changed:
            _write(file, wanted, identity, password)
        elif exists and file.stat().st_mode & 0o077:
            file.chmod(0o600)
            result.warnings.append(f"{file}: others could read it; its mode is 0600 now.")
        return result, wanted


def complete(
    file: str,
    present: Mapping[str, str],
    specification: Mapping[str, Mapping[str, Any]],
    domain: str,
    renew_days: int = _pki.RENEW_DAYS,
) -> tuple[Ensured, dict[str, str]]:
    """Return what has to be added to the present values, and the merged values. Nothing is read or written."""
    result = Ensured(file=file)
    values = dict(present)
    expected = set(value_names(specification))
    result.unknown = sorted(set(present) - expected)
    result.kept = sorted(set(present) & expected)
    authorities = {name: spec for name, spec in specification.items() if spec.get("kind") == "ca"}
    for name, spec in specification.items():
        kind = spec.get("kind", "password")
        if kind in ("password", "key"):
            if name not in values:
                values[name] = generate(spec)
                result.added.append(name)
        elif kind == "ca":
            _complete_authority(name, domain, values, result)
        elif kind != "certificate":
            raise SecretsError(
                f"{file}: secret {name}: unknown kind {kind!r}. Allowed in the catalog: password, key, ca, certificate."
            )
    # Certificates come last: the authority that signs them is complete now.
    for name, spec in specification.items():
        if spec.get("kind") == "certificate":
            authority = str(spec.get("ca") or next(iter(sorted(authorities)), ""))
            if authority not in authorities:
                raise SecretsError(
                    f"{file}: secret {name} is a certificate, but no secret of kind ca"
                    f"{' named ' + authority if authority else ''} is declared to sign it. Declare one in the catalog."
                )
            names = [str(item) for item in spec.get("names") or [domain, f"*.{domain}"]]
            _complete_certificate(name, authority, names, values, result, renew_days)
    result.added.sort()
    return result, values


def generate(spec: Mapping[str, Any], choose: Callable[[str], str] = random.choice) -> str:
    """Return a new random value; prefix comes first and does not count in length (default 40, at least 16 characters).

    A generated value starts and ends with a letter or digit: a leading dash looks like an option on a command line.
    """
    length = int(spec.get("length") or DEFAULT_LENGTH)
    if length < SHORTEST:
        raise SecretsError(f"a generated secret needs at least {SHORTEST} characters, not {length}; raise `length`.")
    plain = string.ascii_letters + string.digits
    middle = "".join(choose(ALPHABET) for _index in range(length - 2))
    return f"{spec.get('prefix') or ''}{choose(plain)}{middle}{choose(plain)}"


def certificate_authorities(specification: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> str:
    """Return the certificates of the own authorities as one PEM text: what a person's browser or program has to trust."""
    names = sorted(
        name for name, spec in specification.items() if spec.get("kind") == "ca" and not spec.get("internal")
    )
    return "".join(values[f"{name}_certificate"] for name in names if f"{name}_certificate" in values)


def write_public(path: Path, content: str) -> bool:
    """Write a file that everybody may read (0644), atomically; return whether it differed."""
    try:
        if path.read_text(encoding="utf-8") == content:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def _complete_authority(name: str, domain: str, values: dict[str, str], result: Ensured) -> None:
    key, certificate = f"{name}_key", f"{name}_certificate"
    have = [part for part in (key, certificate) if part in values]
    if len(have) == 1:
        missing = certificate if have == [key] else key
        raise SecretsError(
            f"{result.file}: {have[0]} is there, {missing} is not. Restore the missing half from a backup, or remove "
            f"{have[0]} as well: a new authority is made then, and every client has to trust it."
        )
    if not have:
        pair = _pki.create_ca(f"Pantheon CA for {domain}")
        values[key], values[certificate] = pair.key, pair.certificate
        result.added += [key, certificate]
        return
    try:
        left = _pki.days_left(values[certificate])
    except _pki.PkiError as error:
        raise SecretsError(
            f"{result.file}: {certificate}: {error}. Restore it from a backup, or remove {key} and {certificate}: a new "
            "authority is made then, and every client has to trust it."
        ) from None
    if left < 180:
        result.warnings.append(
            f"{result.file}: the certificate authority {name} ends in {left} days. Remove {key} and {certificate} at a "
            "time that suits you: a new one is made, and every client has to trust it."
        )


def _complete_certificate(
    name: str, authority: str, names: list[str], values: dict[str, str], result: Ensured, renew_days: int
) -> None:
    key, certificate = f"{name}_key", f"{name}_certificate"
    ca = _pki.Pair(values[f"{authority}_key"], values[f"{authority}_certificate"])
    complete_pair = key in values and certificate in values
    if complete_pair:
        reason = _pki.renewal_reason(_pki.Pair(values[key], values[certificate]), ca, names, renew_days)
        if reason is None:
            return
        result.renewed[name] = reason
    else:
        result.added += [part for part in (key, certificate) if part not in values]
    try:
        pair = _pki.issue(ca, names)
    except _pki.PkiError as error:
        raise SecretsError(
            f"{result.file}: {authority}: {error}. Restore {authority}_key and {authority}_certificate from a backup, or "
            "remove both: a new authority is made then, and every client has to trust it."
        ) from None
    values[key], values[certificate] = pair.key, pair.certificate


def _check_values(file: Path, present: Mapping[str, str], specification: Mapping[str, Mapping[str, Any]]) -> None:
    broken = [
        name
        for name, spec in specification.items()
        if spec.get("kind", "password") in ("password", "key")
        and name in present
        and not ALLOWED.fullmatch(present[name])
    ]
    if broken:
        raise SecretsError(
            f"{file}: {', '.join(sorted(broken))}: empty, or with a character other than A-Z a-z 0-9 _ . ~ -. Such a value "
            f"breaks .env files and URLs. Change it with `ansible-vault edit {file}`, or remove it: a new one is made."
        )


def _decrypt(
    file: Path, content: bytes, passwords: list[tuple[str, VaultSecret]]
) -> tuple[dict[str, str], str, VaultSecret]:
    """Return the values, and the vault id and password that opened the file."""
    if not is_encrypted(content):
        raise SecretsError(f"{file}: is not encrypted. Encrypt it with `ansible-vault encrypt {file}` and run again.")
    if not passwords:
        raise SecretsError(
            f"{file}: no vault password is set, so it cannot be decrypted. Put the password into .vault-password in the "
            "repository root, set PANTHEON_VAULT_PASSWORD, or give the job runner a vault credential."
        )
    try:
        plain, identity, password = VaultLib(passwords).decrypt_and_get_vault_id(content)
    except (AnsibleVaultError, AnsibleVaultFormatError):
        raise SecretsError(
            f"{file}: cannot be decrypted with the vault password of this run. Give the password it was made with "
            "(.vault-password, PANTHEON_VAULT_PASSWORD or the job runner's credential); without it, move the file away: "
            "new secrets are made, and databases keep the old passwords until they are changed."
        ) from None
    except AnsibleError as error:
        raise SecretsError(f"{file}: is damaged ({error.message}). Restore it from a backup.") from None
    try:
        # The errors of PyYAML quote the offending text, which is a secret: only the place is told.
        data = yaml.safe_load(bytes(plain))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise SecretsError(
            f"{file}: its content is not YAML{place}. Correct it with `ansible-vault edit {file}`."
        ) from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise SecretsError(
            f"{file}: its content has to be a mapping from name to value. Correct it with `ansible-vault edit {file}`."
        )
    wrong = sorted(str(name) for name, value in data.items() if not (isinstance(name, str) and isinstance(value, str)))
    if wrong:
        raise SecretsError(
            f"{file}: {', '.join(wrong)}: not a string. Put the value in quotes with `ansible-vault edit {file}`."
        )
    return {str(name): str(value) for name, value in data.items()}, identity, password


def _write(file: Path, values: Mapping[str, str], identity: str, password: VaultSecret) -> None:
    text = "---\n# Made by Pantheon; existing values are never changed. Edit with: ansible-vault edit\n"
    text += yaml.safe_dump(dict(values), default_flow_style=False, sort_keys=True, width=10_000)
    # The default identity is not written into the header, as ansible-vault does it.
    vault_id = None if identity == "default" else identity
    content = VaultLib([(identity, password)]).encrypt(text, secret=password, vault_id=vault_id)
    for stale in file.parent.glob(f"{_TEMPORARY}*"):  # of a run that was killed; the lock says that nobody writes now
        stale.unlink(missing_ok=True)
    try:
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=file.parent)  # mode 0600; Ansible skips dot files
    except OSError as error:
        raise SecretsError(
            f"{file}: cannot be written ({error.strerror}). Make {file.parent} writable for the user of this run."
        ) from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SecretsError(f"{file}: cannot be written ({error.strerror}). Free some space and run again.") from None
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the environment; the folder itself is locked, so no lock file is left behind."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SecretsError(f"{directory}: the folder of the inventory cannot be opened ({error.strerror}).") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # releases the lock
