"""InfluxDB's client for version 1: makes a database, writes points with gzip and without."""

import sys

from influxdb import InfluxDBClient

host, port = sys.argv[1], int(sys.argv[2])


def point(row):
    return {
        "measurement": "cpu",
        "tags": {"host": "b c" if row % 2 else "a"},
        "time": 1_700_000_000 + row,
        "fields": {"value": row + 0.5, "note": "it's, \"quoted\""},
    }


for gzip, rows in ((False, range(5)), (True, range(5, 10))):
    client = InfluxDBClient(host, port, "user", "secret", "lab", gzip=gzip)
    assert client.ping(), "no version"
    client.create_database("lab")
    assert client.write_points([point(row) for row in rows], time_precision="s")
    client.close()
