//! The derive on every shape of variant.
#![deny(warnings)]

use natsmicro::{ServiceError, Status};

#[derive(Debug, thiserror::Error, ServiceError)]
pub enum OrderError {
    #[error("busy")]
    #[code("BUSY")]
    Unit,
    #[error("empty")]
    #[code("EMPTY")]
    EmptyTuple(),
    #[error("empty")]
    #[code("EMPTY_STRUCT")]
    EmptyStruct {},
    #[error("no order {0}")]
    #[code("NOT_FOUND")]
    Tuple(String),
    #[error("{0} {1:?}")]
    #[code("TWO")]
    TwoFields(u64, Option<Vec<String>>),
    #[error("order {id} expired")]
    #[code("ORDER_EXPIRED")]
    Struct { id: String, r#type: Option<u32> },
    #[error("own code")]
    #[code("UNAVAILABLE")]
    Boxed(Box<Detail>),
    #[cfg(any())]
    #[error("gone")]
    #[code("BUSY")]
    Gone(NoSuchType),
    #[error(transparent)]
    Other(#[from] Status),
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Detail {
    pub line: u32,
}

#[natsmicro::service(codec = "json")]
pub trait Orders {
    async fn expire(&self) -> Result<(), OrderError>;
}

pub async fn use_it(client: &OrdersClient) -> String {
    match client.expire().await {
        Ok(()) => String::new(),
        Err(OrderError::Struct { id, .. }) => id,
        Err(OrderError::Boxed(detail)) => detail.line.to_string(),
        Err(other) => other.to_string(),
    }
}
