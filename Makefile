# telemetryd's commands. `make demo` and `make test` need Python 3.10+, make and pip's package index, nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The interpreter that makes the virtual environment: python3.11 where there is one.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# torch is named here and not in requirements/constraints.txt, so that one word replaces it: make demo TORCH=torch==2.9.1
TORCH ?= torch==2.13.0
# Passed to pip as it is. Where the package index serves torch with CUDA (gigabytes), take the CPU wheel with
#   make demo PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_ARGS ?=
# Tests run beside each other: most of their time they wait for processes. One at a time: make test JOBS=0
JOBS ?= 3
# Passed to pytest as it is: make test PYTEST_ARGS='-k journal -x'
PYTEST_ARGS ?=
# Passed to the benchmark as it is: make bench BENCH_ARGS='--peers noop,encode,client,wandb,swanlab'
BENCH_ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/constraints.txt $(PIP_ARGS)

.PHONY: help venv demo test lint chaos containers manifests gpu bench bench-more clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# Two stamps in one environment: the demo does not wait for what only the tests need.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "No virtual environment could be made with '$(PYTHON)': on Debian, apt-get install python3-venv" >&2; exit 1; }

$(VENV)/demo.stamp: pyproject.toml requirements/constraints.txt hatch_build.py client/_fastlog.c client/_scalars.c | $(BIN)/python
	@echo "Installing telemetryd with its daemon, torch and scikit-learn into $(VENV) (a minute or two, once) …"
	$(PIP_INSTALL) -e '.[daemon,torch,demo]' '$(TORCH)'
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	@echo "Installing what the tests need …"
	$(PIP_INSTALL) -e '.[all]' '$(TORCH)'
	@touch $@

$(VENV)/manifests.stamp: requirements/manifests.txt $(VENV)/test.stamp
	@echo "Installing what checks deploy/ …"
	$(PIP_INSTALL) -r requirements/manifests.txt
	@touch $@

venv: $(VENV)/test.stamp ## Make the virtual environment with everything in it

demo: $(VENV)/demo.stamp ## Train a small network on real digits, tracked through the sidecar
	$(BIN)/telemetryd run -- $(BIN)/python deploy/examples/train_digits.py

test: $(VENV)/test.stamp ## Run the tests (some minutes; REQUIRE_ALL=1 fails what would be skipped)
	$(BIN)/python -m pytest -m 'not chaos and not bench and not gpu and not containers and not manifests' -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/test.stamp ## Check style, types and the layers of the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/test.stamp ## Run the tests that kill and stop real processes (minutes)
	$(BIN)/python -m pytest -m chaos $(PYTEST_ARGS)

manifests: $(VENV)/manifests.stamp ## Check deploy/: Kubernetes, systemd, Dockerfiles, scripts
	$(BIN)/python -m pytest -m manifests $(PYTEST_ARGS) tests/deploy

containers: $(VENV)/test.stamp ## Build the images, run docker-compose.yml, kill containers (needs a container engine; minutes)
	$(BIN)/python -m pytest -m containers $(PYTEST_ARGS) tests/containers

gpu: $(VENV)/test.stamp ## Run the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

bench: $(VENV)/test.stamp ## Measure log beside other trackers, interleaved; writes bench-out/ (a minute: BENCH_ARGS=--quick)
	$(BIN)/python -m tests.bench --out bench-out --pip-args '$(PIP_ARGS)' $(BENCH_ARGS)
	$(if $(findstring --quick,$(BENCH_ARGS)),$(BIN)/python -m tests.bench.tables --out bench-out --quick)
	$(if $(findstring --quick,$(BENCH_ARGS)),$(BIN)/python -m tests.bench.media --out bench-out --quick)

bench-more: $(VENV)/test.stamp ## Measure tables and media against wandb, interleaved; writes bench-out/
	$(BIN)/python -m tests.bench.tables --out bench-out
	$(BIN)/python -m tests.bench.media --out bench-out

clean: ## Remove the virtual environment, caches and what demo and bench wrote
	rm -rf $(VENV) .venv-bench build dist bench-out wandb .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f client/*.so
	find client telemetryd tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
