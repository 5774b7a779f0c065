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
        # The repository of the backups belongs to postgres. In the background and not for long: a NAS that is away must not
        # keep the database from starting. Where it is not mounted, nothing can be made there.
        repository=$(sed -n 's/^repo1-path=//p' /etc/pgbackrest/pgbackrest.conf 2>/dev/null || true)
        if [ -n "$repository" ]; then
            (timeout --kill-after=1 10 install -d -o postgres -g postgres -m 0700 "$repository" \
                || echo "the repository of the backups, $repository, is not there: the log waits" >&2) &
        fi
    fi
    export HOME=/var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
fi

exec "$@"
