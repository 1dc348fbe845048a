//! What each attribute accepts: the settings by name, and the type of their values.
//!
//! Assumes nothing. Guarantees that a value that is handed out is within its grammar; see [`value`](super::value).

use darling::ast::NestedMeta;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Meta, Path};

use super::argument::Argument;
use super::composite::{Codec, FunctionPath, Key, KratePath, Metadata, QueueGroup};
use super::quantity::{Bytes, Number, Period, Window, WindowBytes};
use super::value::{
    Bucket, Description, Flag, MethodName, Persist, Prefix, ProtoName, ServiceName, Storage, Text,
    Value, Version, Write, setting_name,
};
use crate::attribute::{AttrName, StoreKind};
use crate::diag::error;

/// A setting of an attribute.
#[derive(Debug, Clone, Default)]
pub(crate) enum Setting<T> {
    /// It was not written.
    #[default]
    Absent,
    /// It was written, but its value was reported and cannot be used.
    Misread,
    Given(Given<T>),
}

/// The value of a setting, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    /// The name of the setting, to point at.
    pub(crate) key: Path,
    /// The value of the setting, or its name if it has none, to point at.
    pub(crate) label: TokenStream,
}

impl<T> Setting<T> {
    pub(crate) fn given(&self) -> Option<&Given<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Absent | Self::Misread => None,
        }
    }

    pub(crate) fn into_given(self) -> Option<Given<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Absent | Self::Misread => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.given().map(|given| &given.value)
    }

    pub(crate) fn into_value(self) -> Option<T> {
        self.into_given().map(|given| given.value)
    }

    /// Whether the user wrote the setting, rightly or not.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl Setting<Flag> {
    pub(crate) fn is_on(&self) -> bool {
        self.value().is_some_and(|flag| flag.0)
    }
}

impl<T: PartialEq> Setting<T> {
    /// Whether two methods say different things; what was reported says nothing.
    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Misread, _) | (_, Self::Misread) => false,
            _ => self.value() != other.value(),
        }
    }
}

impl<T: Value> Setting<T> {
    fn read(item: &NestedMeta, errors: &mut Vec<syn::Error>) -> Self {
        match item {
            NestedMeta::Meta(meta) => {
                let label = match meta {
                    Meta::NameValue(pair) => pair.value.to_token_stream(),
                    Meta::Path(_) | Meta::List(_) => meta.to_token_stream(),
                };
                T::read(meta, errors).map_or(Self::Misread, |value| {
                    Self::Given(Given {
                        value,
                        key: meta.path().clone(),
                        label,
                    })
                })
            }
            NestedMeta::NameValueInvalidExpr(pair) => {
                let name = setting_name(&pair.path);
                let message = format!("`{name}` takes {}: `{}`", T::WHAT, T::example(&name));
                errors.push(error(&pair.value, message));
                Self::Misread
            }
            NestedMeta::Lit(_) => Self::Absent,
        }
    }
}

/// A set of settings that are read one by one.
pub(crate) trait Settings: Default {
    /// Reads the value of the setting `name`, which is one of these.
    fn read(&mut self, name: &str, item: &NestedMeta, errors: &mut Vec<syn::Error>);
}

/// Declares a struct of [`Setting`]s; `field ("name")` where the name is no identifier.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($field:ident $(($rename:literal))?: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Setting<$ty>,)*
        }

        impl $name {
            /// The names of these settings.
            const NAMES: &'static [&'static str] = &[$(settings!(@name $field $($rename)?),)*];
        }

        impl Settings for $name {
            fn read(&mut self, name: &str, item: &NestedMeta, errors: &mut Vec<syn::Error>) {
                $(
                    if name == settings!(@name $field $($rename)?) {
                        self.$field = Setting::read(item, errors);
                    }
                )*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $rename:literal) => { $rename };
}

settings! {
    /// `#[service(..)]`
    ServiceArgs {
        codec: Codec,
        krate ("crate"): KratePath,
        description: Text<Description>,
        metadata: Metadata,
        name: Text<ServiceName>,
        queue_group: QueueGroup,
        skip: Flag,
        subject_prefix: Text<Prefix>,
        timeout: Period,
        version: Text<Version>,
    }
}

settings! {
    /// `#[endpoint(..)]`
    EndpointArgs {
        idempotent: Flag,
        max_in_flight: Number<1, { u32::MAX as u64 }>,
        metadata: Metadata,
        name: Text<MethodName>,
        proto_name: Text<ProtoName>,
        queue_group: QueueGroup,
        skip: Flag,
        timeout: Period,
        validate: FunctionPath,
    }
}

settings! {
    /// `#[stream(..)]`
    StreamArgs {
        window: Window,
        window_bytes: WindowBytes,
    }
}

settings! {
    /// `#[kv_delete(..)]`
    KvDeleteArgs {
        bucket: Text<Bucket>,
        key: Key,
        persist: Persist,
        purge: Flag,
    }
}

