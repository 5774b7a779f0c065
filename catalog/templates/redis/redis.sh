#!/bin/sh
# Starts Redis or a sentinel, and says how they are: redis.sh server | sentinel | server-health | sentinel-health
# For backups (docs/backup.md): redis.sh dump | count in the running container, redis.sh load | drill in one of its own.
#
# Which Redis is the master is for the sentinels to decide, and they decide anew at any time. So the managed files are
# read-only and say nothing about it; what is written at run time lies in /data, and is made anew here at each start from
# the managed file and from what the sentinels say now.
set -eu

managed=${REDIS_MANAGED:-/usr/local/etc/redis}
data=${REDIS_DATA:-/data}
name=pantheon
# Seconds. So long Redis waits for the sentinels; and so long it is not made the master unless it has met the present one
# since its start, because its data may be old.
patience=60

# Lines of the topology: KIND ADDRESS PORT, KIND being self, redis or sentinel; the first redis is the first master.
of_kind() {
    while read -r kind address port; do
        if [ "$kind" = "$1" ]; then echo "$address $port"; fi
    done < "$managed/topology"
}

# The password is in REDISCLI_AUTH. A machine that is off must not hold anything up, nor end this script: it says nothing,
# and each caller looks at what was said; an empty answer never counts as a good one.
ask() {
    host=$1
    shift
    timeout 2 redis-cli -t 1 -h "${host% *}" -p "${host#* }" --user health "$@" < /dev/null 2> /dev/null || true
}

# EPOCH ADDRESS PORT of the master as each sentinel that answers knows it, the newest first.
sentinels_say() {
    # All at once; sort waits for the last of them.
    of_kind sentinel | while read -r host; do
        ask "$host" sentinel master "$name" | awk '
            NR % 2 { field = $0; next }
            { value[field] = $0 }
            END { if (value["ip"] != "") print value["config-epoch"], value["ip"], value["port"] }' &
    done | sort -rn
}

# ADDRESS PORT of a Redis that is a master; of two, of the one with more replicas.
acting_master() {
    of_kind redis | while read -r host; do
        ask "$host" info replication | tr -d '\r' | awk -F : -v host="$host" '
            { value[$1] = $2 }
            END { if (value["role"] == "master") print value["connected_slaves"], host }'
    done | sort -rn | awk 'NR == 1 { print $2, $3 }'
}

declared() { of_kind redis | grep -qxF "$1"; }

count() { wc -l | tr -d ' '; }

# -- the server ------------------------------------------------------------------------------------------------------

# ADDRESS PORT of the master that this Redis belongs to.
choose_master() {
    self=$(of_kind self)
    first=$(of_kind redis | head -n 1)
    if [ "$(of_kind redis)" = "$self" ]; then
        echo "$self"
        return
    fi
    sentinels=$(of_kind sentinel | count)
    deadline=$(($(date +%s) + patience))
    told=
    while :; do
        said=$(sentinels_say)
        master=$(echo "$said" | awk 'NF == 3 { print $2, $3; exit }')
        reason=
        if [ "$(echo "$said" | grep -c .)" -gt $((sentinels / 2)) ]; then
            : > "$data/sentinels"
            # A master without its data would empty its replicas. While one is there the sentinels make it the master
            # instead, since nobody answers here yet.
            if [ "$master" = "$self" ] && [ ! -d "$data/appendonlydir" ] && [ "$(others_with_data)" -gt 0 ]; then
                reason="has lost its data and waits for a replica that has it to take over"
            fi
        elif [ "$sentinels" -gt 0 ] && [ -e "$data/sentinels" ]; then
            # There may have been a failover that this one knows nothing of.
            reason="waits for more than half of the sentinels"
        fi
        if [ -z "$reason" ] || [ "$(date +%s)" -ge "$deadline" ]; then break; fi
        if [ "$reason" != "$told" ]; then echo "Redis $self $reason." >&2; fi
        told=$reason
        sleep 1
    done
    if [ -z "$master" ] && [ -e "$data/redis.conf" ]; then
        # No sentinel answers, or there never was one: it is what it was. Redis writes down each change of its role.
        was=$(awk '$1 == "replicaof" || $1 == "slaveof" { print $2, $3 }' "$data/redis.conf" | tail -n 1)
        master=${was:-$self}
        if [ "$master" != "$self" ] && ! declared "$master"; then master=; fi
    fi
    echo "${master:-$first}"
}

