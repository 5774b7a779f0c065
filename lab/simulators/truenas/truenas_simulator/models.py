# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the methods accept, per release."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from . import filters
from .schema import (
    LONG,
    NOT_REQUIRED,
    AnyValue,
    Bool,
    Choice,
    Dict,
    Field,
    Int,
    List,
    Model,
    Nullable,
    Str,
    Tagged,
    Type,
    Union,
)

GIB = 1024**3
COMPRESSION = (
    *("ON", "OFF", "LZ4", "GZIP", "GZIP-1", "GZIP-9", "ZSTD", "ZSTD-FAST", "ZLE", "LZJB"),
    *(f"ZSTD-{level}" for level in range(1, 20)),
    *(f"ZSTD-FAST-{level}" for level in (*range(1, 11), *range(20, 101, 10), 500, 1000)),
)
CHECKSUM = ("ON", "OFF", "FLETCHER2", "FLETCHER4", "SHA256", "SHA512", "SKEIN", "EDONR", "BLAKE3")
UNITS = ("HOUR", "DAY", "WEEK", "MONTH", "YEAR")
RDMA_PORT = 20049


def text(default: Any = NOT_REQUIRED) -> Field:
    """Return a key with text."""
    return Field(Str(), default)


def filled() -> Str:
    """Return text that is not empty."""
    return Str(minimum=1)


def flag(default: Any = NOT_REQUIRED) -> Field:
    """Return a key with true or false."""
    return Field(Bool(), default)


# -- queries ------------------------------------------------------------------------------------------------------


class _Filters(List):
    """The filters of a query, checked by the engine itself."""

    def __init__(self) -> None:
        super().__init__(AnyValue())

    def check(self, value: Any, where: tuple[str, ...], problems: list[tuple[tuple[str, ...], str]]) -> Any:
        """Note what is wrong with the filters and return them."""
        found: list[tuple[tuple[str, ...], str]] = []
        result = super().check(value, where, found)
        if not found:
            try:
                filters.validate_filters(result)
            except ValueError as error:
                found.append((where, f"Value error, {error}"))
        problems += found
        return result


def query_options(release: str) -> Model:
    """Return the options of a query."""
    bounds = Int(ge=0) if release >= "26" else Int()
    fields = {
        "extra": Field(Dict(), dict),
        "order_by": Field(List(Str()), list),
        "select": Field(List(Union(Str(), List(AnyValue()))), list),
        "count": flag(False),
        "get": flag(False),
        "offset": Field(bounds, 0),
        "limit": Field(Int(ge=0, le=filters.MAX_LIMIT) if release >= "26" else Int(), 0),
        "force_sql_filters": flag(False),
    }
    if release < "25.10":
        fields |= {
            "relationships": flag(True),
            "extend": Field(Nullable(Str()), None),
            "extend_context": Field(Nullable(Str()), None),
            "prefix": Field(Nullable(Str()), None),
            "extend_fields": Field(AnyValue(), None),
        }
    return Model("QueryOptions", fields, filters.validate_options)


def query(release: str) -> dict[str, Field]:
    """Return the arguments of every query method."""
    options = query_options(release)
    return {
        "filters": Field(_Filters(), list),
        "options": Field(options, lambda: options.check({}, (), [])),
    }


def instance(kind: Type, release: str) -> dict[str, Field]:
    """Return the arguments of get_instance."""
    options = query_options(release)
    return {"id": Field(kind), "options": Field(options, lambda: options.check({}, (), []))}


# -- schedules ----------------------------------------------------------------------------------------------------

_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "dow": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_RANGES = {"minute": (0, 59), "hour": (0, 23), "dom": (1, 31), "month": (1, 12), "dow": (0, 7)}


