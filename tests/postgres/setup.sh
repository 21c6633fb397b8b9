#!/bin/sh
# Makes target/postgres/bin: the programs of a PostgreSQL server, which tests/it/heartbeat.rs starts by itself.
# Takes what the machine has; installs Debian's where it has none and may; else takes the programs out of a wheel.
# Safe to repeat. Starts nothing.
set -eu
cd "$(dirname "$0")/../.."
bin=target/postgres/bin
mkdir -p target/postgres

# The newest server that is installed.
installed() {
  for initdb in $(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -t/ -k5 -n -r) \
    "$(pg_config --bindir 2>/dev/null || true)/initdb" "$(command -v initdb || true)"; do
    # A link in /usr/local/bin leads to the programs; their siblings are beside the target.
    [ -x "$initdb" ] && dir=$(dirname "$(readlink -f "$initdb")") && [ -x "$dir/postgres" ] && echo "$dir" && return
  done
  return 1
}

works() {
  [ -x "$bin/postgres" ] && [ -x "$bin/pg_basebackup" ] && "$bin/postgres" --version >/dev/null 2>&1
}

if ! works; then
  rm -rf "$bin"
  if dir=$(installed); then
    ln -s "$dir" "$bin"
  elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Debian's package would create and start a cluster of its own; this keeps it from that, where nobody chose.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
      echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
    dir=$(installed)
    ln -s "$dir" "$bin"
  else
    venv=target/venv-postgres
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/postgres/requirements.txt
    find='import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("pgserver").origin).parent)'
    dir=$("$venv/bin/python" -c "$find")/pginstall/bin
    case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
    ln -s "$dir" "$bin"
  fi
fi
# Fails here, rather than in a test, when an install is broken.
for program in postgres initdb pg_basebackup pg_ctl; do
  "$bin/$program" --version >/dev/null
done
echo "$bin is ready: $("$bin/postgres" --version)"
