//! `#[endpoint]` and `#[stream]`: their settings, and the rules between two settings of one of them.
//!
//! Assumes one attribute each. Guarantees checked values and an endpoint that has a name; what was reported is left out.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::Attribute;
use syn::ext::IdentExt;

use super::attrs::settings;
use crate::args::composite::QueueGroup;
use crate::args::read::Read;
use crate::args::settings::{EndpointArgs, Setting, StreamArgs};
use crate::args::value::setting_name;
use crate::attribute::AttrName;
use crate::diag::Diagnostics;
use crate::model::method::{Endpoint, OwnGroup, StreamAttr};
use crate::names::{self, snake_case};

/// How the method `method` is reached.
pub(super) fn endpoint(method: &Ident, args: EndpointArgs, diags: &mut Diagnostics) -> Endpoint {
    let skipped = args.skip.is_on();
    if skipped {
        no_effect(&args, diags);
    } else if let (true, Some(proto_name)) = (args.name.is_written(), args.proto_name.given()) {
        diags.help(
            &proto_name.key,
            "an endpoint has one name",
            "set `name` or `proto_name`",
        );
    }
    let (name, name_label) = match (args.name.given(), args.proto_name.given()) {
        (Some(name), _) => (name.value.lit.value(), name.label.clone()),
        (None, Some(name)) => (snake_case(&name.value.lit.value()), name.label.clone()),
        (None, None) => (method.unraw().to_string(), method.to_token_stream()),
    };
    let is_named = args.name.is_written() || args.proto_name.is_written();
    if let (false, false, Err(fault)) = (skipped, is_named, names::plain("an endpoint name", &name))
    {
        diags.help(
            method,
            fault.message,
            "keep the method and give the endpoint a name: `#[endpoint(name = \"..\")]`",
        );
    }
    Endpoint {
        skipped,
        name,
        name_label,
        timeout: args.timeout.into_value(),
        metadata: args.metadata.into_value(),
        max_in_flight: args.max_in_flight.into_value(),
        queue_group: queue_group(args.queue_group),
        idempotent: args.idempotent.is_on(),
        validate: args.validate.into_value(),
    }
}

/// Nothing but `skip` says anything of a skipped method.
fn no_effect(args: &EndpointArgs, diags: &mut Diagnostics) {
    let keys = [
        args.idempotent.given().map(|given| &given.key),
        args.max_in_flight.given().map(|given| &given.key),
        args.metadata.given().map(|given| &given.key),
        args.name.given().map(|given| &given.key),
        args.proto_name.given().map(|given| &given.key),
        args.queue_group.given().map(|given| &given.key),
        args.timeout.given().map(|given| &given.key),
        args.validate.given().map(|given| &given.key),
    ];
    for key in keys.into_iter().flatten() {
        diags.help(
            key,
            format!("`{}` has no effect on a skipped method", setting_name(key)),
            "remove it, or remove `skip`",
        );
    }
}

pub(super) fn queue_group(setting: Setting<QueueGroup>) -> OwnGroup {
    let is_written = setting.is_written();
    let given = setting.into_given();
    let (group, label) = given.map_or((None, TokenStream::new()), |given| {
        (Some(given.value), given.label)
    });
    OwnGroup {
        group,
        is_written,
        label,
    }
}

pub(super) fn stream(attr: Attribute, diags: &mut Diagnostics) -> StreamAttr {
    let Read { args, has_unknown } = settings::<StreamArgs>(AttrName::Stream, &attr, diags);
    if !has_unknown && !args.window.is_written() && !args.window_bytes.is_written() {
        diags.help(
            &attr,
            "`#[stream]` needs a window",
            "write `#[stream(window = 4096)]` or `#[stream(window_bytes = \"4MiB\")]`, or remove it: the defaults are 1024 messages and 1 MiB",
        );
    }
    StreamAttr {
        attr,
        window: args.window.into_value(),
        window_bytes: args.window_bytes.into_value(),
    }
}
