#!/usr/bin/env bash
# Rehearses the five reference systems (config/examples) and writes docs/reference-systems.md. Its argument is how many
# seeds of each scenario: 40 take some minutes with a `rehearsal` build, which FAILOVERD names. It ends with 1 where an
# objective was missed, as that of payments-fast is: the page says where.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=${1:-40}
failoverd=${FAILOVERD:-target/rehearsal/failoverd}
page=docs/reference-systems.md
sections=$(mktemp)
trap 'rm -f "$sections"' EXIT

failed=0
for name in payments-fast payments-audited payments-regulated migration-hub transactions; do
  "$failoverd" simulate --config "config/examples/$name.toml" --seeds "$seeds" --report markdown \
    --scenario steady-state --scenario region-lost --scenario planned-switchover --scenario failback \
    --scenario false-alarm --scenario drill-own --scenario drill-dns --scenario drill-fault \
    --scenario drill-tabletop >>"$sections" || failed=1
done
{
  sed -n '1,/^<!-- generated/p' "$page"
  printf '\n%s seeds of each scenario.\n\n' "$seeds"
  cat "$sections"
} >"$page.new"
mv "$page.new" "$page"
exit "$failed"
