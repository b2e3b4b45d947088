//! Certificates for servers and clients, and JWTs.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use serde_json::{Value, json};
use tonic::transport::{self, ClientTlsConfig, Endpoint, Identity};

/// An authority that certifies servers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for these names, and its key, both PEM.
    pub fn certify(&self, names: &[&str], expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for name in names {
            params.subject_alt_names.push(match name.strip_prefix("dns:") {
                Some(dns) => SanType::DnsName(dns.try_into().unwrap()),
                None => SanType::URI((*name).try_into().unwrap()),
            });
        }
        if expired {
            (params.not_before, params.not_after) =
                (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client of a server at `addr` that this authority has certified as localhost.
    pub fn endpoint(&self, addr: SocketAddr, identity: Option<Identity>) -> Endpoint {
        let authority = transport::Certificate::from_pem(self.certificate.pem());
        let mut tls = ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap()
    }

    pub fn identity(&self, names: &[&str]) -> Identity {
        let (certificate, key) = self.certify(names, false);
        Identity::from_pem(certificate, key)
    }
}

/// Whose JWTs the tests take, and for whom.
pub const ISSUER: &str = "https://cluster.example";
pub const AUDIENCE: &str = "totp-facade";

/// Signs JWTs.
pub struct Issuing {
    key: EncodingKey,
    jwk: Value,
    id: Option<String>,
    algorithm: Algorithm,
}

impl Issuing {
    pub fn new(id: &str) -> Self {
        Self::with(Some(id), Algorithm::ES256)
    }

    pub fn with(id: Option<&str>, algorithm: Algorithm) -> Self {
        let id = id.map(ToOwned::to_owned);
        let (key, mut jwk) = key_pair(algorithm);
        jwk["alg"] = serde_json::to_value(algorithm).unwrap();
        if let Some(id) = &id {
            jwk["kid"] = json!(id);
        }
        Self { key, jwk, id, algorithm }
    }

    pub fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// A token that is good but for `changes`; null takes a claim away.
    pub fn sign(&self, changes: &Value) -> String {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// A good token, but with these in its header.
    pub fn sign_with(&self, more: &Value) -> String {
        let mut header = self.header();
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sign_text(&header.to_string(), &claims().to_string())
    }

    /// The header of a good token.
    pub fn header(&self) -> Value {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm});
        if let Some(id) = &self.id {
            header["kid"] = json!(id);
        }
        header
    }

    /// A token of these very texts.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// The claims of a good token.
pub fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": ISSUER, "aud": [AUDIENCE, "others"], "sub": "system:serviceaccount:web:login",
        "iat": now, "nbf": now, "exp": now + 600,
    })
}

/// A key for an algorithm, and its public part as JWK.
fn key_pair(algorithm: Algorithm) -> (EncodingKey, Value) {
    let generate = |kind| KeyPair::generate_for(kind).unwrap();
    let with_jwk = |key: EncodingKey| {
        let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        (key, serde_json::to_value(jwk).unwrap())
    };
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let kind = match algorithm {
                Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
                _ => &rcgen::PKCS_ECDSA_P384_SHA384,
            };
            with_jwk(EncodingKey::from_ec_pem(generate(kind).serialize_pem().as_bytes()).unwrap())
        }
        Algorithm::EdDSA => {
            let key = generate(&rcgen::PKCS_ED25519);
            let x = BASE64URL_NOPAD.encode(key.public_key_raw());
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
            (EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).unwrap(), jwk)
        }
        _ => {
            let key = generate(&rcgen::PKCS_RSA_SHA256);
            with_jwk(EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap())
        }
    }
}

/// A JWKS of these.
pub fn jwks(keys: &[&Issuing]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
