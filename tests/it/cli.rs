//! The command line, run as a user runs it.

use std::{
    process::{Command, Output},
    time::{Duration, Instant, SystemTime},
};

use clap::CommandFactory as _;
use serde_json::Value;
use totp_facade::{access::token_line, cli::Cli, config};

use crate::support::{
    Deaf, Facade, PATIENCE,
    credentials::Authority,
    door,
    folder::Folder,
    peer::{Connection, Peer},
    process::{FREE_PORTS, Server, dev, program, run, run_with_input, serve, start},
    rfc6238::code_of,
};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn create(addr: &str, member: &str) -> Output {
    run(&["create", "--addr", addr, "--organization-id", "example-works", "--member-id", member])
}

#[test]
fn serve_without_credentials_refuses_with_64_and_names_what_is_missing() {
    let output = run(&["serve"]);

    assert_eq!(code(&output), Some(64));
    assert_eq!(stdout(&output), "", "no port was opened");
    assert!(stderr(&output).contains("STYTCH_PROJECT_ID: is required"), "{}", stderr(&output));
    assert!(stderr(&output).contains("STYTCH_SECRET: is required"), "{}", stderr(&output));
}

#[test]
fn every_configuration_problem_is_reported_in_one_go() {
    for subcommand in ["serve", "check"] {
        let output = program(&[subcommand, "--drain-delay", "later"])
            .env("RUST_LOG", "totp_facade=loud")
            .env("STYTCH_PROJECT_ID", "project test")
            .env("STYTCH_SECRET", "one two")
            .env("STYTCH_BASE_URL", "http://user:pass-word@api.stytch.com")
            .env("STYTCH_CA_FILE", "/nowhere/ca.pem")
            .env("TOTP_FACADE_UPSTREAM_TIMEOUT", "0s")
            .env("TOTP_FACADE_CONNECT_TIMEOUT", "soon")
            .env("TOTP_FACADE_GRPC_ADDR", "here")
            .env("TOTP_FACADE_ADMIN_ADDR", "127.0.0.1")
            .env("TOTP_FACADE_MAX_IN_FLIGHT", "0")
            .env("TOTP_FACADE_MAX_CONNECTIONS", "99999999999999999999")
            .env("TOTP_FACADE_MAX_CONNECTION_AGE", "10")
            .env("TOTP_FACADE_DRAIN_TIMEOUT", "-1s")
            .env("TOTP_FACADE_IDEMPOTENCY_URL", "http://:pass-word@localhost")
            .env("TOTP_FACADE_IDEMPOTENCY_TTL", "0s")
            .env("TOTP_FACADE_IDEMPOTENCY_MAX_BYTES", "64MiB")
            .env("TOTP_FACADE_TLS_CERT_FILE", "/nowhere/cert.pem")
            .env("TOTP_FACADE_TOKENS_FILE", "/nowhere/tokens")
            .env("TOTP_FACADE_CALLERS_FILE", "/nowhere/callers.toml")
            .env("TOTP_FACADE_JWT_ISSUER", "https://issuer.example")
            .env("TOTP_FACADE_JWT_KEYS", "http://issuer.example/keys")
            .env("TOTP_FACADE_TRUST_XFCC_FROM", "127.0.0.1, everywhere")
            .env("TOTP_FACADE_ALLOW_UNAUTHENTICATED", "perhaps")
            .env("TOTP_FACADE_REFLECTION", "maybe")
            .env("TOTP_FACADE_LOG_FORMAT", "xml")
            .output()
            .unwrap();

        assert_eq!(code(&output), Some(64), "{subcommand}");
        let problems: Vec<_> = stderr(&output).lines().collect();
        for setting in [
            "RUST_LOG",
            "STYTCH_PROJECT_ID",
            "STYTCH_SECRET",
            "STYTCH_BASE_URL",
            "STYTCH_CA_FILE",
            "TOTP_FACADE_UPSTREAM_TIMEOUT",
            "TOTP_FACADE_CONNECT_TIMEOUT",
            "TOTP_FACADE_GRPC_ADDR",
            "TOTP_FACADE_ADMIN_ADDR",
            "TOTP_FACADE_MAX_IN_FLIGHT",
            "TOTP_FACADE_MAX_CONNECTIONS",
            "TOTP_FACADE_MAX_CONNECTION_AGE",
            "TOTP_FACADE_DRAIN_DELAY",
            "TOTP_FACADE_DRAIN_TIMEOUT",
            "TOTP_FACADE_IDEMPOTENCY_URL",
            "TOTP_FACADE_IDEMPOTENCY_TTL",
            "TOTP_FACADE_IDEMPOTENCY_MAX_BYTES",
            "TOTP_FACADE_TLS_KEY_FILE",
            "TOTP_FACADE_TOKENS_FILE",
            "TOTP_FACADE_CALLERS_FILE",
            "TOTP_FACADE_JWT_AUDIENCE",
            "TOTP_FACADE_JWT_KEYS",
            "TOTP_FACADE_TRUST_XFCC_FROM",
            "TOTP_FACADE_ALLOW_UNAUTHENTICATED",
            "TOTP_FACADE_REFLECTION",
            "TOTP_FACADE_LOG_FORMAT",
        ] {
            let prefix = format!("error: {setting}: ");
            let found = problems.iter().filter(|line| line.starts_with(&prefix)).count();
            assert_eq!(found, 1, "{setting} in {problems:#?}");
        }
        assert_eq!(problems.len(), 26, "{problems:#?}");
        assert!(!stderr(&output).contains("one two") && !stderr(&output).contains("pass-word"));
    }
}

