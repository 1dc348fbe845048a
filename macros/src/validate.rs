//! The rules between two attributes, between an attribute and a signature, and between two methods.
//!
//! Assumes a model whose attributes were checked one by one. Guarantees, if nothing was reported, that the expansion defines no name
//! twice and that what it says about a bucket is the same everywhere.

mod buckets;
mod clashes;
mod deletions;

use crate::args::composite::FunctionPath;
use crate::diag::Diagnostics;
use crate::key::{Source, Template};
use crate::model::method::Method;
use crate::model::service::Service;
use crate::model::signature::{Kind, is_unit};

/// Checks a service as a whole.
pub(crate) fn service(service: &mut Service, diags: &mut Diagnostics) {
    clashes::repeated_methods(service, diags);
    for method in service.methods() {
        if method.endpoint.skipped {
            skipped(method, diags);
        } else {
            stream(method, diags);
            validated(method, diags);
            let stores = method.stores.iter().map(|store| &store.usage.key);
            let deletions = method.deletions.iter().map(|deletion| &deletion.key);
            for template in stores.chain(deletions) {
                key(method, template, diags);
            }
        }
        deletions::once(method, diags);
    }
    shared_streams(service, diags);
    clashes::endpoints(service, diags);
    buckets::agree(service, diags);
    for (index, name) in clashes::generated_names(service, diags) {
        let mut methods = service.methods_mut();
        if let Some(method) = methods.find(|method| method.index == index) {
            method.suppressed.push(name);
        }
    }
}

/// What stays off NATS neither streams nor stores.
fn skipped(method: &Method, diags: &mut Diagnostics) {
    const HELP: &str = "remove it, or remove `#[endpoint(skip)]`";
    if let Some(stream) = &method.stream {
        let message = "nothing is streamed by a skipped method";
        diags.help(&stream.attr, message, HELP);
    }
    for store in &method.stores {
        let message = "nothing is persisted for a skipped method";
        diags.help(&store.attr, message, HELP);
    }
    for deletion in &method.deletions {
        let message = "nothing is deleted for a skipped method";
        diags.help(&deletion.attr, message, HELP);
    }
}

/// Only a request can be validated.
fn validated(method: &Method, diags: &mut Diagnostics) {
    if let Some(FunctionPath(path)) = &method.endpoint.validate
        && takes_nothing(method)
    {
        diags.help(
            path,
            format!(
                "there is nothing to validate: `{}` takes no request",
                method.name()
            ),
            "remove `validate`, or take a request",
        );
    }
}

/// Whether a method has no request, or an empty one.
fn takes_nothing(method: &Method) -> bool {
    let request = method.request.as_ref();
    request.is_none_or(|request| is_unit(&request.ty))
}

/// A window needs a stream, and a stream cannot be stored.
fn stream(method: &Method, diags: &mut Diagnostics) {
    let kind = method.kind();
    if let (Kind::Unary, Some(stream)) = (kind, &method.stream) {
        diags.help(
            &stream.attr,
            format!(
                "`#[stream]` has no effect here: `{}` does not stream",
                method.name()
            ),
            "remove it, or take or return a `Streaming<T>`",
        );
    }
    let (message, help) = match kind {
        Kind::Unary => return,
        Kind::ClientStreaming => (
            "the response to a stream cannot be stored",
            "store it from the handler, or take one message",
        ),
        Kind::ServerStreaming | Kind::Bidirectional => (
            "a streamed response cannot be stored",
            "store it from the handler, or return one message",
        ),
    };
    for store in &method.stores {
        diags.help(&store.attr, message, help);
    }
    for deletion in &method.deletions {
        diags.help(
            &deletion.attr,
            "a method that streams cannot delete entries",
            "delete them from the handler, or take and return one message",
        );
    }
}

/// A stream has one service at its other end.
fn shared_streams(service: &Service, diags: &mut Diagnostics) {
    let streaming = || {
        let methods = service.endpoints();
        methods.filter(|method| method.kind() != Kind::Unary)
    };
    let message = |method: &Method| {
        format!(
            "without a queue group, every instance would answer on the stream of `{}`",
            method.name()
        )
    };
    for method in streaming() {
        let of_method = &method.endpoint.queue_group;
        if of_method.is_off() {
            diags.help(
                &of_method.label,
                message(method),
                "remove it, or name a group: `queue_group = \"q\"`",
            );
        }
    }
    let of_service = &service.settings.queue_group;
    if of_service.is_off()
        && let Some(method) = streaming().find(|method| !method.endpoint.queue_group.is_written)
    {
        diags.help(
            &of_service.label,
            message(method),
            "give the method a group of its own: `#[endpoint(queue_group = \"q\")]`",
        );
    }
}

/// A placeholder needs a message to take its value from.
fn key(method: &Method, template: &Template, diags: &mut Diagnostics) {
    if method.kind() != Kind::Unary {
        return;
    }
    let name = method.name();
    if takes_nothing(method) && template.fields(Source::Request).next().is_some() {
        diags.error(
            &template.lit,
            format!("this key needs fields of the request, but `{name}` takes no request"),
        );
    }
    if method.output.is_nothing() && template.fields(Source::Response).next().is_some() {
        diags.error(
            &template.lit,
            format!("this key needs fields of the response, but `{name}` returns none"),
        );
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
pub(crate) mod tests;
