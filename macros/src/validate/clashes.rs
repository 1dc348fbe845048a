//! Names that would be there twice: methods, endpoints, and what is generated from methods.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Ident};

use super::methods_mut;
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::{Item, Method, Service};

/// The cfgs of two methods: both methods are there if all hold.
pub(super) fn together(a: &Method, b: &Method) -> Vec<Attribute> {
    let mut cfgs = a.attrs.cfgs.clone();
    let others = b.attrs.cfgs.iter();
    cfgs.extend(others.filter(|cfg| !a.attrs.cfgs.contains(cfg)).cloned());
    cfgs
}

/// Whether `other` is there whenever `method` is, as far as the words of their cfgs tell.
pub(super) fn comes_with(method: &Method, other: &Method) -> bool {
    let mut cfgs = other.attrs.cfgs.iter();
    cfgs.all(|cfg| method.attrs.cfgs.contains(cfg))
}

/// A method that is declared twice is left out once, or everything made from it would be reported too. That must be the one that is
/// never there alone; if either can be, rustc will know whether both are.
pub(super) fn repeated_methods(items: &mut [Item], diags: &mut Diagnostics) {
    let mut seen: BTreeMap<Ident, Vec<&mut Method>> = BTreeMap::new();
    for method in methods_mut(items) {
        let namesakes = seen.entry(method.sig.ident.clone()).or_default();
        let earlier = namesakes
            .iter_mut()
            .find(|earlier| comes_with(method, earlier) || comes_with(earlier, method));
        if let Some(earlier) = earlier {
            diags.pair_under(
                together(earlier, method),
                error(
                    &method.sig.ident,
                    format!("method `{}` is declared twice", method.name()),
                ),
                error(&earlier.sig.ident, "the first declaration is here"),
            );
            if comes_with(method, earlier) {
                method.repeated = true;
                continue;
            }
            earlier.repeated = true;
        }
        namesakes.push(method);
    }
}

/// Two endpoints with one name would answer on one subject.
pub(super) fn endpoints(service: &Service, diags: &mut Diagnostics) {
    let mut seen: BTreeMap<String, Vec<&Method>> = BTreeMap::new();
    for method in service.endpoints() {
        let name = method.endpoint_name();
        let namesakes = seen.entry(name.clone()).or_default();
        // Of two methods of one name rustc speaks.
        let clashing = namesakes
            .iter()
            .filter(|earlier| earlier.sig.ident != method.sig.ident);
        for earlier in clashing {
            diags.pair_under(
                together(earlier, method),
                error(
                    endpoint_label(method),
                    format!(
                        "methods `{}` and `{}` both answer on the subject token `{name}`",
                        earlier.name(),
                        method.name()
                    ),
                ),
                error(
                    endpoint_label(earlier),
                    format!("`{name}` is first used here"),
                ),
            );
            if comes_with(method, earlier) {
                break;
            }
        }
        namesakes.push(method);
    }
}

/// What gives an endpoint its name: a setting, or the method's own name.
fn endpoint_label(method: &Method) -> TokenStream {
    let args = &method.endpoint;
    match (args.name.is_set(), args.proto_name.is_set()) {
        (true, _) => args.name.label(),
        (false, true) => args.proto_name.label(),
        (false, false) => method.sig.ident.to_token_stream(),
    }
}

/// Where a function comes from that is generated for a store.
struct Accessor<'a> {
    of: &'a Method,
    attr: &'a Attribute,
}

