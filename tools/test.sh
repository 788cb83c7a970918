#!/usr/bin/env bash
# Builds and runs the suites: all tests, then those that need a sanitizer under it. Prints the minutes of each.
# `test.sh all` runs every test under the sanitizers, the model test over more histories, and the kernels for aarch64.
set -euo pipefail
cd "$(dirname "$0")/.."
all=OFF
if [[ ${1:-} == all ]]; then
  all=ON
  export PENNON_MODEL_SEEDS=1000
fi
times=()
failed=0
for preset in release tsan asan; do
  start=$SECONDS
  cmake --preset "$preset" -DPENNON_TEST_ALL=$all >/dev/null
  cmake --build --preset "$preset"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error || failed=1
  elapsed=$((SECONDS - start))
  times+=("$(printf '%-8s %d min %02d s' "$preset" $((elapsed / 60)) $((elapsed % 60)))")
done
if [[ $all == ON ]]; then
  bash tools/test_aarch64.sh || failed=1
fi
printf '%s\n' "${times[@]}"
exit $failed
