use std::str::FromStr;

use proc_macro2::TokenStream;

use crate::service_trait;

/// What is wrong with a trait. From text, for the order of the errors is that of the source.
pub(crate) fn messages(args: &str, body: &str) -> Vec<String> {
    let item = TokenStream::from_str(&format!("pub trait Users {{\n{body}\n}}")).unwrap();
    let (_, diags) = service_trait(
        TokenStream::from_str(args).unwrap(),
        syn::parse2(item).unwrap(),
    );
    let messages = diags.messages();
    messages
        .iter()
        .map(|message| message.lines().next().unwrap().to_owned())
        .collect()
}

const SAVE: &str = "async fn save(&self, request: Req) -> Result<Resp, Status>;";

fn kv(settings: &str) -> Vec<String> {
    messages("", &format!("#[kv_store({settings})] {SAVE}"))
}

#[test]
fn nothing_wrong() {
    assert_eq!(messages("", SAVE), Vec::<String>::new());
    assert_eq!(kv("bucket = \"b\", key = \"<id>\""), Vec::<String>::new());
}

#[test]
fn mistakes_come_in_the_order_of_the_source() {
    let body = "
        #[kv_store(bukcet = \"b\", key = \"<id\", ttl = \"soon\")]
        fn a(&mut self, x: &Req) -> Result<Resp, Status>;
        #[endpoint(name = \"c\")]
        async fn b(&self);
        async fn c(&self) -> Result<(), Status>;
        const X: u8;
    ";
    assert_eq!(
        messages("", body),
        [
            "unknown setting `bukcet`",
            "`<` is never closed in the key `<id`",
            "`soon` is not a duration",
            "method `a` must be `async`",
            "method `a` must take `&self`",
            "a request is decoded for each call, so it is passed by value",
            "method `b` must return a `Result`",
            "methods `b` and `c` both answer on the subject token `c`",
            "`c` is first used here",
            "a service trait can only declare methods",
        ]
    );
}

#[test]
fn a_body_may_take_its_request_apart() {
    for method in [
        "async fn a(&self) -> Result<(), E> { Ok(()) }",
        "async fn a(&self, X { x }: X) -> Result<(), E> { Ok(()) }",
        "async fn a(&self, _: &Context, mut x: X) -> Result<(), E> { Ok(()) }",
        "#[endpoint(skip)] async fn a(&self, (x, y): (X, Y)) -> Result<(), E> { Ok(()) }",
    ] {
        assert_eq!(messages("", method), Vec::<String>::new(), "{method}");
    }
}

#[test]
fn signatures() {
    for (method, expected) in [
        (
            "fn a(&self) -> Result<(), E>;",
            "method `a` must be `async`",
        ),
        (
            "async unsafe fn a(&self) -> Result<(), E>;",
            "method `a` cannot be `unsafe`",
        ),
        (
            "async extern \"C\" fn a(&self) -> Result<(), E>;",
            "method `a` cannot be `extern`",
        ),
        (
            "pub async fn a(&self) -> Result<(), E>;",
            "method `a` is as visible as its trait",
        ),
        (
            "async fn a() -> Result<(), E>;",
            "method `a` must take `&self`",
        ),
        (
            "async fn a(self) -> Result<(), E>;",
            "method `a` must take `&self`",
        ),
        (
            "async fn a(self: &Self) -> Result<(), E>;",
            "method `a` must take `&self`",
        ),
        (
            "async fn a(&self, x: X, y: Y) -> Result<(), E>;",
            "method `a` takes two requests",
        ),
        (
            "async fn a(&self, X { x }: X) -> Result<(), E>;",
            "a request parameter needs a plain name",
        ),
        (
            "async fn a(&self, _: X) -> Result<(), E>;",
            "a request parameter needs a plain name",
        ),
        (
            "async fn a(&self, x: &X) -> Result<(), E>;",
            "a request is decoded for each call, so it is passed by value",
        ),
        (
            "async fn a(&self, x: X<'_>) -> Result<(), E>;",
            "a request is decoded for each call, so it cannot borrow",
        ),
        (
            "async fn a(&self, x: impl X) -> Result<(), E>;",
            "method `a` cannot be generic",
        ),
        (
            "async fn a<T>(&self, x: T) -> Result<(), E>;",
            "method `a` cannot be generic",
        ),
        (
            "async fn a(&self, x: X, cx: &Context) -> Result<(), E>;",
            "`Context` comes before the request",
        ),
        (
            "async fn a(&self, cx: Context, x: X) -> Result<(), E>;",
            "a context is passed by reference",
        ),
        (
            "async fn a(&self, cx: &mut Context) -> Result<(), E>;",
            "a context is passed by reference",
        ),
        (
            "async fn a(&self, cx: &Cx, x: X) -> Result<(), E>;",
            "`&Cx` is neither the context of `a` nor a request",
        ),
        ("async fn a(&self);", "method `a` must return a `Result`"),
        (
            "async fn a(&self) -> X;",
            "a service method must return `Result<T, E>`, not `X`",
        ),
        (
            "async fn a(&self) -> Option<X>;",
            "a service method must return `Result<T, E>`, not `Option<X>`",
        ),
        (
            "async fn a(&self) -> Result<&X, E>;",
            "a response is sent after the method has returned, so it cannot borrow",
        ),
        (
            "async fn a(&self) -> Result<impl X, E>;",
            "method `a` must name the type it returns",
        ),
        ("type A;", "a service trait can only declare methods"),
        ("", "service `Users` has no methods"),
    ] {
        assert_eq!(messages("", method), [expected], "{method}");
    }
    for method in [
        "async fn a(&self, _: &Context) -> Result<(), E>;",
        "async fn a(&self, cx: &natsmicro::Context, x: X) -> Result<(), E>;",
        "async fn a(&self, x: Context) -> Result<(), E>;",
        "async fn a(&self, x: X<&'static str>) -> ApiResult<()>;",
        "#[endpoint(skip)] async fn a<T>(&self, x: &T, _: u8) -> Result<&T, E>;",
    ] {
        assert_eq!(messages("", method), Vec::<String>::new(), "{method}");
    }
}

