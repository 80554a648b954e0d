#!/usr/bin/env python3
"""The six queries of a metrics store beside DuckDB, on the same Parquet files in the same run:

    benches/against-duckdb.py [--rows 20000000] [--rounds 5] [--json FILE]

Writes the rows into a server of its own, merges its segments, and asks both by turns; results must be equal.
Ours are asked over HTTP, with the time of the answer on the wire; DuckDB is asked in this process, and gets labels as a table
of its own, unpacked beforehand. Needs the packages `duckdb` and `pytz` (PyPI), and the program: TIDEWATCH=path, or target/dist/tidewatch.
The data, a fresh folder below TMPDIR, go with it.
"""

import argparse
import csv
import io
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import duckdb

HOSTS = 250
KINDS = 4
START = 1_767_225_600  # 2026-01-01
STEP = 10

# Name, ours, DuckDB's, and whether the order of rows belongs to the result.
DAY = "2026-01-01"
SIX_HOURS = f"time >= TIMESTAMP '{DAY} 06:00:00' AND time < TIMESTAMP '{DAY} 12:00:00'"
QUERIES = [
    ("count, avg, max", "SELECT count(*), avg(value), max(value) FROM fleet",
     "SELECT count(*), avg(value), max(value) FROM samples", False),
    ("last value per series",
     "SELECT host, kind, last_value(value ORDER BY time) FROM fleet GROUP BY host, kind",
     "SELECT host, kind, v FROM (SELECT series_ref, arg_max(value, time) AS v FROM samples GROUP BY series_ref) "
     "JOIN series USING (series_ref)", False),
    ("average per minute by host, 6 h",
     f"SELECT host, date_trunc('minute', time), avg(value) FROM fleet WHERE {SIX_HOURS} GROUP BY 1, 2",
     f"SELECT host, date_trunc('minute', time), avg(value) FROM samples JOIN series USING (series_ref) "
     f"WHERE {SIX_HOURS} GROUP BY 1, 2", False),
    ("p95 and p99 per hour",
     "SELECT date_trunc('hour', time), percentile_cont(0.95) WITHIN GROUP (ORDER BY value), "
     "percentile_cont(0.99) WITHIN GROUP (ORDER BY value) FROM fleet GROUP BY 1",
     "SELECT date_trunc('hour', time), quantile_cont(value, 0.95), quantile_cont(value, 0.99) FROM samples GROUP BY 1",
     False),
    ("top 10 series by average",
     "SELECT host, kind, avg(value) AS a FROM fleet GROUP BY 1, 2 ORDER BY a DESC LIMIT 10",
     "SELECT host, kind, a FROM (SELECT series_ref, avg(value) AS a FROM samples GROUP BY 1 ORDER BY a DESC LIMIT 10) "
     "JOIN series USING (series_ref) ORDER BY a DESC", True),
    ("one series, 6 h",
     f"SELECT time, value FROM fleet WHERE host = 'search-0001' AND kind = 'latency_ms' AND {SIX_HOURS} ORDER BY time",
     f"SELECT time, value FROM samples WHERE series_ref = (SELECT series_ref FROM series WHERE host = 'search-0001' "
     f"AND kind = 'latency_ms') AND {SIX_HOURS} ORDER BY time", True),
]


class Server:
    """A server on a fresh directory."""

    def __init__(self, program, data):
        self.process = subprocess.Popen(
            [program, "serve", "--data-dir", data, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=open(data + ".log", "w"), text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the server does not start; see {data}.log")
        self.url = "http://" + json.loads(line)["addr"]

    def ask(self, sql):
        body = urllib.parse.urlencode({"q": sql, "format": "csv", "timeout_ms": 120_000})
        begin = time.perf_counter()
        with urllib.request.urlopen(f"{self.url}/api/v3/query_sql?{body}") as answer:
            text = answer.read().decode()
        took = time.perf_counter() - begin
        return took, [row for row in csv.reader(io.StringIO(text))][1:]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def load(program, server, rows):
    """Rows of a fleet: one table, labels host, kind, region and service."""
    samples = rows // (HOSTS * KINDS)
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + samples * STEP))
    gen = subprocess.Popen(
        [program, "gen", "--series", str(HOSTS * KINDS), "--samples", str(samples), "--interval", f"{STEP}s",
         "--seed", "7", "--end", end], stdout=subprocess.PIPE)
    rename = subprocess.Popen(["sed", "-E", r"s/^([a-z_]+),/fleet,kind=\1,/"], stdin=gen.stdout, stdout=subprocess.PIPE)
    subprocess.run([program, "write", "--url", server.url, "-"], stdin=rename.stdout, stdout=subprocess.DEVNULL, check=True)
    return samples * HOSTS * KINDS


