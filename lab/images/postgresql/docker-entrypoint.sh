#!/bin/sh
# Gives the volume to user postgres and becomes that user; Patroni makes and runs the database, nothing is done here.
set -eu

if [ "$(id -u)" = 0 ]; then
    if [ "${1:-}" = patroni ]; then
        # A new volume belongs to root. Only its top: what PostgreSQL made below it has the right owner already, and
        # walking through a big data folder at every start would take long.
        chown postgres:postgres /var/lib/postgresql /var/run/postgresql
        chmod 0750 /var/lib/postgresql
        # Left behind by a container that was killed. It is restarted with its layer, and a socket's lock file that
        # names a process number in use again keeps PostgreSQL from starting.
        rm -f /var/run/postgresql/.s.PGSQL.*
    fi
    export HOME=/var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
fi

exec "$@"
