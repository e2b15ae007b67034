//! `FieldMask`: paths in lowerCamelCase, separated by commas.
//!
//! A path must survive both conversions. `*`, which stands for all fields (AIP-134), is its own form.
//!
//! Query parameters and path variables may have paths in snake_case too, as grpc-gateway reads them. JSON may not: the
//! JSON mapping refuses underscores.

/// Appends a path of JSON in snake_case; false if it is not a path in lowerCamelCase.
pub(crate) fn put_snake_case(out: &mut Vec<u8>, path: &str) -> bool {
    if path == "*" {
        out.push(b'*');
        return true;
    }
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' => out.extend([b'_', byte.to_ascii_lowercase()]),
            _ => out.push(byte),
        }
    }
    is_path(path) && !path.contains('_')
}

/// Appends a path of a query parameter in snake_case; false if it is neither in lowerCamelCase nor in snake_case.
pub(crate) fn put_either_case(out: &mut Vec<u8>, path: &str) -> bool {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) || !is_path(path) {
        return put_snake_case(out, path);
    }
    out.extend_from_slice(path.as_bytes());
    true
}

/// Appends a path of a message in lowerCamelCase; false if the path could not be read back.
pub(crate) fn put_camel_case(out: &mut Vec<u8>, path: &str) -> bool {
    if path == "*" {
        out.push(b'*');
        return true;
    }
    let mut follows_underscore = false;
    let mut is_reversible = is_path(path);
    for byte in path.bytes() {
        // An underscore comes back only from an upper-case letter.
        is_reversible &= !byte.is_ascii_uppercase() && (!follows_underscore || byte.is_ascii_lowercase());
        if byte != b'_' {
            out.push(if follows_underscore { byte.to_ascii_uppercase() } else { byte });
        }
        follows_underscore = byte == b'_';
    }
    is_reversible && !follows_underscore
}

/// Whether the path consists of identifiers, separated by dots.
fn is_path(path: &str) -> bool {
    path.split('.').all(|name| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(convert: fn(&mut Vec<u8>, &str) -> bool, path: &str) -> Option<String> {
        let mut out = Vec::new();
        convert(&mut out, path).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn paths_convert_both_ways() {
        for (snake, camel) in
            [("foo", "foo"), ("bar_baz.qux_a", "barBaz.quxA"), ("a1_b", "a1B"), ("*", "*"), ("_a", "A")]
        {
            assert_eq!(converted(put_camel_case, snake).as_deref(), Some(camel));
            assert_eq!(converted(put_snake_case, camel).as_deref(), Some(snake));
        }
    }

    #[test]
    fn query_may_have_paths_in_either_case() {
        for (text, snake) in [
            ("displayName", Some("display_name")),
            ("display_name", Some("display_name")),
            ("user.display_name", Some("user.display_name")),
            ("a_1", Some("a_1")),
            ("*", Some("*")),
            ("display_nameShort", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(converted(put_either_case, text).as_deref(), snake, "{text}");
        }
    }

    #[test]
    fn paths_that_do_not_convert_back_are_refused() {
        for path in ["fooBar", "foo_3_bar", "foo__bar", "foo_", "", ".", "a.", "1a", "a-b", "ä", "a.*"] {
            assert_eq!(converted(put_camel_case, path), None, "{path}");
        }
        for path in ["foo_bar", "", "a..b", "a b", "3", "a.*"] {
            assert_eq!(converted(put_snake_case, path), None, "{path}");
        }
    }
}
