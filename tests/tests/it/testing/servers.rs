//! `natsmicro::testing`: servers start, end, and can be made to fail.
//!
//! How a binary is found and fetched is tested in the crate itself.

#![cfg(unix)]

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use natsmicro::testing::{NatsCluster, NatsServer, NatsServerErrorKind};
use natsmicro_tests::common::test_name;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Makes `a_server_for_the_parent` start a server and wait to be killed.
const CHILD: &str = "NATSMICRO_TEST_CHILD";

fn is_alive(pid: u32) -> bool {
    Command::new("sh")
        .args(["-c", "kill -0 \"$0\" 2>/dev/null", &pid.to_string()])
        .status()
        .unwrap()
        .success()
}

/// The directory that holds the server's data, as its own log tells it.
fn data_dir(server: &NatsServer) -> PathBuf {
    let log = server.log();
    let (_, rest) = log
        .split_once("Store Directory: \"")
        .expect("the log tells the directory");
    let dir = PathBuf::from(rest.split('"').next().unwrap());
    assert!(dir.is_dir());
    dir.parent().unwrap().to_path_buf()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "it never happens that {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn starts_and_serves() -> TestResult {
    let server = NatsServer::start().await?;
    assert!(
        server.url().starts_with("nats://127.0.0.1:"),
        "{}",
        server.url()
    );
    assert!(is_alive(server.pid().unwrap()));

    let client = server.connect().await?;
    let js = jetstream::new(client);
    let kv = js
        .create_key_value(jetstream::kv::Config {
            bucket: "b".into(),
            ..Default::default()
        })
        .await?;
    kv.put("key", "value".into()).await?;
    assert_eq!(kv.get("key").await?.unwrap(), "value");
    Ok(())
}

#[tokio::test]
async fn two_servers_do_not_see_each_other() -> TestResult {
    let (one, two) = tokio::try_join!(NatsServer::start(), NatsServer::start())?;
    assert_ne!(one.url(), two.url());
    assert_ne!(data_dir(&one), data_dir(&two));

    let (here, there) = (one.connect().await?, two.connect().await?);
    let _answers = here.subscribe("only.here").await?;
    here.flush().await?;
    let error = there.request("only.here", "".into()).await.unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
    Ok(())
}

#[tokio::test]
async fn drop_ends_the_process_and_removes_its_data() -> TestResult {
    let server = NatsServer::start().await?;
    let (pid, dir) = (server.pid().unwrap(), data_dir(&server));
    drop(server);
    assert!(!is_alive(pid));
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test]
async fn drop_ends_a_paused_server() -> TestResult {
    let server = NatsServer::start().await?;
    let pid = server.pid().unwrap();
    server.pause()?;
    drop(server);
    assert!(!is_alive(pid));
    Ok(())
}

#[tokio::test]
async fn death_of_the_parent_ends_the_server_and_removes_its_data() -> TestResult {
    let mut child = Command::new(env::current_exe()?)
        .args([
            "--exact",
            &test_name(module_path!(), "a_server_for_the_parent"),
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .find_map(|line| line.unwrap().strip_prefix("server: ").map(str::to_owned))
        .unwrap();
    let (pid, dir) = line.split_once(' ').unwrap();
    let (pid, dir) = (pid.parse()?, PathBuf::from(dir));
    assert!(is_alive(pid));
    assert!(dir.exists());

    child.kill()?; // SIGKILL
    child.wait()?;

    eventually("the server ends", || !is_alive(pid)).await;
    eventually("its data is removed", || !dir.exists()).await;
    Ok(())
}

#[tokio::test]
#[ignore = "run by `death_of_the_parent_ends_the_server_and_removes_its_data`"]
async fn a_server_for_the_parent() -> TestResult {
    if env::var_os(CHILD).is_none() {
        return Ok(());
    }
    let server = NatsServer::start().await?;
    println!(
        "\nserver: {} {}",
        server.pid().unwrap(),
        data_dir(&server).display()
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(())
}

#[tokio::test]
async fn restart_keeps_the_data_and_clients_reconnect() -> TestResult {
    let server = NatsServer::start().await?;
    let (url, pid) = (server.url().to_owned(), server.pid());
    let client = server.connect().await?;
    let js = jetstream::new(client.clone());
    let kv = js
        .create_key_value(jetstream::kv::Config {
            bucket: "b".into(),
            ..Default::default()
        })
        .await?;
    kv.put("key", "value".into()).await?;

    server.restart().await?;

    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    assert!(!is_alive(pid.unwrap()));
    let since = Instant::now();
    let value = loop {
        match kv.get("key").await {
            Ok(value) => break value,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    assert_eq!(value.unwrap(), "value");
    assert_eq!(
        client
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed),
        2
    );
    Ok(())
}

#[tokio::test]
async fn kill_takes_the_server_away_until_restart() -> TestResult {
    let server = NatsServer::start().await?;
    let pid = server.pid().unwrap();

    server.kill()?;

    assert!(!is_alive(pid));
    assert_eq!(server.pid(), None);
    let error = server.connect().await.unwrap_err();
    assert_eq!(error.kind(), NatsServerErrorKind::Connect);
    assert!(error.to_string().contains(server.url()), "{error}");
    let source = std::error::Error::source(&error)
        .unwrap()
        .downcast_ref::<async_nats::ConnectError>();
    assert_eq!(source.unwrap().kind(), async_nats::ConnectErrorKind::Io);
    assert_eq!(
        server.pause().unwrap_err().kind(),
        NatsServerErrorKind::NotRunning
    );
    server.kill()?; // once more changes nothing

    server.restart().await?;
    server.connect().await?;
    Ok(())
}

#[tokio::test]
async fn restart_waits_for_its_port() -> TestResult {
    let server = NatsServer::start().await?;
    server.kill()?;
    let address = server.url().strip_prefix("nats://").unwrap();
    let intruder = std::net::TcpListener::bind(address)?;
    let leave = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(intruder);
    };
    let (restarted, ()) = tokio::join!(server.restart(), leave);
    restarted?;
    assert!(server.log().contains("address already in use"));
    server.connect().await?;
    Ok(())
}

#[tokio::test]
async fn restarts_wait_for_each_other() -> TestResult {
    let server = NatsServer::start().await?;
    let (one, two) = tokio::join!(server.restart(), server.restart());
    one?;
    two?;
    server.connect().await?;
    assert!(is_alive(server.pid().unwrap()));
    Ok(())
}

#[tokio::test]
async fn a_server_that_ended_by_itself_has_no_pid() -> TestResult {
    let server = NatsServer::start().await?;
    let pid = server.pid().unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -9 \"$0\"", &pid.to_string()])
            .status()?
            .success()
    );
    eventually("its end is seen", || server.pid().is_none()).await;
    server.restart().await?;
    assert!(server.pid().is_some());
    Ok(())
}