#[test]
fn a_bad_argument_does_not_hide_other_problems() {
    for subcommand in ["serve", "check"] {
        let output =
            program(&[subcommand, "--grpc-addr", "here", "--no-such-flag", "secret-value"])
                .args([
                    "--stytch-secret=secret-value",
                    "--reflection",
                    "maybe",
                    "--log-format",
                    "xml",
                ])
                .args(["--drain-delay", "1s", "--drain-delay", "later", "--admin-addr"])
                .env("STYTCH_PROJECT_ID", "project test")
                .env("STYTCH_SECRET", "two words")
                .env("TOTP_FACADE_ALLOW_UNAUTHENTICATED", "perhaps")
                .env("RUST_LOG", "totp_facade=loud")
                .output()
                .unwrap();

        assert_eq!(code(&output), Some(64), "{subcommand}");
        assert_eq!(stdout(&output), "", "{subcommand}");
        for part in [
            "error: unexpected argument '--no-such-flag' found\n",
            "error: unexpected argument '--stytch-secret' found\n",
            "error: a value is required for '--admin-addr <IP:PORT>' but none was supplied\n",
            "error: the argument '--drain-delay <TIME>' cannot be used multiple times\n",
            "error: TOTP_FACADE_GRPC_ADDR: \"here\"",
            "error: TOTP_FACADE_REFLECTION: \"maybe\" is neither true nor false\n",
            "error: TOTP_FACADE_ALLOW_UNAUTHENTICATED: \"perhaps\" is neither true nor false\n",
            "error: TOTP_FACADE_LOG_FORMAT: \"xml\" is neither text nor json\n",
            "error: TOTP_FACADE_DRAIN_DELAY: \"later\"",
            "error: STYTCH_PROJECT_ID: ",
            "error: STYTCH_SECRET: ",
            "error: RUST_LOG: ",
        ] {
            assert_eq!(stderr(&output).matches(part).count(), 1, "{part} in {}", stderr(&output));
        }
        assert_eq!(stderr(&output).matches("Usage: ").count(), 1, "{}", stderr(&output));
        for secret in ["secret-value", "two words"] {
            assert!(!stderr(&output).contains(secret), "{}", stderr(&output));
        }
    }
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_utf_8_is_named_together_with_every_other_problem() {
    use std::os::unix::ffi::OsStrExt as _;

    let garbled = std::ffi::OsStr::from_bytes(b"\xff");
    let output = checked()
        .env("STYTCH_BASE_URL", garbled)
        .env("TOTP_FACADE_GRPC_ADDR", garbled)
        .env("TOTP_FACADE_DRAIN_DELAY", "later")
        .output()
        .unwrap();

    assert_eq!(code(&output), Some(64));
    for part in [
        "error: STYTCH_BASE_URL: is not UTF-8\n",
        "error: TOTP_FACADE_GRPC_ADDR: is not UTF-8\n",
        "error: TOTP_FACADE_DRAIN_DELAY: \"later\"",
    ] {
        assert_eq!(stderr(&output).matches(part).count(), 1, "{part} in {}", stderr(&output));
    }
    assert_eq!(stderr(&output).lines().count(), 3, "{}", stderr(&output));
}

#[test]
fn no_refusal_of_the_command_line_quotes_what_may_be_a_secret() {
    let ids = ["--organization-id", "o", "--member-id", "m"];
    for args in [
        &["code", "the-secret"][..],
        &["serve", "the-secret"],
        &["token", "name", "the-secret"],
        &["create", "--session-tokem", "the-secret"],
        &["create", "--session-tokem=the-secret"],
        &["create", "--member-id", "m", "the-secret"],
        &["authenticate", "--code", "1", "--session-custom-claims", "the-secret"],
        &["authenticate", "--code", "1", "--session-duration-minutes", "the-secret"],
        &["authenticate", "--code", "1", "--set-default-mfa", "the-secret"],
        &["create", "--addr", "http://user:the-secret@localhost:50051"],
        &["create", "--addr", "the-secret"],
        &["create", "--json", "-", "the-secret"],
    ] {
        let needs_ids = matches!(args[0], "create" | "authenticate") && !args.contains(&"-");
        let more = if needs_ids && !args.contains(&"m") { &ids[..] } else { &[] };
        let output = run(&[args, more].concat());

        assert_eq!(code(&output), Some(64), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("error: "), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("the-secret"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn files_of_tls_are_refused_for_an_address_without_it() {
    for (flags, named) in [
        (&["--ca-file", "/nowhere/ca.pem"][..], "--ca-file"),
        (&["--cert-file", "/nowhere/c.pem", "--key-file", "/nowhere/k.pem"], "--cert-file"),
    ] {
        let output = run(&[&["healthcheck", "--addr", "127.0.0.1:9"], flags].concat());

        assert_eq!(code(&output), Some(64), "{}", stderr(&output));
        let expected = format!("error: {named}: needs an --addr that begins with https://");
        assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));
    }
}

#[cfg(target_os = "linux")] // has a file that is always full
#[test]
fn a_lost_result_is_a_failure_and_a_closed_pipe_is_not() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program(&["token", "login"]).stdout(full()).output().unwrap();
    assert_eq!(code(&output), Some(1));
    let said = "error: cannot write to standard output: ";
    assert!(stderr(&output).starts_with(said), "{}", stderr(&output));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program(&["token", "login"]).stdout(writer).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));

    // Nor does it panic where nobody hears why it fails.
    let output = program(&["token", "a b"]).stderr(full()).output().unwrap();
    assert_eq!(code(&output), Some(64));
}

const SECRET: &str = "STYTCH_SECRET";
const TOKEN: &str = "TOTP_FACADE_TOKEN";

/// The variables of a subcommand's flags.
fn variables(subcommand: &str) -> Vec<String> {
    let mut command = Cli::command();
    command.build();
    let subcommand = command.find_subcommand(subcommand).unwrap();
    let names = subcommand.get_arguments().filter_map(|argument| argument.get_env());
    names.map(|name| name.to_str().unwrap().to_owned()).collect()
}

#[test]
fn an_empty_variable_counts_as_not_set_whatever_it_is_for() {
    let expected = checked().output().unwrap();
    let mut names = variables("check");
    assert!(names.len() > 20, "{names:?}");
    names.extend(config::all().filter(|it| it.is_secret()).map(|it| it.name.to_owned()));
    names.retain(|name| !["STYTCH_PROJECT_ID", SECRET].contains(&name.as_str()));

    let all = checked().envs(names.iter().map(|name| (name, ""))).output().unwrap();
    assert_eq!((code(&all), stdout(&all)), (Some(0), stdout(&expected)), "{}", stderr(&all));
    for name in &names {
        let output = checked().env(name, "").output().unwrap();
        assert_eq!(stdout(&output), stdout(&expected), "{name}: {}", stderr(&output));
    }
    for name in ["STYTCH_PROJECT_ID", SECRET] {
        let output = checked().env(name, "").output().unwrap();
        let said = format!("error: {name}: is required");
        assert!(stderr(&output).starts_with(&said), "{}", stderr(&output));
    }
    for subcommand in ["dev", "sandbox"] {
        let output = program(&[subcommand, "--seed", "/nowhere/seed.json"])
            .envs(variables(subcommand).iter().map(|name| (name, "")))
            .output()
            .unwrap();
        assert_eq!(stderr(&output).lines().count(), 1, "only the seed: {}", stderr(&output));
    }
    let output = program(&["healthcheck", "--deadline", "1ms"])
        .envs(variables("healthcheck").iter().map(|name| (name, "")))
        .env(TOKEN, "")
        .output()
        .unwrap();
    assert_ne!(code(&output), Some(64), "{}", stderr(&output));
    for (subcommand, name) in [("check", "TOTP_FACADE_REFLECTION"), ("create", "TOTP_FACADE_ADDR")]
    {
        let output = program(&[subcommand, "--help"]).env(name, "").output().unwrap();
        assert!(stdout(&output).contains(name), "{}", stdout(&output));
    }
}

