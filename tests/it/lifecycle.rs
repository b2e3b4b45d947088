//! The whole life of a TOTP through the façade, in front of a sandbox whose clock the test sets.
//! Codes come from an implementation of RFC 6238 of the tests' own.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use data_encoding::BASE32_NOPAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tonic::{Code, Status, transport::Channel};
use totp_facade::sandbox::{Sandbox, Seed};

use crate::support::{
    self, Facade, Setup,
    folder::Folder,
    info,
    rfc6238::{self, code_of},
    rpc::Rpc,
};

/// 2026-01-01T12:00:05Z, within a step.
const START: u64 = 1_767_268_805;

/// A façade in front of a sandbox, and the sandbox's time.
struct World {
    time: Arc<Mutex<SystemTime>>,
    channel: Channel,
    _facade: Facade,
}

impl World {
    async fn new() -> Self {
        Self::of(Seed::embedded()).await
    }

    /// Whose organization has these fields too.
    async fn with_organization(fields: Value) -> Self {
        let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sandbox/seed.json");
        let mut seed: Value = serde_json::from_slice(&std::fs::read(seed).unwrap()).unwrap();
        let organization = seed["organizations"][0].as_object_mut().unwrap();
        organization.extend(fields.as_object().unwrap().clone());
        let folder = Folder::new();
        Self::of(Seed::read(&folder.write("seed.json", &seed.to_string())).unwrap()).await
    }

    async fn of(seed: Seed) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
        let time = Arc::new(Mutex::new(start));
        let clock = Arc::clone(&time);
        let sandbox = Sandbox::new(seed).with_clock(move || *clock.lock().unwrap());
        let mut setup = Setup::new(support::serve(sandbox).await);
        setup.server.max_in_flight = 1024;
        let facade = setup.start().await;
        Self { time, channel: facade.channel().await, _facade: facade }
    }

    fn now(&self) -> SystemTime {
        *self.time.lock().unwrap()
    }

    fn pass(&self, seconds: u64) {
        *self.time.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// The code that an app shows now.
    fn code(&self, secret: &Value) -> String {
        code_of(secret.as_str().unwrap(), self.now())
    }

    async fn call(&self, rpc: Rpc, member: &str, fields: Value) -> Result<Value, Status> {
        let mut request = json!({"organization_id": "example-works", "member_id": member});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Ok(rpc.with(self.channel.clone(), request).await?.into_inner())
    }

    async fn create(&self, member: &str) -> Value {
        self.call(Rpc::CREATE, member, json!({})).await.expect("a TOTP")
    }

    /// With the code of `secret` and a login of the member's own that is good once.
    async fn authenticate(&self, member: &str, code: &str, login: &str) -> Result<Value, Status> {
        let token = format!("sandbox-login.{member}.{login}");
        let fields = json!({"code": code, "intermediate_session_token": token});
        self.call(Rpc::AUTHENTICATE, member, fields).await
    }

    async fn recover(&self, member: &str, code: &Value, login: &str) -> Result<Value, Status> {
        let token = format!("sandbox-login.{member}.{login}");
        let fields = json!({"recovery_code": code, "intermediate_session_token": token});
        self.call(Rpc::RECOVER, member, fields).await
    }

    /// A member with an active TOTP: its secret and its recovery codes.
    async fn enrolled(&self, member: &str) -> (Value, Value) {
        let created = self.create(member).await;
        let code = self.code(&created["secret"]);
        self.authenticate(member, &code, "enrol").await.expect("the first code");
        self.pass(60);
        (created["secret"].clone(), created["recovery_codes"].clone())
    }
}

#[track_caller]
fn is(result: Result<Value, Status>, code: Code, reason: &str) {
    let status = result.expect_err(reason);
    assert_eq!(info(&status).reason, reason, "{status:?}");
    assert_eq!(status.code(), code, "{status:?}");
}

