#!/usr/bin/env bash
# Run ansible-test on a copy: it needs a path that ends in ansible_collections/pantheon/ai and no git checkout above it.
# In place it would say "success" without having checked a file.
#
#   tools/ansible_test.sh sanity --local --python 3.11
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

copy=$stage/ansible_collections/pantheon/ai
mkdir -p "$copy"
cd "$root"
# Only what belongs to the collection: the programs around it (lab, services, tools) are checked by the linters. A file that
# is deleted and not yet committed is listed and is not there.
git ls-files -co --exclude-standard -z -- \
  CHANGELOG.md LICENSE README.md catalog changelogs galaxy.yml meta playbooks plugins requirements.yml roles \
  tests/integration tests/sanity tests/unit ':!tests/unit/lab' |
  while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
  xargs -0 cp --parents -t "$copy"
[ -n "$(ls -A "$copy/plugins/modules")" ] || { echo "nothing was staged from $root" >&2; exit 1; }

# Its environments stay apart from those of the user and survive between runs.
export HOME=$root/.cache/ansible-test
mkdir -p "$HOME/.ansible/test/cache"
cp tools/get_pip.py "$HOME/.ansible/test/cache/get_pip_24_2.py"
export PATH=$root/.venv/bin:$PATH

cd "$copy"
ansible-test "$@"
