#!/usr/bin/env bash
# Runs a built binary as the image does, where no engine that builds images is at hand: from a root that has the binary,
# what it links against, roots of trust, the configuration and the runbooks, and nothing else: no shell, nothing that may
# be written but /var/lib/failoverd, and no rights. Its argument is the binary; it must be run as root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary=$(realpath "$1")
if ! unshare --mount --pid --fork true; then
  echo "NOT RUN: this machine gives no mount namespaces (be root)" >&2
  exit 0
fi
root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT

# As in the Dockerfile: distroless/cc has glibc, libgcc, roots of trust and a user 65532.
mkdir -p "$root"/{etc/ssl/certs,etc/failoverd,var/lib/failoverd,proc,dev,tmp}
strip --strip-debug -o "$root/failoverd" "$binary"
cp -r config/. "$root/etc/failoverd/"
cp -r runbooks "$root/etc/failoverd/runbooks"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'nonroot:x:65532:65532::/:/none\n' >"$root/etc/passwd"
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
chown 65532:65532 "$root/var/lib/failoverd"
printf '%s files, %s in all\n' "$(find "$root" -type f | wc -l)" "$(du -sh "$root" | cut -f1)"

# The root is bound over itself and remounted, so that it cannot be written; what the program may write is bound anew.
run() {
  unshare --mount --pid --fork bash -euc '
    root=$1; shift
    mount --bind "$root" "$root"
    mount --bind "$root/var/lib/failoverd" "$root/var/lib/failoverd"
    mount -t proc proc "$root/proc"
    mount -o remount,bind,ro "$root"
    exec chroot --userspec=65532:65532 "$root" /failoverd "$@"
  ' empty-root "$root" "$@"
}

# The examples lie beside the runbooks in the tree, and in the image as the configuration does.
FAILOVERD__RUNBOOKS__DIRECTORY=/etc/failoverd/runbooks run check --config /etc/failoverd/examples/payments-fast.toml | tail -n 1
TMPDIR=/var/lib/failoverd run demo | tail -n 12
echo "it runs from an empty root, which it cannot write"
