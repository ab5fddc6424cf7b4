# make app    set up and open the explorer        make test    set up and run every test
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help app test lint clean
help:
	@echo "make app    set up and open the explorer (ARGS='--port 7860')"
	@echo "make test   set up, lint and run every test, the browser's too (ARGS='-k images')"
	@echo "make clean  remove the environment that make set up"

app:
	@$(PYTHON) .ci/environment.py requirements.txt
	@$(BIN)/python app.py $(ARGS)

test:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(BIN)/ruff check .
	@REGVQ_CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m pytest $(ARGS)

lint:
	@$(PYTHON) .ci/environment.py requirements-dev.txt
	@$(BIN)/ruff check .

clean:
	rm -rf .venv
