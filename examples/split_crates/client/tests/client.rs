//! The client binary against a service made for the test: all that it takes is the API crate.

use std::process::{Command, Stdio};

use natsmicro::testing::NatsServer;
use natsmicro::{Server, Status};
use natsmicro_example_split_api::{Profile, SaveProfileRequest, UserService, UserServiceServer};

struct Shouts;

impl UserService for Shouts {
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status> {
        Ok(Profile {
            id: request.id,
            name: request.name.trim().to_uppercase(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_reads() {
    let nats_server = NatsServer::start().await.unwrap();
    let nats = nats_server.connect().await.unwrap();
    let server = Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(UserServiceServer::new(Shouts))
        .start()
        .await
        .unwrap();

    let output = Command::new(env!("CARGO_BIN_EXE_natsmicro-example-split-client"))
        .env("NATS_URL", nats_server.url())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let profile = r#"Profile { id: "ada", name: "ADA" }"#;
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("saved {profile}\nstored Some({profile})\n")
    );

    server.stop().await.unwrap();
}
