# Everything a contributor runs. Each target first makes .venv, or brings what it lacks, and no more than it needs.

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.edgeq-core
EDGE := $(VENV)/.edgeq-edge
TEST := $(VENV)/.edgeq-test
CHECK := $(VENV)/.edgeq-check
DOCS := $(VENV)/.edgeq-docs
RELEASE := $(VENV)/.edgeq-release
# One thread a worker, since two threads each slow two workers down. Blocks of neighbouring tests go
# to one worker, so that few fixtures are made twice; an idle worker takes over half of a block.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -rs
# Strict: a broken link, a page that no index names or a name that is gone is an error (not with --quiet).
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
# The first interpreter that the locks are for; with PYTHON=/path/to/python3, that one or none.
FIND_PYTHON = for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$python"; exit 0; }; done; \
	echo "make needs Python 3.11, 3.12 or 3.13. Hint: install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1

ENVIRONMENTS := openvino qnn-htp tflm ethos-u55 arm64-ort arm64-tflite tflite-runtime tensorflow ort-cuda

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled modules are kept, also where a container forbids it: tests start hundreds of programs, and
# each would compile the runtimes anew, for seconds. Empty means unset.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test nightly environments check build reproduce audit release docs lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(CORE) $(EDGE) $(TEST) $(CHECK) $(DOCS) $(RELEASE) ## make or complete .venv with everything that any target needs

# A stamp is there only when all of its set is: an installation that failed or was stopped goes on at the next make.
$(VENV)/.edgeq-%: requirements/%.txt
	@test -x $(BIN)/python || { python="$$($(FIND_PYTHON))" && echo "creating $(VENV) from $$python" && "$$python" -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python requirements/install.py $*
	@touch $@

$(CORE): pyproject.toml requirements/uv.txt requirements/torch.txt
$(EDGE) $(TEST) $(CHECK) $(DOCS) $(RELEASE): $(CORE)

demo: $(CORE) ## train, export, run everywhere and report, into demo/
	@$(BIN)/edgeq demo -o demo --overwrite

test: $(CORE) $(EDGE) $(TEST) ## the whole suite but the slow tests
	@$(PYTEST) -m "not slow"

nightly: environments $(EDGE) $(TEST) $(RELEASE) ## the whole suite, slow tests too, on all runtimes that can be set up here
	@$(PYTEST) --timeout 3600

# What cannot be made here (arm64 needs Debian's apt) is said; its tests are skipped with the reason.
environments: $(CORE) ## make the environments of the runtimes that have one of their own
	@for target in $(ENVIRONMENTS); do $(BIN)/edgeq targets setup "$$target" || true; done

check: $(CORE) $(EDGE) $(TEST) $(CHECK) $(DOCS) ## lint, format, types, the rules of who may import whom, and the site with its links
	@echo "ruff check" && $(BIN)/ruff check --quiet --output-format concise .
	@echo "ruff format" && $(BIN)/ruff format --quiet --check --diff .
	@echo "mypy, and beside it pyright, import-linter and mkdocs" && \
		{ { $(BIN)/pyright --warnings && $(BIN)/lint-imports --no-logo && $(SITE); } & others=$$!; \
		$(BIN)/mypy --no-error-summary; mypy=$$?; wait $$others && exit $$mypy; }

build: $(CORE) $(RELEASE) ## sdist and wheel, into dist/
	@$(BIN)/python release/building.py

reproduce: $(CORE) $(RELEASE) ## build what is committed twice, in two folders, and compare the bytes
	@$(BIN)/python release/building.py --twice

audit: $(CORE) $(RELEASE) ## look every locked package up in a database of known vulnerabilities; AUDIT="-s osv" for another
	@$(BIN)/python release/audit.py $(AUDIT)

release: $(CORE) $(RELEASE) ## make release VERSION=0.2.0: changelog, version, tag and dist/*; pushes nothing (docs/releasing.md)
	@$(BIN)/python release/tagging.py $(VERSION)

docs: $(CORE) $(DOCS) ## write again what is generated from the code, and build the site, into site/
	@$(BIN)/python docs/generate_cli_reference.py
	@$(BIN)/python docs/generate_operators_reference.py
	@$(BIN)/python docs/generate_methods_reference.py
	@$(BIN)/python docs/generate_lint_reference.py
	@$(BIN)/python docs/generate_devices_reference.py
	@$(BIN)/python docs/generate_gate_reference.py
	@$(BIN)/python docs/generate_schemas.py
	@$(SITE)

lock: $(CORE) ## resolve the ranges of pyproject.toml into requirements/ again; with UPGRADE=1, to the newest versions
	@$(BIN)/python requirements/lock.py

clean: ## remove what the other targets wrote, .venv excepted
	rm -rf dist build demo site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
