//! `top`: shows what a running façade does, from the metrics of its admin port.
//!
//! `scrape` fetches a page, `exposition` parses it, `window` says what changed between two pages,
//! and `summary` makes tables of that. `text` prints them, and `live` keeps `view` on the terminal.

mod exposition;
mod live;
mod number;
mod scrape;
mod summary;
mod text;
mod view;
mod window;

use std::{
    io::{IsTerminal as _, stdout},
    time::{Duration, SystemTime},
};

use clap::Args;

use super::{failure::Failure, output::print, runtime};
use crate::config::address;
use scrape::Scraper;
use summary::Summary;
use window::Window;

#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// The admin port of the façade: a URL, or IP:PORT as the façade prints it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    admin_addr: String,

    /// Time between two looks at the façade, from 100ms to 1m
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: String,

    /// Prints one snapshot of everything since the façade started, as text, and exits
    #[arg(long)]
    once: bool,
}

/// Shows the façade until the user leaves, or prints one snapshot.
pub(super) fn top(args: &TopArgs) -> Result<(), Failure> {
    let url = address(&args.admin_addr, "");
    let url = url.map_err(|what| Failure::usage("--admin-addr", what))?;
    let interval = interval(&args.interval).map_err(|what| Failure::usage("--interval", what))?;
    let is_terminal = stdout().is_terminal();
    if !args.once && !is_terminal {
        return Err(Failure::usage("--once", "is required where standard output is no terminal"));
    }
    let scraper = Scraper::new(&url).map_err(Failure::Run)?;
    runtime::wait_for(async {
        if !args.once {
            return live::show(scraper, interval).await;
        }
        let page = scraper.page().await.map_err(Failure::Run)?;
        let window = Window::since_start(&page, SystemTime::now());
        print(&text::snapshot(scraper.address(), &Summary::of(&window)))
    })?
}

fn interval(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(60);
    let interval = humantime::parse_duration(text).ok().filter(|it| allowed.contains(it));
    interval.ok_or_else(|| format!("{text:?} is not a time from 100ms to 1m, for instance 2s"))
}
