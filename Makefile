# `make` lists the targets. None of them holds logic that a playbook or a program of the repository lacks.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Which inventory deploy, verify and password use: make deploy INVENTORY=homelab
INVENTORY ?= lab
# More arguments for ansible-playbook: make deploy ARGS='--limit nyx --check --diff'
ARGS ?=

.PHONY: help setup lab lab-down deploy verify password test lint unit package simulators molecule sanity bench lock changelog clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | \
	  while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:  ## make .venv from the locked requirements, and the vault password
	@tools/setup.sh

lab:  ## raise ten simulated machines on this computer and deploy the platform to them
	@python3 lab/lab up

lab-down:  ## remove everything the lab made, and nothing else
	@python3 lab/lab down

deploy:  ## deploy to INVENTORY (default: lab); more arguments in ARGS
	@tools/setup.sh run
	ansible-playbook -i inventories/$(INVENTORY) site.yml $(ARGS)

verify:  ## ask the platform of INVENTORY from outside whether it works
	@tools/setup.sh run
	ansible-playbook -i inventories/$(INVENTORY) playbooks/verify.yml $(ARGS)

password:  ## print the password of the first account of INVENTORY
	@tools/setup.sh run
	@ansible-vault view inventories/$(INVENTORY)/secrets.yml | \
	  .venv/bin/python -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["open_webui_admin_password"])'

test: setup  ## run every test, the lab included (30 minutes or more); ends with one line of counts
	@python tools/run_tests.py

lint: setup  ## linters and types
	@python tools/run_tests.py lint

unit: setup  ## unit tests of the collection and of the programs
	@python tools/run_tests.py unit

sanity: setup  ## ansible-test sanity on a staged copy
	@python tools/run_tests.py sanity

package: setup  ## build the collection and install the tarball elsewhere
	@python tools/run_tests.py package

simulators: setup  ## modules for router and NAS against simulators of their APIs
	@python tools/run_tests.py simulators

molecule: setup  ## every role on containers: check, converge, idempotence, verify
	@python tools/run_tests.py molecule

bench: setup  ## measure: inventory of 1,000 hosts, router and NAS, and the no-change run against ordinary ways (needs a running lab)
	@python benchmarks/inventory/run.py
	@python benchmarks/appliances/run.py
	@python benchmarks/converge/run.py

lock: setup  ## write requirements.txt and requirements-dev.txt anew from pyproject.toml
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" --quiet --upgrade -o requirements.txt
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet --upgrade -o requirements-dev.txt

changelog: setup  ## write CHANGELOG.md from changelogs/fragments (at a release)
	antsibull-changelog release

clean:  ## remove caches and build output (not .venv, not the lab, not secrets)
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache tests/output pantheon-ai-*.tar.gz
