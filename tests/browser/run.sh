#!/bin/sh
# The page in a real browser, over `failoverd demo --by-hand`. Pictures go to target/browser/pictures.
set -eu
cd "$(dirname "$0")/../.."
sh tests/browser/setup.sh
cargo build --locked --quiet --bin failoverd
export FAILOVERD_BIN="${CARGO_TARGET_DIR:-target}/debug/failoverd"
cp tests/browser/*.mjs target/browser/
exec node --test --test-concurrency=1 target/browser/page.test.mjs
