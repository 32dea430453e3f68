#!/bin/sh
# Installs this bundle on a machine without network:
#
#   sh install.sh [--models FOLDER] FOLDER
#
# FOLDER becomes a Python environment with bin/bgem3 in it. PYTHON names the Python to use, where it is
# not on PATH.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

version=$(sed -n 's/^  "python": "\(.*\)",$/\1/p' "$here/bundle.json")
# python3 may be it too; which version it is, is checked then.
for python in ${PYTHON:-"python$version" python3}; do
  if "$python" -c '' 2>/dev/null; then
    exec "$python" -I -B "$here/install.py" "$@"
  fi
done
if [ -n "${PYTHON:-}" ]; then
  echo "error: $PYTHON is no Python that can be run (PYTHON)" >&2
else
  echo "error: there is no python$version on this machine; on Debian and Ubuntu:" \
    "apt-get install python$version-venv libpython$version" >&2
fi
exit 1
