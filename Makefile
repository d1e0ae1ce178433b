# Everything a user or a developer does here. `make` alone lists it.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-out
# More than cores: much of a system test is waiting.
JOBS ?= 3
# What is not in the development environment (the GPUs' runtimes cannot be), and pinned in constraints-extra.txt.
EXTRA := vision,onnx-gpu,tensorflow-gpu,quantise
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check up bench lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-7s %s\n", $$1, $$2}'

demo: $(VENV)/all ## the whole system on eight sample clips; ends with a data set and a report in demo-out/
	$(BIN)/hardpose demo --out $(OUT)

test: $(VENV)/dev ## unit, property and system tests (the system tests start a real broker and real workers)
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/dev ## style, types, and the one-way arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

up: $(VENV)/all ## keep broker, workers and Flower running on this machine until Ctrl-C
	$(BIN)/hardpose up

bench: $(VENV)/dev ## measure: exact counts, and times as ratios; writes benchmarks/results/
	$(BIN)/python -m benchmarks

lock: $(VENV)/dev ## write constraints.txt from the development environment, and constraints-extra.txt from the index
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude hardpose > constraints.txt
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --no-build-isolation \
	  --constraint constraints.txt --constraint constraints-extra.txt --report $(VENV)/extra.json '.[$(EXTRA)]'
	$(BIN)/python deploy/lock_extra.py $(VENV)/extra.json

clean: ## remove the environment and what the demo made
	rm -rf $(VENV) demo-out

# Two environments would double the download, so there is one, and `dev` only adds to `all`.
$(VENV)/all: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hardpose needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[all]'
	@touch $@

$(VENV)/dev: $(VENV)/all
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps supervision
	@touch $@
