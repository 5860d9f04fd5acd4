# Each verb sets up .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test fast hard browser coverage demo check format docs clean

# A process for each core; tests of a file share their fixtures, and stay together.
PROCESSES := --numprocesses auto --dist loadfile

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES)

# The tests that need no training: under a minute.
fast: $(VENV)/installed
	$(BIN)/python -m pytest $(PROCESSES) -m 'not slow and not training'

# The pages in a real browser, Chromium or Chrome: apt-get install chromium
browser: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright
	$(BIN)/python -m pytest -m slow tests/study/test_browser.py

# Load and faults: full disks, flipped bytes, kills, hostile files; 15 minutes at most.
hard: $(VENV)/installed
	$(BIN)/python -m pytest -m hard tests/hard

# The whole suite, and the lines that it never ran.
coverage: $(VENV)/installed
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

# Linters, types and import contracts.
check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation as a site in site/; a warning is an error.
docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/zensical build --clean --strict

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mujoco,plot,sepsis,studies,report,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo site
