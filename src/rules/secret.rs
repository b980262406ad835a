//! Which names speak of secrets (promise P7).
//!
//! A rule's expressions end up in the journal: in the calls of a plan, in what `where` compares,
//! as ids. So an expression whose names speak of a secret is refused when the rules are compiled.

/// Words that name a secret.
const WORDS: [&str; 15] = [
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "token",
    "tokens",
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "bearer",
    "jwt",
    "otp",
];

/// Pairs of words that name a secret, together or written as one.
const PAIRS: [(&str, &str); 6] = [
    ("api", "key"),
    ("private", "key"),
    ("access", "key"),
    ("secret", "key"),
    ("signing", "key"),
    ("pass", "word"),
];

/// Last words that make the name one of something about the secret: `api_key_type`, `token_id`.
const ABOUT: [&str; 6] = ["id", "ids", "type", "name", "kind", "at"];

/// Whether `name` (a field, a parameter) names a secret: `api_key`, `clientSecret`,
/// `x-auth-token`, but not `api_key_type` or `token_id`.
#[must_use]
pub fn names_secret(name: &str) -> bool {
    let words = words(name);
    if words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return false;
    }
    let single = |word: &String| {
        let joined = |(a, b): &(&str, &str)| word.strip_prefix(a) == Some(*b);
        WORDS.contains(&word.as_str()) || PAIRS.iter().any(joined)
    };
    let paired = |pair: &[String]| matches!(pair, [a, b] if PAIRS.contains(&(a, b)));
    words.iter().any(single) || words.windows(2).any(paired)
}

/// `clientSecret`, `client-secret` and `client_secret` are two words each.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        let boundary = !c.is_alphanumeric() || (c.is_uppercase() && after_lower);
        if boundary && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_names_of_secrets_are_known_in_every_spelling() {
        for name in [
            "api_key",
            "apiKey",
            "apikey",
            "API-Key",
            "x-agent-api-key",
            "secret",
            "clientSecret",
            "password",
            "access_token",
            "Authorization",
            "set-cookie",
            "credentials",
            "private_key",
            "privateKey",
            "secret_value",
            "api_key_hash",
            "TOKEN",
        ] {
            assert!(names_secret(name), "{name}");
        }
    }

    #[test]
    fn names_about_a_secret_are_not_secrets() {
        for name in [
            "",
            "id",
            "name",
            "agent_id",
            "api_key_type",
            "api_key_id",
            "key_id",
            "token_type",
            "source",
            "account",
            "tokenizer",
            "key",
            "secretary",
            "created_at",
        ] {
            assert!(!names_secret(name), "{name}");
        }
    }
}
