# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data tier: etcd, PostgreSQL under Patroni, its witness, router and pool (private to this collection).

Pure functions from the site to the configuration of each program. Addresses are those of the machines: the database must
work where names do not. Secrets stand as placeholders.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    SECRET_PLACEHOLDER,
    backup_target,
    is_ip,
    placed,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

ETCD_SERVICE = "etcd"
POSTGRESQL_SERVICE = "postgresql"
ROUTER_SERVICE = "postgresql-router"
POOL_SERVICE = "postgresql-pool"
WITNESS_SERVICE = "postgresql-witness"

SCOPE = "pantheon"
NAMESPACE = "/service/"

ETCD_CLIENT_PORT = 2379
ETCD_PEER_PORT = 2380
ETCD_METRICS_PORT = 2381
SQL_PORT = 5432
REST_PORT = 8008
WITNESS_PORT = 8009
PRIMARY_PORT = 5000
REPLICA_PORT = 5001
STATS_PORT = 7000
POOL_PORT = 6432

SUPERUSER = "postgres"
REPLICATION_USER = "replicator"
REWIND_USER = "rewind"
POOLER_USER = "pgbouncer"

#: The roles that Patroni makes with the cluster, and the secrets of their passwords.
ACCOUNTS = {
    REPLICATION_USER: "postgresql_replication_password",
    REWIND_USER: "postgresql_rewind_password",
    SUPERUSER: "postgresql_superuser_password",
}

DATA_ROOT = "/var/lib/postgresql"
DATA_DIRECTORY = f"{DATA_ROOT}/17/data"
BIN_DIRECTORY = "/usr/lib/postgresql/17/bin"
SOCKET_DIRECTORY = "/var/run/postgresql"

#: With two members, strict would turn the loss of either into a stop of all writes: the one that is left has no standby
#: to wait for (measured: nothing is written until the other is back, also after a take-over). Without it, Patroni first
#: strikes a lost standby off the list in etcd, so that it cannot take over, and only then lets the leader go on alone; a
#: leader that cannot reach etcd never gets to that.
STRICT_FROM = 3

#: A machine that was off for a night finds its place again without a new copy, unless it would fill the leader's disk.
SLOT_SECONDS = 24 * 3600
SLOT_MAXIMUM = "4GB"

#: pgBackRest's repository, below the place of the backups.
REPOSITORY = "pgbackrest"
STANZA = "pantheon"
#: What the log may grow to while the target of the backups is away. Then all of it is given up: the disk is worth more.
ARCHIVE_QUEUE = "4GiB"
#: How much of the log both machines together may take with them. A segment is 16 MB whatever is in it, until it is archived.
ARCHIVE_SECONDS = 300
#: How long PostgreSQL's archiver waits for a segment: below a third of the time to stop in, for at the end it tries three times.
PUSH_SECONDS = 10

MAX_CONNECTIONS = 100
#: Connections that the pools leave alone: PostgreSQL's own reserve, Patroni, health checks, backups, an administrator.
KEPT_CONNECTIONS = 15
MAX_POOL_SIZE = 20

MEBIBYTE = 1024 * 1024

#: What follows from the memory of the service.
_SIZES = ("shared_buffers", "effective_cache_size", "maintenance_work_mem")


def _secret(name: str) -> str:
    return SECRET_PLACEHOLDER.format(name)


def _bracketed(address: str) -> str:
    """Return *address* for use before a port."""
    return f"[{address}]" if ":" in address else address


def _at(site: Site, host: str, port: int) -> str:
    """Return ADDRESS:PORT of a machine."""
    return f"{_bracketed(site.machines[host].address)}:{port}"


def _network(address: str) -> str:
    """Return *address* as PostgreSQL's host-based rules want it: names stay names."""
    if not is_ip(address):
        return address
    return f"{address}/{128 if ':' in address else 32}"


def _everywhere(site: Site, host: str) -> str:
    """Return the address that stands for all addresses of a machine, in the family of its own one."""
    return "[::]" if ":" in site.machines[host].address else "0.0.0.0"


def _members(site: Site) -> list[str]:
    return placed(site, POSTGRESQL_SERVICE) if POSTGRESQL_SERVICE in site.services else []


def _voters(site: Site) -> list[str]:
    return placed(site, ETCD_SERVICE) if ETCD_SERVICE in site.services else []


def _nearest_first(machines: list[str], host: str) -> list[str]:
    """Return *machines* with *host* first: what a machine has itself is not lost with another one."""
    return sorted(machines, key=lambda name: name != host)


