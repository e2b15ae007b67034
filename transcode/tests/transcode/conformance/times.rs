//! Timestamps and durations.

use super::{Case, Json, Message, NoJson, ParseError, Recommended, Required};

pub(super) const DURATIONS: &[Case] = &[
    (
        Required,
        "DurationMinValue",
        Message(
            r#"{"optionalDuration": "-315576000000.999999999s"}"#,
            "optional_duration: {seconds: -315576000000 nanos: -999999999}",
        ),
    ),
    (
        Required,
        "DurationMaxValue",
        Message(
            r#"{"optionalDuration": "315576000000.999999999s"}"#,
            "optional_duration: {seconds: 315576000000 nanos: 999999999}",
        ),
    ),
    (
        Required,
        "DurationRepeatedValue",
        Message(
            r#"{"repeatedDuration": ["1.5s", "-1.5s"]}"#,
            "repeated_duration: {seconds: 1 nanos: 500000000} repeated_duration: {seconds: -1 nanos: -500000000}",
        ),
    ),
    (Required, "DurationNull", Message(r#"{"optionalDuration": null}"#, "")),
    (
        Required,
        "DurationNegativeSeconds",
        Message(r#"{"optionalDuration": "-5s"}"#, "optional_duration: {seconds: -5 nanos: 0}"),
    ),
    (
        Required,
        "DurationNegativeNanos",
        Message(r#"{"optionalDuration": "-0.5s"}"#, "optional_duration: {seconds: 0 nanos: -500000000}"),
    ),
    (Required, "DurationMissingS", ParseError(r#"{"optionalDuration": "1"}"#)),
    (Required, "DurationJsonInputTooSmall", ParseError(r#"{"optionalDuration": "-315576000001.000000000s"}"#)),
    (Required, "DurationJsonInputTooLarge", ParseError(r#"{"optionalDuration": "315576000001.000000000s"}"#)),
    (Required, "DurationProtoInputTooSmall.JsonOutput", NoJson("optional_duration: {seconds: -315576000001 nanos: 0}")),
    (Required, "DurationProtoInputTooLarge.JsonOutput", NoJson("optional_duration: {seconds: 315576000001 nanos: 0}")),
    (Required, "DurationProtoNanosTooSmall.JsonOutput", NoJson("optional_duration: {seconds: 0 nanos: -1000000000}")),
    (Required, "DurationProtoNanosTooLarge.JsonOutput", NoJson("optional_duration: {seconds: 0 nanos: 1000000000}")),
    (Required, "DurationProtoNanosWrongSign.JsonOutput", NoJson("optional_duration: {seconds: 1 nanos: -1}")),
    (
        Required,
        "DurationProtoNanosWrongSignNegativeSecs.JsonOutput",
        NoJson("optional_duration: {seconds: -1 nanos: 1}"),
    ),
    (
        Recommended,
        "DurationHasZeroFractionalDigit.Validator",
        Json(r#"{"optionalDuration": "1.000000000s"}"#, r#"{"optionalDuration":"1s"}"#),
    ),
    (
        Recommended,
        "DurationHas3FractionalDigits.Validator",
        Json(r#"{"optionalDuration": "1.010000000s"}"#, r#"{"optionalDuration":"1.010s"}"#),
    ),
    (
        Recommended,
        "DurationHas6FractionalDigits.Validator",
        Json(r#"{"optionalDuration": "1.000010000s"}"#, r#"{"optionalDuration":"1.000010s"}"#),
    ),
    (
        Recommended,
        "DurationHas9FractionalDigits.Validator",
        Json(r#"{"optionalDuration": "1.000000010s"}"#, r#"{"optionalDuration":"1.000000010s"}"#),
    ),
];

pub(super) const TIMESTAMPS: &[Case] = &[
    (
        Required,
        "TimestampMinValue",
        Message(r#"{"optionalTimestamp": "0001-01-01T00:00:00Z"}"#, "optional_timestamp: {seconds: -62135596800}"),
    ),
    (
        Required,
        "TimestampMaxValue",
        Message(
            r#"{"optionalTimestamp": "9999-12-31T23:59:59.999999999Z"}"#,
            "optional_timestamp: {seconds: 253402300799 nanos: 999999999}",
        ),
    ),
    (
        Required,
        "TimestampRepeatedValue",
        Message(
            r#"{"repeatedTimestamp": ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"]}"#,
            "repeated_timestamp: {seconds: -62135596800} repeated_timestamp: {seconds: 253402300799 nanos: 999999999}",
        ),
    ),
    (
        Required,
        "TimestampEpochValue",
        Message(r#"{"optionalTimestamp": "1970-01-01T00:00:00.000Z"}"#, "optional_timestamp: {seconds: 0}"),
    ),
    (
        Required,
        "TimestampNanoAfterEpochlValue",
        Message(
            r#"{"optionalTimestamp": "1970-01-01T00:00:00.000000001Z"}"#,
            "optional_timestamp: {seconds: 0 nanos: 1}",
        ),
    ),
    (
        Required,
        "TimestampNanoBeforeEpochValue",
        Message(
            r#"{"optionalTimestamp": "1969-12-31T23:59:59.999999999Z"}"#,
            "optional_timestamp: {seconds: -1 nanos: 999999999}",
        ),
    ),
    (
        Required,
        "TimestampLittleAfterEpochlValue",
        Message(
            r#"{"optionalTimestamp": "1970-01-01T00:00:01.000000001Z"}"#,
            "optional_timestamp: {seconds: 1 nanos: 1}",
        ),
    ),
    (
        Required,
        "TimestampLittleBeforeEpochValue",
        Message(
            r#"{"optionalTimestamp": "1969-12-31T23:59:58.999999999Z"}"#,
            "optional_timestamp: {seconds: -2 nanos: 999999999}",
        ),
    ),
    (
        Required,
        "TimestampTenAndHalfSecondsAfterEpochValue",
        Message(
            r#"{"optionalTimestamp": "1970-01-01T00:00:10.500Z"}"#,
            "optional_timestamp: {seconds: 10 nanos: 500000000}",
        ),
    ),
    (
        Required,
        "TimestampTenAndHalfSecondsBeforeEpochValue",
        Message(
            r#"{"optionalTimestamp": "1969-12-31T23:59:49.500Z"}"#,
            "optional_timestamp: {seconds: -11 nanos: 500000000}",
        ),
    ),
    (
        Required,
        "TimestampLeap",
        Message(r#"{"optionalTimestamp": "1993-02-10T00:00:00.000Z"}"#, "optional_timestamp: {seconds: 729302400}"),
    ),
    (
        Required,
        "TimestampWithPositiveOffset",
        Message(r#"{"optionalTimestamp": "1970-01-01T08:00:01+08:00"}"#, "optional_timestamp: {seconds: 1}"),
    ),
    (
        Required,
        "TimestampWithNegativeOffset",
        Message(r#"{"optionalTimestamp": "1969-12-31T16:00:01-08:00"}"#, "optional_timestamp: {seconds: 1}"),
    ),
    (Required, "TimestampNull", Message(r#"{"optionalTimestamp": null}"#, "")),
    (Required, "TimestampJsonInputTooSmall", ParseError(r#"{"optionalTimestamp": "0000-01-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputTooLarge", ParseError(r#"{"optionalTimestamp": "10000-01-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputMissingZ", ParseError(r#"{"optionalTimestamp": "0001-01-01T00:00:00"}"#)),
    (Required, "TimestampJsonInputMissingT", ParseError(r#"{"optionalTimestamp": "0001-01-01 00:00:00Z"}"#)),
    (Required, "TimestampJsonInputLowercaseZ", ParseError(r#"{"optionalTimestamp": "0001-01-01T00:00:00z"}"#)),
    (Required, "TimestampJsonInputLowercaseT", ParseError(r#"{"optionalTimestamp": "0001-01-01t00:00:00Z"}"#)),
    (Required, "TimestampWithMissingColonInOffset", ParseError(r#"{"optionalTimestamp": "1970-01-01T08:00:01+0800"}"#)),
    (Required, "TimestampProtoInputTooSmall.JsonOutput", NoJson("optional_timestamp: {seconds: -62135596801}")),
    (Required, "TimestampProtoInputTooLarge.JsonOutput", NoJson("optional_timestamp: {seconds: 253402300800}")),
    (Required, "TimestampProtoNegativeNanos.JsonOutput", NoJson("optional_timestamp: {seconds: 5000 nanos: -1}")),
    (
        Required,
        "TimestampProtoNanoTooLarge.JsonOutput",
        NoJson("optional_timestamp: {seconds: 5000 nanos: 1000000000}"),
    ),
    (
        Recommended,
        "TimestampZeroNormalized.Validator",
        Json(
            r#"{"optionalTimestamp": "1969-12-31T16:00:00-08:00"}"#,
            r#"{"optionalTimestamp":"1970-01-01T00:00:00Z"}"#,
        ),
    ),
    (
        Recommended,
        "TimestampHasZeroFractionalDigit.Validator",
        Json(
            r#"{"optionalTimestamp": "1970-01-01T00:00:00.000000000Z"}"#,
            r#"{"optionalTimestamp":"1970-01-01T00:00:00Z"}"#,
        ),
    ),
    (
        Recommended,
        "TimestampHas3FractionalDigits.Validator",
        Json(
            r#"{"optionalTimestamp": "1970-01-01T00:00:00.010000000Z"}"#,
            r#"{"optionalTimestamp":"1970-01-01T00:00:00.010Z"}"#,
        ),
    ),
    (
        Recommended,
        "TimestampHas6FractionalDigits.Validator",
        Json(
            r#"{"optionalTimestamp": "1970-01-01T00:00:00.000010000Z"}"#,
            r#"{"optionalTimestamp":"1970-01-01T00:00:00.000010Z"}"#,
        ),
    ),
    (
        Recommended,
        "TimestampHas9FractionalDigits.Validator",
        Json(
            r#"{"optionalTimestamp": "1970-01-01T00:00:00.000000010Z"}"#,
            r#"{"optionalTimestamp":"1970-01-01T00:00:00.000000010Z"}"#,
        ),
    ),
    (Required, "TimestampJsonInputMonthTooLarge", ParseError(r#"{"optionalTimestamp": "1970-13-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputMonthZero", ParseError(r#"{"optionalTimestamp": "1970-00-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputDayTooLarge", ParseError(r#"{"optionalTimestamp": "1970-01-32T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputDayZero", ParseError(r#"{"optionalTimestamp": "1970-01-00T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputHourTooLarge", ParseError(r#"{"optionalTimestamp": "1970-01-01T24:00:00Z"}"#)),
    (Required, "TimestampJsonInputHourTooLarge25", ParseError(r#"{"optionalTimestamp": "1970-01-01T25:00:00Z"}"#)),
    (Required, "TimestampJsonInputMinuteTooLarge", ParseError(r#"{"optionalTimestamp": "1970-01-01T00:60:00Z"}"#)),
    (Required, "TimestampJsonInputSecondTooLarge", ParseError(r#"{"optionalTimestamp": "1970-01-01T00:00:60Z"}"#)),
    (
        Required,
        "TimestampJsonInputInvalidOffsetHour",
        ParseError(r#"{"optionalTimestamp": "1970-01-01T00:00:00+24:00"}"#),
    ),
    (
        Required,
        "TimestampJsonInputInvalidOffsetMinute",
        ParseError(r#"{"optionalTimestamp": "1970-01-01T00:00:00+00:60"}"#),
    ),
    (
        Required,
        "TimestampJsonInputOffsetBoundaryUnderflow",
        ParseError(r#"{"optionalTimestamp": "0001-01-01T00:00:00+00:01"}"#),
    ),
    (
        Required,
        "TimestampJsonInputOffsetBoundaryOverflow",
        ParseError(r#"{"optionalTimestamp": "9999-12-31T23:59:59-00:01"}"#),
    ),
    (
        Required,
        "TimestampJsonInputInvalidNanos",
        ParseError(r#"{"optionalTimestamp": "1970-01-01T00:00:00.1234567890Z"}"#),
    ),
    (
        Required,
        "TimestampJsonInputInvalidCharsInNanos",
        ParseError(r#"{"optionalTimestamp": "1970-01-01T00:00:00.123aZ"}"#),
    ),
    (Required, "TimestampJsonInputYearTooShort", ParseError(r#"{"optionalTimestamp": "999-01-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputYearTooLong", ParseError(r#"{"optionalTimestamp": "00001-01-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputMonthTooShort", ParseError(r#"{"optionalTimestamp": "1970-1-01T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputDayTooShort", ParseError(r#"{"optionalTimestamp": "1970-01-1T00:00:00Z"}"#)),
    (Required, "TimestampJsonInputNonLeapFeb29", ParseError(r#"{"optionalTimestamp": "2001-02-29T00:00:00Z"}"#)),
    (
        Required,
        "TimestampJsonInputLeapFeb29",
        Message(r#"{"optionalTimestamp": "2000-02-29T00:00:00Z"}"#, "optional_timestamp: {seconds: 951782400}"),
    ),
    (
        Required,
        "TimestampWithOffsetShiftsDay",
        Message(r#"{"optionalTimestamp": "1970-01-02T01:00:00+02:00"}"#, "optional_timestamp: {seconds: 82800}"),
    ),
    (
        Required,
        "TimestampWithOffsetBoundaryInBoundsMin",
        Message(r#"{"optionalTimestamp": "0001-01-01T00:00:00-00:01"}"#, "optional_timestamp: {seconds: -62135596740}"),
    ),
    (
        Required,
        "TimestampWithOffsetBoundaryInBoundsMax",
        Message(r#"{"optionalTimestamp": "9999-12-31T23:59:59+00:01"}"#, "optional_timestamp: {seconds: 253402300739}"),
    ),
    (
        Required,
        "TimestampWithComplexOffset",
        Message(r#"{"optionalTimestamp": "1970-01-01T00:00:00-11:30"}"#, "optional_timestamp: {seconds: 41400}"),
    ),
];
