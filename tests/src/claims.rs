//! What the tests of large responses share: a service that answers with as many bytes as it is asked for.

use async_nats::Message;
use natsmicro::{Context, RunningServer, Status};
use prost::Message as _;

use crate::persistence::{Nats, Save, Saved};

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>")]
    async fn report(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "summaries", key = "<key>")]
    #[object_store(bucket = "reports", key = "both.<key>")]
    async fn both(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "summaries", key = "<key>", persist = "before_response")]
    #[object_store(bucket = "reports", key = "first.<key>")]
    async fn both_first(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "reports", key = "<response.text>")]
    async fn unnamed(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "theirs", key = "<key>", client_only)]
    async fn unstored(&self, cx: &Context, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service(codec = "json")]
pub trait JsonReports {
    #[object_store(bucket = "json_reports", key = "<key>")]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

/// Answers with a message of as many bytes as it is asked for, whose letters are those of the request.
pub struct Writer;

impl Reports for Writer {
    async fn report(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, &request)
    }
    async fn both(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, &request)
    }
    async fn both_first(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, &request)
    }
    async fn unnamed(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, &request)
    }
    async fn unstored(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, &request)
    }
}

fn answer(cx: &Context, request: &Save) -> Result<Saved, Status> {
    if request.text == "unstored" {
        cx.do_not_store();
    }
    if let Some(header) = request.text.strip_prefix("header ") {
        cx.insert_response_header("Report", header)?;
    }
    Ok(response(request))
}

impl JsonReports for Writer {
    async fn report(&self, request: Save) -> Result<Saved, Status> {
        Ok(response(&request))
    }
}

pub fn response(request: &Save) -> Saved {
    let size = usize::try_from(request.n).unwrap();
    let letters = if request.text.is_empty() {
        "x"
    } else {
        &request.text
    };
    let mut saved = Saved {
        text: letters.repeat(size / letters.len() + 1),
        ..request.clone().saved()
    };
    saved.text.truncate(size);
    saved.text.truncate(2 * size - saved.encoded_len());
    saved
}

pub const LARGE: u64 = 3 << 20;
/// The header that says where the response is.
pub const REFERENCE: &str = "Natsmicro-Object";

pub fn large(key: &str) -> Save {
    Save::number(key, LARGE)
}

pub async fn serve(nats: &Nats) -> RunningServer {
    let server = nats.service().await;
    let server = server.add_service(ReportsServer::new(Writer));
    let server = server.add_service(JsonReportsServer::new(Writer));
    server.start().await.unwrap()
}

/// What a peer gets that knows nothing of this.
pub async fn ask(nats: &Nats, request: &Save) -> Message {
    let payload = request.encode_to_vec().into();
    let asked = nats.nats.request("reports.report", payload).await;
    asked.unwrap()
}

pub fn header<'a>(reply: &'a Message, name: &str) -> Option<&'a str> {
    Some(reply.headers.as_ref()?.get(name)?.as_str())
}
