//! The sandbox's memory, and the rules by which it changes. Bounded by the seed: a member has at most
//! one registration.

use std::{collections::HashMap, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    seed::{Behaviour, Fault, Project, Seed, SeedMember, text},
    totp,
};

const DEFAULTS: &str = include_str!("defaults.json");
const EXPIRATION_MINUTES: std::ops::RangeInclusive<i64> = 5..=1440;

#[derive(Debug)]
pub(super) struct Store {
    project: Project,
    organizations: Vec<Map<String, Value>>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    object: Map<String, Value>,
    behaviour: Behaviour,
    /// Whether the registration named in `object` has had its first code.
    totp_is_active: bool,
}

/// The body of a create call. Absent and null are the same.
#[derive(Debug)]
pub(super) struct Create<'a>(pub(super) &'a Map<String, Value>);

impl Create<'_> {
    fn required(&self, key: &str) -> Result<&str, ApiError> {
        text(self.0, key).ok_or(ApiError::BAD_REQUEST)
    }

    fn proof(&self, key: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(token)) if token.is_empty() => Ok(None),
            Some(Value::String(token)) => Ok(Some(token)),
            Some(_) => Err(ApiError::BAD_REQUEST),
        }
    }
}

impl Store {
    pub(super) fn new(seed: Seed) -> Self {
        let defaults: HashMap<String, Map<String, Value>> =
            serde_json::from_str(DEFAULTS).expect("the embedded defaults are tested");
        let filled = |kind: &str, object: Map<String, Value>| {
            let mut full = defaults[kind].clone();
            full.extend(object);
            full
        };
        let organizations = seed.organizations.into_iter();
        let members = seed.members.into_iter().map(|SeedMember { behaviour, object }| {
            let totp_is_active = text(&object, "totp_registration_id").is_some();
            Member { object: filled("member", object), behaviour, totp_is_active }
        });
        Self {
            project: seed.project,
            organizations: organizations.map(|object| filled("organization", object)).collect(),
            members: members.collect(),
        }
    }

    /// Whether these are the project's credentials.
    pub(super) fn authenticate(&self, project_id: &str, secret: &str) -> Result<(), ApiError> {
        if !project_id.starts_with("project-") {
            Err(ApiError::INVALID_PROJECT)
        } else if project_id == self.project.project_id && secret == self.project.secret {
            Ok(())
        } else {
            Err(ApiError::UNAUTHORIZED)
        }
    }

    /// The fault that a call for this member meets with.
    pub(super) fn fault(&self, request: &Create<'_>) -> Option<Fault> {
        let (_, member) = self.find(request).ok()?;
        self.members[member].behaviour.fault
    }

    /// `POST /v1/b2b/totp`. A pending registration is replaced.
    pub(super) fn create_totp(&mut self, request: &Create<'_>) -> Result<Value, ApiError> {
        match request.0.get("expiration_minutes") {
            None | Some(Value::Null) => {}
            Some(minutes) => match minutes.as_i64() {
                Some(minutes) if EXPIRATION_MINUTES.contains(&minutes) => {}
                Some(_) => return Err(ApiError::INVALID_EXPIRATION),
                None => return Err(ApiError::BAD_REQUEST),
            },
        }
        let (organization, member) = self.find(request)?;
        self.check_proof(request, member)?;
        let Self { project, organizations, members } = self;
        let (organization, member) = (&organizations[organization], &mut members[member]);
        if member.totp_is_active {
            return Err(ApiError::ACTIVE_TOTP_EXISTS);
        }

        let secret = totp::secret();
        let uri = totp::uri(
            &project.name,
            text(organization, "organization_name").unwrap_or_default(),
            text(&member.object, "email_address").unwrap_or_default(),
            &secret,
        );
        let qr_code = totp::qr_code(&uri).ok_or(ApiError::INTERNAL)?;
        let registration_id = totp::registration_id();
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        member.object.insert("totp_registration_id".into(), registration_id.as_str().into());
        member.object.insert("updated_at".into(), now.into());
        Ok(json!({
            "status_code": 200,
            "request_id": totp::request_id(),
            "member_id": member.object["member_id"],
            "totp_registration_id": registration_id,
            "secret": secret,
            "qr_code": qr_code,
            "recovery_codes": totp::recovery_codes(),
            "member": member.object,
            "organization": organization,
        }))
    }

    /// Where the organization and the member are, by any of their names.
    fn find(&self, request: &Create<'_>) -> Result<(usize, usize), ApiError> {
        let is = |object: &Map<String, Value>, keys: &[&str], name: &str| {
            keys.iter().any(|key| text(object, key) == Some(name))
        };
        let name = request.required("organization_id")?;
        let member_name = request.required("member_id")?;
        let keys = ["organization_id", "organization_slug", "organization_external_id"];
        let organization = self
            .organizations
            .iter()
            .position(|organization| is(organization, &keys, name))
            .ok_or(ApiError::ORGANIZATION_NOT_FOUND)?;
        let id = &self.organizations[organization]["organization_id"];
        let member = self
            .members
            .iter()
            .position(|Member { object, .. }| {
                object["organization_id"] == *id
                    && is(object, &["member_id", "external_id"], member_name)
            })
            .ok_or(ApiError::MEMBER_NOT_FOUND)?;
        Ok((organization, member))
    }

    /// The rules of who may enrol.
    fn check_proof(&self, request: &Create<'_>, member: usize) -> Result<(), ApiError> {
        let Member { object, .. } = &self.members[member];
        if object["is_locked"] == true {
            return Err(ApiError::LOCKED);
        }
        if object["status"] != "active" {
            return Err(ApiError::MEMBER_NOT_ACTIVE);
        }
        let intermediate = request.proof("intermediate_session_token")?;
        let token = request.proof("session_token")?;
        let jwt = request.proof("session_jwt")?;
        let has_factor = object["mfa_phone_number_verified"] == true;
        let owner = |name: fn(&Behaviour) -> Option<&str>, token: &str| {
            self.members.iter().position(|member| name(&member.behaviour) == Some(token))
        };
        let owner = match (intermediate, token, jwt) {
            (None, None, None) if has_factor => return Err(ApiError::PROOF_REQUIRED),
            (None, None, None) => return Ok(()),
            (Some(token), None, None) => owner(|b| b.intermediate_session_token.as_deref(), token)
                .ok_or(ApiError::INTERMEDIATE_SESSION_NOT_FOUND)?,
            (None, Some(token), None) => {
                owner(|b| b.session_token.as_deref(), token).ok_or(ApiError::SESSION_NOT_FOUND)?
            }
            (None, None, Some(token)) => {
                owner(|b| b.session_jwt.as_deref(), token).ok_or(ApiError::SESSION_NOT_FOUND)?
            }
            _ => return Err(ApiError::TOO_MANY_PROOFS),
        };
        if owner == member { Ok(()) } else { Err(ApiError::PROOF_OF_ANOTHER) }
    }
}
