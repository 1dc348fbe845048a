//! Methods that an implementation leaves out.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Context, Status, Streaming};
use natsmicro_tests::common::{TestResult, code_of, soon};
use natsmicro_tests::persistence::{Nats, Save, Saved, eventually};

#[natsmicro::service(subject_prefix = "d")]
trait Notes {
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    /// Calls another method, and takes its request apart.
    #[kv_store(bucket = "notes", key = "<key>", storage = "memory")]
    async fn keep(&self, cx: &Context, Save { key, mut text, .. }: Save) -> Result<Saved, Status> {
        if text.is_empty() {
            return Err(Status::invalid_argument("nothing to keep"));
        }
        text.push_str(cx.header("X-Suffix").unwrap_or(""));
        self.save(Save::new(key, text)).await
    }

    async fn count(&self, request: Save) -> Result<Streaming<Saved>, Status> {
        let notes = (0..request.n).map(|n| Save::number("n", n).saved());
        Ok(Streaming::iter(notes.collect::<Vec<_>>()))
    }

    async fn join(&self, mut notes: Streaming<Save>) -> Result<Saved, Status> {
        let mut joined = Save::default();
        while let Some(note) = notes.message().await? {
            joined.text += &note.text;
        }
        self.save(joined).await
    }

    async fn later(&self, _request: Save) -> Result<Saved, Status> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Err(Status::unimplemented("no such notes"))
    }

    /// Runs wherever it is called.
    #[endpoint(skip)]
    async fn twice(&self, request: Save) -> Result<(Saved, Saved), Status> {
        Ok((self.save(request.clone()).await?, self.save(request).await?))
    }
}

/// Leaves out all that it can.
struct Short(&'static str);

impl Notes for Short {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        Ok(Save::new(request.key, format!("{} {}", self.0, request.text)).saved())
    }
}

/// Leaves out nothing.
struct Full;

impl Notes for Full {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }

    async fn keep(&self, _cx: &Context, request: Save) -> Result<Saved, Status> {
        Ok(Save::new(request.key, "own").saved())
    }

    async fn later(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[tokio::test]
async fn an_implementation_serves_the_bodies_that_it_leaves_out() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await;
    let server = server.add_service(NotesServer::new(Short("short")));
    let server = server.add_service(NotesServer::new(Full).with_subject_prefix("full"));
    let server = server.start().await?;
    let client = NotesClient::new(nats.client());

    let call = client.keep(Save::new("a", "note"));
    let kept = soon(call.with_header("X-Suffix", "!")).await?;
    assert_eq!(kept.text, "short note!");
    let stored = eventually("the response of a body is stored", || async {
        client.get_keep_from_kv("a").await.unwrap()
    });
    assert_eq!(stored.await, kept);
    assert_eq!(
        code_of(soon(client.keep(Save::new("a", ""))).await),
        "INVALID_ARGUMENT"
    );
    let counted = soon(client.count(Save::number("", 3))).await?;
    let counted: Vec<_> = soon(counted.map(|note| note.unwrap().n).collect::<Vec<_>>()).await;
    assert_eq!(counted, [0, 1, 2]);
    let notes = ["a", "b", "c"].map(|text| Save::new("", text));
    assert_eq!(
        soon(client.join(Streaming::iter(notes))).await?.text,
        "short abc"
    );
    assert_eq!(
        code_of(soon(client.later(Save::default())).await),
        "UNIMPLEMENTED"
    );

    let full = client.clone().with_subject_prefix("full");
    assert_eq!(soon(full.keep(Save::new("b", "note"))).await?.text, "own");
    assert_eq!(soon(full.later(Save::new("", "here"))).await?.text, "here");
    let endpoints = server.info()[0].endpoints.len();
    assert_eq!(endpoints, 5, "a method that is left out is an endpoint");
    Ok(())
}

#[tokio::test]
async fn the_client_runs_the_body_of_a_skipped_method_alone() -> TestResult {
    let nats = Nats::start().await;
    let client = NotesClient::new(nats.client());
    // Nobody is there: what the client runs itself needs nobody.
    assert_eq!(
        code_of(Notes::later(&client, Save::default()).await),
        "UNAVAILABLE"
    );
    assert_eq!(code_of(client.twice(Save::default()).await), "UNAVAILABLE");

    let server = nats.service().await;
    let server = server.add_service(NotesServer::new(Short("short")));
    let _server = server.start().await?;
    let (first, second) = soon(client.twice(Save::new("a", "note"))).await?;
    assert_eq!(
        (first.text.as_str(), second.text.as_str()),
        ("short note", "short note")
    );
    Ok(())
}
