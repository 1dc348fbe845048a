//! Methods that share a bucket must say the same about it.

use super::Method;
use super::clashes::{comes_with, together};
use crate::args::value::{Bucket, Flag, Text};
use crate::args::{KvStoreArgs, ObjectStoreArgs, Setting};
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::Service;

/// What one method says about a bucket.
struct Declaration<'a> {
    method: &'a Method,
    bucket: &'a Setting<Text<Bucket>>,
    client_only: bool,
    /// The settings that belong to the bucket, not to the method: name, and value as far as it was set.
    settings: Vec<(&'static str, Option<String>)>,
}

pub(super) fn agree(service: &Service, diags: &mut Diagnostics) {
    let kv = service
        .endpoints()
        .filter_map(|method| Some((method, &method.kv.as_ref()?.args)));
    compare(
        &kv.map(|(method, args)| kv_bucket(method, args))
            .collect::<Vec<_>>(),
        diags,
    );
    let object = service
        .endpoints()
        .filter_map(|method| Some((method, &method.object.as_ref()?.args)));
    compare(
        &object
            .map(|(method, args)| object_bucket(method, args))
            .collect::<Vec<_>>(),
        diags,
    );
}

fn compare(declarations: &[Declaration<'_>], diags: &mut Diagnostics) {
    let speaking = declarations
        .iter()
        .filter(|declaration| declaration.speaks() && declaration.name().is_some());
    let speaking: Vec<_> = speaking.collect();
    for (position, declaration) in speaking.iter().enumerate() {
        let earlier = speaking.iter().take(position);
        for earlier in earlier.filter(|earlier| earlier.name() == declaration.name()) {
            pair(declaration, earlier, diags);
            if comes_with(declaration.method, earlier.method) {
                break;
            }
        }
    }
}

fn pair(declaration: &Declaration<'_>, earlier: &Declaration<'_>, diags: &mut Diagnostics) {
    let settings = declaration.settings.iter().zip(&earlier.settings);
    let different: Vec<String> = settings
        .filter(|((_, mine), (_, theirs))| mine != theirs)
        .map(|((name, _), _)| format!("`{name}`"))
        .collect();
    let (Some(name), false) = (declaration.name(), different.is_empty()) else {
        return;
    };
    let different = different.join(", ");
    diags.pair_under(
        together(earlier.method, declaration.method),
        error_with_help(
            declaration.bucket.label(),
            format!("bucket `{name}` is declared twice with different settings ({different})"),
            format!("settings belong to the bucket; give both methods the same {different}"),
        ),
        error(earlier.bucket.label(), "the other declaration is here"),
    );
}

impl Declaration<'_> {
    fn name(&self) -> Option<String> {
        self.bucket.get().map(|bucket| bucket.lit.value())
    }

    /// A client that only reads need not repeat how the bucket is made.
    fn speaks(&self) -> bool {
        !self.client_only || self.settings.iter().any(|(_, value)| value.is_some())
    }
}

fn is_on(flag: &Setting<Flag>) -> bool {
    flag.get().is_some_and(|flag| flag.0)
}

/// A setting as text, to compare; `None` if it was not set.
fn shown<T>(setting: &Setting<T>, show: impl Fn(&T) -> String) -> Option<String> {
    setting
        .is_set()
        .then(|| setting.get().map(show).unwrap_or_default())
}

fn kv_bucket<'a>(method: &'a Method, args: &'a KvStoreArgs) -> Declaration<'a> {
    Declaration {
        method,
        bucket: &args.bucket,
        client_only: is_on(&args.client_only),
        settings: vec![
            (
                "compression",
                shown(&args.compression, |flag| flag.0.to_string()),
            ),
            (
                "description",
                shown(&args.description, |text| text.lit.value()),
            ),
            (
                "marker_ttl",
                shown(&args.marker_ttl, |period| format!("{:?}", period.0)),
            ),
            (
                "max_bytes",
                shown(&args.max_bytes, |bytes| bytes.0.to_string()),
            ),
            (
                "max_consumers",
                shown(&args.max_consumers, |number| number.0.to_string()),
            ),
            (
                "max_history",
                shown(&args.max_history, |number| number.0.to_string()),
            ),
            (
                "max_value_size",
                shown(&args.max_value_size, |bytes| bytes.0.to_string()),
            ),
            (
                "metadata",
                shown(&args.metadata, |metadata| {
                    let mut pairs: Vec<_> = metadata
                        .0
                        .iter()
                        .map(|(key, value)| (key.clone(), value.value()))
                        .collect();
                    pairs.sort();
                    format!("{pairs:?}")
                }),
            ),
            (
                "purge_ttl",
                shown(&args.purge_ttl, |period| format!("{:?}", period.0)),
            ),
            (
                "replicas",
                shown(&args.replicas, |number| number.0.to_string()),
            ),
            (
                "storage",
                shown(&args.storage, |storage| storage.variant.to_owned()),
            ),
            ("ttl", shown(&args.ttl, |period| format!("{:?}", period.0))),
        ],
    }
}

fn object_bucket<'a>(method: &'a Method, args: &'a ObjectStoreArgs) -> Declaration<'a> {
    Declaration {
        method,
        bucket: &args.bucket,
        client_only: is_on(&args.client_only),
        settings: vec![
            (
                "compression",
                shown(&args.compression, |flag| flag.0.to_string()),
            ),
            (
                "description",
                shown(&args.description, |text| text.lit.value()),
            ),
            (
                "max_bytes",
                shown(&args.max_bytes, |bytes| bytes.0.to_string()),
            ),
            (
                "max_consumers",
                shown(&args.max_consumers, |number| number.0.to_string()),
            ),
            (
                "replicas",
                shown(&args.replicas, |number| number.0.to_string()),
            ),
            (
                "storage",
                shown(&args.storage, |storage| storage.variant.to_owned()),
            ),
            ("ttl", shown(&args.ttl, |period| format!("{:?}", period.0))),
        ],
    }
}
