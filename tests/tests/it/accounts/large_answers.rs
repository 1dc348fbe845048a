//! Answers of discovery that are larger than a message may be.

use natsmicro::testing::NatsServer;
use natsmicro::{RunningServer, Status};
use natsmicro_tests::common::{Nats, Text, discover, error_of, text};
use serde_json::{Value, json};

#[natsmicro::service(
    subject_prefix = "wide",
    name = "Wide",
    description = "Has many methods."
)]
trait Wide {
    #[endpoint(metadata("purpose" = "to have metadata that take much space in what is told of the service"))]
    async fn one(&self, request: Text) -> Result<Text, Status>;
    async fn two(&self, request: Text) -> Result<Text, Status>;
    async fn three(&self, request: Text) -> Result<Text, Status>;
    async fn four(&self, request: Text) -> Result<Text, Status>;
}

struct Service;

impl Wide for Service {
    async fn one(&self, request: Text) -> Result<Text, Status> {
        Err(Status::not_found(request.text))
    }

    async fn two(&self, request: Text) -> Result<Text, Status> {
        Err(Status::not_found(request.text))
    }

    async fn three(&self, request: Text) -> Result<Text, Status> {
        Err(Status::not_found(request.text))
    }

    async fn four(&self, request: Text) -> Result<Text, Status> {
        Err(Status::not_found(request.text))
    }
}

const METHODS: [&str; 4] = ["one", "two", "three", "four"];

/// The service behind a NATS server that takes messages of this size, after one error of each method.
async fn start(max_payload: usize, metadata: &str) -> (Nats, RunningServer) {
    let builder = NatsServer::builder().jetstream(false);
    let nats = Nats::with(builder.max_payload(max_payload)).await;
    let service = WideServer::new(Service).with_metadata([("owner", metadata)]);
    let server = nats.server().add_service(service).start().await.unwrap();
    let error_len = 400.min(max_payload / 4);
    for method in METHODS {
        nats.ask(
            &format!("wide.{method}"),
            text("x".repeat(error_len)).bytes(),
        )
        .await;
    }
    (nats, server)
}

async fn answer(nats: &Nats, verb: &str) -> Value {
    let mut answers = discover(&nats.caller, &format!("$SRV.{verb}.Wide"), 1).await;
    answers.remove(0)
}

fn is_shortened(answer: &Value) -> bool {
    answer["metadata"]["natsmicro.shortened"] == "true"
}

#[tokio::test]
async fn what_fits_is_whole() {
    let (nats, _server) = start(1024 * 1024, "a team").await;
    for verb in ["PING", "INFO", "STATS"] {
        let answer = answer(&nats, verb).await;
        assert_eq!(answer["metadata"], json!({"owner": "a team"}), "{verb}");
    }
}

#[tokio::test]
async fn last_errors_are_left_out_first() {
    let (nats, server) = start(2_000, "a team").await;
    let stats = answer(&nats, "STATS").await;
    assert!(is_shortened(&stats), "{stats}");
    assert_eq!(stats["metadata"]["owner"], "a team");
    for (n, method) in METHODS.iter().enumerate() {
        let endpoint = &stats["endpoints"][n];
        assert_eq!(endpoint["name"], *method);
        assert_eq!(endpoint["num_errors"], 1);
        assert_eq!(endpoint["last_error"], "");
    }
    // In this process nothing is shortened.
    let whole = &server.stats()[0];
    assert_eq!(
        whole.endpoints[0].last_error.len(),
        "NOT_FOUND:".len() + 400
    );
    assert!(!whole.metadata.contains_key("natsmicro.shortened"));
}

#[tokio::test]
async fn descriptions_and_metadata_are_left_out() {
    let (nats, _server) = start(1_200, &"m".repeat(1_200)).await;
    let ping = answer(&nats, "PING").await;
    assert_eq!(ping["name"], "Wide");
    let info = answer(&nats, "INFO").await;
    assert_eq!(info["description"], "");
    let stats = answer(&nats, "STATS").await;
    assert_eq!(stats["endpoints"][3]["num_requests"], 1);
    for answer in [ping, info, stats] {
        assert_eq!(answer["metadata"], json!({"natsmicro.shortened": "true"}));
    }
}

#[tokio::test]
async fn what_does_not_fit_at_all_is_an_error() {
    let (nats, _server) = start(400, "").await;
    for verb in ["INFO", "STATS"] {
        let reply = nats.ask(&format!("$SRV.{verb}"), "").await;
        let (code, message) = error_of(&reply).unwrap();
        assert_eq!(code, "RESOURCE_EXHAUSTED");
        assert!(message.contains("up to 400 bytes"), "{message}");
    }
    assert_eq!(answer(&nats, "PING").await["name"], "Wide");
}