settings! {
    /// `#[service_error(..)]`
    ServiceErrorArgs {
        krate ("crate"): KratePath,
    }
}

/// Declares what `#[kv_store(..)]` and `#[object_store(..)]` accept: each setting with the type of its value and the kinds of stores
/// that take it.
macro_rules! store_settings {
    (
        $(#[$of_bucket_doc:meta])*
        bucket { $($of_bucket:ident: $of_bucket_ty:ty, [$($of_bucket_kind:ident),*];)* }
        $(#[$of_usage_doc:meta])*
        usage { $($of_usage:ident: $of_usage_ty:ty, [$($of_usage_kind:ident),*];)* }
    ) => {
        settings! {
            $(#[$of_bucket_doc])*
            BucketSettings { $($of_bucket: $of_bucket_ty,)* }
        }

        settings! {
            $(#[$of_usage_doc])*
            UsageArgs { $($of_usage: $of_usage_ty,)* }
        }

        impl BucketSettings {
            /// The settings that two declarations of a bucket disagree about.
            pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(
                    if self.$of_bucket.differs(&other.$of_bucket) {
                        names.push(stringify!($of_bucket));
                    }
                )*
                names
            }

            /// Whether a declaration says nothing about its bucket.
            pub(crate) fn is_empty(&self) -> bool {
                !($(self.$of_bucket.is_written())||*)
            }

            /// The settings as calls of the runtime's builder: the name of each, and its argument.
            pub(crate) fn calls(&self) -> Vec<(&'static str, &dyn Argument)> {
                let mut calls: Vec<(&'static str, &dyn Argument)> = Vec::new();
                $(
                    if let Some(value) = self.$of_bucket.value() {
                        calls.push((stringify!($of_bucket), value));
                    }
                )*
                calls
            }
        }

        /// What the attribute of a store accepts.
        fn store_names(kind: StoreKind) -> Vec<&'static str> {
            let kinds: &[&[StoreKind]] = &[
                $(&[$(StoreKind::$of_bucket_kind),*],)*
                $(&[$(StoreKind::$of_usage_kind),*],)*
            ];
            let names = BucketSettings::NAMES.iter().chain(UsageArgs::NAMES);
            let taken = names.zip(kinds).filter(|(_, kinds)| kinds.contains(&kind));
            taken.map(|(name, _)| *name).collect()
        }
    };
}

store_settings! {
    /// The settings of a bucket. Methods that share a bucket agree on them.
    ///
    /// The list is the only one: from a line come the setting of the attribute, the comparison between methods, and the call of the
    /// runtime's builder, which has the name of the setting and takes what [`Argument`] makes of the value.
    bucket {
        compression: Flag, [Kv, Object];
        description: Text<Description>, [Kv, Object];
        marker_ttl: Period, [Kv];
        max_bytes: Bytes<1, { i64::MAX as u64 }>, [Kv, Object];
        max_consumers: Number<1, { i32::MAX as u64 }>, [Kv, Object];
        max_history: Number<1, 64>, [Kv];
        max_value_size: Bytes<1, { i32::MAX as u64 }>, [Kv];
        metadata: Metadata, [Kv];
        purge_ttl: Period, [Kv];
        replicas: Number<1, 5>, [Kv, Object];
        storage: Storage, [Kv, Object];
        ttl: Period, [Kv, Object];
    }

    /// How one method uses a bucket, and which.
    usage {
        bucket: Text<Bucket>, [Kv, Object];
        client_only: Flag, [Kv, Object];
        key: Key, [Kv, Object];
        key_ttl: Period, [Kv];
        persist: Persist, [Kv, Object];
        write: Write, [Kv];
    }
}

/// `#[kv_store(..)]` and `#[object_store(..)]`; the kind of store decides which of them can be written.
#[derive(Debug, Default)]
pub(crate) struct StoreArgs {
    pub(crate) bucket: BucketSettings,
    pub(crate) usage: UsageArgs,
}

impl Settings for StoreArgs {
    fn read(&mut self, name: &str, item: &NestedMeta, errors: &mut Vec<syn::Error>) {
        self.bucket.read(name, item, errors);
        self.usage.read(name, item, errors);
    }
}

/// What an attribute accepts, in alphabetical order.
pub(super) fn names(attr: AttrName) -> Vec<&'static str> {
    let mut names = match attr {
        AttrName::Service => ServiceArgs::NAMES.to_vec(),
        AttrName::Endpoint => EndpointArgs::NAMES.to_vec(),
        AttrName::Stream => StreamArgs::NAMES.to_vec(),
        AttrName::Store(kind) => store_names(kind),
        AttrName::KvDelete => KvDeleteArgs::NAMES.to_vec(),
        AttrName::ServiceError => ServiceErrorArgs::NAMES.to_vec(),
    };
    names.sort_unstable();
    names
}
