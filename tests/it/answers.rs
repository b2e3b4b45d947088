//! Nothing that Stytch sends is lost: example bodies, and bodies made from the schema.

use std::collections::BTreeSet;

use proptest::{collection, prelude::*};
use serde_json::{Map, Value, json};
use totp_facade::proto::{DESCRIPTORS, stytch::b2b::totp::v1::CreateResponse};

use crate::support::{
    Facade, create, exists, fixture,
    peer::{self, Peer},
    request_id,
    rpc::Rpc,
};

/// What a caller receives when Stytch answers with `body`.
async fn received(body: &str) -> CreateResponse {
    let peer = Peer::answering(peer::json(200, body)).await;
    let facade = Facade::in_front_of(peer.addr).await;
    facade.client().await.create(create("fresh")).await.expect("an answer").into_inner()
}

/// `value` without what the contract leaves out on purpose: the HTTP status, nulls, and the fields
/// that the schema does not have.
fn documented(mut value: Value) -> Value {
    fn without_nulls(value: &mut Value) {
        if let Value::Object(object) = value {
            // Free-form objects keep their nulls.
            object.retain(|_, value| !value.is_null());
            for (key, value) in object {
                if !FREE_FORM.contains(&key.as_str()) {
                    without_nulls(value);
                }
            }
        } else if let Value::Array(values) = value {
            values.iter_mut().for_each(without_nulls);
        }
    }
    without_nulls(&mut value);
    value.as_object_mut().unwrap().remove("status_code");
    if let Some(organization) = value.get_mut("organization") {
        organization.as_object_mut().unwrap().remove("scim_active_connections");
    }
    value
}

const FREE_FORM: [&str; 6] = [
    "custom_claims",
    "trusted_metadata",
    "untrusted_metadata",
    "sso_attributes",
    "allowed_oauth_tenants",
    "details",
];