def _databases(site: Site) -> list[str]:
    """Return the names of the databases that placed services want, in a fixed order and each once."""
    return sorted(
        {
            entry["name"]
            for name, data in site.services.items()
            if data["databases"] and placed(site, name)
            for entry in data["databases"]
            if entry["service"] == POSTGRESQL_SERVICE
        }
    )


def _owner(site: Site) -> dict[str, t.Any]:
    """Return PostgreSQL's parameters as the owner wants them (``pantheon_postgresql``)."""
    settings: t.Mapping[str, t.Any] = getattr(site.settings, "postgresql", None) or {}
    return dict(settings.get("parameters") or {})


def etcd_config(site: Site, host: str) -> dict[str, t.Any]:
    """Return the configuration file of etcd on *host*: a fixed set of members, everything but the metrics over mutual TLS."""
    everywhere = _everywhere(site, host)
    tls = {
        "cert-file": "/etc/etcd/tls/etcd.crt",
        "key-file": "/etc/etcd/tls/etcd.key",
        "trusted-ca-file": "/etc/etcd/tls/ca.crt",
        "client-cert-auth": True,
    }
    return {
        "name": host,
        "data-dir": "/var/lib/etcd/data",
        "listen-client-urls": f"https://{everywhere}:{ETCD_CLIENT_PORT}",
        "advertise-client-urls": f"https://{_at(site, host, ETCD_CLIENT_PORT)}",
        "listen-peer-urls": f"https://{everywhere}:{ETCD_PEER_PORT}",
        "initial-advertise-peer-urls": f"https://{_at(site, host, ETCD_PEER_PORT)}",
        "listen-metrics-urls": f"http://127.0.0.1:{ETCD_METRICS_PORT}",
        # These three count on the first start only; a member with data knows who the others are.
        "initial-cluster": ",".join(f"{name}=https://{_at(site, name, ETCD_PEER_PORT)}" for name in _voters(site)),
        "initial-cluster-state": "new",
        "initial-cluster-token": SCOPE,
        "client-transport-security": dict(tls),
        "peer-transport-security": dict(tls),
        # Patroni writes a few keys over and over: history is of no use, and without compaction it would fill the quota.
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "1h",
        "quota-backend-bytes": 256 * MEBIBYTE,
        # Entries kept in memory between snapshots; the default of 100000 is for big clusters.
        "snapshot-count": 5000,
        "max-snapshots": 3,
        "max-wals": 3,
        "logger": "zap",
        "log-level": "warn",
    }


def _parameters(site: Site) -> dict[str, t.Any]:
    """Return PostgreSQL's parameters as the platform chooses them."""
    memory_mb = int(site.services[POSTGRESQL_SERVICE]["resources"]["memory_mb"])
    return {
        "max_connections": MAX_CONNECTIONS,
        "password_encryption": "scram-sha-256",
        "shared_buffers": f"{max(32, memory_mb // 4)}MB",
        "effective_cache_size": f"{max(64, memory_mb * 5 // 8)}MB",
        "maintenance_work_mem": f"{max(16, memory_mb // 16)}MB",
        "wal_level": "replica",
        "hot_standby": "on",
        "wal_log_hints": "on",
        "max_wal_senders": 10,
        "max_replication_slots": 10,
        "wal_keep_size": "512MB",
        "max_slot_wal_keep_size": SLOT_MAXIMUM,
        # Also where there is no place for backups: turning it on later would take a restart. The command, a name that pgBackRest
        # insists on, lets go of it then.
        "archive_mode": "on",
        "archive_command": "pgbackrest-archive %p",
        "archive_timeout": f"{ARCHIVE_SECONDS}s",
        # A peer that has gone without a word is noticed well before Patroni's time to live is over.
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "log_checkpoints": "off",
    }


def postgresql_dynamic(site: Site) -> dict[str, t.Any]:
    """Return Patroni's dynamic configuration: what the members share in etcd, and a later run may change."""
    members = len(_members(site))
    return {
        "ttl": 20,
        "loop_wait": 5,
        "retry_timeout": 5,
        "maximum_lag_on_failover": 1048576,
        # A crashed server that does not recover within this time makes room for the standby, which has everything.
        "primary_start_timeout": 15,
        "synchronous_mode": members > 1,
        "synchronous_mode_strict": members >= STRICT_FROM,
        "member_slots_ttl": SLOT_SECONDS,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            # What cannot be rewound is copied anew from the leader: a machine comes back without a person.
            "remove_data_directory_on_rewind_failure": True,
            "parameters": _parameters(site) | _owner(site),
        },
    }


