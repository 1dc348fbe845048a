use super::*;
use quote::quote;

fn messages<T: Settings>(attr: &str, tokens: TokenStream) -> Vec<String> {
    let mut diags = Diagnostics::default();
    let _ = read::<T>(attr, tokens, &mut diags);
    diags.messages()
}

#[test]
fn darling_knows_every_name() {
    fn check<T: Settings>() {
        for name in T::NAMES {
            let path: Path = syn::parse_str(name).unwrap_or_else(|_| {
                syn::parse_str(&format!("r#{name}")).unwrap_or(syn::parse_quote!(krate))
            });
            if path.is_ident("krate") {
                continue;
            }
            assert!(
                T::from_list(&[NestedMeta::Meta(Meta::Path(path))]).is_ok(),
                "{name}"
            );
        }
        assert!(T::NAMES.is_sorted(), "{:?}", T::NAMES);
    }
    check::<ServiceArgs>();
    check::<EndpointArgs>();
    check::<KvStoreArgs>();
    check::<ObjectStoreArgs>();
    check::<KvDeleteArgs>();
    check::<ServiceErrorArgs>();
}

#[test]
fn crate_is_a_setting() {
    let mut diags = Diagnostics::default();
    let args = read::<ServiceArgs>("service", quote!(crate = ::other::natsmicro), &mut diags);
    assert!(!diags.has_errors());
    assert!(args.args.krate.get().is_some());
}

#[test]
fn unknown_settings() {
    assert_eq!(
        messages::<KvStoreArgs>("kv_store", quote!(bukcet = "b", key = "k")),
        ["unknown setting `bukcet`\nhelp: did you mean `bucket`?"]
    );
    assert_eq!(
        messages::<KvStoreArgs>("kv_store", quote!(bucket = "b", key = "k", history = 3)),
        ["unknown setting `history`\nhelp: did you mean `max_history`?"]
    );
    assert_eq!(
        messages::<EndpointArgs>("endpoint", quote!(zzz)),
        [
            "unknown setting `zzz`\nhelp: the settings are `max_in_flight`, `metadata`, `name`, `proto_name`, `queue_group`, `skip`, `timeout`"
        ]
    );
    assert_eq!(
        messages::<ObjectStoreArgs>("object_store", quote!(max_history = 3)),
        ["an object store keeps no history\nhelp: remove it, or use `#[kv_store]`"]
    );
    assert_eq!(
        messages::<ServiceArgs>("service", quote!(verison = "2.0.0", prefix = "api")),
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
            "kv_delete",
            quote!(bucket = "b", key = "k", max_history = 3)
        ),
        ["`max_history` is a setting of a key-value store\nhelp: write it in `#[kv_store(..)]`"]
    );
    assert_eq!(
        messages::<KvStoreArgs>("kv_store", quote!(purge)),
        ["`purge` is a setting of a deletion\nhelp: write it in `#[kv_delete(..)]`"]
    );
    let [of_objects] = &messages::<ObjectStoreArgs>("object_store", quote!(purge))[..] else {
        panic!("one mistake is one error");
    };
    assert!(of_objects.starts_with("unknown setting `purge`\nhelp: the settings are "));
}

#[test]
fn one_mistake_does_not_hide_another() {
    assert_eq!(
        messages::<KvStoreArgs>(
            "kv_store",
            quote!(bukcet = "x", key = "a..b", ttl = "1 fortnight", ttl = "1h")
        )
        .len(),
        4
    );
}

#[test]
fn values_without_names() {
    assert_eq!(
        messages::<KvStoreArgs>("kv_store", quote!("b", "k")),
        ["expected `name = value`\nhelp: write `bucket = \"b\", key = \"k\"`"]
    );
    assert_eq!(
        messages::<EndpointArgs>("endpoint", quote!(30)),
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
            messages::<KvStoreArgs>("kv_store", tokens),
            ["the settings of `#[kv_store]` are written `name = value`, with commas between them"]
        );
    }
}
