//! Reflection and health: what tools like grpcurl ask first.

use std::{collections::BTreeSet, time::Duration};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time::timeout;
use tokio_stream::{StreamExt as _, once};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use totp_facade::proto::{self, DESCRIPTORS};

use crate::support::{Facade, PATIENCE, info, sandbox};

const SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "stytch.b2b.recovery_codes.v1.RecoveryCodesService",
    "stytch.b2b.totp.v1.TotpService",
];

/// Tests one version of the protocol. The versions are the same, but tonic generates separate
/// types.
macro_rules! reflection_works {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest as Ask,
                server_reflection_response::MessageResponse as Answer,
            };
            let facade = Facade::in_front_of(sandbox().await).await;
            let mut client = ServerReflectionClient::new(facade.channel().await);
            let mut ask = async |message: Ask| {
                let request =
                    ServerReflectionRequest { host: String::new(), message_request: Some(message) };
                let mut answers =
                    client.server_reflection_info(once(request)).await.unwrap().into_inner();
                answers.next().await.unwrap().unwrap().message_response.unwrap()
            };

            let Answer::ListServicesResponse(list) = ask(Ask::ListServices(String::new())).await
            else {
                panic!("no list");
            };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, SERVICES);

            let symbol = "stytch.b2b.totp.v1.CreateResponse".to_owned();
            let Answer::FileDescriptorResponse(files) =
                ask(Ask::FileContainingSymbol(symbol)).await
            else {
                panic!("no file");
            };
            let bytes = &files.file_descriptor_proto[0];
            let file = prost_types::FileDescriptorProto::decode(bytes.as_slice()).unwrap();
            assert_eq!(file.package(), "stytch.b2b.totp.v1");
            // debug_redact is field 16 of FieldOptions, and the options are field 8 of a field. The
            // mark must reach those who generate code from reflection.
            let marked =
                bytes.windows(5).filter(|it| *it == [0x42, 0x03, 0x80, 0x01, 0x01]).count();
            assert_eq!(marked, 17, "secrets are marked");
        }
    };
}

reflection_works!(reflection_v1_lists_and_describes_the_services, v1);
reflection_works!(reflection_v1alpha_lists_and_describes_the_services, v1alpha);

#[test]
fn comments_fit_into_100_columns_as_reflection_shows_them() {
    let descriptors = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let ours = descriptors.file.iter().filter(|file| file.package().starts_with("stytch."));
    let mut comments = 0;
    for file in ours {
        for location in &file.source_code_info.as_ref().expect("comments").location {
            // A path has a field number and an index for each level.
            let indentation = location.path.len().saturating_sub(2);
            let attached = [location.leading_comments(), location.trailing_comments()];
            let detached = location.leading_detached_comments.iter().map(String::as_str);
            for line in attached.into_iter().chain(detached).flat_map(str::lines) {
                let width = indentation + "//".len() + line.chars().count();
                assert!(width <= 100, "{}: {width} columns: {line}", file.name());
                comments += 1;
            }
        }
    }
    assert!(comments > 500, "{comments} lines of comments");
}

#[tokio::test]
async fn health_serves_for_the_server_and_for_each_service() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut health = HealthClient::new(facade.channel().await);

    for service in ["", "stytch.b2b.totp.v1.TotpService"] {
        let request = HealthCheckRequest { service: service.into() };

        let answer = health.check(request).await.expect(service).into_inner();

        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "nothing.Here".into() };
    assert_eq!(health.check(unknown).await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_of_an_unknown_service_says_so_and_stays_open() {
    let facade = Facade::in_front_of(sandbox().await).await;
    let mut health = HealthClient::new(facade.channel().await);
    let unknown = HealthCheckRequest { service: "nothing.Here".into() };

    let mut watch = health.watch(unknown).await.expect("a stream").into_inner();

    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let mut next = Box::pin(watch.message());
    assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "it stays open");
    let _drained = facade.stop();
    let end = timeout(PATIENCE, next).await.unwrap().expect_err("the server closes");
    assert_eq!((end.code(), info(&end).reason.as_str()), (Code::Unavailable, "SERVER_CLOSING"));
}

#[test]
fn the_contract_marks_as_reading_only_what_changes_nothing() {
    let reading: BTreeSet<_> =
        proto::METHODS.iter().filter(|it| it.only_reads).map(|it| it.name).collect();
    assert_eq!(reading, ["stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get"].into());
}
