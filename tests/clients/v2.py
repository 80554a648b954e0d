"""InfluxDB's client for version 2: the synchronous write API, with gzip and without."""

import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

url = f"http://{sys.argv[1]}:{sys.argv[2]}"


def point(row):
    tags = Point("cpu").tag("host", "b c" if row % 2 else "a")
    return tags.field("value", row + 0.5).time(1_700_000_000 + row, WritePrecision.S)


for gzip, rows in ((False, range(5)), (True, range(5, 10))):
    with InfluxDBClient(url=url, token="secret", org="anyone", enable_gzip=gzip) as client:
        assert client.ping(), "no answer"
        assert client.health().status == "pass"
        with client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(bucket="lab", record=[point(row) for row in rows])