def _first_dynamic(site: Site) -> dict[str, t.Any]:
    """Return what a new cluster starts with: all of it but the sizes and what the owner wants."""
    dynamic = postgresql_dynamic(site)
    parameters = {name: value for name, value in _parameters(site).items() if name not in _SIZES}
    return {**dynamic, "postgresql": {**dynamic["postgresql"], "parameters": parameters}}


def _rules(site: Site) -> list[str]:
    """Return pg_hba.conf: the socket by user of the system, everything else over TLS with a password."""
    members = [_network(site.machines[host].address) for host in _members(site)]
    return [
        "local all postgres peer",
        # Patroni asks its own server for its timeline as a standby would.
        *(
            f"hostssl replication {REPLICATION_USER} {source} scram-sha-256"
            for source in ("127.0.0.1/32", "::1/128", *members)
        ),
        # The accounts of the database itself are of no use from elsewhere, not even with their password.
        *(f"hostssl postgres {REWIND_USER} {source} scram-sha-256" for source in ("127.0.0.1/32", "::1/128", *members)),
        f"host all {REPLICATION_USER},{REWIND_USER},{SUPERUSER} all reject",
        "hostssl all all all scram-sha-256",
    ]


def patroni_config(site: Site, host: str) -> dict[str, t.Any]:
    """Return /etc/patroni/patroni.yml of *host*."""
    tls = "/etc/patroni/tls"
    authority, certificate, key = f"{tls}/ca.crt", f"{tls}/server.crt", f"{tls}/server.key"
    verified = {"sslmode": "verify-full", "sslrootcert": authority}
    return {
        "scope": SCOPE,
        "namespace": NAMESPACE,
        "name": host,
        "log": {"level": "INFO", "format": "%(levelname)s: %(message)s"},
        "restapi": {
            "listen": f"*:{REST_PORT}",
            "connect_address": _at(site, host, REST_PORT),
            "certfile": certificate,
            "keyfile": key,
            "cafile": authority,
            # Questions are free; what changes something needs a certificate.
            "verify_client": "optional",
        },
        "ctl": {"cacert": authority, "certfile": certificate, "keyfile": key},
        "etcd3": {
            "hosts": [_at(site, name, ETCD_CLIENT_PORT) for name in _nearest_first(_voters(site), host)],
            # Without it Patroni takes any member of etcd that it hears of, and the one on the machine that dies costs five
            # seconds more.
            "use_proxies": True,
            "protocol": "https",
            "cacert": authority,
            "cert": certificate,
            "key": key,
        },
        "bootstrap": {
            # Only what does not change later: this file changes with it, and every member would be restarted at once.
            # postgresql_cluster gives the cluster the rest, member by member.
            "dcs": _first_dynamic(site),
            "initdb": [
                {"encoding": "UTF8"},
                # The server's own collation: an upgrade of the C library cannot spoil indexes.
                {"locale-provider": "builtin"},
                {"builtin-locale": "C.UTF-8"},
                {"locale": "C.UTF-8"},
                {"auth-local": "peer"},
                {"auth-host": "scram-sha-256"},
                "data-checksums",
            ],
        },
        "postgresql": {
            "listen": f"*:{SQL_PORT}",
            "connect_address": _at(site, host, SQL_PORT),
            "data_dir": DATA_DIRECTORY,
            "bin_dir": BIN_DIRECTORY,
            "pgpass": f"{SOCKET_DIRECTORY}/pgpass",
            "use_unix_socket": True,
            "authentication": {
                "superuser": {"username": SUPERUSER, "password": _secret("postgresql_superuser_password")},
                "replication": {
                    "username": REPLICATION_USER,
                    "password": _secret("postgresql_replication_password"),
                    **verified,
                },
                "rewind": {"username": REWIND_USER, "password": _secret("postgresql_rewind_password"), **verified},
            },
            "parameters": {
                "unix_socket_directories": SOCKET_DIRECTORY,
                "ssl": "on",
                "ssl_ca_file": authority,
                "ssl_cert_file": certificate,
                "ssl_key_file": key,
                # The file that is read is Patroni's own; what it logs goes to the container's log.
                "logging_collector": "off",
            },
            "pg_hba": _rules(site),
            "basebackup": [{"checkpoint": "fast"}],
        },
        # No device in a container; the loss of the leader key ends the leader's writes (synchronous mode).
        "watchdog": {"mode": "off"},
    }


