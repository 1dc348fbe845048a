use crate::validate::tests::messages;

const SAVE: &str = "async fn save(&self, request: Req) -> Result<Resp, Status>;";

#[test]
fn entries_that_are_deleted() {
    let delete = |attrs: &str| messages("", &format!("{attrs} {SAVE}"));
    let entry = "#[kv_delete(bucket = \"b\", key = \"<id>\")]";
    let another = "#[kv_delete(bucket = \"b\", key = \"<name>\")]";
    let elsewhere = "#[kv_delete(bucket = \"c\", key = \"{id}\", purge)]";
    assert_eq!(
        delete(&format!("{entry} {another} {elsewhere}")),
        Vec::<String>::new()
    );
    let store = "#[kv_store(bucket = \"c\", key = \"<id>\")]";
    assert_eq!(delete(&format!("{entry} {store}")), Vec::<String>::new());
    assert_eq!(
        delete(&format!("{elsewhere} {store}")),
        ["`save` stores this entry, and would delete it"]
    );
    let read = "#[kv_store(bucket = \"c\", key = \"<id>\", client_only)]";
    assert_eq!(delete(&format!("{elsewhere} {read}")), Vec::<String>::new());
    let object = "#[object_store(bucket = \"b\", key = \"<id>\")]";
    assert_eq!(delete(&format!("{entry} {object}")), Vec::<String>::new());
    assert_eq!(
        delete(&format!("{entry} {another} {entry}")),
        ["this entry is deleted twice"]
    );
}
