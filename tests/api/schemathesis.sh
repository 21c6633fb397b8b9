#!/usr/bin/env bash
# Asks the API of a demo whatever its own description permits, and much that it does not, with schemathesis: no answer may
# be a 5xx or one that the description does not have. What a schema cannot say (that an id is of a run that there is) is no
# fault: `positive_data_acceptance` is left out. Arguments: the binary, and for how many seconds (600).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

failoverd=$(realpath "${1:-target/debug/failoverd}")
seconds=${2:-600}
venv=$PWD/target/venv-schemathesis
if ! cmp -s tests/api/requirements.txt "$venv/.requirements"; then
  rm -rf "$venv"
  mkdir -p target
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/api/requirements.txt
  cp tests/api/requirements.txt "$venv/.requirements"
fi

place=$(mktemp -d)
trap 'kill "$demo" 2>/dev/null || true; rm -rf "$place"' EXIT
TMPDIR=$place "$failoverd" demo --stay >"$place/demo.log" 2>&1 &
demo=$!
# The failover comes first: what is asked of a run that is over, and of one that is not, differs.
for _ in $(seq 1 600); do
  grep -q 'still running' "$place/demo.log" && break
  kill -0 "$demo" || { cat "$place/demo.log" >&2; exit 1; }
  sleep 0.2
done
url=$(grep -o 'FAILOVERD_URL=[^ ]*' "$place/demo.log" | cut -d= -f2)
token=$(grep -o 'FAILOVERD_TOKEN=[^ ]*' "$place/demo.log" | cut -d= -f2)

# From there: it keeps caches of its own in the working directory.
cd "$place"
"$venv/bin/schemathesis" run "$url/openapi.json" --header "Authorization: Bearer $token" --no-color \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
  --max-time "$seconds" --rate-limit 60/s --seed 20261122
