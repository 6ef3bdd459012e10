# Two commands do all the set-up: `make reproduce` and `make test`. Each first makes .venv where it is missing or out of date.
.DELETE_ON_ERROR:
.PHONY: reproduce test check

# The first Python of 3.11 or newer on the path; override with `make PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

# Figures 1a, 2, 3 and 4 on digits, an experiment a core: what fits into six minutes on two. Left out are 1b and 1c, which
# repeat 1a with larger networks, the ensemble with learning rates and Figure 3's grid of optimizers and sizes (four minutes
# alone, most of them for measuring every epoch); `python scripts/train.py -m experiment=...` runs them too.
DEMOS := ensemble dropout memorization batch_norm early_stopping

reproduce: .venv/installed
	$(MAKE) --no-print-directory -k -j $$($(BIN)/python -c 'import os; print(os.cpu_count())') $(DEMOS:%=demo-%); \
	failed=$$?; $(BIN)/python scripts/report.py runs && exit $$failed

demo-%: .venv/installed
	$(BIN)/python scripts/train.py -m experiment=$*

# Two processes, each with whole files of tests.
test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
