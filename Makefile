# `make demo` and `make test` are all a newcomer needs; both set up .venv from constraints.txt first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

# processes that tests, studies and torchrun start import PyTorch twice as fast from bytecode
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint setup bench-data bench-flow bench-pixelcnn bench-attacks bench-precision bench-overhead stability gpu-study results clean

setup: $(INSTALLED_DEV)

$(INSTALLED): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(INSTALL) -e ".[dev]"
	touch $@

demo: $(INSTALLED)  ## train and audit five small models on embedded data, then write demo/report/index.html
	$(BIN)/condgen demo --out demo

test: lint  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-data: setup  ## cost of augmentation, of opening data and of training the small presets; CONDGEN_DATA names the real data
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.presets

FLOW ?= benchmarks/results/flow.json

bench-flow: setup  ## speed and memory of the flow beside normflows and FrEIA, at the paper's MNIST shape; FLOW=... keeps another machine's
	$(INSTALL) normflows==1.7.3 FrEIA==0.2
	$(BIN)/python -m benchmarks.flow --out $(FLOW)
	$(BIN)/python -m benchmarks.readme

bench-pixelcnn: setup  ## speed and memory of PixelCNN++ at the paper's CIFAR-10 size, beside plain PyTorch: 20 minutes
	$(BIN)/python -m benchmarks.pixelcnn
	$(BIN)/python -m benchmarks.readme

bench-attacks: setup  ## speed and strength of the attacks beside foolbox and ART, on MNIST; CONDGEN_DATA names the real data
	$(INSTALL) adversarial-robustness-toolbox==1.20.1
	$(BIN)/python -m benchmarks.attacks
	$(BIN)/python -m benchmarks.readme

bench-precision: setup  ## bfloat16 beside float32 on mnist-reweight-small, nine runs of 20 minutes; continues after a stop
	$(BIN)/condgen study precision --out runs/precision

bench-overhead: setup  ## cost of checkpoints, metrics and locks, and memory over 10,000 steps; CONDGEN_DATA names the real data
	$(BIN)/python -m benchmarks.overhead

stability: setup  ## 20 seeds x 300 steps of each small preset: hours; continues after a stop
	$(BIN)/condgen study stability --out runs/stability

MINUTES ?= 8

gpu-study: setup  ## the paper's MNIST presets on one CUDA device, MINUTES at a time; continues when called again; see docs/gpu.md
	$(BIN)/condgen study gpu --device cuda --minutes $(MINUTES) --out runs/gpu
	$(BIN)/python -m benchmarks.gpu_study runs/gpu

results: setup  ## the records under results/small: twelve trainings and five adversarial audits of 25 minutes on one core; continues after a stop
	$(BIN)/condgen study small --jobs 2 --out runs/small
	$(BIN)/python -m benchmarks.published runs/small results/small
	$(BIN)/python -m benchmarks.claims

clean:
	rm -rf $(VENV) demo
