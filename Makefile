# make demo   a chat room in the browser        make test   everything that must hold
# make bench  how fast it is, and its peers     BENCH="--only a,b --rounds 9 --plot bench.png"
# make docs   the documentation                 make release-check   what a release must pass
# make compliance  what Autobahn|Testsuite says COMPLIANCE=--all
# make fuzz   inputs that nobody thought of     SECONDS=60 FUZZ="frames uris"
#
# Needs Python >= 3.11, pip, and make; bench needs a C compiler. Each command makes its own
# virtual environment. PYTHON=/path/to/python chooses another interpreter than the one found.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

HOST ?= 127.0.0.1
PORT ?= 8000

# How many runs of the tests take place at the same time: they wait for half of it.
JOBS ?= 8

# CPU time for each target of fuzzing.
SECONDS ?= 60

# Autobahn|Testsuite; another command needs none of ours.
WSTEST = .venv-wstest/bin/wstest

# Which build the tests must find: compiled modules where there is a C compiler that finds
# Python's headers, plain Python where not. PURE runs plain Python in any case.
COMPILER = $(shell $(PYTHON) -c 'import sysconfig as s; print(s.get_config_var("CC") or "cc", \
	"-I" + s.get_path("include"))')
export GEVENTWS_EXPECT := $(if $(GEVENTWS_PURE_PYTHON),pure,$(shell printf '\043include <Python.h>\n' | \
	$(COMPILER) -fsyntax-only -x c - 2>/dev/null && echo compiled || echo pure))
PURE = GEVENTWS_PURE_PYTHON=1 GEVENTWS_EXPECT=pure

# Bytecode is kept: each run of the tests, and each server that they start, would compile it anew,
# which is a third of their time.
unexport PYTHONDONTWRITEBYTECODE

# What the compiled modules are made of.
COMPILED = $(shell find geventws -name '*.p[xy][dx]') \
	$(patsubst %.pxd,%.py,$(shell find geventws -name '*.pxd'))

RUFF = .venv/bin/ruff
RUFF_CHECK = --line-length 100 --target-version py311 --select E,F,W,I,B,UP
RUFF_FORMAT = --line-length 100 --target-version py311
SOURCES = geventws tests examples docs setup.py pytest_geventws.py
PYTEST = .venv/bin/python -m pytest

.PHONY: demo test doors compiled plain libuv core programs lint types coverage \
	coverage-by-module docs bench compliance fuzz faults load dist release-check clean python

demo: .venv-demo/installed
	@.venv-demo/bin/python examples/chat.py --host $(HOST) --port $(PORT)

# Ways in which the same tests must pass, JOBS of them at the same time, the longest first. Each run
# of what does I/O differs from the first, which is how most programs run, in two ways at once. The
# core has no I/O: it runs once in each build. Other libraries, and sessions that are cut off, meet
# the compiled build, which behaves as the plain one does: tests/fuzz and `make compliance` hold
# them together, and `make faults` runs plain Python. The doors are never compiled, and their servers
# run in processes of their own, patched or not: they run once, and so do the examples and the
# command line.
DOORS = tests/wsgi tests/compat
PROGRAMS = tests/cli tests/examples
IO = tests/test_modes.py tests/net tests/compliance tests/testing
WAYS = doors compiled plain libuv core programs types lint

test: .venv/compiled tests/interop/node_modules
	$(MAKE) --jobs=$(JOBS) --output-sync=target $(WAYS)

doors: .venv/compiled
	GEVENTWS_TEST_PATCH=1 $(PYTEST) $(DOORS)

compiled: .venv/compiled
	$(PYTEST) tests/core tests/fuzz $(IO) tests/faults tests/interop

# With loggers at DEBUG, which take another read path.
plain: .venv/installed
	$(PURE) GEVENTWS_TEST_DEBUG=1 $(PYTEST) $(IO) tests/faults tests/load \
	--ignore=tests/faults/test_offsets.py

# Patched, on gevent's other loop.
libuv: .venv/compiled
	GEVENT_LOOP=libuv GEVENTWS_TEST_PATCH=1 $(PYTEST) $(IO)

core: .venv/installed
	$(PURE) $(PYTEST) $(patsubst %,--ignore=%,$(DOORS) $(PROGRAMS) $(IO) tests/faults tests/load \
	tests/interop)

programs: .venv/compiled
	GEVENTWS_TEST_PATCH=1 $(PYTEST) $(PROGRAMS)

# Each kind of fault at each byte of sessions, each kind of interruption at each switch; hundreds
# of WebSockets that servers forget; with other libraries, ten thousand messages of all sizes and
# each combination of the parameters of compression; ten thousand sessions that chance makes.
SESSIONS = tests/faults tests/fuzz/test_stateful.py
faults: .venv/compiled tests/interop/node_modules
	GEVENTWS_TEST_LONG=1 $(PYTEST) $(FOR_LONG) $(SESSIONS) tests/wsgi tests/interop
	GEVENTWS_TEST_LONG=1 GEVENTWS_TEST_PATCH=1 $(PURE) $(PYTEST) $(FOR_LONG) $(SESSIONS)