#[test]
fn the_connect_timeout_gives_way_to_a_shorter_upstream_timeout_unless_it_is_set() {
    for (upstream, connect, effective) in [
        (None, None, Some("2s")),
        (Some("1s"), None, Some("1s")),
        (Some("50ms"), None, Some("50ms")),
        (Some("3s"), None, Some("2s")),
        (Some("1s"), Some("1s"), Some("1s")),
        (Some("1s"), Some("2s"), None),
        (None, Some("11s"), None),
    ] {
        let output = checked()
            .envs(upstream.map(|it| ("TOTP_FACADE_UPSTREAM_TIMEOUT", it)))
            .envs(connect.map(|it| ("TOTP_FACADE_CONNECT_TIMEOUT", it)))
            .output()
            .unwrap();

        let case = format!("{upstream:?} {connect:?}: {}", stderr(&output));
        assert_eq!(code(&output), Some(if effective.is_some() { 0 } else { 64 }), "{case}");
        let line = format!("TOTP_FACADE_CONNECT_TIMEOUT={}\n", effective.unwrap_or_default());
        assert!(
            effective.is_none() || stdout(&output).contains(&line),
            "{case}{}",
            stdout(&output)
        );
    }
}

/// The time that `check` says a setting has.
fn time_of(settings: &str, name: &str) -> Duration {
    let line = settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in {settings}"))
        .trim_end_matches('s')
        .parse()
        .map(Duration::from_secs)
        .unwrap()
}

#[test]
fn a_drain_with_the_defaults_ends_before_kubernetes_kills() {
    let output = checked().output().unwrap();

    let times = ["TOTP_FACADE_DRAIN_DELAY", "TOTP_FACADE_DRAIN_TIMEOUT"];
    let drain: Duration = times.iter().map(|name| time_of(stdout(&output), name)).sum();
    assert!(drain < Duration::from_secs(30), "{drain:?}");
    let longest_call = time_of(stdout(&output), "TOTP_FACADE_UPSTREAM_TIMEOUT");
    assert!(drain > longest_call, "a call has the time to end: {drain:?}");
}

#[test]
fn a_time_longer_than_a_year_is_refused() {
    for value in ["1000years", "9999999999999s", "99999999999999999999s", "1e9s", "10", ""] {
        for flag in ["--upstream-timeout", "--drain-timeout", "--idempotency-ttl"] {
            let output = checked().args([flag, value]).output().unwrap();

            assert_eq!(code(&output), Some(64), "{flag} {value}: {}", stderr(&output));
        }
    }
}

#[test]
fn dev_and_sandbox_report_every_problem_in_one_go_too() {
    let here = ["--sandbox-addr", "here", "--seed", "/nowhere/seed.json"];
    let dev =
        run(&[&["dev", "--grpc-addr", "here", "--upstream-timeout", "0s"], &here[..]].concat());
    let sandbox = run(&[&["sandbox"], &here[..]].concat());

    for (output, count) in [(dev, 4), (sandbox, 2)] {
        assert_eq!(code(&output), Some(64));
        assert_eq!(stderr(&output).lines().count(), count, "{}", stderr(&output));
    }
}

#[test]
fn the_base_url_must_be_https_unless_it_is_loopback() {
    for (url, good, reason) in [
        ("https://example.com", true, "https"),
        ("https://example.com:8443/stytch/", true, "https with a port and a path"),
        ("http://127.0.0.1:8090", true, "loopback"),
        ("http://127.8.9.10", true, "all of 127.0.0.0/8"),
        ("http://[::1]:8090", true, "loopback, version 6"),
        ("http://localhost:8090", true, "loopback, by name"),
        ("http://example.com", false, "http over a wire"),
        ("http://localhost.example.com", false, "a name that only looks local"),
        ("http://10.0.0.1", false, "http over a private wire"),
        ("ftp://127.0.0.1", false, "no HTTP"),
        ("https://example.com?a=b", false, "a query"),
        ("https://example.com#a", false, "a fragment"),
        ("example.com", false, "no URL"),
        ("", true, "empty, which is not set"),
    ] {
        let output = checked().env("STYTCH_BASE_URL", url).output().unwrap();

        assert_eq!(code(&output), Some(if good { 0 } else { 64 }), "{reason}: {}", stderr(&output));
    }
}

#[test]
fn beyond_loopback_serve_refuses_to_start_without_a_way_to_identify_callers() {
    let folder = Folder::new();
    let (_, line) = totp_facade::access::token_line("login");
    let tokens = folder.write("tokens", &line);
    let tokens = tokens.to_str().unwrap();
    for (flags, good, reason) in [
        (&["--grpc-addr", "127.0.0.1:0"][..], true, "loopback"),
        (&["--grpc-addr", "[::1]:0"], true, "loopback, version 6"),
        (&["--grpc-addr", "0.0.0.0:0"], false, "every address"),
        (&["--grpc-addr", "10.0.0.1:0"], false, "a private address"),
        (&["--grpc-addr", "0.0.0.0:0", "--allow-unauthenticated"], true, "allowed"),
        (&["--grpc-addr", "0.0.0.0:0", "--tokens-file", tokens], true, "tokens"),
    ] {
        let output = checked().args(flags).output().unwrap();

        assert_eq!(code(&output), Some(if good { 0 } else { 64 }), "{reason}: {}", stderr(&output));
        let is_local = !flags.concat().contains("0.0.0.0");
        let reflection = format!("TOTP_FACADE_REFLECTION={is_local}\n");
        assert!(!good || stdout(&output).contains(&reflection), "{reason}: {}", stdout(&output));
        let is_open = flags.contains(&"--allow-unauthenticated");
        assert_eq!(stdout(&output).contains("CALLERS ARE NOT IDENTIFIED"), is_open, "{reason}");
    }
    let policy = folder.write("callers.toml", door::POLICY);
    for (setting, value) in
        [("TOTP_FACADE_TOKENS_FILE", "/nowhere"), ("TOTP_FACADE_TRUST_XFCC_FROM", "nonsense")]
    {
        let mut command = checked();
        command.args(["--grpc-addr", "0.0.0.0:0", "--callers-file", policy.to_str().unwrap()]);
        let output = command.env(setting, value).output().unwrap();

        // A mistake in the way to identify callers is no reason to propose to go without one.
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains(setting), "{}", stderr(&output));
    }
    let mut command = program(&["serve", "--grpc-addr", "0.0.0.0:0", "--allow-unauthenticated"]);
    command
        .args(["--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"])
        .env("STYTCH_PROJECT_ID", "project-test-1")
        .env("STYTCH_SECRET", "secret");
    let (server, _) = start(command);
    server.signal("TERM");
    assert!(server.end().2.contains("anyone who reaches the port may call everything"));
}

