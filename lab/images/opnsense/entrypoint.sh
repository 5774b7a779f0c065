#!/bin/sh
# Starts the simulator as the lab uses it; options given to the container come last and win.
set -eu

config=${OPNSENSE_CONFIG:-/etc/simulator/config.json}
if [ -r "$config" ]; then
    set -- --config "$config" "$@"
fi

mkdir -p /run/opnsense-simulator
exec python3 -m opnsense_simulator \
    --listen 0.0.0.0:443 \
    --control 127.0.0.1:8600 \
    --state /var/lib/opnsense-simulator \
    --release "${OPNSENSE_RELEASE:-26.7}" \
    --lan-address "${LAN_ADDRESS:-auto}" \
    --unbound /run/opnsense-simulator \
    --unbound-address 0.0.0.0,::0 \
    --unbound-port 53 \
    "$@"