def open_files(program, data):
    """The segments in DuckDB, with labels unpacked."""
    listed = json.loads(subprocess.run([program, "segments", "ls", "--json", data], capture_output=True, check=True).stdout)
    files = [os.path.join(data, "segments", segment["file"]) for segment in listed]
    of = lambda kind: [path for path in files if os.path.basename(path).startswith(kind + "-")]
    db = duckdb.connect(config={"threads": os.cpu_count()})
    db.execute("SET TimeZone = 'UTC'")
    db.execute(f"CREATE VIEW samples AS SELECT series_ref, time, coalesce(value, digits / scale) AS value FROM read_parquet({of('samples')})")
    db.execute("CREATE TABLE series AS SELECT series_ref, labels->>'host' AS host, labels->>'kind' AS kind "
               f"FROM read_parquet({of('series')})")
    return db, of("samples")


def close(ours, theirs):
    """Whether two cells are the same: sums differ in their last bits with the order of rows."""
    if isinstance(theirs, (int, float)):
        return math.isclose(float(ours), float(theirs), rel_tol=1e-9, abs_tol=1e-9)
    if hasattr(theirs, "isoformat"):
        return ours.rstrip("Z").split(".")[0] == theirs.replace(tzinfo=None, microsecond=0).isoformat()
    return ours == theirs


def same(ours, theirs, ordered):
    if not ordered:
        key = lambda row: [str(cell).rstrip("Z").replace(" ", "T")[:19] for cell in row if not is_number(cell)]
        ours, theirs = sorted(ours, key=key), sorted(([*row] for row in theirs), key=key)
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(close(x, y) for x, y in zip(a, b)) for a, b in zip(ours, theirs))


def is_number(cell):
    try:
        float(cell)
        return True
    except (TypeError, ValueError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    program = os.environ.get("TIDEWATCH", "target/dist/tidewatch")
    with tempfile.TemporaryDirectory(prefix="tidewatch-duckdb-") as directory:
        data = os.path.join(directory, "data")
        server = Server(program, data)
        rows = load(program, server, arguments.rows)
        server.stop()
        subprocess.run([program, "segments", "compact", data], check=True, stdout=subprocess.DEVNULL)
        db, files = open_files(program, data)
        size = sum(map(os.path.getsize, files))
        print(f"{rows:,} rows in {len(files)} segments, {size / rows:.2f} bytes a row; DuckDB {duckdb.__version__}; "
              f"medians of {arguments.rounds} rounds")
        server = Server(program, data)
        document, wrong = {"rows": rows, "queries": []}, 0
        try:
            for name, ours, theirs, ordered in QUERIES:
                times = ([], [])
                for _ in range(arguments.rounds + 1):
                    took, answer = server.ask(ours)
                    times[0].append(took)
                    begin = time.perf_counter()
                    expected = db.execute(theirs).fetchall()
                    times[1].append(time.perf_counter() - begin)
                equal = same(answer, expected, ordered)
                wrong += not equal
                # The first round warms both up.
                mine, duck = (statistics.median(part[1:]) * 1_000 for part in times)
                document["queries"].append({"name": name, "ms": mine, "duckdb_ms": duck, "ratio": mine / duck, "equal": equal})
                print(f"{name:34} {mine:9.1f} ms   DuckDB {duck:9.1f} ms   ratio {mine / duck:6.2f}   "
                      f"{'equal' if equal else 'DIFFERENT'}", flush=True)
        finally:
            server.stop()
        document["ratio"] = math.exp(statistics.fmean(math.log(query["ratio"]) for query in document["queries"]))
        print(f"geometric mean of the ratios: {document['ratio']:.2f}")
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(document, file, indent=2)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
