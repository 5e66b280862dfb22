# Two commands do everything on a fresh machine:
#   make run     sets up, then runs line 3 on its embedded defaults    (make run ARGS="--parts 50")
#   make test    sets up, then runs all tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up

.PHONY: run test check format bench chaos fuzz bundle tiles clean

run: $(SET_UP)
	$(BIN)/run_line --line 3 $(ARGS)

test: $(SET_UP)
	$(BIN)/python -m pytest $(ARGS)

check: $(SET_UP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

format: $(SET_UP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What made the shipped model and calibration of line 3; half an hour on two cores.
bundle: $(SET_UP)
	$(BIN)/train_line --line 3 --parts 800 --minutes 32 --whole-share 1
	$(BIN)/calibrate_line --line 3 --parts 1000 --false-reject-rate 0.01
	$(BIN)/evaluate_line --line 3 --parts 60 --parity --accept

# What made benchmarks/bundles/magnetic_tile, its calibration and the figures beside it
# (docs/benchmarks.md), from the magnetic tiles in the layout of MVTec AD:
#   make tiles DATASET=DIR            MINUTES=10 DEVICE=cuda:0 PARADIGMS="one_step norm_guided"
TILES := --config benchmarks/magnetic_tile.yaml
MINUTES ?= 50
DEVICE ?= auto
PARADIGMS ?= one_step norm_guided
ifeq ($(wildcard $(DATASET)/train),)
tiles:
	@echo 'tiles: skipped, nothing was changed: there is no data set at "$(DATASET)"; give DATASET=DIR'
else
tiles: $(SET_UP)
	mkdir -p var
	$(BIN)/train_line $(TILES) --images $(DATASET) --minutes $(MINUTES) --device $(DEVICE) \
		--profile texture --flip both $(ARGS)
	$(BIN)/calibrate_line $(TILES) --images $(DATASET) --false-reject-rate 0.01 --set model.device=$(DEVICE)
	$(BIN)/evaluate_line $(TILES) --dataset $(DATASET) --set model.device=$(DEVICE) \
		$(addprefix --paradigm ,$(PARADIGMS)) \
		--json benchmarks/bundles/magnetic_tile.json --report var/magnetic_tile_report
endif

bench: $(SET_UP)
	$(BIN)/python -m benchmarks.line $(ARGS)

# 100,000 malformed messages at every socket and topic of a running line: make fuzz ARGS="--seed 2";
# at the topics of one that speaks Sparkplug B: make fuzz ARGS="--payload sparkplug"
fuzz: $(SET_UP)
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

# A real line, broker and PLC, and so many faults at random moments (docs/chaos.md):
#   make chaos FAULTS=200 SEED=7 ARGS="--broker embedded"
FAULTS ?= 40
SEED ?= 1
chaos: $(SET_UP)
	$(BIN)/python -m chaos.campaign --faults $(FAULTS) --seed $(SEED) $(ARGS)

$(SET_UP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
