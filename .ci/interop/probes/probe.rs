//! Makes calls as standard input says, with the client of examples/rust: see ../client.py.

// It makes its own calls, and needs not all of this.
#[allow(dead_code)]
#[path = "../facade.rs"]
mod facade;

use std::time::Duration;

use facade::{Client, Details, attempts, contract};
use tokio::time::Instant;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channel = facade::channel()?;
    let client = Client::new(channel.clone());
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["health"] => println!("{}", health(channel.clone()).await?),
            [_, member, key, deadline] => {
                println!("{}", create(&client, member, key, deadline.parse()?).await);
            }
            _ => return Err(format!("{words:?}").into()),
        }
    }
    Ok(())
}

/// The status, which is the first field of the response.
async fn health(channel: Channel) -> Result<i32, Box<dyn std::error::Error>> {
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<(), i32>::default();
    Ok(client.unary(Request::new(()), path, codec).await?.into_inner())
}

async fn create(client: &Client, member: &str, key: &str, deadline: u64) -> String {
    let request = contract::CreateRequest {
        organization_id: "example-works".into(),
        member_id: member.replace('-', ""),
        ..Default::default()
    };
    let deadline = Instant::now() + Duration::from_millis(deadline);
    let send = async |mut it: Client, request| it.create(request).await;
    match attempts(client, request, key, deadline, send).await {
        Ok(response) => {
            let replayed = response.metadata().get("idempotent-replayed");
            format!("0 - - - {}", replayed.map_or("-", |it| it.to_str().unwrap()))
        }
        Err(error) => {
            let Details { reason, upstream, fields } = Details::of(&error);
            let fields = fields.join(",");
            let words =
                [&reason, &upstream, &fields].map(|it| if it.is_empty() { "-" } else { it });
            format!("{} {} -", error.code() as i32, words.join(" "))
        }
    }
}
