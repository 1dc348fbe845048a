//! Errors: a service's own come back as the variant they were, and every other failure is a `Status`.

use std::time::Duration;

use natsmicro::testing::NatsServer;
use natsmicro::{Code, Server, Status};

#[derive(Clone, PartialEq, prost::Message)]
pub struct OrderRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Order {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
pub enum OrderError {
    #[error("there is no order {id}")]
    #[code("NOT_FOUND")]
    NotFound { id: String },

    #[error("order {id} expired {days} days ago")]
    #[code("ORDER_EXPIRED")]
    Expired { id: String, days: u32 },

    /// Every other failure, those of the client included.
    #[error(transparent)]
    Other(#[from] Status),
}

/// Keeps orders.
#[natsmicro::service]
pub trait OrderService {
    async fn find(&self, request: OrderRequest) -> Result<Order, OrderError>;
}

struct Orders;

impl OrderService for Orders {
    async fn find(&self, OrderRequest { id }: OrderRequest) -> Result<Order, OrderError> {
        match id.as_str() {
            "1" => Ok(Order { id }),
            "2" => Err(OrderError::Expired { id, days: 3 }),
            // `?` turns a `Status` into the variant that takes every other one.
            "3" => Err(Status::failed_precondition("the shop is closed"))?,
            "4" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(Order { id })
            }
            _ => Err(OrderError::NotFound { id }),
        }
    }
}

/// The same service as an older client knows it: without an error for orders that expired.
mod older {
    use super::{Order, OrderRequest, Status};

    #[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
    pub enum OrderError {
        #[error("there is no order {id}")]
        #[code("NOT_FOUND")]
        NotFound { id: String },

        #[error(transparent)]
        Other(#[from] Status),
    }

    #[natsmicro::service]
    pub trait OrderService {
        async fn find(&self, request: OrderRequest) -> Result<Order, OrderError>;
    }
}

fn order(id: &str) -> OrderRequest {
    OrderRequest { id: id.to_owned() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;
    let server = Server::new(nats.clone())
        .add_service(OrderServiceServer::new(Orders))
        .start()
        .await?;

    let orders = OrderServiceClient::new(nats.clone());
    println!("order 1: {:?}", orders.find(order("1")).await?);

    let expired = orders.find(order("2")).await.unwrap_err();
    println!("order 2, with its fields: {expired:?}");
    assert!(matches!(&expired, OrderError::Expired { id, days: 3 } if id == "2"));

    let closed = orders.find(order("3")).await.unwrap_err();
    println!("order 3, a plain status: {closed:?}");

    let late = orders
        .find(order("4"))
        .with_timeout(Duration::from_millis(100))
        .await
        .unwrap_err();
    println!("order 4, which takes too long: {late:?}");
    assert!(matches!(&late, OrderError::Other(status) if *status.code() == Code::DeadlineExceeded));

    let missing = orders.find(order("5")).await.unwrap_err();
    println!("order 5: {missing:?}");
    assert!(matches!(missing, OrderError::NotFound { id } if id == "5"));

    let older = older::OrderServiceClient::new(nats.clone());
    let expired = older.find(order("2")).await.unwrap_err();
    println!("order 2, for a client that does not know the error: {expired:?}");
    let older::OrderError::Other(status) = expired else {
        return Err("an unknown code is not one of the variants".into());
    };
    assert_eq!(status.code().as_str(), "ORDER_EXPIRED");

    let nobody = OrderServiceClient::new(nats).with_subject_prefix("orders.nowhere");
    let unavailable = nobody.find(order("1")).await.unwrap_err();
    println!("order 1, where nobody answers: {unavailable:?}");

    server.stop().await?;
    Ok(())
}
