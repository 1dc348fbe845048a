//! The server binary, from its start to Ctrl-C.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use natsmicro::testing::NatsServer;
use natsmicro::{Client, Code};
use natsmicro_example_split_api::{SaveProfileRequest, UserServiceClient};

fn request(name: &str) -> SaveProfileRequest {
    SaveProfileRequest {
        id: "ada".to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn serves_until_it_is_interrupted() {
    let nats_server = NatsServer::start().await.unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_natsmicro-example-split-server"))
        .env("NATS_URL", nats_server.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert_eq!(line, format!("serving on {}", nats_server.url()));

    let nats = nats_server.connect().await.unwrap();
    let jetstream = async_nats::jetstream::new(nats.clone());
    let users = UserServiceClient::new(Client::new(nats).with_jetstream(jetstream));
    let profile = users.save_profile(request(" Ada ")).await.unwrap();
    assert_eq!(profile.name, "Ada");
    let stored = users.get_save_profile_from_kv("user.ada").await.unwrap();
    assert_eq!(stored, Some(profile));
    let refused = users.save_profile(request(" ")).await.unwrap_err();
    assert_eq!(*refused.code(), Code::InvalidArgument);

    let pid = server.id().to_string();
    let interrupted = Command::new("sh")
        .args(["-c", r#"kill -INT "$1""#, "sh", &pid])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let line = lines.next().unwrap().unwrap();
    assert!(line.starts_with("stopped"), "{line}");
    assert!(server.wait().unwrap().success());
    let gone = users.save_profile(request("Ada")).await.unwrap_err();
    assert_eq!(*gone.code(), Code::Unavailable);
}