def check_cron(schedule: dict[str, Any]) -> None:
    """Refuse a schedule that cron would not take."""
    values = {key: str(schedule.get(key) or "*") for key in _RANGES}
    for value in values.values():
        if "/" in value and not re.match(r"^(\*|[0-9]+-[0-9]+)/([0-9]+)$", value):
            raise ValueError("Please ensure fields match cron syntax - Only range or `*` are allowed before `/`")
    whole = "".join(f"{value} " for value in values.values())
    for key, value in values.items():
        for part in value.lower().split(","):
            span, _, step = part.partition("/")
            problem = _cron_problem(key, span, step)
            if problem:
                raise ValueError(f"Please ensure fields match cron syntax - [{whole}] is not acceptable{problem}")


def _cron_problem(key: str, span: str, step: str) -> str | None:
    """Return what is wrong with a part of a field of a schedule, as the end of a sentence."""
    if step == "0":
        return ", out of range"
    if span == "*":
        return None
    low, high = _RANGES[key]
    names, offset = _NAMES.get(key, ()), 1 if key == "month" else 0
    numbers = []
    for end in span.split("-"):
        if end in names:
            numbers.append(names.index(end) + offset)
        elif end.isdigit():
            numbers.append(int(end))
        else:
            return ""
    return ", out of range" if len(numbers) > 2 or any(not low <= number <= high for number in numbers) else None


def check_time(value: str) -> None:
    """Refuse what is not a time of day."""
    parts = value.split(":")
    if len(parts) != 2:
        raise ValueError('Time should be in 24 hour format like "18:00"')
    dt.time(int(parts[0]), int(parts[1]))


def _check_window(schedule: dict[str, Any]) -> None:
    check_cron(schedule)
    begin, end = ([int(part) for part in schedule[key].split(":")] for key in ("begin", "end"))
    if begin > end:
        raise AssertionError("Begin time should be less than or equal to end time")


def cron(name: str, window: bool = True, minute: str = "00") -> Model:
    """Return the model of a schedule; window: the begin must come before the end."""
    fields = {key: text(minute if key == "minute" else "*") for key in ("minute", "hour", "dom", "month", "dow")}
    fields["begin"] = Field(Str(after=check_time), "00:00")
    fields["end"] = Field(Str(after=check_time), "23:59")
    return Model(name, fields, _check_window if window else check_cron)


def check_naming_schema(schema: str) -> None:
    """Refuse a naming schema from which the time of a snapshot could not be read back."""
    if "%%" in schema:
        raise ValueError("% is not an allowed character in ZFS snapshot name")
    wrong = re.findall("[^0-9A-Za-z %_.:-]", schema)
    if wrong:
        text_ = "is not an allowed character" if len(wrong) == 1 else "are not allowed characters"
        raise ValueError(f"{''.join(wrong)} {text_} in ZFS snapshot name")
    if "%s" in schema:
        if re.search("%[^s]", schema):
            raise ValueError("No other placeholder can be used with %s in naming schema")
        return
    for placeholder in ("%Y", "%m", "%d", "%H", "%M"):
        if placeholder not in schema:
            raise ValueError(f"{placeholder} must be present in snapshot naming schema")
    if "%z" in schema and "--" in schema:
        raise ValueError(
            "%z and `--` can't be present in snapshot naming schema at the same time. "
            "ZFS snapshot names can't contain `+` so we use `--` instead."
        )
    if "%z" in schema:
        return
    moment = dt.datetime(2000, 2, 29, 19, 40)
    formatted = moment.strftime(schema)
    parsed = dt.datetime.strptime(formatted, schema)
    if parsed != moment:
        raise ValueError(
            f"Failed to parse datetime using provided format: datetime={moment!r}, formatted={formatted}, "
            f"parsed={parsed!r}"
        )


# -- datasets -----------------------------------------------------------------------------------------------------

_COMPONENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._:-]*$|^[._:-][A-Za-z0-9 ._:-]*$")


