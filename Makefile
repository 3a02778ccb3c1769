# What CI runs, target by target; `make setup` first.
.PHONY: setup check test slow bench docs

BIN := .venv/bin

setup:
	python3 -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"

check:  ## format, lint, types, and which way imports run
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test:  ## the default tests
	$(BIN)/pytest -n 3 --dist worksteal

slow:  ## all tests, those of volume, kills and databases too
	CI=true $(BIN)/pytest -n 3 --dist worksteal -m ""

bench:  ## beside the SDK and its peers; writes tests/benchmarks/RESULTS.md and README's table
	$(BIN)/python -m tests.benchmarks

docs:  ## the site, strictly; and every block of README and the pages, run and typed
	$(BIN)/python -m tests.helpers.generated_pages
	$(BIN)/zensical build --strict --config-file .zensical.toml
	$(BIN)/pytest tests/test_docs.py -m ""
