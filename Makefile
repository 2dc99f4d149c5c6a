# Two commands on a fresh machine: `make lint` (no torch needed) and `make test`.

PYTHON ?= python3
TORCH ?= torch==2.13.0
# What `make lint` lints, what pytest is told.
P ?= fixtures/demo
PYTEST ?= -q -n 2
# What `make recall` measures, what `make ecosystem` compares with.
BUGS ?= bugs.jsonl
TRAPS ?=
MIRRORS ?=
BASE ?= HEAD

PIP := -m pip --disable-pip-version-check install --quiet
BIN := .venv/bin
STATIC := .venv-static-$(notdir $(PYTHON))
SOURCES := pyproject.toml README.md $(shell find gradlint rules -type f -not -name '*.pyc')
# Two workers share the machine: a thread pool in each would only get in the way.
export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help lint test test-static check bless docs format packages recall mutations precision ecosystem speed head-to-head overhead clean

help: ## say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

lint: .venv-lint/stamp ## lint the demo, or P=path, with gradlint as users install it
	@.venv-lint/bin/gradlint check $(P); status=$$?; [ $$status -le 1 ] || exit $$status

test: .venv/stamp ## ruff, mypy and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PYTEST)

test-static: $(STATIC)/stamp ## the tests that need no torch, on another interpreter: PYTHON=python3.12
	$(STATIC)/bin/pytest $(PYTEST) -m "not torch"

check: .venv/stamp ## the quick part, before every commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m gradlint.dev docs --check
	$(BIN)/pytest $(PYTEST) tests/test_contract.py tests/test_rule_pages.py tests/test_fixtures.py

format: .venv/stamp ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bless: .venv/stamp ## rewrite snapshots and generated pages; read the diff afterwards
	$(BIN)/python -m gradlint.dev bless

docs: .venv/stamp ## rewrite the generated pages only
	$(BIN)/python -m gradlint.dev docs

packages: .venv/stamp ## lint pinned real packages: false alarms and crashes
	$(BIN)/python benchmarks/packages.py

recall: .venv/stamp ## lint real bugs before and after their fix: BUGS=file TRAPS=file MIRRORS=folder
	$(BIN)/python benchmarks/recall.py --bugs $(BUGS) $(if $(TRAPS),--traps $(TRAPS)) --mirrors $(MIRRORS)

mutations: .venv/stamp ## break right code and count what is found: CORPUS=folder
	$(BIN)/python benchmarks/mutations.py --corpus $(CORPUS)

precision: .venv/stamp ## how many reports on the pinned packages are right
	$(BIN)/python benchmarks/precision.py

ecosystem: .venv/stamp ## what the working tree changes on real code: BASE=revision MIRRORS=folder
	$(BIN)/python -m gradlint.dev ecosystem --base $(BASE) --packages $(if $(MIRRORS),--mirrors $(MIRRORS))

speed: .venv/stamp ## measure the time per line
	$(BIN)/python benchmarks/speed.py

head-to-head: .venv/stamp ## compare the runtime half with other checkers
	$(BIN)/python benchmarks/head_to_head.py

overhead: .venv/stamp ## measure what recording costs
	$(BIN)/python benchmarks/overhead.py

clean: ## remove everything that was built
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

# An installed copy, not a link: what is linted with is what would be released. `build/` would keep deleted modules.
.venv-lint/stamp: $(SOURCES)
	@[ -x .venv-lint/bin/python ] || $(PYTHON) -m venv .venv-lint
	@rm -rf build
	.venv-lint/bin/python $(PIP) .
	@touch $@

.venv/stamp: pyproject.toml
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) $(TORCH)
	$(BIN)/python $(PIP) -e '.[dev,frameworks]'
	$(BIN)/python $(PIP) --no-deps fastai==2.8.12
	@touch $@

$(STATIC)/stamp: pyproject.toml
	@[ -x $(STATIC)/bin/python ] || $(PYTHON) -m venv $(STATIC)
	$(STATIC)/bin/python $(PIP) -e '.[test]'
	@touch $@
