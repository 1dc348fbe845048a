//! Services whose buckets are elsewhere.

use natsmicro::Code;
use natsmicro_tests::persistence::{Save, TestResult, eventually};

use crate::ways::{Echo, GoodsServer, PicturesServer, Way};

pub async fn stores_entries(way: &Way) -> TestResult {
    for batches in [false, true] {
        let server = way.server().with_batches(batches);
        let server = server.add_service(GoodsServer::new(Echo)).start().await?;
        let client = way.goods();
        let key = |name: &str| format!("{name}-{batches}");

        client.put(Save::number(key("put"), 1)).await?;
        let store = client.put_kv();
        assert_eq!(store.get(key("put")).await?.map(|it| it.n), Some(1));
        for n in 0..300 {
            client
                .put_later(Save::number(key(&format!("later-{n}")), n))
                .await?;
        }
        client.create(Save::number(key("created"), 2)).await?;
        let again = client.create(Save::number(key("created"), 3)).await;
        assert_eq!(again.unwrap_err().code(), &Code::AlreadyExists);
        client.update(Save::number(key("created"), 4)).await?;
        assert_eq!(store.get(key("created")).await?.map(|it| it.n), Some(4));
        client.remove(Save::new(key("put"), "")).await?;
        assert_eq!(store.get(key("put")).await?, None);
        client.lend(Save::number(key("lent"), 5)).await?;
        eventually("the entry expires", || async {
            store
                .get(key("lent"))
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
        server.stop().await?;

        let home = way.home.get_key_value("goods").await?;
        for n in 0..300 {
            assert!(home.get(key(&format!("later-{n}"))).await?.is_some(), "{n}");
        }
        // Through the store.
        let cached = client.put_cached(Save::number(key("created"), 9)).await?;
        assert_eq!(cached.n, 4);
    }
    Ok(())
}

pub async fn stores_objects(way: &Way) -> TestResult {
    let server = way.server().add_service(PicturesServer::new(Echo));
    let server = server.start().await?;
    let client = way.pictures();
    client.paint(Save::number("a", 1)).await?;
    client.paint(Save::number("a", 2)).await?;
    let store = client.paint_object_store();
    assert_eq!(store.get("a").await?.map(|it| it.n), Some(2));

    // A response that fits into no message is fetched from where it is stored.
    let text = "x".repeat(900_000);
    assert!(2 * text.len() > way.nats.server_info().max_payload);
    let large = client.paint(Save::new("large", text.clone())).await?;
    assert_eq!(large.text.len(), 2 * text.len());
    server.stop().await?;
    let home = way.home.get_object_store("pictures").await?;
    for name in ["a", "large"] {
        assert!(home.info(name).await.is_ok(), "{name}");
    }
    Ok(())
}
