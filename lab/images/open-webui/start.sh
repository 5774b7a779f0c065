#!/usr/bin/env bash
# Starts Open WebUI with the variables of the upstream image: HOST, PORT, WEBUI_SECRET_KEY, UVICORN_WORKERS,
# FORWARDED_ALLOW_IPS.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

# Without a key in the environment one is made and kept; upstream keeps it beside this script, where a new container
# would lose it and sign everybody out. Here it lies with the data.
if [ -z "${WEBUI_SECRET_KEY:-}" ]; then
    key_file=${WEBUI_SECRET_KEY_FILE:-$DATA_DIR/.webui_secret_key}
    if [ ! -s "$key_file" ]; then
        (umask 077 && head -c 24 /dev/urandom | base64 > "$key_file.new" && mv "$key_file.new" "$key_file")
    fi
    WEBUI_SECRET_KEY=$(< "$key_file")
    export WEBUI_SECRET_KEY
fi

exec uvicorn open_webui.main:app \
    --host "${HOST:-0.0.0.0}" \
    --port "${PORT:-8080}" \
    --forwarded-allow-ips "${FORWARDED_ALLOW_IPS:-*}" \
    --workers "${UVICORN_WORKERS:-1}"
