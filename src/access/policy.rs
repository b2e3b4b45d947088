//! `callers.toml`: who may call what, for whom, and how often.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    num::NonZeroU32,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use serde::Deserialize;

use super::refusal::Refusal;
use crate::{
    files::{self, Content, complete},
    identity::Identity,
    proto,
    telemetry::{
        calls::Named,
        metrics::{CallerCalls, Calls},
    },
};

/// The name of reflection among the methods of a caller.
pub const REFLECTION: &str = "reflection";

/// What logs, metrics and the audit trail call those who have no name.
const RESERVED: [&str; 2] = ["anonymous", "unknown"];

/// The callers of a file.
#[derive(Debug)]
pub struct Policy {
    callers: Vec<Arc<Caller>>,
    by_identity: HashMap<Identity, Arc<Caller>>,
}

/// A caller, and what it may do.
#[derive(Debug)]
pub struct Caller {
    name: String,
    identities: Vec<Identity>,
    /// `None` allows all.
    methods: Option<BTreeSet<String>>,
    /// `None` allows all.
    organizations: Option<BTreeSet<String>>,
    rate: Option<Rate>,
    limiter: Option<DefaultDirectRateLimiter>,
    /// Where its calls are counted; unset for a caller without a name of its own.
    calls: OnceLock<Arc<CallerCalls>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    caller: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    identities: Vec<String>,
    methods: Vec<String>,
    organizations: Option<BTreeSet<String>>,
    rate: Option<Rate>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_second: NonZeroU32,
    burst: Option<NonZeroU32>,
}

impl Content for Policy {
    fn missing(&self) -> Option<String> {
        self.callers.is_empty().then(|| "holds no [[caller]]".to_owned())
    }
}

impl Policy {
    /// Reads a file, as at start: it must hold a caller.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        files::parse(path, |text| Self::parse(text).and_then(complete))
    }

    /// Reads a file, as when it has changed: it may hold no caller.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        files::parse(path, Self::parse)
    }

    /// Parses the text of a file, which may hold no caller.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let known = proto::methods();
        let (mut problems, mut callers) = (Vec::new(), Vec::new());
        for entry in file.caller {
            let (caller, wrong) = entry.checked(&known);
            problems.extend(wrong);
            callers.push(Arc::new(caller));
        }
        let (mut names, mut by_identity) = (BTreeSet::new(), HashMap::new());
        for caller in &callers {
            if !names.insert(&caller.name) {
                problems.push(format!("caller {:?} appears twice", caller.name));
            }
            for identity in &caller.identities {
                let other = by_identity.insert(identity.clone(), Arc::clone(caller));
                if let Some(other) = other {
                    let (one, two) = (&other.name, &caller.name);
                    problems
                        .push(format!("identity {identity:?} belongs to both {one:?} and {two:?}"));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(Self { callers, by_identity }),
            false => Err(problems.join("; ")),
        }
    }

    /// Returns the caller that owns one of these identities; the first match counts.
    pub(super) fn caller(&self, identities: &[Identity]) -> Option<Arc<Caller>> {
        identities.iter().find_map(|identity| self.by_identity.get(identity)).cloned()
    }

    /// Counts the calls of each caller under its name.
    pub(super) fn count(&self, calls: &Calls) {
        self.callers.iter().for_each(|caller| caller.count(calls));
    }

    /// Returns the identities of all callers.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.callers.iter().flat_map(|caller| &caller.identities)
    }

    /// Describes what each caller may do, in a line or two, for people.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for caller in &self.callers {
            let all = |set: &Option<BTreeSet<String>>| match set {
                None => "any".to_owned(),
                Some(set) => set.iter().map(|it| short(it)).collect::<Vec<_>>().join(", "),
            };
            let rate = caller.rate.map_or("any rate".to_owned(), |rate| {
                format!("{} a second, at most {} at once", rate.per_second, rate.burst())
            });
            let _ = writeln!(
                text,
                "{} ({})\n  may call {}\n  for organizations: {}; {rate}",
                caller.name,
                caller.identities.iter().map(Identity::as_str).collect::<Vec<_>>().join(", "),
                all(&caller.methods),
                all(&caller.organizations),
            );
        }
        text
    }
}

impl Rate {
    fn burst(self) -> NonZeroU32 {
        self.burst.unwrap_or(self.per_second)
    }
}