#[test]
fn check_prints_who_may_call_what() {
    let folder = Folder::new();
    let page = include_str!("../../docs/callers.md");
    let policy = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let (_, line) = totp_facade::access::token_line("login");
    let check = |policy: &str| {
        checked()
            .env("TOTP_FACADE_TOKENS_FILE", folder.write("tokens", &line))
            .env("TOTP_FACADE_CALLERS_FILE", folder.write("callers.toml", policy))
            .output()
            .unwrap()
    };

    let output = check(policy);

    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    for part in [
        "login (spiffe://example.org/ns/web/sa/login, token:login)\n  may call RecoveryCodesService/Recover, ",
        "support (dns:support.internal)\n",
        "for organizations: example-works; 2 a second, at most 10 at once\n",
        "for organizations: any; any rate\n",
    ] {
        assert!(stdout(&output).contains(part), "{part} in {}", stdout(&output));
    }
    assert!(stdout(&output).lines().count() < 48, "it fits a screen");
    let output = check(&policy.replace("token:login", "token:lgoin"));
    assert_eq!(code(&output), Some(64));
    assert!(stderr(&output).contains("\"token:lgoin\" has no token"), "{}", stderr(&output));
    for (name, path) in [
        ("TOTP_FACADE_CALLERS_FILE", folder.write("callers.toml", policy)),
        ("TOTP_FACADE_TLS_CLIENT_CA_FILE", folder.write("ca.pem", "")),
        ("TOTP_FACADE_TLS_CERT_FILE", folder.write("cert.pem", "")),
        ("TOTP_FACADE_TLS_KEY_FILE", folder.write("key.pem", "")),
        ("TOTP_FACADE_TOKENS_FILE", folder.write("no-tokens", "")),
    ] {
        let output = checked().env(name, path).output().unwrap();
        assert_eq!(code(&output), Some(64), "{name} alone, or empty: {}", stdout(&output));
    }
}

#[test]
fn token_makes_a_token_and_its_line_and_the_client_calls_with_it() {
    let output = run(&["token", "login"]);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let value = |name: &str| {
        let line = stdout(&output).lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {}", stdout(&output))).to_owned()
    };
    let folder = Folder::new();
    let tokens = folder.write("tokens", &value("line: "));
    let (_server, addr) = dev(&["--tokens-file", tokens.to_str().unwrap()]);
    let create = |token: Option<String>| {
        let ids = ["--organization-id", "example-works", "--member-id", "fresh"];
        let mut command = program(&[&["create", "--addr", &addr], &ids[..]].concat());
        command.envs(token.map(|token| ("TOTP_FACADE_TOKEN", token))).output().unwrap()
    };

    assert_eq!(code(&create(Some(value("token: ")))), Some(0));
    for bad in [None, Some("another".to_owned())] {
        let output = create(bad);
        assert_eq!(code(&output), Some(1));
        assert!(stderr(&output).contains("UNAUTHENTICATED"), "{}", stderr(&output));
    }
    assert_eq!(code(&run(&["healthcheck", "--addr", &addr])), Some(0), "health is open");
    assert_eq!(code(&run(&["token", "two words"])), Some(64));
}

#[test]
fn a_tokens_file_with_a_token_in_it_is_refused_with_the_command_that_prints_its_line() {
    let (folder, (token, _)) = (Folder::new(), token_line("login"));
    let path = folder.write("tokens", &token);

    let output = run(&["dev", "--tokens-file", path.to_str().unwrap()]);

    let said = stderr(&output);
    assert!(said.contains("`totp-facade token NAME` prints what belongs here"), "{said}");
    assert!(!said.contains(&*token), "{said}");
}

#[test]
fn a_token_that_travels_in_the_clear_beyond_loopback_is_warned_of_once_and_not_shown() {
    let call = |addr: &str, token: Option<&str>| {
        // The key is refused, so that nothing leaves the machine.
        let ids = ["--organization-id", "example-works", "--member-id", "fresh"];
        let mut command = program(&["create", "--addr", addr, "--idempotency-key", "ä"]);
        command.args(ids);
        let output = command.envs(token.map(|token| (TOKEN, token))).output().unwrap();
        assert_eq!(code(&output), Some(64), "{}", stderr(&output));
        stderr(&output).to_owned()
    };
    let warning = "warning: TOTP_FACADE_TOKEN travels in the clear to ";

    // 192.0.2.0/24 is for documents: nobody has such an address.
    for addr in ["http://192.0.2.1:50051", "192.0.2.1:50051", "http://facade.invalid:50051"] {
        let stderr = call(addr, Some("token-never-printed"));
        assert_eq!(stderr.matches(warning).count(), 1, "{addr}: {stderr}");
        assert!(!stderr.contains("never-printed"), "{stderr}");
    }
    for (addr, token) in [
        ("http://192.0.2.1:50051", None),
        ("https://192.0.2.1:50051", Some("token")),
        ("http://127.0.0.1:9", Some("token")),
        ("http://[::1]:9", Some("token")),
        ("localhost:9", Some("token")),
        ("unix:/nowhere/grpc.sock", Some("token")),
    ] {
        let stderr = call(addr, token);
        assert!(!stderr.contains("in the clear"), "{addr}: {stderr}");
    }
}

#[test]
fn the_url_of_redis_is_checked_and_shown_without_its_password() {
    for (url, shown, reason) in [
        ("redis://localhost", Some("redis://localhost\n"), "the default port"),
        ("redis://10.0.0.1:6380/2", Some("redis://10.0.0.1:6380/2\n"), "a port and a database"),
        ("rediss://:pass-word@redis", Some("rediss://redis (credentials not shown)\n"), "TLS"),
        ("redis://me:pass-word@redis", Some("redis://redis (credentials not shown)\n"), "a user"),
        ("", Some("(not set: in memory)\n"), "empty"),
        (
            "rediss+sentinel://me:pass-word@one,two:5000/primary/1?sentinel_password=pass-word",
            Some("rediss+sentinel://one,two:5000/primary/1 (credentials not shown)\n"),
            "Sentinels",
        ),
        ("redis+sentinel://one/primary", Some("redis+sentinel://one/primary\n"), "no credentials"),
        (
            "redis+cluster://:pass-word@one,two:7000",
            Some("redis+cluster://one,two:7000 (credentials not shown)\n"),
            "a cluster",
        ),
        ("redis+sentinel://:pass-word@one", None, "no name of the primary"),
        ("redis+cluster://:pass-word@one/1", None, "a database that no cluster has"),
        ("redis", None, "no URL"),
        ("https://pass-word@redis", None, "no Redis"),
        ("redis+unix:///pass-word", None, "a socket"),
        ("rediss://:pass-word@redis/#insecure", None, "certificates unchecked"),
        ("redis://:pass-word@redis/first", None, "a database that is no number"),
        ("redis://", None, "no host"),
        ("redis://redis?password=pass-word", None, "a parameter that the client would ignore"),
        (
            "redis://redis?protocol=resp3",
            Some("redis://redis?protocol=resp3\n"),
            "one that it takes",
        ),
    ] {
        let output = checked().env("TOTP_FACADE_IDEMPOTENCY_URL", url).output().unwrap();

        let expected = if shown.is_some() { 0 } else { 64 };
        assert_eq!(code(&output), Some(expected), "{reason}: {}", stderr(&output));
        let line = format!("TOTP_FACADE_IDEMPOTENCY_URL={}", shown.unwrap_or_default());
        assert!(shown.is_none() || stdout(&output).contains(&line), "{}", stdout(&output));
        for text in [stdout(&output), stderr(&output)] {
            assert!(!text.contains("pass-word"), "{reason}: {text}");
        }
    }
}

