use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{File, ImplItem, Item, TraitItem};

use crate::service_trait;

fn sample() -> TokenStream {
    quote! {
        /// Stores user profiles.
        ///
        /// And their reports.
        pub trait UserService {
            /// Saves a profile.
            #[kv_store(bucket = "user_profiles", key = "user.<id>", ttl = "1h", max_history = 5)]
            async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;

            #[endpoint(timeout = "60s", metadata(operation = "read"))]
            #[natsmicro::object_store(bucket = "reports", key = "report.<response.id>.<id>")]
            async fn generate_report(&self, cx: &Context, request: ReportRequest) -> Result<Report, Status>;

            #[cfg(unix)]
            #[deprecated]
            #[kv_store(bucket = "b", key = "<r#type>")]
            #[object_store(bucket = "b", key = "<type>.<type>")]
            async fn r#yield(&self, request: Req) -> natsmicro::Result<Resp>;

            async fn ping(&self) -> Result<(), Status>;

            #[endpoint(skip)]
            async fn local(&self, a: u32, b: &str) -> Result<u32, Status>;
        }
    }
}

/// The expansion of a trait and what is wrong with it.
fn expand(args: TokenStream, item: TokenStream) -> (TokenStream, Vec<String>) {
    let (expansion, diags) = service_trait(args, syn::parse2(item).unwrap());
    (expansion, diags.messages())
}

fn sound(args: TokenStream) -> File {
    let (expansion, messages) = expand(args, sample());
    assert_eq!(messages, Vec::<String>::new());
    syn::parse2(expansion).unwrap()
}

/// The names of a file's items, with those of the members of inherent implementations after them.
fn names(file: &File) -> Vec<String> {
    let mut names = Vec::new();
    for item in &file.items {
        match item {
            Item::Trait(item) => names.push(format!("trait {}", item.ident)),
            Item::Enum(item) => names.push(format!("enum {}", item.ident)),
            Item::Struct(item) => names.push(format!("struct {}", item.ident)),
            Item::Type(item) => names.push(format!("type {}", item.ident)),
            Item::Const(item) => names.push(format!("const {}", item.ident)),
            Item::Impl(item) => {
                let ty = item.self_ty.to_token_stream();
                if let Some((path, _)) = &item.trait_ {
                    names.push(format!(
                        "impl {} for {ty}",
                        path.segments.last().unwrap().ident
                    ));
                    continue;
                }
                names.push(format!("impl {ty}"));
                names.extend(item.items.iter().map(|member| match member {
                    ImplItem::Const(member) => format!("  {}", member.ident),
                    ImplItem::Fn(member) => format!("  {}", member.sig.ident),
                    _ => panic!("{}", member.to_token_stream()),
                }));
            }
            _ => panic!("{}", item.to_token_stream()),
        }
    }
    names
}

#[test]
fn the_items_of_the_sample() {
    let expected = [
        "trait UserService",
        "enum UserServiceDescriptor",
        "impl UserServiceDescriptor",
        "  SAVE_PROFILE",
        "  GENERATE_REPORT",
        "  YIELD",
        "  PING",
        "impl Describe for UserServiceDescriptor",
        "impl Dispatch for UserServiceDescriptor",
        "type UserServiceServer",
        "struct UserServiceClient",
        "impl UserServiceClient",
        "  new",
        "  with_subject_prefix",
        "  save_profile",
        "  save_profile_key",
        "  save_profile_pattern",
        "  save_profile_cached",
        "  save_profile_kv",
        "  get_save_profile_from_kv",
        "  put_save_profile_to_kv",
        "  generate_report",
        "  generate_report_key",
        "  generate_report_object_store",
        "  get_generate_report_from_object_store",
        "  put_generate_report_to_object_store",
        "  r#yield",
        "  yield_kv_key",
        "  yield_kv_pattern",
        "  yield_object_key",
        "  yield_cached",
        "  yield_kv",
        "  get_yield_from_kv",
        "  put_yield_to_kv",
        "  yield_object_store",
        "  get_yield_from_object_store",
        "  put_yield_to_object_store",
        "  ping",
        "impl UserService for UserServiceClient",
    ];
    assert_eq!(names(&sound(quote!())), expected);
}