def valid_dataset_name(name: Any) -> bool:
    """Return whether ZFS would take the name."""
    if not isinstance(name, str) or not name or len(name) > 255:
        return False
    parts = name.split("/")
    return all(_COMPONENT.match(part) and part not in (".", "..") for part in parts) and parts[0][0].isalpha()


def _check_dataset_name(name: Any) -> None:
    if not valid_dataset_name(name):
        raise ValueError("Please provide a valid dataset name according to ZFS standards")


def _inheritable(*values: str) -> Field:
    return Field(Choice(*values, "INHERIT"), "INHERIT")


def _percentage() -> Field:
    return Field(Union(Int(ge=0, le=100), Choice("INHERIT")), "INHERIT")


USER_PROPERTY = Model("PoolDatasetCreateUserProperty", {"key": Field(Str(pattern=".*:.*")), "value": Field(Str())})
USER_PROPERTY_UPDATE = Model(
    "PoolDatasetUpdateUserProperty",
    {"key": Field(Str(pattern=".*:.*")), "value": text(), "remove": flag()},
)


def encryption_options(release: str) -> Model:
    """Return the options of an encrypted dataset."""
    minimum, default = (1300000, 1300000) if release >= "26" else (100000, 350000)
    fields = {
        "generate_key": flag(False),
        "pbkdf2iters": Field(Int(ge=minimum), default),
        "algorithm": Field(
            Choice(*(f"AES-{size}-{mode}" for mode in ("CCM", "GCM") for size in (128, 192, 256))), "AES-256-GCM"
        ),
        "passphrase": Field(Nullable(Str(minimum=8)), None),
        "key": Field(Nullable(Str(minimum=64, maximum=64)), None),
    }
    if release >= "26":
        del fields["algorithm"]
    return Model("PoolCreateEncryptionOptions", fields)


def _dataset_common(release: str) -> dict[str, Field]:
    options = encryption_options(release)
    return {
        "name": Field(Str(minimum=1, before=_check_dataset_name)),
        "comments": text("INHERIT"),
        "sync": _inheritable("STANDARD", "ALWAYS", "DISABLED"),
        "snapdev": Field(Choice("HIDDEN", "VISIBLE", "INHERIT"), NOT_REQUIRED),
        "compression": _inheritable(*COMPRESSION),
        "exec": _inheritable("ON", "OFF"),
        "managedby": Field(filled(), "INHERIT"),
        "quota_warning": _percentage(),
        "quota_critical": _percentage(),
        "refquota_warning": _percentage(),
        "refquota_critical": _percentage(),
        "reservation": Field(Int(), NOT_REQUIRED),
        "refreservation": Field(Int(), NOT_REQUIRED),
        "special_small_block_size": Field(Union(Int(), Choice("INHERIT")), NOT_REQUIRED),
        "copies": Field(Union(Int(), Choice("INHERIT")), "INHERIT"),
        "snapdir": _inheritable("DISABLED", "VISIBLE", "HIDDEN"),
        "deduplication": _inheritable("ON", "VERIFY", "OFF"),
        "checksum": _inheritable(*CHECKSUM),
        "readonly": _inheritable("ON", "OFF"),
        "share_type": Field(Choice("GENERIC", "MULTIPROTOCOL", "NFS", "SMB", "APPS"), "GENERIC"),
        "encryption_options": Field(options, lambda: options.check({}, (), [])),
        "encryption": flag(False),
        "inherit_encryption": flag(True),
        "user_properties": Field(List(USER_PROPERTY), list),
        "create_ancestors": flag(False),
    }


def _filesystem(release: str) -> dict[str, Field]:
    return {
        **_dataset_common(release),
        "type": Field(Choice("FILESYSTEM"), "FILESYSTEM"),
        "aclmode": Field(Choice("PASSTHROUGH", "RESTRICTED", "DISCARD", "INHERIT"), NOT_REQUIRED),
        "acltype": Field(Choice("OFF", "NFSV4", "POSIX", "INHERIT"), NOT_REQUIRED),
        "atime": Field(Choice("ON", "OFF", "INHERIT"), NOT_REQUIRED),
        "casesensitivity": Field(Choice("SENSITIVE", "INSENSITIVE", "INHERIT"), NOT_REQUIRED),
        "quota": Field(Union(Int(ge=GIB), Choice(0, None)), NOT_REQUIRED),
        "refquota": Field(Union(Int(ge=GIB), Choice(0, None)), NOT_REQUIRED),
        "recordsize": text(),
    }


