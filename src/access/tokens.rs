//! Bearer tokens from a file, of which only the SHA-256 hashes are known.
//!
//! Each line of the file holds a name and the hash of a token, in hexadecimal. A name may have
//! several lines, so that tokens can be rotated. Tokens are random, so a plain hash cannot be
//! reversed.

use std::{path::Path, sync::Arc};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::{
    credential::{Credential, Identities, Presented},
    refusal::Refusal,
};
use crate::{
    files::{self, Content, Reloaded, complete},
    identity::Identity,
    telemetry::metrics::Metrics,
};

/// Identifies callers by the bearer tokens in a file.
#[derive(Debug)]
pub(super) struct FileTokens(Reloaded<Tokens>);

impl FileTokens {
    /// Loads a file, now and when it changes. Needs a runtime.
    pub(super) fn new(path: &Path, metrics: &Metrics) -> Result<Self, String> {
        let path = path.to_owned();
        let paths = vec![path.clone()];
        Reloaded::from_files(metrics, "tokens", paths, move || Tokens::load(&path)).map(Self)
    }
}

impl Credential for FileTokens {
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal> {
        let Some(token) = presented.bearer? else { return Ok(None) };
        let identities = self.0.borrow().identities(token);
        identities.map(Some).ok_or(Refusal::Unknown("the token is unknown"))
    }
}

/// The tokens in a file.
#[derive(Debug)]
pub struct Tokens(Vec<Token>);

#[derive(Debug)]
struct Token {
    name: String,
    identities: Identities,
    hash: Vec<u8>,
}

impl Content for Tokens {
    fn missing(&self) -> Option<String> {
        self.0.is_empty().then(|| "holds no token".to_owned())
    }
}

impl Tokens {
    /// Reads a file, as at start: it must hold a token.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and in which line.
    pub fn read(path: &Path) -> Result<Self, String> {
        files::parse(path, |text| Self::parse(text).and_then(complete))
    }

    /// Reads a file, as when it has changed: it may be empty.
    fn load(path: &Path) -> Result<Self, String> {
        files::parse(path, Self::parse)
    }

    /// Parses the text of a file, which may be empty.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, and in which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens: Vec<Token> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = token(line).ok_or_else(|| {
                // Does not quote the line, which may be a token by mistake.
                format!(
                    "line {} is not NAME and the SHA-256 of a token in hexadecimal: `totp-facade \
                     token NAME` prints what belongs here after \"line: \"",
                    number + 1
                )
            })?;
            let same = tokens.iter().find(|other| other.hash == token.hash);
            if let Some(other) = same.filter(|other| other.name != token.name) {
                let (one, two) = (&other.name, &token.name);
                return Err(format!(
                    "line {} gives the token of {one:?} to {two:?} too",
                    number + 1
                ));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Returns the identities of the caller with this token, or `None` if the token is unknown.
    ///
    /// The hash is compared with every line, each time in constant time: the time that this takes
    /// reveals neither which byte of the token is wrong nor whose token it is.
    pub fn identities(&self, token: &str) -> Option<Arc<[Identity]>> {
        let hash = digest(&SHA256, token.as_bytes());
        let found = self.0.iter().fold(None, |found, token| {
            match verify_slices_are_equal(&token.hash, hash.as_ref()) {
                Ok(()) => Some(&token.identities),
                Err(_) => found,
            }
        });
        found.cloned()
    }

    /// Returns the name of each token.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| token.name.as_str())
    }
}

/// Parses a line of the file.
fn token(line: &str) -> Option<Token> {
    let mut words = line.split_whitespace();
    let (name, hash) = (words.next()?, words.next()?);
    let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok().filter(|hash| hash.len() == 32)?;
    if words.next().is_some() {
        return None;
    }
    Some(Token { name: name.to_owned(), identities: Arc::new([Identity::token(name)?]), hash })
}

