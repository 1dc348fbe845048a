use proc_macro2::Span;
use syn::LitStr;

use super::*;
use crate::key::Template;

/// Kind, text, how often it is repeated, whether natsmicro takes it, and what is of no concern here. The runtime and nats-server are
/// asked the same in `tests/tests/names.rs`.
type Line = (&'static str, &'static str, usize, bool, bool, &'static str);

const TABLE: &[Line] = include!("../../tests/names.in.rs");

#[test]
fn names_are_what_the_table_says() {
    for (kind, text, times, expected, _, _) in TABLE {
        let name = text.repeat(*times);
        let taken = match *kind {
            "service" | "endpoint" | "bucket" => plain("a name", &name).is_ok(),
            "prefix" => subject_prefix(&name).is_ok(),
            "queue group" => queue_group(&name).is_ok(),
            "version" => version(&name).is_ok(),
            "key" => {
                let mut errors = Vec::new();
                Template::parse(&LitStr::new(&name, Span::call_site()), &mut errors);
                errors.is_empty()
            }
            // Only the runtime has patterns.
            "pattern" => continue,
            _ => panic!("no kind of names is called {kind}"),
        };
        assert_eq!(taken, *expected, "{kind} {text:?} * {times}");
    }
}

#[test]
fn snake_case_follows_the_wire_contract() {
    for (name, snake) in [
        ("UserService", "user_service"),
        ("HTTPGet", "http_get"),
        ("GetV2User", "get_v2_user"),
        ("GetIDs", "get_i_ds"),
        ("GetOAuth2Token", "get_o_auth2_token"),
        ("Get2FA", "get2_fa"),
        ("KVStoreDemoService", "kv_store_demo_service"),
        ("GetHTTPURL", "get_httpurl"),
        ("X509Cert", "x509_cert"),
        ("", ""),
        ("A", "a"),
        ("already_snake", "already_snake"),
    ] {
        assert_eq!(snake_case(name), snake, "{name}");
    }
}

#[test]
fn plain_names() {
    for ok in ["a", "user_profiles", "A-1"] {
        assert_eq!(plain("a bucket name", ok), Ok(()), "{ok}");
    }
    let message = |text| plain("a bucket name", text).unwrap_err().message;
    assert_eq!(
        message("user profiles"),
        "` ` is not allowed in a bucket name"
    );
    assert_eq!(message("a.b"), "`.` is not allowed in a bucket name");
    assert_eq!(message(""), "a bucket name cannot be empty");
    assert_eq!(message("é"), "`é` is not allowed in a bucket name");
    assert_eq!(plain("a bucket name", &"x".repeat(251)), Ok(()));
    assert_eq!(
        message(&"x".repeat(252)),
        "a bucket name cannot have more than 251 bytes"
    );
}

#[test]
fn subject_prefixes() {
    for ok in ["api", "api.v1", "a-b.c_d", "a.$b"] {
        assert_eq!(subject_prefix(ok), Ok(()), "{ok}");
    }
    for (text, message) in [
        ("", "the subject prefix cannot be empty"),
        ("api..v1", "the subject prefix `api..v1` has an empty token"),
        (".api", "the subject prefix `.api` has an empty token"),
        ("api.", "the subject prefix `api.` has an empty token"),
        (
            "api.*",
            "the subject prefix `api.*` cannot contain a wildcard",
        ),
        (
            "api.>",
            "the subject prefix `api.>` cannot contain a wildcard",
        ),
        (
            "api v1",
            "the subject prefix `api v1` cannot contain a space",
        ),
        (
            "api\tv1",
            "the subject prefix `api\\tv1` cannot contain white space",
        ),
        (
            "größe",
            "the subject prefix `größe` cannot contain anything but ASCII",
        ),
        (
            "$SRV",
            "the subject prefix `$SRV` cannot start with `$`: those subjects belong to the NATS server",
        ),
        (
            "_users",
            "the subject prefix `_users` cannot start with `_`: those subjects are inboxes, to which services send replies",
        ),
    ] {
        assert_eq!(subject_prefix(text).unwrap_err().message, message);
    }
}

#[test]
fn queue_groups() {
    assert_eq!(queue_group("workers"), Ok(()));
    for text in ["", "a.b", "a b", "*", ">", "ü"] {
        assert!(queue_group(text).is_err(), "{text}");
    }
}

#[test]
fn versions() {
    for ok in ["1.0.0", "0.1.0-rc.1", "2.0.0+build"] {
        assert_eq!(version(ok), Ok(()), "{ok}");
    }
    for text in ["1.0", "v1.0.0", "", "1"] {
        assert!(version(text).is_err(), "{text}");
    }
}
