//! Which callers are accepted over real TLS, by every kind of credential, and while files change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use data_encoding::BASE64URL_NOPAD;
use http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tonic::{Code, Request, metadata::MetadataMap, transport::Identity};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use tonic_types::StatusExt as _;
use totp_facade::{
    access::{self, Access, jwt, token_line},
    connection::{Peer, PeerAddr},
    telemetry::metrics::Metrics,
};

use crate::support::{
    Closed, Facade, PATIENCE, Setup,
    credentials::{AUDIENCE, Authority, ISSUER, Issuing, jwks},
    door::{DoorFiles, LOGIN, POLICY, becomes, create, is},
    info, peer,
    process::{Server, serve},
    pushback,
    rpc::Rpc,
    sandbox,
};

#[tokio::test]
async fn each_kind_of_credential_good_and_bad_is_distinguished() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let files = DoorFiles::new(&[&ours]);
    let ((token, line), (other, other_line)) = (token_line("login"), token_line("reader"));
    files.write("tokens", &format!("{line}\n{other_line}\n"));
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;

    let certificate = |names: &[&str]| Some(ours.identity(names));
    for (identity, token, code, why) in [
        (certificate(&[LOGIN]), None, Code::Ok, "a certificate with the SPIFFE id"),
        (certificate(&["dns:login.internal"]), None, Code::Ok, "one with the DNS name"),
        (certificate(&["dns:x", LOGIN]), None, Code::Ok, "one with several names"),
        (certificate(&["spiffe://example.org/x"]), None, Code::Unauthenticated, "another SAN"),
        (certificate(&["dns:login.internal.x"]), None, Code::Unauthenticated, "a longer name"),
        (certificate(&[]), None, Code::Unauthenticated, "no SAN"),
        (
            certificate(&["token:login"]),
            None,
            Code::Unauthenticated,
            "a URI that looks like a token's identity",
        ),
        (
            certificate(&["spiffe://example.org/ns/web/sa/reader"]),
            None,
            Code::PermissionDenied,
            "a caller who may only read",
        ),
        (None, Some(token.as_str()), Code::Ok, "a token"),
        (
            None,
            Some(other.as_str()),
            Code::PermissionDenied,
            "the token of a caller who may only read",
        ),
        (None, Some("unknown"), Code::Unauthenticated, "an unknown token"),
        (None, Some(&token[1..]), Code::Unauthenticated, "a part of a token"),
        (None, Some(""), Code::Unauthenticated, "an empty token"),
        (None, None, Code::Unauthenticated, "nothing"),
        (
            certificate(&[LOGIN]),
            Some("unknown"),
            Code::Unauthenticated,
            "a good certificate and a bad token",
        ),
    ] {
        let channel = files.channel(&facade, identity).await;

        is(create(&channel, token).await, code, why);
    }
    for (identity, why) in [
        (theirs.identity(&[LOGIN]), "another authority"),
        (
            {
                let (certificate, key) = ours.certify(&[LOGIN], true);
                Identity::from_pem(certificate, key)
            },
            "expired",
        ),
    ] {
        // With TLS 1.3 a client learns of the refusal after the handshake only.
        let refused = match files.try_channel(&facade, Some(identity)).await {
            Err(_) => true,
            Ok(channel) => {
                let status = create(&channel, None).await.expect_err(why);
                status.get_error_details().error_info().is_none()
            }
        };
        assert!(refused, "{why}");
    }
}

#[tokio::test]
async fn health_is_open_to_all_and_reflection_follows_the_policy() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let ((login, line), (reader, other)) = (token_line("login"), token_line("reader"));
    files.write("tokens", &format!("{line}\n{other}\n"));
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;
    let channel = files.channel(&facade, None).await;

    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.expect("health");

    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some(login.as_str()), Code::PermissionDenied),
        (Some(reader.as_str()), Code::Ok),
    ] {
        let list = MessageRequest::ListServices(String::new());
        let ask = ServerReflectionRequest { message_request: Some(list), ..Default::default() };
        let mut request = Request::new(tokio_stream::once(ask));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }

        let answer =
            ServerReflectionClient::new(channel.clone()).server_reflection_info(request).await;

        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
}

