"""Writes conversions between JSON and protobuf by Google's protobuf for Python, one JSON object per line:

    {"syntax": "proto3", "bytes": base64, "json": text or null, "defaults": text or null}
    {"syntax": "proto3", "input": JSON text, "bytes": base64 or null}

The first form holds random messages: their JSON, and their JSON with the default values. The second one holds JSON
texts: the message that each encodes, or null if it is refused. The same sources give the same file.
"""

import base64
import itertools
import json
import pathlib
import random
import sys
import tempfile

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from contracts import REPOSITORY, compile_files, message_class_of

SEED = 20_261_130
MESSAGES = 150

# JSON values that each kind of field is tried with.
VALUES = [
    "0", "1", "-1", "-0", "1.0", "1.5", "1e2", "1E+2", "1500e-2", "1e400", "-1e400", "1e39", "1e-400", "0.1",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "9007199254740993", "16777217", "3.4028235e38", "3.5e38",
    '"0"', '"1"', '"-1"', '"1.0"', '"1e2"', '"1.5"', '""', '" 1"', '"1 "', '"0x1"', '"01"', '"+1"', '"1_0"',
    '"9223372036854775807"', '"18446744073709551615"', '"18446744073709551616"',
    '"NaN"', '"Infinity"', '"-Infinity"', '"nan"', '"inf"', '"abc"', '"a\\"b"', '"\\ud83d\\ude01"', '"é"',
    '"AQI="', '"AQI"', '"-_8="', '"+/8"', '"A"', '"!"', '"FOO"', '"BAR"', '"foo"', '"NOPE"',
    "true", "false", '"true"', '"false"', "null", "[]", "{}", "[1]", '["a"]', '{"a": 1}', '{"a": null}',
    '"1970-01-01T00:00:00Z"', '"2001-02-03T04:05:06.789+01:30"', '"1970-01-01T00:00:00"', '"9999-12-31T23:59:59Z"',
    '"1s"', '"1.5s"', '"-0.5s"', '"1"', '"s"', '"foo,barBaz"', '"foo"', '"foo_bar"',
]  # fmt: skip

FIELDS = [
    "optionalInt32", "optionalInt64", "optionalUint32", "optionalUint64", "optionalSint32", "optionalSint64",
    "optionalFixed32", "optionalFixed64", "optionalSfixed32", "optionalSfixed64", "optionalFloat", "optionalDouble",
    "optionalBool", "optionalString", "optionalBytes", "optionalNestedMessage", "optionalNestedEnum",
    "repeatedInt32", "repeatedString", "repeatedNestedMessage", "repeatedNestedEnum", "mapInt32Int32",
    "mapStringString", "mapStringNestedMessage", "oneofNullValue", "presentInt32",
    "optionalBoolWrapper", "optionalInt32Wrapper", "optionalInt64Wrapper", "optionalUint32Wrapper",
    "optionalFloatWrapper", "optionalStringWrapper", "optionalBytesWrapper",
    "optionalDuration", "optionalTimestamp", "optionalFieldMask", "optionalStruct", "optionalValue",
    "optionalNullValue", "optionalEmpty", "optionalAny",
]  # fmt: skip

TEXTS = ["", "a", '"\\/\b\f\n\r\t', "\x00\x1f\x7f", "é谷歌😁", "x" * 200]
FLOATS = [0.0, -0.0, 1.0, -1.5, 0.1, 1e-7, 1e20, 123456789.125, float("inf"), float("-inf"), float("nan")]
INTEGERS = [0, 1, -1, 127, 128, 2**31 - 1, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]

BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def compiled():
    """The pool with the messages of the tests of `transcode`, for proto2 and proto3."""
    folder = REPOSITORY / "transcode" / "tests" / "transcode"
    template = (folder / "all_types.template").read_text()
    with tempfile.TemporaryDirectory() as sources:
        for syntax, optional in [("proto2", "optional"), ("proto3", "")]:
            source = template.replace("{syntax}", syntax).replace("{optional}", optional)
            (pathlib.Path(sources) / f"{syntax}.proto").write_text(source)
        return compile_files([sources], ["proto2.proto", "proto3.proto"])


def scalar(choose, field):
    """A random value of a field without a message."""
    if field.cpp_type in BOUNDS:
        low, high = BOUNDS[field.cpp_type]
        return choose.choice([value for value in INTEGERS if low <= value <= high])
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return choose.choice(field.enum_type.values).number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return choose.random() < 0.5
    if field.type == FieldDescriptor.TYPE_BYTES:
        return choose.randbytes(choose.randrange(8))
    if field.type == FieldDescriptor.TYPE_STRING:
        return choose.choice(TEXTS)
    return choose.choice(FLOATS)


