# make demo   environment, teacher and student on digits, dashboard
# make test   environment, Chromium and PostgreSQL for the tests, ruff, mypy, the documentation, pytest
# make lint   ruff and mypy alone
# make long   the tests that take many minutes; they write benchmarks/results/
# make docs   the documentation as a site, docs/_build/index.html; a warning is an error
# make clean  removes the environment and the caches; the workspace stays

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIDE_BY_SIDE := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20
KD_HOME ?= $(CURDIR)/kd-workspace
export KD_HOME

DEMO := --dataset digits --teacher resnet8x4 --student resnet20 --method kd
DEMO_RUN := $(KD_HOME)/runs/demo

.PHONY: demo test ready test-pages lint long docs clean chromium postgres

demo: $(VENV)/.installed
	$(BIN)/kd doctor
	@if grep -qs '"state": "finished"' "$(DEMO_RUN)/status.json"; then \
	    echo "The demo is trained already, as run demo."; \
	elif [ -e "$(DEMO_RUN)/spec.yaml" ]; then \
	    $(BIN)/kd resume demo; \
	else \
	    $(BIN)/kd train $(DEMO) --run-id demo; \
	fi
	$(BIN)/kd ui

# Packages and programs are installed side by side, then lint and documentation; the tests one part after the other,
# each on two cores: side by side the last two took twice as long as one after the other.
test: ready
	$(MAKE) --no-print-directory -j2 lint docs
	$(SIDE_BY_SIDE) -m "not long and not counts and not processes and not browser"
	$(SIDE_BY_SIDE) -m "processes and not browser and not long and not counts"
	$(MAKE) --no-print-directory test-pages

ready:
	$(MAKE) --no-print-directory -j2 $(VENV)/.installed-dev postgres

# Two dashboards at a time; at the end the count of handlers and controls that no test has reached.
test-pages: export KD_TEST_NOTES := $(CURDIR)/.pytest_cache/reached
test-pages: $(VENV)/.installed-dev
	rm -rf "$$KD_TEST_NOTES"
	$(SIDE_BY_SIDE) tests/browser -m "browser and not long"
	$(BIN)/pytest tests/browser -m counts

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

long: $(VENV)/.installed-dev
	$(BIN)/pytest -m long

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . docs/_build
	@echo "docs/_build/index.html"

clean:
	rm -rf $(VENV) docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find app benchmarks kdengine studies tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch and torchvision come from one source, the default package index: mixed builds do not load together.
# Nothing is compiled beforehand: of forty thousand files few are ever imported, and those are compiled then.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[all]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing; the first time this downloads torch and takes a few minutes."

chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	else \
	    echo "make: the browser tests need Chromium; install it (Debian: sudo apt-get install chromium)" >&2; exit 1; \
	fi

postgres: | chromium  # both ask the same package manager, which serves one at a time
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && exit 0; command -v initdb >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; \
	else \
	    echo "make: a test of studies needs PostgreSQL; install it (Debian: sudo apt-get install postgresql)" >&2; exit 1; \
	fi
