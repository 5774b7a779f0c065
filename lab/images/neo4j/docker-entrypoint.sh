#!/bin/sh
# Gives the volume to user neo4j and becomes that user, as the image of Neo4j does.
set -eu

if [ "$(id -u)" = 0 ]; then
    # Only what is not yet right: a restored volume belongs to root.
    find /data \! -user neo4j -exec chown neo4j:neo4j {} +
    install -d -o neo4j -g neo4j -m 0700 /run/pantheon-neo4j
    exec setpriv --reuid=neo4j --regid=neo4j --clear-groups -- "$0" "$@"
fi

if [ "${1:-}" = neo4j ]; then
    shift
    set -- pantheon-neo4j-api "$@"
fi
umask 0077
exec "$@"