_PGBACKREST = """\
# Managed by Pantheon: changes here are overwritten.
[global]
repo1-path={repository}
# The NAS sees neither rows nor names.
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass={passphrase}
# Many small files in one: over NFS each file costs more than what is in it. How much is kept, pantheon-backup says.
repo1-bundle=y
compress-type=zst
process-max=2
start-fast=y
# PostgreSQL does not wait for the NAS: segments are pushed in the background, and are given up when there are too many.
archive-async=y
archive-push-queue-max={queue}
spool-path={spool}
log-level-console=off
log-level-file=off
log-level-stderr=warn

[global:archive-push]
archive-timeout={seconds}

[{stanza}]
pg1-path={data}
pg1-socket-path={sockets}
"""

_NO_BACKUPS = """\
# Managed by Pantheon: changes here are overwritten.
# There is no place for backups (pantheon_backup), so PostgreSQL's log is kept nowhere: pgbackrest-archive lets go of it.
"""


def pgbackrest_config(site: Site, host: str) -> str:
    """Return pgbackrest.conf, the same on every member: they share one repository."""
    del host
    target = backup_target(site)
    if target is None:
        return _NO_BACKUPS
    return _PGBACKREST.format(
        repository=f"{target.path}/{REPOSITORY}",
        passphrase=_secret("backup_postgresql_passphrase"),
        queue=ARCHIVE_QUEUE,
        spool=f"{DATA_ROOT}/spool",
        seconds=PUSH_SECONDS,
        stanza=STANZA,
        data=DATA_DIRECTORY,
        sockets=SOCKET_DIRECTORY,
    )


def witness_config(site: Site, host: str) -> dict[str, t.Any]:
    """Return /etc/witness/witness.json of *host*."""
    return {
        "name": host,
        "scope": SCOPE,
        "namespace": NAMESPACE,
        "etcd": {
            "endpoints": [
                f"https://{_at(site, name, ETCD_CLIENT_PORT)}" for name in _nearest_first(_voters(site), host)
            ]
        },
        "members": {name: f"https://{_at(site, name, REST_PORT)}" for name in _members(site)},
        "tls": {
            "ca": "/etc/witness/tls/ca.crt",
            "cert": "/etc/witness/tls/client.crt",
            "key": "/etc/witness/tls/client.key",
        },
        "witnesses": len(placed(site, WITNESS_SERVICE)),
        "status": f"127.0.0.1:{WITNESS_PORT}",
    }


_HAPROXY = """\
# Managed by Pantheon: changes here are overwritten.
global
    # What happens to a server is written to the container's log anyway, by HAProxy in the foreground.
    maxconn 2000
    # The traffic is handed through as it is: one thread is plenty.
    nbthread 1
    # Sessions of a database last: a stop does not wait for them.
    hard-stop-after 2s

defaults
    mode tcp
    maxconn 1000
    # The machines are neighbours; a dead one does not answer at all, and this is how long each try at it lasts.
    timeout connect 400ms
    timeout check 2s
    timeout queue 400ms
    # As long as a session may rest; the kernel finds the dead ones (tcpka).
    timeout client 24h
    timeout server 24h
    option clitcpka
    option srvtcpka
    srvtcpka-idle 10s
    srvtcpka-intvl 5s
    srvtcpka-cnt 3
    # A connection that meets a primary that has just died tries again and again, with the new one as soon as there is one.
    retries 6
    option redispatch 1
    default-server port {rest} check-ssl verify required ca-file /usr/local/etc/haproxy/tls/ca.crt
    default-server fall 2 rise 1 on-marked-down shutdown-sessions tcp-ut 10s{names}
{resolvers}
frontend primary
    bind 127.0.0.1:{primary}
    default_backend primary

# Reads: a standby, and the primary where there is none.
frontend replica
    bind 127.0.0.1:{replica}
    use_backend primary if {{ nbsrv(replica) lt 1 }}
    default_backend replica

backend primary
    option httpchk
    http-check send meth OPTIONS uri /primary ver HTTP/1.1 hdr Host patroni
    http-check expect status 200
{primary_servers}

backend replica
    balance leastconn
    option httpchk
    http-check send meth OPTIONS uri /replica ver HTTP/1.1 hdr Host patroni
    http-check expect status 200
{replica_servers}

frontend stats
    mode http
    bind 127.0.0.1:{stats}
    timeout client 10s
    timeout http-request 5s
    # For the health check: without a primary nothing can be written through here.
    acl no_primary nbsrv(primary) lt 1
    monitor-uri /health
    monitor fail if no_primary
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
    stats uri /
"""

_RESOLVERS = """
resolvers system
    parse-resolv-conf
    hold valid 5s
"""


