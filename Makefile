# make demo    correct a folder of real photographs under Airflow, against the emulator
# make test    format, lint, types, import contracts, the whole suite
# make lint    the same without the suite
# make bench   the benchmarks
# make chaos   random faults and kills: make chaos SEEDS=500 FIRST=1
# make safeguards   each taken out of a copy in turn: which faults of the table catch it
# make clean   remove everything made here, the environment too
#
# All of them start from nothing but Python 3.11 or newer. PYTHON=/path/to/python chooses another.

AIRFLOW := 3.3.2
# The first Python that is new enough and can make an environment (Debian ships venv apart).
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python3.13; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test lint bench chaos safeguards clean

demo: $(READY)
	$(BIN)/python demo/run.py

# Most tests wait for something, so a few run at a time.
test: lint
	$(BIN)/pytest -n 3

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/catalog_vs_loop.py
	$(BIN)/python benchmarks/import_time.py

# Pins exist for 3.11 and 3.12; a newer Python takes the latter.
$(READY): pyproject.toml $(wildcard constraints/*.txt)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv found: install one (Debian: python3 and python3-venv), or say make PYTHON=/path/to/python."; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) and Airflow $(AIRFLOW); the first time this takes a few minutes."
	@$(PYTHON) -m venv --clear .venv
	@minor=$$($(PYTHON) -c 'import sys; print(min(sys.version_info[1], 12))'); \
	$(BIN)/pip install -qq --disable-pip-version-check \
		-c constraints/airflow-$(AIRFLOW)-python-3.$$minor.txt apache-airflow==$(AIRFLOW) -e '.[dev]'
	@touch $@

SEEDS ?= 100
FIRST ?= 1
chaos: $(READY)
	$(BIN)/python -m tests.chaos.storm --seeds $(SEEDS) --first $(FIRST)

safeguards: $(READY)
	$(BIN)/python -m tests.faults.without

clean:
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