#[tokio::test]
async fn pause_holds_answers_back_until_resume() -> TestResult {
    let server = NatsServer::start().await?;
    let js = jetstream::new(server.connect().await?);
    js.query_account().await?;

    server.pause()?;
    let query = js.query_account();
    tokio::pin!(query);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut query)
            .await
            .is_err()
    );

    server.resume()?;
    query.await?;
    Ok(())
}

#[tokio::test]
async fn the_log_has_the_protocol_only_if_asked() -> TestResult {
    for trace in [true, false] {
        let server = NatsServer::builder().debug_trace(trace).start().await?;
        let client = server.connect().await?;
        client
            .publish("traced.subject", "traced payload".into())
            .await?;
        client.flush().await?;
        jetstream::new(client).query_account().await?; // the server has read what came before
        if trace {
            eventually("it is logged", || {
                server.log().contains("<<- [PUB traced.subject 14]")
            })
            .await;
            assert!(
                server.log().contains("MSG_PAYLOAD: [\"traced payload\"]"),
                "{}",
                server.log()
            );
        } else {
            assert!(!server.log().contains("traced.subject"), "{}", server.log());
        }
    }
    Ok(())
}

#[tokio::test]
async fn nats_url_names_a_server_that_is_left_alone() -> TestResult {
    let server = NatsServer::start().await?;
    let output = Command::new(env::current_exe()?)
        .args([
            "--exact",
            &test_name(module_path!(), "a_server_from_nats_url"),
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .env("NATS_URL", format!("nats://127.0.0.1:1, {}", server.url()))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert!(is_alive(server.pid().unwrap()));
    Ok(())
}

#[tokio::test]
#[ignore = "run by `nats_url_names_a_server_that_is_left_alone`"]
async fn a_server_from_nats_url() -> TestResult {
    if env::var_os(CHILD).is_none() {
        return Ok(());
    }
    let server = NatsServer::from_env_or_start().await?;
    assert_eq!(server.url(), env::var("NATS_URL")?);
    assert_eq!(server.pid(), None);
    server.connect().await?;
    for outcome in [
        server.kill(),
        server.restart().await,
        server.pause(),
        server.resume(),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), NatsServerErrorKind::NotOwned);
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_replicates_and_survives_the_loss_of_a_server() -> TestResult {
    let cluster = NatsCluster::start(3).await?;
    assert_eq!(cluster.servers().len(), 3);
    assert_eq!(cluster.url().split(',').count(), 3);

    let js = jetstream::new(cluster.connect().await?);
    let config = jetstream::kv::Config {
        bucket: "b".into(),
        num_replicas: 3,
        ..Default::default()
    };
    let kv = js.create_key_value(config).await?;
    kv.put("key", "value".into()).await?;
    let info = js.get_stream("KV_b").await?.cached_info().clone();
    assert_eq!(info.cluster.unwrap().replicas.len(), 2);

    cluster.servers()[0].kill()?;

    let js = jetstream::new(cluster.connect().await?);
    let since = Instant::now();
    let value = loop {
        match get(&js).await {
            Ok(value) => break value,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(value, "value");

    cluster.servers()[0].restart().await?;
    cluster.servers()[0].connect().await?;
    Ok(())
}

async fn get(js: &jetstream::Context) -> Result<bytes::Bytes, Box<dyn std::error::Error>> {
    let kv = js.get_key_value("b").await?;
    Ok(kv.get("key").await?.ok_or("the value is lost")?)
}