#[test]
fn settings_of_redis_are_refused_without_it() {
    const REPLICAS: &str = "TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS";
    const CA_FILE: &str = "TOTP_FACADE_IDEMPOTENCY_CA_FILE";
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    std::fs::write(&authority, Authority::new().certificate.pem()).unwrap();
    std::fs::write(&other, "no certificate").unwrap();
    let (authority, other) = (authority.to_str().unwrap(), other.to_str().unwrap());
    for (url, name, value, is_good) in [
        ("redis://redis", REPLICAS, "1", true),
        ("", REPLICAS, "0", true),
        ("", REPLICAS, "1", false),
        ("redis://redis", REPLICAS, "256", false),
        ("redis://redis", REPLICAS, "most", false),
        ("rediss+sentinel://redis/primary", CA_FILE, authority, true),
        ("rediss://redis", CA_FILE, other, false),
        ("rediss://redis", CA_FILE, "/no/such/file", false),
        ("redis://redis", CA_FILE, authority, false),
        ("", CA_FILE, authority, false),
    ] {
        let mut command = checked();
        command.env("TOTP_FACADE_IDEMPOTENCY_URL", url).env(name, value);

        let output = command.output().unwrap();

        let expected = if is_good { 0 } else { 64 };
        assert_eq!(code(&output), Some(expected), "{url} {name}={value}: {}", stderr(&output));
        assert!(is_good || stderr(&output).contains(name), "{}", stderr(&output));
        let shown = format!("{name}={value}");
        assert!(!is_good || url.is_empty() || stdout(&output).contains(&shown));
    }
}

/// A `check` with good credentials.
fn checked() -> Command {
    let mut command = program(&["check"]);
    command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret-not-shown");
    command
}

#[test]
fn a_project_id_that_tells_no_api_needs_a_base_url() {
    for id in ["foo", "project-liver-1", "PROJECT-LIVE-1"] {
        let output = checked().env("STYTCH_PROJECT_ID", id).output().unwrap();
        assert_eq!(code(&output), Some(64), "{id}: {}", stdout(&output));
        let problem = "STYTCH_PROJECT_ID: begins with neither project-test- nor project-live-";
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));

        let mut command = checked();
        command.env("STYTCH_PROJECT_ID", id).env("STYTCH_BASE_URL", "https://stytch.example");
        assert_eq!(code(&command.output().unwrap()), Some(0), "{id}");
    }
}

#[test]
fn check_prints_the_effective_settings_without_the_secret() {
    for (id, url) in [
        ("project-test-1", "https://test.stytch.com/"),
        ("project-live-1", "https://api.stytch.com/"),
    ] {
        let output = checked().env("STYTCH_PROJECT_ID", id).output().unwrap();

        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains(&format!("STYTCH_PROJECT_ID={id}\n")), "{text}");
        assert!(text.contains(&format!("STYTCH_BASE_URL={url}\n")), "{text}");
        assert!(text.contains("TOTP_FACADE_UPSTREAM_TIMEOUT=10s\n"), "{text}");
        assert!(text.contains("STYTCH_SECRET=(set, not shown)\n"), "{text}");
        assert!(!text.contains("secret-not-shown"), "{text}");
    }
}

#[test]
fn the_secret_may_come_from_a_file_and_from_one_place_only() {
    let folder = Folder::new();
    let check = |path: &std::path::Path| {
        let mut command = program(&["check"]);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET_FILE", path);
        command
    };

    assert_eq!(code(&check(&folder.write("good", "secret\r\n")).output().unwrap()), Some(0));
    for (path, reason) in [
        (folder.write("empty", "\n"), "is empty"),
        (folder.write("two", "one\ntwo\n"), "visible ASCII"),
        (folder.path("missing"), "cannot read"),
    ] {
        let output = check(&path).output().unwrap();
        assert_eq!(code(&output), Some(64), "{reason}");
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
    let both =
        check(&folder.write("good", "secret")).env("STYTCH_SECRET", "secret").output().unwrap();
    assert_eq!(code(&both), Some(64));
}

#[test]
fn the_authorities_of_stytch_are_checked() {
    let folder = Folder::new();
    let good = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (good.cert.pem(), good.signing_key.serialize_pem());
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, reason) in [
        (folder.write("good", &certificate), None),
        (folder.write("two", &certificate.repeat(2)), None),
        (folder.write("empty", ""), Some("holds no certificate")),
        (folder.write("key", &key), Some("holds no certificate")),
        (folder.write("bad", no_certificate), Some("bad: ")),
        (folder.path("missing"), Some("missing: ")),
    ] {
        let output = checked().env("STYTCH_CA_FILE", &path).output().unwrap();

        let text = format!("{}{}", stdout(&output), stderr(&output));
        match reason {
            None => {
                assert!(text.contains(&format!("STYTCH_CA_FILE={}\n", path.display())), "{text}")
            }
            Some(reason) => {
                assert!(text.starts_with("error: STYTCH_CA_FILE: "), "{text}");
                assert!(text.contains(reason), "{text}");
            }
        }
        assert_eq!(code(&output), Some(if reason.is_none() { 0 } else { 64 }), "{text}");
    }
}

#[test]
fn help_names_every_variable_and_shows_no_value() {
    for subcommand in ["serve", "check", "dev", "sandbox", "create", "healthcheck"] {
        let output = program(&[subcommand, "--help"])
            .env("STYTCH_PROJECT_ID", "value-of-a-variable")
            .env("STYTCH_SECRET", "value-of-a-variable")
            .env("STYTCH_BASE_URL", "value-of-a-variable")
            .env("TOTP_FACADE_ADDR", "value-of-a-variable")
            .env("TOTP_FACADE_IDEMPOTENCY_URL", "value-of-a-variable")
            .output()
            .unwrap();

        assert_eq!(code(&output), Some(0));
        assert!(!stdout(&output).contains("value-of-a-variable"), "{}", stdout(&output));
        assert!(stdout(&output).contains("[env: "), "{}", stdout(&output));
    }
}

