# `make demo` and `make test` are all a newcomer needs; both set up .venv from constraints.txt first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-constraints

.PHONY: demo test lint setup bench-data results clean

setup: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: setup  ## train and audit four small models on embedded data, then write demo/report/index.html
	$(BIN)/condgen demo --out demo

test: lint  ## everything that CI runs
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-data: setup  ## cost of augmentation and of opening data; CONDGEN_DATA names the real data
	$(BIN)/python benchmarks/data.py

RESULTS := mnist-reweight-small bg-mnist-0-reweight-small

results: setup  ## the records under results/: 20 minutes of training for each model, then its audits
	for preset in $(RESULTS); do \
	  $(BIN)/condgen train $$preset --run runs/$$preset && \
	  $(BIN)/condgen audit runs/$$preset && \
	  mkdir -p results/$$preset && \
	  cp runs/$$preset/config.toml runs/$$preset/metrics.jsonl runs/$$preset/records/*.json results/$$preset/ || exit 1; \
	done
	$(BIN)/condgen report $(RESULTS:%=runs/%) --out results/report

clean:
	rm -rf $(VENV) demo
