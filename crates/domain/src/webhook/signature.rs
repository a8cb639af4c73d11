//! Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body.

use crate::secret::SecretValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the text of a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// A text that is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is no signing secret; it must be `{SECRET_PREFIX}` and base64")]
pub struct InvalidSecret;

/// The text of a secret of random bytes.
#[must_use]
pub fn new_secret(random: [u8; 32]) -> SecretValue {
    let random = Zeroizing::new(random);
    SecretValue::new(format!("{SECRET_PREFIX}{}", *Zeroizing::new(STANDARD.encode(*random))))
}

/// The value of the header `webhook-signature`: one signature for each secret, separated by blanks.
///
/// # Errors
/// One of the secrets is none.
pub fn sign(
    secrets: &[SecretValue],
    id: &str,
    timestamp_seconds: i64,
    body: &str,
) -> Result<String, InvalidSecret> {
    let signatures: Result<Vec<_>, _> =
        secrets.iter().map(|secret| sign_with(secret, id, timestamp_seconds, body)).collect();
    Ok(signatures?.join(" "))
}

fn sign_with(
    secret: &SecretValue,
    id: &str,
    timestamp_seconds: i64,
    body: &str,
) -> Result<String, InvalidSecret> {
    let encoded = secret.expose().strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret)?;
    let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSecret)?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| InvalidSecret)?;
    mac.update(format!("{id}.{timestamp_seconds}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_published_example_comes_out() {
        let secret = SecretValue::new(String::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let body = r#"{"test": 2432232314}"#;
        let signed =
            sign(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = sign(&[new_secret([1; 32]), secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let both = both.unwrap();
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {signed}")), "{both}");
    }

    #[test]
    fn secrets_have_one_form() {
        assert!(new_secret([7; 32]).expose().starts_with("whsec_Bwc"));
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"] {
            assert_eq!(sign(&[SecretValue::new(text.to_owned())], "x", 0, ""), Err(InvalidSecret), "{text}");
        }
    }
}
