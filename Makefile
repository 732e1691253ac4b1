# The commands of README.md. Each sets up what it needs; a second run installs nothing and compiles what changed.
SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := run
.PHONY: run test test-all bench asan tsan check clean setup library

PYTHON := .venv/bin/python
BUILD := build/release
JOBS ?= $(shell nproc)
COMPILE = cmake --build $(BUILD) --parallel $(JOBS) --target

# Models are made with random weights: nothing is looked up on the network.
export HF_HUB_OFFLINE := 1
export PYTHONUNBUFFERED := 1

run: library
	$(COMPILE) real_models
	$(BUILD)/examples/cpp/real_models
	$(PYTHON) examples/python/real_models.py

# Threads that spin while they wait make the tests several times slower where other work shares the processors.
test test-all asan tsan: export OMP_WAIT_POLICY := passive
test test-all: library
	$(COMPILE) all
	@$(PYTHON) scripts/test.py --preset release $(if $(filter test-all,$@),--all)

# The C++ tests under AddressSanitizer with LeakSanitizer and UndefinedBehaviorSanitizer; under ThreadSanitizer. Each has
# a build tree of its own.
asan tsan: setup
	@mkdir -p build
	@cmake --preset $@ >build/configure-$@.log 2>&1 || { cat build/configure-$@.log; exit 1; }
	cmake --build --preset $@ --parallel $(JOBS)
	@$(PYTHON) scripts/test.py --preset $@ --cpp

# make bench QUICK=1: fewer jobs and repetitions.
bench: library
	$(COMPILE) ramet_bench limit
	@mkdir -p build/bench
	$(BUILD)/benchmarks/cpp/ramet_bench --benchmark_out=build/bench/cpp.json $(if $(QUICK),--quick --benchmark_repetitions=5)
	$(PYTHON) benchmarks/python/bench.py --cpp build/bench/cpp.json --limit $(BUILD)/benchmarks/python \
	  --out build/bench $(if $(QUICK),--quick)

check: library
	find include src tests examples/cpp benchmarks -name '*.h' -o -name '*.cpp' | xargs clang-format --dry-run -Werror
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy.stubtest ramet._C
	$(PYTHON) scripts/tidy.py $(BUILD)

setup:
	@scripts/setup.sh

# libramet.so and the Python package. One build tree serves everything, so that no source is compiled twice.
library: setup
	@mkdir -p build
	@cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	$(COMPILE) ramet _C
	@scripts/install.sh $(BUILD)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
