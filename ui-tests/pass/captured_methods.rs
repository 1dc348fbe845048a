//! Traits of the user's that have a method for everything, by all the names that generated code calls.
#![deny(warnings)]
#![allow(dead_code, unused_imports)]

macro_rules! captures {
    ($receiver:ty: $($name:ident)*) => {
        pub trait Capture: Sized {
            $(fn $name(self: $receiver) {})*
        }

        impl<T> Capture for T {}
    };
}

macro_rules! services {
    () => {
        use natsmicro::{Context, Status, Streaming};
        use natsmicro_ui_tests::{SaveUser, User};

        #[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
        pub enum UserError {
            #[error("user {id} is gone")]
            #[code("GONE")]
            Gone { id: String, since: u64 },
            #[error("the service is busy")]
            #[code("BUSY")]
            Busy,
            #[error(transparent)]
            Other(#[from] Status),
        }

        #[natsmicro::service(
            name = "Users",
            version = "1.2.0",
            description = "Stores users",
            timeout = "30s",
            metadata(team = "platform"),
            queue_group = "workers"
        )]
        pub trait Users {
            #[endpoint(
                timeout = "1s",
                metadata(a = "b"),
                queue_group = false,
                max_in_flight = 1
            )]
            #[kv_store(
                bucket = "users",
                key = "<id>.<response.version>",
                ttl = "1h",
                max_history = 2
            )]
            #[object_store(bucket = "users", key = "<id>", persist = "before_response")]
            async fn save(&self, cx: &Context, request: SaveUser) -> Result<User, UserError>;

            #[kv_store(bucket = "users", key = "<id>", client_only)]
            async fn read(&self, request: SaveUser) -> Result<User, UserError>;

            async fn ping(&self) -> natsmicro::Result<()>;

            async fn list(&self, request: SaveUser) -> Result<Streaming<User>, UserError>;

            #[stream(window = 16, window_bytes = 65_536)]
            async fn save_all(&self, users: Streaming<SaveUser>) -> Result<User, UserError>;

            async fn sync(&self, users: Streaming<User>) -> Result<Streaming<User>, UserError>;

            #[endpoint(skip)]
            async fn local(&self) -> Result<User, UserError>;
        }
    };
}

pub mod by_value {
    captures!(Self:
        and_then as_ref as_str bidirectional bind borrow call client_only client_streaming clone code complete
        compression description expect field fmt from from_result from_status get get_save_from_kv index into into_future
        into_result into_status key_ttl kv_key kv_store list local map max_bytes max_history max_in_flight message metadata
        object_key object_store ok parse persist ping poll put put_save_to_kv queue_group read register replicas save save_all
        save_kv save_object_store server_streaming storage stores sync take text timeout ttl unary unimplemented unwrap version window
        window_bytes with_context with_subject_prefix write
    );
    services!();
}

pub mod by_reference {
    captures!(&Self:
        and_then as_ref as_str bidirectional bind borrow call client_only client_streaming clone code complete compression
        description expect field fmt from from_result from_status get get_save_from_kv index into into_future into_result
        into_status key_ttl kv_key kv_store list local map max_bytes max_history max_in_flight message metadata object_key
        object_store ok parse persist ping poll put put_save_to_kv queue_group read register replicas save save_all save_kv
        save_object_store server_streaming storage stores sync take text timeout ttl unary unimplemented unwrap version window
        window_bytes with_context with_subject_prefix write
    );
    services!();
}
