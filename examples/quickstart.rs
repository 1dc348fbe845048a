//! The whole of natsmicro in one file: declare a service, serve it, call it, and read what it stored without a call.
//!
//! `cargo run --example quickstart` needs nothing else. With `-- --wait` the service stays until Ctrl-C, and with `NATS_URL` it
//! runs on a server of yours.

use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status, WatchEvent};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct SaveProfileRequest {
    pub id: String,
    pub name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub id: String,
    pub name: String,
    pub initial: Option<char>,
}

/// Stores user profiles.
#[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", codec = "json")]
pub trait UserService {
    /// Saves a profile. Each response is also stored, under the `id` of its request.
    #[kv_store(
        bucket = "user_profiles",
        key = "user.<id>",
        ttl = "1h",
        max_history = 5
    )]
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
}

struct Users;

impl UserService for Users {
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
        let SaveProfileRequest { id, name } = request;
        if name.is_empty() {
            return Err(Status::invalid_argument("a profile needs a name"));
        }
        let initial = name.chars().next();
        Ok(Profile { id, name, initial })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A nats-server of our own; an application connects to the one it has, with `async_nats::connect(url)`.
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
    let mut changes = users.save_profile_kv().watch("user.>").await?;

    let (id, name) = ("ada".to_owned(), "Ada".to_owned());
    let profile = users.save_profile(SaveProfileRequest { id, name }).await?;
    println!("2. called `save_profile` and got {profile:?}");

    // The reply does not wait for the write, so the watch says when the response is stored.
    while let Some(event) = changes.next().await {
        match event? {
            WatchEvent::Entry(entry) if entry.value.as_ref() == Some(&profile) => {
                println!(
                    "3. saw `{}` change to revision {}",
                    entry.key, entry.revision
                );
                break;
            }
            _ => {}
        }
    }

    let stored = users.get_save_profile_from_kv("user.ada").await?;
    println!("4. read it from the bucket, without a call: {stored:?}");

    let (id, name) = ("../*".to_owned(), "Mallory".to_owned());
    let refused = users.save_profile(SaveProfileRequest { id, name }).await;
    println!("5. an id that cannot be a key never reaches the handler: {refused:?}");

    println!(
        "\nThe `nats` command line sees the same service (run this with `-- --wait`, so that it stays):"
    );
    println!("  nats --server {url} micro ls");
    println!("  nats --server {url} micro info UserService");
    println!(r#"  nats --server {url} request api.v1.save_profile '{{"id":"bob","name":"Bob"}}'"#);
    println!("  nats --server {url} kv get user_profiles user.ada");
    if std::env::args().any(|argument| argument == "--wait") {
        println!("Waiting for Ctrl-C.");
        tokio::signal::ctrl_c().await?;
    }

    server.stop().await?;
    println!("\n6. stopped: every request was answered, every response is stored");
    Ok(())
}