#[tokio::test]
async fn enrol_authenticate_replay_recover_rotate_delete_and_enrol_again() {
    let world = World::new().await;

    let created = world.create("fresh").await;
    assert_eq!(created["member"]["mfa_enrolled"], false);
    let code = world.code(&created["secret"]);
    let first = world.authenticate("fresh", &code, "1").await.expect("the first code");
    assert_eq!(first["member"]["default_mfa_method"], "totp");
    assert_eq!(first["member"]["totp_registration_id"], created["totp_registration_id"]);
    let factors = &first["member_session"]["authentication_factors"];
    assert_eq!(factors[1]["authenticator_app_factor"]["totp_id"], created["totp_registration_id"]);
    assert_eq!(
        (&factors[0]["sequence_order"], &factors[1]["sequence_order"]),
        (&json!("PRIMARY"), &json!("SECONDARY"))
    );

    let replay = world.authenticate("fresh", &code, "2").await;
    is(replay, Code::InvalidArgument, "TOTP_CODE_ALREADY_AUTHENTICATED");

    let spent = &created["recovery_codes"][4];
    let recovered = world.recover("fresh", spent, "3").await.expect("a recovery code");
    assert_eq!(recovered["recovery_codes_remaining"], 9);
    let factors = &recovered["member_session"]["authentication_factors"];
    assert_eq!(factors[1]["type"], "recovery_codes");
    is(
        world.recover("fresh", spent, "4").await,
        Code::InvalidArgument,
        "UNABLE_TO_AUTHENTICATE_RECOVERY_CODE",
    );
    let left = world.call(Rpc::GET, "fresh", json!({})).await.expect("the codes");
    assert_eq!(left["recovery_codes"].as_array().unwrap().len(), 9);
    assert!(!left["recovery_codes"].as_array().unwrap().contains(spent));

    let rotated = world.call(Rpc::ROTATE, "fresh", json!({})).await.expect("new codes");
    assert_eq!(rotated["recovery_codes"].as_array().unwrap().len(), 10);
    is(
        world.recover("fresh", &left["recovery_codes"][0], "5").await,
        Code::InvalidArgument,
        "UNABLE_TO_AUTHENTICATE_RECOVERY_CODE",
    );
    let left = world.call(Rpc::GET, "fresh", json!({})).await.expect("the codes");
    assert_eq!(left["recovery_codes"], rotated["recovery_codes"]);

    is(
        world.call(Rpc::CREATE, "fresh", json!({})).await,
        Code::AlreadyExists,
        "ACTIVE_TOTP_EXISTS",
    );
    let deleted = world.call(Rpc::DELETE, "fresh", json!({})).await.expect("removed");
    assert_eq!(deleted["member"]["totp_registration_id"], "");
    assert_eq!(deleted["member"]["default_mfa_method"], "");
    is(world.call(Rpc::DELETE, "fresh", json!({})).await, Code::NotFound, "TOTP_NOT_FOUND");
    is(world.call(Rpc::GET, "fresh", json!({})).await, Code::NotFound, "RECOVERY_CODES_NOT_FOUND");
    for (rpc, fields) in [
        (Rpc::ROTATE, json!({})),
        (Rpc::RECOVER, json!({"recovery_code": "a", "session_token": "sandbox-session.fresh"})),
    ] {
        is(
            world.call(rpc, "fresh", fields).await,
            Code::FailedPrecondition,
            "NO_ACTIVE_RECOVERY_CODE_BACKED_FACTOR",
        );
    }

    let again = world.create("fresh").await;
    assert_ne!(again["secret"], created["secret"]);
    let code = world.code(&again["secret"]);
    world.authenticate("fresh", &code, "6").await.expect("the new secret's first code");
}

#[test]
fn the_codes_of_the_tests_are_those_of_the_rfc() {
    for (seconds, code) in rfc6238::VECTORS {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(rfc6238::code(rfc6238::KEY, time), code, "at {seconds}");
    }
}

