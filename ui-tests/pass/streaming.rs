//! Streams: what the client sends, what the service sends, and both.
#![deny(warnings)]

use std::sync::Arc;

use natsmicro::{Context, ServiceError, Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[derive(Debug, thiserror::Error, ServiceError)]
pub enum UserError {
    #[error("too many users")]
    #[code("TOO_MANY")]
    TooMany { limit: u64 },
    #[error(transparent)]
    Other(#[from] Status),
}

pub type ApiResult<T> = Result<T, UserError>;

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> Result<Streaming<User>, Status>;

    #[stream(window = 4096, window_bytes = "8MiB")]
    async fn save_all(&self, users: Streaming<SaveUser>) -> Result<User, UserError>;

    #[natsmicro::stream(window_bytes = 1024)]
    #[endpoint(name = "sync", timeout = "1h", max_in_flight = 8)]
    async fn synchronise(
        &self,
        cx: &Context,
        users: Streaming<SaveUser>,
    ) -> Result<Streaming<User>, UserError>;

    /// No request.
    async fn changes(&self, _: &Context) -> natsmicro::Result<natsmicro::Streaming<User>>;

    async fn others(&self, users: natsmicro::Streaming<User>) -> ApiResult<Streaming<User>>;

    async fn drain(&self, users: Streaming<User>) -> ApiResult<()>;

    async fn unary(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    async fn gone(&self, request: Streaming<NoSuchType>) -> Result<Streaming<NoSuchType>, Status>;

    #[endpoint(skip)]
    async fn local(&self, pages: Vec<Streaming<User>>) -> Result<Option<Streaming<User>>, Status>;
}

#[natsmicro::service(codec = "json")]
pub trait Words {
    async fn words(&self, text: String) -> Result<Streaming<String>, Status>;
    async fn count(&self, words: Streaming<String>) -> Result<u64, Status>;
    async fn lengths(&self, words: Streaming<Vec<String>>) -> Result<Streaming<usize>, Status>;
}

pub struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> Result<Streaming<User>, Status> {
        Err(Status::not_found(request.id))
    }

    async fn save_all(&self, users: Streaming<SaveUser>) -> Result<User, UserError> {
        drop(users);
        Err(UserError::TooMany { limit: 1 })
    }

    async fn synchronise(
        &self,
        cx: &Context,
        users: Streaming<SaveUser>,
    ) -> Result<Streaming<User>, UserError> {
        drop(users);
        Err(Status::internal(format!("{:?}", cx.remaining())).into())
    }

    async fn changes(&self, _cx: &Context) -> natsmicro::Result<Streaming<User>> {
        Err(Status::internal("none"))
    }

    async fn others(&self, users: Streaming<User>) -> ApiResult<Streaming<User>> {
        Ok(users)
    }

    async fn drain(&self, users: Streaming<User>) -> Result<(), UserError> {
        drop(users);
        Ok(())
    }

    async fn unary(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn local(
        &self,
        mut pages: Vec<Streaming<User>>,
    ) -> Result<Option<Streaming<User>>, Status> {
        Ok(pages.pop())
    }
}

pub fn server() -> UsersServer<InMemory> {
    UsersServer::new(InMemory)
}

/// Takes the service and the client.
pub async fn both(
    users: &impl Users,
    cx: &Context,
    saved: Streaming<SaveUser>,
) -> Result<User, UserError> {
    drop(users.synchronise(cx, saved).await?);
    let others = users.list(SaveUser::default()).await?;
    drop(users.others(others).await?);
    let changed = users.changes(cx).await?;
    users.drain(changed).await?;
    Ok(users.unary(SaveUser::default()).await?)
}

fn spawn<T>(_future: impl Future<Output = T> + Send + 'static) {}

pub fn use_it<S: Users>(service: Arc<S>, client: UsersClient, cx: Arc<Context>) {
    let (context, remote) = (Arc::clone(&cx), client.clone());
    spawn(async move { both(&*service, &context, saved()).await });
    spawn(async move { both(&remote, &cx, saved()).await });
    spawn(async move {
        let listed: Streaming<User> = client.list(SaveUser::default()).await?;
        let user: User = client.save_all(saved()).await?;
        let call: natsmicro::Call<Streaming<User>, UserError> = client.synchronise(saved());
        drop((
            listed,
            user,
            call.with_header("page", "1").response().await?,
        ));
        client.drain(client.changes().await?).await
    });
}

fn saved() -> Streaming<SaveUser> {
    unimplemented!()
}
