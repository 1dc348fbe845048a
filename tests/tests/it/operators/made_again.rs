//! A bucket is deleted and made again, with lower revisions.

use natsmicro::store::StoreErrorKind;
use natsmicro_tests::persistence::{Nats, TestResult};

use super::{cached, store, value};

/// A revision counts in the bucket that is there, and not in the one before.
#[tokio::test]
async fn a_cache_waits_for_the_new_bucket() -> TestResult {
    let nats = Nats::start().await;
    let mut bucket = store(&nats).await;
    for n in 0..20 {
        bucket.put("old", &value(n)).await?;
    }
    let cache = bucket.cached().await?;
    for n in 0..10 {
        bucket.delete_bucket().await?;
        bucket = store(&nats).await;
        let revision = bucket.put("a", &value(n)).await?;
        assert_eq!(revision, 1);
        cache.wait_for(revision).await?;
        assert_eq!(cached(&cache, "a"), Some(n));
        assert_eq!(cached(&cache, "old"), None);
        bucket.put("b", &value(n)).await?;
        cache.wait_for(2).await?;
        let status = cache.status();
        assert_eq!((status.entries, status.revision), (2, 2));
    }
    bucket.delete_bucket().await?;
    let error = cache.wait_for(1).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    Ok(())
}
