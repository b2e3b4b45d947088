// Makes calls as standard input says, with the client of examples/node: see ../client.py.

import { createInterface } from "node:readline";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import { connect, details, metadata, target } from "./facade.ts";

const client = connect();
const { grpc: { health: { v1 } } } = grpc.loadPackageDefinition(loadSync("health.proto")) as any;
const healthClient = new v1.Health(...target());

function create(member: string, key: string, deadline: string): Promise<string> {
  return new Promise((resolve) => {
    const request = { organization_id: "example-works", member_id: member.replace("-", "") };
    const options = { deadline: Date.now() + Number(deadline) };
    let replayed: unknown;
    const call = client.create(request, metadata(key), options, (error) => {
      const { reason, upstream, fields } = error ? details(error) : { reason: "", upstream: "", fields: [] };
      const words = [error?.code ?? 0, reason, upstream, fields.join(), replayed];
      resolve(words.map((word) => word || (word === 0 ? 0 : "-")).join(" "));
    });
    call.on("metadata", (initial: grpc.Metadata) => ([replayed] = initial.get("idempotent-replayed")));
  });
}

function health(): Promise<string> {
  return new Promise((resolve, reject) => {
    healthClient.Check({}, { deadline: Date.now() + 300_000 }, (error: Error | null, response: any) =>
      error ? reject(error) : resolve(String(response.status)),
    );
  });
}

for await (const line of createInterface(process.stdin)) {
  const [name, member, key, deadline] = line.split(" ");
  console.log(await (name === "health" ? health() : create(member, key, deadline)));
}
client.close();
healthClient.close();
