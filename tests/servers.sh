#!/usr/bin/env bash
# Private PostgreSQL and RabbitMQ servers for the tests: own ports, own data, own Erlang cookie
# and epmd, everything in one folder. Never touches the servers of the system's packages.
set -euo pipefail
umask 022

usage() {
    cat <<'TEXT'
Usage: tests/servers.sh VERB DIR [...]

  start DIR              start PostgreSQL and RabbitMQ in DIR and print the variables of the tests:
                           eval "$(tests/servers.sh start DIR)"
                         (also written to DIR/env)
  stop DIR [--immediate]           stop both, and what tests left running in DIR/own/*

  postgres-start DIR               start only PostgreSQL; its URL is in DIR/postgres/url
  postgres-stop DIR [--immediate]  stop it (--immediate: pg_ctl -m immediate, as in a crash)
  rabbit-start DIR                 start only RabbitMQ; its URL is in DIR/rabbit/url
  rabbit-stop DIR [--immediate]    stop it (--immediate: kill -9)

  rabbit-vhost DIR NAME            make a virtual host on DIR's RabbitMQ that guest may use
  rabbitmqctl DIR ARGS...          run rabbitmqctl against DIR's RabbitMQ

TALLYHOOK_TEST_RABBIT_ERL_ARGS replaces "+S 1:1 +sbwt none", with which RabbitMQ leaves the processor to
the tests; empty, it runs as its package starts it.

Starting again in the same DIR keeps the ports and the data. Stopping leaves the folder: remove it
yourself. As root, PostgreSQL runs as the user postgres, who must be able to enter DIR.
TEXT
}

die() {
    echo "tests/servers.sh: $*" >&2
    exit 1
}

# --- Ports and processes ---------------------------------------------------------------------

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range of outgoing connections: a port in that range could be taken by somebody's
# client while a server is down, and a client that retries could even connect to itself.
free_port() {
    local low=32768 high port
    read -r low _ </proc/sys/net/ipv4/ip_local_port_range 2>/dev/null || true
    high=$low
    ((low >= 12000 && low <= 32768)) || high=32768
    for _ in {1..200}; do
        port=$((10000 + ${SRANDOM:-$RANDOM} % (high - 10000)))
        if ! port_answers "$port"; then
            echo "$port"
            return
        fi
    done
    die "found no free port between 10000 and $high on 127.0.0.1."
}

# A process is known by its id and its start time, so that an id used again is never mistaken.
started_at() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] || return 1
    echo "${fields[19]}"
}

remember() { # FILE PID
    local at
    at=$(started_at "$2") || return 1
    echo "$2 $at" >"$1"
}

runs() { # FILE: the remembered process is still there; leaves its id in $pid
    local at
    [[ -s $1 ]] || return 1
    read -r pid at <"$1"
    [[ $(started_at "$pid") == "$at" ]]
}

# The remembered process gets SIGNAL, and SIGKILL when it is still there SECONDS later.
end() { # FILE SIGNAL SECONDS
    local pid deadline=$((SECONDS + $3))
    if runs "$1"; then
        kill "-$2" "$pid" 2>/dev/null || true
        while runs "$1"; do
            if ((SECONDS >= deadline)); then
                kill -KILL "$pid" 2>/dev/null || true
                deadline=$((SECONDS + 10))
            fi
            sleep 0.05
        done
    fi
    rm -f "$1"
}

tail_of() { [[ ! -s $1 ]] || { echo "Last lines of $1:" >&2 && tail -n 20 "$1" >&2; }; }

# --- PostgreSQL ------------------------------------------------------------------------------

postgres_names() {
    pg=$dir/postgres data=$dir/postgres/data log=$dir/postgres/log
    local initdb
    initdb=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 || true)
    [[ -n $initdb ]] || initdb=$(command -v initdb || true)
    [[ -n $initdb ]] || die "PostgreSQL's initdb is missing: install the package postgresql (tests/run.sh does)."
    pg_bin=$(dirname "$(readlink -f "$initdb")")
    as=()
    if ((EUID == 0)); then
        id postgres >/dev/null 2>&1 || die "PostgreSQL can't run as root and there is no user postgres."
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
}

postgres_runs() {
    local id
    [[ -s $data/postmaster.pid ]] || return 1
    read -r id <"$data/postmaster.pid"
    started_at "$id" >/dev/null && [[ $(readlink "/proc/$id/cwd") == "$data" ]]
}

postgres_make() {
    if ((EUID == 0)); then
        chmod a+x "$dir"
        install -d -o postgres -g postgres -m 700 "$pg"
        "${as[@]}" test -x "$pg" ||
            die "the user postgres can't enter $pg: choose a folder everybody may enter, such as one directly under /tmp."
    else
        install -d -m 700 "$pg"
    fi
    [[ ! -f $data/PG_VERSION ]] || return 0
    (cd "$pg" && "${as[@]}" "$pg_bin/initdb" -D "$data" -U postgres --auth=trust --no-locale -E UTF8 -N) \
        >"$pg/initdb.log" 2>&1 || {
        tail_of "$pg/initdb.log"
        die "initdb failed in $data."
    }
}

postgres_configure() { # PORT
    local socket_dir=$pg
    # A socket's path has at most 107 bytes; the tests use TCP anyway.
    ((${#pg} <= 85)) || socket_dir=
    cat >"$pg/tallyhook.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = '$socket_dir'
max_connections = 200
shared_buffers = 128MB
max_wal_size = 8GB
min_wal_size = 1GB
checkpoint_timeout = 15min
fsync = on
synchronous_commit = on
CONF
    chmod 644 "$pg/tallyhook.conf"
    grep -q '^include = ' "$data/postgresql.conf" || echo "include = '$pg/tallyhook.conf'" >>"$data/postgresql.conf"
    echo "$1" >"$pg/port"
    echo "postgres://postgres@127.0.0.1:$1" >"$pg/url"
}

postgres_start() {
    postgres_names
    postgres_make
    ! postgres_runs || return 0
    local attempts=1
    if [[ ! -s $pg/port ]]; then
        attempts=5
        postgres_configure "$(free_port)"
    fi
    while ! (cd "$pg" && "${as[@]}" "$pg_bin/pg_ctl" -D "$data" -l "$log" -w -t 60 -s start) >"$pg/start.log" 2>&1 </dev/null; do
        ((attempts -= 1)) || {
            tail_of "$pg/start.log"
            tail_of "$log"
            die "PostgreSQL did not start in $pg on port $(cat "$pg/port")."
        }
        postgres_configure "$(free_port)"
    done
}

postgres_stop() {
    [[ -d $dir/postgres ]] || return 0
    postgres_names
    if postgres_runs; then
        (cd "$pg" && "${as[@]}" "$pg_bin/pg_ctl" -D "$data" -m "${1:-fast}" -w -t 60 -s stop) >"$pg/stop.log" 2>&1 || {
            tail_of "$pg/stop.log"
            die "PostgreSQL in $pg did not stop."
        }
    fi
}

# --- RabbitMQ --------------------------------------------------------------------------------

rabbit_names() {
    rabbit=$dir/rabbit node=tallyhook@localhost
    # Not the wrapper in /usr/sbin: it changes to the user rabbitmq and drops the environment.
    rabbit_bin=/usr/lib/rabbitmq/bin
    [[ -x $rabbit_bin/rabbitmq-server ]] || die "RabbitMQ is missing: install the package rabbitmq-server (tests/run.sh does)."
    epmd=$(command -v epmd || true)
    [[ -n $epmd ]] || die "Erlang's epmd is missing: install the package erlang-base (rabbitmq-server needs it too)."
}

rabbit_env() {
    local amqp_port dist_port epmd_port
    read -r amqp_port dist_port epmd_port <"$rabbit/ports" || die "there is no RabbitMQ in $dir: start it first."
    export HOME=$rabbit LANG=C.UTF-8 ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=$node RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$amqp_port \
        RABBITMQ_DIST_PORT=$dist_port RABBITMQ_MNESIA_BASE=$rabbit/mnesia RABBITMQ_LOG_BASE=$rabbit/log \
        RABBITMQ_PID_FILE=$rabbit/beam.pid RABBITMQ_CONFIG_FILE=$rabbit/rabbitmq.conf \
        RABBITMQ_ENABLED_PLUGINS_FILE=$rabbit/enabled_plugins RABBITMQ_CONF_ENV_FILE=/dev/null \
        RABBITMQ_GENERATED_CONFIG_DIR=$rabbit/gen RABBITMQ_SCHEMA_DIR=$rabbit/schema \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="${TALLYHOOK_TEST_RABBIT_ERL_ARGS-+S 1:1 +sbwt none} -kernel inet_dist_use_interface {127,0,0,1}" \
        RABBITMQ_CTL_DIST_PORT_MIN=0 RABBITMQ_CTL_DIST_PORT_MAX=0 \
        RABBITMQ_CTL_ERL_ARGS="+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}" \
        ERL_CRASH_DUMP_SECONDS=0
    unset NOTIFY_SOCKET ERL_FLAGS ERL_AFLAGS ERL_ZFLAGS ERL_LIBS
}

rabbit_make() {
    install -d -m 700 "$rabbit" "$rabbit"/{mnesia,log,gen,schema}
    [[ -s $rabbit/.erlang.cookie ]] || head -c 32 /dev/urandom | base64 | tr -dc A-Za-z0-9 >"$rabbit/.erlang.cookie"
    chmod 400 "$rabbit/.erlang.cookie"
    cat >"$rabbit/rabbitmq.conf" <<'CONF'
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
CONF
    echo '[].' >"$rabbit/enabled_plugins"
}

rabbit_ports() {
    local amqp_port
    amqp_port=$(free_port)
    echo "$amqp_port $(free_port) $(free_port)" >"$rabbit/ports"
    echo "amqp://guest:guest@127.0.0.1:$amqp_port" >"$rabbit/url"
}

# Leaves both processes running and remembered, or none.
rabbit_try() (
    rabbit_env
    local deadline=$((SECONDS + 90)) pid
    if ! runs "$rabbit/epmd.process"; then
        ! port_answers "$ERL_EPMD_PORT" || return 1
        setsid "$epmd" -port "$ERL_EPMD_PORT" -address 127.0.0.1 >"$rabbit/epmd.log" 2>&1 </dev/null &
        remember "$rabbit/epmd.process" $! || return 1
        until port_answers "$ERL_EPMD_PORT"; do
            runs "$rabbit/epmd.process" && ((SECONDS < deadline)) || return 1
            sleep 0.05
        done
    fi
    # A machine that was just killed is a zombie while some of its threads still hold the port.
    while port_answers "$RABBITMQ_NODE_PORT"; do
        ((SECONDS < deadline - 80)) || {
            echo "Port $RABBITMQ_NODE_PORT is taken." >"$rabbit/start.log"
            return 1
        }
        sleep 0.05
    done
    rm -f "$rabbit/beam.pid"
    # `detached` makes the start script become the Erlang machine instead of watching over it.
    cd "$rabbit"
    detached=1 setsid "$rabbit_bin/rabbitmq-server" >"$rabbit/start.log" 2>&1 </dev/null &
    remember "$rabbit/beam.process" $! || return 1
    until port_answers "$RABBITMQ_NODE_PORT"; do
        runs "$rabbit/beam.process" && ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
    "$rabbit_bin/rabbitmqctl" -q await_startup --timeout 60 >>"$rabbit/start.log" 2>&1
)

rabbit_start() {
    rabbit_names
    rabbit_make
    ! runs "$rabbit/beam.process" || return 0
    local attempts=1
    if [[ ! -s $rabbit/ports ]]; then
        attempts=3
        rabbit_ports
    fi
    while ! rabbit_try; do
        end "$rabbit/beam.process" KILL 10
        end "$rabbit/epmd.process" KILL 10
        ((attempts -= 1)) || {
            tail_of "$rabbit/start.log"
            die "RabbitMQ did not start in $rabbit."
        }
        rabbit_ports
    done
}

rabbit_stop() {
    [[ -d $dir/rabbit ]] || return 0
    rabbit_names
    end "$rabbit/beam.process" "${1:-TERM}" 30
    end "$rabbit/epmd.process" KILL 10
}

# One Erlang expression inside the node. `erl_call` needs some milliseconds, rabbitmqctl more than
# a second for starting an Erlang machine of its own. It needs a name of its own: two that run side by side with the
# default one (the user's number) refuse each other.
rabbit_eval() {
    local erl_call
    erl_call=$(ls /usr/lib/erlang/erts-*/bin/erl_call 2>/dev/null | sort -V | tail -n 1 || true)
    if [[ -n $erl_call ]]; then
        "$erl_call" -h "tests$$" -sname "$node" -c "$(cat "$rabbit/.erlang.cookie")" -e <<<"$1"
    else
        "$rabbit_bin/rabbitmqctl" -q eval "$1"
    fi
}

