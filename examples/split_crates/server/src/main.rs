//! Serves the `UserService` until Ctrl-C.

use std::env;
use std::error::Error;

use natsmicro::{Server, Status};
use natsmicro_example_split_api::{Profile, SaveProfileRequest, UserService, UserServiceServer};

struct Users;

impl UserService for Users {
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
        let name = request.name.trim();
        if name.is_empty() {
            return Err(Status::invalid_argument("a profile needs a name"));
        }
        Ok(Profile {
            name: name.to_owned(),
            id: request.id,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let url = env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let nats = async_nats::connect(&url).await?;

    let server = Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    println!("serving on {url}");

    tokio::signal::ctrl_c().await?;
    server.stop().await?;
    println!("stopped: every request was answered, every response is stored");
    Ok(())
}
