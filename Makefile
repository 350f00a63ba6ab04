# `make help` lists the targets. The first call installs everything into .venv; later calls do not.

PYTHON ?= python3
# More arguments for pip, for example an index of CPU-only torch builds.
PIP_ARGS ?=
# Test processes; each one keeps to a single thread, so that two fill two cores.
JOBS ?= 2

BIN := .venv/bin
STAMP := .venv/.installed
BENCHMARKS = $(filter-out $(addprefix benchmarks/,adaptation.py scaling.py channels.py objective.py call_sites.py common.py kernel_cases.py page.py peers.py targets.py),$(sort $(wildcard benchmarks/*.py)))
C_FILES = $(shell find firmware -name '*.[ch]' -o -name '*.cpp' | sort)
PYTEST = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n $(JOBS)

export PYTHON
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: demo test test-all bench size lint format help clean setup tools

demo: setup ## Train a small transformer in generated C and show what it learned
	$(BIN)/python -m tinytrain.cli.demo

test: setup ## Run the tests (what CI runs)
	$(PYTEST) -m "not matrix and not hardware"

test-all: setup ## Run the tests and the long sweeps
	$(PYTEST) -m "not hardware"

bench: setup ## Measure what the documents claim and print the tables
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

size: setup ## Print on which boards the HAR example fits, and its SRAM and flash there
	$(BIN)/tinytrain plan examples/har.py --all-boards

lint: $(STAMP) ## Check style, types and the format of Python and C
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(C_FILES),$(BIN)/clang-format --dry-run -Werror $(C_FILES))

format: $(STAMP) ## Rewrite Python and C in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

clean: ## Remove what was built and all caches; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Internal: everything a training run and its tests need.
setup: tools $(STAMP)

# Internal: C compilers and QEMU. Cheap when they are there.
tools:
	@.ci/system-packages.sh tools

$(STAMP): pyproject.toml constraints.txt
	@.ci/system-packages.sh python
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt setuptools
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt --no-build-isolation -e '.[test,dev]'
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt --no-deps seglearn scikit-learn
	@touch $@
