# make demo   installs into .venv and runs the mini study to the printed matrix
# make profile   lets `snakemake --profile slurm` find profiles/slurm from here
# make test   runs every test; make test-fast the ones that take under a minute together
# make margins   checks what is asserted of the mini world in three worlds and backbones; tables in results/margins/
PYTHON ?= python3
BIN := .venv/bin
CORES ?= 2

.PHONY: demo profile test test-fast margins lint lock env

env: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "xstilts needs Python >= 3.11; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.dev: .venv/.installed requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

demo: env
	@$(BIN)/python -m xstilts.mini.demo $(CORES)

profile:
	ln -sfn profiles/slurm slurm

# In the order of the files, which has the long ones first: SLURM's tests mostly wait, and others run meanwhile.
test: .venv/.dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: .venv/.dev
	$(BIN)/pytest -m "not slow" -n 2

margins: .venv/.dev
	XSTILTS_WORLDS="0 1 2" $(BIN)/pytest tests/test_mini_world_margins.py --basetemp=results/margins

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile config/mini.yaml

lock:
	$(BIN)/python envs/lock.py
