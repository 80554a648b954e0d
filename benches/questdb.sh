#!/usr/bin/env bash
# Starts a QuestDB whose acknowledged writes are on the disk, as ours are, and tells its address and process:
#
#   benches/questdb.sh [DIR]          until Ctrl-C; its data, a fresh folder below DIR (default: TMPDIR), go with it
#
# Standard output: one line "http://127.0.0.1:PORT PID". Needs Java 17 and Maven; the jar is kept in
# ~/.cache/tidewatch-bench. QUESTDB_COMMIT_MODE=nosync starts one that acknowledges before the disk has it.
set -euo pipefail

version=9.3.4
jars=${XDG_CACHE_HOME:-$HOME/.cache}/tidewatch-bench
jar=$jars/questdb-$version.jar
data=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/tidewatch-questdb-XXXXXX")
pid=

stop() {
    # A second signal must not end this before the data are gone.
    trap - EXIT
    trap '' INT TERM
    if [[ -n $pid ]] && kill "$pid" 2>/dev/null; then
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$data"
}
trap stop EXIT
trap 'stop; exit 0' INT TERM

if [[ ! -f $jar ]]; then
    mkdir -p "$jars"
    echo "getting QuestDB $version" >&2
    mvn -q dependency:copy "-Dartifact=org.questdb:questdb:$version" "-DoutputDirectory=$jars" >&2
fi

# The system names a free port; it is free again for the moment until QuestDB takes it.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(free_port)
minimal=$(free_port)

QDB_TELEMETRY_ENABLED=false \
    QDB_CAIRO_COMMIT_MODE=${QUESTDB_COMMIT_MODE:-sync} \
    QDB_HTTP_BIND_TO=127.0.0.1:$port \
    QDB_HTTP_MIN_NET_BIND_TO=127.0.0.1:$minimal \
    QDB_PG_ENABLED=false \
    QDB_LINE_TCP_ENABLED=false \
    java -p "$jar" -m io.questdb/io.questdb.ServerMain -d "$data" >"$data/log.txt" 2>&1 &
pid=$!

for _ in $(seq 300); do
    if ! kill -0 "$pid" 2>/dev/null; then
        echo "QuestDB did not start:" >&2
        tail -n 20 "$data/log.txt" >&2
        exit 1
    fi
    if curl -sf -o /dev/null "http://127.0.0.1:$port/exec?query=select%201"; then
        echo "http://127.0.0.1:$port $pid"
        wait "$pid"
        exit
    fi
    sleep 0.2
done
echo "QuestDB did not answer within a minute" >&2
exit 1
