//! `healthcheck`: asks a running façade whether it serves.

use clap::Args;
use tonic::Request;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{client::Connection, failure::Failure, output::print};
use crate::config::{ClientConfig, Unchecked};

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    connection: Unchecked<ClientConfig>,

    /// The full name of a service; the whole server by default
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    service: String,
}

/// Prints `SERVING`, or fails with any other status.
pub(super) fn healthcheck(args: HealthcheckArgs) -> Result<(), Failure> {
    let request = Request::new(HealthCheckRequest { service: args.service });
    let connection = Connection::new(args.connection.check()?)?;
    let response = connection
        .call(request, async |channel, request| HealthClient::new(channel).check(request).await)?;
    match response.get_ref().status() {
        ServingStatus::Serving => print("SERVING\n"),
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}
