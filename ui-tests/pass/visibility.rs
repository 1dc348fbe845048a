//! The generated items are as visible as the trait, also where that is nowhere else.
#![deny(warnings, unreachable_pub)]

mod api {
    #[natsmicro::service]
    pub(crate) trait Users {
        async fn save(
            &self,
            request: natsmicro_ui_tests::SaveUser,
        ) -> Result<natsmicro_ui_tests::User, natsmicro::Status>;
    }

    #[natsmicro::service]
    trait Private {
        async fn ping(&self) -> Result<(), natsmicro::Status>;
    }
}

pub fn in_a_function(nats: async_nats::Client) -> impl Sized {
    use natsmicro::Status;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Local {
        #[prost(string, tag = "1")]
        id: String,
    }

    #[natsmicro::service]
    trait Inner {
        #[kv_store(bucket = "local", key = "<id>")]
        async fn save(&self, request: Local) -> Result<Local, Status>;
    }

    struct Implementation;

    impl Inner for Implementation {
        async fn save(&self, request: Local) -> Result<Local, Status> {
            Ok(request)
        }
    }

    (
        InnerServer::new(Implementation).with_name("inner"),
        InnerClient::new(nats.clone()),
        api::UsersClient::new(nats),
    )
}