#[test]
fn stores() {
    assert_eq!(
        messages("", &format!("#[kv_store] {SAVE}")),
        ["`#[kv_store]` needs a bucket and a key"]
    );
    assert_eq!(kv("bucket = \"b\""), ["missing `key`"]);
    assert_eq!(kv("key = \"<id>\""), ["missing `bucket`"]);
    assert_eq!(
        kv("bucket = \"b\", kye = \"<id>\""),
        ["unknown setting `kye`"]
    );
    assert_eq!(kv("\"b\", \"k\""), ["expected `name = value`"]);
    assert_eq!(
        messages(
            "",
            &format!(
                "#[kv_store(bucket = \"b\", key = \"<id>\")] #[kv_store(bucket = \"b\", key = \"<id>\")] {SAVE}"
            )
        ),
        ["method `save` has two `#[kv_store]` attributes"]
    );
    assert_eq!(
        messages(
            "",
            &format!("#[cfg_attr(x, kv_store(bucket = \"b\", key = \"<id>\"))] {SAVE}")
        ),
        ["`#[kv_store]` cannot be conditional"]
    );
    assert_eq!(
        kv("bucket = \"b\", key = \"<id>\", key_ttl = \"1500ms\", max_history = 2"),
        [
            "`key_ttl` cannot be combined with `max_history = 2`",
            "`key_ttl` must be a whole number of seconds"
        ]
    );
    assert_eq!(
        kv(
            "bucket = \"b\", key = \"<id>\", client_only, write = \"create\", persist = \"before_response\""
        ),
        [
            "`write` has no effect on a `client_only` store, which the service does not write",
            "`persist` has no effect on a `client_only` store, which the service does not write",
        ]
    );
    assert_eq!(
        messages(
            "",
            "#[kv_store(bucket = \"b\", key = \"<id>.<response.id>\")] async fn ping(&self) -> Result<(), Status>;"
        ),
        [
            "this key needs fields of the request, but `ping` takes no request",
            "this key needs fields of the response, but `ping` returns none",
        ]
    );
}

#[test]
fn skipped_methods() {
    let body = format!(
        "#[endpoint(skip, timeout = \"1s\")] #[kv_store(bucket = \"b\", key = \"<id>\")] {SAVE}"
    );
    assert_eq!(
        messages("", &body),
        [
            "`timeout` has no effect on a skipped method",
            "nothing is persisted for a skipped method"
        ]
    );
}

