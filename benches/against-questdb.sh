#!/usr/bin/env bash
# Tidewatch beside QuestDB on the same requests in the same run, both acknowledging after the disk's sync:
#
#   benches/against-questdb.sh [arguments of `tidewatch bench ingest`, such as --seconds 30 --json now.json]
#
# Builds the profile `dist` first (some minutes the first time). BENCH_PROFILE=release takes the quicker
# build; TMPDIR chooses the disk of both. QUESTDB_COMMIT_MODE=nosync spares QuestDB its syncs.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${BENCH_PROFILE:-dist}
cargo build --profile "$profile" -p tidewatch
target=${CARGO_TARGET_DIR:-target}

coproc questdb { exec benches/questdb.sh; }
peer=$questdb_PID
stop() {
    kill "$peer" 2>/dev/null || true
    wait "$peer" 2>/dev/null || true
}
trap stop EXIT
if ! read -r url pid <&"${questdb[0]}"; then
    echo "there is no QuestDB to measure against" >&2
    exit 1
fi

"$target/$profile/tidewatch" bench ingest --peer "questdb=$url" --peer-pid "$pid" "$@"
