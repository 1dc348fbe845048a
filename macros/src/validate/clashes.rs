//! Names that would be there twice: methods, endpoints, and what is generated from methods.
//!
//! Assumes a method's own names to be checked. Of two methods under cfgs rustc decides whether both are there.

use std::collections::BTreeMap;

use syn::Ident;

use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::accessor::Accessor;
use crate::model::method::Method;
use crate::model::service::Service;

/// A method that is declared twice is left out once, or everything made from it would be reported too. That must be the one that is
/// never there alone; if either can be, rustc will know whether both are.
pub(super) fn repeated_methods(service: &mut Service, diags: &mut Diagnostics) {
    let mut seen: BTreeMap<Ident, Vec<&mut Method>> = BTreeMap::new();
    for method in service.methods_mut() {
        let namesakes = seen.entry(method.sig.ident.clone()).or_default();
        let earlier = namesakes
            .iter_mut()
            .find(|earlier| method.comes_with(earlier) || earlier.comes_with(method));
        if let Some(earlier) = earlier {
            diags.pair_under(
                earlier.together_with(method),
                error(
                    &method.sig.ident,
                    format!("method `{}` is declared twice", method.name()),
                ),
                error(&earlier.sig.ident, "the first declaration is here"),
            );
            if method.comes_with(earlier) {
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
        let name = method.endpoint.name.clone();
        let namesakes = seen.entry(name.clone()).or_default();
        // Of two methods of one name rustc speaks.
        let clashing = namesakes
            .iter()
            .filter(|earlier| earlier.sig.ident != method.sig.ident);
        for earlier in clashing {
            diags.pair_under(
                earlier.together_with(method),
                error(
                    &method.endpoint.name_label,
                    format!(
                        "methods `{}` and `{}` both answer on the subject token `{name}`",
                        earlier.name(),
                        method.name()
                    ),
                ),
                error(
                    &earlier.endpoint.name_label,
                    format!("`{name}` is first used here"),
                ),
            );
            if method.comes_with(earlier) {
                break;
            }
        }
        namesakes.push(method);
    }
}

/// What is generated on the client must not be in the way of the user's methods, nor of each other. Gives the names that cannot be
/// generated, each with the index of its method.
pub(super) fn generated_names(service: &Service, diags: &mut Diagnostics) -> Vec<(usize, String)> {
    let mut suppressed = own_functions(service, diags);
    suppressed.extend(accessors(service, diags));
    constants(service, diags);
    suppressed
}

/// A client has functions of its own.
fn own_functions(service: &Service, diags: &mut Diagnostics) -> Vec<(usize, String)> {
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
    suppressed
}

/// The functions for stores are called neither like a method nor like each other.
fn accessors(service: &Service, diags: &mut Diagnostics) -> Vec<(usize, String)> {
    let mut suppressed = Vec::new();
    let mut methods: BTreeMap<String, &Method> = BTreeMap::new();
    for method in service.methods() {
        methods.entry(method.name()).or_insert(method);
    }
    let mut seen: BTreeMap<String, (&Method, Accessor<'_>)> = BTreeMap::new();
    for method in service.endpoints() {
        for accessor in method.accessors() {
            let name = accessor.name.clone();
            if let Some(taken) = methods.get(&name) {
                like_a_method(&accessor, method, taken, diags);
                if method.comes_with(taken) {
                    suppressed.push((method.index, name));
                }
            } else if let Some((of, earlier)) = seen
                .get(&name)
                .filter(|(of, _)| of.sig.ident != method.sig.ident)
            {
                like_another((earlier, of), (&accessor, method), diags);
                if method.comes_with(of) {
                    suppressed.push((method.index, name));
                }
            } else {
                seen.entry(name).or_insert((method, accessor));
            }
        }
    }
    suppressed
}

fn like_a_method(accessor: &Accessor<'_>, of: &Method, taken: &Method, diags: &mut Diagnostics) {
    diags.pair_under(
        of.together_with(taken),
        error_with_help(
            &taken.sig.ident,
            format!(
                "method `{}` conflicts with the accessor generated for the store of `{}`",
                accessor.name,
                of.name()
            ),
            "rename the method",
        ),
        error(&accessor.store.attr, "the store is declared here"),
    );
}

fn like_another(
    (earlier, of_earlier): (&Accessor<'_>, &Method),
    (accessor, of): (&Accessor<'_>, &Method),
    diags: &mut Diagnostics,
) {
    diags.pair_under(
        of_earlier.together_with(of),
        error_with_help(
            &accessor.store.attr,
            format!(
                "the stores of `{}` and `{}` both generate `{}`",
                of_earlier.name(),
                of.name(),
                accessor.name
            ),
            "rename one of the methods",
        ),
        error(&earlier.store.attr, "the other store is declared here"),
    );
}

/// Constants are named after methods in capitals.
fn constants(service: &Service, diags: &mut Diagnostics) {
    let mut seen: BTreeMap<String, &Method> = BTreeMap::new();
    for method in service.endpoints() {
        let earlier = *seen.entry(method.constant().to_string()).or_insert(method);
        if earlier.name() != method.name() {
            diags.pair_under(
                earlier.together_with(method),
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
}
