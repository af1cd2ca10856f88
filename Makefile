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

# Every interpreter and SDK version that we support, in throw-away environments under .matrix.
test-matrix:
	$(PYTHON) tests/zero_code/matrix.py

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

bench: $(VENV)/.base
	$(BIN)/python benchmarks/saturation.py

clean:
	rm -rf $(VENV)
