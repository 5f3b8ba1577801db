# Everything a person needs. Works with Python >= 3.11 and make alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test check bench lock clean

$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned dependencies ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

install: $(STAMP)

demo: install
	@$(BIN)/inhabit demo

test: install
	@$(BIN)/python -m pytest -q

check: install
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pyright
	@$(BIN)/python -m coverage run -m pytest -q
	@$(BIN)/python -m coverage report --include='inhabit/kernel/*,inhabit/wire/*,inhabit/runtime/bridge.py' --fail-under=100
	@$(BIN)/python -m tests.style

bench: install
	@$(BIN)/python -m bench --json

lock:
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links pyproject.toml --group dev -o requirements-dev.lock

clean:
	rm -rf $(VENV) .inhabit .pytest_cache .ruff_cache
