//! The call of the service that a cached call makes.

use std::time::Duration;

use natsmicro::{Origin, Status};
use natsmicro_tests::common::{TestResult, code_of, soon};
use natsmicro_tests::persistence::{Nats, Save, Saved, eventually};

use super::quick;

#[natsmicro::service]
trait Prices {
    #[kv_store(bucket = "prices", key = "<key>", storage = "memory")]
    async fn price(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

struct Service;

impl Prices for Service {}

#[tokio::test]
async fn a_miss_is_retried_until_the_service_is_there() -> TestResult {
    let nats = Nats::start().await;
    let client = nats.client().with_retry(quick(u32::MAX));
    let prices = PricesClient::new(client.clone());
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(prices.price_cached(Save::new("apple", "2")).into_future()))
        .collect();
    eventually("the call is retried", || async {
        (client.retry_stats().retries > 0).then_some(())
    })
    .await;
    let server = nats.service().await;
    let server = server.add_service(PricesServer::new(Service));
    let _server = server.start().await?;
    for call in calls {
        let price = soon(call).await??;
        assert_eq!((price.text.as_str(), price.origin), ("2", Origin::Service));
    }
    assert_eq!(client.retry_stats().recovered, 1, "they share one call");
    Ok(())
}

/// The shared call has no timeout of its own.
#[tokio::test]
async fn a_pause_that_no_caller_waits_for_is_not_begun() -> TestResult {
    const HOUR: Duration = Duration::from_secs(3_600);
    let nats = Nats::start().await;
    let retry = quick(5).first_pause(HOUR).max_pause(HOUR).jitter(0);
    let client = nats.client().with_retry(retry);
    let prices = PricesClient::new(client.clone());
    let call = prices
        .price_cached(Save::new("apple", "2"))
        .with_timeout(Duration::from_secs(100));
    assert_eq!(code_of(soon(call).await), "UNAVAILABLE");
    assert_eq!(client.retry_stats().exhausted, 1);
    Ok(())
}
