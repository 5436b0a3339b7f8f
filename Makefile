# Everything a person runs. `make demo` and `make test` need Python 3.11, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache
# It goes to a folder of its own, and without it every process that a test or a benchmark starts would be compiled anew.
unexport PYTHONDONTWRITEBYTECODE
# Nothing is written outside this folder.
export TMPDIR := $(CURDIR)/.cache/tmp
export XDG_CACHE_HOME := $(CURDIR)/.cache/xdg
export XDG_CONFIG_HOME := $(CURDIR)/.cache/xdg
# Most tests wait rather than work: more workers than cores.
export WORKERS ?= 4
PYTEST = mkdir -p $(TMPDIR) && PYTHON=$(BIN)/python scripts/test

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml scripts/venv
	@mkdir -p $(TMPDIR)
	@scripts/venv $(PYTHON) $(VENV)
	@touch $@

.PHONY: setup
setup: $(STAMP) ## install the locked dependencies into .venv

.PHONY: demo
demo: $(STAMP) ## run the exporter against an embedded fleet; ARGS="--fault db-down@10"
	@exec $(BIN)/hafnium-exporter demo $(ARGS)

.PHONY: debian
debian:
	@mkdir -p $(TMPDIR)
	@scripts/debian-packages

.PHONY: servers
servers: $(STAMP) debian
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m tests.fixtures.fetch

.PHONY: test
test: $(STAMP) debian ## every test, on real servers; ARGS="-k name"
	@$(PYTEST) $(ARGS)

.PHONY: coverage
coverage: $(STAMP) debian ## the tests again, slower: which lines of exporter/ they run
	@$(BIN)/coverage erase
	@$(PYTEST) --cov --cov-append --cov-report= $(ARGS)
	@$(BIN)/coverage report --skip-covered

.PHONY: e2e
e2e: $(STAMP) debian ## over fifty faults and the pages they lead to, as shipped: docs/e2e.md; ARGS="db-down twice"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m tests.e2e $(ARGS)

.PHONY: check
check: $(STAMP) debian ## ruff, mypy strict, import layers, promtool, generated files up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hafnium-exporter config validate --config config/exporter.yml
	promtool check config --syntax-only alerts/prometheus.yml
	promtool check rules --lint=all --lint-fatal alerts/rules/*.yml
	promtool test rules alerts/tests/*.yml
	amtool check-config alerts/alertmanager.yml
	$(BIN)/hafnium-exporter alerts build --check
	$(BIN)/hafnium-exporter runbook check --config config/exporter.yml
	$(BIN)/python -m exporter.docgen --check

.PHONY: generate
generate: $(STAMP) ## write the metric reference, the JSON Schema, the alerts and the dashboards from code
	$(BIN)/python -m exporter.docgen

.PHONY: boot-table
boot-table: $(STAMP) debian ## write docs/spring-boot.md from the tests against real Spring Boot applications
	@mkdir -p $(TMPDIR)
	@WRITE_BOOT_TABLE=1 $(BIN)/python -m pytest --basetemp=$(TMPDIR)/pytest tests/conformance

.PHONY: pictures
pictures: $(STAMP) debian ## the dashboards during faults, drawn without Grafana: docs/pictures/; 15 minutes
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m pictures $(ARGS)

.PHONY: bench
bench: $(STAMP) debian ## CPU per probe and cost of a scrape, beside peers
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## fuzz every parser of what others write, by coverage; ARGS="resp yaml --seconds 600"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m fuzz $(ARGS)

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url pyproject.toml scripts/build-requirements.in

.PHONY: lock
lock: ## resolve both locks anew (needs uv)
	$(COMPILE) --all-extras --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file requirements.serve.lock

.PHONY: clean
clean: ## remove everything that was made here
	rm -rf $(VENV) .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
