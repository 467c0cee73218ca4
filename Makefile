# Two commands for newcomers: `make quickstart` and `make test`. The rest is for those who work on mtlab.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A package index for torch alone, such as https://download.pytorch.org/whl/cpu where there is no GPU.
TORCH_INDEX ?=
# One process per core with one thread each is fastest on CPUs, in tests as in training.
export OMP_NUM_THREADS ?= 1

.PHONY: help quickstart test test-all lint types audit architecture managers schemas docs release-notes bench bench-gpu performance faults clean

help:
	@echo "make quickstart   install into $(VENV) and run a first comparison: four ways to aggregate layers, three seeds"
	@echo "make test         lint, types and the quick tests"
	@echo "make test-all     the slow tests too, and whether something became slower (benchmarks/guard.py)"
	@echo "make bench        all benchmarks, one after another, into benchmarks/results (70 minutes; bench-gpu: the step, on CUDA)"
	@echo "make performance  the tables of docs/ that are made from benchmarks/results"
	@echo "make faults       the long fault and bad-input campaigns (an hour each): docs/reliability.md"
	@echo "make audit        known vulnerabilities of the installed packages, by pip-audit"
	@echo "make managers     docs/managers.md, written from the registry"
	@echo "make schemas      the JSON Schemas of study and sweep files, by which editors check them"
	@echo "make docs         the documentation site, in .build/site; it needs no network to be read"
	@echo "make architecture what the imports say of the package, and docs/architecture.svg drawn from them"
	@echo "Options: PYTHON=python3.13 TORCH_INDEX=https://download.pytorch.org/whl/cpu"

quickstart: $(VENV)/.quickstart
	@$(BIN)/mtlab run quickstart

test: lint types
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" --durations=10

# Slow tests wait for other processes much of their time: three workers for two cores.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 3 / 2)
test-all: lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=40
	$(BIN)/python benchmarks/guard.py

# TIMES and INPUTS: how often each fault is played, and how many bad inputs of each kind are made.
TIMES ?= 20
INPUTS ?= 1500
faults: $(VENV)/.dev
	PYTHONPATH=tests/helpers $(BIN)/python tests/faults/campaign.py --times $(TIMES)
	PYTHONPATH=tests/helpers $(BIN)/python tests/faults/bad_inputs.py --inputs $(INPUTS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy -p mtlab

# pip-audit has an environment of its own, so that its packages are none of ours.
audit: $(VENV)/.dev
	@test -x .build/audit/bin/pip-audit || { $(PYTHON) -m venv .build/audit && \
		.build/audit/bin/pip install --quiet 'pip-audit>=2.9,<3'; }
	.build/audit/bin/pip-audit --skip-editable \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Of another checkout: python tools/architecture.py --root DIR
architecture:
	@$(PYTHON) tools/architecture.py --picture docs/architecture.svg

managers: $(VENV)/.dev
	@$(BIN)/python tools/managers_page.py

schemas: $(VENV)/.dev
	@$(BIN)/mtlab schema study --out experiments/study.schema.json
	@$(BIN)/mtlab schema sweep --out sweeps/sweep.schema.json

docs: $(VENV)/.dev
	@$(BIN)/python tools/concepts.py
	@$(BIN)/python tools/docs_site.py

# One after another: two at a time would measure each other. OPTIONS=--quick: short runs, some minutes each.
BENCHMARKS ?= startup quickstart time_to_answer large_studies training_step profile_step attention own_kernels recording switches cache workers retrieval growth mllm data sweep_overhead
OPTIONS ?=
bench: $(VENV)/.dev
	@failed=; for name in $(BENCHMARKS); do echo "== $$name"; \
		picture=; test $$name != growth || picture="--picture docs/growth.svg"; \
		$(BIN)/python benchmarks/$$name.py $(OPTIONS) $$picture --json benchmarks/results/$$name.json || \
			failed="$$failed $$name"; done; \
		test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench-gpu: $(VENV)/.dev
	@for batch in 32 128; do for how in "" --compile; do \
		$(BIN)/python benchmarks/training_step.py --batch $$batch --device cuda $$how \
			--json benchmarks/results/training_step_gpu_$$batch$${how#--}.json || exit 1; done; done

performance: $(VENV)/.dev
	@$(BIN)/python benchmarks/docs_tables.py

# make release-notes VERSION=0.1.0: its section of the changelog.
release-notes:
	@awk -v title="## $(VERSION)" '/^## /{on = index($$0, title) == 1; next} on' CHANGELOG.md

clean:
	rm -rf .build .mypy_cache .pytest_cache .ruff_cache build *.egg-info

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mtlab needs Python 3.11 or newer: make quickstart PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "Downloading packages: by estimate 0.6 GB with a CPU build of torch, 3.5 GB with the default CUDA build on x86"
	@echo "(TORCH_INDEX=https://download.pytorch.org/whl/cpu chooses the CPU build). pip says nothing until it is done."
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install --index-url "$(TORCH_INDEX)" torch torchvision
	@touch $@

$(VENV)/.quickstart: $(VENV)/.venv pyproject.toml
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[offline]'
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/.quickstart