#[tokio::test]
async fn the_sandbox_accepts_the_codes_of_the_rfc() {
    let world = World::new().await;
    let secret = BASE32_NOPAD.encode(rfc6238::KEY);
    world.call(Rpc::MIGRATE, "fresh", json!({"secret": secret})).await.expect("migrated");

    for (seconds, code) in rfc6238::VECTORS {
        *world.time.lock().unwrap() = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);

        let answer = world.authenticate("fresh", code, &seconds.to_string()).await;

        answer.unwrap_or_else(|status| panic!("at {seconds}: {status:?}"));
    }
}

#[tokio::test]
async fn a_code_is_valid_one_step_either_side_and_once() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let code = world.code(&secret);

    world.pass(60);
    is(
        world.authenticate("fresh", &code, "late").await,
        Code::InvalidArgument,
        "UNABLE_TO_AUTHENTICATE_TOTP",
    );
    for (ahead, what) in [(-30_i64, "the one before"), (30, "the one after"), (0, "this one")] {
        let at = world.now().checked_add(Duration::from_secs(60)).unwrap();
        let at = at - Duration::from_secs(u64::try_from(60 - ahead).unwrap());
        let code = code_of(secret.as_str().unwrap(), at);
        world.authenticate("fresh", &code, what).await.expect(what);
        is(
            world.authenticate("fresh", &code, &format!("{what} again")).await,
            Code::InvalidArgument,
            "TOTP_CODE_ALREADY_AUTHENTICATED",
        );
    }
}

#[tokio::test]
async fn a_pending_totp_expires_and_enrolment_starts_again() {
    let world = World::new().await;
    let fields = json!({"expiration_minutes": 5});
    let created = world.call(Rpc::CREATE, "fresh", fields).await.expect("a TOTP");

    world.pass(5 * 60);
    let code = world.code(&created["secret"]);
    is(world.authenticate("fresh", &code, "1").await, Code::FailedPrecondition, "EXPIRED_TOTP");
    is(world.call(Rpc::DELETE, "fresh", json!({})).await, Code::NotFound, "TOTP_NOT_FOUND");

    let created = world.create("fresh").await;
    world.pass(60 * 60 - 1);
    let code = world.code(&created["secret"]);
    world.authenticate("fresh", &code, "2").await.expect("within the 60 minutes of the default");
}

#[tokio::test]
async fn too_many_wrong_codes_lock_the_member_for_an_hour() {
    let world = World::new().await;
    let (secret, recovery_codes) = world.enrolled("fresh").await;
    let wrong = |code: String| if code == "000000" { "000001" } else { "000000" };
    let wrong = wrong(world.code(&secret));

    for round in 0..9 {
        is(
            world.authenticate("fresh", wrong, "1").await,
            Code::InvalidArgument,
            "UNABLE_TO_AUTHENTICATE_TOTP",
        );
        if round == 4 {
            // A success sets the count back.
            let code = world.code(&secret);
            world.authenticate("fresh", &code, "2").await.expect("a right code");
            world.pass(60);
        }
    }
    for _ in 4..9 {
        is(
            world.recover("fresh", &json!("wrong"), "1").await,
            Code::InvalidArgument,
            "UNABLE_TO_AUTHENTICATE_RECOVERY_CODE",
        );
    }
    is(
        world.authenticate("fresh", wrong, "1").await,
        Code::InvalidArgument,
        "UNABLE_TO_AUTHENTICATE_TOTP",
    );

    let code = world.code(&secret);
    for answer in [
        world.authenticate("fresh", &code, "1").await,
        world.recover("fresh", &recovery_codes[0], "1").await,
    ] {
        is(answer, Code::ResourceExhausted, "USER_LOCK_LIMIT_REACHED");
    }
    let seen = world.call(Rpc::GET, "fresh", json!({})).await.expect("reading goes on");
    assert_eq!(seen["member"]["is_locked"], true);
    assert_ne!(seen["member"]["lock_expires_at"], Value::Null);

    world.pass(60 * 60);
    let code = world.code(&secret);
    let answer = world.authenticate("fresh", &code, "1").await.expect("the lock is over");
    assert_eq!(answer["member"]["is_locked"], false);
    assert_eq!(answer["member"].get("lock_expires_at"), None);
}

