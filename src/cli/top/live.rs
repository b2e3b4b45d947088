//! Keeps the view of a façade on the terminal until the user leaves.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant, SystemTime},
};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use ratatui::DefaultTerminal;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    exposition::Page,
    number::age,
    scrape::Scraper,
    summary::Summary,
    view::{self, Screen},
    window::Window,
};
use crate::cli::failure::Failure;

/// How far the numbers look back. Those of a second alone would jump.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// A page and when it was fetched.
struct Look {
    page: Page,
    at: Instant,
}

/// What the terminal shows.
struct State {
    address: String,
    /// The looks of the last ten seconds, the oldest first; at least one.
    looks: VecDeque<Look>,
    trouble: Option<String>,
}

/// Shows the façade until the user leaves, or the process is asked to stop. A façade that is away
/// at first is a failure; one that goes away later is reported on the screen.
pub(super) async fn show(scraper: Scraper, every: Duration) -> Result<(), Failure> {
    let first = scraper.page().await.map_err(Failure::Run)?;
    let looks = VecDeque::from([Look { page: first, at: Instant::now() }]);
    let mut state = State { address: scraper.address().to_owned(), looks, trouble: None };
    let mut stopped = std::pin::pin!(stop_signal().map_err(terminal_failure)?);
    let mut pages = fetch(scraper, every);
    let mut terminal = Terminal::open().map_err(terminal_failure)?;
    let mut events = EventStream::new();
    loop {
        terminal.draw(&state).map_err(terminal_failure)?;
        tokio::select! {
            page = pages.recv() => state.take(page.expect("the task fetches until it is aborted")),
            event = events.next() => match event {
                Some(Ok(event)) if !is_leave(&event) => {}
                Some(Err(error)) => return Err(terminal_failure(error)),
                Some(Ok(_)) | None => return Ok(()),
            },
            () = &mut stopped => return Ok(()),
        }
    }
}

fn terminal_failure(error: io::Error) -> Failure {
    Failure::Run(format!("cannot use the terminal: {error}"))
}

/// Fetches pages in a task of its own, so that one that is slow holds up no key.
fn fetch(scraper: Scraper, every: Duration) -> mpsc::Receiver<Result<Page, String>> {
    let (sender, pages) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and the first page is there.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if sender.send(scraper.page().await).await.is_err() {
                return;
            }
        }
    });
    pages
}

/// Whether the user wants to leave: `q`, Escape or Ctrl-C.
fn is_leave(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return false };
    let is_pressed = *kind != KeyEventKind::Release;
    let is_leave = match code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    };
    is_pressed && is_leave
}

impl State {
    /// Takes the next page, or why there is none.
    fn take(&mut self, page: Result<Page, String>) {
        match page {
            Err(trouble) => self.trouble = Some(trouble),
            Ok(page) => {
                self.trouble = None;
                let at = Instant::now();
                self.looks.push_back(Look { page, at });
                // The oldest is the one to compare with.
                while self.looks.get(1).is_some_and(|look| at - look.at >= LOOK_BACK) {
                    self.looks.pop_front();
                }
            }
        }
    }

    fn summary(&self) -> Summary {
        let now = SystemTime::now();
        let (oldest, newest) = (&self.looks[0], &self.looks[self.looks.len() - 1]);
        if self.looks.len() == 1 {
            return Summary::of(&Window::since_start(&newest.page, now));
        }
        let seconds = (newest.at - oldest.at).as_secs_f64();
        Summary::of(&Window::between(&oldest.page, &newest.page, seconds, now))
    }

    /// Why the numbers are old, and how old.
    fn trouble(&self) -> Option<String> {
        let why = self.trouble.as_ref()?;
        let since = self.looks[self.looks.len() - 1].at.elapsed();
        Some(format!("no answer for {}: {why}", age(since.as_secs_f64())))
    }
}

/// The terminal, with the view in place of what was there. Dropping it restores the terminal, and
/// so does a panic, before it is reported.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn open() -> io::Result<Self> {
        // Some of it may have been done when the rest fails.
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }

    fn draw(&mut self, state: &State) -> io::Result<()> {
        let summary = state.summary();
        let trouble = state.trouble();
        let screen =
            Screen { address: &state.address, summary: &summary, trouble: trouble.as_deref() };
        self.0.draw(|frame| view::draw(frame, &screen)).map(|_| ())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Returns a future that ends once the process is asked to stop. The keyboard's Ctrl-C is a key.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(windows)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
