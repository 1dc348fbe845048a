//! Many who change one object.

use natsmicro::{Result, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};
use tokio::task::JoinSet;

#[natsmicro::service]
pub trait Contended {
    #[object_store(bucket = "contended", key = "<key>", client_only)]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_change_one_object_get_through() -> TestResult {
    let nats = Nats::start().await;
    let store = ContendedClient::new(nats.client()).object_object_store();
    store.create_bucket().await?;
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..25 {
                let value = Save::number("", task * 100 + n).saved();
                store.put("object", &value).await.unwrap();
                if n % 3 == 0 {
                    store.delete("object").await.unwrap();
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    let last = Save::new("", "last").saved();
    store.put("object", &last).await?;
    assert_eq!(store.get("object").await?, Some(last));
    eventually("only the chunks of the last object are left", || async {
        let chunks = nats.subjects("OBJ_contended", "$O.contended.C.>").await;
        (chunks.len() == 1).then_some(())
    })
    .await;
    Ok(())
}
