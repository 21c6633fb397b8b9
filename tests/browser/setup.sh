#!/bin/sh
# Makes target/browser: playwright-core and axe-core from npm, and a Chromium: the machine's, or Debian's where it has none
# and may install one. Safe to repeat. Starts nothing.
set -eu
cd "$(dirname "$0")/../.."
here=tests/browser
there=target/browser
command -v npm >/dev/null || { echo "npm is missing: the browser tests need Node.js 20 or newer" >&2; exit 1; }
if ! cmp -s "$here/package-lock.json" "$there/package-lock.json" || [ ! -d "$there/node_modules/playwright-core" ]; then
  mkdir -p "$there"
  cp "$here/package.json" "$here/package-lock.json" "$there/"
  (cd "$there" && npm ci --ignore-scripts --no-audit --no-fund --silent)
fi
if ! command -v chromium >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
  else
    echo "chromium is missing (apt install chromium)" >&2
    exit 1
  fi
fi
# Fails here, rather than in a test, when an install is broken.
node -e "require('./$there/node_modules/playwright-core'); require('./$there/node_modules/axe-core')"
echo "$there is ready: $(chromium --version 2>/dev/null)"
