//! `#[kv_store]`, `#[object_store]`, `#[kv_delete]`: their settings, and the rules between two settings of one of them.
//!
//! Assumes one attribute. Guarantees a store or a deletion of checked values; what was reported is left out, or an empty name or key
//! stands in for it.

use syn::spanned::Spanned;
use syn::{Attribute, LitStr, Path};

use super::attrs::settings;
use crate::args::composite::Key;
use crate::args::quantity::Period;
use crate::args::read::Read;
use crate::args::settings::{KvDeleteArgs, Setting, StoreArgs};
use crate::args::value::{Bucket, Text, Write, setting_name};
use crate::attribute::{AttrName, StoreKind};
use crate::diag::Diagnostics;
use crate::key::{Source, Template};
use crate::model::store::{Deletion, Store, Usage};

pub(super) fn store(kind: StoreKind, attr: Attribute, diags: &mut Diagnostics) -> Store {
    let name = AttrName::Store(kind);
    let Read { args, has_unknown } = settings::<StoreArgs>(name, &attr, diags);
    let StoreArgs { bucket, usage } = args;
    if !has_unknown {
        let written = (usage.bucket.is_written(), usage.key.is_written());
        missing(name, &attr, written, diags);
    }
    for period in [&usage.key_ttl, &bucket.purge_ttl, &bucket.marker_ttl] {
        whole_seconds(period, diags);
    }
    if let (Some(key_ttl), Some(history)) = (usage.key_ttl.given(), bucket.max_history.value())
        && history.0 > 1
    {
        diags.help(
            &key_ttl.key,
            format!(
                "`key_ttl` cannot be combined with `max_history = {}`",
                history.0
            ),
            "an entry that expires would show the one before it; keep one entry per key",
        );
    }
    if usage.client_only.is_on() {
        let writes = [
            usage.persist.given().map(|given| &given.key),
            usage.write.given().map(|given| &given.key),
        ];
        for key in writes.into_iter().flatten() {
            no_effect_on_the_client(key, diags);
        }
    }
    let store = Store {
        kind,
        bucket: bucket_name(usage.bucket, &attr),
        settings: bucket,
        usage: Usage {
            key: template(usage.key, &attr),
            key_ttl: usage.key_ttl.into_value(),
            client_only: usage.client_only.is_on(),
            persist: usage.persist.into_value(),
            write: usage.write.into_value(),
        },
        attr,
    };
    compared_key(&store.usage, diags);
    store
}

pub(super) fn kv_delete(attr: Attribute, diags: &mut Diagnostics) -> Deletion {
    let Read { args, has_unknown } = settings::<KvDeleteArgs>(AttrName::KvDelete, &attr, diags);
    if !has_unknown {
        let written = (args.bucket.is_written(), args.key.is_written());
        missing(AttrName::KvDelete, &attr, written, diags);
    }
    Deletion {
        bucket: bucket_name(args.bucket, &attr),
        key: template(args.key, &attr),
        persist: args.persist.into_value(),
        purge: args.purge.is_on(),
        attr,
    }
}

fn bucket_name(setting: Setting<Text<Bucket>>, attr: &Attribute) -> LitStr {
    let name = setting.into_value().map(|text| text.lit);
    name.unwrap_or_else(|| LitStr::new("", attr.span()))
}

fn template(setting: Setting<Key>, attr: &Attribute) -> Template {
    let key = setting.into_value().map(|key| key.0);
    key.unwrap_or_else(|| Template::missing(attr.span()))
}

/// A store and a deletion cannot do without a bucket and a key.
fn missing(
    name: AttrName,
    attr: &Attribute,
    (has_bucket, has_key): (bool, bool),
    diags: &mut Diagnostics,
) {
    let (bucket, key) = match name {
        AttrName::Store(StoreKind::Object) => ("reports", "report.<id>"),
        _ => ("user_profiles", "user.<id>"),
    };
    let (holds, happens) = match name {
        AttrName::KvDelete => ("the entry", "deletes the entry of"),
        _ => ("the responses", "stores the response under"),
    };
    let name = name.as_str();
    match (has_bucket, has_key) {
        (true, true) => {}
        (false, false) => diags.help(
            attr,
            format!("`#[{name}]` needs a bucket and a key"),
            format!("write `#[{name}(bucket = \"{bucket}\", key = \"{key}\")]`"),
        ),
        (false, true) => diags.help(
            attr.path(),
            "missing `bucket`",
            format!("`bucket = \"{bucket}\"` names the bucket that holds {holds}"),
        ),
        (true, false) => diags.help(
            attr.path(),
            "missing `key`",
            format!("`key = \"{key}\"` {happens} the request's `id`"),
        ),
    }
}

/// NATS counts these in whole seconds and takes no fraction of one.
fn whole_seconds(period: &Setting<Period>, diags: &mut Diagnostics) {
    if let Some(given) = period.given()
        && given.value.0.subsec_nanos() != 0
    {
        let name = setting_name(&given.key);
        diags.help(
            &given.label,
            format!("`{name}` must be a whole number of seconds"),
            "NATS takes no fraction of a second here; write \"1s\" or more",
        );
    }
}

/// The server writes nothing to a `client_only` store, so how it writes cannot be set. The other settings are for the client, which
/// makes the bucket and writes to it.
fn no_effect_on_the_client(key: &Path, diags: &mut Diagnostics) {
    let name = setting_name(key);
    diags.help(
        key,
        format!(
            "`{name}` has no effect on a `client_only` store, which the service does not write"
        ),
        "remove it, or remove `client_only`",
    );
}

/// The revision that an update compares is looked up before the handler runs.
fn compared_key(usage: &Usage, diags: &mut Diagnostics) {
    if usage.write == Some(Write::Update) && usage.key.fields(Source::Response).next().is_some() {
        diags.help(
            &usage.key.lit,
            "`write = \"update\"` needs a key that the request alone makes",
            "the entry is looked at before there is a response; use fields of the request, or another `write`",
        );
    }
}