def _volume(release: str) -> dict[str, Field]:
    return {
        **_dataset_common(release),
        "type": Field(Choice("VOLUME"), "VOLUME"),
        "force_size": flag(),
        "sparse": flag(),
        "volsize": Field(Int()),
        "volblocksize": Field(
            Choice("512", "512B", *(f"{size}K" for size in (1, 2, 4, 8, 16, 32, 64, 128))), NOT_REQUIRED
        ),
    }


def dataset_create(release: str) -> dict[str, Field]:
    """Return the arguments of pool.dataset.create."""
    filesystem = Model("PoolDatasetCreateFilesystem", _filesystem(release))
    volume = Model("PoolDatasetCreateVolume", _volume(release))
    if release >= "26":
        return {"data": Field(Tagged("type", {"FILESYSTEM": filesystem, "VOLUME": volume}, "FILESYSTEM"))}
    return {"data": Field(Union(filesystem, volume))}


def dataset_update(release: str) -> dict[str, Field]:
    """Return the arguments of pool.dataset.update."""
    without = (
        *("name", "type", "casesensitivity", "share_type", "sparse", "volblocksize"),
        *("encryption", "encryption_options", "inherit_encryption"),
    )
    both = Model("PoolDatasetUpdate", _volume(release) | _filesystem(release))
    more = {"user_properties_update": Field(List(USER_PROPERTY_UPDATE))}
    return {"id": Field(Str()), "data": Field(both.for_update("PoolDatasetUpdate", without, more))}


def dataset_delete() -> dict[str, Field]:
    """Return the arguments of pool.dataset.delete."""
    options = Model("PoolDatasetDeleteOptions", {"recursive": flag(False), "force": flag(False)})
    return {"id": Field(Str()), "options": Field(options, lambda: {"recursive": False, "force": False})}


# -- folders ------------------------------------------------------------------------------------------------------


def _check_mode(value: str) -> None:
    try:
        mode = int(value, 8)
    except ValueError:
        raise ValueError("Not a valid integer. Must be between 000 and 777") from None
    if mode & 0o777 != mode:
        raise ValueError("Please supply a value between 000 and 777")


def _number() -> Field:
    return Field(Nullable(Int(ge=-1, le=2147483647)), None)


def _owner() -> dict[str, Field]:
    return {
        "path": Field(filled()),
        "uid": _number(),
        "user": Field(Nullable(filled()), None),
        "gid": _number(),
        "group": Field(Nullable(filled()), None),
    }


def _check_chown(data: dict[str, Any]) -> None:
    if all(data[key] in (None, -1) for key in ("uid", "user", "gid", "group")):
        raise ValueError("At least one of uid, gid, user, and group must be set in chown payload")


def _check_setperm(data: dict[str, Any]) -> None:
    if data["mode"] is None and not data["options"]["stripacl"]:
        raise ValueError("Payload must either explicitly specify permissions or contain the stripacl option.")


def filesystem_chown() -> dict[str, Field]:
    """Return the arguments of filesystem.chown."""
    options = Model("FilesystemChownOptions", {"recursive": flag(False), "traverse": flag(False)})
    fields = {**_owner(), "options": Field(options, lambda: {"recursive": False, "traverse": False})}
    return {"filesystem_chown": Field(Model("FilesystemChownArgs", fields, _check_chown))}


