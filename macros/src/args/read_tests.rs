use quote::quote;

use super::*;
use crate::args::settings::{EndpointArgs, KvDeleteArgs, ServiceArgs, StoreArgs};
use crate::attribute::StoreKind;

const KV: AttrName = AttrName::Store(StoreKind::Kv);
const OBJECT: AttrName = AttrName::Store(StoreKind::Object);

fn messages<T: Settings>(attr: AttrName, tokens: TokenStream) -> Vec<String> {
    let mut diags = Diagnostics::default();
    let _ = read::<T>(attr, tokens, &mut diags);
    diags.messages()
}

#[test]
fn settings_have_an_order() {
    let mut attrs = AttrName::OF_METHODS.to_vec();
    attrs.extend([AttrName::Service, AttrName::ServiceError]);
    for attr in attrs {
        let names = names(attr);
        assert!(!names.is_empty() && names.is_sorted(), "{names:?}");
    }
}

#[test]
fn crate_is_a_setting() {
    let mut diags = Diagnostics::default();
    let tokens = quote!(crate = ::other::natsmicro);
    let args = read::<ServiceArgs>(AttrName::Service, tokens, &mut diags).args;
    assert!(!diags.has_errors());
    assert!(args.krate.value().is_some());
}

#[test]
fn unknown_settings() {
    assert_eq!(
        messages::<StoreArgs>(KV, quote!(bukcet = "b", key = "k")),
        ["unknown setting `bukcet`\nhelp: did you mean `bucket`?"]
    );
    assert_eq!(
        messages::<StoreArgs>(KV, quote!(bucket = "b", key = "k", history = 3)),
        ["unknown setting `history`\nhelp: did you mean `max_history`?"]
    );
    assert_eq!(
        messages::<EndpointArgs>(AttrName::Endpoint, quote!(zzz)),
        [
            "unknown setting `zzz`\nhelp: the settings are `idempotent`, `max_in_flight`, `metadata`, `name`, `proto_name`, `queue_group`, `skip`, `timeout`, `validate`"
        ]
    );
    assert_eq!(
        messages::<StoreArgs>(OBJECT, quote!(max_history = 3)),
        ["an object store keeps no history\nhelp: remove it, or use `#[kv_store]`"]
    );
    assert_eq!(
        messages::<ServiceArgs>(AttrName::Service, quote!(verison = "2.0.0", prefix = "api")),
        [
            "unknown setting `verison`\nhelp: did you mean `version`?",
            "unknown setting `prefix`\nhelp: did you mean `subject_prefix`?"
        ]
    );
}

#[test]
fn settings_of_deletions() {
    assert_eq!(
        messages::<KvDeleteArgs>(
            AttrName::KvDelete,
            quote!(bucket = "b", key = "k", max_history = 3)
        ),
        ["`max_history` is a setting of a key-value store\nhelp: write it in `#[kv_store(..)]`"]
    );
    assert_eq!(
        messages::<StoreArgs>(KV, quote!(purge)),
        ["`purge` is a setting of a deletion\nhelp: write it in `#[kv_delete(..)]`"]
    );
    let [of_objects] = &messages::<StoreArgs>(OBJECT, quote!(purge))[..] else {
        panic!("one mistake is one error");
    };
    assert!(of_objects.starts_with("unknown setting `purge`\nhelp: the settings are "));
}

#[test]
fn one_mistake_does_not_hide_another() {
    assert_eq!(
        messages::<StoreArgs>(
            KV,
            quote!(bukcet = "x", key = "a..b", ttl = "1 fortnight", ttl = "1h")
        )
        .len(),
        4
    );
}

#[test]
fn values_without_names() {
    assert_eq!(
        messages::<StoreArgs>(KV, quote!("b", "k")),
        ["expected `name = value`\nhelp: write `bucket = \"b\", key = \"k\"`"]
    );
    assert_eq!(
        messages::<EndpointArgs>(AttrName::Endpoint, quote!(30)),
        ["expected `name = value`"]
    );
}

#[test]
fn broken_syntax() {
    for tokens in [
        quote!(bucket "b"),
        quote!(= 3),
        quote!(bucket = "b" key = "k"),
    ] {
        assert_eq!(
            messages::<StoreArgs>(KV, tokens),
            ["the settings of `#[kv_store]` are written `name = value`, with commas between them"]
        );
    }
}
