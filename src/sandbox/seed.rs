//! The data that a sandbox starts with: a project, its organizations and its members.

use std::{fmt, path::Path};

use serde::Deserialize;

use super::{
    fault::Fault,
    member::decode_secret,
    object::{Object, allows_totp, is_true, text},
};
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

/// A member as Stytch shows it, and the sandbox's settings for it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SeedMember {
    #[serde(default)]
    pub(super) sandbox: MemberSettings,
    #[serde(flatten)]
    pub(super) object: Object,
}

impl SeedMember {
    /// Returns the external id, or the id if there is none.
    fn id(&self) -> &str {
        let id = text(&self.object, "external_id").or_else(|| text(&self.object, "member_id"));
        id.unwrap_or_default()
    }
}

/// The sandbox's project. Its credentials are made up and need no protection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The user name for HTTP Basic authentication.
    pub project_id: String,
    /// The password for HTTP Basic authentication.
    pub secret: String,
    pub(super) name: String,
}

/// The settings of a member that are not part of Stytch's object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberSettings {
    /// The fault that affects every call for the member.
    pub(super) fault: Option<Fault>,
    /// The secret of the active TOTP, in base32.
    pub(super) secret: Option<String>,
    /// The recovery codes of the active TOTP.
    pub(super) recovery_codes: Option<Vec<String>>,
}

/// Why a seed file cannot be used.
#[derive(Debug)]
pub struct SeedError(String);

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SeedError {}

impl Seed {
    /// Returns the seed that is built into the program.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("the embedded seed is valid")
    }

    /// Reads a seed file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not a seed in JSON, or is inconsistent.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let text = files::read(path).map_err(SeedError)?;
        Self::parse(&text).map_err(|error| SeedError(format!("{}: {error}", path.display())))
    }

    /// Returns the external id of each member (its id, if it has none) and its name, which says
    /// what the member is for.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|member| (member.id(), text(&member.object, "name").unwrap_or_default()))
    }

    /// Returns each spelling of each organization, slugs before ids, with the organization's id.
    pub fn organizations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.organizations.iter().flat_map(|organization| {
            let id = text(organization, "organization_id").unwrap_or_default();
            let keys = ["organization_slug", "organization_id", "organization_external_id"];
            keys.into_iter().filter_map(move |key| Some((text(organization, key)?, id)))
        })
    }

    /// Returns the first member of an organization who can enrol without further proof.
    pub fn member_to_enrol(&self, organization_id: &str) -> Option<&str> {
        let is_this = |it: &&Object| text(it, "organization_id") == Some(organization_id);
        self.organizations.iter().find(is_this).filter(|it| allows_totp(it))?;
        self.usable_member(organization_id, |SeedMember { object, .. }| {
            text(object, "totp_registration_id").is_none()
                && !is_true(object, "mfa_phone_number_verified")
        })
    }

    /// Returns the first member of an organization who has recovery codes.
    pub fn member_with_recovery_codes(&self, organization_id: &str) -> Option<&str> {
        self.usable_member(organization_id, |SeedMember { object, sandbox }| {
            // The sandbox makes codes where the seed gives none.
            text(object, "totp_registration_id").is_some()
                && sandbox.recovery_codes.as_ref().is_none_or(|codes| !codes.is_empty())
        })
    }

    fn usable_member(
        &self,
        organization_id: &str,
        fits: impl Fn(&SeedMember) -> bool,
    ) -> Option<&str> {
        let is_usable = |SeedMember { object, sandbox }: &SeedMember| {
            text(object, "organization_id") == Some(organization_id)
                && text(object, "status").is_none_or(|status| status == "active")
                && !is_true(object, "is_locked")
                && sandbox.fault.is_none()
        };
        let mut members = self.members.iter();
        members.find(|member| is_usable(member) && fits(member)).map(SeedMember::id)
    }

    /// Returns the slug of the first organization.
    pub fn organization(&self) -> &str {
        text(&self.organizations[0], "organization_slug").unwrap_or_default()
    }

    pub(super) fn parse(json: &str) -> Result<Self, SeedError> {
        let mut seed: Self =
            serde_json::from_str(json).map_err(|error| SeedError(error.to_string()))?;
        seed.check()?;
        Ok(seed)
    }

    /// Fills in the organization of members that leave it out, and refuses a seed that the sandbox
    /// could not serve.
    fn check(&mut self) -> Result<(), SeedError> {
        let organizations = &self.organizations;
        let only = match &organizations[..] {
            [] => return Err(SeedError("the seed has no organization".into())),
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
        for SeedMember { object: member, sandbox } in &mut self.members {
            let Some(id) = text(member, "member_id").map(ToOwned::to_owned) else {
                return Err(SeedError("a member has no member_id".into()));
            };
            if let Some(fault) = &sandbox.fault {
                fault.check().map_err(|error| SeedError(format!("the fault of {id}: {error}")))?;
            }
            if sandbox.secret.as_deref().is_some_and(|secret| decode_secret(secret).is_none()) {
                return Err(SeedError(format!("the secret of {id} is not base32")));
            }
            if let (None, Some(only)) = (text(member, "organization_id"), &only) {
                member.insert("organization_id".into(), only.as_str().into());
            }
            let organization = text(member, "organization_id");
            let known = |one: &Object| text(one, "organization_id") == organization;
            if !organizations.iter().any(known) {
                return Err(SeedError(format!("{id} is in no organization of the seed")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_a_member_stays_true_whatever_calls_change() {
        for SeedMember { object, sandbox } in &Seed::embedded().members {
            let is_active = text(object, "status").is_none_or(|status| status == "active");
            let is_fixed =
                sandbox.fault.is_some() || !is_active || object.contains_key("is_locked");
            let description = text(object, "name").expect("a name");

            assert_eq!(description.starts_with("Starts with "), !is_fixed, "{description}");
        }
    }
}
