#!/usr/bin/env bash
# What a start takes after `kill -9` at full load, and how fast the log is replayed:
#
#   benches/recovery.sh [SERIES [SECONDS]]        1000000 series, 60 seconds of load
#
# Tells when writes are taken and when queries are complete, counted from the start of the process; how many
# acknowledged samples are missing, which must be 0; and the samples a second of `replay --verify`, which must
# find nothing that differs. Builds the profile `dist` first (some minutes the first time);
# BENCH_PROFILE=release takes the quicker build, TIDEWATCH=path a program that is there. The data, a fresh
# folder below TMPDIR (two or three gigabytes), go with it. Further settings of the server, such as
# --set checkpoint.interval=10s, stand in SERVE_ARGS.
set -euo pipefail
cd "$(dirname "$0")/.."

series=${1:-1000000}
seconds=${2:-60}
program=${TIDEWATCH:-}
if [[ -z $program ]]; then
    profile=${BENCH_PROFILE:-dist}
    cargo build --profile "$profile" -p tidewatch
    program=${CARGO_TARGET_DIR:-target}/$profile/tidewatch
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/tidewatch-recovery-XXXXXX")
server=
load=()
stop() {
    for pid in ${server:+"$server"} "${load[@]}"; do
        kill -9 "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

now_ms() { echo $(($(date +%s%N) / 1000000)); }
elapsed() { printf '%d.%03d' $((($2 - $1) / 1000)) $((($2 - $1) % 1000)); }
fail() {
    echo "$1; the server's last words:" >&2
    tail -n 5 "$dir/log" >&2
    exit 1
}

# Starts the server and waits until it takes writes: it tells its address then.
up() {
    mkfifo "$dir/told"
    # shellcheck disable=SC2086
    "$program" serve --data-dir "$dir/data" --listen 127.0.0.1:0 ${SERVE_ARGS:-} >"$dir/told" 2>>"$dir/log" &
    server=$!
    exec 3<"$dir/told"
    rm "$dir/told"
    read -r line <&3 || fail "the server does not start"
    url=http://$(sed 's/.*"addr":"\([^"]*\)".*/\1/' <<<"$line")
}

metric() { curl -sf "$url/metrics" | sed -n "s/^$1 //p"; }
count() { "$program" query --url "$url" --format csv "SELECT count(*) AS n FROM tidewatch.arrivals" | tail -n 1; }

up
mkfifo "$dir/lines"
"$program" gen --series "$series" --samples 1000000 --interval 10s --seed 7 --format lp >"$dir/lines" 2>/dev/null &
load+=($!)
"$program" write --url "$url" --format lp --batch-rows 20000 --json - <"$dir/lines" >"$dir/written" 2>/dev/null &
writer=$!
load+=("$writer")
echo "$series series, $seconds s of load" >&2
sleep "$seconds"
kill -0 "$server" "$writer" || fail "the load has ended early"
checkpoints=$(metric tidewatch_engine_checkpoints_total)
kill -9 "$server"
wait "$server" 2>/dev/null || true
# It tells what was acknowledged before the server was gone.
wait "$writer" 2>/dev/null || true
kill "${load[0]}" 2>/dev/null || true
load=()
acknowledged=$(sed 's/.*"rows_accepted":\([0-9]*\).*/\1/' "$dir/written")

begun=$(now_ms)
up
taken=$(now_ms)
curl -sf -o /dev/null --data-binary 'recovered value=1' "$url/write" || fail "a write was refused"
while ! curl -sf -o /dev/null "$url/readyz"; do
    kill -0 "$server" 2>/dev/null || fail "the server has ended"
    sleep 0.01
done
complete=$(now_ms)
found=$(($(count) - 1))
kill -TERM "$server"
wait "$server" || fail "the stop was not in order"
server=

# A request whose answer the kill cut off may be there as well.
missing=$((acknowledged > found ? acknowledged - found : 0))
printf 'acknowledged before kill -9   %d samples (%d a second), %s checkpoints\n' \
    "$acknowledged" "$((acknowledged / seconds))" "$checkpoints"
printf 'writes taken after            %s s\n' "$(elapsed "$begun" "$taken")"
printf 'queries complete after        %s s\n' "$(elapsed "$begun" "$complete")"
printf 'acknowledged and missing      %d samples\n' "$missing"

report=$("$program" replay --verify "$dir/data" --json) || fail "replay --verify: $report"
samples=$(sed 's/.*"samples":\([0-9]*\).*/\1/' <<<"$report")
took=$(sed 's/.*"seconds":\([0-9.]*\).*/\1/' <<<"$report")
printf 'replay --verify               identical, %d samples in %s s: ' "$samples" "$took"
awk "BEGIN { printf \"%.2f M samples/s\n\", $samples / $took / 1e6 }"
[[ $missing -eq 0 ]]
