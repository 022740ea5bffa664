# Two commands are all a user needs: `make serve` and `make test`. Everything they write lies in this checkout.
# What .venv is made with, once; `make clean`, then `make serve PYTHON=/usr/bin/python3` takes another (docs/how-to/install.md).
PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests
WORKERS ?= 2

.PHONY: faults soak bench bench-engine bench-quick profile soak-engine tools serve test check setup dev format lint types contracts docs cover fuzz clean

setup:
	@$(PYTHON) tools/setup.py run

dev:
	@$(PYTHON) tools/setup.py dev

serve: setup
	@exec $(BIN)/ringfence serve $(ARGS)

test: dev
	@$(BIN)/pytest -q -n $(WORKERS) $(TESTS)

# The gate of quality, strict: format, lint, types, import contracts, tests with warnings as errors, coverage.
check: dev format lint types contracts cover

format:
	@$(BIN)/ruff format --check .

lint:
	@$(BIN)/ruff check .

types:
	@$(BIN)/mypy

contracts:
	@$(BIN)/lint-imports --no-cache

cover:
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -q -n $(WORKERS) $(TESTS)
	@$(BIN)/coverage combine -q
	@$(BIN)/python tools/coverage_floor.py

# Ten thousand requests of all kinds against one engine, a third of them given up half way; then the books are read.
soak-engine: dev
	@$(BIN)/python -m tests.local_engine.soak $(ARGS)

# The embedded engine beside llama-server and llama-cpp-python's server; the peers are compiled once, under .cache.
bench-engine: dev
	@$(BIN)/python bench/engine_peers.py
	@$(BIN)/python bench/engine.py --write $(ARGS)

# Coverage-guided, for as long as you like: make fuzz TARGET=body SECONDS=600
TARGET ?= service
SECONDS ?= 60
fuzz: dev
	@$(BIN)/python tools/fuzz.py $(TARGET) $(SECONDS)

# Every fault of the fake upstream, in every kind of request, under every policy; prints the matrix. Some minutes.
faults: dev
	@$(BIN)/python -m tests.fakes.matrix

# A million requests of all kinds, with the memory of gate and workers read as it goes. Half an hour; needs 3 GB of disk.
soak: dev
	@$(BIN)/python -m tests.fakes.soak $(ARGS)

clean:
	@rm -rf .venv .cache ledger-run .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What tests of kernel fences and `ringfence prove` need beside Python; where it lacks they are skipped, and say so.
tools:
	@apt-get install -y --no-install-recommends nftables iproute2 strace util-linux

# Everything docs/performance.md shows: Ringfence and its peers on the wire, in one run (about an hour and a half).
bench: dev
	@-$(BIN)/python -m bench.install
	@$(BIN)/python -m bench.gateways $(ARGS)
	@$(BIN)/python -m bench.starts
	@$(BIN)/python -m bench.memory
	@$(BIN)/python bench/decisions.py
	@$(BIN)/python bench/bodies.py
	@$(BIN)/python bench/ledger.py

# Against nginx alone, under three minutes; fails when Ringfence has become dearer than bench/budgets.toml allows.
bench-quick: dev
	@$(BIN)/python -m bench.install nginx
	@$(BIN)/python -m bench.quick

# Where the time goes in gate and worker (as root; ARGS="--scenario streams-500" for another load).
profile: dev
	@$(BIN)/python -m bench.install py-spy
	@$(BIN)/python -m bench.hotspots $(ARGS)