#[test]
fn a_usage_error_ends_with_64_everywhere() {
    for args in [
        vec![],
        vec!["servw"],
        vec!["serve", "--stytch-secret", "on-the-command-line"],
        vec!["serve", "--log-format", "xml"],
        vec!["dev", "--log", "totp_facade=loud"],
        vec!["dev", "--grpc-addr", "here"],
        vec!["dev", "--seed", "/nowhere/seed.json"],
        vec!["sandbox", "--sandbox-addr", "here"],
        vec!["create"],
        vec!["create", "--organization-id", "o"],
        vec!["create", "--organization-id", "o", "--member-id", "m", "--expiration-minutes", "x"],
        vec!["create", "--organization-id", "o", "--member-id", "m", "--addr", "not a url"],
        vec!["create", "--organization-id", "o", "--member-id", "m", "--deadline", "soon"],
        vec!["create", "--json", "/nowhere/request.json"],
        vec!["create", "--json", "-", "--member-id", "m"],
        vec!["healthcheck", "--deadline", "soon"],
    ] {
        let output = run(&args);

        assert_eq!(code(&output), Some(64), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{args:?}");
    }
    assert_eq!(code(&run(&["--version"])), Some(0));
    assert_eq!(code(&run(&["--help"])), Some(0));
}

#[test]
fn dev_and_create_work_out_of_the_box() {
    let (mut server, addr) = dev(&[]);

    let output = create(&addr, "fresh");

    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(stdout(&output)).expect("JSON and nothing else");
    assert_eq!(answer["secret"].as_str().unwrap().len(), 32);
    assert_eq!(code(&run(&["healthcheck", "--addr", &addr])), Some(0));
    let service = ["--service", "stytch.b2b.totp.v1.TotpService"];
    assert_eq!(code(&run(&[&["healthcheck", "--addr", &addr], &service[..]].concat())), Some(0));
    server.addr("admin");
    server.addr("sandbox");
    server.signal("TERM");
    let (code_of_dev, stdout, stderr) = server.end();
    assert_eq!(code_of_dev, Some(0), "{stderr}");
    for call in ["create --addr http://127.0.0.1:", "authenticate --addr http://127.0.0.1:"] {
        assert!(stdout.contains(call), "it prints {call} to paste: {stdout}");
    }
    assert!(stdout.contains("grpcurl -plaintext"), "{stdout}");
    assert_eq!(code(&run(&["healthcheck", "--addr", &addr])), Some(1), "nobody is there");
}

#[cfg(unix)]
#[test]
fn the_commands_that_dev_prints_enrol_a_member_and_log_in_also_where_callers_need_a_token() {
    let folder = Folder::new();
    let (token, line) = token_line("me");
    let tokens = folder.write("tokens", &line);
    for has_tokens in [false, true] {
        let mut dev = program(&["dev"]);
        dev.args(FREE_PORTS).env_remove("CARGO");
        if has_tokens {
            dev.arg("--tokens-file").arg(&tokens);
        }
        let mut server = Server::start(dev);
        let program = env!("CARGO_BIN_EXE_totp-facade");
        let create = server.line(&format!("  {program} create "));
        let authenticate = server.line(&format!("  {program} authenticate "));
        let grpcurl = server.line("  grpcurl ");
        let header = "-expand-headers -H 'authorization: Bearer ${TOTP_FACADE_TOKEN}' ";
        assert_eq!(grpcurl.contains(header), has_tokens, "{grpcurl}");
        let script = format!("{program} create {create}\n{program} authenticate {authenticate}");
        let run = |token: Option<&str>| {
            let mut shell = Command::new("sh");
            shell.args(["-ec", &script]).current_dir(&folder);
            shell.envs(token.map(|token| ("TOTP_FACADE_TOKEN", token))).output().unwrap()
        };

        if has_tokens {
            let rest = server.line("Callers need a token: ");
            assert!(rest.contains("TOTP_FACADE_TOKEN"), "{rest}");
            let output = run(None);
            assert_eq!(code(&output), Some(1));
            let said = stderr(&output);
            assert!(
                said.contains("\n  set TOTP_FACADE_TOKEN, or, over TLS, give --cert-file FILE"),
                "{said}"
            );
        }
        let output = run(has_tokens.then_some(&**token));

        assert!(stdout(&output).contains("\"session_token\":"), "{}", stderr(&output));
    }
}

#[test]
fn a_call_with_a_key_can_be_retried_on_the_command_line() {
    let (_server, addr) = dev(&[]);
    let with_key = |member: &str, key: &str| {
        let ids = ["--organization-id", "example-works", "--member-id", member];
        run(&[&["create", "--addr", &addr, "--idempotency-key", key], &ids[..]].concat())
    };

    let (first, again) = (with_key("fresh", "one"), with_key("fresh", "one"));

    assert_eq!((code(&first), code(&again)), (Some(0), Some(0)), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&first));
    assert!(!stderr(&first).contains("earlier call") && stderr(&again).contains("earlier call"));
    let other = with_key("enrolled", "one");
    assert_eq!(code(&other), Some(1));
    assert!(stderr(&other).contains("reason: IDEMPOTENCY_KEY_REUSED"), "{}", stderr(&other));
    let (refused, again) = (with_key("enrolled", "two"), with_key("enrolled", "two"));
    assert_eq!((code(&refused), code(&again)), (Some(1), Some(1)));
    assert!(!stderr(&refused).contains("idempotent-replayed"), "{}", stderr(&refused));
    assert!(stderr(&again).contains("idempotent-replayed: true"), "{}", stderr(&again));
    for key in ["two\nlines", "", "two words", "é", &"k".repeat(256)] {
        let output = with_key("fresh", key);
        assert_eq!(code(&output), Some(64), "{key:?} is not a key: {}", stderr(&output));
        let said = "error: --idempotency-key: must be ";
        assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
    }
}

#[test]
fn a_status_is_printed_with_its_details_and_ends_with_1() {
    let (_server, addr) = dev(&[]);

    let output = create(&addr, "enrolled");

    assert_eq!(code(&output), Some(1));
    assert_eq!(stdout(&output), "");
    for line in [
        "error: ALREADY_EXISTS: ",
        "  reason: ACTIVE_TOTP_EXISTS (stytch.com)",
        "  upstream: rejected",
        "  stytch-request-id: request-id-test-",
        "  help: https://stytch.com/docs/",
    ] {
        assert!(stderr(&output).contains(line), "{line} in {}", stderr(&output));
    }
    let output = create(&addr, "");
    assert!(stderr(&output).contains("  field member_id: is required"), "{}", stderr(&output));
}

#[test]
fn a_facade_that_is_not_there_is_a_clear_error() {
    for addr in ["http://127.0.0.1:9", "127.0.0.1:9"] {
        let output = create(addr, "fresh");

        assert_eq!(code(&output), Some(1));
        let text = stderr(&output);
        assert!(text.starts_with("error: cannot connect to http://127.0.0.1:9: "), "{text}");
        assert!(text.contains("refused"), "{text}");
    }
}

#[test]
fn a_port_of_another_server_is_a_clear_error() {
    let (mut server, _) = dev(&[]);
    let addr = server.addr("admin").to_string();

    for output in [create(&addr, "fresh"), run(&["healthcheck", "--addr", &addr])] {
        assert_eq!(code(&output), Some(1));
        for part in [
            "error: no façade answered: ",
            &format!("http://{addr} is not the gRPC port of a façade"),
            "whether the call took effect is not known",
        ] {
            assert!(stderr(&output).contains(part), "{part} in {}", stderr(&output));
        }
    }
}

