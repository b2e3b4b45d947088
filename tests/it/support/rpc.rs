//! The RPCs of the contract in one table, for tests that apply to each.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use serde_json::{Value, json};
use tonic::{Request, Response, Status, transport::Channel};
use totp_facade::{
    proto::stytch::b2b::{
        recovery_codes::v1::{
            self as recovery_codes, recovery_codes_service_client::RecoveryCodesServiceClient,
        },
        totp::v1::{self as totp, totp_service_client::TotpServiceClient},
    },
    translate::{FromJson, translate},
};

type Answer = Pin<Box<dyn Future<Output = Result<Response<Value>, Status>> + Send>>;

/// An RPC, with JSON for its request and response.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// The full name of the method.
    pub name: &'static str,
    /// The full names of the request and response messages, each with a leading dot.
    pub messages: (&'static str, &'static str),
    /// Stytch's names for the schemas of request and response; a call without a body has no request
    /// schema.
    pub schemas: (Option<&'static str>, &'static str),
    /// The prefix of its fixtures' names.
    pub example: &'static str,
    /// The HTTP method and path of the call to Stytch, with the ids of [`Rpc::request`].
    pub line: &'static str,
    /// Whether it only reads.
    pub reads: bool,
    /// Returns the smallest valid request for a member.
    pub request: fn(member_id: &str) -> Value,
    /// The smallest valid response of Stytch.
    pub answer: &'static str,
    /// Calls it.
    pub call: fn(Channel, Request<Value>) -> Answer,
    /// Encodes a request as protobuf.
    pub encoded: fn(Value) -> Vec<u8>,
    /// Converts the JSON of a response to protobuf and back.
    pub over_the_wire: fn(&str) -> Value,
}

macro_rules! call {
    ($client:ident, $method:ident) => {
        |channel, request| {
            Box::pin(async move {
                let (metadata, extensions, body) = request.into_parts();
                let body = message(&body.to_string());
                let request = Request::from_parts(metadata, extensions, body);
                let response = $client::new(channel).$method(request).await?;
                Ok(response.map(|answer| serde_json::to_value(answer).unwrap()))
            })
        }
    };
}

/// Returns the message of this JSON. All of its fields must fit.
pub fn message<T: prost::Message + FromJson + Default>(json: &str) -> T {
    T::decode(encoded_text::<T>(json)).unwrap()
}

fn encoded_text<T: FromJson>(json: &str) -> Bytes {
    let left_out = |path: &str| panic!("{path} does not fit in {json}");
    translate::<T>(json.as_bytes(), left_out).expect("an object").into_bytes()
}

/// Converts JSON to a message, to bytes, to a message, to JSON.
fn over_the_wire<Res>(json: &str) -> Value
where
    Res: prost::Message + FromJson + Default + serde::Serialize,
{
    let wire = message::<Res>(json).encode_to_vec();
    serde_json::to_value(Res::decode(wire.as_slice()).unwrap()).unwrap()
}

fn encoded<Req: FromJson>(request: Value) -> Vec<u8> {
    encoded_text::<Req>(&request.to_string()).into()
}

fn ids(member_id: &str) -> Value {
    json!({"organization_id": "example-works", "member_id": member_id})
}

