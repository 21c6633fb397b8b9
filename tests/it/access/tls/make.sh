#!/bin/sh
# Makes the certificates of these tests: two authorities, two servers for localhost, two clients. Good for 100 years.
set -eu
cd "$(dirname "$0")"
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 36500 \
        -subj "/CN=failoverd test $1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -out "$1.pem" -days 36500 -extfile "$1.ext"
    openssl pkcs8 -topk8 -nocrypt -in "$1.key" -out "$1.pk8" && mv "$1.pk8" "$1.key"
}
authority ours
authority theirs
leaf server ours serverAuth
leaf server-renewed ours serverAuth
leaf ann ours clientAuth
leaf bob ours clientAuth
leaf stranger theirs clientAuth
rm -f ./*.csr ./*.ext ./*.srl ours.key theirs.key
