#!/usr/bin/env bash
# Makes the database cluster at the first start and runs PostgreSQL, with the variables of the official image.
#
# The cluster is made in $PGDATA/.initdb and moved up only when everything is done, PG_VERSION last. So a container that
# is killed at any moment leaves one of three states, and each is told apart by what is there:
#   PG_VERSION                          a finished cluster: never touched
#   .initdb/.finished                   finished, but not all moved up: the move goes on
#   .initdb without .finished           never finished, holds nothing of anybody's: removed and made again
set -Eeuo pipefail

staging_name=.initdb

fail() {
    printf 'docker-entrypoint: %s\n' "$*" >&2
    exit 1
}

# value_of NAME [DEFAULT]: the value of NAME, or of the file that NAME_FILE names, becomes NAME's value.
value_of() {
    local name=$1 file_name=$1_FILE
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        fail "both $name and $file_name are set; set only one of them"
    fi
    if [ -n "${!file_name:-}" ]; then
        [ -r "${!file_name}" ] || fail "$file_name names ${!file_name}, which cannot be read"
        printf -v "$name" '%s' "$(< "${!file_name}")"
    elif [ -z "${!name:-}" ]; then
        printf -v "$name" '%s' "${2:-}"
    fi
    export "${name?}"
    unset "$file_name"
}

# wants_help ARGUMENTS...: whether the arguments only ask PostgreSQL for information, so that no cluster is needed.
wants_help() {
    local argument
    for argument; do
        case "$argument" in
            -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

prepare_folders() {
    mkdir -p "$PGDATA"
    # Some volumes allow no change of mode, and the socket's folder may be read-only. The server refuses a data folder
    # that is too open, and says so if it cannot make its socket.
    chmod 0700 "$PGDATA" 2> /dev/null || true
    mkdir -p /var/run/postgresql 2> /dev/null || true
    chmod 3777 /var/run/postgresql 2> /dev/null || true
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres:postgres {} +
        find /var/run/postgresql \! -user postgres -exec chown postgres:postgres {} +
        if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
            mkdir -p "$POSTGRES_INITDB_WALDIR"
            chmod 0700 "$POSTGRES_INITDB_WALDIR"
            find "$POSTGRES_INITDB_WALDIR" \! -user postgres -exec chown postgres:postgres {} +
        fi
    fi
}

check_settings() {
    case "$POSTGRES_HOST_AUTH_METHOD" in
        trust) echo 'docker-entrypoint: POSTGRES_HOST_AUTH_METHOD=trust: anybody who reaches the port gets in' >&2 ;;
        *)
            [ -n "$POSTGRES_PASSWORD" ] || fail 'no superuser password: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE'
            ;;
    esac
    local entry
    for entry in "$final"/* "$final"/.[!.]*; do
        case "$entry" in
            */lost+found | "$final/$staging_name" | "$final/*" | "$final/.[!.]*") ;;
            *) fail "$final has no PG_VERSION but is not empty (${entry##*/}); it is left alone: empty it, or mount another folder" ;;
        esac
    done
}

run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh)
                echo "docker-entrypoint: $script"
                if [ -x "$script" ]; then
                    "$script"
                else
                    # As in the official image: a script that is not executable runs in this shell.
                    # shellcheck disable=SC1090
                    . "$script"
                fi
                ;;
            *.sql) echo "docker-entrypoint: $script"; run_sql -f "$script" ;;
            *.sql.gz) echo "docker-entrypoint: $script"; gunzip -c "$script" | run_sql ;;
            *.sql.xz) echo "docker-entrypoint: $script"; xzcat "$script" | run_sql ;;
            *.sql.zst) echo "docker-entrypoint: $script"; zstd -dc "$script" | run_sql ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) echo "docker-entrypoint: $script is of no known kind, ignored" ;;
        esac
    done
}

# run_sql ARGUMENTS...: psql as the superuser, in POSTGRES_DB unless another database is named.
run_sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password \
        --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

# Scripts written for the official image call its function by this name.
docker_process_sql() {
    run_sql "$@"
}

make_cluster() {
    local -a initdb_arguments=()
    # Split like a shell would: that is how the official image reads this variable.
    eval "initdb_arguments=(${POSTGRES_INITDB_ARGS:-})"
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        initdb_arguments+=(--waldir "$POSTGRES_INITDB_WALDIR")
    fi
    rm -rf "$PGDATA"
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        # What an attempt that was cut off left there; a cluster that was ever finished never comes here.
        find "$POSTGRES_INITDB_WALDIR" -mindepth 1 -delete
    fi
    # UTF8 comes first, so that POSTGRES_INITDB_ARGS may still say otherwise.
    initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --encoding UTF8 \
        --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") "${initdb_arguments[@]}"
    printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >> "$PGDATA/pg_hba.conf"
}

# first_start SERVER_ARGUMENTS...: a server on the local socket only, for the database and the scripts.
first_start() {
    # As a word list, because printf prints an empty word where there are no arguments at all.
    set -- "$@" -c listen_addresses= -p "${PGPORT:-5432}"
    pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@")" -w start
    if [ "$POSTGRES_DB" != postgres ]; then
        run_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
    fi
    run_scripts
    pg_ctl -D "$PGDATA" -m fast -w stop
}

# Moves the finished cluster to its place. May be cut off anywhere and begun again.
move_up() {
    local entry
    for entry in "$final/$staging_name"/* "$final/$staging_name"/.[!.]*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        case "${entry##*/}" in
            PG_VERSION | .finished) ;;
            *) mv -f "$entry" "$final/" ;;
        esac
    done
    sync -f "$final"
    mv -f "$final/$staging_name/PG_VERSION" "$final/PG_VERSION"
    sync -f "$final"
}

initialise() {
    final=$PGDATA
    if [ -e "$final/$staging_name/.finished" ]; then
        echo 'docker-entrypoint: the first start was cut off after its last step; finishing it'
    else
        value_of POSTGRES_PASSWORD
        value_of POSTGRES_USER postgres
        value_of POSTGRES_DB "$POSTGRES_USER"
        value_of POSTGRES_INITDB_ARGS
        : "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
        check_settings
        if [ -e "$final/$staging_name" ]; then
            echo 'docker-entrypoint: an earlier first start never finished; beginning again'
        fi
        export PGDATA="$final/$staging_name"
        make_cluster
        PGPASSWORD=$POSTGRES_PASSWORD first_start "$@"
        sync -f "$PGDATA"
        touch "$PGDATA/.finished"
        sync -f "$PGDATA"
        export PGDATA=$final
    fi
    move_up
    echo 'docker-entrypoint: the cluster is ready'
}

main() {
    case "${1:-}" in -*) set -- postgres "$@" ;; esac
    if [ "${1:-}" = postgres ] && ! wants_help "$@"; then
        prepare_folders
        if [ "$(id -u)" = 0 ]; then
            exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$0" "$@"
        fi
        if [ ! -s "$PGDATA/PG_VERSION" ]; then
            initialise "${@:2}"
        fi
        # Left behind when the very last step of a first start was cut off; the cluster itself is complete.
        if [ -s "$PGDATA/PG_VERSION" ] && [ -e "$PGDATA/$staging_name/.finished" ]; then
            rm -rf "${PGDATA:?}/$staging_name"
        fi
        unset POSTGRES_PASSWORD
    fi
    exec "$@"
}

main "$@"
