// One call by k6, and what came of it: see tools.py.

import grpc from "k6/net/grpc";

const { ADDR, METHOD, REQUEST, METADATA, TIMEOUT, FOLDER, FILE, CA, CLIENT_CERT, CLIENT_KEY } = __ENV;
const client = new grpc.Client();
client.load([FOLDER], FILE);

export default function () {
  const identity = CLIENT_CERT ? { cert: CLIENT_CERT, key: CLIENT_KEY } : {};
  client.connect(ADDR, CA ? { tls: { cacerts: [CA], ...identity } } : { plaintext: true });
  const parameters = { metadata: JSON.parse(METADATA), timeout: TIMEOUT };
  const { status, headers, message, error } = client.invoke(METHOD, JSON.parse(REQUEST), parameters);
  console.log(JSON.stringify({ status, headers, message, error }));
  client.close();
}
