#!/usr/bin/env bash
# Builds the wheel of the Python package into build/python/wheels. Arrow stays pyarrow's; what other libraries it needs
# go along, if a system may lack them.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh python
venv=$PWD/build/python/.venv
rm -rf build/python/dist build/python/wheels
"$venv/bin/pip" wheel -q --disable-pip-version-check . --no-build-isolation --no-deps -w build/python/dist \
  -C build-dir='build/python/{wheel_tag}'
PATH=$venv/bin:$PATH auditwheel repair --exclude 'libarrow*' -w build/python/wheels build/python/dist/*.whl 2>&1 |
  { grep -v INFO || true; }
ls build/python/dist/*.whl 2>/dev/null ||
  PATH=$venv/bin:$PATH auditwheel repair --exclude 'libarrow*' -w build/python/wheels build/python/dist/*.whl
ls build/python/wheels/*.whl
