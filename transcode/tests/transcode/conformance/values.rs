//! Booleans, enums, bytes, messages, oneofs, maps, lists, and null.

use super::{Case, Ignored, Json, Message, ParseError, Recommended, Required};

/// Cases for both versions of the language.
pub(super) const CASES: &[Case] = &[
    (Required, "BoolFieldTrue", Message(r#"{"optionalBool":true}"#, "optional_bool: true")),
    (Required, "BoolFieldFalse", Message(r#"{"optionalBool":false}"#, "optional_bool: false")),
    (Recommended, "BoolFieldIntegerZero", ParseError(r#"{"optionalBool":0}"#)),
    (Recommended, "BoolFieldIntegerOne", ParseError(r#"{"optionalBool":1}"#)),
    (Recommended, "BoolFieldCamelCaseTrue", ParseError(r#"{"optionalBool":True}"#)),
    (Recommended, "BoolFieldCamelCaseFalse", ParseError(r#"{"optionalBool":False}"#)),
    (Recommended, "BoolFieldAllCapitalTrue", ParseError(r#"{"optionalBool":TRUE}"#)),
    (Recommended, "BoolFieldAllCapitalFalse", ParseError(r#"{"optionalBool":FALSE}"#)),
    (Recommended, "BoolFieldDoubleQuotedTrue", ParseError(r#"{"optionalBool":"true"}"#)),
    (Recommended, "BoolFieldDoubleQuotedFalse", ParseError(r#"{"optionalBool":"false"}"#)),
    (Required, "EnumField", Message(r#"{"optionalNestedEnum": "FOO"}"#, "optional_nested_enum: FOO")),
    (Required, "EnumFieldNotQuoted", ParseError(r#"{"optionalNestedEnum": FOO}"#)),
    (Required, "EnumFieldNumericValueZero", Message(r#"{"optionalNestedEnum": 0}"#, "optional_nested_enum: FOO")),
    (Required, "EnumFieldNumericValueNonZero", Message(r#"{"optionalNestedEnum": 1}"#, "optional_nested_enum: BAR")),
    (Required, "BytesField", Message(r#"{"optionalBytes": "AQI="}"#, r#"optional_bytes: "\x01\x02""#)),
    (Recommended, "BytesFieldBase64Url", Message(r#"{"optionalBytes": "-_"}"#, r#"optional_bytes: "\xfb""#)),
    (
        Required,
        "MessageField",
        Message(r#"{"optionalNestedMessage": {"a": 1234}}"#, "optional_nested_message: {a: 1234}"),
    ),
    (Required, "OneofFieldDuplicate", ParseError(r#"{"oneofUint32": 1, "oneofString": "test"}"#)),
    (
        Required,
        "OneofFieldNullFirst",
        Message(r#"{"oneofUint32": null, "oneofString": "test"}"#, r#"oneof_string: "test""#),
    ),
    (
        Required,
        "OneofFieldNullSecond",
        Message(r#"{"oneofString": "test", "oneofUint32": null}"#, r#"oneof_string: "test""#),
    ),
    (Recommended, "OneofZeroUint32", Message(r#"{"oneofUint32": 0}"#, "oneof_uint32: 0")),
    (Recommended, "OneofZeroMessage", Message(r#"{"oneofNestedMessage": {}}"#, "oneof_nested_message: {}")),
    (Recommended, "OneofZeroString", Message(r#"{"oneofString": ""}"#, r#"oneof_string: """#)),
    (Recommended, "OneofZeroBytes", Message(r#"{"oneofBytes": ""}"#, r#"oneof_bytes: """#)),
    (Recommended, "OneofZeroBool", Message(r#"{"oneofBool": false}"#, "oneof_bool: false")),
    (Recommended, "OneofZeroUint64", Message(r#"{"oneofUint64": 0}"#, "oneof_uint64: 0")),
    (Recommended, "OneofZeroFloat", Message(r#"{"oneofFloat": 0.0}"#, "oneof_float: 0")),
    (Recommended, "OneofZeroDouble", Message(r#"{"oneofDouble": 0.0}"#, "oneof_double: 0")),
    (Recommended, "OneofZeroEnum", Message(r#"{"oneofEnum":"FOO"}"#, "oneof_enum: FOO")),
    (
        Required,
        "Int32MapField",
        Message(
            r#"{"mapInt32Int32": {"1": 2, "3": 4}}"#,
            "map_int32_int32: {key: 1 value: 2} map_int32_int32: {key: 3 value: 4}",
        ),
    ),
    (Recommended, "Int32MapFieldKeyNotQuoted", ParseError(r#"{"mapInt32Int32": {1: 2, 3: 4}}"#)),
    (
        Required,
        "Uint32MapField",
        Message(
            r#"{"mapUint32Uint32": {"1": 2, "3": 4}}"#,
            "map_uint32_uint32: {key: 1 value: 2} map_uint32_uint32: {key: 3 value: 4}",
        ),
    ),
    (Recommended, "Uint32MapFieldKeyNotQuoted", ParseError(r#"{"mapUint32Uint32": {1: 2, 3: 4}}"#)),
    (
        Required,
        "Int64MapField",
        Message(
            r#"{"mapInt64Int64": {"1": 2, "3": 4}}"#,
            "map_int64_int64: {key: 1 value: 2} map_int64_int64: {key: 3 value: 4}",
        ),
    ),
    (Recommended, "Int64MapFieldKeyNotQuoted", ParseError(r#"{"mapInt64Int64": {1: 2, 3: 4}}"#)),
    (
        Required,
        "Uint64MapField",
        Message(
            r#"{"mapUint64Uint64": {"1": 2, "3": 4}}"#,
            "map_uint64_uint64: {key: 1 value: 2} map_uint64_uint64: {key: 3 value: 4}",
        ),
    ),
    (Recommended, "Uint64MapFieldKeyNotQuoted", ParseError(r#"{"mapUint64Uint64": {1: 2, 3: 4}}"#)),
    (
        Required,
        "BoolMapField",
        Message(
            r#"{"mapBoolBool": {"true": true, "false": false}}"#,
            "map_bool_bool: {key: true value: true} map_bool_bool: {key: false value: false}",
        ),
    ),
    (Recommended, "BoolMapFieldKeyNotQuoted", ParseError(r#"{"mapBoolBool": {true: true, false: false}}"#)),
    (
        Required,
        "MessageMapField",
        Message(
            r#"{"mapStringNestedMessage": {"hello": {"a": 1234}, "world": {"a": 5678}}}"#,
            r#"map_string_nested_message: {key: "hello" value: {a: 1234}}
               map_string_nested_message: {key: "world" value: {a: 5678}}"#,
        ),
    ),
    (
        Required,
        "Int32MapEscapedKey",
        Message(r#"{"mapInt32Int32": {"\u0031": 2}}"#, "map_int32_int32: {key: 1 value: 2}"),
    ),
    (
        Required,
        "Int64MapEscapedKey",
        Message(r#"{"mapInt64Int64": {"\u0031": 2}}"#, "map_int64_int64: {key: 1 value: 2}"),
    ),
    (
        Required,
        "BoolMapEscapedKey",
        Message(r#"{"mapBoolBool": {"tr\u0075e": true}}"#, "map_bool_bool: {key: true value: true}"),
    ),
    (Required, "PrimitiveRepeatedField", Message(r#"{"repeatedInt32": [1, 2, 3, 4]}"#, "repeated_int32: [1, 2, 3, 4]")),
    (
        Required,
        "EnumRepeatedField",
        Message(r#"{"repeatedNestedEnum": ["FOO", "BAR", "BAZ"]}"#, "repeated_nested_enum: [FOO, BAR, BAZ]"),
    ),
    (
        Required,
        "StringRepeatedField",
        Message(r#"{"repeatedString": ["Hello", "world"]}"#, r#"repeated_string: ["Hello", "world"]"#),
    ),
    (
        Required,
        "BytesRepeatedField",
        Message(r#"{"repeatedBytes": ["AAEC", "AQI="]}"#, r#"repeated_bytes: ["\x00\x01\x02", "\x01\x02"]"#),
    ),
    (
        Required,
        "MessageRepeatedField",
        Message(
            r#"{"repeatedNestedMessage": [{"a": 1234}, {"a": 5678}]}"#,
            "repeated_nested_message: {a: 1234} repeated_nested_message: {a: 5678}",
        ),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingIntegersGotBool",
        ParseError(r#"{"repeatedInt32": [1, false, 3, 4]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingIntegersGotString",
        ParseError(r#"{"repeatedInt32": [1, 2, "name", 4]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingIntegersGotMessage",
        ParseError(r#"{"repeatedInt32": [1, 2, 3, {"a": 4}]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingStringsGotInt",
        ParseError(r#"{"repeatedString": ["1", 2, "3", "4"]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingStringsGotBool",
        ParseError(r#"{"repeatedString": ["1", "2", false, "4"]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingStringsGotMessage",
        ParseError(r#"{"repeatedString": ["1", "2", "3", {"a": 4}]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingMessagesGotInt",
        ParseError(r#"{"repeatedNestedMessage": [{"a": 1}, 2]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingMessagesGotBool",
        ParseError(r#"{"repeatedNestedMessage": [{"a": 1}, false]}"#),
    ),
    (
        Required,
        "RepeatedFieldWrongElementTypeExpectingMessagesGotString",
        ParseError(r#"{"repeatedNestedMessage": [{"a": 1}, "2"]}"#),
    ),
    (Recommended, "RepeatedFieldTrailingComma", ParseError(r#"{"repeatedInt32": [1, 2, 3, 4,]}"#)),
    (Recommended, "RepeatedFieldTrailingCommaWithSpace", ParseError(r#"{"repeatedInt32": [1, 2, 3, 4 ,]}"#)),
    (Recommended, "RepeatedFieldTrailingCommaWithSpaceCommaSpace", ParseError(r#"{"repeatedInt32": [1, 2, 3, 4 , ]}"#)),
    (
        Recommended,
        "RepeatedFieldTrailingCommaWithNewlines",
        ParseError("{\"repeatedInt32\": [\n  1,\n  2,\n  3,\n  4,\n]}"),
    ),
    (Required, "AllFieldAcceptNull", Message(ALL_NULL, "")),
    (Recommended, "RepeatedFieldPrimitiveElementIsNull", ParseError(r#"{"repeatedInt32": [1, null, 2]}"#)),
    (
        Recommended,
        "RepeatedFieldMessageElementIsNull",
        ParseError(r#"{"repeatedNestedMessage": [{"a":1}, null, {"a":2}]}"#),
    ),
    (Recommended, "MapFieldKeyIsNull", ParseError(r#"{"mapInt32Int32": {null: 1}}"#)),
    (Recommended, "MapFieldValueIsNull", ParseError(r#"{"mapInt32Int32": {"0": null}}"#)),
    (
        Recommended,
        "RejectUnknownEnumStringValueInOptionalField",
        ParseError(r#"{"optional_nested_enum": "UNKNOWN_ENUM_VALUE"}"#),
    ),
    (
        Recommended,
        "IgnoreUnknownEnumStringValueInOptionalField",
        Ignored(r#"{"optional_nested_enum": "UNKNOWN_ENUM_VALUE"}"#, ""),
    ),
    (
        Recommended,
        "RejectUnknownEnumStringValueInRepeatedField",
        ParseError(r#"{"repeated_nested_enum": ["UNKNOWN_ENUM_VALUE"]}"#),
    ),
    (
        Recommended,
        "IgnoreUnknownEnumStringValueInRepeatedField",
        Ignored(r#"{"repeated_nested_enum": ["UNKNOWN_ENUM_VALUE"]}"#, ""),
    ),
    (
        Recommended,
        "RejectUnknownEnumStringValueInMapValue",
        ParseError(r#"{"map_string_nested_enum": {"key": "UNKNOWN_ENUM_VALUE"}}"#),
    ),
    (
        Recommended,
        "IgnoreUnknownEnumStringValueInMapValue",
        Ignored(r#"{"map_string_nested_enum": {"key": "UNKNOWN_ENUM_VALUE"}}"#, ""),
    ),
];

const ALL_NULL: &str = r#"{
    "optionalInt32": null, "optionalInt64": null, "optionalUint32": null, "optionalUint64": null,
    "optionalSint32": null, "optionalSint64": null, "optionalFixed32": null, "optionalFixed64": null,
    "optionalSfixed32": null, "optionalSfixed64": null, "optionalFloat": null, "optionalDouble": null,
    "optionalBool": null, "optionalString": null, "optionalBytes": null, "optionalNestedEnum": null,
    "optionalNestedMessage": null, "repeatedInt32": null, "repeatedInt64": null, "repeatedUint32": null,
    "repeatedUint64": null, "repeatedSint32": null, "repeatedSint64": null, "repeatedFixed32": null,
    "repeatedFixed64": null, "repeatedSfixed32": null, "repeatedSfixed64": null, "repeatedFloat": null,
    "repeatedDouble": null, "repeatedBool": null, "repeatedString": null, "repeatedBytes": null,
    "repeatedNestedEnum": null, "repeatedNestedMessage": null, "mapInt32Int32": null, "mapBoolBool": null,
    "mapStringNestedMessage": null
}"#;

/// Cases for proto3.
pub(super) const PROTO3_CASES: &[Case] = &[
    (
        Required,
        "EnumFieldWithAlias",
        Message(r#"{"optionalAliasedEnum": "ALIAS_BAZ"}"#, "optional_aliased_enum: ALIAS_BAZ"),
    ),
    (
        Required,
        "EnumFieldWithAliasUseAlias",
        Message(r#"{"optionalAliasedEnum": "MOO"}"#, "optional_aliased_enum: ALIAS_BAZ"),
    ),
    (
        Required,
        "EnumFieldWithAliasLowerCase",
        Message(r#"{"optionalAliasedEnum": "moo"}"#, "optional_aliased_enum: ALIAS_BAZ"),
    ),
    (
        Required,
        "EnumFieldWithAliasDifferentCase",
        Message(r#"{"optionalAliasedEnum": "bAz"}"#, "optional_aliased_enum: ALIAS_BAZ"),
    ),
    (
        Required,
        "EnumFieldUnknownValue.Validator",
        Json(r#"{"optionalNestedEnum": 123}"#, r#"{"optionalNestedEnum":123}"#),
    ),
    (Required, "SkipsDefaultPrimitive.Validator", Json(r#"{"FieldName13": 0}"#, "{}")),
    (
        Recommended,
        "NullValueInOtherOneofOldFormat.Validator",
        Json(r#"{"oneofNullValue": "NULL_VALUE"}"#, r#"{"oneofNullValue":null}"#),
    ),
    (
        Recommended,
        "NullValueInOtherOneofNewFormat.Validator",
        Json(r#"{"oneofNullValue": null}"#, r#"{"oneofNullValue":null}"#),
    ),
    (Recommended, "NullValueInNormalMessage.Validator", Json(r#"{"optionalNullValue": null}"#, "{}")),
];
