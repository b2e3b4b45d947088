//! The policy file `callers.toml`: no panic, and an accepted policy has a summary and identities.
#![no_main]

use libfuzzer_sys::fuzz_target;
use totp_facade::access::Policy;

fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::parse(text) {
        assert!(!policy.summary().is_empty());
        assert!(policy.identities().next().is_some());
    }
});
