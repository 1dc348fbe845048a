use std::path::Path;
use std::{env, fs};

use syn::{ItemTrait, parse_str};

use super::*;

fn described(documentation: &str) -> Option<String> {
    let item: ItemTrait = parse_str(&format!("{documentation}\ntrait Users {{}}")).unwrap();
    let documentation = of_trait(&item.attrs);
    assert!(documentation.unreadable.is_none());
    documentation.description.map(|text| text.value())
}

#[test]
fn the_first_paragraph_is_the_description() {
    for (documentation, expected) in [
        ("/// Stores users.", "Stores users."),
        (
            "/// Stores users\n/// and finds them.\n///\n/// # Errors\n/// Some.",
            "Stores users and finds them.",
        ),
        (
            "#[doc = \"Stores users.\"] #[doc = \"\"] #[doc = \"More.\"]",
            "Stores users.",
        ),
        ("#[doc = \"Stores\\nusers.\\n\\nMore.\"]", "Stores users."),
        ("/** Stores users. */", "Stores users."),
        (
            "/**\n * Stores users\n * and finds them.\n *\n * More.\n */",
            "Stores users and finds them.",
        ),
        (
            "/**\n    Stores users\n    and finds them.\n\n    More.\n*/",
            "Stores users and finds them.",
        ),
    ] {
        assert_eq!(
            described(documentation).as_deref(),
            Some(expected),
            "{documentation}"
        );
    }
    for nothing in [
        "",
        "///",
        "#[doc(hidden)]",
        "/// ```\n/// code\n/// ```",
        "/// ![logo](logo.png)",
    ] {
        assert_eq!(described(nothing), None, "{nothing}");
    }
}

#[test]
fn markdown_becomes_plain_text() {
    for (documentation, expected) in [
        (
            "/// Stores **all** _users_ in `users`, snake_case ones too.",
            "Stores all users in users, snake_case ones too.",
        ),
        (
            "/// Stores [`User`]s, see [the page](https://a.b) and [Profile][p].\n///\n/// [p]: crate::Profile",
            "Stores Users, see the page and Profile.",
        ),
        (
            "/// Takes 2 * 3 [0] <b>bold</b> &amp; \\*stars\\*.",
            "Takes 2 * 3 [0] bold & *stars*.",
        ),
        ("/// # Users\n///\n/// Stores users.", "Stores users."),
        ("/// # Users", "Users"),
        (
            "/// ```\n/// code\n/// ```\n/// Stores users.",
            "Stores users.",
        ),
        ("/// - stores\n/// - finds\n///\n/// Users.", "Users."),
        ("/// - stores\n/// - finds", "stores"),
        (
            "/// [![build](https://a.b/c.svg)](https://a.b)\n///\n/// Stores users.",
            "Stores users.",
        ),
        (
            "/// Stores users:\n/// - all\n/// - of them",
            "Stores users:",
        ),
        ("/// > Quoted.\n///\n/// Stores users.", "Stores users."),
    ] {
        assert_eq!(
            described(documentation).as_deref(),
            Some(expected),
            "{documentation}"
        );
    }
}

#[test]
fn a_file_is_read() {
    let file = Path::new(&env::temp_dir()).join(format!("natsmicro-{}.md", std::process::id()));
    fs::write(&file, "# Users\n\nStores users\nof all kinds.\n").unwrap();
    let text = described(&format!("#[doc = include_str!({file:?})]"));
    fs::remove_file(&file).unwrap();
    assert_eq!(text.as_deref(), Some("Stores users of all kinds."));
}

#[test]
fn what_cannot_be_read_is_told() {
    let of = |documentation: &str| {
        let item: ItemTrait = parse_str(&format!("{documentation}\ntrait Users {{}}")).unwrap();
        of_trait(&item.attrs)
    };
    assert!(of("#[doc = concat!(\"a\", \"b\")]").unreadable.is_some());
    assert!(
        of("#[doc = include_str!(\"/no/such/file\")]")
            .unreadable
            .is_some()
    );
    assert!(
        of("#[doc = concat!(\"a\", \"b\")]\n/// Stores users.")
            .unreadable
            .is_none()
    );
}
