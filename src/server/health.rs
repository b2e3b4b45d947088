//! `grpc.health.v1`: the health of the server and of each service.
//!
//! Unlike tonic-health's own service, it follows the protocol for an unknown service: `Watch`
//! answers `SERVICE_UNKNOWN` and stays open. If it ended, clients would retry at once, again and
//! again.

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

/// Builds the health service. The services called `names`, and the whole server under the empty
/// name, are healthy while `serving` is true.
pub(super) fn service(
    names: Vec<&'static str>,
    serving: watch::Receiver<bool>,
) -> HealthServer<impl Health> {
    HealthServer::new(HealthService { names: names.into(), serving })
        .max_decoding_message_size(MAX_REQUEST)
}

struct HealthService {
    names: Arc<[&'static str]>,
    serving: watch::Receiver<bool>,
}

impl HealthService {
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
impl Health for HealthService {
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
        // Makes the current status the first item.
        serving.mark_changed();
        let statuses = stream::unfold(serving, async |mut serving| {
            serving.changed().await.ok()?;
            let now = status(*serving.borrow_and_update());
            Some((now, serving))
        });
        Ok(Response::new(Box::pin(statuses.map(response).map(Ok))))
    }
}
