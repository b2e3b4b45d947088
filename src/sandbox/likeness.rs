//! A seed with a member like one of Stytch's, so that what differs afterwards is behaviour.

use serde_json::{Value, json};

use super::{
    object::{Object, object},
    seed::Seed,
    store::defaults,
};

/// The name of the second member, who has nothing.
pub const OTHER_MEMBER: &str = "other";

/// The fields that name an organization or a member.
const NAMES: [&str; 4] = ["organization_id", "organization_name", "organization_slug", "member_id"];

impl Seed {
    /// Returns a seed whose organization and member are like these objects of Stytch's, with a
    /// second member. Of each object it keeps only the fields that the sandbox has, of the same
    /// type, and no TOTP.
    pub fn like(organization: &Value, member: &Value) -> Self {
        let mut first = like("member", member);
        first.insert("totp_registration_id".into(), "".into());
        // A null does for a text, but not for an id.
        first.insert("member_id".into(), text_or(member, "member_id", "member-test-1"));
        let mut only = like("organization", organization);
        for (key, default) in [
            ("organization_id", "organization-test-1"),
            ("organization_name", "Like Stytch's"),
            ("organization_slug", "like-stytchs"),
        ] {
            only.insert(key.into(), text_or(organization, key, default));
        }
        first.insert("organization_id".into(), only["organization_id"].clone());
        let Self { project, .. } = Self::embedded();
        let seed = json!({
            "project": {
                "project_id": project.project_id,
                "secret": project.secret,
                "name": project.name,
            },
            "organizations": [only],
            "members": [first, {"member_id": "member-test-2", "external_id": OTHER_MEMBER}],
        });
        Self::parse(&seed.to_string()).expect("a seed with all names")
    }
}

/// Returns the fields of a Stytch's object that the sandbox has too.
fn like(kind: &str, of: &Value) -> Object {
    let defaults = &defaults()[kind];
    let known = |key: &str, value: &Value| {
        NAMES.contains(&key) || defaults.get(key).is_some_and(|own| is_alike(own, value))
    };
    let Some(of) = of.as_object() else { return object(json!({})) };
    of.iter()
        .filter(|(key, value)| known(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether one value can stand for the other: a field that is null may have any value at another
/// time, but a text that is null instead of empty is a difference.
fn is_alike(own: &Value, value: &Value) -> bool {
    own.is_null() || std::mem::discriminant(own) == std::mem::discriminant(value)
}

fn text_or(of: &Value, key: &str, default: &str) -> Value {
    of[key].as_str().filter(|text| !text.is_empty()).unwrap_or(default).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{clock::Clock, store::Store};

    #[test]
    fn a_likeness_keeps_what_the_sandbox_has_and_nothing_else() {
        let organization = json!({
            "organization_id": "organization-test-7", "organization_name": "Acme",
            "organization_slug": "acme", "mfa_policy": "REQUIRED_FOR_ALL", "unheard_of": 1,
            "organization_logo_url": null, "organization_external_id": "external",
        });
        let member = json!({
            "member_id": "member-test-7", "name": "Ada", "totp_registration_id": "pending",
            "is_admin": true, "sandbox": {"secret": "AAAA"}, "external_id": null,
        });

        let store =
            Store::new(Seed::like(&organization, &member), Clock::new(std::time::SystemTime::now));

        let (organization, member) = (&store.organizations[0], &store.members[0].object);
        assert_eq!(organization["mfa_policy"], "REQUIRED_FOR_ALL");
        assert_eq!(organization["organization_external_id"], "external");
        assert_eq!(organization["organization_logo_url"], "", "a text stays a text");
        assert!(!organization.contains_key("unheard_of"));
        assert_eq!((&member["name"], &member["is_admin"]), (&json!("Ada"), &json!(true)));
        assert_eq!(member["totp_registration_id"], "");
        assert_eq!(member["organization_id"], "organization-test-7");
    }

    #[test]
    fn a_likeness_of_objects_without_names_can_be_served() {
        let store = Store::new(
            Seed::like(&json!({}), &json!(null)),
            Clock::new(std::time::SystemTime::now),
        );

        assert_eq!(store.members.len(), 2);
    }
}
