# Thin wrappers over plain commands. VENV names the virtual environment they work in.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# processes that share the tests: a number, 0 for none but pytest's own, or auto: one a processor
WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

.PHONY: mnist test test-slow test-all test-peers bench check format clean

# train on MNIST in an environment of its own
mnist: $(VENV)/installed
	$(BIN)/chainrule train mnist

# formatting, lint, types, fast tests
test: $(VENV)/test-installed
	$(MAKE) check
	$(PYTEST) -m "not slow and not peer"

# tests of more than a few seconds each
test-slow: $(VENV)/test-installed
	$(PYTEST) -m "slow and not peer"

# the long tests too; so many random graphs and Programs alone take a quarter of an hour
test-all: $(VENV)/test-installed
	$(MAKE) check
	CHAINRULE_TEST_GRAPHS=10000 CHAINRULE_TEST_PROGRAMS=1000 $(PYTEST) -m "not peer"

# comparisons with PyTorch and scikit-learn, installed if absent
test-peers: $(VENV)/test-installed
	$(BIN)/python -c "import torch, sklearn" 2>/dev/null \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test,peers]"
	$(PYTEST) -m peer

# speed beside PyTorch, JAX and scikit-learn, installed if absent; make bench ARGS="table --quick"
bench: $(VENV)/installed
	$(BIN)/python -c "import torch, sklearn, jax, onnxruntime, onnx" 2>/dev/null \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[bench]"
	$(BIN)/python -m benchmarks $(ARGS)

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis .coverage src/*.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/test-installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[test]"
	touch $@ $(VENV)/installed
