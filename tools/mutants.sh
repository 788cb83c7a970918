#!/usr/bin/env bash
# Breaks the code on purpose, a patch of tools/mutants at a time, in a copy, and sees that the tests named in the patch
# fail. `mutants.sh [name...]`: only these. Prints 'N of N caught'; fails if one survives, no longer applies or does not
# compile. The first lines of a patch:
#   # breaks: what of which contract
#   # tests: test programs, at least one of which must fail
#   # preset: tsan, if it takes that; release else
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
copy=$root/build/mutants
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$copy"  # times stay as they are
# What an earlier run built of them is of a mutant, and newer than they are.
sed -n 's|^+++ b/||p' tools/mutants/*.patch | sort -u | (cd "$copy" && xargs touch -c)
mkdir -p "$copy/build"
ln -sfn "$root/build/.venv" "$copy/build/.venv"

patches=()
if (($#)); then
  for name in "$@"; do patches+=("tools/mutants/${name%.patch}.patch"); done
else
  patches=(tools/mutants/*.patch)
fi
field() { sed -n "s/^# $1: //p" "$2"; }  # of a patch's first lines

# Builds and runs tests of the copy. 0: they pass, 1: one fails, 2: they do not build.
check() {
  local preset=$1 log=$2
  shift 2
  cmake --build "$copy/build/$preset" --target "$@" >"$log" 2>&1 || return 2
  ctest --test-dir "$copy/build/$preset" --no-tests=error -R "^($(IFS='|' && echo "$*"))$" >"$log" 2>&1 || return 1
}

cd "$copy"
for preset in release tsan; do
  tests=$(for patch in "${patches[@]}"; do
    if [[ $(field preset "$patch") == "${preset/release/}" ]]; then field tests "$patch"; fi
  done | tr ' ' '\n' | sort -u)
  [[ -n $tests ]] || continue
  cmake --preset "$preset" -DPENNON_WERROR=OFF >/dev/null
  # shellcheck disable=SC2086
  check "$preset" "build/unbroken.log" $tests || { cat build/unbroken.log; echo "mutants: tests fail unbroken" >&2; exit 1; }
done

caught=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  preset=$(field preset "$patch")
  start=$SECONDS
  if patch -p1 -s -f -F0 --dry-run -i "$patch" >/dev/null; then
    result=0
    sed -n 's|^+++ b/||p' "$patch" | tar -cf build/unbroken.tar -T -
    patch -p1 -s -F0 -i "$patch"
    # shellcheck disable=SC2046
    check "${preset:-release}" "build/$name.log" $(field tests "$patch") || result=$?
    tar -xmf build/unbroken.tar  # newer than what was built of the mutant
  else
    result=3
  fi
  case $result in
    0) verdict=SURVIVED ;;
    1) verdict=caught && caught=$((caught + 1)) ;;
    2) verdict='does not compile' ;;
    3) verdict='does not apply' ;;
  esac
  printf '%-16s %-40s %4d s  %s\n' "$verdict" "$name" $((SECONDS - start)) "$(field breaks "$patch")"
done
echo "$caught of ${#patches[@]} caught"
((caught == ${#patches[@]}))
