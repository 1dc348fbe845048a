//! Methods with default bodies, in a crate that denies what there is to deny.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    unused,
    unused_qualifications,
    unused_results,
    unused_lifetimes,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    rust_2018_idioms,
    rust_2024_compatibility,
    future_incompatible,
    nonstandard_style,
    clippy::all,
    clippy::pedantic,
    clippy::used_underscore_binding
)]
#![forbid(unsafe_code)]
#![allow(clippy::missing_errors_doc)]

use std::sync::{Mutex, PoisonError};

use natsmicro::{Context, ServiceError, Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

/// What a supertrait adds can be used in the bodies.
pub trait Names {
    /// A name for a user without one.
    fn fallback(&self) -> String;
}

/// Stores users.
#[natsmicro::service]
pub trait Users {
    /// Has no body.
    async fn save(&self, request: SaveUser) -> Result<User, UserError>;

    /// Uses `?` and `return`, before the type of the result is known from anything else.
    async fn parse(&self, cx: &Context, request: SaveUser) -> Result<User, UserError> {
        let version = request
            .id
            .parse()
            .map_err(|_| Status::invalid_argument("no number"))?;
        if cx.remaining().is_none() {
            return Err(UserError::Gone { id: request.id });
        }
        Ok(User {
            version,
            ..self.save(request).await?
        })
    }

    /// Takes its request apart.
    #[kv_store(bucket = "users", key = "user.<id>")]
    async fn store(&self, SaveUser { id, name }: SaveUser) -> Result<User, Status> {
        Ok(User {
            id,
            name,
            version: 0,
        })
    }

    /// Changes its request.
    async fn rename(&self, mut request: SaveUser) -> natsmicro::Result<User> {
        request.name.push('!');
        self.store(request).await
    }

    /// Streams both ways.
    async fn sync(&self, users: Streaming<SaveUser>) -> Result<Streaming<User>, Status> {
        drop(users);
        Ok(Streaming::new(futures::stream::empty()))
    }

    /// Is there to be implemented.
    async fn later(&self, _cx: &Context, _request: SaveUser) -> Result<User, Status> {
        Err(Status::unimplemented("this service keeps no users"))
    }

    /// Has lints of its own, and keeps a lock only where it does not wait.
    async fn counted(&self, request: SaveUser) -> Result<User, UserError> {
        #![allow(
            clippy::used_underscore_binding,
            reason = "the name is to look private"
        )]
        let _count = Mutex::new(7);
        let user = self.save(request).await?;
        let version = *_count.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(User { version, ..user })
    }

    /// Is not on NATS, and runs in the client.
    #[endpoint(skip)]
    async fn local(&self, (first, second): (u32, u32), names: &[&str]) -> Result<usize, Status> {
        let _: &Self = self;
        Ok(names.len() + usize::try_from(first + second).unwrap_or(0))
    }
}

/// A service whose bodies use a supertrait, and that is not on NATS at all.
#[natsmicro::service(skip)]
pub trait Named: Names {
    /// The name of a user.
    async fn name(&self, request: SaveUser) -> Result<String, Status> {
        Ok(if request.name.is_empty() {
            self.fallback()
        } else {
            request.name
        })
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error, ServiceError)]
pub enum UserError {
    /// The user is gone.
    #[error("user {id} is gone")]
    #[code("GONE")]
    Gone {
        /// Which user.
        id: String,
    },
    /// Everything else.
    #[error(transparent)]
    Other(#[from] Status),
}

/// Leaves out what it can.
#[derive(Clone, Copy, Debug)]
pub struct Fake;

impl Users for Fake {
    async fn save(&self, request: SaveUser) -> Result<User, UserError> {
        Ok(User {
            id: request.id,
            name: request.name,
            version: 1,
        })
    }
}

/// The futures of default bodies may be moved to tasks.
pub fn is_send(users: &impl Users) -> impl Future<Output = Result<User, UserError>> + Send {
    users.counted(SaveUser::default())
}

/// The client runs the body of a skipped method.
pub async fn local(client: &UsersClient) -> Result<usize, Status> {
    client.local((1, 2), &["ada"]).await
}
