//! Compares the page of the guide with the data, from which `UPDATE_PERMISSIONS=1 cargo test -p natsmicro permissions` writes it.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::contract::user_permissions::{Names, Permissions};

const PAGE: &str = include_str!("permissions.md");
const END: &str = "<!-- end -->";

/// A part of the page that is made from the data.
fn start_of(part: &str) -> String {
    format!("<!-- generated: {part} -->\n")
}

fn table(feature: &Feature) -> String {
    let mut table = format!("## {}\n\n{}\n\n", feature.title, feature.text);
    table.push_str("| publish | subscribe | for | without it |\n| --- | --- | --- | --- |\n");
    for right in feature.rights {
        let subject = format!("`{}`", right.subject);
        let (publish, subscribe) = match right.verb {
            Verb::Publish => (subject, String::new()),
            Verb::Subscribe => (String::new(), subject),
            Verb::Respond => ("`allow_responses`".to_owned(), String::new()),
        };
        let without = right.without.unwrap_or_default();
        let why = right.why;
        writeln!(table, "| {publish} | {subscribe} | {why} | {without} |").unwrap();
    }
    table + "\n"
}

/// The configuration for a service that stores and streams, for its callers, and for a process that follows what is stored.
fn example() -> String {
    let service = Names {
        service: "Orders",
        prefix: "shop.v1",
        endpoints: &["place", "follow"],
        bucket: "orders",
        inbox: "_INBOX_orders",
        peer_inbox: "_INBOX_web",
        ..Names::default()
    };
    let caller = Names {
        inbox: "_INBOX_web",
        peer_inbox: "_INBOX_orders",
        ..service
    };
    let reader = Names {
        inbox: "_INBOX_report",
        ..service
    };
    let users: [(&str, &Names<'_>, &[&Feature]); 3] = [
        (
            "orders",
            &service,
            &[&SERVICE, &STREAMING_SERVICE, &KV_WRITE, &KV_CREATE_BUCKET],
        ),
        ("web", &caller, &[&CALLER, &STREAMING_CALLER]),
        ("report", &reader, &[&KV_READ, &KV_WATCH]),
    ];
    let mut text = "```text\njetstream: enabled\nauthorization {\n  users: [\n".to_owned();
    for (user, names, features) in users {
        let rights = features.iter().flat_map(|feature| feature.rights);
        let permissions = Permissions::default().with(rights, names).to_string();
        let permissions = permissions.replace('\n', "\n      ");
        write!(
            text,
            "    {{\n      user: {user}, password: change-me\n      permissions: {permissions}\n    }}\n"
        )
        .unwrap();
    }
    text + "  ]\n}\n```\n"
}

fn generated() -> String {
    let tables: String = FEATURES.iter().map(table).collect();
    let mut page = PAGE.to_owned();
    for (part, text) in [("tables", tables), ("example", example())] {
        let start = start_of(part);
        let (before, rest) = page.split_once(&start).expect(part);
        let (_, after) = rest.split_once(END).expect(part);
        page = format!("{before}{start}\n{}\n\n{END}{after}", text.trim_end());
    }
    page
}

#[test]
fn the_page_is_what_the_data_say() {
    let page = generated();
    if std::env::var_os("UPDATE_PERMISSIONS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contract/permissions.md");
        std::fs::write(path, page).unwrap();
        return;
    }
    let hint = "`UPDATE_PERMISSIONS=1 cargo test -p natsmicro permissions` writes it anew";
    assert!(page == PAGE, "{hint}");
}

#[test]
fn each_placeholder_has_a_value() {
    let names = Names {
        service: "Orders",
        prefix: "shop",
        endpoints: &["place", "follow"],
        bucket: "orders",
        ..Names::default()
    };
    for feature in FEATURES {
        for right in feature.rights {
            for subject in names.subjects(right) {
                assert!(!subject.contains(['<', ' ']), "{subject}");
            }
        }
    }
    let endpoint = &SERVICE.rights[0];
    assert_eq!(names.subjects(endpoint), ["shop.place", "shop.follow"]);
}

#[test]
fn behind_a_domain_entries_are_written_below_its_prefix() {
    let names = Names {
        bucket: "orders",
        api: "$JS.hub.API",
        ..Names::default()
    };
    let subjects: Vec<_> = KV_WRITE
        .rights
        .iter()
        .flat_map(|right| names.subjects(right))
        .collect();
    assert_eq!(
        subjects,
        [
            "_INBOX.>",
            "$JS.hub.API.STREAM.INFO.KV_orders",
            "$JS.hub.API.$KV.orders.>",
            "$JS.hub.API.STREAM.MSG.GET.KV_orders",
        ]
    );
}

#[test]
fn objects_are_written_below_the_prefix_of_an_import_and_not_of_a_domain() {
    for (api, expected) in [
        ("$JS.API", "$O.reports.M.>"),
        ("$JS.hub.API", "$O.reports.M.>"),
        ("JS.home", "JS.home.$O.reports.M.>"),
    ] {
        let names = Names {
            bucket: "reports",
            api,
            ..Names::default()
        };
        let subjects = OBJECT_WRITE.rights.iter().flat_map(|it| names.subjects(it));
        let subjects: Vec<_> = subjects.collect();
        assert!(subjects.iter().any(|it| it == expected), "{subjects:?}");
    }
}
