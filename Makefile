.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
SETUP_STAMP := $(VENV)/.setup-stamp
BENCH_STAMP := $(VENV)/.bench-stamp
ORACLE_STAMP := $(VENV)/.oracle-stamp
# Processes that share the tests: auto is one to a core, 0 runs them here, one after the other.
WORKERS ?= auto

.PHONY: help setup demo test oracle lint format bench field clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(SETUP_STAMP) ## Make .venv with the package and its development tools

# The stamps make a second run cheap: pip runs again only when the requirements change.
$(SETUP_STAMP): pyproject.toml $(CONSTRAINTS)
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "error: '$(PYTHON)' not found; set PYTHON to a Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, but '$(PYTHON)' is" \
			"$$("$(PYTHON)" --version 2>&1); set PYTHON to a newer one" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

$(BENCH_STAMP): $(SETUP_STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[bench]'
	@touch $@

$(ORACLE_STAMP): $(SETUP_STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[oracle]'
	@touch $@

demo: setup ## Run the demonstration, results in demo_out/
	$(BIN)/tinygrad-nn demo --out demo_out

test: lint ## Run all checks: lint, types, tests, doctests
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

oracle: $(ORACLE_STAMP) ## Compare derivatives with those of PyTorch and JAX (downloads both)
	$(BIN)/python -m pytest -m oracle tests/test_oracle.py tests/test_docs.py

lint: setup ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Compare speed with other engines (downloads PyTorch, JAX and more)
	$(BIN)/python tests/benchmarks/compiled_step.py --target
	$(BIN)/python tests/benchmarks/eager_step.py
	$(BIN)/python tests/benchmarks/scalar_step.py
	$(BIN)/python tests/benchmarks/engine_overhead.py

field: $(BENCH_STAMP) ## Hold gradient checkers against planted mistakes (downloads them; an hour)
	OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/benchmarks/gradcheck_field.py

clean: ## Remove everything generated except .venv
	rm -rf build dist demo_out two_circles_out .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
