//! `grpc.health.v1`: whether the server serves, as a whole and by service.
//!
//! As the protocol has it, which tonic-health's own service does not: `Watch` of an unknown service answers
//! `SERVICE_UNKNOWN` and stays open, for a client that retries when it ends would ask again at once.

use std::{future::ready, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use crate::service::MAX_REQUEST;

/// The service. `names` are those of the services, which serve while `serving` is true; the empty name is that
/// of the whole server.
pub(super) fn service(
    names: Vec<&'static str>,
    serving: watch::Receiver<bool>,
) -> HealthServer<impl Health> {
    HealthServer::new(Reported { names: names.into(), serving })
        .max_decoding_message_size(MAX_REQUEST)
}

struct Reported {
    names: Arc<[&'static str]>,
    serving: watch::Receiver<bool>,
}

impl Reported {
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.contains(&name)
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[async_trait]
impl Health for Reported {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.knows(&request.get_ref().service) {
            true => Ok(Response::new(response(status(*self.serving.borrow())))),
            false => Err(Status::not_found("there is no service of this name")),
        }
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(&request.get_ref().service) {
            let unknown = stream::once(ready(ServingStatus::ServiceUnknown));
            let open = unknown.chain(stream::pending());
            return Ok(Response::new(Box::pin(open.map(response).map(Ok))));
        }
        let mut serving = self.serving.clone();
        // The first item is the status of now.
        serving.mark_changed();
        let statuses = stream::unfold(serving, async |mut serving| {
            serving.changed().await.ok()?;
            let now = status(*serving.borrow_and_update());
            Some((now, serving))
        });
        Ok(Response::new(Box::pin(statuses.map(response).map(Ok))))
    }
}