impl Entry {
    /// Returns the caller, and everything that is wrong with it.
    fn checked(self, known: &[String]) -> (Caller, Vec<String>) {
        let mut problems = Vec::new();
        let name = self.name;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.push(format!("name {name:?} is not visible ASCII without blanks"));
        }
        if RESERVED.contains(&name.as_str()) {
            problems.push(format!("name {name:?} is reserved for callers without a name"));
        }
        if self.identities.is_empty() {
            problems.push(format!("caller {name:?} has no identity"));
        }
        let mut identities = Vec::new();
        for text in &self.identities {
            match text.parse() {
                Ok(identity) => identities.push(identity),
                Err(error) => problems.push(format!("identity {text:?} {error}")),
            }
        }
        let mut methods = BTreeSet::new();
        for pattern in &self.methods {
            let matching: Vec<_> =
                known.iter().filter(|method| matches(pattern, method)).cloned().collect();
            if matching.is_empty() && pattern != REFLECTION {
                problems.push(format!("there is no method {pattern:?}"));
            }
            methods.extend(matching);
            if pattern == REFLECTION {
                methods.insert(REFLECTION.to_owned());
            }
        }
        let limiter = self.rate.map(|rate| {
            RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.burst()))
        });
        let caller = Caller {
            name,
            identities,
            methods: Some(methods),
            organizations: self.organizations,
            rate: self.rate,
            limiter,
            calls: OnceLock::new(),
        };
        (caller, problems)
    }
}

/// Whether `pattern` matches the full name of a method. The pattern is `TotpService/Create`,
/// `TotpService/*`, each with or without its package, or `*`.
fn matches(pattern: &str, method: &str) -> bool {
    let service_of = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    match pattern {
        "*" => true,
        _ if pattern.ends_with("/*") => {
            let (pattern, service) = (service_of(pattern), service_of(method));
            pattern == service || pattern == short(&service)
        }
        _ => pattern == method || pattern == short(method),
    }
}

/// Returns the name of a method or service without its package.
fn short(name: &str) -> &str {
    let service = name.split('/').next().unwrap_or_default();
    service.rfind('.').map_or(name, |dot| &name[dot + 1..])
}

