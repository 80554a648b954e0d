"""InfluxDB's client for version 3, as it comes."""

import sys

from influxdb_client_3 import InfluxDBClient3, Point, SYNCHRONOUS, write_client_options

url = f"http://{sys.argv[1]}:{sys.argv[2]}"


def point(row):
    tags = Point("cpu").tag("host", "b c" if row % 2 else "a")
    return tags.field("value", row + 0.5).time(1_700_000_000 + row, "s")


with InfluxDBClient3(host=url, token="secret", database="lab") as client:
    client.write([point(row) for row in range(5)])
options = write_client_options(write_options=SYNCHRONOUS)
with InfluxDBClient3(
    host=url, token="secret", database="lab", write_client_options=options, enable_gzip=True
) as client:
    client.write([point(row).to_line_protocol() for row in range(5, 10)], write_precision="s")
