use super::*;

/// A template as text without variables, and its variables with their segments.
fn parts(text: &str) -> (String, Vec<(String, String)>, Option<String>) {
    let template = Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let shown = |range: Range<usize>| {
        let segments = template.segments[range].iter().map(|segment| match segment {
            Segment::Literal(literal) => literal.clone(),
            Segment::Any => "*".to_owned(),
            Segment::Rest => "**".to_owned(),
        });
        segments.collect::<Vec<_>>().join("/")
    };
    let variables =
        template.variables.iter().map(|variable| (variable.field.clone(), shown(variable.segments.clone())));
    (shown(0..template.segments.len()), variables.collect(), template.verb.clone())
}

#[test]
fn templates_are_parsed() {
    for (text, segments, variables, verb) in [
        ("/", "", vec![], None),
        ("/v1/users", "v1/users", vec![], None),
        ("/v1/users:batchGet", "v1/users", vec![], Some("batchGet")),
        ("/v1/{id}", "v1/*", vec![("id", "*")], None),
        ("/v1/{id=*}", "v1/*", vec![("id", "*")], None),
        ("/v1/{id}:cancel", "v1/*", vec![("id", "*")], Some("cancel")),
        ("/v1/{a.b_2.c}/x", "v1/*/x", vec![("a.b_2.c", "*")], None),
        ("/v1/{name=messages/*}", "v1/messages/*", vec![("name", "messages/*")], None),
        ("/v1/{name=a/*/b/**}:run", "v1/a/*/b/**", vec![("name", "a/*/b/**")], Some("run")),
        ("/v1/{a=x/*}/y/{b}", "v1/x/*/y/*", vec![("a", "x/*"), ("b", "*")], None),
        ("/v1/{version=v2}/x", "v1/v2/x", vec![("version", "v2")], None),
        ("/**", "**", vec![], None),
        ("/*/**:v", "*/**", vec![], Some("v")),
        ("/v1/*", "v1/*", vec![], None),
        ("/v1/a:b/c", "v1/a:b/c", vec![], None),
        ("/v1/a:b:c", "v1/a:b", vec![], Some("c")),
        ("/v1/caf%C3%A9", "v1/café", vec![], None),
        ("/v1/$rpc", "v1/$rpc", vec![], None),
    ] {
        let variables = variables.into_iter().map(|(name, range)| (name.to_owned(), range.to_owned())).collect();
        assert_eq!(parts(text), (segments.to_owned(), variables, verb.map(str::to_owned)), "{text}");
    }
}

#[test]
fn only_single_segments_are_decoded_in_full() {
    let multiple = |text: &str| Template::parse(text).unwrap().variables[0].is_multiple();
    for text in ["/{v}", "/{v=*}", "/{v=literal}"] {
        assert!(!multiple(text), "{text}");
    }
    for text in ["/{v=**}", "/{v=a/*}", "/{v=*/*}", "/{v=a/**}"] {
        assert!(multiple(text), "{text}");
    }
}

#[test]
fn text_that_is_no_template_is_refused() {
    for (text, part) in [
        ("", "begins with `/`"),
        ("v1/users", "begins with `/`"),
        ("/v1/", "empty"),
        ("/v1//x", "empty"),
        ("//", "empty"),
        ("/v1/:verb", "empty"),
        ("/:verb", "empty"),
        ("/v1/x:", "followed by a verb"),
        ("/v1/{id}:a/b", "followed by a verb"),
        ("/v1/{id}:{b}", "followed by a verb"),
        ("/v1/{id}:a:b", "followed by a verb"),
        ("/v1/**/x", "no segment may follow `**`"),
        ("/v1/{a=**}/{b}", "no segment may follow `**`"),
        ("/v1/***", "a segment is a literal"),
        ("/v1/a*", "a segment is a literal"),
        ("/v1/*a", "a segment is a literal"),
        ("/v1/{a}{b}", "a segment is a literal"),
        ("/v1/{a}-{b}", "a segment is a literal"),
        ("/v1/a}", "a segment is a literal"),
        ("/v1/a=b", "a segment is a literal"),
        ("/v1/{a=x/{b}}", "a variable inside"),
        ("/v1/{a", "no `}`"),
        ("/v1/{a=x", "no `}`"),
        ("/v1/{a/b}", "no `}`"),
        ("/v1/{a=}", "empty"),
        ("/v1/{}", "not the name of a field"),
        ("/v1/{a..b}", "not the name of a field"),
        ("/v1/{.a}", "not the name of a field"),
        ("/v1/{1a}", "not the name of a field"),
        ("/v1/{a b}", "not the name of a field"),
        ("/v1/{a}/{a}", "occurs twice"),
        ("/v1/a b", "percent-encoded"),
        ("/v1/a?b", "percent-encoded"),
        ("/v1/a#b", "percent-encoded"),
        ("/v1/é", "percent-encoded"),
        ("/v1/%zz", "hexadecimal"),
        ("/v1/%ff", "UTF-8"),
        ("/v1/../x", "dot segment"),
        ("/v1/%2e%2E", "dot segment"),
    ] {
        let error = Template::parse(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn large_templates_are_refused() {
    assert!(Template::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
    assert!(Template::parse(&"/a".repeat(MAX_SEGMENTS + 1)).is_err());
    assert!(Template::parse(&format!("/{}", "a".repeat(2048))).is_err());
}

#[test]
fn templates_overlap_and_cover_by_their_paths() {
    // Whether some path matches both, and whether all paths of the second match the first.
    for (first, second, overlaps, covers) in [
        ("/", "/", true, true),
        ("/", "/{a}", false, false),
        ("/{a=**}", "/", true, true),
        ("/a", "/a", true, true),
        ("/a", "/b", false, false),
        ("/a", "/{x}", true, false),
        ("/{x}", "/a", true, true),
        ("/a/{x}", "/{y}/b", true, false),
        ("/a/{x}", "/a", false, false),
        ("/a/{x=**}", "/a", true, true),
        ("/a/{x=**}", "/a/b/{y}", true, true),
        ("/a/{x}/{y=**}", "/a/{x=**}", true, false),
        ("/{x}:run", "/{y}:run", true, true),
        ("/{x}:run", "/{y}:stop", false, false),
        ("/{x}", "/{y}:run", true, true),
        ("/{x}:run", "/{y}", true, false),
        ("/a", "/{y}:run", false, false),
        ("/a", "/a:run", false, false),
        ("/a/{x=**}", "/a:run", false, false),
        ("/{x}", "/a:run", true, true),
    ] {
        let [one, other] = [first, second].map(|text| Template::parse(text).unwrap());
        assert_eq!((one.overlaps(&other), one.covers(&other)), (overlaps, covers), "{first} {second}");
        assert_eq!(other.overlaps(&one), overlaps, "{second} {first}");
    }
}
