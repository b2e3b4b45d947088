//! The sandbox's memory: who is in it, and where to find them. What changes it stands with the operations.
//!
//! Bounded by the seed, and by what `session` says of sessions.

use std::{collections::HashMap, time::SystemTime};

use serde_json::Value;

use super::{
    Clock, Object,
    error::ApiError,
    fault::Fault,
    fields::Fields,
    member::{Member, rfc3339},
    mint,
    seed::{Project, Seed, SeedMember, text},
    session::Sessions,
    totp,
};

const DEFAULTS: &str = include_str!("defaults.json");

pub(super) struct Store {
    pub(super) project: Project,
    pub(super) organizations: Vec<Object>,
    pub(super) members: Vec<Member>,
    pub(super) sessions: Sessions,
    pub(super) clock: Clock,
}

/// Where an organization and one of its members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) organization: usize,
    pub(super) member: usize,
}

impl Store {
    pub(super) fn new(seed: Seed, clock: Clock) -> Self {
        let defaults: HashMap<String, Object> =
            serde_json::from_str(DEFAULTS).expect("the embedded defaults are tested");
        let filled = |kind: &str, object: Object| {
            let mut full = defaults[kind].clone();
            full.extend(object);
            full
        };
        let organizations = seed.organizations.into_iter();
        let members = seed.members.into_iter().map(|SeedMember { behaviour, object }| {
            let mut member = Member::new(filled("member", object), behaviour.fault);
            let registration_id = text(&member.object, "totp_registration_id").map(str::to_owned);
            if let Some(registration_id) = registration_id {
                let secret = behaviour.secret.unwrap_or_else(mint::secret);
                let key = totp::key(&secret).expect("checked with the seed");
                let codes = behaviour.recovery_codes.unwrap_or_else(mint::recovery_codes);
                member.register(&registration_id, key, codes, None);
            }
            member
        });
        Self {
            project: seed.project,
            organizations: organizations.map(|object| filled("organization", object)).collect(),
            members: members.collect(),
            sessions: Sessions::default(),
            clock,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
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

    /// The fault that every call for this member meets with.
    pub(super) fn seeded_fault(&mut self, fields: &Fields) -> Option<Fault> {
        let place = self.find(fields).ok()?;
        self.members[place.member].fault.clone()
    }

    /// Where the organization and the member are, by any of their names. The member is brought up to date.
    pub(super) fn find(&mut self, fields: &Fields) -> Result<Place, ApiError> {
        let name = fields.required("organization_id")?;
        let member_name = fields.required("member_id")?;
        let keys = ["organization_id", "organization_slug", "organization_external_id"];
        let organization = self
            .organizations
            .iter()
            .position(|organization| is_named(organization, &keys, name))
            .ok_or(ApiError::ORGANIZATION_NOT_FOUND)?;
        let place = self.member(member_name, organization).ok_or(ApiError::MEMBER_NOT_FOUND)?;
        let now = self.now();
        self.members[place.member].settle(now);
        Ok(place)
    }

    /// A member of this organization, by either name.
    fn member(&self, name: &str, organization: usize) -> Option<Place> {
        let id = &self.organizations[organization]["organization_id"];
        let member = self.members.iter().position(|Member { object, .. }| {
            object["organization_id"] == *id
                && is_named(object, &["member_id", "external_id"], name)
        })?;
        Some(Place { organization, member })
    }

    /// A member of this organization by either name, or else one of another.
    pub(super) fn member_anywhere(&self, name: &str, organization: usize) -> Option<Place> {
        let others = (0..self.organizations.len()).filter(|other| *other != organization);
        std::iter::once(organization).chain(others).find_map(|it| self.member(name, it))
    }

    /// An answer to a call that changed the member.
    pub(super) fn changed(&mut self, place: Place, fields: Value) -> Value {
        let now = rfc3339(self.now());
        self.members[place.member].set([("updated_at", now)]);
        let Value::Object(fields) = fields else { unreachable!("written as an object") };
        self.answer_about(place, fields)
    }

    /// An answer with what every answer has.
    pub(super) fn answer_about(&self, place: Place, fields: Object) -> Value {
        let member = &self.members[place.member].object;
        let mut answer = Object::from_iter([
            ("status_code".to_owned(), 200.into()),
            ("request_id".to_owned(), mint::request_id().into()),
            ("member_id".to_owned(), member["member_id"].clone()),
            ("member".to_owned(), member.clone().into()),
            ("organization".to_owned(), self.organizations[place.organization].clone().into()),
        ]);
        answer.extend(fields);
        answer.into()
    }
}

fn is_named(object: &Object, keys: &[&str], name: &str) -> bool {
    keys.iter().any(|key| text(object, key) == Some(name))
}
