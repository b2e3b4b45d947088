//! The sandbox's whole state, behind one lock. The operations on it are functions in `totp`,
//! `recovery_codes` and `authentication`.
//!
//! Its size is bounded by the seed, and by the limits in `session` and `fault`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde_json::{Value, json};

use super::{
    clock::{Clock, rfc3339},
    error::ApiError,
    fault::{Fault, Rules},
    fields::Fields,
    member::{Member, MemberIndex, decode_secret},
    mint,
    object::{Object, object, text},
    seed::{MemberSettings, Project, Seed, SeedMember},
    session::Sessions,
};

const DEFAULTS: &str = include_str!("defaults.json");

/// Returns the fields of an organization and of a member, as they are unless a seed sets them.
pub(super) fn defaults() -> HashMap<String, Object> {
    serde_json::from_str(DEFAULTS).expect("the embedded defaults are tested")
}

/// The store, as all calls share it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Store>>);

impl Shared {
    pub(super) fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Locks the store. A panic under the lock has been reported, so later calls ignore it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Store {
    pub(super) project: Project,
    pub(super) organizations: Vec<Object>,
    pub(super) members: Vec<Member>,
    /// Where `members` has those with an id or external id, which no call changes.
    members_by_name: HashMap<String, Vec<usize>>,
    pub(super) sessions: Sessions,
    pub(super) rules: Rules,
    pub(super) clock: Clock,
}

impl Store {
    pub(super) fn new(seed: Seed, clock: Clock) -> Self {
        let defaults = defaults();
        let with_defaults = |kind: &str, object: Object| {
            let mut full = defaults[kind].clone();
            full.extend(object);
            full
        };
        let organizations = seed.organizations.into_iter();
        let members = seed.members.into_iter().map(|SeedMember { object, sandbox }| {
            seeded_member(with_defaults("member", object), sandbox)
        });
        let members: Vec<_> = members.collect();
        Self {
            project: seed.project,
            organizations: organizations.map(|it| with_defaults("organization", it)).collect(),
            members_by_name: by_name(&members),
            members,
            sessions: Sessions::default(),
            rules: Rules::default(),
            clock,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Checks the project's credentials.
    pub(super) fn authenticate(&self, project_id: &str, secret: &str) -> Result<(), ApiError> {
        if !project_id.starts_with("project-") {
            Err(ApiError::INVALID_PROJECT)
        } else if project_id == self.project.project_id && secret == self.project.secret {
            Ok(())
        } else {
            Err(ApiError::UNAUTHORIZED)
        }
    }

    /// Returns the fault for a call: that of the first rule that matches, or else the member's own.
    pub(super) fn fault_for(&mut self, path: &str, fields: &Fields) -> Option<Fault> {
        let member_id = fields.text("member_id").ok().flatten().unwrap_or_default();
        if let Some(fault) = self.rules.fault_for(path, member_id) {
            return Some(fault);
        }
        let index = self.find(fields).ok()?;
        self.members[index.member].fault.clone()
    }

    /// Finds the organization and the member of a request, by any of their names, and expires what
    /// has expired of the member.
    pub(super) fn find(&mut self, fields: &Fields) -> Result<MemberIndex, ApiError> {
        const KEYS: &[&str] = &["organization_id", "organization_slug", "organization_external_id"];
        let name = fields.required("organization_id")?;
        let member_name = fields.required("member_id")?;
        let organization = self
            .organizations
            .iter()
            .position(|organization| is_named(organization, KEYS, name))
            .ok_or(ApiError::ORGANIZATION_NOT_FOUND)?;
        let index = self.find_in(organization, member_name).ok_or(ApiError::MEMBER_NOT_FOUND)?;
        let now = self.now();
        self.members[index.member].expire(now);
        Ok(index)
    }

    /// Finds a member by name: in the preferred organization if it is there, else in any.
    pub(super) fn find_anywhere(&self, name: &str, preferred: usize) -> Option<MemberIndex> {
        let others = (0..self.organizations.len()).filter(|other| *other != preferred);
        std::iter::once(preferred).chain(others).find_map(|it| self.find_in(it, name))
    }

    fn find_in(&self, organization: usize, name: &str) -> Option<MemberIndex> {
        let id = &self.organizations[organization]["organization_id"];
        let mut named = self.members_by_name.get(name)?.iter().copied();
        let member = named.find(|index| self.members[*index].object["organization_id"] == *id)?;
        Some(MemberIndex { organization, member })
    }

    /// Returns the body of a successful response: `fields`, and those that every response has.
    pub(super) fn response(&self, index: MemberIndex, fields: Value) -> Value {
        let member = &self.members[index.member].object;
        let mut body = object(json!({
            "status_code": 200,
            "request_id": mint::request_id(),
            "member_id": member["member_id"],
            "member": member,
            "organization": self.organizations[index.organization],
        }));
        body.extend(object(fields));
        body.into()
    }

    /// Like [`Self::response`], for a call that changed the member: sets its `updated_at` first.
    pub(super) fn changed_response(&mut self, index: MemberIndex, fields: Value) -> Value {
        let now = rfc3339(self.now());
        self.members[index.member].set([("updated_at", now)]);
        self.response(index, fields)
    }
}

/// Creates a member, with an active TOTP if its object names one.
fn seeded_member(object: Object, settings: MemberSettings) -> Member {
    let registration_id = text(&object, "totp_registration_id").map(str::to_owned);
    let mut member = Member::new(object, settings.fault);
    if let Some(registration_id) = registration_id {
        let secret = settings.secret.unwrap_or_else(mint::secret);
        let secret = decode_secret(&secret).expect("the seed has been checked");
        let codes = settings.recovery_codes.unwrap_or_else(mint::recovery_codes);
        member.register(&registration_id, secret, codes, None);
    }
    member
}

fn by_name(members: &[Member]) -> HashMap<String, Vec<usize>> {
    let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
    for (index, Member { object, .. }) in members.iter().enumerate() {
        let names = ["member_id", "external_id"].into_iter().filter_map(|key| text(object, key));
        names.for_each(|name| by_name.entry(name.to_owned()).or_default().push(index));
    }
    by_name
}

fn is_named(object: &Object, keys: &[&str], name: &str) -> bool {
    keys.iter().any(|key| text(object, key) == Some(name))
}
