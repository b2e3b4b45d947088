//! What a sandbox starts with: a project, its organizations and its members.

use std::{fmt, path::Path};

use serde::Deserialize;

use super::{Object, fault::Fault, totp};
use crate::files;

const EMBEDDED: &str = include_str!("seed.json");

/// The contents of a seed file; its format is in `docs/sandbox.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The project and its credentials.
    pub project: Project,
    pub(super) organizations: Vec<Object>,
    pub(super) members: Vec<SeedMember>,
}

/// A member as Stytch has it, and what the sandbox makes of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SeedMember {
    #[serde(default, rename = "sandbox")]
    pub(super) behaviour: Behaviour,
    #[serde(flatten)]
    pub(super) object: Object,
}

/// A project of the sandbox. Its credentials are made up and open to all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// User name of the API.
    pub project_id: String,
    /// Password of the API.
    pub secret: String,
    pub(super) name: String,
}

/// What the sandbox knows of a member beside Stytch's object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behaviour {
    /// What every call for the member meets with.
    pub(super) fault: Option<Fault>,
    /// The key of the active TOTP.
    pub(super) secret: Option<String>,
    /// The recovery codes of the active TOTP.
    pub(super) recovery_codes: Option<Vec<String>>,
}

/// A seed file that cannot be used.
#[derive(Debug)]
pub struct SeedError(String);

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SeedError {}

impl Seed {
    /// The one that comes with the program.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("the embedded seed is tested")
    }

    /// Reads a file of your own.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no JSON of the right form, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let fail = |error: &dyn fmt::Display| SeedError(format!("{}: {error}", path.display()));
        let text = files::read(path).map_err(SeedError)?;
        Self::parse(&text).map_err(|error| fail(&error))
    }

    /// What a developer may call: each member's external id (or id), with what it is for.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|SeedMember { object, .. }| {
            let id = text(object, "external_id").or_else(|| text(object, "member_id"));
            (id.unwrap_or_default(), text(object, "name").unwrap_or_default())
        })
    }

    /// The slug of the first organization.
    pub fn organization(&self) -> &str {
        text(&self.organizations[0], "organization_slug").unwrap_or_default()
    }

    fn parse(json: &str) -> Result<Self, SeedError> {
        let mut seed: Self =
            serde_json::from_str(json).map_err(|error| SeedError(error.to_string()))?;
        seed.check()?;
        Ok(seed)
    }

    /// Fills in what can be left out and refuses what would make a sandbox that cannot answer.
    fn check(&mut self) -> Result<(), SeedError> {
        let organizations = &self.organizations;
        let only = match &organizations[..] {
            [] => return Err(SeedError("there is no organization".into())),
            [only] => text(only, "organization_id").map(ToOwned::to_owned),
            _ => None,
        };
        for organization in organizations {
            for key in ["organization_id", "organization_name", "organization_slug"] {
                if text(organization, key).is_none() {
                    return Err(SeedError(format!("an organization has no {key}")));
                }
            }
        }
        for SeedMember { object: member, behaviour } in &mut self.members {
            let Some(id) = text(member, "member_id").map(ToOwned::to_owned) else {
                return Err(SeedError("a member has no member_id".into()));
            };
            if let Some(fault) = &behaviour.fault {
                fault.check().map_err(|what| SeedError(format!("the fault of {id}: {what}")))?;
            }
            if behaviour.secret.as_deref().is_some_and(|secret| totp::key(secret).is_none()) {
                return Err(SeedError(format!("the secret of {id} is not base32")));
            }
            if let (None, Some(only)) = (text(member, "organization_id"), &only) {
                member.insert("organization_id".into(), only.as_str().into());
            }
            let organization = text(member, "organization_id");
            let known = |one: &Object| text(one, "organization_id") == organization;
            if !organizations.iter().any(known) {
                return Err(SeedError(format!("{id} is in no organization")));
            }
        }
        Ok(())
    }
}

/// The text at `key`, unless it is empty.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}