#[tokio::test]
async fn a_wrong_code_keeps_the_login_and_a_right_one_uses_it_up() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let code = world.code(&secret);
    let wrong = if code == "000000" { "000001" } else { "000000" };

    is(
        world.authenticate("fresh", wrong, "1").await,
        Code::InvalidArgument,
        "UNABLE_TO_AUTHENTICATE_TOTP",
    );
    world.authenticate("fresh", &code, "1").await.expect("the same login");
    world.pass(60);
    is(
        world.authenticate("fresh", &world.code(&secret), "1").await,
        Code::NotFound,
        "INTERMEDIATE_SESSION_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_session_is_extended_and_its_claims_are_changed() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let claims = json!({"tier": "gold", "old": 1, "sub": "nobody"});
    let first = world
        .call(
            Rpc::AUTHENTICATE,
            "fresh",
            json!({
                "code": world.code(&secret), "intermediate_session_token": "sandbox-login.fresh.1",
                "session_duration_minutes": 5, "session_custom_claims": claims,
            }),
        )
        .await
        .expect("a session");
    assert_eq!(first["member_session"]["custom_claims"], json!({"tier": "gold", "old": 1}));

    world.pass(60);
    let second = world
        .call(
            Rpc::AUTHENTICATE,
            "fresh",
            json!({
                "code": world.code(&secret), "session_jwt": first["session_jwt"],
                "session_duration_minutes": 527_040, "session_custom_claims": {"old": null, "new": [null]},
            }),
        )
        .await
        .expect("the same session");

    assert_eq!(second["session_token"], first["session_token"]);
    let (before, after) = (&first["member_session"], &second["member_session"]);
    assert_eq!(after["member_session_id"], before["member_session_id"]);
    assert_eq!(after["started_at"], before["started_at"]);
    assert_eq!(after["expires_at"], "2027-01-02T12:02:05Z", "366 days from now");
    assert_eq!(after["custom_claims"], json!({"tier": "gold", "new": [null]}));
    assert_eq!(after["authentication_factors"].as_array().unwrap().len(), 2, "TOTP once");

    world.pass(5 * 60);
    let late = json!({"code": world.code(&secret), "session_jwt": second["session_jwt"]});
    is(world.call(Rpc::AUTHENTICATE, "fresh", late).await, Code::NotFound, "SESSION_NOT_FOUND");
    let token = json!({"code": world.code(&secret), "session_token": second["session_token"]});
    world.call(Rpc::AUTHENTICATE, "fresh", token).await.expect("the token lives on");
}

#[tokio::test]
async fn a_session_argument_must_be_single_valid_and_the_members_own() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let code = world.code(&secret);
    for (proofs, grpc, reason) in [
        (json!({"session_token": "nothing"}), Code::NotFound, "SESSION_NOT_FOUND"),
        (json!({"session_jwt": "a.b.c"}), Code::InvalidArgument, "UNABLE_TO_PARSE_SESSION_JWT"),
        (
            json!({"intermediate_session_token": "nothing"}),
            Code::NotFound,
            "INTERMEDIATE_SESSION_NOT_FOUND",
        ),
        (
            json!({"intermediate_session_token": "sandbox-login.sms"}),
            Code::PermissionDenied,
            "MEMBER_SESSION_MEMBER_ID_MISMATCH",
        ),
        (
            json!({"session_token": "sandbox-session.sms"}),
            Code::PermissionDenied,
            "MEMBER_SESSION_MEMBER_ID_MISMATCH",
        ),
        (
            json!({"session_token": "sandbox-session.fresh", "intermediate_session_token": "sandbox-login.fresh"}),
            Code::InvalidArgument,
            "TOO_MANY_SESSION_ARGUMENTS",
        ),
    ] {
        let mut fields = proofs;
        fields["code"] = json!(code);
        is(world.call(Rpc::AUTHENTICATE, "fresh", fields).await, grpc, reason);
    }
    let fields = json!({"code": code, "session_token": "sandbox-session.fresh"});
    world.call(Rpc::AUTHENTICATE, "fresh", fields).await.expect("none of that spent the code");
}

