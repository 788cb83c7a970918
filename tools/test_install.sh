#!/usr/bin/env bash
# Installs Pennon, static and shared, takes away what was built, and looks at what is installed: it names neither source
# nor build tree, each header compiles alone, the shared library exports public names alone, and the examples find it,
# build and run, with Arrow from the places that cmake/pennonArrow.cmake lists.
set -euo pipefail
cd "$(dirname "$0")/.."
unset LD_LIBRARY_PATH Arrow_ROOT CMAKE_PREFIX_PATH PKG_CONFIG_PATH
venv=$PWD/build/.venv
pyarrow=$("$venv/bin/python" -c 'import pyarrow; print(pyarrow.__path__[0])')
version=$("$venv/bin/python" -c 'import pyarrow; print(pyarrow.cpp_version)')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "test-install: $1" >&2; exit 1; }

for kind in static shared; do
  cmake -S . -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DPENNON_VENV="$venv" \
    -DBUILD_SHARED_LIBS=$([[ $kind == shared ]] && echo ON || echo OFF) >/dev/null
  cmake --build "$work/build"
  cmake --install "$work/build" --prefix "$work/$kind" >/dev/null
done
cp -r examples "$work"
rm -rf "$work/build"

for kind in static shared; do
  ! grep -rlF -e "$PWD" -e "$work" "$work/$kind" || fail "these files name the source or the build tree"
  [[ $("$work/$kind/bin/pennon" --version) == $(sed -n 's/^Version: //p' "$work/$kind/lib/pkgconfig/pennon.pc") ]] ||
    fail "the program does not tell the version"
done
for header in "$work"/static/include/pennon/*.h; do
  c++ -std=c++20 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -isystem "$pyarrow/include" -include "$header" \
    -I "$work/static/include" -x c++ /dev/null || fail "${header##*/} does not compile alone"
done
exported=$(nm -DC --defined-only "$work/shared/lib/libpennon.so")
! grep -vE '^[0-9a-f]+ T pennon::v[0-9_]+::(lance::)?\w+(::~?\w+=?)?(\[abi:cxx11\])?\(' <<<"$exported" || fail "these names should be hidden"

# configure KIND CMAKE_ARGUMENT...
configure() {
  cmake -S "$work/examples" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/$1" --fresh "${@:2}"
}
run_examples() {
  configure "$@" >/dev/null
  cmake --build "$work/consumer"
  ctest --test-dir "$work/consumer" --output-on-failure --no-tests=error
}
run_examples static -DArrow_ROOT="$pyarrow"
PATH=$venv/bin:$PATH run_examples shared

# An Arrow's CMake package.
mkdir -p "$work/arrow/lib/cmake/Arrow"
cat >"$work/arrow/lib/cmake/Arrow/ArrowConfigVersion.cmake" <<<"set(PACKAGE_VERSION $version)
set(PACKAGE_VERSION_COMPATIBLE TRUE)"
cat >"$work/arrow/lib/cmake/Arrow/ArrowConfig.cmake" <<<"set(ARROW_VERSION $version)
add_library(Arrow::arrow_shared SHARED IMPORTED)
set_target_properties(Arrow::arrow_shared PROPERTIES
  IMPORTED_LOCATION $(echo "$pyarrow"/libarrow.so.*) INTERFACE_INCLUDE_DIRECTORIES $pyarrow/include)"
configure static -DArrow_ROOT="$work/arrow" >/dev/null || fail "an Arrow's CMake package is not found"

# An Arrow of another soname, and none.
sed -i 's/ARROW_VERSION .*/ARROW_VERSION 24.1.0)/' "$work/arrow/lib/cmake/Arrow/ArrowConfig.cmake"
! output=$(configure shared -DArrow_ROOT="$work/arrow" 2>&1) || fail "another Arrow is taken"
[[ $output == *"Found Arrow C++ 24.1.0"*"Arrow C++ ${version%.*}"* ]] || fail "of another Arrow it says: $output"
ln -s /bin/false "$work/python3"
! output=$(PATH=$work:$PATH configure static -DCMAKE_DISABLE_FIND_PACKAGE_Arrow=ON 2>&1) || fail "where is that Arrow?"
[[ $output == *"There is no"* ]] || fail "without an Arrow it says: $output"

for kind in static shared; do
  export PKG_CONFIG_PATH=$work/$kind/lib/pkgconfig
  flags=$(pkg-config --define-variable=pyarrow="$pyarrow" --cflags --libs pennon)
  # shellcheck disable=SC2086
  c++ -std=c++20 "$work/examples/snapshot.cc" -o "$work/snapshot" $flags -Wl,-rpath,"$work/$kind/lib"
  "$work/snapshot" >/dev/null || fail "the example built with pkg-config"
done
echo "test-install: passed"