def filesystem_setperm() -> dict[str, Field]:
    """Return the arguments of filesystem.setperm."""
    keys = {"recursive": flag(False), "traverse": flag(False), "stripacl": flag(False)}
    fields = {
        **_owner(),
        "mode": Field(Nullable(Str(after=_check_mode)), None),
        "options": Field(Model("FilesystemSetpermOptions", keys), lambda: dict.fromkeys(keys, False)),
    }
    return {"filesystem_setperm": Field(Model("FilesystemSetpermArgs", fields, _check_setperm))}


# -- shares and the NFS service -----------------------------------------------------------------------------------

SHARE = Model(
    "NfsShareCreate",
    {
        "path": Field(filled()),
        "aliases": Field(List(filled()), list),
        "comment": text(""),
        "networks": Field(List(filled()), list),
        "hosts": Field(List(filled()), list),
        "ro": flag(False),
        "maproot_user": Field(Nullable(Str()), None),
        "maproot_group": Field(Nullable(Str()), None),
        "mapall_user": Field(Nullable(Str()), None),
        "mapall_group": Field(Nullable(Str()), None),
        "security": Field(List(Choice("SYS", "KRB5", "KRB5I", "KRB5P")), list),
        "enabled": flag(True),
        "expose_snapshots": flag(False),
    },
)


def _check_port(value: int) -> None:
    if value == RDMA_PORT:
        raise ValueError(f"{value} is a reserved for internal use. Please select another value.")


def _port() -> Field:
    return Field(Nullable(Int(ge=1, le=65535, after=_check_port)))


NFS_CONFIG = Model(
    "NFSUpdateArgs",
    {
        "servers": Field(Nullable(Int(ge=1, le=256))),
        "allow_nonroot": Field(Bool()),
        "protocols": Field(List(Choice("NFSV3", "NFSV4"))),
        "v4_krb": Field(Bool()),
        "v4_domain": Field(Str()),
        "bindip": Field(List(filled())),
        "mountd_port": _port(),
        "rpcstatd_port": _port(),
        "rpclockd_port": _port(),
        "mountd_log": Field(Bool()),
        "statd_lockd_log": Field(Bool()),
        "userd_manage_gids": Field(Bool()),
        "rdma": Field(Bool()),
    },
).for_update("NFSUpdateArgs")


def nfs_update(release: str) -> dict[str, Field]:
    """Return the arguments of nfs.update."""
    return {"nfs_update": Field(NFS_CONFIG, dict) if release >= "26" else Field(NFS_CONFIG)}


# -- services -----------------------------------------------------------------------------------------------------

_SERVICE_OPTIONS = {
    "ha_propagate": flag(True),
    "silent": flag(True),
    "timeout": Field(Nullable(Int()), 120),
}


def service_options() -> Field:
    """Return the options of starting and stopping."""
    return Field(
        Model("ServiceOptions", _SERVICE_OPTIONS), lambda: {"ha_propagate": True, "silent": True, "timeout": 120}
    )


# -- snapshots and replication ------------------------------------------------------------------------------------

SNAPSHOT_TASK = Model(
    "PoolSnapshotTaskCreate",
    {
        "dataset": Field(Str()),
        "recursive": flag(False),
        "lifetime_value": Field(Int(), 2),
        "lifetime_unit": Field(Choice(*UNITS), "WEEK"),
        "enabled": flag(True),
        "exclude": Field(List(Str()), list),
        "naming_schema": Field(Str(after=check_naming_schema), "auto-%Y-%m-%d_%H-%M"),
        "allow_empty": flag(True),
        "schedule": Field(
            cron("PoolSnapshotTaskCron", window=False),
            lambda: cron("PoolSnapshotTaskCron", window=False).check({}, (), []),
        ),
    },
)


def _lifetime() -> Model:
    return Model(
        "ReplicationLifetimeModel",
        {
            "schedule": Field(
                Model("CronModel", {key: text("*") for key in ("minute", "hour", "dom", "month", "dow")}, check_cron)
            ),
            "lifetime_value": Field(Int(ge=1)),
            "lifetime_unit": Field(Choice(*UNITS)),
        },
    )