#[tokio::test]
async fn a_caller_learns_whether_the_method_or_the_organization_is_not_allowed() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let ((near, line), (far, other)) = (token_line("near"), token_line("far"));
    files.write("tokens", &format!("{line}\n{other}\n"));
    files.write(
        "callers.toml",
        "[[caller]]\nname = 'near'\nidentities = ['token:near']\nmethods = ['TotpService/Delete']\n\
         [[caller]]\nname = 'far'\nidentities = ['token:far']\nmethods = ['*']\n\
         organizations = ['elsewhere']\n",
    );
    let facade = files.facade(sandbox().await).await;
    let channel = files.channel(&facade, None).await;

    for (token, what) in [
        (near, "the caller may not call this method"),
        (far, "the caller may not act for this organization, as the request spells it"),
    ] {
        let status = create(&channel, Some(&token)).await.expect_err(what);

        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), format!("the policy does not allow this call: {what}"));
        assert_eq!(info(&status).reason, "CALLER_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn a_callers_rate_and_organizations_are_enforced() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let ((fast, line), (far, other)) = (token_line("fast"), token_line("far"));
    files.write("tokens", &format!("{line}\n{other}\n"));
    files.write(
        "callers.toml",
        "[[caller]]\nname = 'fast'\nidentities = ['token:fast']\nmethods = ['*']\n\
         rate = { per_second = 1, burst = 2 }\n\
         [[caller]]\nname = 'far'\nidentities = ['token:far']\nmethods = ['*']\n\
         organizations = ['elsewhere']\n",
    );
    let facade = files.facade(sandbox().await).await;
    let channel = files.channel(&facade, None).await;

    is(create(&channel, Some(&far)).await, Code::PermissionDenied, "another organization");
    for _ in 0..2 {
        is(create(&channel, Some(&fast)).await, Code::Ok, "within the burst");
    }
    let status = create(&channel, Some(&fast)).await.expect_err("above the rate");

    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(info(&status).reason, "CALLER_RATE_LIMITED");
    let wait = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(1200), "{wait:?}");
    assert_eq!(pushback(&status), Some(wait.as_millis().to_string().as_str()));
}

#[tokio::test]
async fn without_a_policy_every_authenticated_caller_may_call_everything() {
    let ours = Authority::new();
    let files = DoorFiles::new(&[&ours]);
    let facade = files.facade(sandbox().await).await;

    for (identity, code) in [
        (Some(ours.identity(&["spiffe://anybody"])), Code::Ok),
        (Some(ours.identity(&[])), Code::Unauthenticated),
        (None, Code::Unauthenticated),
    ] {
        let channel = files.channel(&facade, identity).await;
        is(create(&channel, None).await, code, "by certificate alone");
    }
}

#[tokio::test]
async fn a_credential_revoked_by_a_reload_is_refused_on_open_connections_too() {
    let (ours, next) = (Authority::new(), Authority::new());
    let files = DoorFiles::new(&[&ours]);
    let (token, line) = token_line("login");
    let (_, unrelated) = token_line("reader");
    files.write("tokens", &format!("{line}\n{unrelated}\n"));
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;
    let by_certificate = files.channel(&facade, Some(ours.identity(&[LOGIN]))).await;
    let by_token = files.channel(&facade, None).await;
    is(create(&by_certificate, None).await, Code::Ok, "a certificate");
    is(create(&by_token, Some(&token)).await, Code::Ok, "a token");

    files.write("tokens", &unrelated);
    becomes(&by_token, Some(&token), Code::Unauthenticated).await;
    files.trust(&[&next]);
    becomes(&by_certificate, None, Code::Unauthenticated).await;
    files.trust(&[&ours, &next]);
    becomes(&by_certificate, None, Code::Ok).await;
    files.write("callers.toml", &POLICY.replace("'TotpService/*'", "'TotpService/Delete'"));
    becomes(&by_certificate, None, Code::PermissionDenied).await;
}