#[tokio::test]
async fn the_example_answers_reach_the_caller_with_nothing_lost() {
    let mut seen = 0;
    for rpc in Rpc::ALL {
        for suffix in ["", ".nulls-and-unknown-fields"] {
            let name = format!("{}.response{suffix}.json", rpc.example);
            if !suffix.is_empty() && !exists(&name) {
                continue;
            }
            let body = fixture(&name);
            let peer = Peer::answering(peer::json(200, &body)).await;
            let facade = Facade::in_front_of(peer.addr).await;

            let response = rpc.try_for(facade.channel().await, "fresh").await.expect("an answer");

            let id = request_id(response.metadata()).unwrap().to_owned();
            let answer = response.into_inner();
            assert_eq!(answer, documented(serde_json::from_str(&body).unwrap()), "{name}");
            assert_eq!(answer["request_id"], id, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 9, "all example answers");
}

#[tokio::test]
async fn one_odd_field_does_not_cost_the_caller_the_secret() {
    let mut body: Value = serde_json::from_str(&fixture("totp-create.response.json")).unwrap();
    body["member"]["created_at"] = json!("");
    body["member"]["updated_at"] = json!("yesterday");
    body["member"]["is_admin"] = json!("no");
    body["organization"]["custom_roles"] = json!({"none": true});
    body["recovery_codes"][3] = json!(null);

    let answer = received(&body.to_string()).await;

    assert_eq!(answer.secret, body["secret"]);
    assert_eq!(answer.recovery_codes.len(), 9);
    let member = answer.member.unwrap();
    assert_eq!((member.created_at, member.updated_at), (None, None));
    assert_eq!(member.email_address, "ada@example.com");
}

#[tokio::test]
async fn nulls_inside_metadata_survive_at_every_depth() {
    let metadata = json!({"a": null, "b": [null, {"c": null, "d": [[]]}], "e": {}, "f": -0.5, "g": 9007199254740992_i64});
    let body = json!({"secret": "S", "member": {"trusted_metadata": metadata}});

    let answer = received(&body.to_string()).await;

    let member = serde_json::to_value(answer.member).unwrap();
    assert_eq!(member["trusted_metadata"], metadata);
}

#[tokio::test]
async fn an_answer_as_large_as_stytch_could_send_is_passed_on_whole() {
    let metadata: Map<String, Value> =
        (0..4000).map(|i| (format!("key {i}"), json!("x".repeat(100)))).collect();
    let body = json!({"secret": "S", "member": {"trusted_metadata": metadata}});

    let answer = received(&body.to_string()).await;

    assert_eq!(serde_json::to_value(answer.member).unwrap()["trusted_metadata"], json!(metadata));
}

/// The schema as the contract has it, to make bodies from: message name to fields.
struct Schema(prost_types::FileDescriptorSet);

impl Schema {
    fn new() -> Self {
        use prost::Message as _;
        Self(prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap())
    }

    fn fields(&self, message: &str) -> Vec<prost_types::FieldDescriptorProto> {
        let mut files = self.0.file.iter();
        files
            .find_map(|file| {
                let package = format!(".{}.", file.package());
                let name = message.strip_prefix(&package)?;
                file.message_type.iter().find(|it| it.name() == name)
            })
            .unwrap_or_else(|| panic!("no message {message}"))
            .field
            .clone()
    }

    /// Pairs of a body and what must come out: absent, null and unknown fields, unicode, metadata.
    fn message(&self, name: &str) -> BoxedStrategy<(Value, Value)> {
        let fields: Vec<_> = self
            .fields(name)
            .into_iter()
            .map(|field| {
                let optional = field.proto3_optional() || (is_message(&field) && !is_list(&field));
                (field.name().to_owned(), optional, default(&field), self.field(&field))
            })
            .collect();
        let (names, values): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .map(|(name, optional, default, value)| {
                // Present, null or absent.
                let value = prop_oneof![
                    6 => value.prop_map(Some).prop_map(Some),
                    1 => Just(Some(None)),
                    1 => Just(None),
                ];
                ((name, optional, default), value)
            })
            .unzip();
        let unknown = collection::btree_map("unknown_[a-z]{1,8}", any_json(), 0..2);
        (values, unknown)
            .prop_map(move |(values, unknown)| {
                let mut body: Map<_, _> = unknown.into_iter().collect();
                let mut expected = Map::new();
                for ((name, optional, default), value) in names.iter().zip(values) {
                    match value {
                        Some(Some((sent, kept))) => {
                            body.insert(name.clone(), sent);
                            expected.insert(name.clone(), kept);
                            continue;
                        }
                        Some(None) => drop(body.insert(name.clone(), Value::Null)),
                        None => {}
                    }
                    if !optional {
                        expected.insert(name.clone(), default.clone());
                    }
                }
                (Value::Object(body), Value::Object(expected))
            })
            .boxed()
    }

    fn field(&self, field: &prost_types::FieldDescriptorProto) -> BoxedStrategy<(Value, Value)> {
        use prost_types::field_descriptor_proto::Type;
        let same = |value: Value| (value.clone(), value);
        let one = match field.r#type() {
            Type::String => any::<String>().prop_map(move |text| same(text.into())).boxed(),
            Type::Bool => any::<bool>().prop_map(move |it| same(it.into())).boxed(),
            Type::Int32 => any::<i32>().prop_map(move |it| same(it.into())).boxed(),
            Type::Message => match field.type_name() {
                ".google.protobuf.Struct" => {
                    collection::btree_map(any::<String>(), any_json(), 0..4)
                        .prop_map(move |it| same(json!(it)))
                        .boxed()
                }
                ".google.protobuf.Timestamp" => {
                    // Years 1 to 9999.
                    (-62_135_596_800_i64..=253_402_300_799)
                        .prop_map(move |seconds| {
                            let time = prost_types::Timestamp { seconds, nanos: 0 };
                            same(time.to_string().into())
                        })
                        .boxed()
                }
                message => self.message(message),
            },
            other => panic!("no bodies for {other:?}"),
        };
        if !is_list(field) {
            return one;
        }
        collection::vec(one, 0..3)
            .prop_map(|values| {
                let (sent, kept): (Vec<_>, Vec<_>) = values.into_iter().unzip();
                (sent.into(), kept.into())
            })
            .boxed()
    }
}

fn is_list(field: &prost_types::FieldDescriptorProto) -> bool {
    field.label() == prost_types::field_descriptor_proto::Label::Repeated
}

fn is_message(field: &prost_types::FieldDescriptorProto) -> bool {
    field.r#type() == prost_types::field_descriptor_proto::Type::Message
}

fn default(field: &prost_types::FieldDescriptorProto) -> Value {
    use prost_types::field_descriptor_proto::Type;
    match field.r#type() {
        _ if is_list(field) => json!([]),
        Type::String => json!(""),
        Type::Bool => json!(false),
        Type::Int32 => json!(0),
        _ => Value::Null,
    }
}

