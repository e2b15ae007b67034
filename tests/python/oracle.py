"""Writes messages with the verdict of Buf's own protovalidate, one JSON object per line:

    {"message": full name, "bytes": base64, "valid": bool, "fields": [paths of broken rules, sorted]}

It tries every request message with the boundary values of each rule, one field at a time in an otherwise valid message,
and then with several fields at random. The same contracts give the same file.
"""

import base64
import json
import pathlib
import random
import sys
import unicodedata

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
# For the rules of trellis.text.v1: what scripts and emoji need, and what hides or reorders text.
TEXTS = [
    "مى\u200cخواهم",
    "\u200fשלום",
    "יוסי (C++)\u200e",
    "न\u094d\u200dय",
    "ᠮᠣᠩᠭᠣᠯ\u180eᠠ",
    "👩🏽\u200d🚀",
    "🏳\ufe0f\u200d🌈",
    "1\ufe0f\u20e3",
    "🇩🇪",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "🏴\U000e0067\U000e0062",
    "🏴\U000e007f",
    "🏴" + "\U000e0067" * 7 + "\U000e007f",
    "a\U000e0067\U000e007f",
    "葛\U000e0100城",
    "葛\U000e0100\U000e0101城",
    "a\u200d\u200cb",
    "a\ufe0f\u200d",
    "a\u200d\ufe0f",
    "a \u200d",
    "\u200e\u200fa",
    "\u200e a",
    " a",
    "a ",
    "a\u3000",
    "\u0301a",
    "a\r\n\tb",
    "\r\n\t",
    "a\u202ab\u202c",
    "a\u2067b\u2069",
    "\u0600\u0661",
    "\ufffc",
    "\U0001d159",
    "\U0001fb00",
]
# Characters at which a rule may change: control, format, space, ignorable and blank characters, and their neighbors.
EDGES = [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180F, 0x2065, 0x2800, 0x3164, 0xE001, 0xFE00, 0xFE0F, 0xFFA0]
EDGES += [0xFFF0, 0xFFF8, 0xFFFC, 0x1D159, 0xE0000, 0xE00FF, 0xE0100, 0xE01EF, 0xE01F0, 0xE0FFF]
CHARACTERS = [chr(c) for c in range(0xE1000) if unicodedata.category(chr(c)) in ("Cc", "Cf", "Zl", "Zp", "Zs")]
CHARACTERS += [chr(c + step) for c in EDGES for step in (-1, 0, 1)]
# Characters of one, two, three and four bytes, one of two code points, and two joined emoji.
ALPHABETS = ["x", "é", "€", "😀", "e\u0301", "👩\u200d🚀"]


def lengths(rules):
    """The lengths at the boundaries of a rule."""
    return sorted({max(0, n + step) for n in rules for step in (-1, 0, 1)} | {0, 1})


# The field on which a rule of trellis.text.v1 is tried with every one of CHARACTERS, by the rule's name.
SWEPT = {}


def texts(field, rules):
    found = list(WORDS) + UUIDS + EMAILS
    for rule in (rule for rule, _ in rules.ListFields() if rule.is_extension):
        found += TEXTS
        if SWEPT.setdefault(rule.name, field.full_name) == field.full_name:
            found += [text for c in CHARACTERS for text in (c, f"a{c}b", f"a{c}{c}b")]
    counts = [value for _, value in rules.ListFields() if isinstance(value, int) and not isinstance(value, bool)]
    for n in lengths(counts):
        for alphabet in ALPHABETS:
            found.append((alphabet * n)[:n])
            # As many characters as fit into n bytes, for rules that count bytes.
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
        return texts(field, rules.string)
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
            # Field masks and timestamps: well-known types without validation rules.
            return [message_class(field.message_type.full_name)()]
        return list(instances(field.message_type))
    raise SystemExit(f"oracle.py cannot create values of the type of {field.full_name} yet")


def different(good, n):
    """`n` values for a list with `unique`: UUIDs are counted up, other values repeat."""
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
    """The first valid one of `values`. The oracle decides, so that this file repeats no rule."""
    cls = message_class(field.containing_type.full_name)
    for value in values:
        message = cls()
        put(message, field, [value] if field.is_repeated else value)
        if not any(path.startswith(f"{field.name}[0]") or path == field.name for path in broken(message)):
            return value
    raise SystemExit(f"oracle.py has no valid value for {field.full_name}")


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
    # An oracle with the same verdict for every case would prove nothing.
    for name, counts in verdicts.items():
        ruled = any(field.GetOptions().ListFields() for field in message_class(name).DESCRIPTOR.fields)
        if counts[True] == 0 or (ruled and counts[False] == 0):
            raise SystemExit(f"{name}: one of the two verdicts has no case")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
