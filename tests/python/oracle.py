"""Writes messages with the verdict of Buf's own protovalidate, one JSON object a line:

    {"message": full name, "bytes": base64, "valid": bool, "fields": [paths of broken rules, sorted]}

Every input message of a method is tried with boundary values of each rule, one field at a time in an otherwise
valid message, and then with several fields at random. The same contracts give the same file.
"""

import base64
import json
import pathlib
import random
import sys

import protovalidate
from google.protobuf.descriptor import FieldDescriptor

from contracts import extension, message_class, methods

SEED = 20_261_124
COMBINATIONS = 60

UUIDS = [
    "0190b2c4-7d1e-7abc-8def-0123456789ab",
    "0190B2C4-7D1E-7ABC-8DEF-0123456789AB",
    "00000000-0000-0000-0000-000000000000",
    "0190b2c47d1e7abc8def0123456789ab",
    "{0190b2c4-7d1e-7abc-8def-0123456789ab}",
    "0190b2c4-7d1e-7abc-8def-0123456789a",
    "0190b2c4-7d1e-7abc-8def-0123456789abc",
    "0190b2c4-7d1e-7abc-8def-0123456789ag",
    "0190b2c4-7d1e7-abc-8def-0123456789ab",
    "0190b2c4-7d1e-7abc-8def-0123456789ab\n",
    "٠190b2c4-7d1e-7abc-8def-0123456789ab",
]
EMAILS = [
    "ada@example.com",
    "ada@localhost",
    "a@b",
    "Ada.Lovelace+news@Example.co.uk",
    ".ada..lovelace.@example.com",
    "!#$%&'*+/=?^_`{|}~-@example.com",
    "ada@[127.0.0.1]",
    '"ada lovelace"@example.com',
    "Ada <ada@example.com>",
    "ada",
    "@example.com",
    "ada@",
    "ada@@example.com",
    "ada@example.com@example.com",
    "ada@example..com",
    "ada@.example.com",
    "ada@example.com.",
    "ada@-example.com",
    "ada@example-.com",
    "ada@ex-ample.com",
    "ada@exam_ple.com",
    "ada@" + "x" * 63 + ".com",
    "ada@" + "x" * 64 + ".com",
    "adá@example.com",
    "ada@exämple.com",
    "ada@exa\u0308mple.com",
    "ada@xn--exmple-cua.com",
    "@",
    "a@",
    "@" * 3,
    "ädä@" + "ä" * 250,
    "ädä@" + "ä" * 251,
    " ada@example.com",
    "ada@example.com\n",
    "ada@example.com\x00",
    "x" * 242 + "@example.com",
    "x" * 243 + "@example.com",
]
WORDS = [
    "",
    "a",
    "ada",
    "ada_lovelace",
    "ada-lovelace",
    "Ada",
    "1ada",
    "_ada",
    "ad",
    "a" * 29,
    "a" * 30,
    "a" * 31,
    "ada\n",
    "\nada",
    "ada\x00",
    "ädä",
    "аda",  # A Cyrillic first letter.
    "ada lovelace",
    " ",
    "\u0000",
    "\u202eada",
]
# One, two, three and four bytes a character, one character of two code points, and a pair of emoji joined as one.
ALPHABETS = ["x", "é", "€", "😀", "e\u0301", "👩\u200d🚀"]


def lengths(rules):
    """Lengths at which a rule may change its mind."""
    return sorted({max(0, n + step) for n in rules for step in (-1, 0, 1)} | {0, 1})


