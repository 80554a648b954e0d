#!/usr/bin/env python3
"""From a sample that is sent to Kafka to its alert that is read from Kafka, while other samples come:

    benches/kafka-alert-latency.py [--rate 150000] [--seconds 60] [--json FILE]

Starts a broker of its own and a fresh server, which reads a topic of 8 partitions, one JSON sample per message, and writes alerts to
another topic. A producer (idempotent, all replicas) sends `rate` messages a second, each later than those before of its series; ten times
a second another one sends a sample of a series of its own that fires. Told is the time from the call that sends it to the moment at
which a consumer has the alert. The options of the source are librdkafka's and ours as they come; those of the producer of probes and
of the consumer are librdkafka's.

Needs what against-kafka-consumers.py needs, and takes from it what both do.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import confluent_kafka
from confluent_kafka.admin import NewTopic

loader = importlib.machinery.SourceFileLoader(
    "consumers", os.path.join(os.path.dirname(os.path.abspath(__file__)), "against-kafka-consumers.py"))
spec = importlib.util.spec_from_loader("consumers", loader)
consumers = importlib.util.module_from_spec(spec)
loader.exec_module(consumers)

PROBES_PER_S = 10
RULE = '[[rule]]\nname = "probe"\nmatch = { metric = "probe" }\nwhen = "value > 90"\n'


class Server(consumers.Server):
    """A server that reads one topic and writes alerts to another."""

    def __init__(self, program, data, broker):
        with open(data + ".toml", "w") as file:
            file.write(f'[[source.kafka]]\nname = "main"\nbrokers = "{broker}"\ntopics = ["load"]\n'
                       f'[[sink.kafka]]\nname = "alerts"\nbrokers = "{broker}"\ntopic = "alerts"\n{RULE}')
        self.data, self.begin = data, time.perf_counter()
        self.process = subprocess.Popen(
            [program, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--config", data + ".toml"],
            stdout=subprocess.PIPE, stderr=open(data + ".log", "w"), text=True)
        self.address = json.loads(self.process.stdout.readline())["addr"]


def load(broker, rate, until, sent):
    """Sends `rate` samples a second until then, of the second in which they are sent."""
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 5, "batch.size": 65_536,
        "queue.buffering.max.messages": 1_000_000})
    begin, number = time.perf_counter(), 0
    while (now := time.perf_counter()) < until:
        due = int((now - begin) * rate)
        nanos = time.time_ns()
        for number in range(number, due):
            host = number % consumers.HOSTS
            body = (f'{{"metric":"load","time":{nanos + number},"value":{consumers.value(number)},'
                    f'"labels":{{"host":"h{host:04}","region":"eu-1","service":"checkout"}}}}')
            try:
                producer.produce("load", body, f"h{host:04}", host % consumers.PARTITIONS)
            except BufferError:
                producer.poll(0.05)
                break
        number = max(number, due)
        producer.poll(0)
        time.sleep(0.002)
    producer.flush(60)
    sent.append(number / (time.perf_counter() - begin))


def probe(broker, until, sent):
    producer = confluent_kafka.Producer({"bootstrap.servers": broker, "enable.idempotence": True})
    number = 0
    while time.perf_counter() < until:
        body = json.dumps({"metric": "probe", "time": time.time_ns(), "value": 99, "labels": {"probe": f"p{number}"}})
        sent[f"p{number}"] = time.perf_counter()
        producer.produce("load", body, f"p{number}", number % consumers.PARTITIONS)
        producer.flush(10)
        number += 1
        time.sleep(1 / PROBES_PER_S)


def receive(broker, until, received):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition("alerts", 0, 0)])
    while time.perf_counter() < until:
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            body, at = json.loads(message.value()), time.perf_counter()
            received.setdefault(body["labels"]["probe"], at)
    consumer.close()


def measure(arguments, program, directory):
    broker = consumers.Broker(os.path.join(directory, "broker"), os.path.abspath("target/kafka/libs"))
    try:
        topics = [NewTopic("load", consumers.PARTITIONS, 1), NewTopic("alerts", 1, 1)]
        for made in broker.admin.create_topics(topics).values():
            made.result()
        with Server(program, os.path.join(directory, "data"), broker.address) as server:
            until = time.perf_counter() + arguments.seconds
            rates, sent, received = [], {}, {}
            threads = [threading.Thread(target=probe, args=(broker.address, until, sent)),
                       threading.Thread(target=receive, args=(broker.address, until + 10, received))]
            for thread in threads:
                thread.start()
            loading = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--load", broker.address,
                                        "--rate", str(arguments.rate), "--seconds", str(arguments.seconds)],
                                       stdout=subprocess.PIPE, text=True)
            for thread in threads:
                thread.join()
            rates.append(float(loading.communicate()[0]))
            behind = rates[0] * arguments.seconds - server.samples()
    finally:
        broker.process.kill()
        broker.process.wait()
    # The first seconds are those of connections and caches.
    warm = min(sent.values()) + 5
    times = sorted(received[name] - at for name, at in sent.items() if name in received and at > warm)
    missing = sum(name not in received for name in sent)
    at = lambda part: times[min(int(len(times) * part), len(times) - 1)] * 1_000
    return {"rate": rates[0], "probes": len(times), "missing": missing, "behind": max(behind, 0),
            "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": times[-1] * 1_000}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=150_000, help="messages a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        sent = []
        load(arguments.load, arguments.rate, time.perf_counter() + arguments.seconds, sent)
        print(sent[0])
        return 0
    program = os.path.abspath(os.environ.get("TIDEWATCH", "target/dist/tidewatch"))
    with tempfile.TemporaryDirectory(prefix="tidewatch-latency-") as directory:
        told = measure(arguments, program, directory)
    print(f'{told["rate"]:,.0f} messages/s, {told["probes"]} alerts: p50 {told["p50_ms"]:.1f} ms, p99 {told["p99_ms"]:.1f} ms, '
          f'at most {told["max_ms"]:.1f} ms; {told["missing"]} missing')
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(told, file, indent=2)
    return 1 if told["missing"] else 0


if __name__ == "__main__":
    sys.exit(main())