# Attacks by a thousand, and ten thousand clients for ten minutes; wants a calm machine.
load: .venv/compiled
	GEVENTWS_TEST_LONG=1 $(PYTEST) $(FOR_LONG) -s tests/load

# Their tests take longer than what counts as blocked elsewhere.
FOR_LONG = -o faulthandler_timeout=1800

# What the tests reach of the package in plain Python, in the programs they start, too.
coverage: .venv/installed tests/interop/node_modules
	rm -rf build/coverage && mkdir -p build/coverage
	$(PURE) .venv/bin/coverage run -m pytest
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

# Each module by its own test module.
coverage-by-module: .venv/installed
	.venv/bin/python -m tests.coverage_by_module

lint: .venv/installed
	$(RUFF) check $(RUFF_CHECK) $(SOURCES)
	$(RUFF) format --check $(RUFF_FORMAT) $(SOURCES)

types: .venv/installed
	.venv/bin/mypy

docs: .venv/docs
	$(PURE) .venv/bin/sphinx-build -W --keep-going -b html docs docs/_build

# The sdist, a wheel compiled here, and one of plain Python, which runs everywhere.
dist: .venv-dist/installed
	rm -rf dist
	.venv-dist/bin/python -m build --outdir dist .
	GEVENTWS_PURE_PYTHON=1 .venv-dist/bin/python -m build --wheel --outdir dist .
	.venv-dist/bin/twine check --strict dist/*

# RELEASE="--pythons 3.11 --kinds newest" checks less.
release-check: dist tests/interop/node_modules
	.venv-dist/bin/python -m tests.release $(RELEASE)

bench: .venv-bench/compiled
	@.venv-bench/bin/python -m tests.bench $(BENCH)

compliance: .venv/compiled $(filter .venv-wstest/%,$(WSTEST:bin/wstest=installed))
	.venv/bin/python -m tests.compliance --wstest "$(WSTEST)" $(COMPLIANCE)

fuzz: .venv-fuzz/compiled
	.venv-fuzz/bin/python -m tests.fuzz --seconds $(SECONDS) $(FUZZ)

clean:
	rm -rf .venv .venv-demo .venv-bench .venv-dist .venv-wstest .venv-fuzz build dist *.egg-info
	rm -rf docs/_build .coverage
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find geventws -name "*.so" -delete

python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python >= 3.11 was not found: install it, or say make PYTHON=/path/to/python3.11"; \
	exit 1; } >&2

# $(call environment,folder,what pip installs,variables): a fresh virtual environment.
define environment
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1) && $(1)/bin/python -m pip --version >/dev/null || { echo "$(PYTHON)" \
	"cannot make a virtual environment with pip: install its venv module (on Debian and Ubuntu:" \
	"apt-get install python3-venv)"; rm -rf $(1); exit 1; } >&2
	$(3) $(1)/bin/python -m pip install --quiet $(2)
	@touch $(1)/installed
endef

# $(call compile,folder): compiles what has changed, in the checkout.
define compile
	$(1)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $(1)/compiled
endef

.venv-demo/installed: setup.cfg setup.py pyproject.toml $(shell find geventws -name '*.py') | python
	$(call environment,.venv-demo,.)

.venv/installed: setup.cfg setup.py pyproject.toml | python
	$(call environment,.venv,--editable .[test],GEVENTWS_PURE_PYTHON=1)

.venv/compiled: $(COMPILED) | .venv/installed
	$(call compile,.venv)

.venv-bench/installed: setup.cfg setup.py pyproject.toml | python
	$(call environment,.venv-bench,--editable .[bench],GEVENTWS_PURE_PYTHON=1)

.venv-bench/compiled: $(COMPILED) | .venv-bench/installed
	$(call compile,.venv-bench)

.venv-dist/installed: | python
	$(call environment,.venv-dist,build twine)

.venv-fuzz/installed: setup.cfg setup.py pyproject.toml | python
	$(call environment,.venv-fuzz,--editable .[fuzz],GEVENTWS_PURE_PYTHON=1)

.venv-fuzz/compiled: $(COMPILED) | .venv-fuzz/installed
	$(call compile,.venv-fuzz)

.venv-wstest/installed: tests/compliance/requirements.txt tests/compliance/install.py | python
	$(PYTHON) -m tests.compliance.install .venv-wstest
	@touch $@

# Node's ws, a peer of the interoperability tests, which are skipped where it is not.
tests/interop/node_modules: tests/interop/package.json
	@if command -v npm >/dev/null; then \
	npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/interop && touch $@; \
	else echo "npm was not found: Node's ws is not tested"; fi

.venv/docs: .venv/installed
	.venv/bin/python -m pip install --quiet --editable .[docs]
	@touch $@
