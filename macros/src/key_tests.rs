use super::*;

fn parse(text: &str) -> (Template, Vec<String>) {
    let mut errors = Vec::new();
    let template = Template::parse(&LitStr::new(text, Span::call_site()), &mut errors);
    (template, errors.iter().map(ToString::to_string).collect())
}

fn literal(text: &str) -> Part {
    Part::Literal(text.to_owned())
}

fn request(name: &str) -> Part {
    Part::Field(Source::Request, name.to_owned())
}

fn response(name: &str) -> Part {
    Part::Field(Source::Response, name.to_owned())
}

#[test]
fn the_literals_of_a_key_have_up_to_1024_bytes() {
    let text = "x".repeat(1_024);
    assert!(parse(&text).1.is_empty());
    assert!(parse(&format!("{text}<id>")).1.is_empty());
    let (_, errors) = parse(&format!("{text}x<id>"));
    assert_eq!(errors, ["a key cannot have more than 1024 bytes"]);
}

#[test]
fn templates_without_mistakes() {
    for (text, parts) in [
        ("user", vec![literal("user")]),
        ("user.<id>", vec![literal("user."), request("id")]),
        ("user.{id}", vec![literal("user."), request("id")]),
        ("<a><b>", vec![request("a"), request("b")]),
        (
            "<a>.{response.b}/x",
            vec![request("a"), literal("."), response("b"), literal("/x")],
        ),
        ("<response>", vec![request("response")]),
        (
            "<type>.<r#type>",
            vec![request("type"), literal("."), request("type")],
        ),
        ("a-/_=.Z9", vec![literal("a-/_=.Z9")]),
    ] {
        let (template, errors) = parse(text);
        assert_eq!(template.parts, parts, "{text}");
        assert_eq!(errors, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn one_sentence_per_mistake() {
    for (text, message) in [
        (
            "user.<id",
            "`<` is never closed in the key `user.<id`\nhelp: a field is written `<name>`",
        ),
        (
            "user.{id",
            "`{` is never closed in the key `user.{id`\nhelp: a field is written `{name}`",
        ),
        (
            "user.id>",
            "`>` closes nothing in the key `user.id>`\nhelp: a field is written `<name>`",
        ),
        (
            "user.id}",
            "`}` closes nothing in the key `user.id}`\nhelp: a field is written `{name}`",
        ),
        (
            "user.<>",
            "`<>` does not name a field\nhelp: put the name of a request field between `<` and `>`",
        ),
        (
            "user.<1d>",
            "`<1d>` does not name a field\nhelp: put the name of a request field between `<` and `>`",
        ),
        (
            "user.<self>",
            "`<self>` does not name a field\nhelp: put the name of a request field between `<` and `>`",
        ),
        (
            "<response.>",
            "`<response.>` does not name a field\nhelp: put the name of a response field between `<response.` and `>`",
        ),
        (
            "user.<a.b>",
            "`<a.b>` reaches into a nested message\nhelp: only a field of the request itself can be part of a key; copy the value to a \
             top-level field",
        ),
        (
            "user.<request.id>",
            "`<request.id>` names the request, which a key does by itself\nhelp: write `<id>`",
        ),
        (
            ".user",
            "the key `.user` has an empty token\nhelp: a key cannot start or end with `.` or contain `..`",
        ),
        (
            "<a>.",
            "the key `<a>.` has an empty token\nhelp: a key cannot start or end with `.` or contain `..`",
        ),
        (
            "a..b",
            "the key `a..b` has an empty token\nhelp: a key cannot start or end with `.` or contain `..`",
        ),
        (
            "us er.<id>",
            "` ` is not allowed in a key\nhelp: use letters, digits and any of `-`, `/`, `_`, `=` and `.`",
        ),
        (
            "user.*",
            "`*` is not allowed in a key\nhelp: use letters, digits and any of `-`, `/`, `_`, `=` and `.`",
        ),
        (
            "_kv.<id>",
            "a key cannot start with `_kv`, which NATS keeps for itself",
        ),
        (
            "",
            "a key cannot be empty\nhelp: `key = \"user.<id>\"` names the entry of the request's `id`",
        ),
    ] {
        assert_eq!(parse(text).1, [message], "{text}");
    }
}

#[test]
fn a_wrong_template_keeps_its_placeholders() {
    for (text, names) in [
        ("user.<id", vec!["id"]),
        ("us er.<id>", vec!["id"]),
        ("<a.b>.<c>", vec!["b", "c"]),
        ("<>.<c>", vec!["c"]),
    ] {
        let (template, _) = parse(text);
        assert_eq!(
            template.fields(Source::Request).collect::<Vec<_>>(),
            names,
            "{text}"
        );
    }
}

#[test]
fn equal_templates_whatever_their_brackets() {
    assert!(parse("user.<id>").0.same_keys(&parse("user.{id}").0));
    assert!(
        !parse("user.<id>")
            .0
            .same_keys(&parse("user.<response.id>").0)
    );
}

#[test]
fn keywords_become_raw_identifiers() {
    for (name, ident) in [
        ("id", "id"),
        ("type", "r#type"),
        ("gen", "r#gen"),
        ("yield", "r#yield"),
    ] {
        assert_eq!(field_ident(name, Span::call_site()).to_string(), ident);
    }
}
