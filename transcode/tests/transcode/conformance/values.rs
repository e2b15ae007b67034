//! Enums, strings, bytes, messages, oneofs, maps, lists, null, and the well-known types apart from times and `Any`.

use super::{Case, Ignored, Json, Message, NoJson, ParseError, Recommended, Required};

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

/// Strings, for both versions of the language.
pub(super) const STRINGS: &[Case] = &[
    (Required, "StringField", Message(r#"{"optionalString": "Hello world!"}"#, r#"optional_string: "Hello world!""#)),
    (Required, "StringFieldUnicode", Message(r#"{"optionalString": "谷歌"}"#, r#"optional_string: "谷歌""#)),
    (
        Required,
        "StringFieldEscape",
        Message(r#"{"optionalString": "\"\\\/\b\f\n\r\t"}"#, r#"optional_string: "\"\\/\b\f\n\r\t""#),
    ),
    (
        Required,
        "StringFieldUnicodeEscape",
        Message(r#"{"optionalString": "\u8C37\u6B4C"}"#, r#"optional_string: "谷歌""#),
    ),
    (
        Required,
        "StringFieldUnicodeEscapeWithLowercaseHexLetters",
        Message(r#"{"optionalString": "\u8c37\u6b4c"}"#, r#"optional_string: "谷歌""#),
    ),
    (
        Required,
        "StringFieldSurrogatePair",
        Message(r#"{"optionalString": "\uD83D\uDE01"}"#, r#"optional_string: "\xF0\x9F\x98\x81""#),
    ),
    (
        Required,
        "StringFieldEmbeddedNull",
        Message(r#"{"optionalString": "Hello\u0000world!"}"#, r#"optional_string: "Hello\000world!""#),
    ),
    (Recommended, "StringFieldUppercaseEscapeLetter", ParseError(r#"{"optionalString": "\U8C37\U6B4C"}"#)),
    (Recommended, "StringFieldInvalidEscape", ParseError(r#"{"optionalString": "\uXXXX\u6B4C"}"#)),
    (Recommended, "StringFieldUnterminatedEscape", ParseError(r#"{"optionalString": "\u8C3"}"#)),
    (Recommended, "StringFieldUnpairedHighSurrogate", ParseError(r#"{"optionalString": "\uD800"}"#)),
    (Recommended, "StringFieldUnpairedLowSurrogate", ParseError(r#"{"optionalString": "\uDC00"}"#)),
    (Recommended, "StringFieldSurrogateInWrongOrder", ParseError(r#"{"optionalString": "\uDE01\uD83D"}"#)),
    (Required, "StringFieldNotAString", ParseError(r#"{"optionalString": 12345}"#)),
    (Recommended, "StringFieldSingleQuoteKey", ParseError(r#"{'optionalString': "Hello world!"}"#)),
    (Recommended, "StringFieldSingleQuoteValue", ParseError(r#"{"optionalString": 'Hello world!'}"#)),
    (Recommended, "StringFieldSingleQuoteBoth", ParseError(r#"{'optionalString': 'Hello world!'}"#)),
];

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

/// Wrappers, `FieldMask`, `Struct` and `Value`, for proto3.
pub(super) const WELL_KNOWN: &[Case] = &[
    (
        Required,
        "OptionalBoolWrapper",
        Message(r#"{"optionalBoolWrapper": false}"#, "optional_bool_wrapper: {value: false}"),
    ),
    (Required, "OptionalInt32Wrapper", Message(r#"{"optionalInt32Wrapper": 0}"#, "optional_int32_wrapper: {value: 0}")),
    (
        Required,
        "OptionalUint32Wrapper",
        Message(r#"{"optionalUint32Wrapper": 0}"#, "optional_uint32_wrapper: {value: 0}"),
    ),
    (Required, "OptionalInt64Wrapper", Message(r#"{"optionalInt64Wrapper": 0}"#, "optional_int64_wrapper: {value: 0}")),
    (
        Required,
        "OptionalUint64Wrapper",
        Message(r#"{"optionalUint64Wrapper": 0}"#, "optional_uint64_wrapper: {value: 0}"),
    ),
    (Required, "OptionalFloatWrapper", Message(r#"{"optionalFloatWrapper": 0}"#, "optional_float_wrapper: {value: 0}")),
    (
        Required,
        "OptionalDoubleWrapper",
        Message(r#"{"optionalDoubleWrapper": 0}"#, "optional_double_wrapper: {value: 0}"),
    ),
    (
        Required,
        "OptionalStringWrapper",
        Message(r#"{"optionalStringWrapper": ""}"#, r#"optional_string_wrapper: {value: ""}"#),
    ),
    (
        Required,
        "OptionalBytesWrapper",
        Message(r#"{"optionalBytesWrapper": ""}"#, r#"optional_bytes_wrapper: {value: ""}"#),
    ),
    (
        Required,
        "OptionalWrapperTypesWithNonDefaultValue",
        Message(
            r#"{"optionalBoolWrapper": true, "optionalInt32Wrapper": 1, "optionalUint32Wrapper": 1,
                "optionalInt64Wrapper": "1", "optionalUint64Wrapper": "1", "optionalFloatWrapper": 1,
                "optionalDoubleWrapper": 1, "optionalStringWrapper": "1", "optionalBytesWrapper": "AQI="}"#,
            r#"optional_bool_wrapper: {value: true} optional_int32_wrapper: {value: 1}
               optional_uint32_wrapper: {value: 1} optional_int64_wrapper: {value: 1}
               optional_uint64_wrapper: {value: 1} optional_float_wrapper: {value: 1}
               optional_double_wrapper: {value: 1} optional_string_wrapper: {value: "1"}
               optional_bytes_wrapper: {value: "\x01\x02"}"#,
        ),
    ),
    (
        Required,
        "RepeatedBoolWrapper",
        Message(
            r#"{"repeatedBoolWrapper": [true, false]}"#,
            "repeated_bool_wrapper: {value: true} repeated_bool_wrapper: {value: false}",
        ),
    ),
    (
        Required,
        "RepeatedInt32Wrapper",
        Message(
            r#"{"repeatedInt32Wrapper": [0, 1]}"#,
            "repeated_int32_wrapper: {value: 0} repeated_int32_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedUint32Wrapper",
        Message(
            r#"{"repeatedUint32Wrapper": [0, 1]}"#,
            "repeated_uint32_wrapper: {value: 0} repeated_uint32_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedInt64Wrapper",
        Message(
            r#"{"repeatedInt64Wrapper": [0, 1]}"#,
            "repeated_int64_wrapper: {value: 0} repeated_int64_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedUint64Wrapper",
        Message(
            r#"{"repeatedUint64Wrapper": [0, 1]}"#,
            "repeated_uint64_wrapper: {value: 0} repeated_uint64_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedFloatWrapper",
        Message(
            r#"{"repeatedFloatWrapper": [0, 1]}"#,
            "repeated_float_wrapper: {value: 0} repeated_float_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedDoubleWrapper",
        Message(
            r#"{"repeatedDoubleWrapper": [0, 1]}"#,
            "repeated_double_wrapper: {value: 0} repeated_double_wrapper: {value: 1}",
        ),
    ),
    (
        Required,
        "RepeatedStringWrapper",
        Message(
            r#"{"repeatedStringWrapper": ["", "AQI="]}"#,
            r#"repeated_string_wrapper: {value: ""} repeated_string_wrapper: {value: "AQI="}"#,
        ),
    ),
    (
        Required,
        "RepeatedBytesWrapper",
        Message(
            r#"{"repeatedBytesWrapper": ["", "AQI="]}"#,
            r#"repeated_bytes_wrapper: {value: ""} repeated_bytes_wrapper: {value: "\x01\x02"}"#,
        ),
    ),
    (
        Required,
        "WrapperTypesWithNullValue",
        Message(
            r#"{"optionalBoolWrapper": null, "optionalInt32Wrapper": null, "optionalUint32Wrapper": null,
                "optionalInt64Wrapper": null, "optionalUint64Wrapper": null, "optionalFloatWrapper": null,
                "optionalDoubleWrapper": null, "optionalStringWrapper": null, "optionalBytesWrapper": null,
                "repeatedBoolWrapper": null, "repeatedInt32Wrapper": null, "repeatedUint32Wrapper": null,
                "repeatedInt64Wrapper": null, "repeatedUint64Wrapper": null, "repeatedFloatWrapper": null,
                "repeatedDoubleWrapper": null, "repeatedStringWrapper": null, "repeatedBytesWrapper": null}"#,
            "",
        ),
    ),
    (
        Required,
        "FieldMask",
        Message(r#"{"optionalFieldMask": "foo,barBaz"}"#, r#"optional_field_mask: {paths: "foo" paths: "bar_baz"}"#),
    ),
    (Required, "EmptyFieldMask", Message(r#"{"optionalFieldMask": ""}"#, "optional_field_mask: {}")),
    (Recommended, "FieldMaskInvalidCharacter", ParseError(r#"{"optionalFieldMask": "foo,bar_bar"}"#)),
    (Recommended, "FieldMaskPathsDontRoundTrip.JsonOutput", NoJson(r#"optional_field_mask: {paths: "fooBar"}"#)),
    (Recommended, "FieldMaskNumbersDontRoundTrip.JsonOutput", NoJson(r#"optional_field_mask: {paths: "foo_3_bar"}"#)),
    (Recommended, "FieldMaskTooManyUnderscore.JsonOutput", NoJson(r#"optional_field_mask: {paths: "foo__bar"}"#)),
    (
        Required,
        "Struct",
        Message(
            r#"{"optionalStruct": {"nullValue": null, "intValue": 1234, "boolValue": true, "doubleValue": 1234.5678,
                "stringValue": "Hello world!", "listValue": [1234, "5678"], "objectValue": {"value": 0}}}"#,
            r#"optional_struct: {
               fields: {key: "nullValue" value: {null_value: NULL_VALUE}}
               fields: {key: "intValue" value: {number_value: 1234}}
               fields: {key: "boolValue" value: {bool_value: true}}
               fields: {key: "doubleValue" value: {number_value: 1234.5678}}
               fields: {key: "stringValue" value: {string_value: "Hello world!"}}
               fields: {key: "listValue" value: {list_value: {
                   values: {number_value: 1234} values: {string_value: "5678"}}}}
               fields: {key: "objectValue" value: {struct_value: {
                   fields: {key: "value" value: {number_value: 0}}}}}}"#,
        ),
    ),
    (
        Required,
        "StructWithEmptyListValue",
        Message(
            r#"{"optionalStruct": {"listValue": []}}"#,
            r#"optional_struct: {fields: {key: "listValue" value: {list_value: {}}}}"#,
        ),
    ),
    (Required, "ValueAcceptInteger", Message(r#"{"optionalValue": 1}"#, "optional_value: {number_value: 1}")),
    (Required, "ValueAcceptFloat", Message(r#"{"optionalValue": 1.5}"#, "optional_value: {number_value: 1.5}")),
    (Required, "ValueAcceptBool", Message(r#"{"optionalValue": false}"#, "optional_value: {bool_value: false}")),
    (Required, "ValueAcceptNull", Message(r#"{"optionalValue": null}"#, "optional_value: {null_value: NULL_VALUE}")),
    (
        Required,
        "ValueAcceptString",
        Message(r#"{"optionalValue": "hello"}"#, r#"optional_value: {string_value: "hello"}"#),
    ),
    (
        Required,
        "ValueAcceptList",
        Message(
            r#"{"optionalValue": [0, "hello"]}"#,
            r#"optional_value: {list_value: {values: {number_value: 0} values: {string_value: "hello"}}}"#,
        ),
    ),
    (
        Required,
        "ValueAcceptObject",
        Message(
            r#"{"optionalValue": {"value": 1}}"#,
            r#"optional_value: {struct_value: {fields: {key: "value" value: {number_value: 1}}}}"#,
        ),
    ),
    (
        Required,
        "RepeatedValue",
        Message(r#"{"repeatedValue": [["a"]]}"#, r#"repeated_value: [{list_value: {values: [{string_value: "a"}]}}]"#),
    ),
    (
        Required,
        "RepeatedListValue",
        Message(r#"{"repeatedListValue": [["a"]]}"#, r#"repeated_list_value: [{values: [{string_value: "a"}]}]"#),
    ),
    (Recommended, "ValueRejectNanNumberValue.JsonOutput", NoJson("optional_value: {number_value: nan}")),
    (Recommended, "ValueRejectInfNumberValue.JsonOutput", NoJson("optional_value: {number_value: inf}")),
];
