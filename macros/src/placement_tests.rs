use quote::quote;

use super::*;
use crate::attribute::StoreKind;

/// The first line of the error, after a check that the item is still there.
fn message(expansion: &TokenStream, item: &TokenStream) -> String {
    let (expansion, item) = (expansion.to_string(), item.to_string());
    let error = expansion.strip_prefix(&item).unwrap();
    error
        .split('"')
        .nth(1)
        .unwrap()
        .split("\\n")
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn service_goes_on_a_trait() {
    for (item, expected) in [
        (
            quote!(impl Users for R {}),
            "`#[natsmicro::service]` goes on the trait, not on its implementation",
        ),
        (
            quote!(
                #[derive(Clone)]
                struct R;
            ),
            "`#[natsmicro::service]` goes on a trait",
        ),
        (
            quote!(
                fn f() {}
            ),
            "`#[natsmicro::service]` goes on a trait",
        ),
        (
            quote!(
                mod m {}
            ),
            "`#[natsmicro::service]` goes on a trait",
        ),
        (
            quote!(something else),
            "`#[natsmicro::service]` goes on a trait",
        ),
    ] {
        assert_eq!(message(&service_elsewhere(&item), &item), expected);
    }
}

#[test]
fn helpers_go_on_a_method_of_a_service() {
    for (item, expected) in [
        (
            quote!(
                async fn save(&self);
            ),
            "`#[kv_store]` has no effect here",
        ),
        (
            quote!(
                async fn save(&self) {}
            ),
            "`#[kv_store]` goes on the trait's declaration of `save`, not on its implementation",
        ),
        (
            quote!(
                fn free() {}
            ),
            "`#[kv_store]` goes on a method",
        ),
        (
            quote!(
                trait Users {
                    fn a(&self);
                }
            ),
            "`#[kv_store]` goes on a method",
        ),
        (
            quote!(
                struct R;
            ),
            "`#[kv_store]` goes on a method",
        ),
    ] {
        assert_eq!(
            message(
                &helper_elsewhere(AttrName::Store(StoreKind::Kv), &item),
                &item
            ),
            expected
        );
    }
}