def haproxy_config(site: Site, host: str) -> str:
    """Return haproxy.cfg: the primary and the standbys as local ports, found by asking Patroni on each member."""
    del host  # the same on every machine
    members = _members(site)

    def servers(interval: str, waiting: str) -> str:
        # The name is checked too: another certificate of the same authority is not a database.
        return "\n".join(
            f"    server {name} {_at(site, name, SQL_PORT)} check inter {interval} downinter {waiting} verifyhost {name}"
            for name in members
        )

    named = [name for name in members if not is_ip(site.machines[name].address)]
    return _HAPROXY.format(
        rest=REST_PORT,
        names=" init-addr last,libc,none resolvers system" if named else "",
        resolvers=_RESOLVERS if named else "",
        primary=PRIMARY_PORT,
        replica=REPLICA_PORT,
        stats=STATS_PORT,
        primary_servers=servers("500ms", "250ms"),
        # Asked less often: each question costs the database a TLS handshake, and a lost standby hurts nobody.
        replica_servers=servers("2s", "2s"),
    )


_PGBOUNCER = """\
; Managed by Pantheon: changes here are overwritten.
[databases]
; Where the pool looks up the passwords of its clients (auth_dbname).
postgres = host=127.0.0.1 port={primary} dbname=postgres pool_size=2
{databases}

[pgbouncer]
listen_addr = {listen}
listen_port = {port}
unix_socket_dir =
pidfile =
logfile =

auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
auth_user = {user}
auth_dbname = postgres
auth_query = SELECT uname, phash FROM pgbouncer.user_lookup($1)
admin_users = {user}
stats_users = {user}

client_tls_sslmode = allow
client_tls_ca_file = /etc/pgbouncer/tls/ca.crt
client_tls_cert_file = /etc/pgbouncer/tls/server.crt
client_tls_key_file = /etc/pgbouncer/tls/server.key
server_tls_sslmode = verify-ca
server_tls_ca_file = /etc/pgbouncer/tls/ca.crt

pool_mode = transaction
max_prepared_statements = 256
max_client_conn = 500
; All pools of all machines together stay below what PostgreSQL admits.
default_pool_size = {size}
max_db_connections = {size}
min_pool_size = 0
reserve_pool_size = 0
; psycopg and JDBC send it; it has no meaning here.
ignore_startup_parameters = extra_float_digits

; A change of the primary: the router cuts connections to the old one. Try again ten times a second, and let clients wait
; for half a minute before they get an error.
server_login_retry = 0.1
; A try that met the dead one holds up all that follow, so it may not last.
server_connect_timeout = 1.5
query_wait_timeout = 30
client_login_timeout = 30
server_check_delay = 5
server_check_query = select 1
server_lifetime = 3600
server_idle_timeout = 600
tcp_keepalive = 1
tcp_keepidle = 10
tcp_keepintvl = 5
tcp_keepcnt = 3
tcp_user_timeout = 10000

log_connections = 0
log_disconnections = 0
log_pooler_errors = 1
log_stats = 0
"""


def pool_size(site: Site) -> int:
    """Return how many connections each pool of each machine may open, so that all together never exceed max_connections.

    A database has two pools, and both may end at the same server: where there is no standby, the primary answers reads.
    """
    limit = int(postgresql_dynamic(site)["postgresql"]["parameters"]["max_connections"])
    pools = max(1, len(placed(site, POOL_SERVICE)))
    lookups = 2 * pools
    share = (limit - KEPT_CONNECTIONS - lookups) // (pools * 2 * max(1, len(_databases(site))))
    return max(1, min(MAX_POOL_SIZE, share))


def pgbouncer_config(site: Site, host: str) -> str:
    """Return pgbouncer.ini: for each database one pool to the primary, and one (NAME_ro) to the standbys."""
    lines = []
    for name in _databases(site):
        lines.append(f"{name} = host=127.0.0.1 port={PRIMARY_PORT} dbname={name}")
        lines.append(f"{name}_ro = host=127.0.0.1 port={REPLICA_PORT} dbname={name}")
    return _PGBOUNCER.format(
        primary=PRIMARY_PORT,
        databases="\n".join(lines) or "; No service has a database yet.",
        listen=_everywhere(site, host).strip("[]"),
        port=POOL_PORT,
        user=POOLER_USER,
        size=pool_size(site),
    )


def pgbouncer_users(site: Site, host: str) -> str:
    """Return userlist.txt: only the pool's own user; PostgreSQL is asked for the passwords of all others."""
    del site, host
    return f'"{POOLER_USER}" "{_secret("postgresql_pooler_password")}"\n'
