//! Certificates for servers and clients, and JWTs.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
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
    id: String,
}

impl Issuing {
    pub fn new(id: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        Self { key, id: id.to_owned() }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token that is good but for `changes`; null takes a claim away.
    pub fn sign(&self, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": ISSUER, "aud": [AUDIENCE, "others"], "sub": "system:serviceaccount:web:login",
            "iat": now, "nbf": now, "exp": now + 600,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// A JWKS of these.
pub fn jwks(keys: &[&Issuing]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