fn with(member_id: &str, fields: &Value) -> Value {
    let mut request = ids(member_id);
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

impl Rpc {
    pub const ALL: [Self; 7] = [
        Self::CREATE,
        Self::AUTHENTICATE,
        Self::MIGRATE,
        Self::DELETE,
        Self::GET,
        Self::ROTATE,
        Self::RECOVER,
    ];

    pub const CREATE: Self = Self {
        name: "stytch.b2b.totp.v1.TotpService/Create",
        messages: (".stytch.b2b.totp.v1.CreateRequest", ".stytch.b2b.totp.v1.CreateResponse"),
        schemas: (Some("api_b2b_totp_v1_CreateRequest"), "api_b2b_totp_v1_CreateResponse"),
        example: "totp-create",
        line: "POST /v1/b2b/totp",
        reads: false,
        request: ids,
        answer: r#"{"secret": "S"}"#,
        call: call!(TotpServiceClient, create),
        encoded: encoded::<totp::CreateRequest>,
        over_the_wire: over_the_wire::<totp::CreateResponse>,
    };

    pub const AUTHENTICATE: Self = Self {
        name: "stytch.b2b.totp.v1.TotpService/Authenticate",
        messages: (
            ".stytch.b2b.totp.v1.AuthenticateRequest",
            ".stytch.b2b.totp.v1.AuthenticateResponse",
        ),
        schemas: (
            Some("api_b2b_totp_v1_AuthenticateRequest"),
            "api_b2b_totp_v1_AuthenticateResponse",
        ),
        example: "totp-authenticate",
        line: "POST /v1/b2b/totp/authenticate",
        reads: false,
        request: |member| with(member, &json!({"code": "000000", "session_token": "token"})),
        answer: r#"{"session_token": "S"}"#,
        call: call!(TotpServiceClient, authenticate),
        encoded: encoded::<totp::AuthenticateRequest>,
        over_the_wire: over_the_wire::<totp::AuthenticateResponse>,
    };

    pub const MIGRATE: Self = Self {
        name: "stytch.b2b.totp.v1.TotpService/Migrate",
        messages: (".stytch.b2b.totp.v1.MigrateRequest", ".stytch.b2b.totp.v1.MigrateResponse"),
        schemas: (Some("api_b2b_totp_v1_MigrateRequest"), "api_b2b_totp_v1_MigrateResponse"),
        example: "totp-migrate",
        line: "POST /v1/b2b/totp/migrate",
        reads: false,
        request: |member| with(member, &json!({"secret": "AAAA", "recovery_codes": []})),
        answer: r#"{"totp_registration_id": "S"}"#,
        call: call!(TotpServiceClient, migrate),
        encoded: encoded::<totp::MigrateRequest>,
        over_the_wire: over_the_wire::<totp::MigrateResponse>,
    };

    pub const DELETE: Self = Self {
        name: "stytch.b2b.totp.v1.TotpService/Delete",
        messages: (".stytch.b2b.totp.v1.DeleteRequest", ".stytch.b2b.totp.v1.DeleteResponse"),
        schemas: (None, "api_organization_v1_organizations_members_DeleteTOTPResponse"),
        example: "member-totp-delete",
        line: "DELETE /v1/b2b/organizations/example-works/members/fresh/totp",
        reads: false,
        request: ids,
        answer: r#"{"member_id": "S"}"#,
        call: call!(TotpServiceClient, delete),
        encoded: encoded::<totp::DeleteRequest>,
        over_the_wire: over_the_wire::<totp::DeleteResponse>,
    };

    pub const GET: Self = Self {
        name: "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get",
        messages: (
            ".stytch.b2b.recovery_codes.v1.GetRequest",
            ".stytch.b2b.recovery_codes.v1.GetResponse",
        ),
        schemas: (None, "api_b2b_recovery_codes_v1_GetResponse"),
        example: "recovery-codes-get",
        line: "GET /v1/b2b/recovery_codes/example-works/fresh",
        reads: true,
        request: ids,
        answer: r#"{"member_id": "S"}"#,
        call: call!(RecoveryCodesServiceClient, get),
        encoded: encoded::<recovery_codes::GetRequest>,
        over_the_wire: over_the_wire::<recovery_codes::GetResponse>,
    };

    pub const ROTATE: Self = Self {
        name: "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Rotate",
        messages: (
            ".stytch.b2b.recovery_codes.v1.RotateRequest",
            ".stytch.b2b.recovery_codes.v1.RotateResponse",
        ),
        schemas: (
            Some("api_b2b_recovery_codes_v1_RotateRequest"),
            "api_b2b_recovery_codes_v1_RotateResponse",
        ),
        example: "recovery-codes-rotate",
        line: "POST /v1/b2b/recovery_codes/rotate",
        reads: false,
        request: ids,
        answer: r#"{"recovery_codes": ["S"]}"#,
        call: call!(RecoveryCodesServiceClient, rotate),
        encoded: encoded::<recovery_codes::RotateRequest>,
        over_the_wire: over_the_wire::<recovery_codes::RotateResponse>,
    };

    pub const RECOVER: Self = Self {
        name: "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Recover",
        messages: (
            ".stytch.b2b.recovery_codes.v1.RecoverRequest",
            ".stytch.b2b.recovery_codes.v1.RecoverResponse",
        ),
        schemas: (
            Some("api_b2b_recovery_codes_v1_RecoverRequest"),
            "api_b2b_recovery_codes_v1_RecoverResponse",
        ),
        example: "recovery-codes-recover",
        line: "POST /v1/b2b/recovery_codes/recover",
        reads: false,
        request: |member| with(member, &json!({"recovery_code": "a-b", "session_token": "token"})),
        answer: r#"{"session_jwt": "S"}"#,
        call: call!(RecoveryCodesServiceClient, recover),
        encoded: encoded::<recovery_codes::RecoverRequest>,
        over_the_wire: over_the_wire::<recovery_codes::RecoverResponse>,
    };

    /// Calls it with its smallest request.
    pub async fn try_for(
        self,
        channel: Channel,
        member_id: &str,
    ) -> Result<Response<Value>, Status> {
        self.with(channel, (self.request)(member_id)).await
    }

    /// Calls it with its smallest request and an idempotency key.
    pub fn keyed(self, channel: Channel, member_id: &str, key: &str) -> Answer {
        (self.call)(channel, self.keyed_request(member_id, key))
    }

    /// Returns its smallest request with an idempotency key.
    pub fn keyed_request(self, member_id: &str, key: &str) -> Request<Value> {
        let mut request = Request::new((self.request)(member_id));
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
        request
    }

    /// Returns the RPCs that change something.
    pub fn mutating() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|rpc| !rpc.reads)
    }

    /// Calls it with this request.
    pub async fn with(self, channel: Channel, request: Value) -> Result<Response<Value>, Status> {
        (self.call)(channel, Request::new(request)).await
    }
}

#[test]
fn the_table_has_every_rpc_of_the_contract() {
    let descriptors: prost_types::FileDescriptorSet =
        prost::Message::decode(totp_facade::proto::DESCRIPTORS).unwrap();
    let mut contract = Vec::new();
    for file in descriptors.file.iter().filter(|file| file.package().starts_with("stytch.")) {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                contract.push((
                    name,
                    method.input_type().to_owned(),
                    method.output_type().to_owned(),
                ));
            }
        }
    }
    let mut table: Vec<_> = Rpc::ALL
        .iter()
        .map(|rpc| (rpc.name.to_owned(), rpc.messages.0.to_owned(), rpc.messages.1.to_owned()))
        .collect();
    contract.sort();
    table.sort();

    assert_eq!(table, contract);
}
