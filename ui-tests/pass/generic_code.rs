//! Code over any implementation takes the real service and the client, and futures of both can be spawned.
#![deny(warnings)]

use std::sync::Arc;

use natsmicro::{Context, Status};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users: std::fmt::Debug {
    async fn save(&self, cx: &Context, request: SaveUser) -> Result<User, Status>;
}

#[derive(Debug)]
pub struct InMemory;

impl Users for InMemory {
    async fn save(&self, _cx: &Context, _request: SaveUser) -> Result<User, Status> {
        Ok(User::default())
    }
}

pub async fn save(users: &impl Users, cx: &Context) -> Result<User, Status> {
    users.save(cx, SaveUser::default()).await
}

fn spawn(_future: impl Future<Output = Result<User, Status>> + Send + 'static) {}

pub fn use_it<S: Users>(users: Arc<S>, cx: Arc<Context>, client: UsersClient) {
    let context = Arc::clone(&cx);
    spawn(async move { users.save(&context, SaveUser::default()).await });
    spawn(async move { save(&client, &cx).await });
    drop(UsersServer::from_arc(Arc::new(InMemory)));
}
