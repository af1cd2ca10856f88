# Every target makes its own virtual environment on first use; PYTHON picks the interpreter (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: check test test-matrix test-vendors format lint types demo bench clean

check: lint types test

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[server,examples]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/pip install --quiet --editable '.[server,examples,dev]'
	@touch $@

demo: $(VENV)/.base
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# Every interpreter and SDK version that we support, in throw-away environments under .matrix. MATRIX=--ci is what CI
# runs of it, after `make check`.
test-matrix:
	$(PYTHON) tests/zero_code/matrix.py $(MATRIX)

# Real vendors side by side, in throw-away environments under .matrix.
test-vendors:
	$(PYTHON) tests/vendors/run.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# With the peers, in an environment of its own. About ten minutes; `make bench ARGS=--quick` takes two and writes nothing.
$(VENV)-bench/.bench: pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip install --quiet --editable '.[bench]'
	@touch $@

bench: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/suite.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-bench .matrix
