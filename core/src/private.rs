//! What generated code uses. Not public API: it changes with the macros, which are pinned to the same version.

pub use std::string::{String, ToString};

pub use crate::client::service_client::ServiceClient;
#[cfg(feature = "json")]
pub use crate::codec::JsonMessage;
#[cfg(feature = "protobuf")]
pub use crate::codec::ProtobufMessage;
pub use crate::codec::{MessageCodec, message};
pub use crate::descriptor::bucket::{BucketDescriptor, Storage};
pub use crate::descriptor::declared::{MethodStore, MethodStores};
pub use crate::descriptor::deletion::Deletion;
pub use crate::descriptor::method::Method;
pub use crate::descriptor::service::{Describe, ServiceDescriptor};
pub use crate::descriptor::template::{KeyPart, KeyTemplate, PartialKey, StoreKey};
pub use crate::descriptor::usage::{Persist, Usage, Write};
pub use crate::descriptor::validation::{Validated, ValidationError, validated};
pub use crate::server::router::{Dispatch, Router};
pub use crate::service_error::{
    AnyStatus, ErrorBody, ErrorCodec, ErrorField, ErrorFields, ErrorText, Outcome,
};

pub mod permissions {
    //! What each feature must be permitted, for the tests.

    pub use crate::contract::permissions::{
        CALLER, FEATURES, Feature, KV_COMPARE, KV_CREATE_BUCKET, KV_DELETE_BUCKET, KV_READ,
        KV_READ_LEADER, KV_READ_REVISION, KV_TTL, KV_UPDATE_BUCKET, KV_WATCH, KV_WATCH_PATTERNS,
        KV_WRITE, OBJECT_CREATE_BUCKET, OBJECT_READ, OBJECT_WATCH, OBJECT_WRITE, Right, SERVICE,
        STREAMING_CALLER, STREAMING_SERVICE, Verb,
    };
    pub use crate::contract::user_permissions::{Names, Permissions};
}
