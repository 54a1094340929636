# make demo   environment, teacher and student on digits, dashboard
# make test   environment, Chromium and PostgreSQL for the tests, ruff, mypy, pytest
# make lint   ruff and mypy alone
# make long   the tests that take many minutes; they write benchmarks/results/
# make clean  removes the environment and the caches; the workspace stays

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KD_HOME ?= $(CURDIR)/kd-workspace
export KD_HOME

DEMO := --dataset digits --teacher resnet8x4 --student mobilenetv3_small --method kd
DEMO_RUN := $(KD_HOME)/runs/demo

.PHONY: demo test test-pages lint long clean chromium postgres

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

# One part after the other: what starts servers and trainers of its own wants the cores for itself. Side by side the last
# two took twice as long as one after the other.
test: lint chromium postgres
	$(BIN)/pytest -n 2 --dist loadfile -m "not long and not counts and not processes and not browser"
	$(BIN)/pytest -m "processes and not browser and not long and not counts"
	$(MAKE) --no-print-directory test-pages

# Two dashboards at a time; at the end the count of handlers and controls that no test has reached.
test-pages: export KD_TEST_NOTES := $(CURDIR)/.pytest_cache/reached
test-pages: $(VENV)/.installed-dev
	rm -rf "$$KD_TEST_NOTES"
	$(BIN)/pytest -n 2 --dist loadfile -m "browser and not long"
	$(BIN)/pytest -m counts

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

long: $(VENV)/.installed-dev
	$(BIN)/pytest -m long

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find app benchmarks kdengine studies tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch and torchvision come from one source, the default package index: mixed builds do not load together.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
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

postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && exit 0; command -v initdb >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; \
	else \
	    echo "make: a test of studies needs PostgreSQL; install it (Debian: sudo apt-get install postgresql)" >&2; exit 1; \
	fi
