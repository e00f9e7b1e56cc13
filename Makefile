# The two commands are `make demo` and `make test`; each installs what is missing on a Debian
# machine with Rust, builds, and runs.

CARGO ?= cargo

.PHONY: help demo test lint bench ci build

help:
	@echo "make demo   steer real kernel TCP flows for half a minute and plot what happened"
	@echo "make test   all tests (those on the kernel need root; elsewhere they say that they are skipped)"
	@echo "make lint   formatting, lints, documentation, purity of the IO-free crates"
	@echo "make bench  measure beside the kernel and the peers, and rewrite docs/benchmarks.md's tables"
	@echo "make ci     what continuous integration runs: lint and test, where a skipped test fails"

build:
	@scripts/setup run
	$(CARGO) build --release --locked

# Where root or BPF is missing, `ccp demo` says so and exits with 3; make says `Error 3` and, as for every
# failure, exits with 2 itself.
demo: build
	target/release/ccp demo

test:
	@scripts/setup test
	$(CARGO) test --locked --workspace --no-fail-fast

lint:
	@scripts/setup test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	scripts/check-pure

bench: build
	scripts/bench

ci: export CI = true
ci: lint test
