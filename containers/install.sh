#!/bin/sh
# Make an environment with starvsr, from the source tree that this script lies in.
#
#   containers/install.sh TARGET [EXTRAS [TORCH_ARGS]]
#
# TARGET      folder of the environment, which is not there yet
# EXTRAS      extras of the package, separated by commas
# TORCH_ARGS  arguments of pip for torch, as "--index-url INDEX"
# PIP_ARGS    (environment) arguments of pip for everything
# PYTHON      (environment) the interpreter; default: python3
#
# What is left is compiled, so that nothing is written when it runs on a read-only disk.
set -eu

target=$1
extras=${2:-}
torch_args=${3:-}
source=$(cd "$(dirname "$0")/.." && pwd)

if [ -e "$target" ]; then
  echo "$target is there already: name a folder that is not" >&2
  exit 1
fi
"${PYTHON:-python3}" -m venv "$target"
pip() {
  # the arguments in variables are words
  # shellcheck disable=SC2086
  "$target/bin/python" -m pip --disable-pip-version-check --no-cache-dir "$@" ${PIP_ARGS:-}
}
# shellcheck disable=SC2086
pip install -c "$source/constraints.txt" torch $torch_args
pip install -c "$source/constraints.txt" "$source${extras:+[$extras]}"
"$target/bin/python" -m compileall -q "$target/lib" || true # some packages carry files for other Pythons
"$target/bin/starvsr" --version
