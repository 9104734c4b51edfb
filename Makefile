# One word each. `make test` is what CI runs.

SHELL := bash
COLDSTART := target/release/coldstart
PREFIX ?= /usr/local

.PHONY: demo test test-long test-slurm build install archive wheel docs lint deny unit bench gpu-bundle setup tools clean

## demo: on a fresh machine, fetch libtorch, build, run a study of a minute, say where its report is
demo: build
	@rm -rf runs/demo
	@$(COLDSTART) sweep configs/demo-study.toml --jobs 2 --out runs/demo > /dev/null
	@echo "report: runs/demo/report.html"

## build: the program and the plugins, into target/release
build: setup
	cargo build --release --locked

## install: the program, its plugins and libtorch into PREFIX, such as make install PREFIX=~/.local; needs patchelf
install: build
	host/setup/install.sh "$(PREFIX)"

## archive: one file that runs from any folder, with libtorch's CPU part, into target/dist; needs patchelf and zstd
archive: build
	host/setup/archive.sh

## wheel: the Python package `coldstart` around the program, which uses pip's PyTorch, into target/dist; needs patchelf
wheel: build
	host/setup/wheel.sh

## docs: the book, into target/book; needs mdbook
docs:
	docs/build.sh

## test: set-up, lints, every test
test: lint unit

## lint: formatting, clippy, licences and sources of dependencies
lint: setup deny
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings

deny:
	@if command -v cargo-deny > /dev/null; then cargo deny --all-features check bans licenses sources; \
	else echo "skipped: cargo-deny is not installed (cargo install cargo-deny)"; fi

# The tests run the program and the plugins from outside, so all of them are built first.
unit: setup
	cargo build --release --workspace --locked
	cargo test --release --workspace --locked

## test-long: every test, with those that take minutes each and rarely break
test-long: setup
	cargo build --release --workspace --locked
	COLDSTART_LONG_TESTS=1 cargo test --release --workspace --locked

## test-slurm: the tests of `--executor slurm`, against a real Slurm of one node that is installed and started here; Debian, and root
test-slurm: setup
	cargo build --release --workspace --locked
	dir=$$(mktemp -d) && tests/slurm/start.sh "$$dir" && \
	{ SLURM_CONF="$$dir/slurm.conf" cargo test --release -p coldstart-tests --locked --test slurm -- --test-threads=1; code=$$?; \
	  tests/slurm/stop.sh "$$dir"; rm -rf "$$dir"; exit $$code; }

## bench: the benches, with their raw results under host/benches
bench: build
	cargo bench --workspace --locked

## gpu-bundle: an archive under 64 MiB with all that a machine with a GPU and PyTorch needs to check and time the program
gpu-bundle: build
	host/benches/gpu/bundle.sh

# Says what is missing before a build fails deep inside.
tools:
	@command -v cargo > /dev/null || { echo "missing: cargo; install Rust (stable) with rustup"; exit 1; }
	@command -v c++ > /dev/null || { echo "missing: a C++17 compiler; on Debian: apt-get install g++"; exit 1; }
	@if [ -z "$$LIBTORCH" ]; then \
	  command -v python3 > /dev/null || { echo "missing: python3; or set LIBTORCH to a libtorch 2.11.0 folder"; exit 1; }; \
	  python3 -m pip --version > /dev/null 2>&1 || { echo "missing: pip; on Debian: apt-get install python3-pip; or set LIBTORCH"; exit 1; }; \
	fi

setup: tools
	@[ -n "$$LIBTORCH" ] || python3 host/setup/libtorch.py

clean:
	rm -rf target runs
