# Every target may be run again at any time; what is there already is left alone.

VENV ?= .venv
STATE ?= /var/lib/pileus
PYTHON ?= python3
GUEST := build/guest/pileus-guest.qcow2
PILEUS = $(VENV)/bin/pileus
export PYTHON

.PHONY: help up down status doctor install image test test-long lint bench promises lock clean

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

up: install image  ## a running cloud, a first guest, how to log in
	@$(PILEUS) doctor --state-dir $(STATE) > build/doctor.txt || { cat build/doctor.txt; exit 1; }
	@$(PILEUS) up --state-dir $(STATE)
	@$(PILEUS) demo --state-dir $(STATE) --image $(GUEST)

down:           ## stop the cloud's process; guests and networks go on
	@$(PILEUS) down --state-dir $(STATE)

status:         ## what runs, and whether it is well
	@$(PILEUS) status --state-dir $(STATE)

doctor: install ## what this machine lacks
	@$(PILEUS) doctor --state-dir $(STATE)

install:        ## Debian packages and Python packages
	@mkdir -p build
	@scripts/system-packages packages.txt guest/packages.txt
	@scripts/python-packages $(VENV) requirements/run.txt

image: install  ## the small guest image
	@guest/build --output build/guest

install-test: image
	@scripts/system-packages packages-test.txt
	@scripts/python-packages $(VENV) requirements/test.txt

test: install-test  ## all tests but the long ones
	$(VENV)/bin/python -m pytest -q -m "not long"

test-long: install-test  ## the tests that take minutes
	$(VENV)/bin/python -m pytest -q -m long

lint: install-test  ## style, types, imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/basedpyright
	$(VENV)/bin/lint-imports

bench: install  ## measure; one table with the machine's description
	$(VENV)/bin/python -m bench

promises: install-test  ## write docs/operate/promises.md from the last runs of the fault tests
	$(VENV)/bin/python -m tests.lab.promises

lock:           ## write requirements/*.txt anew from pyproject.toml
	scripts/lock $(VENV)

clean:          ## remove what was built here (not the cloud)
	rm -rf build $(VENV) .pytest_cache .ruff_cache
