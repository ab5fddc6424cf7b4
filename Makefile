# make app    set up and open the explorer        make test    set up and run every check
PYTHON ?= python3
BIN := .venv/bin
CHECKS := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/basedpyright

TOGETHER := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto
FAST := $(TOGETHER) --dist worksteal -m "not browser and not slow and not long"
LONG := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m long

.PHONY: help app trainer test test-fast test-all test-lowest faults fuzz mutants lock lint format docs wheel clean
help:
	@echo "make app        set up and open the explorer (ARGS='--port 7860')"
	@echo "make trainer    set up what train/ needs, beside the explorer"
	@echo "make test       set up, lint, type-check and run the tests, the browser's too (ARGS='-k images')"
	@echo "make test-all   the same and the tests that take longest, which pull requests need not run"
	@echo "make test-fast  make test without the browser and the slowest tests, for work in between"
	@echo "make test-lowest  the tests of the library and the trainer with the lowest allowed versions"
	@echo "make faults     kill runs 500 times, fill disks, flip bytes, and print what was lost (ARGS='--kills 50')"
	@echo "make fuzz       send 5,000 hostile requests to a running explorer (ARGS='--requests 500 --seed 7')"
	@echo "make mutants    change the code in small ways and count what tests notice (ARGS='core/losses --sample 20')"
	@echo "make lint       ruff and the type checker alone"
	@echo "make format     let ruff sort imports and format"
	@echo "make lock       write requirements.lock anew, with the newest allowed versions"
	@echo "make docs       build the documentation into site/"
	@echo "make wheel      build the package into dist/"
	@echo "make clean      remove the environment and what was built"

app:
	@$(PYTHON) .ci/environment.py requirements.txt
	@$(BIN)/python app.py $(ARGS)

trainer:
	@$(PYTHON) .ci/environment.py requirements-train.txt

test: lint
	@$(BIN)/python .ci/tests.py $(ARGS)

test-all: test
	@$(LONG) $(ARGS) || [ $$? -eq 5 ]  # 5: none of the tests that ARGS selects is among these

test-fast: lint
	@$(FAST) $(ARGS)

test-lowest:
	@$(PYTHON) .ci/environment.py --lowest requirements-dev.txt
	@OMP_WAIT_POLICY=PASSIVE .venv-lowest/bin/python -m pytest -m "not browser" tests/core tests/train $(ARGS)

faults:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(BIN)/python -m tests.faults $(ARGS)

fuzz:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.public.hostile $(ARGS)

mutants:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.mutants $(ARGS)

lock:
	@$(PYTHON) .ci/environment.py --newest requirements-dev.txt
	@$(BIN)/python .ci/lock.py

lint:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(CHECKS)

format:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(BIN)/ruff check --fix --select I . && $(BIN)/ruff format .

docs:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(BIN)/pip wheel . --no-deps --quiet --wheel-dir dist && rm -rf build regvq_studio.egg-info

clean:
	rm -rf .venv .venv-lowest build dist site
