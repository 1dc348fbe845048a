// A field of a type of one's own that is no `KeyToken`.

use natsmicro::Status;
use natsmicro_ui_tests::User;

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct UserId(u64);

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SaveUser {
    pub id: UserId,
}

#[natsmicro::service(codec = "json")]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, _request: SaveUser) -> Result<User, Status> {
        Ok(User::default())
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    let stored: Option<User> = client.get_save_from_kv("user.ada").await.unwrap();
    let handle: natsmicro::KvStore<User> = client.save_kv();
    drop((stored, handle));
    drop((server, client, user));
    Ok(())
}

fn main() {}