def _maybe(kind: Type) -> Field:
    return Field(Nullable(kind), None)


REPLICATION = Model(
    "ReplicationCreate",
    {
        "name": Field(filled()),
        "direction": Field(Choice("PUSH", "PULL")),
        "transport": Field(Choice("SSH", "SSH+NETCAT", "LOCAL")),
        "ssh_credentials": _maybe(Int()),
        "netcat_active_side": _maybe(Choice("LOCAL", "REMOTE")),
        "netcat_active_side_listen_address": _maybe(Str()),
        "netcat_active_side_port_min": _maybe(Int(ge=1, le=65535)),
        "netcat_active_side_port_max": _maybe(Int(ge=1, le=65535)),
        "netcat_passive_side_connect_address": _maybe(Str()),
        "sudo": flag(False),
        "source_datasets": Field(List(Str(), minimum=1)),
        "target_dataset": Field(Str()),
        "recursive": Field(Bool()),
        "exclude": Field(List(Str()), list),
        "properties": flag(True),
        "properties_exclude": Field(List(filled()), list),
        "properties_override": Field(Dict(Str()), dict),
        "replicate": flag(False),
        "encryption": flag(False),
        "encryption_inherit": _maybe(Bool()),
        "encryption_key": _maybe(Str()),
        "encryption_key_format": _maybe(Choice("HEX", "PASSPHRASE")),
        "encryption_key_location": _maybe(Str()),
        "periodic_snapshot_tasks": Field(List(Int(), unique=True), list),
        "naming_schema": Field(List(Str(after=check_naming_schema)), list),
        "also_include_naming_schema": Field(List(Str(after=check_naming_schema)), list),
        "name_regex": _maybe(filled()),
        "auto": Field(Bool()),
        "schedule": _maybe(cron("ReplicationTimeCronModel")),
        "restrict_schedule": _maybe(cron("ReplicationTimeCronModel")),
        "only_matching_schedule": flag(False),
        "allow_from_scratch": flag(False),
        "readonly": Field(Choice("SET", "REQUIRE", "IGNORE"), "SET"),
        "hold_pending_snapshots": flag(False),
        "retention_policy": Field(Choice("SOURCE", "CUSTOM", "NONE")),
        "lifetime_value": _maybe(Int(ge=1)),
        "lifetime_unit": _maybe(Choice(*UNITS)),
        "lifetimes": Field(List(_lifetime()), list),
        "compression": _maybe(Choice("LZ4", "PIGZ", "PLZIP")),
        "speed_limit": _maybe(Int(ge=1)),
        "large_block": flag(True),
        "embed": flag(False),
        "compressed": flag(True),
        "retries": Field(Int(ge=1), 5),
        "logging_level": _maybe(Choice("DEBUG", "INFO", "WARNING", "ERROR")),
        "enabled": flag(True),
    },
)


def replication_run(release: str) -> dict[str, Field]:
    """Return the arguments of replication.run."""
    if release < "26":
        return {"id": Field(Int()), "really_run": flag(True)}
    options = Model("ReplicationRunOptions", {"really_run": flag(True)})
    return {"id": Field(Int()), "options": Field(options, lambda: {"really_run": True})}


def snapshot_create(release: str) -> dict[str, Field]:
    """Return the arguments of pool.snapshot.create."""
    common = {
        "dataset": Field(filled()),
        "recursive": flag(False),
        "exclude": Field(List(Str()), list),
        "vmware_sync": flag(False),
        "properties": Field(Dict(), dict),
    }
    if release >= "26":
        common["suspend_vms"] = flag(False)
    return {
        "data": Field(
            Union(
                Model("PoolSnapshotCreateWithName", {**common, "name": Field(filled())}),
                Model(
                    "PoolSnapshotCreateWithSchema",
                    {**common, "naming_schema": Field(Str(minimum=1, after=check_naming_schema))},
                ),
            )
        )
    }


