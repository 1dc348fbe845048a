//! The whole of natsmicro in one file: declare a service, serve it, call it, and read what it stored without a call.
//!
//! `cargo run --example quickstart` needs nothing else. With `-- --wait` the service stays until Ctrl-C, and with `NATS_URL` it
//! runs on a server of yours.

use futures::StreamExt;
use natsmicro::store::WatchEvent;
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct SaveProfileRequest {
    pub id: String,
    pub name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub greeting: String,
}

/// Stores user profiles.
#[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", codec = "json")]
pub trait UserService {
    /// Saves a profile. Each response is also stored, under the `id` of its request.
    #[kv_store(bucket = "user_profiles", key = "user.<id>", max_history = 5)]
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
}

struct Users;

impl UserService for Users {
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
        let name = request.name;
        let greeting = format!("Hello, {name}!");
        Ok(Profile { name, greeting })
    }
}

fn request(id: &str, name: &str) -> SaveProfileRequest {
    let (id, name) = (id.to_owned(), name.to_owned());
    SaveProfileRequest { id, name }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A nats-server for this run; an application connects to the one it has: `async_nats::connect(url)`.
    let nats_server = NatsServer::from_env_or_start().await?;
    let (url, nats) = (nats_server.url(), nats_server.connect().await?);
    let jetstream = async_nats::jetstream::new(nats.clone());

    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    println!("1. `UserService` runs on {url}, and its bucket `user_profiles` is there");

    let users = UserServiceClient::new(Client::new(nats).with_jetstream(jetstream));
    // A watch begins with what an earlier run has left, and says when that is all.
    let mut changes = users.save_profile_kv().watch("user.>").await?;
    while let Some(WatchEvent::Entry(_)) = changes.next().await.transpose()? {}

    let profile = users.save_profile(request("ada", "Ada")).await?;
    println!("2. called `save_profile`: {profile:?}");

    // The reply does not wait for the write, so the watch says when the response is stored.
    if let Some(WatchEvent::Entry(entry)) = changes.next().await.transpose()? {
        println!("3. watched `{}` get revision {}", entry.key, entry.revision);
    }

    let stored = users.get_save_profile_from_kv("user.ada").await?;
    println!("4. read it from the bucket, without a call: {stored:?}");

    let refused = users.save_profile(request("../*", "Mallory")).await;
    println!("5. an id that cannot be in a key: {}", refused.unwrap_err());

    println!("\nThe `nats` command line sees the same service; `-- --wait` keeps it running:");
    println!("  nats --server {url} micro ls");
    println!("  nats --server {url} micro info UserService");
    println!("  nats --server {url} kv get user_profiles user.ada");
    println!(r#"  nats --server {url} request api.v1.save_profile '{{"id":"bob","name":"Bob"}}'"#);
    if std::env::args().any(|argument| argument == "--wait") {
        tokio::signal::ctrl_c().await?;
    }

    server.stop().await?;
    println!("\n6. stopped: every request was answered, every response is stored");
    Ok(())
}
