# From a bare Python to a trained model: `make quickstart`. `make` alone lists the rest.
# All targets share one environment, .venv, which is rebuilt when pyproject.toml or constraints.txt changes.

PYTHON ?= python3.13 python3.12 python3.11 python3  ## the Python for .venv: the first of these that is 3.11 or newer
PIP_ARGS ?=  ## extra arguments for pip, e.g. --extra-index-url URL for another build of torch
RECIPE_ARGS ?=  ## extra arguments for recipe, e.g. --folder runs/mine
TORCH ?=  ## the torch of test-lowest; default: the lowest that pyproject.toml allows
PYTEST_ARGS ?=  ## extra arguments for pytest, e.g. -k gor

VENV    := .venv
STAMP   := $(VENV)/.installed
RUN     := $(VENV)/bin/python -m
# Never resolve torch without its pin: an index may offer another version, gigabytes large.
PIP      = -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)
INSTALL  = $(PIP) --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart recipe ablations test test-slow test-lowest lint format type bench bench-losses bench-data bench-gpu docs dist constraints clean

help:  ## show this list
	@[ ! -t 1 ] || colour='\033[36m' plain='\033[0m'; \
	awk -v form="  $${colour-}%-17s$${plain-} %s\n" 'BEGIN { FS = " *[?]=.*## |:.*## " } \
		/^[a-z-]+:.*## / { printf form, "make " $$1, $$2 } \
		/^[A-Z_]+ [?]=.*## / { variables = variables sprintf(form, $$1 "=...", $$2) } \
		END { printf "\n%s", variables }' $(MAKEFILE_LIST)

quickstart: $(STAMP)  ## train a small embedding model on this machine, start to finish
	$(RUN) lightning_embed fit

QUICK_LOOK = --steps 0.02 --sample 500 --dims '[384]' --precisions '[float32]' --shots 2 --folder runs/recipe-quick
recipe: $(STAMP)  ## the whole recipe: a student, then an adapter for each task; DATA=FOLDER: your data; QUICK=1: a quick look
	$(RUN) lightning_embed recipe examples/recipe/demo.yaml $(if $(DATA),--data '$(DATA)') $(if $(QUICK),$(QUICK_LOOK)) $(RECIPE_ARGS)

ablations: $(STAMP)  ## the paper's four ablations on the demo's models and data; QUICK=1: tiny
	$(VENV)/bin/python examples/ablations/run.py $(if $(QUICK),--quick)

test: $(STAMP)  ## run the tests, except the slow ones
	$(RUN) pytest -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

test-slow: $(STAMP)  ## run the slow tests
	$(RUN) pytest -m slow $(PYTEST_ARGS)

# It compares constraints.txt with what the newest versions depend on.
PINS_TEST = tests/project/test_packaging.py::test_the_dependencies_of_dependencies_are_pinned
# On the lowest Python too, since old versions have no wheels for newer ones; wheels alone, since old sources may no longer build.
test-lowest: PYTHON = python3.11
test-lowest:  ## the tests with the lowest versions that pyproject.toml allows, in a throw-away environment; TORCH=2.13.0: with that torch
	@$(SCRATCH) && \
		"$$scratch/bin/python" $(PIP) packaging && \
		"$$scratch/bin/python" scripts/lowest_versions.py $(if $(TORCH),--torch $(TORCH)) quickstart onnx dev > "$$scratch/lowest" && \
		"$$scratch/bin/python" $(PIP) --only-binary :all: --requirement "$$scratch/lowest" && \
		"$$scratch/bin/python" $(PIP) --no-deps --no-build-isolation --editable . && \
		"$$scratch/bin/python" -m pytest -n auto --maxprocesses 4 --dist worksteal --deselect $(PINS_TEST) $(PYTEST_ARGS)

lint: $(STAMP)  ## check rules and formatting with ruff
	$(RUN) ruff check .
	$(RUN) ruff format --check .

format: $(STAMP)  ## fix what ruff can fix
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

type: $(STAMP)  ## check types with mypy
	$(RUN) mypy

bench: $(STAMP)  ## compare speed, memory, start-up and growth with sentence-transformers; QUICK=1: smaller; DOCS=1: update docs/
	$(VENV)/bin/python benchmarks/all.py $(if $(QUICK),--quick) $(if $(DOCS),--docs)

bench-losses: $(STAMP)  ## time and memory of each loss against the plain formula; QUICK=1: two minutes
	$(VENV)/bin/python benchmarks/losses.py $(if $(QUICK),--quick)

bench-data: $(STAMP)  ## data loader, padding and teacher store, as ratios; QUICK=1: one minute
	$(VENV)/bin/python benchmarks/data.py $(if $(QUICK),--quick)

bench-gpu: $(STAMP)  ## training on a CUDA GPU against its peak and sentence-transformers; TOY=1: toy size on a CPU
	$(VENV)/bin/python -m benchmarks.gpu $(if $(TOY),--toy)

docs: $(STAMP)  ## build the documentation site in site/; a broken link, anchor or reference is an error
	$(RUN) scripts.docs.build

dist: $(STAMP)  ## build sdist and wheel, install the wheel in a bare environment and import every module
	rm -rf build dist *.egg-info
	$(RUN) build --no-isolation
	@$(SCRATCH) && \
		"$$scratch/bin/python" $(INSTALL) dist/*.whl && \
		"$$scratch/bin/python" -I scripts/import_every_module.py

constraints:  ## pin the newest versions that pyproject.toml allows; torch stays as it is
	@$(SCRATCH) && \
		grep '^torch==' constraints.txt > "$$scratch/torch" && \
		"$$scratch/bin/python" $(subst constraints.txt,"$$scratch/torch",$(INSTALL)) setuptools -e '.[quickstart,onnx,docs,dev]' && \
		"$$scratch/bin/python" -m pip freeze --all --exclude pip --exclude lightning_embed > "$$scratch/pins" && \
		{ grep '^#' constraints.txt; sed 's/+.*//' "$$scratch/pins"; } > "$$scratch/new" && \
		cp "$$scratch/new" constraints.txt

clean:  ## remove .venv, builds and caches
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

found = $(shell for python in $(PYTHON); do $$python -c \
	'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
MAKE_ENVIRONMENT = $(or $(found),$(error No Python 3.11 or newer with venv among: $(PYTHON). \
	Install one (on Debian: python3 and python3-venv) or name it: make PYTHON=/path/to/python3)) -m venv
# A throw-away environment for one make recipe, in $$scratch.
SCRATCH = scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && set -x && $(MAKE_ENVIRONMENT) "$$scratch"

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): a few minutes the first time."
	$(MAKE_ENVIRONMENT) $(VENV)
	$(VENV)/bin/python $(INSTALL) setuptools
	$(VENV)/bin/python $(INSTALL) --no-build-isolation --editable '.[quickstart,onnx,docs,dev]'
	@touch $@
