#!/bin/sh
# Starts HAProxy like the official image: options alone mean haproxy, and haproxy runs as master (-W) in the foreground.
set -eu

case "${1:-}" in
    -*) set -- haproxy "$@" ;;
esac

if [ "${1:-}" = haproxy ]; then
    shift
    set -- haproxy -W -db "$@"
fi

exec "$@"
