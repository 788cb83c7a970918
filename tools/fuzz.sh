#!/usr/bin/env bash
# `fuzz.sh SECONDS [TARGET...]`: builds the fuzz targets of tests/fuzz in build/fuzz and runs each for so long, two at a
# time, from the seeds and from what earlier runs have found: build/fuzz/corpus. Prints the seconds, the executions and
# a hash of the corpus of each. Fails on a finding; the input is then kept in build/fuzz/findings.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
build=$PWD/build/fuzz
targets=("$@")
if ((${#targets[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cc; do targets+=("$(basename "$source" .cc)"); done
fi
"$build/tests/fuzz/make_corpus" "$build/seeds"

# Arrow gets an error for what is too large, new does not.
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=512 ARROW_DEFAULT_MEMORY_POOL=system
fuzz() {
  local target=$1 corpus=$build/corpus/$1 log=$build/$1.log start=$SECONDS failed=0
  mkdir -p "$corpus" "$build/findings"
  "$build/tests/fuzz/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=4096 -len_control=0 \
    -print_final_stats=1 -artifact_prefix="$build/findings/$target-" "$corpus" "$build/seeds/$target" \
    >"$log" 2>&1 || failed=1
  local executions hash
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  hash=$(cd "$corpus" && find . -type f | LC_ALL=C sort | xargs -r -d '\n' sha256sum | sha256sum | cut -c 1-16)
  printf '%-22s %5d s %10s executions, %5d inputs, corpus %s\n' "$target" $((SECONDS - start)) "${executions:-?}" \
    "$(find "$corpus" -type f | wc -l)" "$hash"
  if ((failed)); then
    grep -E '^broken:|ERROR:|runtime error|Test unit written' "$log" || tail -20 "$log"
    echo "$target: the whole report is in $log"
  fi
  return $failed
}
export -f fuzz
export build seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -n 1 bash -c 'fuzz "$1"' fuzz
