//! The body of a successful response, from Stytch or an impostor, of the type that the first byte
//! chooses: no panic, and the translation is what the model of the tests says.
#![no_main]

#[path = "../../tests/it/support/oracle.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;
use oracle::{RESPONSES, check};

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    // A body without the choice, such as a fixture, is of the first type.
    match choice {
        b'{' => drop(check(RESPONSES[0], input)),
        _ => drop(check(RESPONSES[usize::from(choice.wrapping_sub(b'0')) % RESPONSES.len()], body)),
    }
});