# Those that answer and have some; grep fails on one that is empty. One that is off is not waited for: what it holds are caches
# and sessions, and it copies the master when it is back.
others_with_data() {
    of_kind redis | grep -vxF "$self" | while read -r host; do
        ask "$host" info keyspace | grep '^db' || true
    done | count
}

start_server() {
    self=$(of_kind self)
    master=$(choose_master)
    umask 077
    # A user for this script alone, with a password that lives as long as this container runs.
    local_password=$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')
    {
        cat "$managed/users.acl"
        echo "user local on >$local_password resetkeys resetchannels -@all +info +config|set +sync +psync +replconf"
    } > "$data/users.acl"
    {
        echo "include $managed/redis.conf"
        if [ "$master" != "$self" ]; then
            echo "replicaof $master"
            echo "replica-priority 0"
        fi
    } > "$data/redis.conf.new"
    mv "$data/redis.conf.new" "$data/redis.conf"
    echo "Redis $self starts, the master is $master."
    # The server itself, not the image's start script: that one adds modules to the command line. It is a child of this
    # shell, which stays the first process of the container: what settles beside it would be left over as a dead process.
    redis-server "$data/redis.conf" &
    server=$!
    # The server may have ended by itself just before.
    trap 'kill -TERM "$server" 2> /dev/null || true' TERM INT
    if [ "$master" != "$self" ]; then settle & fi
    while :; do
        code=0
        wait "$server" || code=$?
        # A signal ends the waiting, not the server.
        kill -0 "$server" 2> /dev/null || exit "$code"
    done
}

# Lets the sentinels make this replica the master, as soon as it has the present master's data or none is to be had.
settle() {
    deadline=$(($(date +%s) + patience))
    while kill -0 "$server" 2> /dev/null; do
        sleep 0.5
        state=$(as_local info replication | tr -d '\r')
        case $state in
            *role:master* | *master_link_status:up*) ;;
            *master_sync_in_progress:0*) if [ "$(date +%s)" -lt "$deadline" ]; then continue; fi ;;
            *) continue ;;
        esac
        # An order that was lost is given again: with priority 0 this replica would never take over.
        if as_local config set replica-priority 100 | grep -qx OK; then return; fi
    done
}

# Says nothing where ask says nothing, for the same reason.
as_local() {
    REDISCLI_AUTH=$local_password timeout 2 redis-cli -t 1 -h "${self% *}" -p "${self#* }" --user local "$@" \
        < /dev/null 2> /dev/null || true
}

# A master must take a write: one that loads its file or is out of disk space answers PING. A replica must have its master.
server_health() {
    self=$(of_kind self)
    state=$(ask "$self" info replication | tr -d '\r')
    case $state in
        *role:master*) ask "$self" set pantheon:health ok ex 60 | grep -qx OK ;;
        *master_link_status:up*) ;;
        *) return 1 ;;
    esac
}

# -- the sentinel ----------------------------------------------------------------------------------------------------

# One value of what a sentinel has written down.
written() {
    if [ -e "$data/sentinel.conf" ]; then
        awk -v key="$1" -v at="$2" '$1 == "sentinel" && $2 == key { found = $at } END { print found }' "$data/sentinel.conf"
    fi
}

