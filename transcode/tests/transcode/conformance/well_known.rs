//! Wrappers, `FieldMask`, `Struct` and `Value`.

use super::{Case, Message, NoJson, ParseError, Recommended, Required};

pub(super) const CASES: &[Case] = &[
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
