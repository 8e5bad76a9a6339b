# `make help` lists the targets. Everything they need, they install into .venv.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
ROOT ?= .
DATA ?=
RETRAIN ?=
NETWORK ?=
STRICT ?=
TORCH ?= auto
export TORCH

BIN := .venv/bin
# A worker more than cores, because many tests wait for a process. Waiting OpenMP threads sleep:
# spinning, those of one worker would slow the others.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Prints the bundle to serve. The service itself finds a used port, so it is checked before long work alone.
RESOLVE = $(BIN)/python -m training resolve-bundle --root "$(ROOT)" $(if $(DATA),--data "$(DATA)") \
	$(if $(filter-out 0,$(PORT)),--url "http://$(HOST):$(PORT)") $(if $(RETRAIN),--retrain) $(if $(STRICT),--strict) \
	$(if $(NETWORK),--network "$(NETWORK)")

.PHONY: help serve check quick test pytest soak bench docs lint format release lock clean

help: ## Say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv/installed ## Serve on HOST:PORT; DATA=FOLDER-OR-ARCHIVE: your images; NETWORK=NAME, RETRAIN=1: another, a new network
	@bundle="$$($(RESOLVE) --no-build)" \
	|| { $(BIN)/python -m service check --host "$(HOST)" --port "$(PORT)" && bundle="$$($(RESOLVE))"; } \
	&& exec $(BIN)/python -m service --bundle "$$bundle" --host "$(HOST)" --port "$(PORT)"

check: .venv/installed-dev ## Check style and types; run the tests that need no process, browser or training
	@$(MAKE) --no-print-directory --jobs 2 lint quick

quick: .venv/installed-dev
	$(PYTEST) -m "not slow" --durations=10

test: .venv/installed-dev ## Check style and types, and run all tests, the long ones in short form
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: .venv/installed-dev
	$(PYTEST) --durations=10

soak: .venv/installed-dev ## Run the long tests in full: 30 kills, 50 reloads, thousands of additions
	SOAK=1 $(BIN)/python -m pytest -m soak --durations=10

bench: .venv/installed .venv-peers/installed ## Measure beside peers; writes docs/performance.md
	@bundle="$$($(BIN)/python -m training resolve-bundle --root "$(ROOT)" $(if $(DATA),--data "$(DATA)"))" \
	&& $(BIN)/python -m benchmarks.serving.backends --bundle "$$bundle" --data "$(or $(DATA),$(ROOT)/data)" \
	&& $(BIN)/python -m benchmarks.serving --bundle "$$bundle" \
	&& $(BIN)/python -m benchmarks.serving.road --bundle "$$bundle" \
	&& $(BIN)/python -m benchmarks.serving.overload --bundle "$$bundle" \
	&& $(BIN)/python -m benchmarks.serving.ingest --bundle "$$bundle" \
	&& $(BIN)/python -m benchmarks.serving.startup --bundle starter --bundle "$$bundle" \
	&& $(BIN)/python -m benchmarks.search --bundle "$$bundle" --data "$(or $(DATA),$(ROOT)/data)"

docs: .venv/installed ## Generate docs/configuration.md from the settings
	$(BIN)/python -m service settings > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

lint: .venv/installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

release: .venv/installed ## Train on DATA and make a bundle of it
	$(BIN)/python -m training release --root "$(ROOT)" $(if $(DATA),--data "$(DATA)")

lock: .venv/installed-dev ## Pin what pyproject.toml asks for, with hashes
	$(BIN)/python -m uv --version >/dev/null
	for lock in "pyproject.toml --extra serve --extra pretrained -o requirements.lock" \
		"pyproject.toml --extra serve --extra pretrained --extra milvus -o requirements-milvus.lock" \
		"pyproject.toml --extra dev -o requirements-dev.lock" \
		"benchmarks/peers.in -o benchmarks/peers.lock"; do \
		$(BIN)/uv pip compile $$lock --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --upgrade; \
	done

clean: ## Remove the environment and everything that was built, but no records
	rm -rf .venv .venv-peers build checkpoints data
	find bundles -mindepth 1 ! -name .gitkeep -delete

# uv installs in a third of the time; where it cannot be had, pip does the same from the same file.
# TORCH=cpu or TORCH=default chooses PyTorch's build; deploy/install.py says what it takes, and why.
.venv/installed: requirements.lock | .venv/bin/python
	@$(call install,requirements.lock)
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	@$(call install,requirements-dev.lock)
	@touch $@

# The peers' environment is made in the same way, and is none of the service's.
.venv-peers/installed: BIN := .venv-peers/bin
.venv-peers/installed: benchmarks/peers.lock | .venv/bin/python
	@.venv/bin/python -m venv .venv-peers
	@$(call install,benchmarks/peers.lock)
	@touch $@

install = { $(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true; } \
	&& $(BIN)/python -m deploy.install $(1)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "kindred needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another: make serve PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