def snapshot_delete() -> dict[str, Field]:
    """Return the arguments of pool.snapshot.delete."""
    options = Model("PoolSnapshotDeleteOptions", {"defer": flag(False), "recursive": flag(False)})
    return {"id": Field(Str()), "options": Field(options, lambda: {"defer": False, "recursive": False})}


# -- keys for other machines --------------------------------------------------------------------------------------

_KEY_PAIR = Model("SSHKeyPair", {"private_key": _maybe(Str(maximum=LONG)), "public_key": _maybe(Str(maximum=LONG))})
_CREDENTIALS = Model(
    "SSHCredentials",
    {
        "host": Field(Str()),
        "port": Field(Int(), 22),
        "username": text("root"),
        "private_key": Field(Int()),
        "remote_host_key": Field(Str()),
        "connect_timeout": Field(Int(), 10),
    },
)


def keychain_create() -> dict[str, Field]:
    """Return the arguments of keychaincredential.create."""
    pair = {"name": Field(filled()), "type": Field(Choice("SSH_KEY_PAIR")), "attributes": Field(_KEY_PAIR)}
    login = {"name": Field(filled()), "type": Field(Choice("SSH_CREDENTIALS")), "attributes": Field(_CREDENTIALS)}
    return {
        "keychain_credential_create": Field(
            Union(
                Model("KeychainCredentialCreateSSHKeyPairEntry", pair),
                Model("KeychainCredentialCreateSSHCredentialsEntry", login),
            )
        )
    }


# -- logging in ---------------------------------------------------------------------------------------------------


def _login_options(release: str) -> Field:
    fields = {"user_info": flag(True)}
    if release >= "26":
        fields["reconnect_token"] = flag(False)
    options = Model("AuthCommonOptions", fields)
    return Field(options, lambda: options.check({}, (), []))


def _mechanism(name: str) -> str:
    return f"<AuthMech.{name}: '{name}'>"


def login_ex(release: str) -> dict[str, Field]:
    """Return the arguments of auth.login_ex."""
    options = _login_options(release)
    show = repr if release >= "26" else _mechanism
    models = {
        "API_KEY_PLAIN": Model(
            "AuthApiKeyPlain",
            {
                "mechanism": Field(Choice("API_KEY_PLAIN")),
                "username": Field(Str()),
                "api_key": Field(Str()),
                "login_options": options,
            },
        ),
        "PASSWORD_PLAIN": Model(
            "AuthPasswordPlain",
            {
                "mechanism": Field(Choice("PASSWORD_PLAIN")),
                "username": Field(Str()),
                "password": Field(Str()),
                "login_options": options,
            },
        ),
        "TOKEN_PLAIN": Model(
            "AuthTokenPlain",
            {"mechanism": Field(Choice("TOKEN_PLAIN")), "token": Field(Str()), "login_options": options},
        ),
        "OTP_TOKEN": Model(
            "AuthOTPToken",
            {"mechanism": Field(Choice("OTP_TOKEN", show=show)), "otp_token": Field(Str()), "login_options": options},
        ),
    }
    if release >= "26":
        models["SCRAM"] = Model(
            "AuthSCRAM",
            {
                "mechanism": Field(Choice("SCRAM")),
                "scram_type": Field(Choice("CLIENT_FIRST_MESSAGE", "CLIENT_FINAL_MESSAGE")),
                "rfc_str": Field(Str()),
            },
        )
    return {"login_data": Field(Tagged("mechanism", models, show=show))}


def core_options(release: str) -> Model:
    """Return the options of a connection; newer clients may send more than a release knows."""
    keys = ("py_exceptions",) if release < "25.10" else ("legacy_jobs", "private_methods", "py_exceptions")
    return Model("CoreOptions", {key: Field(Bool()) for key in keys}, ignore_unknown=True).for_update("CoreOptions")
