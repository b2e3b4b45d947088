//! From arguments and variables to a checked configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::{OsStr, OsString},
    fmt,
    marker::PhantomData,
};

use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

use super::setting::{About, DefaultValue, Group, Setting};

/// A configuration that is read from settings.
pub trait FromSettings: Sized {
    /// The settings that it is read from.
    const GROUPS: &'static [&'static Group];
    /// Whether the flags may stand before the subcommand as well as after it.
    const IS_GLOBAL: bool = false;

    /// Reads the configuration. Reports every problem to `reader` before it returns `None`.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// Returns every setting of a configuration.
pub(super) fn settings<T: FromSettings>() -> impl Iterator<Item = &'static About> {
    T::GROUPS.iter().flat_map(|group| group.settings).copied()
}

/// The settings of a `T` as given on the command line and in the environment. A variable that is
/// empty counts as not set. Secrets stay in the environment until they are checked.
pub struct Unchecked<T> {
    given: BTreeMap<&'static str, OsString>,
    configuration: PhantomData<T>,
}

impl<T: FromSettings> Unchecked<T> {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Every problem with the settings.
    pub fn check(&self) -> Result<T, Vec<Problem>> {
        self.check_and_summarize().map(|(checked, _)| checked)
    }

    /// Checks every setting, and lists the effective values, a line `NAME=value` for each. Secrets
    /// are not shown.
    ///
    /// # Errors
    ///
    /// Every problem with the settings.
    pub fn check_and_summarize(&self) -> Result<(T, String), Vec<Problem>> {
        let (given, problems, shown) = (&self.given, Vec::new(), BTreeMap::new());
        let mut reader = Reader { given, problems, shown, hidden: BTreeSet::new() };
        match T::read(&mut reader) {
            Some(checked) if reader.problems.is_empty() => Ok((checked, reader.summary::<T>())),
            _ => Err(reader.problems),
        }
    }

    /// Returns every problem with the settings.
    pub fn problems(&self) -> Vec<Problem> {
        self.check().err().unwrap_or_default()
    }
}

/// Shows names only: any value may hold a password by mistake.
impl<T> fmt::Debug for Unchecked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given.keys()).finish()
    }
}

impl<T: FromSettings> Args for Unchecked<T> {
    fn augment_args(command: Command) -> Command {
        let args = T::GROUPS
            .iter()
            .flat_map(|group| group.settings.iter().filter_map(|about| about.arg(group.heading)));
        command.args(args.map(|arg| arg.global(T::IS_GLOBAL)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: FromSettings> FromArgMatches for Unchecked<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = settings::<T>().filter(|about| about.flag().is_some());
        let given = flags.filter_map(|about| {
            let value = matches.get_one::<OsString>(about.name)?;
            let is_given = match matches.value_source(about.name)? {
                ValueSource::CommandLine => true,
                ValueSource::EnvVariable => !value.is_empty(),
                _ => false,
            };
            is_given.then(|| (about.name, value.clone()))
        });
        Ok(Self { given: given.collect(), configuration: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A setting that cannot be used. The text never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the setting.
    pub setting: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

/// Reads settings, collects problems, and records each effective value. A setting may be read more
/// than once.
#[derive(Debug)]
pub struct Reader<'a> {
    given: &'a BTreeMap<&'static str, OsString>,
    problems: Vec<Problem>,
    shown: BTreeMap<&'static str, String>,
    hidden: BTreeSet<&'static str>,
}

impl Reader<'_> {
    /// Returns the value of a setting or its default, checked. `None` means that the setting has
    /// neither, or that a problem has been reported.
    pub(super) fn get<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.get_or(setting, || None)
    }

    /// As [`get`](Self::get), with a default that depends on something else.
    pub(super) fn get_or<T>(
        &mut self,
        setting: &Setting<T>,
        derived: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let Setting { about, kind } = setting;
        let value = match (self.given(about), about.default) {
            (Some(value), _) => self.ok(setting, kind.parse(&value))?,
            (None, DefaultValue::Value(value)) => {
                self.ok(setting, kind.parse(OsStr::new(value)))?
            }
            (None, DefaultValue::Required) => return self.problem(setting, "is required"),
            (None, DefaultValue::None | DefaultValue::Derived(_)) => derived()?,
        };
        self.show(setting, (kind.show)(&value));
        Some(value)
    }

    /// Returns the values of two settings that need each other.
    pub(super) fn pair<T, U>(&mut self, one: &Setting<T>, other: &Setting<U>) -> Option<(T, U)> {
        match (self.get(one), self.get(other)) {
            (Some(one), Some(other)) => Some((one, other)),
            (Some(_), None) => self.problem(other, format!("is required with {one}")),
            (None, Some(_)) => self.problem(one, format!("is required with {other}")),
            (None, None) => None,
        }
    }

    /// Whether the setting is set.
    pub(super) fn is_given<T>(&self, setting: &Setting<T>) -> bool {
        self.given(&setting.about).is_some()
    }

    /// Reports a problem. The same problem is reported once.
    pub(super) fn report<T>(&mut self, setting: &Setting<T>, what: impl Into<String>) {
        let problem = Problem { setting: setting.about.name, what: what.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Reports a problem, and returns `None` for the value that is missing because of it.
    pub(super) fn problem<T, U>(
        &mut self,
        setting: &Setting<T>,
        what: impl Into<String>,
    ) -> Option<U> {
        self.report(setting, what);
        None
    }

    /// Returns the value of `result`, or reports its error.
    pub(super) fn ok<T, U>(
        &mut self,
        setting: &Setting<T>,
        result: Result<U, String>,
    ) -> Option<U> {
        result.map_err(|what| self.report(setting, what)).ok()
    }

    /// Replaces what the summary shows for a setting.
    pub(super) fn show<T>(&mut self, setting: &Setting<T>, shown: impl Into<String>) {
        self.shown.insert(setting.about.name, shown.into());
    }

    /// Leaves those settings of a group out of the summary that nobody has set, but for `setting`:
    /// without it, they have no effect.
    pub(super) fn hide_unset<T>(&mut self, group: &'static Group, setting: &Setting<T>) {
        let others = group.settings.iter().filter(|about| about.name != setting.about.name);
        let unset = others.filter(|about| self.given(about).is_none());
        let unset: Vec<_> = unset.map(|about| about.name).collect();
        self.hidden.extend(unset);
    }

    fn given(&self, about: &About) -> Option<OsString> {
        match about.variable {
            Some(variable) if about.flag().is_none() => {
                env::var_os(variable).filter(|value| !value.is_empty())
            }
            _ => self.given.get(about.name).cloned(),
        }
    }

    fn summary<T: FromSettings>(&self) -> String {
        let shown = |about: &About| self.shown.get(about.name).map_or("(not set)", String::as_str);
        let settings = settings::<T>().filter(|about| !self.hidden.contains(about.name));
        settings.map(|about| format!("{}={}\n", about.name, shown(about))).collect()
    }
}
