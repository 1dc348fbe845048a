use std::time::Duration;

use super::*;
use crate::args::composite::{Codec, FunctionPath, KratePath, Metadata, QueueGroup};
use crate::args::quantity::{Bytes, Number, Period};

fn read<T: Value>(text: &str) -> Result<T, Vec<String>> {
    let meta: Meta = syn::parse_str(text).unwrap();
    let mut errors = Vec::new();
    let value = T::read(&meta, &mut errors);
    if errors.is_empty() {
        Ok(value.unwrap())
    } else {
        Err(errors.iter().map(ToString::to_string).collect())
    }
}

fn message<T: Value>(text: &str) -> String {
    match read::<T>(text) {
        Ok(_) => panic!("`{text}` is accepted"),
        Err(messages) => messages.join(" | "),
    }
}

#[test]
fn durations() {
    for (text, millis) in [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
    ] {
        let period: Period = read(&format!("ttl = \"{text}\"")).unwrap();
        assert_eq!(period.0, Duration::from_millis(millis), "{text}");
    }
    assert!(message::<Period>("ttl = \"\"").starts_with("a duration cannot be empty\nhelp: "));
    for text in [
        "30",
        "s",
        "1 h",
        "1.5h",
        "-1s",
        "1h30m",
        "1 fortnight",
        "٣s",
        "1S",
    ] {
        let message = message::<Period>(&format!("ttl = \"{text}\""));
        assert!(
            message.starts_with(&format!("`{text}` is not a duration\nhelp: ")),
            "{message}"
        );
    }
    assert_eq!(
        message::<Period>("timeout = \"0s\""),
        "`timeout` must be longer than zero"
    );
    assert_eq!(
        message::<Period>("timeout = 30"),
        "`timeout` takes a string: `timeout = \"30s\"`"
    );
    assert_eq!(
        message::<Period>("ttl"),
        "`ttl` takes a string: `ttl = \"1h\"`"
    );
    for text in ["99999999999999999999d", "999999999999d", "9223372036855s"] {
        assert_eq!(
            message::<Period>(&format!("ttl = \"{text}\"")),
            format!("`{text}` is longer than NATS can count (292 years)")
        );
    }
    assert!(read::<Period>("ttl = \"9223372036s\"").is_ok());
}

#[test]
fn numbers() {
    type Consumers = Number<1, { i32::MAX as u64 }>;
    assert_eq!(read::<Number<1, 64>>("max_history = 5").unwrap().0, 5);
    for text in ["0", "65", "300", "-1", "99999999999999999999999"] {
        let message = message::<Number<1, 64>>(&format!("max_history = {text}"));
        assert_eq!(message, "`max_history` must be between 1 and 64");
    }
    let consumers = |text| format!("max_consumers = {text}");
    assert_eq!(
        read::<Consumers>(&consumers("2147483647")).unwrap().0,
        2_147_483_647
    );
    for text in ["0", "2147483648", "99999999999999999999999"] {
        let message = message::<Consumers>(&consumers(text));
        assert_eq!(message, "`max_consumers` must be between 1 and 2147483647");
    }
    assert_eq!(
        message::<Consumers>(&consumers("\"many\"")),
        "`max_consumers` takes a number: `max_consumers = 100`"
    );
    for text in ["\"5\"", "1.5", "true"] {
        let message = message::<Number<1, 64>>(&format!("max_history = {text}"));
        assert_eq!(message, "`max_history` takes a number: `max_history = 3`");
    }
}

#[test]
fn bytes() {
    for (text, bytes) in [
        ("65536", 65_536),
        ("\"64KiB\"", 65_536),
        ("\"1 MiB\"", 1 << 20),
        ("\"2GiB\"", 2 << 30),
        ("\"7B\"", 7),
    ] {
        assert_eq!(
            read::<Bytes<1, { i64::MAX as u64 }>>(&format!("max_bytes = {text}"))
                .unwrap()
                .0,
            bytes,
            "{text}"
        );
    }
    for text in ["\"64KB\"", "\"KiB\"", "\"\"", "\"-1KiB\""] {
        assert!(
            message::<Bytes<1, 9>>(&format!("max_bytes = {text}"))
                .contains("is not a number of bytes"),
            "{text}"
        );
    }
    for text in [
        "0",
        "10",
        "\"1KiB\"",
        "\"99999999999GiB\"",
        "\"99999999999999999999999B\"",
    ] {
        assert_eq!(
            message::<Bytes<1, 9>>(&format!("max_bytes = {text}")),
            "`max_bytes` must be between 1 and 9 bytes",
            "{text}"
        );
    }
}

