#!/usr/bin/env python3
"""Samples from Kafka beside the same samples over HTTP, and beside clients that only read:

    benches/against-kafka-consumers.py [--messages 10000000] [--samples 20000000] [--json FILE]

Starts a broker of its own (what `./test` has put into target/kafka, and Java 17), fills three topics of 8 partitions with an
idempotent producer that sends keys: one JSON sample per message; batches of JSON; lines. Then kcat, if it is there, and
librdkafka through `confluent-kafka` read the first one and do nothing with it, and a fresh server reads each topic from its
beginning. The bodies of the batches go over HTTP to another server, by four clients, which wait for answers of 200 and 204: synced.
What is stored is compared with what was sent: count, sum, and a sum of hashes of series, time and value.

Needs `confluent-kafka`, `duckdb` and `pytz` (PyPI), and the program: TIDEWATCH=path, or target/dist/tidewatch. All data are in a fresh
folder below TMPDIR, about 8 GB, and go with it.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import confluent_kafka
import duckdb
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 8
HOSTS = 1_000
START = 1_700_000_000
BATCH = 1_000
PATIENCE = 600
TICKS = os.sysconf("SC_CLK_TCK")


def value(number):
    return (number * 7_919 % 100_003) / 4


def sample(number, name="metric", at="time", labels="labels"):
    host = number % HOSTS
    return (f'{{"{name}":"load","{at}":{START + number // HOSTS},"value":{value(number)},'
            f'"{labels}":{{"host":"h{host:04}","region":"eu-1","service":"checkout"}}}}')


def json_batch(numbers):
    return '{"metrics":[' + ",".join(sample(number, "name", "timestamp", "dimensions") for number in numbers) + "]}"


def lines(numbers):
    of = lambda n: f"load,host=h{n % HOSTS:04},region=eu-1,service=checkout value={value(n)} {START + n // HOSTS}000000000"
    return "\n".join(of(number) for number in numbers)


def batches(count, form):
    """Bodies of 1,000 samples, each of the hosts of one partition; with the partition."""
    per_round = HOSTS // PARTITIONS
    rounds = BATCH // per_round
    for begin in range(0, count // HOSTS, rounds):
        for partition in range(PARTITIONS):
            yield partition, form([
                second * HOSTS + host
                for second in range(begin, min(begin + rounds, count // HOSTS))
                for host in range(partition, HOSTS, PARTITIONS)])


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Broker:
    """A broker of Apache Kafka."""

    def __init__(self, directory, libs):
        os.mkdir(directory)
        port, control = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        with open(os.path.join(directory, "server.properties"), "w") as file:
            file.write(
                "process.roles=broker,controller\nnode.id=1\n"
                f"controller.quorum.voters=1@127.0.0.1:{control}\n"
                f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{control}\n"
                f"advertised.listeners=PLAINTEXT://{self.address}\n"
                "controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n"
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs=data\n"
                "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
                "transaction.state.log.min.isr=1\nmessage.max.bytes=10000000\n")
        java = ["java", "-Xms512m", "-Xmx512m", "-Djava.net.preferIPv4Stack=true", "-cp", os.path.join(libs, "*")]
        log = open(os.path.join(directory, "log"), "w")
        of = lambda *words: dict(args=[*java, *words], cwd=directory, stdout=log, stderr=log)
        subprocess.run(**of("kafka.tools.StorageTool", "format", "-g", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c",
                            "server.properties"), check=True)
        self.process = subprocess.Popen(**of("kafka.Kafka", "server.properties"))
        self.admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        for _ in range(60):
            try:
                self.admin.list_topics(timeout=2)
                return
            except confluent_kafka.KafkaException:
                pass
        sys.exit(f"the broker does not start; see {log.name}")

    def fill(self, topic, messages):
        """Messages with their keys and partitions into a new topic; gives how many, and their bytes."""
        for made in self.admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
            made.result()
        producer = confluent_kafka.Producer({
            "bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 20, "batch.size": 262_144,
            "queue.buffering.max.messages": 1_000_000, "message.max.bytes": 10_000_000})
        count = size = 0
        for partition, key, body in messages:
            while True:
                try:
                    producer.produce(topic, body, key, partition)
                    break
                except BufferError:
                    producer.poll(0.05)
            count, size = count + 1, size + len(body)
            if count % 10_000 == 0:
                producer.poll(0)
        left = producer.flush(PATIENCE)
        if left:
            sys.exit(f"{left} messages were not sent")
        return count, size


class Server:
    """A server on a fresh directory; one that reads a topic, where there is one."""

    def __init__(self, program, data, source=None):
        options = []
        if source:
            broker, topic, form = source
            with open(data + ".toml", "w") as file:
                file.write(f'[[source.kafka]]\nname = "main"\nbrokers = "{broker}"\ntopics = ["{topic}"]\nformat = "{form}"\n')
            options = ["--config", data + ".toml"]
        self.data, self.begin = data, time.perf_counter()
        self.process = subprocess.Popen(
            [program, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE, stderr=open(data + ".log", "w"), text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the server does not start; see {data}.log")
        self.address = json.loads(line)["addr"]

    def ask(self, sql, form="json"):
        body = urllib.parse.urlencode({"q": sql, "format": form, "timeout_ms": 60_000})
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v3/query_sql?{body}") as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{sql}: {error} {error.read().decode()}")

    def samples(self):
        """Samples that came from Kafka and are durable."""
        with urllib.request.urlopen(f"http://{self.address}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("tidewatch_connectors_kafka_samples_total{"):
                    return int(line.split()[-1])
        return 0

    def wait_for(self, samples):
        """Seconds until so many have come from Kafka, since the first ones had come; and CPU-seconds since the start."""
        began = None
        while time.perf_counter() - self.begin < PATIENCE:
            there, at = self.samples(), time.perf_counter()
            if there and began is None:
                began = at, there
            if there >= samples:
                return (at - began[0]) * samples / (samples - began[1]), self.cpu()
            time.sleep(0.02)
        sys.exit(f"{self.samples()} of {samples} samples have come")

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stored(self):
        """Count, sum of values, and sum of hashes of host, time and value."""
        db, total = duckdb.connect(), (0, 0.0, 0)
        for group in range(20):
            with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
                file.write(self.ask("SELECT host, cast(time AS bigint) / 1000000000 AS t, value FROM load "
                                    f"WHERE host >= 'h{group * 50:04}' AND host < 'h{group * 50 + 50:04}'", "parquet"))
                file.flush()
                part = db.execute(f"SELECT {SUMS} FROM read_parquet('{file.name}')").fetchone()
            total = tuple(a + b for a, b in zip(total, part))
        arrivals = json.loads(self.ask("SELECT count(*) AS n FROM tidewatch.arrivals"))[0]["n"]
        return total, arrivals

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.data)


SUMS = "count(*), coalesce(sum(value), 0), coalesce(sum(hash(host::VARCHAR, t::BIGINT, value::DOUBLE)::HUGEINT), 0)"


def sent(count):
    return duckdb.connect().execute(
        f"SELECT {SUMS} FROM (SELECT printf('h%04d', n % {HOSTS}) AS host, {START} + n // {HOSTS} AS t, "
        f"(n * 7919 % 100003) / 4.0 AS value FROM range({count}) AS numbers(n))").fetchone()


def read_only(broker, messages):
    """Messages per second of clients that do nothing with them."""
    rates = {}
    if shutil.which("kcat"):
        begin = time.perf_counter()
        subprocess.run(["kcat", "-C", "-e", "-q", "-b", broker, "-t", "single", "-o", "beginning", "-f", ""], check=True)
        rates["kcat"] = messages / (time.perf_counter() - begin)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": broker, "group.id": "none", "enable.auto.commit": False, "fetch.queue.backoff.ms": 20})
    consumer.assign([confluent_kafka.TopicPartition("single", number, 0) for number in range(PARTITIONS)])
    count, begin = 0, time.perf_counter()
    while count < messages:
        count += len(consumer.consume(10_000, 1.0))
    rates["librdkafka, by confluent-kafka"] = messages / (time.perf_counter() - begin)
    consumer.close()
    return rates


def over_http(server, path, bodies, clients=4):
    """Seconds for all bodies by so many clients, each of which waits for its answers."""
    queue, lock, refused = iter(bodies), threading.Lock(), []

    def send():
        host, port = server.address.split(":")
        connection = http.client.HTTPConnection(host, int(port))
        headers = {"Content-Type": "application/json"} if path == "/api/v1/write" else {}
        while True:
            with lock:
                body = next(queue, None)
            if body is None:
                return
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (200, 204):
                refused.append(answer.status)
                return

    threads = [threading.Thread(target=send) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        sys.exit(f"{path} answered {refused}")
    return time.perf_counter() - begin


class Figures:
    """What was measured, told as it comes."""

    def __init__(self):
        self.rows, self.wrong = [], 0

    def tell(self, name, rate, cpu_rate=None, equal=None):
        self.rows.append({"name": name, "per_s": rate, "per_cpu_s": cpu_rate, "equal": equal})
        self.wrong += equal is False
        cpu = f"{cpu_rate / 1e6:6.2f} M per CPU-s" if cpu_rate else ""
        compared = "" if equal is None else "   equal" if equal else "   DIFFERENT"
        print(f"{name:52}{rate / 1e6:6.2f} M/s   {cpu}{compared}", flush=True)


def from_kafka(figures, program, data, source, samples, name):
    with Server(program, data, source) as server:
        took, cpu = server.wait_for(samples)
        total, arrivals = server.stored()
        figures.tell(name, samples / took, samples / cpu, total == sent(samples) and arrivals == samples)


def measure(arguments, program, directory, figures):
    broker = Broker(os.path.join(directory, "broker"), os.path.abspath("target/kafka/libs"))
    try:
        begin = time.perf_counter()
        singles = ((n % PARTITIONS, f"h{n % HOSTS:04}", sample(n)) for n in range(arguments.messages))
        count, size = broker.fill("single", singles)
        figures.tell(f"(sent: {count:,} messages of {size // count} bytes)", count / (time.perf_counter() - begin))
        for name, rate in read_only(broker.address, count).items():
            figures.tell(f"messages read and dropped: {name}", rate)
        source = (broker.address, "single", "json")
        from_kafka(figures, program, os.path.join(directory, "single"), source, count, "a JSON sample per message")
        samples = arguments.samples // (HOSTS * PARTITIONS) * HOSTS * PARTITIONS
        for form, path, of in [("json", "/api/v1/write", json_batch), ("line_protocol", "/write", lines)]:
            broker.fill(form, ((p, str(p), body) for p, body in batches(samples, of)))
            source = (broker.address, form, form)
            from_kafka(figures, program, os.path.join(directory, form), source, samples, f"messages of 1,000 samples, {form}")
            bodies = [body.encode() for _, body in batches(samples, of)]
            with Server(program, os.path.join(directory, form + "-http")) as server:
                took, cpu = over_http(server, path, bodies), server.cpu()
                figures.tell(f"the same over HTTP, {form}", samples / took, samples / cpu, server.stored()[0] == sent(samples))
    finally:
        broker.process.kill()
        broker.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000_000, help="of one sample each, a multiple of 1,000")
    parser.add_argument("--samples", type=int, default=20_000_000, help="in batches, of each format")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    program = os.path.abspath(os.environ.get("TIDEWATCH", "target/dist/tidewatch"))
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="tidewatch-kafka-") as directory:
        measure(arguments, program, directory, figures)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures.rows, file, indent=2)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