/// What is generated on the client must not be in the way of the user's methods, nor of each other. Gives the names that cannot be
/// generated, each with the index of its method.
pub(super) fn generated_names(service: &Service, diags: &mut Diagnostics) -> Vec<(usize, String)> {
    let mut suppressed = Vec::new();
    let client = service.derived("Client");
    for method in service.endpoints() {
        let name = method.name();
        let what = match name.as_str() {
            "new" => "is its constructor",
            "with_subject_prefix" => "chooses the subjects it calls",
            "clone" => "copies the client",
            _ => continue,
        };
        suppressed.push((method.index, name.clone()));
        diags.push(error_with_help(
            &method.sig.ident,
            format!("a method cannot be called `{name}`: `{client}::{name}` {what}"),
            format!("rename the method and keep its subject with `#[endpoint(name = \"{name}\")]`"),
        ));
    }

    let mut methods: BTreeMap<String, &Method> = BTreeMap::new();
    for method in service.methods() {
        methods.entry(method.name()).or_insert(method);
    }
    let mut accessors: BTreeMap<String, Accessor<'_>> = BTreeMap::new();
    for method in service.endpoints() {
        for (name, attr) in accessors_of(method) {
            if let Some(taken) = methods.get(&name) {
                diags.pair_under(
                    together(method, taken),
                    error_with_help(
                        &taken.sig.ident,
                        format!("method `{name}` conflicts with the accessor generated for the store of `{}`", method.name()),
                        "rename the method",
                    ),
                    error(attr, "the store is declared here"),
                );
                if comes_with(method, taken) {
                    suppressed.push((method.index, name));
                }
            } else if let Some(earlier) = accessors
                .get(&name)
                .filter(|earlier| earlier.of.sig.ident != method.sig.ident)
            {
                diags.pair_under(
                    together(earlier.of, method),
                    error_with_help(
                        attr,
                        format!(
                            "the stores of `{}` and `{}` both generate `{name}`",
                            earlier.of.name(),
                            method.name()
                        ),
                        "rename one of the methods",
                    ),
                    error(earlier.attr, "the other store is declared here"),
                );
                if comes_with(method, earlier.of) {
                    suppressed.push((method.index, name));
                }
            } else {
                accessors
                    .entry(name)
                    .or_insert(Accessor { of: method, attr });
            }
        }
    }

    // Constants are named after methods in capitals.
    let mut seen: BTreeMap<String, &Method> = BTreeMap::new();
    for method in service.endpoints() {
        let earlier = *seen
            .entry(method.name().to_ascii_uppercase())
            .or_insert(method);
        if earlier.name() != method.name() {
            diags.pair_under(
                together(earlier, method),
                error(
                    &method.sig.ident,
                    format!(
                        "methods `{}` and `{}` differ only in case",
                        earlier.name(),
                        method.name()
                    ),
                ),
                error(&earlier.sig.ident, "the other method is here"),
            );
        }
    }
    suppressed
}

/// The names of the functions that are generated for the stores of a method, each with the attribute that declares the store.
fn accessors_of(method: &Method) -> Vec<(String, &Attribute)> {
    let name = method.name();
    let kv = method.kv.as_ref().map(|store| &store.attr);
    let object = method.object.as_ref().map(|store| &store.attr);
    let mut names = Vec::new();
    if let Some(attr) = kv {
        names.extend(
            [
                format!("{name}_kv"),
                format!("get_{name}_from_kv"),
                format!("put_{name}_to_kv"),
            ]
            .map(|name| (name, attr)),
        );
    }
    if let Some(attr) = object {
        names.extend(
            [
                format!("{name}_object_store"),
                format!("get_{name}_from_object_store"),
                format!("put_{name}_to_object_store"),
            ]
            .map(|name| (name, attr)),
        );
    }
    let cached = method.cached().map(|of| match of {
        "object_cached" => object,
        _ => kv,
    });
    names.extend(
        cached
            .flatten()
            .map(|attr| (format!("{name}_cached"), attr)),
    );
    for key in method.keys() {
        let attr = if key.suffix == "_object_key" {
            object
        } else {
            kv.or(object)
        };
        let suffixes = [Some(key.suffix), key.pattern_suffix()];
        for suffix in suffixes.into_iter().flatten() {
            names.extend(attr.map(|attr| (format!("{name}{suffix}"), attr)));
        }
    }
    names
}