rabbit_vhost() {
    local name=${1:-} answer
    [[ $name =~ ^[A-Za-z0-9_-]+$ ]] || die "rabbit-vhost wants a name made of letters, digits, '-' and '_'."
    rabbit_names
    runs "$rabbit/beam.process" || die "there is no RabbitMQ running in $dir."
    rabbit_env
    answer=$(rabbit_eval "ok = rabbit_vhost:add(<<\"$name\">>, <<\"tests\">>), \
ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"$name\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>)." 2>&1) &&
        [[ $answer == *ok* ]] && [[ $answer != *rror* ]] || die "could not make the virtual host $name: $answer"
}

rabbit_ctl() {
    rabbit_names
    rabbit_env
    exec "$rabbit_bin/rabbitmqctl" "$@"
}

# --- Both ------------------------------------------------------------------------------------

both_start() {
    postgres_start
    (rabbit_start) || {
        postgres_stop immediate
        exit 1
    }
    {
        printf 'export TALLYHOOK_TEST_POSTGRES=%q\n' "$(cat "$dir/postgres/url")"
        printf 'export TALLYHOOK_TEST_AMQP=%q\n' "$(cat "$dir/rabbit/url")"
        printf 'export TALLYHOOK_TEST_RABBIT_HOME=%q\n' "$dir"
    } >"$dir/env"
    cat "$dir/env"
}