#[tokio::test]
async fn a_delete_with_a_session_needs_its_permission() {
    let world = World::new().await;
    let delete = async |fields| world.call(Rpc::DELETE, "enrolled", fields).await;

    is(
        delete(json!({"session_token": "sandbox-session.fresh"})).await,
        Code::PermissionDenied,
        "SESSION_AUTHORIZATION_ERROR",
    );
    is(delete(json!({"session_token": "nothing"})).await, Code::NotFound, "SESSION_NOT_FOUND");
    delete(json!({"session_token": "sandbox-session.enrolled"})).await.expect("one's own");
}

#[tokio::test]
async fn mfa_enrolment_and_the_default_method_are_as_asked() {
    let world = World::new().await;
    let created =
        world.call(Rpc::CREATE, "sms", json!({"intermediate_session_token": "sandbox-login.sms"}));
    let secret = created.await.expect("a TOTP")["secret"].clone();
    for (fields, enrolled, default) in [
        (json!({}), true, "sms_otp"),
        (json!({"set_mfa_enrollment": "unenroll"}), false, "sms_otp"),
        (json!({}), false, "sms_otp"),
        (json!({"set_mfa_enrollment": "enroll", "set_default_mfa": false}), true, "sms_otp"),
        (json!({"set_default_mfa": true}), true, "totp"),
    ] {
        let mut fields = fields;
        fields["code"] = json!(world.code(&secret));
        fields["session_token"] = json!("sandbox-session.sms");

        let answer = world.call(Rpc::AUTHENTICATE, "sms", fields.clone()).await.expect("a session");

        assert_eq!(answer["member"]["mfa_enrolled"], enrolled, "{fields}");
        assert_eq!(answer["member"]["default_mfa_method"], default, "{fields}");
        let factors = answer["member_session"]["authentication_factors"].as_array().unwrap();
        assert_eq!(factors.len(), 3, "email, phone and TOTP");
        world.pass(60);
    }
    let deleted = world.call(Rpc::DELETE, "sms", json!({})).await.expect("removed");
    assert_eq!(deleted["member"]["default_mfa_method"], "sms_otp");
}

#[tokio::test]
async fn an_organization_that_requires_mfa_of_all_enrols_every_member_who_passes() {
    let world = World::with_organization(json!({"mfa_policy": "REQUIRED_FOR_ALL"})).await;
    let created = world.create("fresh").await;
    let fields = json!({
        "code": world.code(&created["secret"]), "set_mfa_enrollment": "unenroll",
        "intermediate_session_token": "sandbox-login.fresh",
    });

    let answer = world.call(Rpc::AUTHENTICATE, "fresh", fields).await.expect("a session");

    assert_eq!(answer["member"]["mfa_enrolled"], true, "the wish is ignored");
}

#[tokio::test]
async fn an_organization_without_totp_among_its_methods_refuses_enrolment() {
    let restricted = json!({"mfa_methods": "RESTRICTED", "allowed_mfa_methods": ["sms_otp"]});
    let world = World::with_organization(restricted).await;

    for (rpc, fields) in [(Rpc::CREATE, json!({})), (Rpc::MIGRATE, json!({"secret": "AAAA"}))] {
        is(
            world.call(rpc, "fresh", fields).await,
            Code::FailedPrecondition,
            "OPERATION_RESTRICTED_BY_ORGANIZATION_MFA_METHODS",
        );
    }
}

