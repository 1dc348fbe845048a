//! The rules between two settings, and between two methods.
//!
//! Assumes a model whose values were checked one by one. Guarantees, if nothing was reported, that the expansion defines no name twice
//! and that what it says about a bucket is the same everywhere.

mod buckets;
mod clashes;
mod deletions;

use quote::ToTokens;

use crate::args::composite::{Key, QueueGroup};
use crate::args::quantity::Period;
use crate::args::value::Flag;
use crate::args::{KvStoreArgs, ObjectStoreArgs, Setting};
use crate::diag::{Diagnostics, error_with_help};
use crate::key::Source;
use crate::model::{Item, Kind, Method, Service, is_unit};
use crate::names;

/// Checks a service as a whole.
pub(crate) fn service(service: &mut Service, diags: &mut Diagnostics) {
    clashes::repeated_methods(&mut service.items, diags);
    service_names(service, diags);
    for method in service.methods() {
        endpoint(method, diags);
        stream(method, diags);
        if let Some(store) = &method.kv {
            kv_store(&store.args, diags);
            compared_key(&store.args, diags);
            key(method, &store.args.key, diags);
        }
        if let Some(store) = &method.object {
            object_store(&store.args, diags);
            key(method, &store.args.key, diags);
        }
        for deletion in &method.deletions {
            key(method, &deletion.args.key, diags);
        }
        deletions::once(method, diags);
    }
    shared_streams(service, diags);
    clashes::endpoints(service, diags);
    buckets::agree(service, diags);
    for (index, name) in clashes::generated_names(service, diags) {
        let mut methods = methods_mut(&mut service.items);
        if let Some(method) = methods.find(|method| method.index == index) {
            method.suppressed.push(name);
        }
    }
}

/// The defaults that come from the trait's name must be names too.
fn service_names(service: &Service, diags: &mut Diagnostics) {
    let name = service.name();
    let name_is_set = service.args.name.is_set();
    if !service.args.skip.get().is_some_and(|skip| skip.0)
        && !name_is_set
        && let Err(fault) = names::plain("a service name", &name)
    {
        diags.help(
            &service.ident,
            fault.message,
            "set the name and the prefix: `#[service(name = \"..\", subject_prefix = \"..\")]`",
        );
    }
}

fn endpoint(method: &Method, diags: &mut Diagnostics) {
    let args = &method.endpoint;
    if method.skipped() {
        let settings = [
            args.max_in_flight.key(),
            args.metadata.key(),
            args.name.key(),
            args.proto_name.key(),
            args.queue_group.key(),
            args.timeout.key(),
        ];
        for key in settings.into_iter().filter(|key| !key.is_empty()) {
            let message = format!("`{key}` has no effect on a skipped method");
            diags.help(key, message, "remove it, or remove `skip`");
        }
        if let Some(stream) = &method.stream {
            diags.help(
                &stream.attr,
                "nothing is streamed by a skipped method",
                "remove it, or remove `#[endpoint(skip)]`",
            );
        }
        for attr in method.store_attrs() {
            diags.help(
                attr,
                "nothing is persisted for a skipped method",
                "remove it, or remove `#[endpoint(skip)]`",
            );
        }
        for deletion in &method.deletions {
            diags.help(
                &deletion.attr,
                "nothing is deleted for a skipped method",
                "remove it, or remove `#[endpoint(skip)]`",
            );
        }
        return;
    }
    if args.name.is_set() && args.proto_name.is_set() {
        diags.help(
            args.proto_name.key(),
            "an endpoint has one name",
            "set `name` or `proto_name`",
        );
    }
    if !args.name.is_set()
        && !args.proto_name.is_set()
        && let Err(fault) = names::plain("an endpoint name", &method.name())
    {
        diags.help(
            &method.sig.ident,
            fault.message,
            "keep the method and give the endpoint a name: `#[endpoint(name = \"..\")]`",
        );
    }
}

