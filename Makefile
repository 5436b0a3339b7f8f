# Everything a person runs. `make demo` and `make test` need Python 3.11, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell scripts/python)
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
# The theme's notice about MkDocs 2, which is not used here.
export NO_MKDOCS_2_WARNING := 1
# Most tests wait rather than work: more workers than cores.
export WORKERS ?= 5
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
e2e: $(STAMP) debian ## ninety faults and the pages they lead to, as shipped: docs/e2e.md; ARGS="db-down twice"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m tests.e2e $(ARGS)

.PHONY: check
check: $(STAMP) debian ## ruff, mypy strict, import layers, promtool, generated files up to date, the site's links
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
	$(BIN)/mkdocs build
	$(BIN)/python -m shipping.audit

.PHONY: site
site: $(STAMP) ## the documentation as a site, in .cache/site; it opens from there
	@$(BIN)/mkdocs build
	@echo "file://$(CURDIR)/.cache/site/index.html"

.PHONY: dist
dist: wheel sbom ## everything that is released beside the image

.PHONY: release
release: $(STAMP) ## say what a release would be: VERSION=1.2.3; ARGS=--really makes it
	@$(BIN)/python -m house.release $(VERSION) $(ARGS)

.PHONY: generate
generate: $(STAMP) ## write the metric reference, the JSON Schema, the alerts and the dashboards from code
	$(BIN)/python -m exporter.docgen

.PHONY: boot-table
boot-table: $(STAMP) debian ## write docs/spring-boot.md from the tests against real Spring Boot applications
	@mkdir -p $(TMPDIR)
	@WRITE_BOOT_TABLE=1 $(BIN)/python -m pytest --basetemp=$(TMPDIR)/pytest tests/conformance

.PHONY: pictures
pictures: $(STAMP) debian ## the dashboards during faults, drawn without Grafana: docs/pictures/; half an hour
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m pictures $(ARGS)

.PHONY: bench
bench: $(STAMP) debian ## CPU per probe and cost of a scrape, beside peers
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: wheel
wheel: $(STAMP) ## the wheel and the sdist, made twice and compared, into dist/
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m shipping.wheel dist

.PHONY: sbom
sbom: $(STAMP) ## what is shipped, in CycloneDX, and its licences, into dist/
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m shipping.sbom dist

ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(if $(shell command -v $(engine)),$(engine))))
IMAGE ?= hafnium-exporter
BASE ?= $(shell sed -n 's/^ARG BASE=//p' Dockerfile)

.PHONY: image
image: ## the image, by docker, podman or buildah; IMAGE=name:tag BASE=other@sha256:...
	@[ -n "$(ENGINE)" ] || { echo "no docker, podman or buildah here" >&2; exit 1; }
	@[[ "$(BASE)" =~ @sha256:[0-9a-f]{64}$$ ]] || { echo "BASE=$(BASE) is not pinned: it must end in @sha256:..." >&2; exit 1; }
	@$(ENGINE) build --build-arg BASE=$(BASE) --build-arg VERSION=$(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml) \
	  --build-arg REVISION=$(shell git rev-parse HEAD) --tag $(IMAGE) \
	  $(if $(filter buildah,$(ENGINE)),--format docker) .

.PHONY: image-check
image-check: $(STAMP) debian ## the image, built without an engine on a Debian, and run read-only and without rights
	@$(PYTEST) tests/shipping/test_image.py

.PHONY: fuzz
fuzz: $(STAMP) ## fuzz every parser of what others write, by coverage; ARGS="resp yaml --seconds 600"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m fuzz $(ARGS)

.PHONY: soak
soak: $(STAMP) debian ## the attempts of a day in 19 minutes: does anything grow, fall or stall? ARGS="--seconds 60"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: faults
faults: $(STAMP) debian ## over ninety faults of the exporter itself, and what users see: docs/faults.md; ARGS="frozen killed"
	@mkdir -p $(TMPDIR)
	@$(BIN)/python -m tests.faults $(ARGS)

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url

.PHONY: lock
lock: ## resolve the locks anew (needs uv): all, what is shipped, what builds it
	$(COMPILE) pyproject.toml scripts/build-requirements.in --all-extras --output-file requirements.lock
	$(COMPILE) pyproject.toml --constraint requirements.lock --output-file requirements.serve.lock
	echo hatchling | $(COMPILE) - --constraint requirements.lock --output-file requirements.build.lock

.PHONY: clean
clean: ## remove everything that was made here
	rm -rf $(VENV) .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
