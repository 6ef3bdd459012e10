# Each target first makes .venv where it is missing or out of date.
.DELETE_ON_ERROR:
.PHONY: reproduce test check docs

# The first Python of 3.11 or newer on the path; override with `make PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

# Figures 1a, 2, 3 and 4 on digits, one experiment for each core: about six minutes on two cores. Some are left out to save
# time: 1b and 1c, which repeat 1a with larger networks; the ensemble with learning rates; Figure 3's grid of optimizers and
# sizes (four minutes alone), with true and with shuffled labels. `python scripts/train.py -m experiment=...` runs them.
DEMOS := ensemble dropout memorization batch_norm early_stopping

reproduce: .venv/installed
	$(MAKE) --no-print-directory -k -j $$($(BIN)/python -c 'import os; print(os.cpu_count())') $(DEMOS:%=demo-%); \
	failed=$$?; $(BIN)/python scripts/report.py runs && exit $$failed

demo-%: .venv/installed
	$(BIN)/python scripts/train.py -m experiment=$*

# Two processes. Tests of one file run in one process.
test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The guide, site/index.html. A link or a name that leads nowhere is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
