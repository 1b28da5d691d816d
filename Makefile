# One command each; `make` alone lists them. Everything downloaded or built lives outside the clone: see scripts/env.
#
# BUNDLED=1 compiles DuckDB from source in place of linking its prebuilt library (slow, but works on any system).

export BUNDLED

environment = eval "$$(scripts/env)"
features = $(if $(BUNDLED),--features bundled)
program = --package dynamic-tables $(features)

.DEFAULT_GOAL := help
.PHONY: help setup build release test tpc fuzz faults bench bench-quick bench-pure bench-page lint fmt demo api-test

help: ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

setup: ## Fetch DuckDB, its extensions and PostgreSQL, as far as they are missing
	@scripts/setup

build: ## Build the program for development
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build $(program)

release: ## Build the program for use
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build --release $(program) && echo "$$CARGO_TARGET_DIR/release/dynamic-tables"

# cargo-nextest runs no examples in documentation, so they come first; CI reads the last line.
test: ## Run all tests, with cargo-nextest if it is there
	@QUIET=1 scripts/setup
	@$(environment) && if cargo nextest --version >/dev/null 2>&1; \
	then cargo test --doc --workspace --quiet $(features) && cargo nextest run --workspace --no-fail-fast $(features); \
	else cargo test --workspace $(features); fi

# The same tests as in `make test`, but larger and longer, one after the other, with their tables of figures.
tpc: ## Run the queries of TPC-H and TPC-DS under changes: SCALE, ROUNDS, SEED
	@QUIET=1 scripts/setup library extensions
	@$(environment) && SCALE="$${SCALE:-0.1}" ROUNDS="$${ROUNDS:-8}" cargo test --package dynamic-tables-refresh --test it $(features) -- \
	--nocapture --test-threads 1 tpc::

# EXAMPLES=n per operation, LIMIT=n seconds in all, SEED=n.
api-test: ## Check every answer over HTTP against the OpenAPI description (takes Python)
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build $(program)
	@QUIET=1 scripts/setup extensions
	@$(environment) && scripts/api-test "$$CARGO_TARGET_DIR/debug/dynamic-tables"

lint: ## Check formatting, clippy's opinion and the dependencies
	@QUIET=1 scripts/setup library
	@cargo fmt --all --check
	@$(environment) && cargo clippy --workspace --all-targets $(features) -- -D warnings
	@scripts/cargo-deny

fmt: ## Format all code
	@cargo fmt --all

SEED ?= 1
CASES ?= 500

# CASE=n runs one case alone, SECONDS=n stops after so long, KEEP=folder says where failing cases go, RULES=1 leaves out the lake.
fuzz: ## Compare random dynamic tables with their queries: SEED=1 CASES=500
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build --package dynamic-tables-fuzz $(features)
	@QUIET=1 scripts/setup extensions
	@$(environment) && "$$CARGO_TARGET_DIR/debug/fuzz" --seed $(SEED) --cases $(CASES) $(if $(CASE),--case $(CASE)) $(if $(RULES),--rules) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(KEEP),--keep $(KEEP))

FAULTS ?= 300

# ROUND=n runs one round alone, WORKERS=n fixes their number, SECONDS=n stops after so long, KEEP=folder says where failing rounds go.
faults: ## Kill, stop, cut off and fail workers at every step: SEED=1 FAULTS=300
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build --package dynamic-tables-faults $(features)
	@QUIET=1 scripts/setup extensions postgresql
	@$(environment) && "$$CARGO_TARGET_DIR/debug/faults" --seed $(SEED) --faults $(FAULTS) $(if $(ROUND),--round $(ROUND)) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(KEEP),--keep $(KEEP))

bench = cargo build --release --package dynamic-tables-bench $(features) && "$$CARGO_TARGET_DIR/release/bench" $(if $(ONLY),--only $(ONLY)) \
	$(if $(OUTPUT),--output $(OUTPUT)) $(if $(ORDERS),--orders $(ORDERS)) $(if $(BASELINE),--baseline $(BASELINE))

# ONLY=poll,many runs some of them, OUTPUT=file keeps the figures as JSON, ORDERS=n fixes the size of the sources of `refresh`, and
# BASELINE=file, the OUTPUT of an earlier run, makes it fail if a ratio is more than 20 % worse than there.
bench: ## Measure refreshes of many shapes, how tables age, polls, many tables, several workers and short lags
	@QUIET=1 scripts/setup
	@$(environment) && $(bench)

bench-quick: ## The same on small lakes, in minutes
	@QUIET=1 scripts/setup
	@$(environment) && $(bench) --quick

bench-pure: ## Measure the parts that need no lake: analysing queries, scheduling 10,000 tables
	@QUIET=1 scripts/setup library
	@$(environment) && cargo bench --package dynamic-tables-bench --bench pure $(features)

# FROM=file takes the figures of an earlier run's OUTPUT. Without it everything is measured, which takes hours and a quiet machine.
bench-page: ## Write docs/benchmarks.md and its charts
	@QUIET=1 scripts/setup
	@$(environment) && $(bench) --page docs $(if $(FROM),--from $(FROM))

demo: ## Watch it work on a year of real flights
	@QUIET=1 scripts/setup library
	@$(environment) && cargo build $(program)
	@QUIET=1 scripts/setup extensions
	@$(environment) && "$$CARGO_TARGET_DIR/debug/dynamic-tables" demo --data examples/flights/data