/// Generates a token with 256 random bits, and its line for the file.
pub fn line(name: &str) -> (Zeroizing<String>, String) {
    let mut random = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).expect("the system has random bytes");
    let token = Zeroizing::new(BASE64URL_NOPAD.encode(random.as_slice()));
    let hash = HEXLOWER_PERMISSIVE.encode(digest(&SHA256, token.as_bytes()).as_ref());
    (token, format!("{name} {hash}"))
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Instant};

    use super::*;

    fn name(tokens: &Tokens, token: &str) -> Option<String> {
        Some(tokens.identities(token)?[0].token_name()?.to_owned())
    }

    fn named(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn a_new_token_is_known_by_its_line_and_by_nothing_else() {
        let ((one, first), (two, second)) = (line("login"), line("admin"));
        let tokens = Tokens::parse(&format!("# ours\n\n{first}\n  {second}  \n")).unwrap();

        assert_eq!(name(&tokens, &one), named("login"));
        assert_eq!(name(&tokens, &two), named("admin"));
        for wrong in ["", " ", "login", &one[1..], &format!("{}x", *one), &first] {
            assert_eq!(name(&tokens, wrong), None, "{wrong}");
        }
        assert_ne!(*one, *two);
        assert!(one.len() >= 43, "256 bits");
    }

    #[test]
    fn a_name_may_have_several_tokens_for_a_rotation() {
        let ((old, first), (new, second)) = (line("login"), line("login"));
        let both = Tokens::parse(&format!("{first}\n{second}")).unwrap();
        let after = Tokens::parse(&second).unwrap();

        assert_eq!((name(&both, &old), name(&both, &new)), (named("login"), named("login")));
        assert_eq!((name(&after, &old), name(&after, &new)), (None, named("login")));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_not_quoted() {
        let (_, good) = line("login");
        for bad in [
            "login",
            "a-token-by-mistake",
            &format!("{good} more"),
            "login abc",
            &good[..60],
            &format!("\u{feff}{good}"),
        ] {
            let error = Tokens::parse(&format!("{good}\n{bad}")).unwrap_err();

            assert!(error.contains("line 2") && !error.contains("mistake"), "{error}");
        }
    }

    #[test]
    fn a_token_with_two_names_is_refused() {
        let (_, line) = line("login");
        let other = line.replace("login", "reader");

        let error = Tokens::parse(&format!("{line}\n{other}")).unwrap_err();

        assert_eq!(error, "line 2 gives the token of \"login\" to \"reader\" too");
        assert!(Tokens::parse(&format!("{line}\n{line}")).is_ok(), "the same line twice");
    }

    #[test]
    fn a_file_without_tokens_admits_nobody_and_is_an_error_at_start() {
        for text in ["", "# nothing\n", " \r\n\t", "# login abc"] {
            let tokens = Tokens::parse(text).unwrap();

            assert_eq!(tokens.identities(""), None, "{text:?}");
            assert_eq!(complete(tokens).unwrap_err(), "holds no token", "{text:?}");
        }
        let (token, line) = line("login");
        let tokens = Tokens::parse(&format!("{line}\r\n# the last line is a comment")).unwrap();
        assert_eq!(name(&tokens, &token), named("login"));
    }

    /// The shortest of many times that the lookup of each of these tokens takes, measured in turns.
    fn times<const N: usize>(tokens: &Tokens, given: [&str; N]) -> [f64; N] {
        const CALLS: u32 = 20;
        let mut shortest = [f64::INFINITY; N];
        for _ in 0..200 {
            for (shortest, token) in shortest.iter_mut().zip(given) {
                let start = Instant::now();
                for _ in 0..CALLS {
                    black_box(tokens.identities(black_box(token)));
                }
                *shortest = shortest.min(start.elapsed().as_secs_f64());
            }
        }
        shortest
    }

    #[test]
    fn timing_reveals_neither_where_a_token_is_wrong_nor_whose_it_is() {
        // Long tokens, so that a comparison that stops at the first wrong byte is many times
        // faster.
        let good = "t".repeat(16 * 1024);
        let wrong = |at: usize| format!("{}x{}", &good[..at], &good[at + 1..]);
        let others =
            (0..500).map(|number| format!("other-{number} {}\n", line("other").1[6..].to_owned()));
        let (first, last) = ("first-of-all", "last-of-all");
        let hash =
            |token: &str| HEXLOWER_PERMISSIVE.encode(digest(&SHA256, token.as_bytes()).as_ref());
        let text = format!(
            "first {}\n{}good {}\nlast {}\n",
            hash(first),
            others.collect::<String>(),
            hash(&good),
            hash(last)
        );
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!((name(&tokens, first), name(&tokens, last)), (named("first"), named("last")));
        assert_eq!(name(&tokens, &wrong(0)), None);

        let [at_once, in_the_middle, at_the_end, not_at_all] =
            times(&tokens, [&wrong(0), &wrong(8 * 1024), &wrong(16 * 1024 - 1), &good]);
        let [of_the_first, of_the_last] = times(&tokens, [first, last]);

        for (one, other) in [
            (at_once, in_the_middle),
            (at_once, at_the_end),
            (at_once, not_at_all),
            (of_the_first, of_the_last),
        ] {
            let ratio = one / other;
            assert!((0.6..1.6).contains(&ratio), "{one} s and {other} s");
        }
    }
}
