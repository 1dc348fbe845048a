//! What service and clients share: the messages and the trait. Neither of them sees the other.

use natsmicro::Status;

/// Asks for a profile to be saved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SaveProfileRequest {
    /// The id under which it is found again.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The name to show.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// A user as others see them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    /// The id that the request gave.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The name, without white space around it.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Stores user profiles.
#[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", timeout = "5s")]
pub trait UserService {
    /// Saves a profile. Its response is stored before it is sent.
    #[kv_store(
        bucket = "user_profiles",
        key = "user.<id>",
        max_history = 5,
        persist = "before_response"
    )]
    async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
}
