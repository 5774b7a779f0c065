# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis with a replica, its sentinels, its users and the way to the master (private to this collection).

None of these files says which Redis is the master: that is up to the sentinels, and redis.sh asks them. So a changed file
never moves the master.
"""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    SECRET_PLACEHOLDER,
    placed,
    published_port,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

REDIS_SERVICE = "redis"
SENTINEL_SERVICE = "redis-sentinel"
ROUTER_SERVICE = "redis-router"
ENDPOINT = {REDIS_SERVICE: "redis", SENTINEL_SERVICE: "sentinel"}

#: What the sentinels call the one master that they watch.
MASTER_NAME = "pantheon"

#: A master that does not answer for so long is given up; then so long is one attempt at most.
DOWN_AFTER_MS = 2000
FAILOVER_TIMEOUT_MS = 6000

#: A failover lasts about four seconds, and the clients give up after five.
HOLD_MS = 4500

#: The share of a container's memory that data may take; rewriting the file and replicas need the rest.
DATA_PERCENT = 60

#: The users of the platform itself, by name: secret and rules on a Redis. redis.sh adds a user local, with a password that
#: nobody knows. The schema keeps all these names from services.
PLATFORM_USERS = {
    "health": ("redis_health_password", "~pantheon:health resetchannels -@all +ping +info +set"),
    "replication": ("redis_replication_password", "resetkeys resetchannels -@all +psync +replconf +ping"),
    # What Redis's documentation lists for a sentinel.
    "sentinel": (
        "redis_sentinel_password",
        "resetkeys resetchannels &__sentinel__:hello -@all +multi +exec +slaveof +ping +subscribe +publish +role +info "
        + "+config|rewrite +client|setname +client|kill +script|kill",
    ),
}

#: The same on a sentinel, where there are no keys.
SENTINEL_USERS = {
    "health": (
        "redis_health_password",
        "resetchannels -@all +ping +info +sentinel|master +sentinel|masters +sentinel|get-master-addr-by-name "
        + "+sentinel|replicas +sentinel|sentinels +sentinel|ckquorum",
    ),
    "sentinel": (
        "redis_sentinel_password",
        "resetchannels &__sentinel__:hello -@all +ping +publish +client|setname +sentinel|is-master-down-by-addr",
    ),
}

#: What a program does with its own keys. Left out is what looks at, or touches, more than these: listing and counting
#: keys, functions, which are shared, and all administration.
APPLICATION_COMMANDS = (
    "-@all +@connection +@read +@write +@transaction -@scripting -@admin -@dangerous -scan -randomkey -dbsize"
    " +eval +evalsha +script|load +script|exists"
)
CHANNEL_COMMANDS = "+publish +subscribe +unsubscribe +psubscribe +punsubscribe"


#: Ends a check of a Redis at once where the answer is not the expected one; without it HAProxy would wait for more.
_QUIT = "QUIT\\r\\n"


class Server(t.NamedTuple):
    """A Redis or a sentinel: its machine, and where it listens."""

    machine: str
    address: str
    port: int


def servers(site: Site, service: str) -> list[Server]:
    """Return the instances of *service* (redis, redis-sentinel) in the order of the inventory; none where it is left out."""
    if service not in site.services:
        return []
    port = published_port(site.services[service]["endpoints"][ENDPOINT[service]])
    return [Server(host, site.machines[host].address, port) for host in placed(site, service)]


def quorum(site: Site) -> int:
    """Return how many sentinels have to agree: more than half of them."""
    return len(servers(site, SENTINEL_SERVICE)) // 2 + 1


def clients(site: Site) -> list[dict[str, t.Any]]:
    """Return what the placed services declare under ``redis``: user, secret, keys, channels, commands."""
    found = [
        entry
        for service, data in sorted(site.services.items())
        if data.get("redis") and placed(site, service)
        for entry in data["redis"]
        if entry["service"] == REDIS_SERVICE
    ]
    return sorted(found, key=lambda entry: str(entry["user"]))


def redis_config(site: Site, host: str) -> str:
    """Return the managed part of the configuration of the Redis on *host*; redis.sh adds whose replica it is."""
    self = _self(site, REDIS_SERVICE, host)
    memory = site.services[REDIS_SERVICE]["resources"]["memory_mb"]
    return _text(
        "# Managed by Pantheon: changes here are overwritten.",
        f"bind {self.address} 127.0.0.1",
        f"port {self.port}",
        "protected-mode yes",
        # A second database would be a second place for the same key patterns.
        "databases 1",
        "aclfile /data/users.acl",
        "dir /data",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"maxmemory {memory * DATA_PERCENT // 100}mb",
        # Caches carry an end, sessions do not: under pressure caches go first, and nothing else.
        "maxmemory-policy volatile-lru",
        "tcp-keepalive 30",
        f"replica-announce-ip {self.address}",
        f"replica-announce-port {self.port}",
        "masteruser replication",
        f"masterauth {_secret('redis_replication_password')}",
        # A replica that was away for a moment gets what it missed instead of everything.
        "repl-backlog-size 8mb",
        # There is no third one to wait for.
        "repl-diskless-sync-delay 0",
        "repl-timeout 20",
        # Writes go on while the replica is away: with two machines the opposite would stop at each restart of either.
        "min-replicas-to-write 0",
        # Containers are stopped with SIGTERM and have ten seconds.
        "shutdown-timeout 8",
    )


def redis_users(site: Site, _host: str) -> str:
    """Return the users of a Redis, in the form of its aclfile, which knows no comments."""
    lines = ["user default reset off"]
    lines += [_user(name, secret, rules) for name, (secret, rules) in PLATFORM_USERS.items()]
    for entry in clients(site):
        channels = entry.get("channels", [])
        rules = [
            *(f"~{pattern}" for pattern in entry["keys"]),
            "resetchannels",
            *(f"&{pattern}" for pattern in channels),
            APPLICATION_COMMANDS,
            *([CHANNEL_COMMANDS] if channels else []),
            *entry.get("commands", []),
        ]
        lines.append(_user(entry["user"], entry["secret"], " ".join(rules)))
    return _text(*lines)


def redis_topology(site: Site, host: str) -> str:
    """Return what redis.sh needs to know: this Redis, all of them, the first master first, and the sentinels."""
    return _topology(site, REDIS_SERVICE, host)


def sentinel_topology(site: Site, host: str) -> str:
    """Return the same for the sentinel on *host*."""
    return _topology(site, SENTINEL_SERVICE, host)


def sentinel_config(site: Site, host: str) -> str:
    """Return the managed part of the configuration of the sentinel on *host*.

    All members are named, so that one without a memory knows the others, and one that left is forgotten. The address of the
    master is that of a first start; redis.sh puts the present one in its place.
    """
    self = _self(site, SENTINEL_SERVICE, host)
    first = servers(site, REDIS_SERVICE)[0]
    others = [other for other in servers(site, SENTINEL_SERVICE) if other.machine != host]
    return _text(
        "# Managed by Pantheon: changes here are overwritten.",
        f"bind {self.address} 127.0.0.1",
        f"port {self.port}",
        "protected-mode yes",
        "dir /data",
        "aclfile /usr/local/etc/redis/users.acl",
        f"sentinel announce-ip {self.address}",
        f"sentinel announce-port {self.port}",
        f"sentinel myid {sentinel_id(host)}",
        "sentinel sentinel-user sentinel",
        f"sentinel sentinel-pass {_secret('redis_sentinel_password')}",
        "sentinel deny-scripts-reconfig yes",
        f"sentinel monitor {MASTER_NAME} {first.address} {first.port} {quorum(site)}",
        f"sentinel auth-user {MASTER_NAME} sentinel",
        f"sentinel auth-pass {MASTER_NAME} {_secret('redis_sentinel_password')}",
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER_NAME} {FAILOVER_TIMEOUT_MS}",
        f"sentinel parallel-syncs {MASTER_NAME} 1",
        *(
            f"sentinel known-sentinel {MASTER_NAME} {other.address} {other.port} {sentinel_id(other.machine)}"
            for other in others
        ),
    )


def sentinel_users(_site: Site, _host: str) -> str:
    """Return the users of a sentinel."""
    return _text(
        "user default reset off",
        *(_user(name, secret, rules) for name, (secret, rules) in SENTINEL_USERS.items()),
    )


def sentinel_id(machine: str) -> str:
    """Return the name of a sentinel among its own: 40 hexadecimal digits, the same after the loss of its volume."""
    return hashlib.sha1(f"pantheon redis-sentinel {machine}".encode(), usedforsecurity=False).hexdigest()


def redis_router(site: Site, _host: str) -> str:
    """Return the HAProxy configuration that leads each connection to the master.

    The master is the Redis that more than half of the sentinels name, and that says so itself. Its own word alone would not
    do: a master that was cut off goes on to say it. Without sentinels its own word is all there is.
    """
    port = published_port(site.services[ROUTER_SERVICE]["endpoints"]["redis"])
    stats = published_port(site.services[ROUTER_SERVICE]["endpoints"]["stats"])
    nodes = servers(site, REDIS_SERVICE)
    sentinels = servers(site, SENTINEL_SERVICE)
    login = f"  tcp-check send AUTH\\ health\\ {_secret('redis_health_password')}\\r\\n"
    lines = [
        "# Managed by Pantheon: changes here are overwritten.",
        "global",
        "  log stdout format raw local0 notice",
        "  maxconn 2000",
        "defaults",
        "  mode tcp",
        "  log global",
        "  timeout connect 1s",
        "  timeout check 1s",
        # Who listens to a channel may be silent for days.
        "  timeout client 7d",
        "  timeout server 7d",
        "  option clitcpka",
        "  option srvtcpka",
        # Another attempt would meet the same server; the client's next one is held until there is a master.
        "  retries 0",
        "frontend redis",
        f"  bind :{port}",
    ]
    known = [
        f"{{ nbsrv({node.machine}) ge 1 }}"
        + (f" {{ nbsrv(sentinels_for_{node.machine}) ge {quorum(site)} }}" if sentinels else "")
        for node in nodes
    ]
    lines += [
        # While there is no master, a new connection waits for the next one instead of being refused.
        f"  tcp-request inspect-delay {HOLD_MS}ms",
        f"  tcp-request content accept if {' or '.join(known)}",
        "  tcp-request content accept if WAIT_END",
    ]
    lines += [f"  use_backend {node.machine} if {condition}" for node, condition in zip(nodes, known, strict=True)]
    for node in nodes:
        lines += [
            f"backend {node.machine}",
            "  option tcp-check",
            "  tcp-check connect",
            login,
            "  tcp-check expect string +OK",
            f"  tcp-check send INFO\\ replication\\r\\n{_QUIT}",
            "  tcp-check expect string role:master",
            # Who listens to a channel of a machine that lost its power would not notice for a long time.
            "  default-server inter 1s fastinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions",
            "  default-server observe layer4 error-limit 1 on-error mark-down",
            f"  server {node.machine} {_socket(node)} check",
        ]
    for node in nodes if sentinels else []:
        lines += [
            f"backend sentinels_for_{node.machine}",
            "  option tcp-check",
            "  tcp-check connect",
            login,
            "  tcp-check expect string +OK",
            f"  tcp-check send SENTINEL\\ get-master-addr-by-name\\ {MASTER_NAME}\\r\\n",
            f"  tcp-check expect string \\n{node.address}\\r\\n",
            # A sentinel does not know QUIT, so another answer than this one ends with the time for the check.
            "  timeout check 500ms",
            "  default-server inter 500ms fall 2 rise 1",
            *(f"  server {one.machine} {_socket(one)} check" for one in sentinels),
        ]
    lines += [
        "frontend stats",
        f"  bind 127.0.0.1:{stats}",
        "  mode http",
        "  timeout client 10s",
        # For the health check: without a master nobody is let through.
        "  monitor-uri /health",
        f"  monitor fail unless {' or '.join(known)}",
        "  http-request use-service prometheus-exporter if { path /metrics }",
        "  stats enable",
        "  stats uri /",
    ]
    return _text(*lines)


def _self(site: Site, service: str, host: str) -> Server:
    return next(server for server in servers(site, service) if server.machine == host)


def _topology(site: Site, service: str, host: str) -> str:
    self = _self(site, service, host)
    return _text(
        f"self {self.address} {self.port}",
        *(f"redis {one.address} {one.port}" for one in servers(site, REDIS_SERVICE)),
        *(f"sentinel {one.address} {one.port}" for one in servers(site, SENTINEL_SERVICE)),
    )


def _user(name: str, secret: str, rules: str) -> str:
    return f"user {name} on >{_secret(secret)} sanitize-payload {rules}"


def _secret(name: str) -> str:
    return SECRET_PLACEHOLDER.format(name)


def _socket(server: Server) -> str:
    return f"[{server.address}]:{server.port}" if ":" in server.address else f"{server.address}:{server.port}"


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"
