//! Names of fields, and the syntax of objects.

use super::{Case, Ignored, Json, Message, ParseError, Recommended, Required};

const ALL_NAMES: &str = "fieldname1: 1 field_name2: 2 _field_name3: 3 field__name4_: 4 field0name5: 5 field_0_name6: 6 \
     fieldName7: 7 FieldName8: 8 field_Name9: 9 Field_Name10: 10 FIELD_NAME11: 11 FIELD_name12: 12 \
     __field_name13: 13 __Field_name14: 14 field__name15: 15 field__Name16: 16 field_name17__: 17 Field_name18__: 18";
const INT32_AND_INT64: &str = "optional_int32: 1 optional_int64: 2";

pub(super) const CASES: &[Case] = &[
    (Required, "HelloWorld", Message(r#"{"optionalString":"Hello, World!"}"#, "optional_string: 'Hello, World!'")),
    (
        Required,
        "FieldNameInSnakeCase",
        Message(
            r#"{"fieldname1": 1, "fieldName2": 2, "FieldName3": 3, "fieldName4": 4}"#,
            "fieldname1: 1 field_name2: 2 _field_name3: 3 field__name4_: 4",
        ),
    ),
    (
        Required,
        "FieldNameWithNumbers",
        Message(r#"{"field0name5": 5, "field0Name6": 6}"#, "field0name5: 5 field_0_name6: 6"),
    ),
    (
        Required,
        "FieldNameWithMixedCases",
        Message(
            r#"{"fieldName7": 7, "FieldName8": 8, "fieldName9": 9, "FieldName10": 10, "FIELDNAME11": 11, "FIELDName12": 12}"#,
            "fieldName7: 7 FieldName8: 8 field_Name9: 9 Field_Name10: 10 FIELD_NAME11: 11 FIELD_name12: 12",
        ),
    ),
    (
        Recommended,
        "FieldNameWithDoubleUnderscores",
        Message(
            r#"{"FieldName13": 13, "FieldName14": 14, "fieldName15": 15, "fieldName16": 16, "fieldName17": 17, "FieldName18": 18}"#,
            "__field_name13: 13 __Field_name14: 14 field__name15: 15 field__Name16: 16 field_name17__: 17 Field_name18__: 18",
        ),
    ),
    (
        Required,
        "OriginalProtoFieldName",
        Message(
            r#"{"fieldname1": 1, "field_name2": 2, "_field_name3": 3, "field__name4_": 4, "field0name5": 5,
                "field_0_name6": 6, "fieldName7": 7, "FieldName8": 8, "field_Name9": 9, "Field_Name10": 10,
                "FIELD_NAME11": 11, "FIELD_name12": 12, "__field_name13": 13, "__Field_name14": 14,
                "field__name15": 15, "field__Name16": 16, "field_name17__": 17, "Field_name18__": 18}"#,
            ALL_NAMES,
        ),
    ),
    (Required, "FieldNameEscaped", Message(r#"{"fieldn\u0061me1": 1}"#, "fieldname1: 1")),
    (Recommended, "StringEndsWithEscapeChar", ParseError(r#"{"optionalString": "abc\"#)),
    (Recommended, "FieldNameNotQuoted", ParseError("{fieldname1: 1}")),
    (Recommended, "TrailingCommaInAnObject", ParseError(r#"{"fieldname1":1,}"#)),
    (Recommended, "TrailingCommaInAnObjectWithSpace", ParseError(r#"{"fieldname1":1 ,}"#)),
    (Recommended, "TrailingCommaInAnObjectWithSpaceCommaSpace", ParseError(r#"{"fieldname1":1 , }"#)),
    (Recommended, "TrailingCommaInAnObjectWithNewlines", ParseError("{\n\"fieldname1\":1,\n}")),
    (Recommended, "JsonWithComments", ParseError("{\n// This is a comment.\n\"fieldname1\": 1\n}")),
    (Recommended, "OneLineNoSpaces", Message(r#"{"optionalInt32":1,"optionalInt64":2}"#, INT32_AND_INT64)),
    (Recommended, "OneLineWithSpaces", Message(r#"{ "optionalInt32" : 1 , "optionalInt64" : 2 }"#, INT32_AND_INT64)),
    (
        Recommended,
        "MultilineNoSpaces",
        Message("{\n\"optionalInt32\"\n:\n1\n,\n\"optionalInt64\"\n:\n2\n}", INT32_AND_INT64),
    ),
    (
        Recommended,
        "MultilineWithSpaces",
        Message("{\n  \"optionalInt32\"  :  1\n  ,\n  \"optionalInt64\"  :  2\n}\n", INT32_AND_INT64),
    ),
    (Recommended, "MissingCommaOneLine", ParseError(r#"{ "optionalInt32": 1 "optionalInt64": 2 }"#)),
    (Recommended, "MissingCommaMultiline", ParseError("{\n  \"optionalInt32\": 1\n  \"optionalInt64\": 2\n}")),
    (
        Recommended,
        "FieldNameDuplicate",
        ParseError(r#"{"optionalNestedMessage": {"a": 1}, "optionalNestedMessage": {}}"#),
    ),
    (
        Recommended,
        "FieldNameDuplicateDifferentCasing1",
        ParseError(r#"{"optional_nested_message": {"a": 1}, "optionalNestedMessage": {}}"#),
    ),
    (
        Recommended,
        "FieldNameDuplicateDifferentCasing2",
        ParseError(r#"{"optionalNestedMessage": {"a": 1}, "optional_nested_message": {}}"#),
    ),
    (
        Required,
        "FieldNameInLowerCamelCase.Validator",
        Json(
            r#"{"fieldname1": 1, "fieldName2": 2, "FieldName3": 3, "fieldName4": 4}"#,
            r#"{"fieldname1":1,"fieldName2":2,"FieldName3":3,"fieldName4":4}"#,
        ),
    ),
    (
        Required,
        "FieldNameWithNumbers.Validator",
        Json(r#"{"field0name5": 5, "field0Name6": 6}"#, r#"{"field0name5":5,"field0Name6":6}"#),
    ),
    (
        Required,
        "FieldNameWithMixedCases.Validator",
        Json(
            r#"{"fieldName7": 7, "FieldName8": 8, "fieldName9": 9, "FieldName10": 10, "FIELDNAME11": 11, "FIELDName12": 12}"#,
            r#"{"fieldName7":7,"FieldName8":8,"fieldName9":9,"FieldName10":10,"FIELDNAME11":11,"FIELDName12":12}"#,
        ),
    ),
    (
        Recommended,
        "FieldNameWithDoubleUnderscores.Validator",
        Json(
            r#"{"FieldName13": 13, "FieldName14": 14, "fieldName15": 15, "fieldName16": 16, "fieldName17": 17, "FieldName18": 18}"#,
            r#"{"FieldName13":13,"FieldName14":14,"fieldName15":15,"fieldName16":16,"fieldName17":17,"FieldName18":18}"#,
        ),
    ),
    (Required, "IgnoreUnknownJsonNumber", Ignored(r#"{"unknown": 1}"#, "")),
    (Required, "IgnoreUnknownJsonString", Ignored(r#"{"unknown": "a"}"#, "")),
    (Required, "IgnoreUnknownJsonTrue", Ignored(r#"{"unknown": true}"#, "")),
    (Required, "IgnoreUnknownJsonFalse", Ignored(r#"{"unknown": false}"#, "")),
    (Required, "IgnoreUnknownJsonNull", Ignored(r#"{"unknown": null}"#, "")),
    (Required, "IgnoreUnknownJsonObject", Ignored(r#"{"unknown": {"a": 1}}"#, "")),
    (Required, "RejectTopLevelNull", ParseError("null")),
];
