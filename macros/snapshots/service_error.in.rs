/// What can go wrong with an order.
#[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
pub enum OrderError {
    #[error("no such order")]
    #[code("NOT_FOUND")]
    NotFound,
    #[error("order {id} expired {hours} hours ago")]
    #[code("ORDER_EXPIRED")]
    Expired { id: String, hours: u32 },
    #[cfg(feature = "limits")]
    #[error("{0} orders are open, at most {1} may be")]
    #[code("TOO_MANY_ORDERS")]
    TooMany(u32, u32),
    #[error("{0}")]
    Other(#[from] Status),
}
