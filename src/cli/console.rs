//! `console`: serves the page from which a developer tries every call of a façade.

use clap::Args;
use tokio::net::TcpListener;

use super::{
    connect::connect,
    failure::Failure,
    listen::{addr_of, bind, url_of},
    output::print,
    program::program,
    runtime,
    signals::stop_signal,
};
use crate::{
    address::Address,
    config::{ClientConfig, ConsoleConfig, Unchecked},
    console::{self, Console, Settings},
    sandbox::{Authenticator, Seed},
};

#[derive(Args, Debug)]
pub(super) struct ConsoleArgs {
    #[command(flatten)]
    settings: Unchecked<ConsoleConfig>,
}

/// Serves the page until a signal.
pub(super) fn console(args: &ConsoleArgs) -> Result<(), Failure> {
    let ConsoleConfig { addr, client } = args.settings.check()?;
    runtime::wait_for(async {
        let stop = stop_signal()?;
        let console = of(client, None)?;
        let listener = bind("console", addr)?;
        print(&announcement(&listener)?)?;
        run(console, listener, stop).await
    })?
}

/// Makes a console that calls this façade; under `dev`, with the sandbox behind it.
pub(super) fn of(
    client: ClientConfig,
    sandbox: Option<(Seed, Authenticator)>,
) -> Result<Console, Failure> {
    let (seed, authenticator) = sandbox.unzip();
    let settings = Settings {
        deadline: client.deadline,
        has_token: client.authorization.is_some(),
        has_certificate: client.files.certificate.is_some(),
        program: program(),
        seed,
    };
    Ok(Console { connection: connect(client)?, settings, authenticator })
}

/// Serves the page until `stop` completes.
pub(super) async fn run(
    console: Console,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    console::serve(console, listener, stop).await.map_err(|error| Failure::run(&error))
}

/// Says where the page is.
pub(super) fn announcement(listener: &TcpListener) -> Result<String, Failure> {
    Ok(format!("console listening on {}\n", url_of(Address::Tcp(addr_of(listener)?), None)))
}