both_stop() {
    local status=0 own
    # Servers that a test started for itself and, being killed, could not stop.
    for own in "$dir"/own/*/; do
        [[ ! -d $own ]] || "$BASH" "${BASH_SOURCE[0]}" stop "$own" --immediate || status=1
    done
    (rabbit_stop ${1:+KILL}) || status=1
    (postgres_stop ${1:+immediate}) || status=1
    exit "$status"
}

case "${1:-}" in
-h | --help | help)
    usage
    exit 0
    ;;
esac
(($# >= 2)) || {
    usage >&2
    exit 2
}
verb=$1 dir=$2
shift 2
immediate=
case "$verb" in
stop | postgres-stop | rabbit-stop)
    case "$*" in
    '') ;;
    --immediate) immediate=yes ;;
    *) die "$verb knows only the option --immediate, not '$*'." ;;
    esac
    [[ -d $dir ]] || exit 0
    ;;
start | postgres-start | rabbit-start) install -d -m 755 "$dir" ;;
rabbit-vhost | rabbitmqctl) [[ -d $dir ]] || die "the folder $dir does not exist." ;;
*) die "unknown verb '$verb': see tests/servers.sh --help." ;;
esac
dir=$(cd "$dir" && pwd -P)

case "$verb" in
start) both_start ;;
stop) both_stop "$immediate" ;;
postgres-start) postgres_start ;;
postgres-stop) postgres_stop ${immediate:+immediate} ;;
rabbit-start) rabbit_start ;;
rabbit-stop) rabbit_stop ${immediate:+KILL} ;;
rabbit-vhost) rabbit_vhost "$@" ;;
rabbitmqctl) rabbit_ctl "$@" ;;
esac
