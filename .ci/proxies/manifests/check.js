// Holds the manifests of deploy/istio and deploy/linkerd to the types of their resources: node check.js FILE…
//
// The compiler of TypeScript knows every field, so one that does not exist is an error; the validators generated from
// the same definitions know enumerations, patterns and limits besides. Prints each resource, with what is wrong
// with it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

import ts from "typescript";
import { parseAllDocuments } from "yaml";

const ISTIO = "@kubernetes-models/istio";
const PACKAGES = {
  "networking.istio.io": ISTIO,
  "security.istio.io": ISTIO,
  "telemetry.istio.io": ISTIO,
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
};

const OPTIONS = {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  types: [],
};

/** The module that has the type of a resource. */
function moduleOf({ apiVersion }) {
  const group = apiVersion.split("/")[0];
  return group === "policy.linkerd.io" ? join(import.meta.dirname, "linkerd") : `${PACKAGES[group]}/${apiVersion}`;
}

function documents(file) {
  return parseAllDocuments(readFileSync(file, "utf8"), { strict: true, uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0].message}`);
    return { file: basename(file), resource: document.toJS() };
  });
}

/** What the compiler says of each resource, written as a literal of its type. */
function complaints(resources) {
  const folder = mkdtempSync(join(import.meta.dirname, "node_modules", ".check-"));
  const files = resources.map((resource, at) => {
    const file = join(folder, `${at}.ts`);
    const type = `I${resource.kind}`;
    const [from, literal] = [moduleOf(resource), resource].map((it) => JSON.stringify(it));
    writeFileSync(file, `import type { ${type} } from ${from};\nexport const it: ${type} = ${literal};\n`);
    return file;
  });
  const program = ts.createProgram(files, OPTIONS);
  const found = files.map((file) => ts.getPreEmitDiagnostics(program, program.getSourceFile(file)).map(text));
  rmSync(folder, { recursive: true });
  return found;
}

function text(diagnostic) {
  return ts.flattenDiagnosticMessageText(diagnostic.messageText, " ");
}

/** What the validator says of a resource. */
async function objections(resource) {
  if (resource.apiVersion.startsWith("policy.linkerd.io/")) return [];
  const { [resource.kind]: Model } = await import(moduleOf(resource));
  try {
    new Model(resource).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

const resources = process.argv.slice(2).flatMap(documents);
const compiled = complaints(resources.map(({ resource }) => resource));
for (const [at, { file, resource }] of resources.entries()) {
  const wrong = [...compiled[at], ...(await objections(resource))];
  console.log(`${file}: ${resource.kind} ${resource.metadata.name}: ${wrong.length > 0 ? wrong.join("; ") : "valid"}`);
}
