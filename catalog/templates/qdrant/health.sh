#!/usr/bin/env bash
# Proves that Qdrant works: all of it is loaded, the key opens the collections, and another one does not.
# The image has no curl, but its bash speaks HTTP; printf is part of bash, so no list of processes shows the key.
set -eu

status() {
    exec 3<>/dev/tcp/127.0.0.1/6333
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\napi-key: %s\r\n\r\n' "$1" "$2" >&3
    read -r _ code _ <&3
    printf '%s' "$code"
}

expect() {
    code=$(status "$2" "$3") || exit 1
    case " $1 " in
        *" $code "*) ;;
        *)
            echo "GET $2 $4 is answered with $code instead of $1"
            exit 1
            ;;
    esac
}

key=$QDRANT__SERVICE__API_KEY
expect 200 /readyz "$key" "with the key"
expect 200 /collections "$key" "with the key"
expect "401 403" /collections "not-$key" "with a wrong key"