/// Free-form JSON, with numbers that a double holds exactly.
fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (-(1_i64 << 53)..=(1 << 53)).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has finite numbers", |it| it.is_finite() && it.fract() != 0.0)
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..4).prop_map(|it| json!(it)),
        ]
    })
    .boxed()
}

/// An answer of any of the RPCs.
fn any_answer() -> impl Strategy<Value = (Rpc, Value, Value)> {
    let schema = Schema::new();
    let answers = Rpc::ALL.map(|rpc| {
        schema.message(rpc.messages.1).prop_map(move |(body, kept)| (rpc, body, kept)).boxed()
    });
    proptest::strategy::Union::new(answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 7 * 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_answer_of_the_schema_survives_json_to_message_to_json(
        (rpc, body, expected) in any_answer()
    ) {
        prop_assert_eq!((rpc.over_the_wire)(&body.to_string()), expected, "{}", rpc.name);
    }
}

/// Fields of the contract that Stytch's documentation has and its OpenAPI document has not, by their
/// schema.
const UNDOCUMENTED: [(&str, &str); 4] = [
    ("api_b2b_recovery_codes_v1_RecoverResponse", "organization_id"),
    ("api_b2b_totp_v1_AuthenticateResponse", "organization_id"),
    ("api_b2b_totp_v1_MigrateResponse", "organization_id"),
    ("api_session_v1_AuthenticationFactor", "sequence_order"),
];

#[test]
fn the_contract_has_every_field_of_stytchs_schema_and_no_other() {
    let schema: Value = serde_json::from_str(&fixture("../openapi-schemas.json")).unwrap();
    let contract = Schema::new();
    let mut left: Vec<(String, String)> = Vec::new();
    for rpc in Rpc::ALL {
        let (request, answer) = rpc.schemas;
        left.extend(request.map(|theirs| (theirs.into(), rpc.messages.0.into())));
        left.push((answer.into(), rpc.messages.1.into()));
    }
    let mut seen = BTreeSet::new();
    while let Some((theirs, ours)) = left.pop() {
        if !seen.insert(theirs.clone()) {
            continue;
        }
        // Enumerations stay text, for new values are to be expected.
        let Some(properties) = schema[&theirs]["properties"].as_object() else { continue };
        let ours_alone = UNDOCUMENTED.iter().filter(|(it, _)| *it == theirs).map(|(_, it)| *it);
        let names: BTreeSet<_> = properties
            .keys()
            .map(String::as_str)
            .chain(ours_alone)
            .filter(|it| *it != "status_code")
            .collect();
        let fields = contract.fields(&ours);
        let own: BTreeSet<_> = fields.iter().map(|field| field.name()).collect();
        assert_eq!(names, own, "{theirs}");
        for field in &fields {
            let Some(property) = properties.get(field.name()) else { continue };
            let reference = property.get("$ref").or_else(|| property.pointer("/items/$ref"));
            if let Some(reference) = reference {
                let theirs = reference.as_str().unwrap().rsplit('/').next().unwrap();
                left.push((theirs.to_owned(), field.type_name().to_owned()));
            }
            assert_eq!(is_list(field), property["type"] == "array", "{ours}.{}", field.name());
        }
    }
    assert_eq!(seen.len(), schema.as_object().unwrap().len(), "every schema is reached");
}
