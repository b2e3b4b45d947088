//! `verify`: a test project of Stytch's, and a member made for the comparison.

use secrecy::SecretString;

use super::{
    kind::{Kind, TEXT},
    setting::{Group, Setting, settings},
    stytch::{self, BASE_URL, PROJECT, PROJECT_ID, Project, TIMEOUTS},
    unchecked::{FromSettings, Reader},
};
use crate::stytch as upstream;

settings! { VERIFY "Verify"
    /// The organization of the member, by id, slug or external id. The run changes nothing of it.
    ORGANIZATION_ID: String = Setting::new("--organization-id", TEXT).required();

    /// A member made for the run, by id or external id, without a TOTP. The run creates and deletes
    /// TOTPs of the member, ends with `mfa_enrolled` false, and makes calls fail.
    MEMBER_ID: String = Setting::new("--member-id", TEXT).required();

    /// A session token of the member. The run extends the session.
    SESSION_TOKEN: SecretString = Setting::new("TOTP_FACADE_VERIFY_SESSION_TOKEN", TOKEN)
        .derived("required, unless TOTP_FACADE_VERIFY_LOGIN_TOKEN is set");

    /// An intermediate session token of the member, from a login that awaits its second factor. The
    /// run uses it up.
    LOGIN_TOKEN: SecretString = Setting::new("TOTP_FACADE_VERIFY_LOGIN_TOKEN", TOKEN);

    /// A session token of another member of the organization, without permissions of an admin. The
    /// run calls with it for the member above, and changes nothing of the other one.
    OTHER_SESSION_TOKEN: SecretString =
        Setting::new("TOTP_FACADE_VERIFY_OTHER_SESSION_TOKEN", TOKEN);
}

const TOKEN: Kind<SecretString> = Kind::secret(|text| upstream::check_secret(text.into()));

/// What to compare the sandbox with.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// The project.
    pub stytch: upstream::Settings,
    /// The organization of the member.
    pub organization_id: String,
    /// The member, whom the run changes.
    pub member_id: String,
    /// A session of the member.
    pub session_token: Option<SecretString>,
    /// A login of the member that awaits its second factor.
    pub login_token: Option<SecretString>,
    /// A session of another member.
    pub other_session_token: Option<SecretString>,
}

impl FromSettings for VerifyConfig {
    const GROUPS: &'static [&'static Group] = &[&PROJECT, &TIMEOUTS, &VERIFY];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let project = Project::read(reader);
        let is_test = |project: &Project| project.project_id.starts_with("project-test-");
        if project.as_ref().is_some_and(|project| !is_test(project)) {
            reader.report(&PROJECT_ID, "must be a test project, project-test-…");
        }
        let stytch = stytch::read(reader, project);
        let host = stytch.as_ref().and_then(|stytch| stytch.base_url.host_str());
        if host == Some("api.stytch.com") {
            reader.report(&BASE_URL, "must not be Stytch's live API");
        }
        let organization_id = named(reader, &ORGANIZATION_ID, "the organization of the member");
        let member_id = named(reader, &MEMBER_ID, "a member made for the run, which changes it");
        let session_token = reader.get(&SESSION_TOKEN);
        let login_token = reader.get(&LOGIN_TOKEN);
        let other_session_token = reader.get(&OTHER_SESSION_TOKEN);
        if !reader.is_given(&SESSION_TOKEN) && !reader.is_given(&LOGIN_TOKEN) {
            return reader
                .problem(&SESSION_TOKEN, format!("is required (or {LOGIN_TOKEN}): {HOW}"));
        }
        Some(Self {
            stytch: stytch?,
            organization_id: organization_id?,
            member_id: member_id?,
            session_token,
            login_token,
            other_session_token,
        })
    }
}

const HOW: &str = "log the member in; docs/sandbox.md says how";

/// Reads a required name, and says what it is for if it is missing.
fn named(reader: &mut Reader<'_>, setting: &Setting<String>, what: &str) -> Option<String> {
    if !reader.is_given(setting) {
        return reader.problem(setting, format!("is required: {what}"));
    }
    reader.get(setting)
}
