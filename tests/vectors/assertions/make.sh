#!/bin/sh
# Signs every *.claims.json here under header.json with the test key, by OpenSSL alone.
set -eu
cd "$(dirname "$0")"
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
for claims in *.claims.json; do
    input="$(base64url <header.json).$(base64url <"$claims")"
    signature="$(printf %s "$input" | openssl dgst -sha256 -sign ../keys/rsa-2048-pkcs8.pem | base64url)"
    printf '%s.%s\n' "$input" "$signature" >"${claims%.claims.json}.jws"
done
