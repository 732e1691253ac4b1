# The commands of README.md. Each sets up what it needs; a second run installs nothing.
SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := run
.PHONY: run test bench check clean setup build

PYTHON := .venv/bin/python
BUILD := build/release
SOURCES := $(shell find CMakeLists.txt pyproject.toml cmake include src tests/cpp examples/cpp benchmarks/cpp python -type f \
             -not -name '*.pyc' 2>/dev/null)

export HF_HUB_OFFLINE := 1
export PYTHONUNBUFFERED := 1

run: build
	$(BUILD)/examples/cpp/real_models
	$(PYTHON) examples/python/real_models.py

test: build
	$(PYTHON) scripts/test.py --build $(BUILD)

bench: build
	$(BUILD)/benchmarks/cpp/ramet_bench
	$(PYTHON) benchmarks/python/bench.py

check: build
	clang-format --dry-run -Werror $$(git ls-files '*.h' '*.cpp')
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy.stubtest ramet._C

setup:
	@scripts/setup.sh

build: setup
	@$(MAKE) --no-print-directory $(BUILD)/installed

# One build tree for the library, the extension, the tests, the examples and the benchmarks; the package is installed
# editable from it.
$(BUILD)/installed: $(SOURCES) .venv/.ramet-pins
	@echo "build: compiling into $(BUILD)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . \
	  --config-settings=cmake.define.RAMET_DEV=ON --config-settings=cmake.build-type=Release
	@touch $@

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
