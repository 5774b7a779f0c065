# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup pantheon.ai.catalog: views of the site for playbooks and templates."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: catalog
short_description: What the catalog says about this inventory
version_added: 0.1.0
description:
  - Reads the service catalog, the overrides in C(catalog) beside the inventory, and the inventory, and returns one view per term.
  - The catalog never enters the host variables, where its cost would grow with the square of the number of machines. Ask for a view where it is
    needed, once per play rather than once per task.
  - Secrets appear by name only, as placeholders.
author:
  - Pantheon contributors (@pantheon)
options:
  _terms:
    description:
      - The views to return.
      - V(services) is the merged catalog by service; V(settings) what a reference to a setting may name; V(placement) the machines per service.
      - V(networks) is the list of networks per service, V(overlay_networks) these networks with their subnets, V(routes) the route table of the
        edge, V(dns) the records, V(prometheus) the scrape targets.
      - V(databases) is what the services want in PostgreSQL, V(models) the wanted models with their machines, V(machines_with_gpu)
        the machines whose owner says that they have graphics cards, V(machines_with_gpu_setup) those of them whose drivers the platform
        looks after, V(gateway_models) the gateway's configuration.
      - V(dns_records), V(dhcp_reservations) and V(firewall_aliases) are what the router should hold, V(pool), V(nas_datasets) and V(nas_shares)
        what the NAS should, as the modules for them take it. V(firewall) is the host's table of nftables, V(machines_by_tier) where each
        tier has something to run. V(mounts) is what the host that asks mounts of the NAS, V(mounts_to_do) the
        machines whose mounts were not seen in order by the call of M(pantheon.ai.machine_state) in this run,
        V(database_cluster_to_do) the machines of the PostgreSQL cluster, unless it was seen in order there.
      - V(encryption) are the encrypted volumes of the host that asks, as the role P(pantheon.ai.encryption#role) takes them,
        V(machines_with_encryption) the machines that have any.
      - V(backup) is what the host that asks backs up and the program that does it, as the role P(pantheon.ai.backup#role) takes it,
        V(backup_machines) the machines that have something to back up and a place for it, V(backup_services) what can be restored with
        the machines of each.
      - V(database_accounts) are the roles with which the members of that cluster sign in to each other. V(rolling_to_look) and V(rolling_to_do) are the
        machines of the data tier that are changed one after the other, see C(playbooks/data.yml).
      - V(secrets) is the specification of the secrets, V(files) the rendered files of the host that asks, with placeholders instead of secrets.
    type: list
    elements: str
    required: true
    choices:
      - backup
      - backup_machines
      - backup_services
      - database_accounts
      - database_cluster_to_do
      - databases
      - dhcp_reservations
      - dns
      - dns_records
      - encryption
      - files
      - firewall
      - firewall_aliases
      - gateway_models
      - machines_by_tier
      - machines_with_encryption
      - machines_with_gpu
      - machines_with_gpu_setup
      - models
      - mounts
      - mounts_to_do
      - nas_datasets
      - nas_shares
      - networks
      - overlay_networks
      - placement
      - pool
      - prometheus
      - rolling_to_do
      - rolling_to_look
      - routes
      - secrets
      - services
      - settings
seealso:
  - module: pantheon.ai.site_check
"""

EXAMPLES = r"""
- name: Show the public names of the platform
  ansible.builtin.debug:
    msg: "{{ lookup('pantheon.ai.catalog', 'routes') | map(attribute='hosts') | flatten }}"

- name: Write the scrape targets
  ansible.builtin.copy:
    content: "{{ lookup('pantheon.ai.catalog', 'prometheus') | to_nice_json }}"
    dest: /etc/prometheus/targets/services.json
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: One view per term.
  type: list
  elements: raw
  sample:
    - - name: litellm
        hosts: [llm.home.arpa]
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.pantheon.ai.plugins.plugin_utils import _appliances as appliances
from ansible_collections.pantheon.ai.plugins.plugin_utils import _catalog as catalog
from ansible_collections.pantheon.ai.plugins.plugin_utils._backup import (
    backed_up,
    backed_up_services,
    backup_view,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    STORAGE_DEFAULTS,
    answer,
    cluster_to_do,
    looks_of,
    storage_key,
    wanted_accounts,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._encryption import machines_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._firewall import firewall
from ansible_collections.pantheon.ai.plugins.plugin_utils._rolling import rolling_to_do, rolling_to_look
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks


class LookupModule(LookupBase):
    """Loads the site once and returns a view per term."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return one view per term."""
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        site = load_site(variables, self._loader)
        host = str(variables.get("inventory_hostname", ""))
        of_this_run = {
            "database_cluster_to_do": cluster_to_do,
            "mounts_to_do": _mounts_to_do,
            "rolling_to_do": rolling_to_do,
            "rolling_to_look": rolling_to_look,
        }
        return [
            of_this_run[term](site, variables) if term in of_this_run else _view(site, str(term), host)
            for term in terms
        ]


def _mounts_to_do(site: Site, variables: dict[str, Any]) -> list[str]:
    """Return the machines whose mounts may need something, as far as this run has looked at them."""
    hostvars = variables.get("hostvars") or {}
    found: dict[str, list[str]] = {"seen": [], "open": [], "unknown": []}
    settings = {name: variables.get(f"storage_{name}", default) for name, default in STORAGE_DEFAULTS.items()}
    for host in site.machines:
        known = hostvars[host] if host in hostvars else {}  # noqa: SIM401 - HostVars has no get
        if "docker_result" not in known:
            found["unknown"].append(host)
            continue
        key = {"mounts": storage_key({"mounts": appliances.mounts_of(site, host), **settings})}
        found["open" if answer(looks_of(known), "storage_mounts", key) is None else "seen"].append(host)
    # Where anybody was looked at, a machine that was not is off or left out.
    return found["open"] if found["open"] or found["seen"] else found["unknown"]


def _view(site: Site, term: str, host: str) -> Any:
    views: dict[str, Any] = {
        "backup": lambda: backup_view(site, host),
        "backup_machines": lambda: backed_up(site),
        "backup_services": lambda: backed_up_services(site),
        "database_accounts": lambda: wanted_accounts(site),
        "databases": lambda: catalog.to_databases(site),
        "dhcp_reservations": lambda: appliances.dhcp_reservations(site),
        "dns_records": lambda: appliances.dns_records(site),
        "encryption": lambda: catalog.encrypted_volumes(site, host),
        "firewall": lambda: firewall(site, host) if host in site.machines else "",
        "firewall_aliases": lambda: appliances.firewall_aliases(site),
        "mounts": lambda: appliances.mounts_of(site, host),
        "nas_datasets": lambda: appliances.nas_datasets(site),
        "nas_shares": lambda: appliances.nas_shares(site),
        "pool": lambda: site.settings.pool,
        "dns": lambda: catalog.to_dns(site),
        "files": lambda: {
            stack["name"]: {file["path"]: file["content"] for file in stack["files"]}
            for stack in render_stacks(site, host)
        },
        "gateway_models": lambda: catalog.gateway_models(site),
        "machines_by_tier": lambda: {
            tier: [name for name in site.machines if catalog.services_on(site, name, [tier])] for tier in catalog.TIERS
        },
        "machines_with_encryption": lambda: [
            name for name in machines_of(site.settings.encryption) if name in site.machines
        ],
        "machines_with_gpu": lambda: [
            name for name, one in site.machines.items() if one.gpu_options.declared != "none"
        ],
        "machines_with_gpu_setup": lambda: [
            name for name, one in site.machines.items() if one.gpu_options.declared != "none" and one.gpu_options.setup
        ],
        "models": lambda: catalog.models_of(site),
        "networks": lambda: {name: catalog.networks_of(site, name) for name in site.services},
        "overlay_networks": lambda: [
            {"name": name, "subnet": subnet} for name, subnet in site.settings.overlay_networks.items()
        ],
        "placement": lambda: {name: catalog.placed(site, name) for name in site.services},
        "prometheus": lambda: catalog.to_prometheus(site),
        "routes": lambda: catalog.to_routes(site),
        "secrets": lambda: catalog.secrets_of(site),
        "services": lambda: site.services,
        "settings": lambda: catalog.settings_of(site),
    }
    if term not in views:
        raise AnsibleLookupError(f"pantheon.ai.catalog: there is no view {term!r}. Use one of: {', '.join(views)}.")
    return views[term]()
