# `make test` and `make demo` each set up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test demo check docs clean

test: $(VENV)/installed
	$(BIN)/python -m pytest

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

# Linters, types and import contracts.
check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site in site/; a warning is an error.
docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/zensical build --clean --strict

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mujoco,plot,studies,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo site