#[tokio::test]
async fn a_refused_request_uses_neither_the_code_nor_the_login() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let code = world.code(&secret);
    let claims = json!({"large": "x".repeat(4096)});
    let fields = json!({
        "code": code, "intermediate_session_token": "sandbox-login.fresh.1",
        "session_duration_minutes": 5, "session_custom_claims": claims,
    });

    is(
        world.call(Rpc::AUTHENTICATE, "fresh", fields).await,
        Code::InvalidArgument,
        "CUSTOM_CLAIMS_TOO_LARGE",
    );

    world.authenticate("fresh", &code, "1").await.expect("both are good");
}

#[tokio::test]
async fn a_migrated_totp_is_active_at_once_with_its_recovery_codes() {
    let world = World::new().await;
    let secret = json!("MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI");
    let fields = json!({"secret": secret, "recovery_codes": ["old-1", "old-2"]});
    let migrated = world.call(Rpc::MIGRATE, "fresh", fields.clone()).await.expect("migrated");
    assert_eq!(migrated["recovery_codes"], json!(["old-1", "old-2"]));
    assert_eq!(migrated["member"]["totp_registration_id"], migrated["totp_registration_id"]);
    is(world.call(Rpc::MIGRATE, "fresh", fields).await, Code::AlreadyExists, "ACTIVE_TOTP_EXISTS");

    world.authenticate("fresh", &world.code(&secret), "1").await.expect("the old app's code");
    let recovered = world.recover("fresh", &json!("old-2"), "2").await.expect("an old code");
    assert_eq!(recovered["recovery_codes_remaining"], 1);

    world.call(Rpc::DELETE, "fresh", json!({})).await.expect("removed");
    let fields = json!({"secret": secret});
    let minted = world.call(Rpc::MIGRATE, "fresh", fields).await.expect("migrated");
    assert_eq!(
        minted["recovery_codes"].as_array().unwrap().len(),
        10,
        "minted when there are none"
    );
    let bad = json!({"secret": "not base32!"});
    is(world.call(Rpc::MIGRATE, "sms", bad).await, Code::InvalidArgument, "BAD_REQUEST");
}

#[tokio::test]
async fn codes_of_the_other_kind_are_distinguished() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    is(
        world.recover("fresh", &json!(world.code(&secret)), "1").await,
        Code::InvalidArgument,
        "TOTP_CODE_USED_AS_RECOVERY_CODE",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_simultaneous_authenticates_with_one_code_exactly_one_succeeds() {
    let world = World::new().await;
    let (secret, _) = world.enrolled("fresh").await;
    let code = world.code(&secret);

    let logins: Vec<_> = (0..100).map(|login| login.to_string()).collect();
    let answers =
        join_all(logins.iter().map(|login| world.authenticate("fresh", &code, login))).await;

    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 99));
    for answer in bad {
        is(answer, Code::InvalidArgument, "TOTP_CODE_ALREADY_AUTHENTICATED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_simultaneous_creates_leave_exactly_one_live_secret() {
    let world = World::new().await;

    let fields = json!({"expiration_minutes": 1440});
    let creates = (0..100).map(|_| world.call(Rpc::CREATE, "fresh", fields.clone()));
    let created: Vec<_> = join_all(creates).await.into_iter().map(Result::unwrap).collect();

    let mut live = Vec::new();
    for (login, answer) in created.iter().enumerate() {
        let code = world.code(&answer["secret"]);
        // A dead secret has a live one's code once in a great while; its registration tells.
        if let Ok(success) = world.authenticate("fresh", &code, &login.to_string()).await
            && success["member"]["totp_registration_id"] == answer["totp_registration_id"]
        {
            live.push(login);
        }
        // Long enough for a lock to end, and short enough for a hundred of them in a day.
        world.pass(if login % 10 == 9 { 60 * 60 } else { 60 });
    }
    assert_eq!(live.len(), 1, "{live:?}");
}
