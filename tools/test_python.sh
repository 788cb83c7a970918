#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh virtual environment, and runs its tests there, where there is no compiler,
# and sees that its types, its style and what it says of a wrong pyarrow are right.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/wheel.sh
venv=$PWD/build/python/test
python3 -m venv --clear "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: build/python/wheels/*.whl -r python/requirements-test.txt
fail() { echo "test-python: $1" >&2; exit 1; }

# Nothing but this environment is on the path.
clean() { env -i PATH="$venv/bin" HOME="$HOME" LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 "$@"; }
clean pytest
clean ruff check python
clean ruff format --check python
clean mypy
clean pyright --pythonpath "$venv/bin/python"

# Of Debian's packages it needs none but those of the C and C++ runtime.
needed=$(readelf -d "$venv"/lib/python3*/site-packages/pennon/_core*.so | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
! grep -vE '^(libarrow(_python)?\.so\.[0-9]+|lib(stdc\+\+|m|gcc_s|c)\.so\.[0-9]+|ld-linux.*)$' <<<"$needed" ||
  fail "the extension needs these libraries"

# Of a pyarrow that does not fit, and of none, it says what to install, before the extension is loaded.
other=$(mktemp -d)
trap 'rm -rf "$other"' EXIT
mkdir "$other/pyarrow"
echo '__version__ = cpp_version = "24.0.0"' >"$other/pyarrow/__init__.py"
! text=$(PYTHONPATH=$other "$venv/bin/python" -c 'import pennon' 2>&1) || fail "another pyarrow is taken"
[[ $text == *"ImportError: pennon was built with pyarrow "*", but found pyarrow 24.0.0; run: pip install 'pyarrow=="* ]] ||
  fail "of another pyarrow it says: $text"
echo 'raise ImportError("none")' >"$other/pyarrow/__init__.py"
! text=$(PYTHONPATH=$other "$venv/bin/python" -c 'import pennon' 2>&1) || fail "without a pyarrow it is imported"
[[ $text == *"ImportError: pennon was built with pyarrow "*"run: pip install 'pyarrow=="* ]] ||
  fail "without a pyarrow it says: $text"
echo "test-python: passed"
