#!/bin/sh
# Runs the command. The other image also writes a configuration from variables; here it is always mounted.
set -eu

exec "$@"
