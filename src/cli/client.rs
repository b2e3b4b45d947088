//! The client side: one subcommand an RPC, and `healthcheck`.

use std::{
    fs,
    io::{IsTerminal as _, Read as _, stdin, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::{Failure, print, qr, runtime, with_causes};
use crate::{
    config::Problem,
    proto::{
        json::FromObject,
        stytch::b2b::totp::v1::{CreateRequest, totp_service_client::TotpServiceClient},
    },
    status,
};

/// Where the façade is, and how long to wait for it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Where the façade listens
    #[arg(
        long,
        env = "TOTP_FACADE_ADDR",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    addr: String,

    /// Time for the whole call
    #[arg(long, default_value = "15s", value_name = "TIME")]
    deadline: String,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    connection: ConnectionArgs,

    /// The whole request as JSON with Stytch's field names, from a file or from standard input (-).
    /// Keeps tokens out of the argument list, which other users of the machine can read
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "organization_id", "member_id", "expiration_minutes", "intermediate_session_token",
        "session_token", "session_jwt",
    ])]
    json: Option<PathBuf>,

    /// The organization: its id, slug or external id
    #[arg(long, value_name = "ID", required_unless_present = "json")]
    organization_id: Option<String>,

    /// The member: its id or external id
    #[arg(long, value_name = "ID", required_unless_present = "json")]
    member_id: Option<String>,

    /// Minutes within which the first code must be accepted, 5 to 1440; 60 by default
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
    expiration_minutes: Option<i32>,

    /// Proof of a login in progress
    #[arg(long, value_name = "TOKEN")]
    intermediate_session_token: Option<String>,

    /// Proof of a session, by its token
    #[arg(long, value_name = "TOKEN")]
    session_token: Option<String>,

    /// Proof of a session, by its JWT
    #[arg(long, value_name = "JWT")]
    session_jwt: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    connection: ConnectionArgs,

    /// The full name of a service; the whole server by default
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    service: String,
}

pub(super) fn create(args: CreateArgs) -> Result<(), Failure> {
    let request = match &args.json {
        Some(path) => read_request(path)?,
        None => CreateRequest {
            organization_id: args.organization_id.unwrap_or_default(),
            member_id: args.member_id.unwrap_or_default(),
            expiration_minutes: args.expiration_minutes,
            intermediate_session_token: args.intermediate_session_token,
            session_token: args.session_token,
            session_jwt: args.session_jwt,
        },
    };
    let answer = args.connection.call(request, async |channel, request| {
        TotpServiceClient::new(channel).create(request).await
    })?;
    print_json(&answer)?;
    if stdout().is_terminal() {
        match qr::draw(&answer.qr_code) {
            Ok(drawing) => print(&drawing),
            Err(error) => print(&format!("(the QR code cannot be drawn: {error})\n")),
        }
    }
    Ok(())
}

pub(super) fn healthcheck(args: &HealthcheckArgs) -> Result<(), Failure> {
    let request = HealthCheckRequest { service: args.service.clone() };
    let answer = args
        .connection
        .call(request, async |channel, request| HealthClient::new(channel).check(request).await)?;
    match answer.status() {
        ServingStatus::Serving => {
            print("SERVING\n");
            Ok(())
        }
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}

impl ConnectionArgs {
    /// Makes one call with a deadline.
    fn call<Req, Res>(
        &self,
        request: Req,
        rpc: impl AsyncFnOnce(Channel, Request<Req>) -> Result<Response<Res>, Status>,
    ) -> Result<Res, Failure> {
        let deadline = humantime::parse_duration(&self.deadline)
            .map_err(|error| usage("--deadline", &error))?;
        let endpoint = Endpoint::from_shared(self.addr.clone())
            .map_err(|error| usage("--addr", &error))?
            .connect_timeout(deadline);
        runtime()?.block_on(async {
            let channel = endpoint.connect().await.map_err(|error| {
                Failure::Run(format!("cannot connect to {}: {}", self.addr, with_causes(&error)))
            })?;
            let mut request = Request::new(request);
            request.set_timeout(deadline);
            match rpc(channel, request).await {
                Ok(response) => Ok(response.into_inner()),
                Err(status) => Err(Failure::Run(describe(&status))),
            }
        })
    }
}

/// Reads a request. Unlike an answer of Stytch's it must fit exactly: an unknown field is a typing error.
fn read_request<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|error| usage("--json", &format!("{}: {error}", path.display())))?;
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_str(&text);
    let FromObject(request) =
        serde_ignored::deserialize(&mut json, |field| unknown.push(field.to_string()))
            // serde's text may quote the value, which may be a token.
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                usage("--json", &format!("not the right JSON at line {line}, column {column}"))
            })?;
    json.end().map_err(|_| usage("--json", &"there is something after the JSON object"))?;
    match unknown.first() {
        None => Ok(request),
        Some(field) => Err(usage("--json", &format!("there is no field {field}"))),
    }
}

fn usage(setting: &'static str, what: &dyn std::fmt::Display) -> Failure {
    Failure::Settings(vec![Problem { setting, what: what.to_string() }])
}

fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(answer).map_err(|error| Failure::run(&error))?;
    print(&format!("{json}\n"));
    Ok(())
}

/// A status with its details, a line each.
fn describe(status: &Status) -> String {
    let mut lines = vec![format!("{}: {}", status::code_name(status.code()), status.message())];
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        lines.push(format!("reason: {} ({})", info.reason, info.domain));
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        lines.extend(metadata.iter().map(|(key, value)| format!("{key}: {value}")));
    }
    for violation in details.bad_request().iter().flat_map(|it| &it.field_violations) {
        lines.push(format!("field {}: {}", violation.field, violation.description));
    }
    if let Some(request) = details.request_info() {
        lines.push(format!("{}: {}", status::REQUEST_ID, request.request_id));
    }
    for link in details.help().iter().flat_map(|it| &it.links) {
        lines.push(format!("help: {}", link.url));
    }
    if let Some(delay) = details.retry_info().and_then(|it| it.retry_delay) {
        let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        lines.push(format!("retry after: {}", humantime::format_duration(delay)));
    }
    lines.join("\n  ")
}
