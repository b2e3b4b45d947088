//! `callers.toml`: no panic, and what is taken can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use totp_facade::access::Policy;

fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::parse(text) {
        assert!(!policy.summary().is_empty());
        assert!(policy.identities().next().is_some());
    }
});
