//! The cells of the table: each way with each use.

use crate::ways::{entries, objects, service, setups};

macro_rules! cells {
    ($($way:ident)+) => {$(
        mod $way {
            use natsmicro_tests::persistence::TestResult;

            use super::{entries, objects, service, setups};

            #[tokio::test]
            async fn entries_are_read_and_written() -> TestResult {
                entries::are_read_and_written(&setups::$way().await).await
            }

            #[tokio::test]
            async fn entries_are_watched_and_cached() -> TestResult {
                entries::are_watched_and_cached(&setups::$way().await).await
            }

            #[tokio::test]
            async fn entries_expire() -> TestResult {
                entries::expire(&setups::$way().await).await
            }

            #[tokio::test]
            async fn objects_are_read_and_written() -> TestResult {
                objects::are_read_and_written(&setups::$way().await).await
            }

            #[tokio::test]
            async fn objects_are_listed_and_watched() -> TestResult {
                objects::are_listed_and_watched(&setups::$way().await).await
            }

            #[tokio::test]
            async fn a_service_stores_entries() -> TestResult {
                service::stores_entries(&setups::$way().await).await
            }

            #[tokio::test]
            async fn a_service_stores_objects() -> TestResult {
                service::stores_objects(&setups::$way().await).await
            }
        }
    )+};
}

cells! { plain own_domain leaf_with_jetstream leaf_without_jetstream import }