def texts(rules):
    found = list(WORDS) + UUIDS + EMAILS
    counts = [value for rule, value in rules.ListFields() if isinstance(value, int) and rule.name != "uuid"]
    for n in lengths(counts):
        for alphabet in ALPHABETS:
            found.append((alphabet * n)[:n])
            # As many bytes as fit into n, for the rules that count bytes.
            found.append(alphabet * (n // len(alphabet.encode())))
    return found


def numbers(rules, bits):
    bounds = [value for _, value in rules.ListFields()]
    near = {bound + step for bound in bounds for step in (-1, 0, 1)}
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return sorted(n for n in near | {0, 1, least, most} if least <= n <= most)


def enum_numbers(field):
    defined = [value.number for value in field.enum_type.values]
    return defined + [max(defined) + 1, -1, 2**31 - 1]


def scalars(field, rules):
    """Values of one element of `field`."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return texts(rules.string)
    if field.type == FieldDescriptor.TYPE_INT32:
        return numbers(rules.int32, 32)
    if field.type == FieldDescriptor.TYPE_INT64:
        return numbers(rules.int64, 64)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return [False, True]
    if field.type == FieldDescriptor.TYPE_ENUM:
        return enum_numbers(field)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if not field.message_type.full_name.startswith("trellis."):
            # Masks and times: other people's messages, without rules of ours.
            return [message_class(field.message_type.full_name)()]
        return list(instances(field.message_type))
    raise SystemExit(f"oracle.py makes no values of the type of {field.full_name} yet")


def different(good, n):
    """`n` values that a list with `unique` takes: UUIDs are counted on, other values repeat."""
    if good == UUIDS[0]:
        return [f"{good[:-12]}{i:012x}" for i in range(n)]
    return [good] * n


def lists(field, rules):
    values = scalars(field, rules.repeated.items)
    good = first_valid(field, rules.repeated.items, values)
    counts = [n for n in (rules.repeated.min_items, rules.repeated.max_items) if n]
    found = [different(good, n) for n in lengths(counts + [2])]
    found += [[good, good]]
    found += [[value] for value in values] + [[*different(good, 2), value] for value in values]
    return found


def first_valid(field, rules, values):
    """The first of `values` that keeps the rules; asked of the oracle, so that no rule is written down here."""
    cls = message_class(field.containing_type.full_name)
    for value in values:
        message = cls()
        put(message, field, [value] if field.is_repeated else value)
        if not any(path.startswith(f"{field.name}[0]") or path == field.name for path in broken(message)):
            return value
    raise SystemExit(f"oracle.py has no value that keeps the rules of {field.full_name}")


def field_values(field):
    rules = extension(field.GetOptions(), "buf.validate.field") or message_class("buf.validate.FieldRules")()
    return lists(field, rules) if field.is_repeated else scalars(field, rules)


def put(message, field, value):
    if field.is_repeated:
        del getattr(message, field.name)[:]
        getattr(message, field.name).extend(value)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def broken(message):
    """The paths of the rules that `message` breaks, according to Buf."""
    paths = set()
    for violation in protovalidate.collect_violations(message):
        path = ""
        for element in violation.proto.field.elements:
            path += ("." if path else "") + element.field_name
            if element.subscript is not None:
                path += f"[{element.subscript.value}]"
        paths.add(path)
    return sorted(paths)


def instances(descriptor):
    """A valid message first, then every field's values in it, then several fields at random."""
    cls = message_class(descriptor.full_name)
    fields = [(field, field_values(field)) for field in descriptor.fields]
    valid = cls()
    for field, values in fields:
        good = next((value for value in values if not breaks_field(cls, field, value)), None)
        if good is not None:
            put(valid, field, good)
    yield valid
    yield cls()
    for field, values in fields:
        for value in values:
            message = cls()
            message.CopyFrom(valid)
            put(message, field, value)
            yield message
    dice = random.Random(f"{SEED} {descriptor.full_name}")
    for _ in range(COMBINATIONS if len(fields) > 1 else 0):
        message = cls()
        for field, values in fields:
            put(message, field, dice.choice([value for value in values if small(value)]))
        yield message


def breaks_field(cls, field, value):
    message = cls()
    put(message, field, value)
    return any(path.split(".")[0].split("[")[0] == field.name for path in broken(message))


def small(value):
    return not hasattr(value, "__len__") or len(value) < 2000


def main(out):
    seen = set()
    verdicts = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for descriptor in dict.fromkeys(method.input_type for method in methods()):
            for message in instances(descriptor):
                encoded = message.SerializeToString(deterministic=True)
                if (descriptor.full_name, encoded) in seen:
                    continue
                seen.add((descriptor.full_name, encoded))
                fields = broken(message)
                case = {
                    "message": descriptor.full_name,
                    "bytes": base64.b64encode(encoded).decode(),
                    "valid": not fields,
                    "fields": fields,
                }
                file.write(json.dumps(case) + "\n")
                counts = verdicts.setdefault(descriptor.full_name, {True: 0, False: 0})
                counts[not fields] += 1
    for name, counts in verdicts.items():
        print(f"{name}: {counts[True]} valid, {counts[False]} not")
    # An oracle that says the same to everything would prove nothing.
    for name, counts in verdicts.items():
        ruled = any(field.GetOptions().ListFields() for field in message_class(name).DESCRIPTOR.fields)
        if counts[True] == 0 or (ruled and counts[False] == 0):
            raise SystemExit(f"{name}: no case of one of the two verdicts")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