def fill(choose, message, depth, likelihood):
    """Sets random fields of a message."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = choose.randrange(-62_135_596_800, 253_402_300_800)
        message.nanos = choose.choice([0, 1, 1_000, 1_000_000, 500_000_000, 999_999_999])
    elif name == "google.protobuf.Duration":
        sign = choose.choice([1, -1])
        message.seconds = sign * choose.choice([0, 1, 59, 315_576_000_000])
        message.nanos = sign * choose.choice([0, 1, 1_000, 1_000_000, 500_000_000, 999_999_999])
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(choose.sample(["a", "foo_bar", "a.b_c", "x1_y"], choose.randrange(4)))
    elif name == "google.protobuf.Value":
        fill_value(choose, message, depth)
    elif name == "google.protobuf.Any":
        kind = choose.choice(["Duration", "Int32Value", "Struct", "Empty", "Timestamp"])
        content = message_class_of(message.DESCRIPTOR.file.pool, f"google.protobuf.{kind}")()
        fill(choose, content, depth - 1, likelihood)
        message.type_url, message.value = f"type.googleapis.com/google.protobuf.{kind}", content.SerializeToString()
    else:
        for field in message.DESCRIPTOR.fields:
            if choose.random() < likelihood and (depth > 0 or field.message_type is None):
                fill_field(choose, message, field, depth - 1, likelihood)


def fill_value(choose, value, depth):
    """Sets a `google.protobuf.Value`, which must hold something."""
    kind = choose.choice(["null", "number", "string", "bool"] + (["struct", "list"] if depth > 0 else []))
    if kind == "null":
        value.null_value = 0
    elif kind == "number":
        value.number_value = choose.choice([0.0, -1.5, 1e20, 3.0])
    elif kind == "string":
        value.string_value = choose.choice(TEXTS)
    elif kind == "bool":
        value.bool_value = choose.random() < 0.5
    elif kind == "struct":
        value.struct_value.SetInParent()
        for key in choose.sample(TEXTS, choose.randrange(3)):
            fill_value(choose, value.struct_value.fields[key], depth - 1)
    else:
        value.list_value.SetInParent()
        for _ in range(choose.randrange(3)):
            fill_value(choose, value.list_value.values.add(), depth - 1)


def fill_field(choose, message, field, depth, likelihood):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        target = getattr(message, field.name)
        for _ in range(choose.randrange(4)):
            if value.message_type is None:
                target[scalar(choose, key)] = scalar(choose, value)
            else:
                fill(choose, target[scalar(choose, key)], depth, likelihood)
    elif field.is_repeated:
        target = getattr(message, field.name)
        for _ in range(choose.randrange(4)):
            if field.message_type is None:
                target.append(scalar(choose, field))
            else:
                fill(choose, target.add(), depth, likelihood)
    elif field.message_type is None:
        setattr(message, field.name, scalar(choose, field))
    else:
        getattr(message, field.name).SetInParent()
        fill(choose, getattr(message, field.name), depth, likelihood)


def printed(pool, message, **options):
    """The JSON of a message, or None if it has none."""
    try:
        return json_format.MessageToJson(message, indent=None, descriptor_pool=pool, **options)
    except (json_format.Error, ValueError, TypeError, OverflowError):
        return None


def parsed(pool, of, text):
    """The bytes of a JSON text, or None if it is refused."""
    message = of()
    try:
        json_format.Parse(text, message, descriptor_pool=pool)
    except (json_format.ParseError, ValueError, TypeError, OverflowError):
        return None
    return encoded(message)


def encoded(message):
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()


def cases(pool):
    choose = random.Random(SEED)
    for syntax in ("proto2", "proto3"):
        of = message_class_of(pool, f"transcode.test.{syntax}.AllTypes")
        for number in range(MESSAGES):
            message = of()
            fill(choose, message, 3, 0.02 + 0.4 * (number % 5) / 5)
            yield {
                "syntax": syntax,
                "bytes": encoded(message),
                "json": printed(pool, message),
                "defaults": printed(pool, message, always_print_fields_with_no_presence=True),
            }
    of = message_class_of(pool, "transcode.test.proto3.AllTypes")
    for field, value in itertools.product(FIELDS, VALUES):
        text = f'{{"{field}": {value}}}'
        yield {"syntax": "proto3", "input": text, "bytes": parsed(pool, of, text)}


def main():
    pool = compiled()
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for case in cases(pool):
            out.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
