//! What services say of themselves and have done so far: the answers of
//! [ADR-32](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md) as types.
//!
//! [`RunningServer::info`](crate::RunningServer::info) and [`stats`](crate::RunningServer::stats) give those of one's own
//! services; the answers of services elsewhere are read with serde.

pub use crate::contract::discovery::{EndpointInfo, EndpointStats, ServiceInfo, ServiceStats};
pub use crate::persist::stats::PersistenceStats;
