use quote::quote;

use super::*;

fn messages(input: TokenStream) -> Vec<String> {
    let (expansion, diags) = run(input);
    assert!(syn::parse2::<syn::File>(expansion).is_ok());
    diags
        .messages()
        .iter()
        .map(|message| message.lines().next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_enum_goes_there_and_back() {
    let (expansion, diags) = run(quote! {
        enum OrderError {
            #[code("ORDER_EXPIRED")] Expired { id: String, r#type: u8 },
            #[cfg(unix)] #[code("NOT_FOUND")] NotFound(String),
            #[code("BUSY")] Busy,
            Other(Status),
        }
    });
    assert!(!diags.has_errors());
    let text = expansion.to_string();
    for part in [
        "impl :: natsmicro :: ServiceError for OrderError",
        "Self :: Expired { id : field_0 , r#type : field_1 } => :: natsmicro :: __private :: ErrorBody :: new () \
         . field (\"id\" , < String as :: natsmicro :: __private :: ErrorField > :: write (& field_0)) \
         . field (\"type\" , < u8 as :: natsmicro :: __private :: ErrorField > :: write (& field_1)) . into_status (\"ORDER_EXPIRED\" , message)",
        "# [cfg (unix)] Self :: NotFound { 0 : field_0 } =>",
        "Self :: Other (status) => < Status as :: natsmicro :: __private :: AnyStatus > :: into_status (status)",
        "# [cfg (unix)] \"NOT_FOUND\" =>",
        "\"BUSY\" => :: core :: option :: Option :: Some (Self :: Busy { })",
        "Option :: None => Self :: Other (< Status as :: natsmicro :: __private :: AnyStatus > :: from_status (status))",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn only_the_given_path_leads_to_the_runtime() {
    let (expansion, diags) = run(quote! {
        #[service_error(crate = ::other)]
        enum E { #[code("A")] A(u8), Other(::other::Status) }
    });
    assert!(!diags.has_errors());
    assert!(!expansion.to_string().contains("natsmicro"));
}

#[test]
fn mistakes() {
    for (input, expected) in [
        (
            quote!(
                struct S;
            ),
            "`ServiceError` can only be derived for an enum",
        ),
        (
            quote!(
                enum E<T> {
                    #[code("A")]
                    A(T),
                    Other(Status),
                }
            ),
            "service error `E` cannot be generic",
        ),
        (
            quote!(
                enum E {
                    #[code("A")]
                    A,
                }
            ),
            "service error `E` has no variant for other errors",
        ),
        (
            quote!(
                enum E {
                    A,
                    Other(Status),
                }
            ),
            "variant `A` has no code",
        ),
        (
            quote!(
                enum E {
                    #[code("")]
                    A,
                    Other(Status),
                }
            ),
            "a code cannot be empty",
        ),
        (
            quote!(
                enum E {
                    #[code("a")]
                    A,
                    Other(Status),
                }
            ),
            "`a` is not allowed in a code",
        ),
        (
            quote!(
                enum E {
                    #[code = "A"]
                    A,
                    Other(Status),
                }
            ),
            "a code is a string in parentheses",
        ),
        (
            quote!(
                enum E {
                    #[code]
                    A,
                    Other(Status),
                }
            ),
            "a code is a string in parentheses",
        ),
        (
            quote!(
                enum E {
                    A(#[code("A")] u8),
                }
            ),
            "`#[code]` goes on a variant",
        ),
        (
            quote!(
                #[code("A")]
                enum E {
                    Other(Status),
                }
            ),
            "`#[code]` goes on a variant",
        ),
    ] {
        assert_eq!(messages(input), [expected]);
    }
    assert_eq!(
        messages(quote!(
            enum E {
                NotFound(String),
                Other(Status),
            }
        )),
        ["variant `NotFound` has no code"]
    );
    assert_eq!(
        messages(quote!(
            enum E {
                #[code("A")]
                A,
                #[code("A")]
                B,
                Other(Status),
                More(Status),
            }
        )),
        [
            "variants `A` and `B` have the same code `A`",
            "variants `Other` and `More` both take every other status",
        ]
    );
}
