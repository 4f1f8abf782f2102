# One environment, .venv, made on first use and remade only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,plot,progress,dask,fast,files
# The tests run in two processes: one thread each, so that they do not fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench

help: ## Show this list
	@echo "skelbo: make TARGET   (PYTHON=python3.12 chooses the interpreter for .venv)"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything: library, extras, test and lint tools

demo: $(STAMP) ## Fit every estimator on real data, print the table, write road.png
	$(BIN)/python examples/road.py

test: $(STAMP) ## Run all tests and doctests (ARGS="-k moments" passes options to pytest)
	$(ONE_THREAD) MPLBACKEND=Agg $(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## Run every benchmark, one after another
	@for f in benchmarks/bench_*.py; do \
		if [ -e "$$f" ]; then echo "== $$f"; $(BIN)/python "$$f" || exit 1; fi; \
	done

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "skelbo needs Python >= 3.11, $(PYTHON) is %d.%d; choose another: make PYTHON=python3.12 ..." % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV): some minutes the first time, nothing after that."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@
