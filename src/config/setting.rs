//! The declaration of a setting.
//!
//! `settings!` declares each setting once: name, kind, default and meaning. `--help`, the checks,
//! the summary of `check` and `docs/settings.md` follow from the declaration.

use std::{
    ffi::{OsStr, OsString},
    fmt,
};

use clap::{
    Arg, Command,
    builder::{PossibleValue, TypedValueParser},
};

use super::kind::{Form, Kind};

/// A setting whose checked value is a `T`.
#[derive(Debug)]
pub(super) struct Setting<T: 'static> {
    pub(super) about: About,
    pub(super) kind: Kind<T>,
}

/// What `--help` and the documents say about a setting.
#[derive(Debug)]
pub struct About {
    /// The name of the setting in messages: its variable or, for some, its flag.
    pub name: &'static str,
    /// The environment variable that holds the value.
    pub variable: Option<&'static str>,
    pub(super) default: DefaultValue,
    flag: Option<&'static str>,
    has_flag: bool,
    help: &'static str,
    form: Form,
}

/// The value of a setting that nobody has set.
#[derive(Clone, Copy, Debug)]
pub(super) enum DefaultValue {
    /// The setting has no value.
    None,
    /// The setting must be set.
    Required,
    /// This text, which is checked like any other.
    Value(&'static str),
    /// A value that depends on something else, as described.
    Derived(&'static str),
}

impl<T> Setting<T> {
    /// Declares a setting by the name of its variable, or by its flag if the name begins with `--`.
    pub(super) const fn new(name: &'static str, kind: Kind<T>) -> Self {
        let about = About {
            name,
            variable: if name.as_bytes()[0] == b'-' { None } else { Some(name) },
            default: DefaultValue::None,
            flag: None,
            // Every user of a machine can read the arguments of a process.
            has_flag: !kind.form.is_secret,
            help: "",
            form: kind.form,
        };
        Self { about, kind }
    }

    /// Sets the flag, where it does not follow from the variable.
    pub(super) const fn flag(mut self, flag: &'static str) -> Self {
        self.about.flag = Some(flag);
        self
    }

    /// Leaves the setting to its variable alone.
    pub(super) const fn without_flag(mut self) -> Self {
        self.about.has_flag = false;
        self
    }

    /// Adds a variable to a setting that is named after its flag.
    pub(super) const fn variable(mut self, variable: &'static str) -> Self {
        self.about.variable = Some(variable);
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.about.default = DefaultValue::Required;
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.about.default = DefaultValue::Value(value);
        self
    }

    /// Describes a default that the user of the setting computes.
    pub(super) const fn derived(mut self, description: &'static str) -> Self {
        self.about.default = DefaultValue::Derived(description);
        self
    }

    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.about.help = help;
        self
    }
}

/// The name of the setting, for messages.
impl<T> fmt::Display for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.about.name)
    }
}

impl About {
    /// Whether the value is a secret. A secret has no flag, since every user of a machine can read
    /// the arguments of a process, and it is never shown.
    pub fn is_secret(&self) -> bool {
        self.form.is_secret
    }

    /// Returns the flag without its dashes: `--drain-delay` for `TOTP_FACADE_DRAIN_DELAY`.
    pub fn flag(&self) -> Option<String> {
        let name = self.name.trim_start_matches("--").trim_start_matches("TOTP_FACADE_");
        let derived = || name.to_lowercase().replace('_', "-");
        self.has_flag.then(|| self.flag.map_or_else(derived, str::to_owned))
    }

    /// Returns the flag as it is written, for instance `--drain-delay TIME`.
    pub(super) fn usage(&self) -> Option<String> {
        let Form { placeholder, is_switch, .. } = self.form;
        let flag = self.flag()?;
        Some(match is_switch {
            true => format!("--{flag}[={placeholder}]"),
            false => format!("--{flag} {placeholder}"),
        })
    }

    /// Returns the meaning of the setting in sentences, with its limits.
    pub(super) fn meaning(&self) -> String {
        match (self.help.trim(), self.form.limits) {
            (help, "") => help.to_owned(),
            (help, limits) => format!("{help} {limits}."),
        }
    }

    pub(super) fn arg(&self, heading: &'static str) -> Option<Arg> {
        let meaning = self.meaning();
        let help = meaning.trim_end_matches('.');
        let mut arg = Arg::new(self.name)
            .long(self.flag()?)
            .value_name(self.form.placeholder)
            .value_parser(AnyText { values: self.form.values })
            // The help names them.
            .hide_possible_values(true)
            .help_heading(heading);
        arg = match self.default {
            DefaultValue::None => arg.help(help.to_owned()),
            DefaultValue::Required => arg.help(format!("{help} [required]")),
            DefaultValue::Value(value) => arg.help(help.to_owned()).default_value(value),
            DefaultValue::Derived(what) => arg.help(format!("{help} [default: {what}]")),
        };
        if let Some(variable) = self.variable {
            arg = arg.env(variable).hide_env_values(true);
        }
        Some(if self.form.is_switch {
            arg.num_args(0..=1).default_missing_value("true")
        } else {
            arg
        })
    }
}

/// Takes any text: it is checked with all others, so that every problem is reported at once. Knows
/// the values that shells complete.
#[derive(Clone)]
struct AnyText {
    values: Option<fn() -> Vec<PossibleValue>>,
}

impl TypedValueParser for AnyText {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values?().into_iter()))
    }
}

/// Settings under one heading of `--help` and `docs/settings.md`, in the order of both.
#[derive(Debug)]
pub struct Group {
    pub(super) heading: &'static str,
    pub(super) settings: &'static [&'static About],
}

/// Declares the settings of a group. The comment of each is its help text.
macro_rules! settings {
    ($group:ident $heading:literal $(
        $(#[doc = $help:literal])+
        $name:ident: $type:ty = $setting:expr;
    )+) => {
        $(
            $(#[doc = $help])+
            pub(super) static $name: Setting<$type> = $setting.help(concat!($($help),+));
        )+

        pub(super) static $group: $crate::config::Group =
            $crate::config::setting::Group { heading: $heading, settings: &[$(&$name.about),+] };
    };
}
pub(super) use settings;
