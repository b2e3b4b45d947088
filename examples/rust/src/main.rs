//! Enrols a member and logs in: totp-facade from Rust.
//!
//!     cargo run
//!
//! Runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.

mod facade;
mod totp;

use std::error::Error;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use facade::{Client, Details, call, connect, contract, variable};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = connect()?;
    let organization_id = variable("ORGANIZATION").unwrap_or("example-works".into());
    let member_id = variable("MEMBER").unwrap_or("fresh".into());

    let created = create(&client, &organization_id, &member_id).await?;
    let (_, picture) = created.qr_code.split_once(',').ok_or("no picture")?;
    std::fs::write("qr.png", BASE64_STANDARD.decode(picture)?)?;
    println!("scan qr.png, or type {}", created.secret);

    let request = contract::AuthenticateRequest {
        // In place of the member's authenticator app.
        code: totp::code(&created.secret),
        organization_id,
        member_id: member_id.clone(),
        ..Default::default()
    };
    // In place of the intermediate session token that a login with Stytch returns.
    let login = format!("sandbox-login.{member_id}.{}", Uuid::new_v4());
    let session = authenticate(
        &client,
        contract::AuthenticateRequest {
            intermediate_session_token: Some(login),
            set_mfa_enrollment: Some("enroll".into()),
            ..request.clone()
        },
    )
    .await?;
    let expires = session.member_session.and_then(|it| it.expires_at).ok_or("no session")?;
    println!("logged in, until {expires}");

    let session_token = Some(session.session_token);
    let again = contract::AuthenticateRequest { session_token, ..request };
    if let Err(error) = authenticate(&client, again).await {
        let Details { reason, upstream, fields } = Details::of(&error);
        println!("the same code again: {:?} {reason} {upstream} {fields:?}", error.code());
    }
    Ok(())
}

async fn authenticate(
    client: &Client,
    request: contract::AuthenticateRequest,
) -> Result<contract::AuthenticateResponse, tonic::Status> {
    call(client, request, async |mut client, request| client.authenticate(request).await).await
}

/// Registers a TOTP. Replaces an active one.
async fn create(
    client: &Client,
    organization_id: &str,
    member_id: &str,
) -> Result<contract::CreateResponse, tonic::Status> {
    let request = contract::CreateRequest {
        organization_id: organization_id.into(),
        member_id: member_id.into(),
        ..Default::default()
    };
    let register = async || {
        call(client, request.clone(), async |mut it, request| it.create(request).await).await
    };
    match register().await {
        Err(error) if Details::of(&error).reason == "ACTIVE_TOTP_EXISTS" => {}
        created => return created,
    }
    println!("there is an active TOTP; removing it");
    let delete = contract::DeleteRequest {
        organization_id: organization_id.into(),
        member_id: member_id.into(),
        ..Default::default()
    };
    call(client, delete, async |mut client, request| client.delete(request).await).await?;
    register().await
}
