# Everything a contributor runs. Each target that needs it makes or completes .venv first.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.edgeq-installed
# One thread a worker: on two cores the suite takes 13 s so, 21 s in one process with two threads, 31 s in two with two each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -rs
# The first interpreter that is new enough; with PYTHON=/path/to/python3, that one or none.
FIND_PYTHON = for python in $(or $(PYTHON),python3.11 python3 python); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; exit 0; }; done; \
	echo "edgeq needs Python 3.11 or newer. Mend: install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1

ENVIRONMENTS := openvino qnn-htp tflm ethos-u55 arm64-ort arm64-tflite tflite-runtime tensorflow ort-cuda

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test nightly environments check build docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make or complete .venv with the versions in constraints.txt

# The build backend goes in first so that it is pinned too (pip's isolated builds take no notice of -c).
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { python="$$($(FIND_PYTHON))" && echo "creating $(VENV) from $$python" && "$$python" -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "installing edgeq and its tools into $(VENV), some minutes the first time"
	@$(BIN)/python -m pip install -qq -c constraints.txt hatchling
	@$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[dev,edge]'
	@touch $@

demo: $(STAMP) ## train, export, run everywhere and report, into demo/
	@$(BIN)/edgeq demo -o demo --overwrite

test: $(STAMP) ## the whole suite but the slow tests
	@$(PYTEST) -m "not slow"

nightly: environments ## the whole suite, slow tests too, on all runtimes that can be set up here
	@$(PYTEST) --timeout 3600

# What cannot be made here (arm64 needs Debian's apt) is said; its tests are skipped with the reason.
environments: $(STAMP) ## make the environments of the runtimes that have one of their own
	@for target in $(ENVIRONMENTS); do $(BIN)/edgeq targets setup "$$target" || true; done

check: $(STAMP) ## lint, format, types and the rules of who may import whom
	@echo "ruff check" && $(BIN)/ruff check --quiet --output-format concise .
	@echo "ruff format" && $(BIN)/ruff format --quiet --check --diff .
	@echo "mypy" && $(BIN)/mypy --no-error-summary
	@echo "pyright" && $(BIN)/pyright --warnings
	@echo "import-linter" && $(BIN)/lint-imports --no-logo

build: $(STAMP) ## sdist and wheel, into dist/
	@$(BIN)/python -m build --no-isolation

docs: $(STAMP) ## write again what is generated from the code
	@$(BIN)/python docs/generate_cli_reference.py
	@$(BIN)/python docs/generate_operators_reference.py
	@$(BIN)/python docs/generate_methods_reference.py

clean: ## remove what the other targets wrote, .venv excepted
	rm -rf dist build demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
