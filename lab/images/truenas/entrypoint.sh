#!/bin/sh
# Starts the simulator as the lab uses it; options given to the container come last and win.
set -eu

mkdir -p /run/ganesha /var/lib/nfs/ganesha
if [ -r "${TRUENAS_CONFIG:-/etc/truenas-simulator/config.json}" ]; then
    set -- --config "${TRUENAS_CONFIG:-/etc/truenas-simulator/config.json}" "$@"
fi

exec python3 -m truenas_simulator \
    --listen 0.0.0.0:443 \
    --control 127.0.0.1:8600 \
    --state /var/lib/truenas-simulator \
    --root /mnt \
    --release "${TRUENAS_RELEASE:-25.10}" \
    --ganesha /run/ganesha/ganesha.conf \
    "$@"