#[test]
fn a_cfg_goes_to_every_item_of_its_method() {
    let file = sound(quote!());
    let count = |attrs: &[syn::Attribute]| {
        attrs
            .iter()
            .filter(|attr| attr.path().is_ident("cfg"))
            .count()
    };
    let mut conditional = 0;
    for item in &file.items {
        match item {
            Item::Trait(item) => {
                conditional += item
                    .items
                    .iter()
                    .map(|item| match item {
                        TraitItem::Fn(method) => count(&method.attrs),
                        _ => 0,
                    })
                    .sum::<usize>();
            }
            Item::Impl(item) => {
                for member in &item.items {
                    let (name, attrs) = match member {
                        ImplItem::Const(member) => (member.ident.to_string(), &member.attrs),
                        ImplItem::Fn(member) => (member.sig.ident.to_string(), &member.attrs),
                        _ => continue,
                    };
                    let belongs = name.to_lowercase().contains("yield");
                    assert_eq!(count(attrs), usize::from(belongs), "{name}");
                    conditional += count(attrs);
                }
            }
            _ => {}
        }
    }
    // Trait, the constant, eleven functions of the client and its implementation; the route is a statement.
    assert_eq!(conditional, 14);
    assert!(text(&file).contains("# [cfg (unix)] router . unary (& Self :: YIELD"));
}

fn text(file: &File) -> String {
    file.to_token_stream().to_string()
}

#[test]
fn settings_become_calls() {
    let file = text(&sound(quote!(
        name = "Users",
        version = "1.2.0",
        subject_prefix = "api.v1",
        timeout = "30s",
        codec = "json",
        metadata(team = "platform", "k-2" = "v"),
        queue_group = false
    )));
    for part in [
        "ServiceDescriptor :: new (\"Users\" , \"api.v1\" , 5) . version (\"1.2.0\") . description (\"Stores user profiles.\") \
         . timeout (:: core :: time :: Duration :: from_secs (30)) . metadata (& [(\"team\" , \"platform\") , (\"k-2\" , \"v\")]) \
         . queue_group (:: core :: option :: Option :: None)",
        "< SaveProfileRequest as :: natsmicro :: __private :: JsonMessage > :: CODEC",
        ". ttl (:: core :: time :: Duration :: from_secs (3600))",
        ". max_history (5)",
        "Method :: new (1 , (\"UserService\" , \"generate_report\")",
        ". timeout (:: core :: time :: Duration :: from_secs (60)) . metadata (& [(\"operation\" , \"read\")])",
        "| request , key | key . bind (& [& ((* request) . r#type)])",
    ] {
        // `max_history` stands before `ttl`, and so on: the order of the calls is the macro's.
        assert!(file.contains(part), "{part} is not in {file}");
    }
}

#[test]
fn defaults_come_from_the_names() {
    let file = text(&sound(quote!()));
    assert!(
        file.contains("ServiceDescriptor :: new (\"UserService\" , \"user_service\" , 5)"),
        "{file}"
    );
}

#[test]
fn only_the_given_path_leads_to_the_runtime() {
    let file = text(&sound(quote!(crate = ::other)));
    // The user's own path to a `Result` stays.
    let file = file.replace("natsmicro :: Result < Resp >", "");
    assert!(!file.contains("natsmicro"), "{file}");
}

#[test]
fn the_trait_is_what_was_written() {
    let file = sound(quote!());
    let Some(Item::Trait(item)) = file.items.first() else {
        panic!("no trait")
    };
    let signatures: Vec<String> = item
        .items
        .iter()
        .map(|item| match item {
            TraitItem::Fn(method) => method.sig.to_token_stream().to_string(),
            _ => panic!("{}", item.to_token_stream()),
        })
        .collect();
    let expected = quote! {
        fn local(&self, a: u32, b: &str)
            -> impl ::core::future::Future<Output = Result<u32, Status> > + ::core::marker::Send
    };
    assert_eq!(signatures.last(), Some(&expected.to_string()));
    assert!(!item.to_token_stream().to_string().contains("kv_store"));
}

#[test]
fn a_skipped_service_is_its_trait() {
    assert_eq!(names(&sound(quote!(skip))), ["trait UserService"]);
}

#[test]
fn a_mistake_leaves_the_same_names() {
    let item: TokenStream = sample()
        .to_string()
        .replace("\"1h\"", "\"1 fortnight\"")
        .parse()
        .unwrap();
    let (expansion, messages) = expand(quote!(), item);
    assert_eq!(messages.len(), 1, "{messages:?}");
    let broken: File = syn::parse2(expansion).unwrap();
    let functions = |file: &File| {
        names(file)
            .into_iter()
            .filter(|name| name == &name.to_lowercase())
            .collect::<Vec<_>>()
    };
    assert_eq!(functions(&broken), functions(&sound(quote!())));
    assert!(text(&broken).contains("fn register (_router : & mut"));
}
