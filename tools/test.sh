#!/usr/bin/env bash
# Builds and runs the suites: all tests, then those that need a sanitizer under it, then those of what is installed, and
# of the Python package.
# Prints the minutes of each.
# `test.sh all` runs every test under the sanitizers, the model test over more histories, and the kernels for aarch64.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh lance
all=OFF
if [[ ${1:-} == all ]]; then
  all=ON
  export PENNON_MODEL_SEEDS=1000
fi
times=()
failed=0
for suite in release tsan asan install python; do
  start=$SECONDS
  if [[ $suite == install ]]; then
    bash tools/test_install.sh || failed=1
  elif [[ $suite == python ]]; then
    bash tools/test_python.sh || failed=1
  else
    cmake --preset "$suite" -DPENNON_TEST_ALL=$all >/dev/null
    cmake --build --preset "$suite"
    ctest --test-dir "build/$suite" --output-on-failure --no-tests=error || failed=1
  fi
  elapsed=$((SECONDS - start))
  times+=("$(printf '%-8s %d min %02d s' "$suite" $((elapsed / 60)) $((elapsed % 60)))")
done
if [[ $all == ON ]]; then
  bash tools/test_aarch64.sh || failed=1
fi
printf '%s\n' "${times[@]}"
exit $failed
