#!/usr/bin/env bash
# Makes a machine ready to build Ramet: system packages, the virtual environment .venv, the pinned Python packages.
#
# Says what is missing and installs it (apt as root or through sudo), else names the one command to run. What is there
# already is left alone: a second run does nothing. ccache is used where it is present, and never installed.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need PACKAGE COMMAND...: the package is missing if the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_python_headers() {
  python3 -c 'import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}
has_header() { echo "#include <$1>" | g++ -x c++ -E -; }

need g++ command -v g++
need cmake command -v cmake
need python3-venv python3 -c 'import ensurepip, venv'
need python3-dev has_python_headers
need libgtest-dev has_header gtest/gtest.h
need libgmock-dev has_header gmock/gmock.h
need libbenchmark-dev has_header benchmark/benchmark.h
need clang-format command -v clang-format
need clang-tidy command -v clang-tidy

if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: missing system packages: ${missing[*]}"
  install="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here; install what corresponds to these packages, then run make again" >&2
    exit 1
  elif [ "$(id -u)" = 0 ]; then
    echo "setup: installing them: $install"
    bash -c "$install" >/dev/null
  elif sudo -n true 2>/dev/null; then
    echo "setup: installing them through sudo: $install"
    sudo -n bash -c "$install" >/dev/null
  else
    echo "setup: run this once, then make again:  sudo sh -c '$install'" >&2
    exit 1
  fi
fi

# An environment whose interpreter is gone or has changed its version is of no use.
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  echo "setup: making .venv with $(python3 --version)"
  python3 -m venv --clear .venv
fi

key=$(sha256sum requirements.txt requirements-dev.txt requirements-models.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.ramet-pins 2>/dev/null)" != "$key" ]; then
  echo "setup: installing Python packages, which takes some minutes: $(grep -hv '^#' requirements*.txt | tr '\n' ' ')"
  pip=".venv/bin/python -m pip install --quiet --disable-pip-version-check"
  $pip -r requirements.txt
  $pip -r requirements.txt -r requirements-dev.txt
  $pip --no-deps -r requirements-models.txt
  echo "$key" >.venv/.ramet-pins
fi
