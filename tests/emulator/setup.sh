#!/bin/sh
# Makes target/venv-ministack, which tests/it/independent_emulator.rs runs. Safe to repeat.
set -eu
cd "$(dirname "$0")/../.."
venv=target/venv-ministack
mkdir -p target
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/emulator/requirements.txt
# Fails here, rather than in a test, when an install is broken.
"$venv/bin/python" -c 'import cbor2, ministack'
echo "$venv is ready"