#[test]
fn the_client_takes_the_address_as_the_facade_prints_it() {
    let (mut server, url) = dev(&[]);
    let addr = server.addr("grpc");

    for form in
        [addr.to_string(), url, format!("http://{addr}/"), format!("localhost:{}", addr.port())]
    {
        assert_eq!(code(&run(&["healthcheck", "--addr", &form])), Some(0), "{form}");
        let output = program(&["healthcheck"]).env("TOTP_FACADE_ADDR", &form).output().unwrap();
        assert_eq!(code(&output), Some(0), "{form}: {}", stderr(&output));
    }
    // Nobody listens there, which is no matter of usage.
    let output = run(&["healthcheck", "--addr", "[::1]:9"]);
    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("http://[::1]:9"), "{}", stderr(&output));
}

#[test]
fn an_invalid_address_is_refused_before_connecting() {
    for addr in [
        "127.0.0.1",
        "localhost",
        "::1",
        ":50051",
        "http://",
        "http:///create",
        "ftp://127.0.0.1:50051",
        "unix:",
        "unix://host/facade.sock",
        "unix-abstract:facade",
        "http://127.0.0.1:99999",
        "127.0.0.1:50051/path",
        "http://127.0.0.1:50051/path",
        "http://127.0.0.1:50051/?query",
        "http://127.0.0.1:50051#part",
        "http://user@127.0.0.1:50051",
        "two words:50051",
        "not a url",
    ] {
        let healthcheck = run(&["healthcheck", "--addr", addr]);
        let create = run(&["create", "--json", "/nowhere", "--addr", addr]);

        for output in [healthcheck, create] {
            assert_eq!(code(&output), Some(64), "{addr}: {}", stderr(&output));
            assert!(stderr(&output).starts_with("error: --addr: "), "{addr}: {}", stderr(&output));
            assert_eq!(stderr(&output).lines().count(), 1, "{addr}: {}", stderr(&output));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exceeded_client_deadline_is_reported_as_such() {
    let ids = ["--organization-id", "o", "--member-id", "fresh"];
    let ask = async |addr: String| {
        let start = Instant::now();
        let create = tokio::task::spawn_blocking(move || {
            let flags = ["--addr", &addr, "--deadline", "400ms"];
            let create = run(&[&["create"], &flags[..], &ids[..]].concat());
            (create, run(&[&["healthcheck"], &flags[..]].concat()))
        });
        let (create, healthcheck) = create.await.unwrap();
        assert!(start.elapsed() < PATIENCE);
        for output in [&create, &healthcheck] {
            assert!(!stderr(output).contains("CANCELLED"), "{}", stderr(output));
        }
        (create, healthcheck)
    };
    let own = "error: your deadline of 400ms ran out: ";

    // Nobody takes the connection.
    let deaf = Deaf::new().await;
    let (create, healthcheck) = ask(deaf.addr.to_string()).await;
    for output in [create, healthcheck] {
        assert_eq!(code(&output), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).starts_with(own), "{}", stderr(&output));
        assert!(stderr(&output).contains("nothing was sent"), "{}", stderr(&output));
    }

    // Somebody takes it and is silent.
    let silent = Peer::start(Connection::hold).await;
    let (create, healthcheck) = ask(silent.addr.to_string()).await;
    for output in [create, healthcheck] {
        assert_eq!(code(&output), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).starts_with(own), "{}", stderr(&output));
        assert!(stderr(&output).contains("is not known"), "{}", stderr(&output));
    }

    // The façade answers, and Stytch does not.
    let stytch = Peer::start(|mut connection| async move {
        connection.request().await;
        connection.hold().await;
    })
    .await;
    let facade = Facade::in_front_of(stytch.addr).await;
    let mut in_time = None;
    // On a busy machine, the façade's answer may come too late.
    for _ in 0..20 {
        let (create, healthcheck) = ask(facade.addr.to_string()).await;
        assert_eq!((code(&create), code(&healthcheck)), (Some(1), Some(0)));
        assert!(stderr(&create).starts_with(own), "{}", stderr(&create));
        if !stderr(&create).contains("no response came") {
            in_time = Some(create);
            break;
        }
    }
    let create = in_time.expect("an answer before the deadline");
    assert!(stderr(&create).contains("DEADLINE_EXCEEDED"), "{}", stderr(&create));
    assert!(stderr(&create).contains("upstream: unknown"), "{}", stderr(&create));
}

#[test]
fn an_invalid_deadline_is_a_usage_error() {
    for deadline in ["0s", "soon", "", "-1s", "2", "1000years", "999999999h", "25h"] {
        let flag = format!("--deadline={deadline}");
        for subcommand in
            [&["healthcheck"][..], &["create", "--organization-id", "o", "--member-id", "m"]]
        {
            let output = run(&[subcommand, &[&flag]].concat());

            assert_eq!(code(&output), Some(64), "{deadline}: {}", stderr(&output));
            assert!(stderr(&output).starts_with("error: --deadline: "), "{}", stderr(&output));
        }
    }
}

#[test]
fn code_prints_what_an_authenticator_app_shows_and_refuses_invalid_secrets() {
    let secret = "MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI";
    for input in [
        secret.to_owned(),
        format!(" {}\n", secret.to_lowercase()),
        format!("{}====\n", secret.replace("MKQ4", " mkq4 ")),
        format!(r#"{{"secret": "{secret}"}}"#),
        format!(
            "otpauth://totp/ACME:ada@example.com?secret={secret}&issuer=ACME&digits=6&period=30"
        ),
    ] {
        let before = SystemTime::now();
        let output = run_with_input(&["code"], &input);
        let possible = [before, SystemTime::now()].map(|time| code_of(secret, time));

        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        assert!(possible.contains(&stdout(&output).trim().to_owned()), "{}", stdout(&output));
    }
    for (input, reason) in [
        ("", "is empty"),
        ("{}", "is a JSON object without a secret"),
        ("not base32!", "is not base32"),
        ("AAAA", "at least 16 characters"),
        ("otpauth://hotp/a?secret=MZ77J2BROMKQ4MAD&counter=1", "HOTP"),
        ("otpauth://totp/a?secret=MZ77J2BROMKQ4MAD&algorithm=MD5", "algorithm"),
    ] {
        let output = run_with_input(&["code"], input);

        assert_eq!(code(&output), Some(64), "{input}");
        assert!(stderr(&output).starts_with("error: standard input: "), "{}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{input}: {}", stderr(&output));
        assert!(!stderr(&output).contains("MZ77"), "{}", stderr(&output));
    }
}

/// Runs a command line on a terminal of this size, and returns what it prints there.
#[cfg(target_os = "linux")]
fn on_terminal(rows: usize, columns: usize, args: &[&str]) -> String {
    let program = program(args);
    let words: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
    let line: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let line = format!("stty rows {rows} cols {columns} && {}", line.join(" "));
    // Of util-linux, which every Linux has.
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn create_draws_a_code_that_fits_the_terminal_or_says_how_wide_it_would_have_to_be() {
    let (_server, addr) = dev(&[]);
    // With a key, so that it is the same code each time.
    let draw = |rows, columns| {
        let ids = ["--organization-id", "example-works", "--member-id", "fresh"];
        let flags = ["create", "--addr", &addr, "--idempotency-key", "key"];
        on_terminal(rows, columns, &[&flags[..], &ids].concat())
    };
    let width = |text: &str| {
        let lines = text.lines().filter_map(|line| {
            let blocks = line.strip_prefix("\x1b[30;107m")?.split('\x1b').next()?;
            Some(blocks.chars().count())
        });
        lines.max()
    };

    let full = width(&draw(40, 200)).expect("a drawing");
    assert_eq!(width(&draw(40, full - 4)), Some(full - 4), "a smaller margin");
    for rows in [40, 0] {
        let text = draw(rows, 20);
        assert_eq!(width(&text), None, "{text}");
        let said = format!("it needs {} columns, and the terminal has 20", full - 6);
        assert!(text.contains(&said), "{text}");
    }
    assert_eq!(width(&draw(0, 0)), Some(full), "a terminal that does not know its size");
}

#[test]
fn a_flag_that_does_not_fit_its_field_is_a_usage_error_that_names_it() {
    let authenticate = ["authenticate", "--organization-id", "a", "--member-id", "b"];
    for (flags, what) in [
        (&["--session-token", "c"][..], "--code"),
        (&["--code", "000000", "--set-default-mfa", "perhaps"], "neither true nor false"),
        (&["--code", "000000", "--session-custom-claims", "7"], "not a JSON object"),
        (&["--code", "000000", "--session-duration-minutes", "long"], "invalid digit"),
        (&["--code", "000000", "--json", "-"], "cannot be used with"),
        (&["--code", "000000", "--session-tokem", "c"], "--session-token"),
    ] {
        let output = run(&[&authenticate[..], flags].concat());

        assert_eq!(code(&output), Some(64), "{flags:?}");
        assert!(stderr(&output).contains(what), "{flags:?}: {}", stderr(&output));
    }
}

#[test]
fn a_text_may_begin_with_a_hyphen_as_some_tokens_do() {
    let (_server, addr) = dev(&[]);
    let ids = ["--organization-id", "example-works", "--member-id", "enrolled"];
    let token = ["--session-token", "-s8Wvu", "--idempotency-key", "-key"];

    let output = run(&[&["delete", "--addr", &addr][..], &ids, &token].concat());

    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("session"), "{}", stderr(&output));
}

#[test]
fn a_whole_request_can_be_given_as_json_so_that_no_token_is_an_argument() {
    let (_server, addr) = dev(&[]);
    let create = |input| run_with_input(&["create", "--addr", &addr, "--json", "-"], input);
    let sms = r#"{"organization_id": "works", "member_id": "sms",
        "session_token": "sandbox-session.sms"}"#;

    assert_eq!(code(&create(sms)), Some(0), "{}", stderr(&create(sms)));
    for (input, what) in [
        (r#"{"organization_id": "works", "member": "sms"}"#, "there is no field member"),
        (r#"{"organization_id": 7}"#, "line 1"),
        (r#"["works", "sms"]"#, "line 1"),
        (r#"{"session_token": "tok"#, "line 1"),
        (r#"{} {}"#, "after the JSON object"),
    ] {
        let output = create(input);
        assert_eq!(code(&output), Some(64), "{input}");
        assert!(stderr(&output).contains(what), "{input}: {}", stderr(&output));
        assert!(!stderr(&output).contains("tok\""), "{}", stderr(&output));
    }
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_says_which() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();

    let output = run(&["dev", "--grpc-addr", &addr, "--admin-addr", "127.0.0.1:0"]);

    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains(&format!("cannot listen for grpc on {addr}")));
    assert!(stderr(&output).ends_with("; --grpc-addr 127.0.0.1:0 takes a free port\n"));
}

#[test]
fn a_seed_of_your_own_replaces_the_built_in_one() {
    let folder = Folder::new();
    let seed = r#"{
        "project": {"project_id": "project-test-mine", "secret": "mine", "name": "Mine"},
        "organizations": [{"organization_id": "o-1", "organization_name": "O", "organization_slug": "o"}],
        "members": [{"member_id": "m-1", "email_address": "m@example.com"}]
    }"#;
    let path = folder.write("seed.json", seed);
    let (_server, addr) = dev(&["--seed", path.to_str().unwrap()]);

    let ids = ["--organization-id", "o", "--member-id", "m-1"];
    let output = run(&[&["create", "--addr", &addr], &ids[..]].concat());

    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert_eq!(code(&create(&addr, "fresh")), Some(1), "the built-in one is gone");
    for (seed, what) in [
        ("{", "EOF"),
        (r#"{"project": {}}"#, "project_id"),
        (&*seed.replace("\"member_id\": \"m-1\", ", ""), "no member_id"),
        (&*seed.replace("\"m-1\"", "\"m-1\", \"organization_id\": \"o-2\""), "in no organization"),
        (&*seed.replace("\"m-1\"", "\"m-1\", \"sandbox\": {\"fault\": \"fire\"}"), "fire"),
        (&*seed.replace("\"members\"", "\"people\""), "people"),
    ] {
        folder.write("seed.json", seed);
        let output = run(&["sandbox", "--seed", path.to_str().unwrap()]);
        assert_eq!(code(&output), Some(64), "{what}");
        assert!(stderr(&output).contains(what), "{what}: {}", stderr(&output));
    }
}

#[test]
fn the_sandbox_alone_prints_where_it_is_and_its_credentials() {
    let mut server = Server::start(program(&["sandbox", "--sandbox-addr", "127.0.0.1:0"]));
    let addr = server.addr("sandbox");
    let mut facade = serve(&format!("http://{addr}"), "secret");
    facade
        .env("STYTCH_PROJECT_ID", "project-test-00000000-0000-4000-8000-000000000000")
        .env("STYTCH_SECRET", "secret-test-sandbox-this-is-not-a-real-secret");
    let (_facade, url) = start(facade);

    let output = create(&url, "fresh");

    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    server.signal("INT");
    let (code, stdout, _) = server.end();
    assert_eq!(code, Some(0));
    assert!(stdout.contains("STYTCH_PROJECT_ID=project-test-0000"), "{stdout}");
    assert!(stdout.contains("STYTCH_SECRET=secret-test-sandbox-"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let mut peer = Peer::start(|mut connection| async move {
        connection.request().await;
        connection.hold().await;
    })
    .await;
    let mut command = serve(&format!("http://{}", peer.addr), "secret");
    command.args(["--drain-delay", "1min"]);
    let (server, url) = start(command);
    let call = tokio::task::spawn_blocking(move || create(&url, "fresh"));
    peer.request().await;
    let start = Instant::now();

    server.signal("TERM");
    // Another kind, for two of one kind may arrive as one.
    server.signal("INT");
    let (code, _, stderr) = server.end();

    assert_eq!(code, Some(1), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    let _ = call.await;
}
