# The two commands are `make demo` and `make test`; each installs what is missing on a Debian
# machine with Rust, builds, and runs.

CARGO ?= cargo

.PHONY: help demo test lint bench bench-kernel ci build install install-c

help:
	@echo "make demo   steer real kernel TCP flows for half a minute and plot what happened; simulated without root"
	@echo "make test   all tests (those on the kernel need root; elsewhere they say that they are skipped)"
	@echo "make lint   formatting, lints, documentation, purity of the IO-free crates"
	@echo "make bench  measure what the way through the daemon costs, and rewrite those tables of docs/benchmarks.md"
	@echo "make bench-kernel  measure fidelity and cost beside the kernel's own algorithms, and rewrite those tables"
	@echo "make install PREFIX=/usr/local  ccpd and ccp, their manual and completions"
	@echo "make install-c PREFIX=/usr/local  the datapath runtime for C: libraries, headers, pkg-config, CMake"
	@echo "make ci     what continuous integration runs: lint and test, where a skipped test fails"

build:
	@scripts/setup run
	$(CARGO) build --release --locked

# Where root or BPF is missing, `ccp demo` says so and exits with 3: then the same is simulated.
demo: build
	@target/release/ccp demo || { status=$$?; [ $$status -eq 3 ] && target/release/ccp demo --sim || exit $$status; }

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

bench-kernel: build
	scripts/bench --kernel

ci: export CI = true
ci: lint test

install: export PREFIX ?= /usr/local
install:
	@scripts/setup run
	scripts/install

install-c: export PREFIX ?= /usr/local
install-c:
	@scripts/setup run
	scripts/install-c
