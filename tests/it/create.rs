//! The happy path, end to end: gRPC in, the sandbox's HTTP out.

use tonic::Code;

use crate::support::{Facade, create, info, request_id, sandbox};

#[tokio::test]
async fn create_returns_a_secret_a_qr_code_and_ten_recovery_codes() {
    let facade = Facade::in_front_of(sandbox().await).await;

    let response = facade.client().await.create(create("fresh")).await.expect("a TOTP");

    let request_id = request_id(response.metadata()).unwrap().to_owned();
    let answer = response.into_inner();
    assert_eq!(answer.request_id, request_id);
    assert_eq!(answer.secret.len(), 32);
    assert!(answer.qr_code.starts_with("data:image/png;base64,"));
    assert_eq!(answer.recovery_codes.len(), 10);
    let member = answer.member.expect("the member");
    assert_eq!(member.member_id, answer.member_id);
    assert_eq!(member.totp_registration_id, answer.totp_registration_id);
    assert_eq!(member.external_id.as_deref(), Some("fresh"));
    assert_eq!(member.roles[0].role_id, "stytch_member");
    assert_eq!(answer.organization.expect("the organization").organization_slug, "example-works");
}

#[tokio::test]
async fn create_names_members_and_organizations_by_any_of_their_ids() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;
    let answer = client.create(create("fresh")).await.expect("a TOTP").into_inner();
    let (member, organization) = (answer.member.unwrap(), answer.organization.unwrap());

    for organization_id in [
        organization.organization_id,
        organization.organization_slug,
        organization.organization_external_id.unwrap(),
    ] {
        for member_id in [&member.member_id, member.external_id.as_ref().unwrap()] {
            let mut request = create(member_id);
            request.organization_id.clone_from(&organization_id);

            let again = client.create(request).await.expect("a TOTP").into_inner();

            assert_eq!(again.member_id, answer.member_id, "{organization_id} {member_id}");
        }
    }
}

#[tokio::test]
async fn each_create_mints_another_secret() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;

    let first = client.create(create("fresh")).await.expect("a TOTP").into_inner();
    let second = client.create(create("fresh")).await.expect("a TOTP").into_inner();

    assert_ne!(first.secret, second.secret);
    assert_ne!(first.totp_registration_id, second.totp_registration_id);
    assert_ne!(first.recovery_codes, second.recovery_codes);
}

#[tokio::test]
async fn every_documented_member_of_the_sandbox_leads_to_its_status() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;

    for (member, code, reason) in [
        ("nobody", Code::NotFound, "MEMBER_NOT_FOUND"),
        ("invited", Code::FailedPrecondition, "ACTION_AVAILABLE_ONLY_FOR_ACTIVE_MEMBERS"),
        ("enrolled", Code::AlreadyExists, "ACTIVE_TOTP_EXISTS"),
        ("sms", Code::FailedPrecondition, "SESSION_ENFORCED_FACTOR_MATCHING_SESSION_REQUIRED"),
        ("rate-limited", Code::ResourceExhausted, "TOO_MANY_REQUESTS"),
        ("locked", Code::ResourceExhausted, "USER_LOCK_LIMIT_REACHED"),
        ("internal-error", Code::Unknown, "OUTCOME_UNKNOWN"),
        ("bad-gateway", Code::Unknown, "OUTCOME_UNKNOWN"),
    ] {
        let status = client.create(create(member)).await.expect_err(member);

        assert_eq!(status.code(), code, "{member}");
        assert_eq!(info(&status).reason, reason, "{member}");
    }
    let mut elsewhere = create("fresh");
    elsewhere.organization_id = "nowhere".into();
    let status = client.create(elsewhere).await.expect_err("no such organization");
    assert_eq!(info(&status).reason, "ORGANIZATION_NOT_FOUND");
}

#[tokio::test]
async fn a_member_with_an_mfa_factor_enrols_with_a_session_that_used_it() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut client = facade.client().await;
    let token = Some("sandbox-login.sms".to_owned());
    let mut request = create("sms");
    request.intermediate_session_token.clone_from(&token);

    let answer = client.create(request).await.expect("a TOTP").into_inner();

    assert_eq!(answer.member.unwrap().external_id.as_deref(), Some("sms"));
    let mut stolen = create("fresh");
    stolen.intermediate_session_token = token;
    let status = client.create(stolen).await.expect_err("a session of somebody else");
    assert_eq!(status.code(), Code::PermissionDenied);
}
