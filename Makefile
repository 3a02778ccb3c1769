# What CI runs, target by target; `make setup` first.
.PHONY: setup check test slow bench docs legs

BIN := .venv/bin

setup:
	python3 -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"

check:  ## format, lint, types, which way imports run, and that all that is imported is declared
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry agentkit tools/agentkit_tools tools/agentkit_local

test:  ## the default tests, about three minutes on two idle cores
	$(BIN)/pytest -n 3 --dist worksteal

slow:  ## all tests, those of volume, kills and databases too
	CI=true $(BIN)/pytest -n 3 --dist worksteal -m ""

bench:  ## beside the SDK and its peers; writes tests/benchmarks/RESULTS.md and README's table
	$(BIN)/python -m tests.benchmarks

docs:  ## the site, strictly; and every block of README and the pages, run and typed
	$(BIN)/python -m tests.helpers.generated_pages
	$(BIN)/zensical build --strict --config-file .zensical.toml
	$(BIN)/pytest tests/test_docs.py -m ""

legs:  ## a core of the tests on the lowest versions, on the newest Python there is, and beside google-adk
	bash .ci/legs
