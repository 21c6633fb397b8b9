#!/usr/bin/env bash
# Looks deploy/ and the Dockerfile over with the tools that were made for it, which it installs below target/: cfn-lint and
# hadolint (PyPI), promtool (Debian's prometheus, or the one on the PATH). Safe to repeat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=target/venv-deploy
if ! cmp -s tests/deploy/requirements.txt "$venv/.requirements"; then
  rm -rf "$venv"
  mkdir -p target
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/deploy/requirements.txt
  cp tests/deploy/requirements.txt "$venv/.requirements"
fi

promtool=$(command -v promtool || true)
if [[ -z $promtool ]]; then
  promtool=target/prometheus/usr/bin/promtool
  if [[ ! -x $promtool ]]; then
    fetched=$(mktemp -d)
    trap 'rm -rf "$fetched"' EXIT
    fetch() { (cd "$fetched" && apt-get download prometheus >/dev/null 2>&1); }
    fetch || { apt-get update >/dev/null && fetch; } || {
      echo "promtool is missing, and Debian's prometheus cannot be fetched (apt install prometheus)" >&2
      exit 1
    }
    mkdir -p target/prometheus
    dpkg -x "$fetched"/prometheus_*.deb target/prometheus
  fi
fi

"$venv/bin/cfn-lint" --regions us-east-1 us-east-2 us-west-2 -- deploy/*.yaml
"$venv/bin/hadolint" Dockerfile
"$promtool" check rules deploy/prometheus/failoverd.rules.yaml
"$promtool" test rules deploy/prometheus/failoverd.rules.test.yaml

# The dashboard's expressions as rules, so that promtool reads them too.
rules=$(mktemp --suffix .yaml)
python3 - deploy/grafana/failoverd.json >"$rules" <<'PY'
import json, sys
panels = json.load(open(sys.argv[1]))["panels"]
exprs = [t["expr"].replace("$application", "payments") for p in panels for t in p["targets"]]
assert exprs, "the dashboard asks for nothing"
print(json.dumps({"groups": [{"name": "dashboard", "rules": [{"record": f"x{i}", "expr": e} for i, e in enumerate(exprs)]}]}))
PY
"$promtool" check rules "$rules"
rm -f "$rules"
