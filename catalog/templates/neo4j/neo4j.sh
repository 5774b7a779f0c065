#!/usr/bin/env bash
# What is asked of Neo4j from within its container: whether it works, and what it holds. bash speaks the HTTP of the Query API,
# so that no JVM starts for a check; printf is part of bash, so no list of processes shows the password.
#   health   the password opens the graph, and another one does not
#   count    what the graph holds, as JSON
#   drill    without a server: start Neo4j on the volumes that were just loaded, count, and stop it
set -eu

# Send a statement with a password; the answer stays in $answer.
ask() {
    local statement=$1 password=$2 body token
    body="{\"statement\": \"$statement\", \"accessMode\": \"READ\"}"
    token=$(printf 'neo4j:%s' "$password" | base64 --wrap=0)
    exec 3<>/dev/tcp/127.0.0.1/7474
    printf 'POST /db/neo4j/query/v2 HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic %s\r\nAccept: application/json\r\n' \
        "$token" >&3
    printf 'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body" >&3
    answer=$(cat <&3)
    exec 3>&-
}

# The one value in the one row that a statement returns, as JSON.
value() {
    ask "$1" "${NEO4J_AUTH#*/}"
    if [[ $answer =~ \"values\":\ ?\[\[(.*)\]\]\} ]]; then
        printf '%s' "${BASH_REMATCH[1]}"
        return
    fi
    echo "the graph did not answer: $(printf '%s' "$answer" | tail -n 1 | cut -c 1-300)" >&2
    return 1
}

health() {
    value 'MATCH (n) RETURN count(n)' >/dev/null
    ask 'RETURN 1' "not-${NEO4J_AUTH#*/}"
    case $answer in
        "HTTP/1."?" 401"* | "HTTP/1."?" 429"*) ;;
        *)
            echo "a wrong password is answered with ${answer%%$'\r'*} instead of 401" >&2
            return 1
            ;;
    esac
}

# One text of names and numbers.
list() {
    value "$1 AS name WITH name, count(*) AS number ORDER BY name \
WITH collect(name + ':' + toString(number)) AS entries RETURN reduce(text = '', entry IN entries | text + entry + ' ')"
}

count() {
    local nodes relationships node_properties relationship_properties labels types
    nodes=$(value 'MATCH (n) RETURN count(n)')
    relationships=$(value 'MATCH ()-[r]->() RETURN count(r)')
    node_properties=$(value 'MATCH (n) RETURN toInteger(coalesce(sum(size(keys(n))), 0))')
    relationship_properties=$(value 'MATCH ()-[r]->() RETURN toInteger(coalesce(sum(size(keys(r))), 0))')
    labels=$(list 'MATCH (n) UNWIND labels(n)')
    types=$(list 'MATCH ()-[r]->() WITH type(r)')
    printf '{"nodes": %s, "relationships": %s, "node_properties": %s, "relationship_properties": %s, "labels": %s, "types": %s}\n' \
        "$nodes" "$relationships" "$node_properties" "$relationship_properties" "$labels" "$types"
}

drill() {
    local server waited=0
    # The first password of an empty server is the one of today: a dump holds the graph, not the users.
    /startup/docker-entrypoint.sh neo4j >&2 &
    server=$!
    until value 'RETURN 1' >/dev/null 2>&1; do
        waited=$((waited + 1))
        if ! kill -0 "$server" 2>/dev/null || [ "$waited" -gt 300 ]; then
            echo "Neo4j did not start on the loaded data" >&2
            return 1
        fi
        sleep 1
    done
    count
    kill -TERM "$server"
    wait "$server" || true
}

case ${1:-} in
    health | count | drill) "$1" ;;
    *)
        echo "usage: neo4j.sh health|count|drill" >&2
        exit 2
        ;;
esac