#[tokio::test]
async fn an_unusable_file_leaves_the_old_one_in_force() {
    let ours = Authority::new();
    let files = DoorFiles::new(&[&ours]);
    let (token, line) = token_line("login");
    files.write("tokens", &line);
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;
    let channel = files.channel(&facade, None).await;

    for (name, text) in [
        ("callers.toml", "[[caller]]\nname = 'login'\nmethods = ['*']"),
        ("tokens", "not a token at all"),
        ("clients.pem", "not a certificate"),
        ("server.pem", "not a certificate"),
    ] {
        files.write(name, text);
    }
    // Once this good file is in force, the bad ones have been read too.
    let (second, line) = token_line("login");
    for _ in 0..20 {
        is(create(&channel, Some(&token)).await, Code::Ok, "the old files");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    files.write("tokens", &line);
    becomes(&channel, Some(&second), Code::Ok).await;
    let new = files.channel(&facade, Some(ours.identity(&[LOGIN]))).await;
    is(
        create(&new, None).await,
        Code::Ok,
        "a new connection, by the old certificate and authority",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_authority_tokens_and_policy_are_rotated_under_load_with_no_failed_call() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Arc::new(DoorFiles::new(&[&old]));
    let ((first, first_line), (second, second_line)) = (token_line("login"), token_line("login"));
    files.write("tokens", &first_line);
    files.write("callers.toml", POLICY);
    let facade = Arc::new(files.facade(sandbox().await).await);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    // Two workers keep their connections, with a token and a certificate; one reconnects for each
    // call.
    let stays = [
        (files.channel(&facade, None).await, Some(first.to_string())),
        (files.channel(&facade, Some(old.identity(&[LOGIN]))).await, None),
    ];
    let mut workers: Vec<_> = stays
        .into_iter()
        .map(|(channel, token)| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    create(&channel, token.as_deref()).await.expect("no failed call");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (its_files, its_facade) = (Arc::clone(&files), Arc::clone(&facade));
    let (its_stop, its_calls) = (Arc::clone(&stop), Arc::clone(&calls));
    let token = first.to_string();
    workers.push(tokio::spawn(async move {
        while !its_stop.load(Ordering::SeqCst) {
            let channel = its_files.channel(&its_facade, None).await;
            create(&channel, Some(&token)).await.expect("no failed call");
            its_calls.fetch_add(1, Ordering::SeqCst);
        }
    }));
    let progress = async || {
        let until = calls.load(Ordering::SeqCst) + 30;
        while calls.load(Ordering::SeqCst) < until {
            assert!(workers.iter().all(|worker| !worker.is_finished()), "a call failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };

    progress().await;
    files.new_server_certificate();
    files.trust(&[&old, &new]);
    files.write("tokens", &format!("{first_line}\n{second_line}\n"));
    files.write(
        "callers.toml",
        &POLICY.replace("'TotpService/*'", "'TotpService/*', 'RecoveryCodesService/*'"),
    );
    progress().await;
    let by_token = files.channel(&facade, None).await;
    becomes(&by_token, Some(&second), Code::Ok).await;
    let start = Instant::now();
    loop {
        let channel = files.try_channel(&facade, Some(new.identity(&[LOGIN]))).await;
        let answer = match &channel {
            Ok(channel) => create(channel, None).await.is_ok(),
            Err(_) => false,
        };
        if answer {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the new authority is not trusted");
    }
    progress().await;

    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_delays_nobody() {
    let ours = Authority::new();
    let files = DoorFiles::new(&[&ours]);
    let facade = files.facade(sandbox().await).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(tokio::net::TcpStream::connect(facade.addr).await.unwrap());
    }
    let start = Instant::now();

    let channel = files.channel(&facade, Some(ours.identity(&[LOGIN]))).await;
    is(create(&channel, None).await, Code::Ok, "a good call");

    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_reports_when_the_certificate_expires_after_a_reload_too() {
    let (files, ours) = (DoorFiles::new(&[]), Authority::new());
    let mut command = serve("http://127.0.0.1:9", "secret");
    command.arg("--tls-cert-file").arg(files.path("server.pem"));
    command.arg("--tls-key-file").arg(files.path("server.key"));
    let mut server = Server::start(command);
    let admin = format!("http://{}/metrics", server.addr("admin"));
    let ends = async || {
        let page = reqwest::get(&admin).await.unwrap().text().await.unwrap();
        let name = "\ntotp_facade_tls_certificate_expiration_timestamp_seconds ";
        let (_, rest) = page.split_once(name).expect("the metric");
        rest.lines().next().unwrap().parse::<i64>().unwrap()
    };

    assert_eq!(ends().await, 67_090_118_400, "the year 4096");
    let (certificate, key) = ours.certify(&["dns:localhost"], true);
    files.write("server.pem", &certificate);
    files.write("server.key", &key);

    let start = Instant::now();
    while ends().await != 1_580_515_200 {
        assert!(start.elapsed() < PATIENCE, "the metric does not follow the file");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a façade without TLS that accepts JWTs, with a policy for one subject.
async fn taking_jwts(folder: &DoorFiles, keys: jwt::Source) -> Facade {
    let (issuer, audience) = (ISSUER.into(), AUDIENCE.into());
    let settings = jwt::Settings { issuer, audience, keys, ca_file: None, token_file: None };
    taking_jwts_by(folder, settings).await
}

/// Starts the same façade with these settings.
pub async fn taking_jwts_by(folder: &DoorFiles, jwt: jwt::Settings) -> Facade {
    folder.write(
        "callers.toml",
        "[[caller]]\nname = 'login'\nmethods = ['TotpService/*']\n\
         identities = ['jwt:system:serviceaccount:web:login']",
    );
    let mut setup = Setup::new(sandbox().await);
    setup.access = access::Settings {
        jwt: Some(jwt),
        policy: Some(folder.path("callers.toml")),
        ..Default::default()
    };
    setup.start().await
}

#[tokio::test]
async fn a_jwt_needs_the_right_issuer_audience_and_time() {
    let folder = DoorFiles::new(&[&Authority::new()]);
    let (ours, theirs) = (Issuing::new("one"), Issuing::new("one"));
    let unknown = Issuing::new("two");
    folder.write("jwks.json", &jwks(&[&ours]));
    let facade = taking_jwts(&folder, jwt::Source::File(folder.path("jwks.json"))).await;
    let channel = facade.channel().await;
    let past = 1_600_000_000;
    let unsigned = {
        let token = ours.sign(&json!({}));
        let mut parts = token.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
        parts[0] = BASE64URL_NOPAD.encode(br#"{"alg":"none","kid":"one"}"#);
        parts[2].clear();
        parts.join(".")
    };
    let symmetric = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".into());
        // The classic attack: the public key serves as a symmetric secret.
        let secret = ours.jwk()["x"].as_str().unwrap().to_owned();
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": 9_999_999_999_u64});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    };

    for (token, code, why) in [
        (ours.sign(&json!({})), Code::Ok, "a valid token"),
        (ours.sign(&json!({"aud": AUDIENCE})), Code::Ok, "one audience"),
        (ours.sign(&json!({"exp": past})), Code::Unauthenticated, "expired"),
        (ours.sign(&json!({"exp": null})), Code::Unauthenticated, "without an expiry"),
        (ours.sign(&json!({"nbf": 9_999_999_999_u64})), Code::Unauthenticated, "not yet valid"),
        (ours.sign(&json!({"aud": "others"})), Code::Unauthenticated, "for others"),
        (ours.sign(&json!({"aud": null})), Code::Unauthenticated, "without an audience"),
        (ours.sign(&json!({"iss": "https://else"})), Code::Unauthenticated, "of another issuer"),
        (ours.sign(&json!({"iss": null})), Code::Unauthenticated, "without an issuer"),
        (ours.sign(&json!({"sub": null})), Code::Unauthenticated, "without a subject"),
        (ours.sign(&json!({"sub": ""})), Code::Unauthenticated, "with an empty subject"),
        (ours.sign_with(&json!({"crit": ["exp"]})), Code::Unauthenticated, "with an extension"),
        (ours.sign(&json!({"sub": "system:x"})), Code::Unauthenticated, "of an unknown subject"),
        (theirs.sign(&json!({})), Code::Unauthenticated, "signed by another key with the same id"),
        (unknown.sign(&json!({})), Code::Unauthenticated, "signed by an unknown key"),
        (unsigned, Code::Unauthenticated, "unsigned"),
        (symmetric, Code::Unauthenticated, "signed with a public key as a secret"),
        ("no.jwt.atall".into(), Code::Unauthenticated, "no JWT"),
    ] {
        is(create(&channel, Some(&token)).await, code, why);
    }

    // A reload revokes tokens that were accepted before, too.
    let used = ours.sign(&json!({}));
    for _ in 0..2 {
        is(create(&channel, Some(&used)).await, Code::Ok, "before");
    }
    folder.write("jwks.json", &jwks(&[&unknown]));
    becomes(&channel, Some(&unknown.sign(&json!({}))), Code::Ok).await;
    is(create(&channel, Some(&used)).await, Code::Unauthenticated, "revoked");
    is(create(&channel, Some(&ours.sign(&json!({})))).await, Code::Unauthenticated, "revoked");
}

#[tokio::test]
async fn a_jwks_may_be_behind_a_url() {
    let folder = DoorFiles::new(&[&Authority::new()]);
    let (key, closed) = (Issuing::new("one"), Closed::new());
    let url = format!("http://{}/keys", closed.addr).parse().unwrap();
    let facade = taking_jwts(&folder, jwt::Source::Url(url)).await;
    let (channel, token) = (facade.channel().await, key.sign(&json!({})));

    let status = create(&channel, Some(&token)).await.expect_err("the JWKS cannot be fetched");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(info(&status).reason, "CALLER_KEYS_UNAVAILABLE");
    is(
        create(&channel, None).await,
        Code::Unauthenticated,
        "a call without a JWT does not need the keys",
    );

    let answer = peer::json(200, &jwks(&[&key]));
    let peer = peer::Peer::on(closed.open(), move |mut connection| {
        let answer = answer.clone();
        async move {
            while connection.request().await {
                connection.send(&answer).await;
            }
        }
    });
    becomes(&channel, Some(&token), Code::Ok).await;
    assert_eq!(peer.pending(), 1, "one fetch, not one for each call");
}

#[tokio::test]
async fn a_forwarded_certificate_is_accepted_from_listed_proxies_only() {
    let (token, line) = token_line("login");
    let folder = DoorFiles::new(&[&Authority::new()]);
    folder.write("tokens", &line);
    folder.write("callers.toml", POLICY);
    let named = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let good = format!("By=spiffe://example.org/proxy;Hash=12ab;URI={LOGIN}");
    for (proxies, headers, token, code, why) in [
        (&["127.0.0.0/8"][..], named(&[&good]), None, Code::Ok, "a listed proxy"),
        (&["127.0.0.1/32"], named(&["DNS=login.internal"]), None, Code::Ok, "by its DNS name"),
        (&["10.0.0.0/8"], named(&[&good]), None, Code::Unauthenticated, "spoofed by a stranger"),
        (&["10.0.0.0/8"], named(&[&good]), Some(&token), Code::Ok, "ignored, with a good token"),
        (&["127.0.0.0/8"], named(&["URI=spiffe://x"]), None, Code::Unauthenticated, "unknown"),
        (
            &["127.0.0.0/8"],
            named(&["URI=token:login"]),
            None,
            Code::Unauthenticated,
            "no SPIFFE id",
        ),
        (&["127.0.0.0/8"], named(&[&good, &good]), None, Code::Unauthenticated, "doubled"),
        (
            &["127.0.0.0/8"],
            named(&[&format!("URI={LOGIN},URI=spiffe://x")]),
            None,
            Code::Unauthenticated,
            "two elements: a proxy that appends",
        ),
        (&["127.0.0.0/8"], named(&["URI"]), Some(&token), Code::Unauthenticated, "malformed"),
        (&["127.0.0.0/8"], named(&[]), Some(&token), Code::Ok, "no header, and a token"),
        (&["127.0.0.0/8"], named(&[]), None, Code::Unauthenticated, "nothing"),
        (&["::ffff:127.0.0.1"], named(&[&good]), None, Code::Ok, "mapped into IPv6"),
        (&["::ffff:127.0.0.0/104"], named(&[&good]), None, Code::Ok, "mapped into IPv6"),
        (&["0.0.0.0/0"], named(&[&good]), None, Code::Ok, "any IPv4 address"),
        (&["::/0"], named(&[&good]), None, Code::Unauthenticated, "any IPv6 address, and no other"),
        (&["::ffff:10.0.0.0/104"], named(&[&good]), None, Code::Unauthenticated, "another one"),
    ] {
        let mut setup = Setup::new(sandbox().await);
        setup.access = access::Settings {
            tokens: Some(folder.path("tokens")),
            policy: Some(folder.path("callers.toml")),
            proxies: proxies.iter().map(|it| it.parse().unwrap()).collect(),
            ..Default::default()
        };
        let facade = setup.start().await;
        let mut request = Request::new((Rpc::CREATE.request)("fresh"));
        for header in headers {
            let value = header.parse().unwrap();
            request.metadata_mut().append("x-forwarded-client-cert", value);
        }
        if let Some(token) = token {
            let value = format!("Bearer {}", **token).parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }

        let answer = (Rpc::CREATE.call)(facade.channel().await, request).await;

        is(answer.map(drop), code, why);
    }
}

/// Returns the headers of a call.
fn headers(forwarded: Option<&str>, token: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(forwarded) = forwarded {
        headers.insert("x-forwarded-client-cert", forwarded.parse().unwrap());
    }
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    headers
}

#[tokio::test]
async fn a_peer_is_its_ipv4_address_however_a_socket_of_both_families_shows_it() {
    for (listed, addr, known) in [
        ("10.0.0.0/8", "10.1.2.3:1", true),
        ("10.0.0.0/8", "[::ffff:10.1.2.3]:1", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3:1", true),
        ("::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]:1", true),
        ("::ffff:10.0.0.0/104", "[::ffff:11.1.2.3]:1", false),
        ("::/0", "[::ffff:10.1.2.3]:1", false),
        ("::/0", "[2001:db8::1]:1", true),
        ("0.0.0.0/0", "[2001:db8::1]:1", false),
    ] {
        let settings =
            access::Settings { proxies: vec![listed.parse().unwrap()], ..Default::default() };
        let access = Access::new(&settings, &Metrics::default()).unwrap();
        let peer = Peer { addr: Some(PeerAddr::Ip(addr.parse().unwrap())), ..Default::default() };

        let headers = headers(Some(&format!("URI={LOGIN}")), None);
        let caller = access.identify(&headers, &peer);

        assert_eq!(caller.map(|it| it.name().to_owned()).ok(), known.then(|| LOGIN.to_owned()));
    }
    let mixed = vec![access::Proxy::Network("::ffff:10.0.0.0/64".parse().unwrap())];
    let settings = access::Settings { proxies: mixed, ..Default::default() };
    assert!(Access::new(&settings, &Metrics::default()).is_err());
}

#[tokio::test]
async fn a_listed_proxys_own_certificate_identifies_none_of_its_callers() {
    const READER: &str = "URI=spiffe://example.org/ns/web/sa/reader";
    let (ours, next) = (Authority::new(), Authority::new());
    let mut files = DoorFiles::new(&[&ours]);
    files.proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let ((login, line), (reader, other)) = (token_line("login"), token_line("reader"));
    files.write("tokens", &format!("{line}\n{other}\n"));
    files.write("callers.toml", POLICY);
    let facade = files.facade(sandbox().await).await;
    // The certificate would identify a caller if it came from another address.
    let proxy = files.channel(&facade, Some(ours.identity(&[LOGIN]))).await;
    let call = async |forwarded: Option<&str>, token: Option<&str>| {
        let mut request = Request::new((Rpc::CREATE.request)("fresh"));
        *request.metadata_mut() = MetadataMap::from_headers(headers(forwarded, token));
        (Rpc::CREATE.call)(proxy.clone(), request).await.map(drop)
    };
    let its = format!("URI={LOGIN}");

    is(call(None, None).await, Code::Unauthenticated, "no header");
    is(call(Some(&its), None).await, Code::Ok, "a forwarded certificate");
    is(
        call(Some(READER), None).await,
        Code::PermissionDenied,
        "the forwarded certificate of another caller",
    );
    is(
        call(Some("URI="), None).await,
        Code::Unauthenticated,
        "a forwarded certificate without an identity",
    );
    is(call(None, Some(&login)).await, Code::Ok, "a token");
    is(call(None, Some(&reader)).await, Code::PermissionDenied, "the token of another caller");
    is(call(None, Some("unknown")).await, Code::Unauthenticated, "an unknown token");
    is(
        call(Some(READER), Some(&login)).await,
        Code::PermissionDenied,
        "the forwarded certificate takes precedence",
    );

    // A bad credential is refused, even if the call presents good ones too.
    files.trust(&[&next]);
    let start = Instant::now();
    while call(Some(&its), Some(&login)).await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "the proxy's certificate stays trusted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is(
        call(Some(&its), Some(&login)).await,
        Code::Unauthenticated,
        "a proxy whose certificate is revoked",
    );
}
