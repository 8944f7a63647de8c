# Everything sets itself up in .venv; nothing else is needed than python3 (3.11 or newer), python3-venv and make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/ready

.PHONY: help setup demo test check format bench clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP) ## create .venv with InstaInfer and the tools of its developers

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "InstaInfer needs Python 3.11 or newer; call: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "this Python cannot make virtual environments; install the package python3-venv"; exit 1; }
	@echo "setting up .venv (about a minute)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[report,forecast,docker]' --group dev
	@touch $@

demo: $(STAMP) ## deploy real functions, replay a trace on four platforms, show what is saved (DEMO='--full' for all)
	$(BIN)/instainfer demo $(DEMO)

test: $(STAMP) ## every test; the first run builds the example functions' environments (TESTS='tests/unit' for some)
	$(if $(TESTS),,$(BIN)/python -m pytest --numprocesses auto tests/unit tests/property)
	$(BIN)/python -m pytest $(or $(TESTS),tests/contract tests/parity tests/integration tests/attack tests/acceptance)

check: $(STAMP) ## formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(STAMP) ## put the source into its form
	$(BIN)/ruff check --fix --silent; $(BIN)/ruff format

bench: $(STAMP) ## the platform's own cost, with a function that does nothing
	$(BIN)/python benchmarks/overhead.py

clean: ## remove .venv, caches and what the demo wrote
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-out
