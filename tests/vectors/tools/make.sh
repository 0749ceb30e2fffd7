#!/bin/sh
# Makes test keys by other tools: make.sh DIR [TOOL…], where TOOL is a folder of DIR.
#
# A tool that is missing is reported as "not run", and the exit code is then 3.
# PYTHON names the interpreter, NODE_PATH the folder of npm packages, NIMBUS_CLASSPATH the JAR file of
# nimbus-jose-jwt, and NIMBUS_PACKAGE its package where another JAR file holds a renamed copy.
set -eu
here=$(cd "$(dirname "$0")" && pwd)/make
[ $# -ge 1 ] || { echo "usage: make.sh DIR [TOOL…]" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
shift
[ $# -ge 1 ] || set -- openssl node python go keytool nimbus

missing=0
# Says what is missing; succeeds where all is there.
has() {
    tool=$1
    shift
    for program; do
        command -v "$program" >/dev/null && continue
        echo "$tool: not run, $program is missing" >&2
        missing=3
        return 1
    done
}
# One line for each key: its name, and its modulus in base64url. Every exponent is AQAB.
public() {
    modulus=$(openssl x509 -noout -modulus 2>/dev/null <"$2" || openssl rsa -noout -modulus <"$2" 2>/dev/null)
    modulus=$(printf %s "${modulus#Modulus=}" | xxd -r -p | openssl base64 -A | tr '+/' '-_' | tr -d =)
    printf '%s %s\n' "$1" "$modulus" >>public.txt
}

for tool; do
    rm -rf "./$tool"
    mkdir "$tool"
    # The lines of an earlier run are of other keys.
    { grep -v "^$tool" public.txt || :; } >public.tmp 2>/dev/null
    mv public.tmp public.txt
    case $tool in
    openssl) if has "$tool" openssl xxd ssh-keygen; then . "$here/openssl.sh"; fi ;;
    node) if has "$tool" node; then node "$here/node.cjs"; fi ;;
    python) if has "$tool" "${PYTHON:=python3}"; then "$PYTHON" "$here/keys.py"; fi ;;
    go)
        if has "$tool" go; then
            GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$PWD/go/cache" go run "$here/keys.go"
            rm -r go/cache
        fi
        ;;
    keytool) if has "$tool" openssl xxd keytool; then . "$here/keytool.sh"; fi ;;
    nimbus)
        if [ -z "${NIMBUS_CLASSPATH:-}" ]; then
            echo "nimbus: not run, NIMBUS_CLASSPATH is not set" >&2
            missing=3
        elif has "$tool" java; then
            package=${NIMBUS_PACKAGE:-com.nimbusds}
            sed "s/^import com\.nimbusds/import $package/" "$here/Nimbus.java" >nimbus/Nimbus.java
            java -cp "$NIMBUS_CLASSPATH" nimbus/Nimbus.java
            rm nimbus/Nimbus.java
        fi
        ;;
    *)
        echo "$tool: no such tool" >&2
        exit 2
        ;;
    esac
done
exit $missing
