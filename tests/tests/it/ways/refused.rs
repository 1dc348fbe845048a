//! Ways that do not lead to the subjects of buckets.

use natsmicro::Code;
use natsmicro_tests::persistence::{Save, TestResult};

use crate::ways::{Echo, GoodsServer, PicturesServer, setups};

/// An account imports the API, and forgot what is published to the buckets. They can be read.
#[tokio::test]
async fn a_write_says_what_is_not_imported() -> TestResult {
    let way = setups::import_of(&[
        "$JS.API.INFO",
        "$JS.API.STREAM.>",
        "$JS.API.DIRECT.>",
        "$JS.API.CONSUMER.>",
    ])
    .await;
    let value = Save::number("", 1).saved();
    let entries = way.goods().put_kv();
    entries.create_bucket().await?;
    let error = entries.put("a", &value).await.unwrap_err().to_string();
    assert!(
        error.contains("nobody stores what is published to `JS.home.$KV.goods.a`"),
        "{error}"
    );
    assert_eq!(entries.get("a").await?, None);
    let objects = way.pictures().paint_object_store();
    objects.create_bucket().await?;
    let error = objects.put("a", &value).await.unwrap_err().to_string();
    assert!(
        error.contains("nobody stores what is published to `JS.home.$O.pictures.C."),
        "{error}"
    );
    assert_eq!(objects.get("a").await?, None);

    let server = way.server().add_service(GoodsServer::new(Echo));
    let server = server.add_service(PicturesServer::new(Echo));
    let server = server.start().await?;
    // Nobody says how long the calls may take: their callers wait for the default time.
    let (goods, pictures) = (way.goods(), way.pictures());
    let calls = tokio::join!(
        goods.put(Save::number("b", 1)).into_future(),
        pictures.paint(Save::number("b", 1)).into_future(),
    );
    for status in [calls.0.unwrap_err(), calls.1.unwrap_err()] {
        assert_eq!(status.code(), &Code::Unavailable, "{status}");
    }
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 2, "{error}");
    Ok(())
}
