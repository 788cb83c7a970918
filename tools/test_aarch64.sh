#!/usr/bin/env bash
# The NEON kernels without an aarch64 machine: builds the kernels and their Arrow-free test for aarch64 and runs it under
# qemu. Installs the cross-compiler and qemu; says SKIPPED where that is not possible.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/aarch64

packages=(g++-aarch64-linux-gnu qemu-user libgtest-dev)
skip() { echo "test-aarch64: SKIPPED: $1"; exit 0; }
installed() {
  command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null && [[ -d /usr/src/googletest ]]
}
if ! installed; then
  command -v apt-get >/dev/null || skip "not a Debian system, and there is no ${packages[*]}"
  sudo=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || skip "need root or sudo to install ${packages[*]}"
    sudo=(sudo)
  fi
  echo "test-aarch64: installing ${packages[*]}"
  "${sudo[@]}" apt-get update -qq || true
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null || true
  installed || skip "apt-get could not install ${packages[*]}"
fi

mkdir -p $out
build() { aarch64-linux-gnu-g++ -std=c++20 -ffp-contract=off -Wall -Wextra -Wno-psabi -Werror "$@"; }
gtest=/usr/src/googletest/googletest
for source in $gtest/src/gtest-all.cc $gtest/src/gtest_main.cc; do
  object=$out/$(basename $source .cc).o
  [[ -e $object ]] || build -O1 -I $gtest -c $source -o $object
done
mapfile -t kernels < <(ls src/kernels/*.cc | grep -v _avx)
build -O3 -DNDEBUG -I src "${kernels[@]}" tests/kernels/same_bits_test.cc $out/gtest*.o -o $out/same_bits_test

run() { qemu-aarch64 -L /usr/aarch64-linux-gnu $out/same_bits_test --gtest_brief=1 "$@"; }
unset PENNON_SIMD
run
for simd in portable neon; do PENNON_SIMD=$simd run --gtest_filter='*IsChosen*'; done
echo "test-aarch64: passed"
