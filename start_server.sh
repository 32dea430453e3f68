#!/usr/bin/env bash
# From a fresh clone to a running server: environment, model, export, Triton, HTTP service.
#
#   bash start_server.sh [MODEL] [-- OPTIONS OF 'bgem3 serve']
#
#   bash start_server.sh                        the demo model: 384 dimensions, not BGE-M3
#   bash start_server.sh BAAI/bge-m3            from the hub (HF_ENDPOINT names a mirror)
#   bash start_server.sh /path/to/bge-m3        a folder with the checkpoint, no hub
#   bash start_server.sh models/bge-m3          what 'bgem3 export' has written
#   bash start_server.sh -- --port 8080         another port; 'bgem3 serve --help' has the rest
#
# Run it again, and it does only what is left to do. Ctrl-C stops the server in order. PYTHON names
# the Python to use, 3.11 or 3.12.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

find_python() {
  local candidate candidates=(python3.12 python3.11 python3 python)
  if [ -n "${PYTHON-}" ]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or 3.12 is needed, and none of these is one: ${candidates[*]}. Install it
  Debian, Ubuntu:  apt-get install python3.11 python3.11-venv libpython3.11
  with uv:         uv python install 3.11 && PYTHON=\"\$(uv python find 3.11)\" bash start_server.sh
or name it: PYTHON=/path/to/python3.11 bash start_server.sh"
}

# What `make` has installed is enough; without it only what a server needs is installed.
make_environment() {
  local stamp
  for stamp in .venv/installed .venv/installed-server; do
    if [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ]; then
      return
    fi
  done
  local python
  python=$(find_python)
  echo "making .venv with $("$python" --version); this takes a minute or two" >&2
  "$python" -m venv .venv \
    || fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install $(basename "$python")-venv"
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
  touch .venv/installed-server
}

main() {
  local model=demo
  case ${1-} in
    -h | --help)
      usage
      return
      ;;
    -- | "") ;;
    -*) fail "options of 'bgem3 serve' go behind --, as in: bash start_server.sh -- $*" ;;
    *)
      model=$1
      shift
      ;;
  esac
  case ${1-} in
    --) shift ;;
    "") ;;
    *) fail "one model, then -- and options, not '$1'; see bash start_server.sh --help" ;;
  esac
  # A folder is meant as seen from where the script was called.
  if [ -d "$model" ]; then
    model=$(cd "$model" && pwd)
  fi
  cd "$(dirname "${BASH_SOURCE[0]}")"
  make_environment

  local repository=$model
  if [ ! -f "$model/bge_m3/config.pbtxt" ]; then
    if [ "$model" = demo ]; then
      echo "demo model: 384 dimensions, not BGE-M3; name another: bash start_server.sh BAAI/bge-m3" >&2
    fi
    repository=models/$(basename "$model")
    .venv/bin/bgem3 export "$model" --output "$repository" --reuse >&2
  fi
  exec .venv/bin/bgem3 serve "$repository" "$@"
}

main "$@"