start_sentinel() {
    self=$(of_kind self)
    first=$(of_kind redis | head -n 1)
    # Its own memory, or that of another one that has seen a later failover.
    address=$(written monitor 4)
    epoch=$(written config-epoch 4)
    epoch=${epoch:-0}
    master=${address:+$address $(written monitor 5)}
    best=$(sentinels_say | head -n 1)
    if [ -n "$best" ] && { [ -z "$master" ] || [ "${best%% *}" -gt "$epoch" ]; }; then
        epoch=${best%% *}
        master=${best#* }
    fi
    # Nobody remembers anything, or what is remembered is a machine that no longer belongs to the platform and is gone.
    if [ -z "$master" ] || { ! declared "$master" && [ -z "$(ask "$master" ping)" ]; }; then
        master=$(acting_master)
        master=${master:-$first}
    fi
    current=$(written current-epoch 3)
    current=${current:-0}
    if [ "$current" -lt "$epoch" ]; then current=$epoch; fi
    leader=$(written leader-epoch 4)
    umask 077
    {
        # Members and settings as managed, the master and the epochs as they are.
        awk -v master="$master" '
            $1 == "sentinel" && $2 == "monitor" { print $1, $2, $3, master, $6; next }
            { print }' "$managed/sentinel.conf"
        of_kind redis | grep -vxF "$master" | while read -r host; do echo "sentinel known-replica $name $host"; done
        echo "sentinel config-epoch $name $epoch"
        echo "sentinel leader-epoch $name ${leader:-0}"
        echo "sentinel current-epoch $current"
    } > "$data/sentinel.conf.new"
    mv "$data/sentinel.conf.new" "$data/sentinel.conf"
    echo "The sentinel $self starts, the master is $master."
    exec redis-sentinel "$data/sentinel.conf"
}

sentinel_health() {
    ask "$(of_kind self)" sentinel get-master-addr-by-name "$name" | grep -q .
}

# -- backups -----------------------------------------------------------------------------------------------------------

# Only keys without an end: the others go by themselves, also between a backup and its trial.
counted() {
    awk -F '[=,]' '/^db0:/ { keys = $2; ends = $4 } END { printf "{\"keys\": %d}\n", keys - ends }'
}

count_keys() {
    state=$(ask "$(of_kind self)" info keyspace | tr -d '\r')
    case $state in
        *Keyspace*) echo "$state" | counted ;;
        *) echo "Redis does not answer." >&2; return 1 ;;
    esac
}

# The data as a replica gets them, as an RDB file. A replica leaves that to its master.
dump() {
    self=$(of_kind self)
    local_password=$(sed -n 's/^user local on >\([0-9a-f]*\) .*/\1/p' "$data/users.acl")
    state=$(as_local info replication | tr -d '\r')
    case $state in
        *role:master*) ;;
        *role:slave*) echo '{"skip": "a replica; the master is backed up"}'; exit 75 ;;
        *) echo "Redis does not answer." >&2; return 1 ;;
    esac
    REDISCLI_AUTH=$local_password redis-cli -h "${self% *}" -p "${self#* }" --user local --rdb -
}

# A Redis on the data alone, that nobody reaches but this script.
socket=/tmp/backup.sock

start_alone() {
    umask 077
    redis-server --port 0 --unixsocket "$socket" --dir "$data" --dbfilename backup.rdb --save "" "$@" >&2 &
    alone=$!
    while ! alone_says ping | grep -qx PONG; do
        if ! kill -0 "$alone" 2> /dev/null; then
            echo "Redis does not start on these data." >&2
            return 1
        fi
        sleep 0.2
    done
}

alone_says() { redis-cli -s "$socket" "$@" < /dev/null 2> /dev/null | tr -d '\r'; }

stop_alone() {
    alone_says shutdown nosave > /dev/null || true
    wait "$alone"
}

# The server of the platform reads an append-only file, so the RDB file is made one.
load() {
    cat > "$data/backup.rdb"
    start_alone --appendonly no
    alone_says config set appendonly yes | grep -qx OK
    while state=$(alone_says info persistence) && echo "$state" | grep -q '^aof_rewrite_\(in_progress\|scheduled\):1'; do
        sleep 0.2
    done
    if ! echo "$state" | grep -qx aof_last_bgrewrite_status:ok; then
        echo "Redis could not write its append-only file." >&2
        return 1
    fi
    stop_alone
    rm "$data/backup.rdb"
}

drill() {
    start_alone --appendonly yes
    alone_says info keyspace | counted
    stop_alone
}

# --------------------------------------------------------------------------------------------------------------------

case ${1:-} in
    server | sentinel | load | drill)
        if [ "$(id -u)" = 0 ]; then
            chown redis:redis "$data"
            exec setpriv --reuid=redis --regid=redis --clear-groups -- sh "$0" "$@"
        fi
        cd "$data"
        trap 'exit 143' TERM INT
        case $1 in
            load | drill) "$1" ;;
            *) "start_$1" ;;
        esac
        ;;
    dump) dump ;;
    count) count_keys ;;
    server-health) server_health ;;
    sentinel-health) sentinel_health ;;
    *)
        echo "usage: redis.sh server | sentinel | server-health | sentinel-health | dump | count | load | drill" >&2
        exit 64
        ;;
esac
