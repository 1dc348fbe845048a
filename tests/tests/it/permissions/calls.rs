//! Calls without streams: a service, and a caller.

use std::time::Duration;

use natsmicro::__private::permissions::{CALLER, Names, SERVICE};
use natsmicro::Status;
use natsmicro_tests::common::{TestResult, Text, discover, soon, text};

use super::trial::{self, Outcome, Run, Trial, both};

#[natsmicro::service(subject_prefix = "calls.v1")]
pub(super) trait Calls {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    async fn fail(&self, request: Text) -> Result<Text, Status>;
}

pub(super) struct Impl;

impl Calls for Impl {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn fail(&self, _request: Text) -> Result<Text, Status> {
        Err(Status::not_found("nothing"))
    }
}

const NAMES: Names<'static> = Names {
    service: "Calls",
    prefix: "calls.v1",
    endpoints: &["echo", "fail"],
    bucket: "",
    inbox: "",
    peer_inbox: "_INBOX",
    api: "$JS.API",
};

async fn calls(client: natsmicro::Client) -> Outcome {
    let client = CallsClient::new(client);
    let echoed = client.echo(text("a")).await.map_err(trial::text)?;
    assert_eq!(echoed, text("a"));
    match client.fail(text("a")).await {
        Err(status) if status.message() == "nothing" => Ok(()),
        failed => Err(format!("{failed:?}")),
    }
}

async fn serves(run: &Run) -> Outcome {
    let starting = run.server().add_service(CallsServer::new(Impl)).start();
    let running = starting.await.map_err(trial::text)?;
    let called = calls(run.other_client()).await;
    if called.is_ok() {
        let id = running.info()[0].id.clone();
        for subject in [
            "$SRV.PING",
            "$SRV.INFO.Calls",
            &format!("$SRV.STATS.Calls.{id}"),
        ] {
            soon(discover(&run.other, subject, 1)).await;
        }
    }
    let stopped = running.stop().await.map_err(trial::text);
    both(called, stopped)
}

#[tokio::test]
async fn a_service() {
    Trial::of(&[SERVICE], NAMES).await.run(serves).await;
}

/// It is not in discovery, and NATS tells nobody.
#[tokio::test]
async fn a_service_without_discovery() -> TestResult {
    let rights = SERVICE.rights.iter();
    let rights = rights.filter(|right| !right.subject.starts_with("$SRV"));
    let trial = Trial::with(rights.copied(), NAMES).await;
    let run = trial.untold("all").await;
    let starting = run.server().add_service(CallsServer::new(Impl)).start();
    let running = soon(starting).await?;
    calls(run.other_client()).await?;
    running.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_caller() -> TestResult {
    let trial = Trial::of(&[CALLER], NAMES).await;
    let service = natsmicro::Server::new(trial.admin().await);
    let service = service.add_service(CallsServer::new(Impl)).start().await?;
    let call = async |run: &Run| calls(run.client()).await;
    trial.run(call).await;
    trial.run_untold("<prefix>.<endpoint>", call).await;
    service.stop().await?;
    Ok(())
}

/// The right to reply ends some time after the request.
#[tokio::test]
async fn what_comes_later_than_responses_are_allowed_is_refused() -> TestResult {
    #[natsmicro::service(subject_prefix = "late")]
    trait Late {
        async fn sleep(&self, request: Text) -> Result<Text, Status>;
    }
    struct Sleeper;
    impl Late for Sleeper {
        async fn sleep(&self, request: Text) -> Result<Text, Status> {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(request)
        }
    }
    for (expires, is_answered) in [("100ms", false), ("10s", true)] {
        let config = format!(
            "no_auth_user: admin\nauthorization {{ users: [\n{{ user: admin, password: x }}\n\
             {{ user: service, password: x, permissions: {{ publish: {{ deny: \">\" }}, \
             allow_responses: {{ max: 1, expires: \"{expires}\" }} }} }}\n] }}"
        );
        let builder = natsmicro::testing::NatsServer::builder().config(config);
        let server = builder.start().await?;
        let options =
            async_nats::ConnectOptions::with_user_and_password("service".into(), "x".into());
        let service = natsmicro::Server::new(server.connect_with(options).await?);
        let service = service
            .add_service(LateServer::new(Sleeper))
            .start()
            .await?;
        let client = natsmicro::Client::new(server.connect().await?);
        let client = LateClient::new(client.with_timeout(Duration::from_secs(1)));
        let answered = client.sleep(text("a")).await;
        assert_eq!(answered.is_ok(), is_answered, "{expires}: {answered:?}");
        service.stop().await?;
    }
    Ok(())
}
