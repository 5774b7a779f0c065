#!/bin/sh
# Starts Redis like the official image: options or a .conf file alone mean redis-server, and root becomes user redis.
set -e

case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ] || [ "${1:-}" = redis-sentinel ]; then
    if [ "$(id -u)" = 0 ]; then
        # Only what is not yet right: a big data folder is not walked through file by file at every start for nothing.
        find . \! -user redis -exec chown redis:redis {} +
        exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
    fi
    umask 0077
fi

# The official image is compiled with protected mode off by default; a container's loopback is of no use to anyone.
# A setting of the user's, on the command line or in the file, wins.
if [ "${1:-}" = redis-server ]; then
    mentioned=no
    case " $* " in *protected-mode*) mentioned=yes ;; esac
    case "${2:-}" in
        "" | -*) ;;
        *) if grep -qi '^[[:space:]]*protected-mode' "$2"; then mentioned=yes; fi ;;
    esac
    if [ "$mentioned" = no ]; then
        set -- "$@" --protected-mode no
    fi
fi

exec "$@"
