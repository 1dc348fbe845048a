//! The messages that the cases of `pass/` and `fail/` speak of.

/// A request.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
pub struct SaveUser {
    /// Which user.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What the user is called.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// A response.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// Which user.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What the user is called.
    #[prost(string, tag = "2")]
    pub name: String,
    /// How often the user was saved.
    #[prost(uint64, tag = "3")]
    pub version: u64,
}
