# The two commands of the README, and what a contributor runs. Everything is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: serve test check lint types test-slow bench bench-gpu sapling clean

serve: $(VENV)/.serve
	$(BIN)/espalier serve $(ARGS)

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

check: $(VENV)/.test lint types
	$(BIN)/python -m pytest -q -m "not slow" --ignore tests/e2e $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m bench smoke --json bench/results/smoke.json
	$(BIN)/python -m bench prefix --json bench/results/prefix.json
	$(BIN)/python -m bench sapling --json bench/results/sapling.json

bench-gpu:
	$(PYTHON) -m bench.gpu $(ARGS)

sapling: $(VENV)/.bench
	$(BIN)/python fixtures/make_sapling.py $(ARGS)

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.serve: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/python -m grammars
	touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m grammars
	touch $@ $(VENV)/.serve

$(VENV)/.bench: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench]'
	touch $@ $(VENV)/.test $(VENV)/.serve

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