#[test]
fn flags() {
    for (text, on) in [
        ("client_only", true),
        ("client_only = true", true),
        ("client_only = false", false),
    ] {
        assert_eq!(read::<Flag>(text).unwrap().0, on, "{text}");
    }
    for text in [
        "client_only = \"yes\"",
        "client_only = 1",
        "client_only(true)",
    ] {
        assert_eq!(
            message::<Flag>(text),
            "`client_only` is a flag\nhelp: write `client_only` or `client_only = true`"
        );
    }
}

#[test]
fn words() {
    assert_eq!(
        read::<Write>("write = \"create\"").unwrap().variant(),
        "Create"
    );
    assert_eq!(
        message::<Persist>("persist = \"never\""),
        "`persist` cannot be `never`\nhelp: write \"after_response\" or \"before_response\""
    );
    assert_eq!(
        message::<Storage>("storage = 1"),
        "`storage` takes a string\nhelp: write \"file\" or \"memory\""
    );
}

#[test]
fn codecs() {
    assert!(matches!(read("codec = \"protobuf\""), Ok(Codec::Protobuf)));
    assert!(matches!(read("codec = \"json\""), Ok(Codec::Json)));
    assert!(matches!(read("codec = crate::Cbor"), Ok(Codec::Custom(_))));
    assert!(message::<Codec>("codec = \"xml\"").starts_with("there is no codec `xml`\nhelp: "));
    assert_eq!(
        message::<Codec>("codec = 1"),
        "`codec` takes \"protobuf\", \"json\" or a type: `codec = \"json\"`"
    );
}

#[test]
fn paths_of_functions() {
    for path in [
        "check",
        "self::check",
        "Order::check",
        "check::<Order>",
        "<Order as garde::Validate>::validate",
    ] {
        let read = read::<FunctionPath>(&format!("validate = {path}"));
        assert!(read.is_ok(), "{path}");
    }
    let of_value = "`validate` takes the path of a function: `validate = check`";
    for text in [
        "validate",
        "validate(check)",
        "validate = 1",
        "validate = \"not a path\"",
        "validate = check()",
    ] {
        assert_eq!(message::<FunctionPath>(text), of_value, "{text}");
    }
    assert_eq!(
        message::<FunctionPath>("validate = \"Order::check\""),
        "the path of a function is written without quotes\nhelp: write `validate = Order::check`"
    );
}

#[test]
fn paths_to_the_runtime() {
    assert!(read::<KratePath>("krate = ::fork").is_ok());
    assert!(read::<KratePath>("krate = crate::reexport").is_ok());
    assert_eq!(
        message::<KratePath>("krate = a::fork"),
        "the runtime path must be absolute\nhelp: write `crate = ::a::fork`, or `crate = crate::..` for a re-export"
    );
}

#[test]
fn metadata() {
    let entries = read::<Metadata>(
        "metadata(team = \"platform\", \"k-2\" = \"v\", r#type = \"t\", type = \"u\")",
    );
    assert_eq!(
        entries.unwrap_err(),
        ["the metadata key `type` is set twice"]
    );
    let keys: Vec<String> = read::<Metadata>("metadata(team = \"platform\", \"k-2\" = \"v\",)")
        .unwrap()
        .0
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["team", "k-2"]);
    assert_eq!(
        message::<Metadata>("metadata(_nats = \"x\")"),
        "metadata keys that start with `_nats` are reserved for NATS"
    );
    assert_eq!(
        message::<Metadata>("metadata(\"\" = \"x\")"),
        "a metadata key cannot be empty"
    );
    assert_eq!(
        message::<Metadata>("metadata(a = 1)"),
        "a metadata value is a string: `a = \"..\"`"
    );
    assert_eq!(
        message::<Metadata>("metadata = \"x\""),
        "`metadata` takes a list: `metadata(team = \"platform\")`"
    );
    assert!(
        message::<Metadata>("metadata(a)")
            .starts_with("`metadata` takes a list of `key = \"value\"`\nhelp: ")
    );
}

#[test]
fn queue_groups() {
    assert!(matches!(read("queue_group = false"), Ok(QueueGroup::Off)));
    assert!(matches!(
        read("queue_group = \"workers\""),
        Ok(QueueGroup::Named(_))
    ));
    assert_eq!(
        message::<QueueGroup>("queue_group = true"),
        "`queue_group` takes a name or `false`\nhelp: write `queue_group = \"workers\"`, or `queue_group = false` for none"
    );
    assert!(
        message::<QueueGroup>("queue_group = \"a.b\"")
            .starts_with("the queue group `a.b` cannot contain a dot\nhelp: ")
    );
}

#[test]
fn strings() {
    assert_eq!(
        message::<Text<Bucket>>("bucket = 3"),
        "`bucket` takes a string: `bucket = \"user_profiles\"`"
    );
    assert_eq!(
        message::<Text<Bucket>>("bucket = \"user profiles\""),
        "` ` is not allowed in a bucket name\nhelp: use letters, digits, `-` and `_`"
    );
}
