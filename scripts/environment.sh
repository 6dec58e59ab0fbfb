# Shared by the scripts beside it: `use_environment EXTRA,...` puts this checkout and all that it needs into .venv, and
# .venv on the PATH. Needs Python 3.10 to 3.13 with its venv module, and nothing else; no root, no ROS, no GPU.
#
#   PYTHON=/path/to/python3.12 scripts/demo     another Python than the newest fitting one that is found
#
# What pip itself reads applies: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and so on. On x86 Linux, pip takes PyTorch with several
# GB of CUDA (only scripts/test needs PyTorch); for the small CPU build, point PIP_EXTRA_INDEX_URL to an index that has it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

fitting() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    fitting "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.10 to 3.13"
    echo "$PYTHON"
    return
  fi
  local name
  for name in python3 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$name" >/dev/null && fitting "$name"; then
      echo "$name"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found (python3 is $(python3 --version 2>&1 || echo missing)).
Install one (Debian, Ubuntu: apt install python3 python3-venv), or name one: PYTHON=/path/to/python3.12 $0"
}

# A sourced ROS installation has its own rclpy, often for another Python, and would shadow the one in .venv.
leave_ros() {
  # Set by the wheels themselves once they have found their libraries: those of another .venv, if it is set already.
  unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
  [ -n "${AMENT_PREFIX_PATH:-}" ] || return 0
  echo "(a ROS installation is sourced; this runs without it, on ROS 2 wheels in .venv)"
  local kept="" folder prefix
  local -a folders prefixes
  IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
  IFS=: read -ra prefixes <<<"$AMENT_PREFIX_PATH"
  for folder in "${folders[@]}"; do
    for prefix in "${prefixes[@]}"; do
      if [[ $folder == "$prefix"/* ]]; then continue 2; fi
    done
    kept="$kept${kept:+:}$folder"
  done
  export LD_LIBRARY_PATH=$kept
  unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH RMW_IMPLEMENTATION ROS_DISTRO
}

# Runs pip with a dot for each package, and shows what it said only if it failed. Compiling every module of every package
# is a third of pip's work; Python compiles the few that are used when they are.
quiet_pip() {
  local log=$environment/pip.log
  "$environment/bin/python" -m pip install --disable-pip-version-check --progress-bar off --no-compile "$@" 2>&1 \
    | tee "$log" | awk '/^ *Collecting/ { printf "."; fflush() } END { print "" }'
  if [ "${PIPESTATUS[0]}" -ne 0 ]; then
    tail -n 30 "$log" >&2
    fail "pip could not install the packages; the whole story is in $log. Is there a network, and room on the disk?"
  fi
}

use_environment() {
  local extras=$1 python wanted stamp
  cd "$root" || exit
  environment=$root/.venv
  leave_ros
  python=$(find_python) || exit
  wanted=$("$python" -V && cat setup.py pyproject.toml && echo "$root")
  stamp=$environment/.installed-${extras//,/-}

  if [ -x "$environment/bin/python" ] && [ "$("$environment/bin/python" -V)" != "$("$python" -V)" ]; then
    echo "making .venv again for $("$python" -V)"
    rm -rf "$environment"
  fi
  if [ ! -x "$environment/bin/pip" ]; then
    echo "making .venv with $("$python" -V)"
    rm -rf "$environment"
    "$python" -m venv "$environment" >/dev/null 2>&1 || {
      rm -rf "$environment"
      fail "$python cannot make a virtual environment: its venv module is not complete.
On Debian and Ubuntu: apt install python3-venv; without root, take another Python: PYTHON=/path/to/python3 $0"
    }
  fi
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    printf 'installing hybridnet_ros[%s] into .venv, once ' "$extras"
    quiet_pip --editable ".[$extras]"
    echo "$wanted" >"$stamp"
  fi
  export PATH=$environment/bin:$PATH
}
