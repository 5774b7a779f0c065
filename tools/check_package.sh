#!/usr/bin/env bash
# Build the collection, install the tarball in an empty folder, and use it there: what somebody without a checkout gets.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=$root/.venv/bin:$PATH

# A copy of what is tracked or new, so that nothing ignored gets into the tarball.
mkdir "$work/source"
cd "$root"
git ls-files -co --exclude-standard -z -- ':!collections' |
  while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
  xargs -0 cp --parents -t "$work/source"
cd "$work/source"
ansible-galaxy collection build --output-path "$work"

# Elsewhere, with an own configuration: inside the checkout Galaxy would say "Nothing to do".
cd "$work"
printf '[defaults]\ncollections_path = %s/installed\n' "$work" > ansible.cfg
export ANSIBLE_CONFIG=$work/ansible.cfg
ansible-galaxy collection install --no-deps --offline --collections-path "$work/installed" "$work"/pantheon-ai-*.tar.gz
installed=$work/installed/ansible_collections/pantheon/ai

if [ -n "$(find "$installed" -name secrets.yml -path '*inventories*' -o -name .vault-password -o -name .lab)" ]; then
  echo "the tarball carries files of the owner" >&2
  exit 1
fi

# ansible-doc fails on a module that is not documented; the count shows that it saw them.
mapfile -t modules < <(find "$installed/plugins/modules" -name '[a-z]*.py' -printf 'pantheon.ai.%f\n' | sed 's/\.py$//' | sort)
[ "${#modules[@]}" -gt 0 ] || { echo "the tarball has no modules" >&2; exit 1; }
ansible-doc --type module --json "${modules[@]}" > docs.json
python - "${modules[@]}" <<'PYTHON'
import json
import sys

documented = json.load(open("docs.json", encoding="utf-8"))
missing = [name for name in sys.argv[1:] if not documented.get(name, {}).get("doc")]
if missing:
    sys.exit(f"not documented: {', '.join(missing)}")
print(f"documented: {', '.join(sys.argv[1:])}")
PYTHON

# The catalog is found from the installed place, and a playbook is found by its name.
[ -f "$installed/catalog/service.schema.json" ] || { echo "the tarball has no catalog" >&2; exit 1; }
printf 'machines:\n  hosts: {one: {}}\n' > hosts.yml
ansible-playbook -i hosts.yml --syntax-check pantheon.ai.site
