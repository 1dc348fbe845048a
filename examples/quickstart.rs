//! The whole of natsmicro in one file: declare a service, serve it, call it, and read what it stored without a call.

use natsmicro::testing::NatsServer;
use natsmicro::{Client, Context, Server, Status};

#[derive(Clone, PartialEq, prost::Message)]
pub struct SaveProfileRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint32, tag = "3")]
    pub greeting_length: u32,
}

/// Stores user profiles.
#[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", timeout = "30s")]
pub trait UserService {
    /// Saves a profile.
    #[kv_store(
        bucket = "user_profiles",
        key = "user.<id>",
        ttl = "1h",
        max_history = 5
    )]
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;

    /// Says hello.
    async fn greet(&self, cx: &Context, request: Profile) -> Result<Profile, Status>;
}

struct Users;

impl UserService for Users {
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
        if request.name.is_empty() {
            return Err(Status::invalid_argument("a profile needs a name"));
        }
        let greeting_length = u32::try_from(request.name.len()).unwrap_or(u32::MAX);
        Ok(Profile {
            id: request.id,
            name: request.name,
            greeting_length,
        })
    }

    async fn greet(&self, _cx: &Context, request: Profile) -> Result<Profile, Status> {
        Ok(request)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;
    let jetstream = async_nats::jetstream::new(nats.clone());

    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;

    let users = UserServiceClient::new(Client::new(nats).with_jetstream(jetstream));
    let profile = users
        .save_profile(SaveProfileRequest {
            id: "ada".into(),
            name: "Ada".into(),
        })
        .await?;
    println!("saved {profile:?}");
    let bad = users
        .save_profile(SaveProfileRequest {
            id: "a.b".into(),
            name: "Ada".into(),
        })
        .await;
    println!("refused: {}", bad.unwrap_err());
    let key = UserServiceClient::save_profile_key("ada")?;
    let mut cached = None;
    for _ in 0..100 {
        cached = users.get_save_profile_from_kv(&key).await?;
        if cached.is_some() {
            break;
        }
    }
    println!("read {key}: {cached:?}");
    println!("{:#?}", server.stats());
    server.stop().await?;
    Ok(())
}