impl Caller {
    /// Returns a caller who may do everything.
    pub fn unbounded(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            identities: Vec::new(),
            methods: None,
            organizations: None,
            rate: None,
            limiter: None,
            calls: OnceLock::new(),
        }
    }

    /// Returns the name of the caller.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts the calls of the caller under its name.
    pub(super) fn count(&self, calls: &Calls) {
        self.calls.get_or_init(|| calls.of_caller(&self.name));
    }

    /// Returns where the calls of the caller are counted, if it has a name of its own.
    pub fn calls(&self) -> Option<&Arc<CallerCalls>> {
        self.calls.get()
    }

    /// Authorizes one call to `method`.
    ///
    /// # Errors
    ///
    /// The policy does not allow it, or the caller exceeds its rate.
    pub fn authorize(&self, method: &str) -> Result<(), Refusal> {
        if !self.may_call(method) {
            return Err(Refusal::MethodNotAllowed);
        }
        self.admit().map_err(Refusal::RateLimited)
    }

    /// Whether the caller may call this method, or use [`REFLECTION`].
    pub fn may_call(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    /// Authorizes a call for this organization, as the request spells it.
    ///
    /// # Errors
    ///
    /// The policy does not allow it.
    pub fn authorize_for(&self, organization_id: &str) -> Result<(), Refusal> {
        match &self.organizations {
            Some(ids) if !ids.contains(organization_id) => Err(Refusal::OrganizationNotAllowed),
            _ => Ok(()),
        }
    }

    /// Counts a call against the rate of the caller.
    ///
    /// # Errors
    ///
    /// The rate is exceeded; the next call is allowed after this time.
    fn admit(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

impl Named for Caller {
    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: &str = "stytch.b2b.totp.v1.TotpService/Create";
    const GET: &str = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get";

    fn policy(methods: &str) -> Result<Policy, String> {
        Policy::parse(&format!(
            "[[caller]]\nname = 'login'\nidentities = ['token:login']\nmethods = [{methods}]"
        ))
    }

    #[test]
    fn methods_are_named_with_or_without_their_package_or_all_of_a_service() {
        for (methods, create, get) in [
            ("'*'", true, true),
            ("'TotpService/*'", true, false),
            ("'stytch.b2b.totp.v1.TotpService/*'", true, false),
            ("'TotpService/Create'", true, false),
            ("'stytch.b2b.totp.v1.TotpService/Create'", true, false),
            ("'RecoveryCodesService/Get', 'TotpService/Delete'", false, true),
            ("", false, false),
        ] {
            let caller =
                policy(methods).unwrap().caller(&["token:login".parse().unwrap()]).unwrap();

            assert_eq!(caller.may_call(CREATE), create, "{methods}");
            assert_eq!(caller.may_call(GET), get, "{methods}");
            assert!(!caller.may_call(REFLECTION), "{methods}");
        }
        let caller =
            policy("'reflection'").unwrap().caller(&["token:login".parse().unwrap()]).unwrap();
        assert!(caller.may_call(REFLECTION) && !caller.may_call(CREATE));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = Policy::parse(
            "[[caller]]\nname = 'a b'\nidentities = []\nmethods = ['TotpService/Craete']\n\
             [[caller]]\nname = 'b'\nidentities = ['login']\nmethods = ['Nothing/*']\n\
             [[caller]]\nname = 'b'\nidentities = ['token:x']\nmethods = []\n\
             [[caller]]\nname = 'c'\nidentities = ['token:x']\nmethods = []\n",
        )
        .unwrap_err();

        for part in [
            "name \"a b\"",
            "\"a b\" has no identity",
            "no method \"TotpService/Craete\"",
            "identity \"login\" is not spiffe://",
            "no method \"Nothing/*\"",
            "caller \"b\" appears twice",
            "identity \"token:x\" belongs to both \"b\" and \"c\"",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_name_that_stands_for_callers_without_one_is_refused() {
        for (name, is_reserved) in
            [("unknown", true), ("anonymous", true), ("Unknown", false), ("unknown-2", false)]
        {
            let text =
                format!("[[caller]]\nname = '{name}'\nidentities = ['token:a']\nmethods = []");

            let problem = Policy::parse(&text).err();

            let reserved = format!("name {name:?} is reserved for callers without a name");
            assert_eq!(problem, is_reserved.then_some(reserved), "{name}");
        }
    }

    #[test]
    fn an_invalid_policy_is_refused() {
        for text in [
            "[[caller]]",
            "[[caller]]\nname = 'a'\nidentities = ['token:']\nmethods = []",
            "[[caller]]\nname = 'a'\nidentities = ['jwt: ']\nmethods = []",
            "callers = []",
            "[[caller]]\nname = 'a'\nidentities = ['token:a']\nmethods = []\nmehtods = []",
            "[[caller]]\nname = 'a'\nidentities = ['token:a']\nmethods = []\nrate = {per_second = 0}",
            "[caller]\nname = 'a'",
            "not toml",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_without_callers_admits_nobody_and_is_an_error_at_start() {
        for text in ["", "# nobody", "caller = []", "\r\n"] {
            let policy = Policy::parse(text).unwrap();

            assert!(policy.caller(&["token:login".parse().unwrap()]).is_none(), "{text:?}");
            assert_eq!(complete(policy).unwrap_err(), "holds no [[caller]]", "{text:?}");
        }
    }

    #[test]
    fn a_rate_admits_a_burst_and_then_reports_how_long_to_wait() {
        let text = "[[caller]]\nname = 'a'\nidentities = ['token:a']\nmethods = ['*']\n\
                    rate = { per_second = 1, burst = 3 }";
        let caller = Policy::parse(text).unwrap().caller(&["token:a".parse().unwrap()]).unwrap();

        for _ in 0..3 {
            caller.admit().expect("within the burst");
        }
        let wait = caller.admit().expect_err("above it");

        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn organizations_are_those_named_or_any() {
        let text = "[[caller]]\nname = 'a'\nidentities = ['token:a']\nmethods = ['*']\n\
                    organizations = ['works', 'example-works']";
        let caller = Policy::parse(text).unwrap().caller(&["token:a".parse().unwrap()]).unwrap();

        assert_eq!(caller.authorize_for("works"), Ok(()));
        assert_eq!(caller.authorize_for("Works"), Err(Refusal::OrganizationNotAllowed));
        assert_eq!(Caller::unbounded("b").authorize_for("anything"), Ok(()));
    }
}
