"""Messages as Confluent's serializers write them: of Avro to one topic, of Protobuf to another."""

import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from decimal import Decimal
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import timestamp_pb2, wrappers_pb2

brokers, registry, what, first, count = sys.argv[1:6]
numbers = range(int(first), int(first) + int(count))
START_MS = 1_700_000_000_000

AVRO = """{"type": "record", "name": "Reading", "namespace": "plant", "fields": [
  %s
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "sensor", "type": {"type": "record", "name": "Sensor", "fields": [
    {"name": "%s", "type": "string"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["FLOW", "HEAT"]}}]}},
  {"name": "history", "type": {"type": "array", "items": ["null", "Sensor"]}},
  {"name": "reading", "type": ["null", {"type": "record", "name": "Measured", "fields": [
    {"name": "value", "type": "double"},
    {"name": "exact", "type": ["null",
      {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}]}]}]},
  {"name": "tags", "type": {"type": "map", "values": "string"}}]}"""
ADDED = """{"name": "line", "type": {"type": "string", "default": "none"}, "default": "none"},
  {"name": "shift", "type": "int", "default": 0},"""


def avro(number, metric, more):
    sensor = {metric: "speed", "kind": "HEAT" if number % 2 else "FLOW"}
    exact = Decimal(number).scaleb(-3) if number % 3 == 0 else None
    return {
        "at": START_MS + number * 1000,
        "sensor": sensor,
        "history": [None, sensor] * (number % 3),
        "reading": {"value": number + 0.25, "exact": exact},
        "tags": {"site": f"s{number % 4}", "other": "x"},
    } | more


def protobuf_class(evolved):
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="plant/reading.proto", package="plant", syntax="proto3"
    )
    file.dependency.append("google/protobuf/timestamp.proto")
    file.dependency.append("google/protobuf/wrappers.proto")
    kind = file.enum_type.add(name="Kind")
    for index, name in enumerate(["FLOW", "HEAT"]):
        kind.value.add(name=name, number=index)
    # The message is not the first one of its file.
    file.message_type.add(name="Unused")
    outer = file.message_type.add(name="Plant")
    reading = outer.nested_type.add(name="Reading")
    sensor = reading.nested_type.add(name="Sensor")
    sensor.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    sensor.field.add(
        name="kind", number=2, type=field.TYPE_ENUM, type_name=".plant.Kind",
        label=field.LABEL_OPTIONAL,
    )
    tags = reading.nested_type.add(name="TagsEntry")
    tags.options.map_entry = True
    tags.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    tags.field.add(name="value", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    fields = [
        ("at", 1, ".google.protobuf.Timestamp", field.LABEL_OPTIONAL),
        ("sensor", 2, ".plant.Plant.Reading.Sensor", field.LABEL_OPTIONAL),
        ("exact", 4, ".google.protobuf.DoubleValue", field.LABEL_OPTIONAL),
        ("tags", 5, ".plant.Plant.Reading.TagsEntry", field.LABEL_REPEATED),
    ]
    for name, number, type_name, label in fields:
        reading.field.add(
            name=name, number=number, type=field.TYPE_MESSAGE, type_name=type_name, label=label
        )
    reading.field.add(name="value", number=3, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    if evolved:
        reading.field.add(
            name="shift", number=9, type=field.TYPE_SINT32, label=field.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    name = "plant.Plant.Reading"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def protobuf(make, number, evolved):
    message = make()
    message.at.FromMilliseconds(START_MS + number * 1000)
    message.sensor.name = "speed"
    message.sensor.kind = number % 2
    # Every tenth value is zero, which takes no bytes.
    message.value = 0.0 if number % 10 == 0 else number + 0.25
    if number % 3 == 0:
        message.exact.value = number / 1000
    message.tags["site"] = f"s{number % 4}"
    message.tags["other"] = "x"
    if evolved:
        message.shift = -number
    return message


client = SchemaRegistryClient({"url": registry})
if what.startswith("avro"):
    evolved, metric = what != "avro", "id" if what == "avro-renamed" else "name"
    serializer = AvroSerializer(client, AVRO % (ADDED if evolved else "", metric))
    more = {"line": "l1", "shift": 2} if evolved else {}
    topic, values = "avro", (avro(number, metric, more) for number in numbers)
else:
    evolved = what != "protobuf"
    make = protobuf_class(evolved)
    serializer = ProtobufSerializer(make, client, {"use.deprecated.format": False})
    topic, values = "protobuf", (protobuf(make, number, evolved) for number in numbers)
producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
for value in values:
    payload = serializer(value, SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, payload, key=b"key", partition=0)
    producer.poll(0)
if producer.flush(120) > 0:
    sys.exit("some messages were not sent")
