//! The promises of totp-facade, one sentence a test.
