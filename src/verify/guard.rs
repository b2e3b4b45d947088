//! The member must be one that the run may change.

use super::observation::Observation;

/// Says why the run must not go on after its first step, a Get for the member.
pub(super) fn objection(first: &Observation) -> Option<String> {
    if let Some(what) = first.disturbance() {
        return Some(format!("cannot tell whether the member has a TOTP: {what}"));
    }
    if let Some(body) = first.success() {
        if body.pointer("/member/member_id").is_none() {
            return Some("cannot tell whether the member has a TOTP: not Stytch's answer".into());
        }
        let has_codes = body["recovery_codes"].as_array().is_some_and(|codes| !codes.is_empty());
        let is_named = body
            .pointer("/member/totp_registration_id")
            .and_then(|it| it.as_str())
            .is_some_and(|it| !it.is_empty());
        return (has_codes || is_named).then(|| {
            "the member has a TOTP that the run has not made; name a member without one".to_owned()
        });
    }
    let status = first.http.as_ref().map_or(0, |answer| answer.status);
    let error_type = first.error_type().unwrap_or_default();
    let is_about_totps = matches!(status, 400 | 404)
        && (error_type.contains("recovery_code") || error_type.contains("totp"));
    let what_helps = match (status, error_type) {
        (401, _) => "; check STYTCH_PROJECT_ID and STYTCH_SECRET",
        (_, "member_not_found" | "organization_not_found") => {
            "; check --organization-id and --member-id"
        }
        _ => "",
    };
    let unsure = || format!("cannot tell whether the member has a TOTP: {}", first.outcome());
    (!is_about_totps).then(|| unsure() + what_helps)
}
