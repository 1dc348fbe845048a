//! A server in a process of its own, with a runtime of the kind that is asked for, so that nothing that a test does takes its
//! threads. It is asked by lines on its standard input, by which it also ends when the test does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Server, Status, Streaming};
use natsmicro_tests::common::{Text, test_name, text};

use crate::ALLOCATOR;

#[natsmicro::service(subject_prefix = "load")]
pub trait Load {
    async fn quick(&self, request: Text) -> Result<Text, Status>;
    /// The same once more: each endpoint has its own dispatcher.
    async fn quick_too(&self, request: Text) -> Result<Text, Status>;
    /// Sleeps for 20 ms. What may wait for it is served within seconds.
    #[endpoint(max_in_flight = 200)]
    async fn slow(&self, request: Text) -> Result<Text, Status>;
    async fn fail(&self, request: Text) -> Result<Text, Status>;
}

#[natsmicro::service(subject_prefix = "feed")]
pub trait Feed {
    /// A message every 50 ms, until it is dropped.
    #[endpoint(max_in_flight = 16)]
    async fn tick(&self, request: Text) -> Result<Streaming<Text>, Status>;
}

/// A request with this text has an answer of 4,000 bytes.
pub const LARGE: &str = "large";

fn answer_to(request: Text) -> Text {
    if request.text == LARGE {
        return text("x".repeat(4_000));
    }
    request
}

struct Service;

impl Load for Service {
    async fn quick(&self, request: Text) -> Result<Text, Status> {
        Ok(answer_to(request))
    }

    async fn quick_too(&self, request: Text) -> Result<Text, Status> {
        Ok(answer_to(request))
    }

    async fn slow(&self, request: Text) -> Result<Text, Status> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(request)
    }

    async fn fail(&self, request: Text) -> Result<Text, Status> {
        let details = answer_to(request).text;
        Err(Status::not_found("nothing is found").with_details(details))
    }
}

impl Feed for Service {
    async fn tick(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::new(futures::stream::repeat(()).then(
            |()| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(text("tick"))
            },
        )))
    }
}

/// What the process runs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Runtime {
    CurrentThread,
    TwoWorkers,
}

/// What the process serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Services {
    /// [`Load`].
    One,
    /// And [`Feed`].
    Two,
}

const URL: &str = "NATSMICRO_TEST_URL";
const RUNTIME: &str = "NATSMICRO_TEST_RUNTIME";
const SERVICES: &str = "NATSMICRO_TEST_SERVICES";

/// Messages to this subject come over the connection of the server and are counted, whatever else it does.
pub const MARKER: &str = "marker";
static MARKERS: AtomicUsize = AtomicUsize::new(0);

/// What the lines of the process begin with, between those of the test harness.
const ANSWER: &str = "answer: ";

/// Not a test of its own: what others start this program for.
#[test]
fn the_server_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let is = |name, value: &str| std::env::var(name).unwrap() == value;
    let mut runtime = if is(RUNTIME, "CurrentThread") {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let (commands, mut received) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            match line.unwrap().as_str() {
                "memory" => answer(&allocated().to_string()),
                "markers" => answer(&MARKERS.load(Ordering::SeqCst).to_string()),
                command => commands.send(command.to_owned()).unwrap(),
            }
        }
        // The test has ended.
        std::process::exit(0);
    });
    runtime.block_on(async {
        let nats = async_nats::connect(url).await.unwrap();
        let mut markers = nats.subscribe(MARKER).await.unwrap();
        tokio::spawn(async move {
            while markers.next().await.is_some() {
                MARKERS.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut server = Server::new(nats.clone())
            .with_drain_timeout(Duration::from_secs(5))
            .add_service(LoadServer::new(Service));
        if is(SERVICES, "Two") {
            server = server.add_service(FeedServer::new(Service));
        }
        let server = server.start().await.unwrap();
        answer("started");
        let command = received.recv().await;
        assert_eq!(command.as_deref(), Some("stop"));
        answer(&format!("{:?}", server.stop().await.is_ok()));
        std::future::pending::<()>().await;
    });
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Past the test harness, which would keep it.
fn answer(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{ANSWER}{text}").unwrap();
    out.flush().unwrap();
}

/// The process.
pub struct ServerProcess {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ServerProcess {
    pub fn start(url: &str, runtime: Runtime, services: Services) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test_name(module_path!(), "the_server_process")])
            .arg("--nocapture")
            .env(URL, url)
            .env(RUNTIME, format!("{runtime:?}"))
            .env(SERVICES, format!("{services:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(process.next_answer(), "started");
        process
    }

    /// The bytes that the process has allocated. Not asked of its runtime.
    pub fn memory(&mut self) -> usize {
        writeln!(self.commands, "memory").unwrap();
        self.next_answer().parse().unwrap()
    }

    /// How many messages to [`MARKER`] have arrived. Not asked of its runtime.
    pub fn markers(&mut self) -> usize {
        writeln!(self.commands, "markers").unwrap();
        self.next_answer().parse().unwrap()
    }

    /// Sends the process a signal, by its name.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops the server; says whether it has lost nothing. Waits for as long as that takes.
    pub fn stop(&mut self) -> bool {
        writeln!(self.commands, "stop").unwrap();
        self.next_answer() == "true"
    }

    fn next_answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).unwrap();
            assert!(read > 0, "the process of the server has ended");
            // The harness has written the name of the test before, and no end of its line.
            if let Some((_, answer)) = line.trim_end().split_once(ANSWER) {
                return answer.to_owned();
            }
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