/// A window needs a stream, and a stream cannot be stored.
fn stream(method: &Method, diags: &mut Diagnostics) {
    if method.skipped() {
        return;
    }
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
    for attr in method.store_attrs() {
        diags.help(attr, message, help);
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
    let is_off = |group: &Setting<QueueGroup>| matches!(group.get(), Some(QueueGroup::Off));
    let streaming = || {
        let methods = service.methods();
        methods.filter(|method| !method.skipped() && method.kind() != Kind::Unary)
    };
    let message = |method: &Method| {
        format!(
            "without a queue group, every instance would answer on the stream of `{}`",
            method.name()
        )
    };
    for method in streaming() {
        if is_off(&method.endpoint.queue_group) {
            diags.help(
                method.endpoint.queue_group.label(),
                message(method),
                "remove it, or name a group: `queue_group = \"q\"`",
            );
        }
    }
    let of_service = &service.args.queue_group;
    if is_off(of_service)
        && let Some(method) = streaming().find(|method| !method.endpoint.queue_group.is_set())
    {
        diags.help(
            of_service.label(),
            message(method),
            "give the method a group of its own: `#[endpoint(queue_group = \"q\")]`",
        );
    }
}

fn kv_store(args: &KvStoreArgs, diags: &mut Diagnostics) {
    for period in [&args.key_ttl, &args.purge_ttl, &args.marker_ttl] {
        whole_seconds(period, diags);
    }
    if args.key_ttl.is_set()
        && let Some(history) = args.max_history.get().filter(|history| history.0 > 1)
    {
        diags.push(error_with_help(
            args.key_ttl.key(),
            format!(
                "`key_ttl` cannot be combined with `max_history = {}`",
                history.0
            ),
            "an entry that expires would show the one before it; keep one entry per key",
        ));
    }
    let writes = [args.persist.key(), args.write.key()];
    client_only(&args.client_only, writes, diags);
}

/// The revision that an update compares is looked up before the handler runs.
fn compared_key(args: &KvStoreArgs, diags: &mut Diagnostics) {
    if let (Some(write), Some(Key(template))) = (args.write.get(), args.key.get())
        && write.variant == "Update"
        && template.fields(Source::Response).next().is_some()
    {
        diags.help(
            &template.lit,
            "`write = \"update\"` needs a key that the request alone makes",
            "the entry is looked at before there is a response; use fields of the request, or another `write`",
        );
    }
}

fn object_store(args: &ObjectStoreArgs, diags: &mut Diagnostics) {
    client_only(&args.client_only, [args.persist.key()], diags);
}

/// The server writes nothing to a `client_only` store, so how it writes cannot be set. The other settings are for the client, which
/// makes the bucket and writes to it.
fn client_only(
    flag: &Setting<Flag>,
    writes: impl IntoIterator<Item = impl ToTokens>,
    diags: &mut Diagnostics,
) {
    if flag.get().is_some_and(|flag| flag.0) {
        for key in writes {
            let key = key.to_token_stream();
            if !key.is_empty() {
                let message = format!(
                    "`{key}` has no effect on a `client_only` store, which the service does not write"
                );
                diags.help(key, message, "remove it, or remove `client_only`");
            }
        }
    }
}

/// NATS counts these in whole seconds and takes no fraction of one.
fn whole_seconds(period: &Setting<Period>, diags: &mut Diagnostics) {
    if period
        .get()
        .is_some_and(|period| period.0.subsec_nanos() != 0)
    {
        let message = format!("`{}` must be a whole number of seconds", period.key());
        diags.help(
            period.label(),
            message,
            "NATS takes no fraction of a second here; write \"1s\" or more",
        );
    }
}

/// A placeholder needs a message to take its value from.
fn key(method: &Method, key: &Setting<Key>, diags: &mut Diagnostics) {
    if method.skipped() || method.kind() != Kind::Unary {
        return;
    }
    let Some(Key(template)) = key.get() else {
        return;
    };
    let name = method.name();
    let takes_nothing = method
        .request
        .as_ref()
        .is_none_or(|request| is_unit(&request.ty));
    if takes_nothing && template.fields(Source::Request).next().is_some() {
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

/// The methods of a trait, to change them.
fn methods_mut(items: &mut [Item]) -> impl Iterator<Item = &mut Method> {
    items.iter_mut().filter_map(|item| match item {
        Item::Method(method) => Some(&mut **method),
        Item::Other(_) => None,
    })
}

#[cfg(test)]
#[path = "validate_tests.rs"]
pub(crate) mod tests;
