# make demo    upscale a sample clip and say where the result lies
# make test    run the tests
# make test-processors  run what must be the same everywhere on stand-ins for other processors, about two minutes
# make container-check  run the steps of the container images in a plain environment
# make check   style, format, types, import rules
# make docs    build the documentation site into build/site, strictly: a link that leads nowhere fails
# make format  let ruff fix style and format
# make cluster  a batch of 10,000 clips on a simulated Ray cluster, write the table of docs/batch.md
# make fuzz    give damaged and hostile files to the command, write the table of docs/reliability.md
# make torture  hurt jobs in many ways for a while, write the table of docs/reliability.md
#
# Nothing needs to be installed first but Python 3.10 or newer (with its venv module).
# PYTHON=... picks the interpreter, PIP_ARGS=... goes to pip, for example
#   make demo PIP_ARGS="--extra-index-url INDEX"   (an index with a smaller torch, without CUDA)
#   make test PYTEST_ARGS="-k reader"
#   make test PYTEST_WORKERS=0   in one process (for a debugger); default: one for each processor, at most 4

VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= auto
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# the first interpreter that runs, is new enough and can make environments
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test test-processors container-check check docs format torture cluster fuzz clean

help:
	@sed -n 's/^# \(make [a-z-]*  .*\)/\1/p' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.10 or newer with the venv module was found."; \
	  echo "Install one (Debian, Ubuntu: apt install python3-venv) or pass PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(PIP_ARGS) "pip>=23.1"

$(VENV)/.demo-installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install $(PIP_ARGS) -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.dev-installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed
	@mkdir -p demo
	$(BIN)/python examples/make_sample_clip.py demo/sample.mp4
	$(BIN)/starvsr upscale demo/sample.mp4 -o demo/sample_x4.mp4 --compare --overwrite
	@echo
	@echo "Done. Look at these:"
	@ls -1 demo/* | sed 's/^/  /'

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

test-processors: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.reliability.processors --short --tests

container-check: $(VENV)/.dev-installed
	$(BIN)/python -m pytest -m "slow or not slow" tests/containers $(PYTEST_ARGS)

check: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.reliability.torture --write docs/reliability.md $(TORTURE_ARGS)

cluster: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.cluster.simulation --write docs/batch.md $(CLUSTER_ARGS)

fuzz: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks.reliability.fuzz --count 2000 --write docs/reliability.md $(FUZZ_ARGS)

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
