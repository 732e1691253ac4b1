#!/usr/bin/env bash
# Puts what the build tree holds into .venv: install.sh BUILD. Compiles nothing.
#
# The package is installed editable once, its Python files are read where they lie; afterwards only the two compiled
# libraries, the headers and the CMake files are copied, which costs no pip.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
python=.venv/bin/python

# A copied tree brings a .venv that points to the original: the path is part of what must match.
key=$({ pwd; cat pyproject.toml; find python/ramet include -name '*.py' -o -name '*.h' | sort; } | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.ramet-editable 2>/dev/null)" != "$key" ]; then
  echo "install: the package ramet, editable, into .venv"
  $python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . \
    --config-settings=build-dir="$build" --config-settings=build.targets="ramet;_C" \
    --config-settings=cmake.define.RAMET_DEV=ON
  echo "$key" >.venv/.ramet-editable
else
  cmake --install "$build" --component python --prefix "$($python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')" >/dev/null
fi
