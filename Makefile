# One environment, .venv, made on first use and remade only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,plot,progress,dask,fast
# The tests run in two processes: one thread each, so that they do not fight over the cores. The
# small networks of the demo are as fast with one thread as with two.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 MPLBACKEND=Agg
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest
# The last -m counts: ARGS='-m ""' makes a target of the fast tests one of all tests.
FAST := -m "not slow and not long"
OLDEST := .venv-oldest

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-fast test-kernels test-oldest lint bench fuzz fuzz-files kill-fits calibration docs

help: ## Show this list
	@echo "skelbo: make TARGET   (PYTHON=python3.12 chooses the interpreter for .venv)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything: library, extras, test and lint tools

demo: $(STAMP) ## Fit every estimator on real data, print the table, write road.png
	$(TEST_ENV) $(BIN)/python $(DEMO_FLAGS) examples/road.py

test: $(STAMP) ## Run the tests and doctests (ARGS="-k moments" passes options to pytest)
	$(PYTEST) $(ARGS)

test-all: $(STAMP) ## Run every test, those of more than ten seconds too
	$(PYTEST) -m "" $(ARGS)

test-fast: $(STAMP) ## Run what takes under a minute: all but the tests marked slow
	$(PYTEST) $(FAST) $(ARGS)

test-kernels: $(STAMP) ## Run the fast tests on the BLAS kernels Haswell and SkylakeX, where they are
	$(TEST_ENV) .ci/kernels $(BIN)/python -m pytest $(FAST) $(ARGS)

# Old versions call what newer ones of their own dependencies have deprecated.
test-oldest: $(OLDEST)/.installed ## Run the fast tests with the oldest versions that pyproject.toml names
	$(TEST_ENV) $(OLDEST)/bin/python -m pytest -W default::DeprecationWarning $(FAST) $(ARGS)

lint: $(STAMP) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## Run every benchmark, one after another
	@for f in benchmarks/bench_*.py; do \
		if [ -e "$$f" ]; then echo "== $$f"; $(BIN)/python "$$f" || exit 1; fi; \
	done

docs: $(VENV)/.docs ## Build the documentation into docs/_build/html; its warnings are errors
	$(TEST_ENV) $(BIN)/python -m sphinx -W --keep-going -q $(ARGS) docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

MINUTES ?= 10
SEED ?= 0
fuzz: $(STAMP) ## Try hostile tables on every estimator (MINUTES=10 SEED=0)
	$(BIN)/python benchmarks/fuzz.py --minutes $(MINUTES) --seed $(SEED) $(ARGS)

N ?= 100000
fuzz-files: $(STAMP) ## Try altered files on from_file of every estimator (N=100000 SEED=0)
	$(BIN)/python benchmarks/fuzz_files.py --n $(N) --seed $(SEED) $(ARGS)

KILLS ?= 20
kill-fits: $(STAMP) ## Kill fits at random moments and resume them (KILLS=20)
	$(BIN)/python benchmarks/kill_fits.py --kills $(KILLS) $(ARGS)

REPLICATIONS ?= 200
calibration: $(STAMP) ## Measure the coverage of 95 % intervals (REPLICATIONS=200)
	$(TEST_ENV) $(BIN)/python benchmarks/bench_calibration.py --replications $(REPLICATIONS) $(ARGS)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "skelbo needs Python >= 3.11, $(PYTHON) is %d.%d; choose another: make PYTHON=python3.12 ..." % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV): some minutes the first time, nothing after that."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

# Every lower bound of pyproject.toml, as an equality. torch alone comes from constraints.txt: its
# older versions are to be had as a CPU build only from an index of their own.
$(OLDEST)/.installed: pyproject.toml constraints.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	sed -nE 's/^(torch==.*)/\1/p' constraints.txt > $(OLDEST)/constraints.txt
	grep -oE '"[a-z-]+(\[[a-z]+\])?>=[0-9.]+"' pyproject.toml | sed -E 's/"|\[.*\]//g; s/>=/==/' \
		| grep -v '^torch==' >> $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check --only-binary=:all: \
		-c $(OLDEST)/constraints.txt -e ".[test]"
	@touch $@
