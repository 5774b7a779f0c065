#!/bin/sh
# As in the official image: options and Traefik's own subcommands go to traefik, any other command runs as it is.
set -eu

case "${1-}" in
    -* | healthcheck | version) set -- traefik "$@" ;;
    '') set -- traefik ;;
esac

exec "$@"
