//! The smallest service.
#![deny(warnings)]

use natsmicro::Status;

#[natsmicro::service]
pub trait Ping {
    async fn ping(&self) -> Result<(), Status>;
}

struct Pong;

impl Ping for Pong {
    async fn ping(&self) -> Result<(), Status> {
        Ok(())
    }
}

pub async fn serve(nats: async_nats::Client) -> Result<(), Box<dyn std::error::Error>> {
    let server = natsmicro::Server::new(nats.clone())
        .add_service(PingServer::new(Pong))
        .start()
        .await?;
    let client = PingClient::new(nats);
    let () = client.ping().await?;
    server.stop().await?;
    Ok(())
}
