//! `healthcheck`: asks a running façade whether it serves.

use clap::Args;
use tonic::Request;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{connect::connect, failure::Failure, output::print, runtime};
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
    let config = args.connection.check()?;
    let deadline = config.deadline;
    let connection = connect(config)?;
    let check = async |channel, request| HealthClient::new(channel).check(request).await;
    let response = runtime::wait_for(connection.call(request, deadline, check))??;
    match response.get_ref().status() {
        ServingStatus::Serving => print("SERVING\n"),
        status => Err(Failure::Run(status.as_str_name().into())),
    }
}
