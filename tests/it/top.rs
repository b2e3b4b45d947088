//! `top`, run as a user runs it.

use std::process::Output;
#[cfg(target_os = "linux")]
use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use crate::support::{
    peer::Peer,
    process::{dev, program, run, signal},
};

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn once(addr: &str) -> Output {
    run(&["top", "--once", "--admin-addr", addr])
}

#[test]
fn top_prints_one_snapshot_of_a_real_facade() {
    let (mut server, url) = dev(&[]);
    let admin = server.addr("admin").to_string();
    for (member, code) in [("fresh", 0), ("fresh", 0), ("enrolled", 1)] {
        let ids = ["--organization-id", "example-works", "--member-id", member];
        let output = run(&[&["create", "--addr", &url], &ids[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }

    let output = once(&admin);

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let words = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no {start} in {text}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(text.starts_with("totp-facade ") && text.contains(", since it started\n"), "{text}");
    assert!(text.contains("breaker closed"), "{text}");
    let create = words("TotpService/Create");
    assert_eq!((create[1].as_str(), create[3].as_str()), ("3", "33%"), "{text}");
    assert!(create[4].ends_with('s'), "a latency: {text}");
    assert_eq!(words("POST /totp")[2], "3", "{text}");
    assert_eq!(words("anonymous")[1], "3", "{text}");
    assert_eq!(words("AlreadyExists")[1], "1", "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_says_that_a_facade_is_away_or_that_something_else_answers() {
    let answer = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let ask = async |addr: String| tokio::task::spawn_blocking(move || once(&addr)).await.unwrap();

    for addr in ["http://127.0.0.1:9", "127.0.0.1:9"] {
        let output = ask(addr.to_owned()).await;
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.starts_with("error: cannot connect to http://127.0.0.1:9: "), "{text}");
    }
    for (answer, what) in [
        (answer("404 Not Found", ""), "it answered 404"),
        (answer("200 OK", "<html>"), "line 1 of its page is no metric"),
        (answer("200 OK", "up 1\n"), "its page has other metrics"),
    ] {
        let peer = Peer::answering(answer).await;
        let output = ask(peer.addr.to_string()).await;
        assert_eq!(output.status.code(), Some(1), "{what}");
        let text = stderr(&output);
        let start = format!("error: no façade answered: http://{}", peer.addr);
        assert!(text.starts_with(&start) && text.contains(what), "{text}");
    }
}

#[test]
fn top_without_a_terminal_asks_for_once() {
    let output = run(&["top"]);

    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).starts_with("error: --once: is required"), "{}", stderr(&output));
    for (flag, value) in
        [("--admin-addr", "127.0.0.1"), ("--admin-addr", "http://a@b:1"), ("--interval", "soon")]
    {
        let output = run(&["top", "--once", flag, value]);
        assert_eq!(output.status.code(), Some(64), "{flag} {value}");
        assert!(stderr(&output).starts_with(&format!("error: {flag}: ")), "{}", stderr(&output));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn top_leaves_the_terminal_as_it_was() {
    let (mut server, _) = dev(&[]);
    let admin = server.addr("admin").to_string();
    let top = program(&["top", "--admin-addr", &admin]);
    let words: Vec<_> = std::iter::once(top.get_program()).chain(top.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    // It prints its process id, and the settings of the terminal before and after.
    let line = format!(
        "stty rows 24 cols 80; stty -g; sh -c 'echo \"pid $$.\"; exec \"$@\"' sh {}; \
         echo \"ended with $?\"; stty -g",
        words.join(" ")
    );
    for is_by_key in [true, false] {
        // Of util-linux, which every Linux has.
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let (mut keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (mut seen, mut chunk, mut is_told) = (String::new(), [0; 4096], false);
        loop {
            let length = output.read(&mut chunk).unwrap();
            if length == 0 {
                break;
            }
            seen += &String::from_utf8_lossy(&chunk[..length]);
            if is_told || !seen.contains("leaves") {
                continue;
            }
            is_told = true;
            if is_by_key {
                keys.write_all(b"q").unwrap();
            } else {
                let (_, id) = seen.split_once("pid ").unwrap();
                signal(id.split('.').next().unwrap().parse().unwrap(), "TERM");
            }
        }
        script.wait().unwrap();

        assert!(seen.contains("\x1b[?1049h") && seen.contains("\x1b[?1049l"), "{seen:?}");
        assert!(seen.contains("ended with 0"), "{seen:?}");
        let settings: Vec<_> =
            seen.lines().filter(|line| line.matches(':').count() > 20).map(str::trim).collect();
        assert_eq!(settings.len(), 2, "{seen:?}");
        assert!(settings[1].ends_with(settings[0]), "{settings:?}");
    }
}
