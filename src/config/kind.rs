//! Kinds of values: how a setting's text is read, checked and shown.

use std::{
    ffi::OsStr,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ValueEnum, builder::PossibleValue};

use crate::files::pem;

/// The longest time that a setting may be. Every clock has room for it.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How the text of a setting becomes a `T`.
#[derive(Debug)]
pub(super) struct Kind<T> {
    pub(super) form: Form,
    pub(super) show: fn(&T) -> String,
    parse: Parse<T>,
}

/// What `--help` says about values of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The word that stands for a value.
    pub(super) placeholder: &'static str,
    /// Which values are refused, unless the placeholder says that.
    pub(super) limits: &'static str,
    /// Whether the flag alone means `true`.
    pub(super) is_switch: bool,
    /// Whether the value must not be shown.
    pub(super) is_secret: bool,
    /// All values that there are, where they are few: shells complete them.
    pub(super) values: Option<fn() -> Vec<PossibleValue>>,
}

#[derive(Debug)]
enum Parse<T> {
    Text(fn(&str) -> Result<T, String>),
    File(fn(&Path) -> Result<T, String>),
}

impl<T> Kind<T> {
    /// A kind whose values `show` prints.
    pub(super) const fn shown(
        placeholder: &'static str,
        parse: fn(&str) -> Result<T, String>,
        show: fn(&T) -> String,
    ) -> Self {
        Self::new(placeholder, Parse::Text(parse), show)
    }

    /// A kind of file that `read` reads.
    pub(super) const fn file(read: fn(&Path) -> Result<T, String>, show: fn(&T) -> String) -> Self {
        Self::new("FILE", Parse::File(read), show)
    }

    /// A kind of secret, which is never shown.
    pub(super) const fn secret(parse: fn(&str) -> Result<T, String>) -> Self {
        let mut kind = Self::shown("SECRET", parse, |_| "(set, not shown)".to_owned());
        kind.form.is_secret = true;
        kind
    }

    const fn new(placeholder: &'static str, parse: Parse<T>, show: fn(&T) -> String) -> Self {
        let (is_switch, is_secret) = (false, false);
        let form = Form { placeholder, limits: "", is_switch, is_secret, values: None };
        Self { form, show, parse }
    }

    /// Says what `parse` refuses, for `--help` and the documents.
    pub(super) const fn limits(mut self, limits: &'static str) -> Self {
        self.form.limits = limits;
        self
    }

    /// Names all values that `parse` takes.
    pub(super) const fn values(mut self, values: fn() -> Vec<PossibleValue>) -> Self {
        self.form.values = Some(values);
        self
    }

    /// Lets the flag stand without a value.
    const fn switch(mut self) -> Self {
        self.form.is_switch = true;
        self
    }

    pub(super) fn parse(&self, value: &OsStr) -> Result<T, String> {
        match self.parse {
            Parse::Text(parse) => parse(value.to_str().ok_or("is not UTF-8")?),
            Parse::File(read) => read(Path::new(value)),
        }
    }
}

impl<T: fmt::Display> Kind<T> {
    /// A kind whose values print themselves.
    pub(super) const fn text(
        placeholder: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Self {
        Self::shown(placeholder, parse, T::to_string)
    }
}

/// Any text but an empty one.
pub(super) const TEXT: Kind<String> = Kind::text("TEXT", |text| match text {
    "" => Err("is empty".to_owned()),
    _ => Ok(text.to_owned()),
});

/// The path of a file, unchecked.
pub(super) const FILE: Kind<PathBuf> = checked_file(|path| Ok(path.to_owned()));

/// Certificates of authorities in a PEM file.
pub(super) const AUTHORITIES: Kind<PathBuf> =
    checked_file(|path| pem::check_authorities(path).map(|_| path.to_owned()));

/// An IP address with a port, to listen on.
pub(super) const ADDR: Kind<SocketAddr> =
    Kind::text("IP:PORT", |text| addr(text, "127.0.0.1:50051"));

/// A number from 1 to the largest that a semaphore takes.
pub(super) const COUNT: Kind<usize> = Kind::text("COUNT", |text| {
    let range = 1..=tokio::sync::Semaphore::MAX_PERMITS;
    let count = text.parse().ok().filter(|count| range.contains(count));
    count.ok_or_else(|| format!("{text:?} is not a number of at least 1"))
})
.limits("At least 1");

/// A time with its unit, which may be zero.
pub(super) const TIME: Kind<Duration> = Kind::shown("TIME", time, show_time);

/// A time with its unit, longer than zero.
pub(super) const TIMEOUT: Kind<Duration> =
    Kind::shown("TIME", timeout, show_time).limits("Longer than 0s");

/// `true` or `false`; a flag without a value means `true`.
pub(super) const SWITCH: Kind<bool> = Kind::text("BOOL", |text| {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
})
.values(|| ["true", "false"].map(PossibleValue::new).into())
.switch();

/// Returns all values of an enum.
pub(super) fn values_of<T: ValueEnum>() -> Vec<PossibleValue> {
    T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
}

/// A file whose path is the value, once `check` has read it.
pub(super) const fn checked_file(check: fn(&Path) -> Result<PathBuf, String>) -> Kind<PathBuf> {
    Kind::file(check, |path| path.display().to_string())
}

/// Reads an IP address with a port; `example` is one.
pub(super) fn addr(text: &str, example: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not IP:PORT, for instance {example}"))
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= MAX_TIME => Ok(time),
        Ok(_) => Err(format!("{text:?} is longer than a year")),
        Err(_) => Err(format!("{text:?} is not a time, for instance 10s")),
    }
}

/// Reads a time that is longer than zero.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        time => Ok(time),
    }
}

pub(super) fn show_time(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}
