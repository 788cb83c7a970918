#!/usr/bin/env bash
# Installs what the build needs and the machine lacks: Debian packages, and Arrow C++ from the pyarrow wheel.
# `setup.sh lint` adds the formatter and the linter, `setup.sh bench` the peers of the benchmark and hnswlib's headers,
# `setup.sh python` what builds the Python package, `setup.sh bench-micro` Google Benchmark, `setup.sh fuzz` Clang with libFuzzer, `setup.sh lance` the libraries that read the
# Lance tables of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(ninja-build libgtest-dev libcli11-dev libfmt-dev nlohmann-json3-dev libprotozero-dev pkg-config python3-venv)
[[ ${1:-} != bench && ${1:-} != python ]] || packages+=(python3-dev)
[[ ${1:-} != bench-micro ]] || packages+=(libbenchmark-dev)
[[ ${1:-} != fuzz ]] || packages+=(clang-16 libclang-rt-16-dev)
if command -v dpkg-query >/dev/null; then
  missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  if ((${#missing[@]})); then
    echo "setup: installing ${missing[*]}"
    sudo=()
    if [[ $(id -u) != 0 ]]; then
      command -v sudo >/dev/null || { echo "setup: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
      sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  fi
else
  echo "setup: not a Debian system; needed are Ninja, GoogleTest, CLI11 2.1, fmt 9, nlohmann-json 3.11, protozero 1.7, pkg-config, python3-venv" >&2
fi

pyarrow=26.0.1
if [[ ! -e build/.venv/pyarrow-$pyarrow ]]; then
  echo "setup: installing pyarrow $pyarrow, which carries Arrow C++, into build/.venv"
  mkdir -p build
  python3 -m venv --clear build/.venv
  build/.venv/bin/pip install -q --disable-pip-version-check "pyarrow==$pyarrow"
  touch "build/.venv/pyarrow-$pyarrow"
fi

if [[ ${1:-} == lint && ! -e build/.venv/lint-19.1 ]]; then
  build/.venv/bin/pip install -q --disable-pip-version-check clang-format==19.1.7 clang-tidy==19.1.0
  touch build/.venv/lint-19.1
fi

if [[ ${1:-} == lance ]] && ! cmp -s tests/interop/requirements.txt build/lance/.venv/installed; then
  echo "setup: installing pylance, LanceDB and servers that speak S3 and Google's storage into build/lance/.venv"
  mkdir -p build/lance
  python3 -m venv --clear build/lance/.venv
  build/lance/.venv/bin/pip install -q --disable-pip-version-check -r tests/interop/requirements.txt
  cp tests/interop/requirements.txt build/lance/.venv/installed
fi

if [[ ${1:-} == python ]] && ! cmp -s python/requirements-build.txt build/python/.venv/installed; then
  mkdir -p build/python
  python3 -m venv --clear build/python/.venv
  build/python/.venv/bin/pip install -q --disable-pip-version-check -r python/requirements-build.txt
  cp python/requirements-build.txt build/python/.venv/installed
fi

if [[ ${1:-} == bench ]] && ! cmp -s bench/requirements.txt build/bench/.venv/installed; then
  mkdir -p build/bench
  python3 -m venv --clear build/bench/.venv
  build/bench/.venv/bin/pip install -q --disable-pip-version-check -r bench/requirements.txt
  cp bench/requirements.txt build/bench/.venv/installed
fi

hnswlib=$(grep '^hnswlib==' bench/requirements.txt)
if [[ ${1:-} == bench && ! -e build/bench/hnswlib/$hnswlib ]]; then
  rm -rf build/bench/hnswlib
  build/bench/.venv/bin/pip download -q --disable-pip-version-check --no-deps --no-binary hnswlib \
    -d build/bench/hnswlib "$hnswlib"
  tar xzf build/bench/hnswlib/*.tar.gz -C build/bench/hnswlib --strip-components 1
  touch "build/bench/hnswlib/$hnswlib"
fi
