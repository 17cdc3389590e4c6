# `make demo` and `make test` do all of the set-up themselves: they need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt
DEMO_ARGS ?=
# Empty for the newest versions of everything; TORCH then names torch's ("torch==2.9.*").
CONSTRAINTS ?= -c constraints.txt
TORCH ?=
# Bytecode is kept even where the environment says not to: without it each process rewrites every assert, ten seconds.
# worksteal gives a worker neighbouring tests, so that what a file's tests share is made once, and leaves none idle.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist worksteal -q

.PHONY: demo test quick durations lint types strict contracts pytest studies docs gallery dist peers format clean help

help:
	@echo "make demo    train three GAN losses on the digits and judge them (DEMO_ARGS='--seeds 3' ...)"
	@echo "make test    lint, types, import contracts, tests and doctests"
	@echo "make studies the slow tests, which make test leaves out"
	@echo "make quick   lint and one short case of each test, no studies: the inner loop, under a minute"
	@echo "make durations find the cases that are too long for make quick"
	@echo "make strict  types of tests and benchmarks too"
	@echo "make docs    the site, into site/"
	@echo "make gallery run the examples anew and keep their reports and pictures for the site"
	@echo "make dist    wheel and sdist, into dist/"
	@echo "make peers   the measures beside other libraries; fails where a ratio slipped by 20 %"
	@echo "make format  let ruff format the code"

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bayessgd needs Python >= 3.11; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created $(INPUTS)
	$(PIP) install --quiet $(CONSTRAINTS) -e . $(TORCH)
	@touch $@

$(VENV)/.dev: $(VENV)/.created $(INPUTS)
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[dev]' $(TORCH)
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime
	$(BIN)/python examples/gan_metrics.py --overwrite $(DEMO_ARGS)

# What needs one core each runs two at a time, and the tests, which take both, after it.
test:
	$(MAKE) --no-print-directory $(VENV)/.dev
	$(MAKE) --no-print-directory -j2 lint types contracts docs
	$(MAKE) --no-print-directory pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/basedpyright bayessgd gan metrics examples

# Over tests and benchmarks too: two minutes.
strict: $(VENV)/.dev
	$(BIN)/basedpyright

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

pytest: $(VENV)/.dev
	$(PYTEST) -m "not slow" --durations=30 --durations-min=4

# Notebooks, examples and laws that take long to see: a quarter of an hour.
studies: $(VENV)/.dev
	$(PYTEST) -m slow

# Without the checks of shapes, which take more than half of the time and are made by `make test`.
QUICK := --quick --jaxtyping-packages=

quick: lint
	$(PYTEST) $(QUICK)

# Which cases are too long for `make quick`: four minutes, after which tests/long_cases.json tells.
durations: $(VENV)/.dev
	$(PYTEST) $(QUICK) --durations-file tests/long_cases.json

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

gallery: $(VENV)/.runtime
	$(BIN)/python docs/hooks/gallery.py

dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

peers: $(VENV)/.dev
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[bench]'
	$(BIN)/python benchmarks/metrics_speed.py --against benchmarks/results/metrics.md --out out/peers.md

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) site dist .pytest_cache .ruff_cache .hypothesis
