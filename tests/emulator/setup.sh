#!/bin/sh
# Makes target/venv-ministack and target/dynalite: the emulators that tests/it runs. Safe to repeat.
set -eu
cd "$(dirname "$0")/../.."
venv=target/venv-ministack
mkdir -p target
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/emulator/requirements.txt
# Fails here, rather than in a test, when an install is broken.
"$venv/bin/python" -c 'import cbor2, ministack'
echo "$venv is ready"
# dynalite, a second DynamoDB, where npm is: tests/it/store_conformance.rs skips it, and says so, where it is not.
if command -v npm >/dev/null; then
    here=tests/emulator/dynalite
    there=target/dynalite
    if ! cmp -s "$here/package-lock.json" "$there/package-lock.json" || [ ! -x "$there/node_modules/.bin/dynalite" ]; then
        mkdir -p "$there"
        cp "$here/package.json" "$here/package-lock.json" "$there/"
        (cd "$there" && npm ci --ignore-scripts --no-audit --no-fund --silent)
    fi
    echo "$there is ready"
else
    echo "npm is missing: dynalite is not installed, and the tests over it are skipped"
fi
