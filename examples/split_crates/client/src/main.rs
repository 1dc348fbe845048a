//! Calls the `UserService`, and reads from its bucket.

use std::env;
use std::error::Error;

use natsmicro::Client;
use natsmicro_example_split_api::{SaveProfileRequest, UserServiceClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let nats = async_nats::connect(&url).await?;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let users = UserServiceClient::new(Client::new(nats).with_jetstream(jetstream));

    let request = SaveProfileRequest {
        id: "ada".to_owned(),
        name: " Ada ".to_owned(),
    };
    println!("saved {:?}", users.save_profile(request).await?);

    let key = UserServiceClient::save_profile_key("ada")?;
    let stored = users.get_save_profile_from_kv(key).await?;
    println!("stored {stored:?}");
    Ok(())
}