#[test]
fn names_that_are_taken() {
    assert_eq!(
        messages("", "async fn new(&self) -> Result<(), E>;"),
        ["a method cannot be called `new`: `UsersClient::new` is its constructor"]
    );
    assert_eq!(
        messages(
            "",
            &format!(
                "#[kv_store(bucket = \"b\", key = \"<id>\")] {SAVE} async fn save_kv(&self) -> Result<(), E>;"
            )
        ),
        [
            "method `save_kv` conflicts with the accessor generated for the store of `save`",
            "the store is declared here"
        ]
    );
    assert_eq!(
        messages("", &format!("{SAVE} {SAVE}")),
        [
            "method `save` is declared twice",
            "the first declaration is here"
        ]
    );
    assert_eq!(
        messages("", &format!("#[cfg(a)] {SAVE} #[cfg(not(a))] {SAVE}")),
        Vec::<String>::new()
    );
    assert_eq!(
        messages("", "async fn größe(&self) -> Result<(), E>;"),
        ["`ö` is not allowed in an endpoint name"]
    );
    assert_eq!(
        messages(
            "",
            "#[endpoint(proto_name = \"GetIDs\")] async fn a(&self) -> Result<(), E>; async fn get_i_ds(&self) -> Result<(), E>;"
        ),
        [
            "methods `a` and `get_i_ds` both answer on the subject token `get_i_ds`",
            "`get_i_ds` is first used here"
        ]
    );
}

#[test]
fn buckets() {
    let two = |first: &str, second: &str| {
        let put = SAVE.replace("save", "put");
        messages(
            "",
            &format!(
                "#[kv_store(bucket = \"b\", key = \"<id>\"{first})] {SAVE} #[kv_store(bucket = \"b\", key = \"<id>\"{second})] {put}"
            ),
        )
    };
    for (first, second) in [
        ("", ""),
        (", ttl = \"60s\"", ", ttl = \"1m\""),
        (", ttl = \"60s\"", ", client_only"),
    ] {
        assert_eq!(two(first, second), Vec::<String>::new());
    }
    for (first, second, names) in [
        (", ttl = \"1h\"", ", ttl = \"2h\"", "`ttl`"),
        (
            ", ttl = \"1h\", max_history = 2",
            ", storage = \"memory\"",
            "`max_history`, `storage`, `ttl`",
        ),
    ] {
        assert_eq!(
            two(first, second),
            [
                format!("bucket `b` is declared twice with different settings ({names})"),
                "the other declaration is here".to_owned()
            ]
        );
    }
}

#[test]
fn cfgs() {
    let three = |cfgs: [&str; 3]| {
        let [a, b, c] = cfgs.map(|cfg| {
            if cfg.is_empty() {
                String::new()
            } else {
                format!("#[cfg({cfg})]")
            }
        });
        messages(
            "",
            &format!(
                "{a} {SAVE}
                {b} #[endpoint(name = \"save\")] {}
                {c} #[endpoint(name = \"save\")] {}",
                SAVE.replace("save", "put"),
                SAVE.replace("save", "add"),
            ),
        )
    };
    let clash = |a: &str, b: &str| {
        [
            format!("methods `{a}` and `{b}` both answer on the subject token `save`"),
            "`save` is first used here".to_owned(),
        ]
    };
    let all = [
        clash("save", "put"),
        clash("save", "add"),
        clash("put", "add"),
    ];
    assert_eq!(three(["", "", ""]), all[..2].concat());
    // Whether both are there is for rustc, at each pair.
    assert_eq!(three(["x", "y", "z"]), all.concat());
    assert_eq!(three(["x", "x", "x"]), all[..2].concat());
}

#[test]
fn traits() {
    let wrong = |item: &str| {
        let (_, diags) = service_trait(TokenStream::new(), syn::parse_str(item).unwrap());
        diags
            .messages()
            .into_iter()
            .map(|message| message.lines().next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        wrong(&format!("trait Gen<T> {{ {SAVE} }}")),
        ["service trait `Gen` cannot be generic"]
    );
    assert_eq!(
        wrong(&format!("unsafe trait T {{ {SAVE} }}")),
        ["service trait `T` cannot be `unsafe`"]
    );
    assert_eq!(
        wrong(&format!(
            "#[kv_store(bucket = \"b\", key = \"k\")] trait T {{ {SAVE} }}"
        )),
        ["`#[kv_store]` goes on a method"]
    );
    assert_eq!(
        wrong(&format!("trait Größe {{ {SAVE} }}")),
        ["`ö` is not allowed in a service name"]
    );
}
