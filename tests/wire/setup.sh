#!/bin/sh
# Makes the virtual environment of the wire tests, once per content of requirements.txt. Prints its path.
# Usage: setup.sh [DIRECTORY]   (default: $CARGO_TARGET_TMPDIR or target, and /wire-venv in it)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-${CARGO_TARGET_TMPDIR:-$here/../../target}/wire-venv}
stamp=$venv/.requirements
if [ -f "$stamp" ] && cmp -s "$stamp" "$here/requirements.txt"; then
    echo "$venv"
    exit 0
fi
command -v python3 >/dev/null || {
    echo "python3 is missing: the wire tests drive boto3 and the aws command line (Debian: apt install python3 python3-venv)" >&2
    exit 1
}
rm -rf "$venv"
python3 -m venv "$venv" >&2 || {
    echo "python3 cannot make a virtual environment (Debian: apt install python3-venv)" >&2
    exit 1
}
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
cp "$here/requirements.txt" "$stamp"
echo "$venv"
