//! The permissions that the guide lists, behind a prefix.

use natsmicro::__private::permissions::{
    Feature, KV_READ, KV_WRITE, Names, OBJECT_READ, OBJECT_WRITE, Permissions,
};
use natsmicro_tests::persistence::{Save, TestResult};

use crate::ways::{GoodsClient, PicturesClient, Way, setups};

/// The block of a user who reads and writes entries and objects.
fn permissions(api: &str) -> Permissions {
    let of = |permissions: Permissions, feature: &Feature, bucket| {
        let names = Names {
            bucket,
            api,
            ..Names::default()
        };
        permissions.with(feature.rights, &names)
    };
    let mut permissions = Permissions::default();
    for (bucket, features) in [
        ("goods", [&KV_READ, &KV_WRITE]),
        ("pictures", [&OBJECT_READ, &OBJECT_WRITE]),
    ] {
        for feature in features {
            permissions = of(permissions, feature, bucket);
        }
    }
    permissions
}

async fn check(way: Way) -> TestResult {
    let home = natsmicro::Client::new(way.home.client()).with_jetstream(way.home.clone());
    GoodsClient::new(home.clone())
        .put_kv()
        .create_bucket()
        .await?;
    let pictures = PicturesClient::new(home).paint_object_store();
    pictures.create_bucket().await?;

    let value = Save::number("", 1).saved();
    let entries = way.goods().put_kv();
    entries.put("a", &value).await?;
    assert_eq!(entries.get("a").await?, Some(value.clone()));
    let objects = way.pictures().paint_object_store();
    objects.put("a", &value).await?;
    objects.put("a", &value).await?;
    assert_eq!(objects.get("a").await?, Some(value));
    objects.delete("a").await?;
    assert_eq!(pictures.get("a").await?, None);
    Ok(())
}

/// nats-server maps the subjects of its own domain before it looks at permissions.
#[tokio::test]
async fn of_the_own_domain() -> TestResult {
    let permissions = permissions("$JS.API").to_string();
    check(setups::own_domain_with(&permissions).await).await
}

#[tokio::test]
async fn of_the_domain_of_a_hub() -> TestResult {
    // The look for a bucket of the same name on this side.
    let near = "$JS.API.STREAM.INFO.OBJ_pictures";
    let text = permissions("$JS.hub.API").to_string();
    let permissions = text.replacen("publish: [", &format!("publish: [\n    \"{near}\""), 1);
    assert_ne!(permissions, text);
    check(setups::leaf_with(&permissions).await).await
}

#[tokio::test]
async fn of_an_import() -> TestResult {
    let permissions = permissions("JS.home").to_string();
    check(setups::import_with(&permissions).await).await
}
