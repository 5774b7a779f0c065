#!/usr/bin/env bash
# Make the environment of a checkout: .venv from the locked requirements, and a vault password. Safe to run again.
#
#   tools/setup.sh          what development and tests need (requirements-dev.txt)
#   tools/setup.sh run      only what a deployment needs (requirements.txt)
set -euo pipefail
cd "$(dirname "$0")/.."

requirements="requirements-dev.txt"
[ "${1:-}" = run ] && requirements="requirements.txt"
stamp=.venv/.installed-$requirements

if [ ! -s .vault-password ]; then
  (umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > .vault-password)
fi

# What development needs contains what a deployment needs.
for installed in "$requirements" requirements-dev.txt; do
  if cmp -s ".venv/.installed-$installed" "$installed"; then
    exit 0
  fi
done

python=""
for candidate in python3 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup: Python 3.11 or newer is needed. On Ubuntu 22.04: apt install python3.11 python3.11-venv" >&2
  exit 1
fi

if ! { [ -x .venv/bin/python ] && .venv/bin/python -m pip --version; } >/dev/null 2>&1; then
  if ! "$python" -m venv --clear .venv 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get install --yes --quiet --no-install-recommends python3-venv
      "$python" -m venv --clear .venv
    else
      echo "setup: python3 cannot make a virtual environment. Remedy: apt install python3-venv" >&2
      exit 1
    fi
  fi
fi

uv=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-dev.txt)
.venv/bin/python -m pip --quiet install "uv==$uv"
# The certificates of the system, so that a network with a certificate authority of its own works.
UV_SYSTEM_CERTS=true UV_LINK_MODE=copy .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement "$requirements"
cp "$requirements" "$stamp"
