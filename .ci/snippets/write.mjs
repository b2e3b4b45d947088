// Writes snippets: takes [{language, options}] as JSON on standard input, prints the texts and the
// variables that they read.

import { readFileSync } from "node:fs";

import { environment, LANGUAGES, snippet } from "../../src/console/page/snippets/index.js";

const cases = JSON.parse(readFileSync(0, "utf8"));
const written = cases.map(({ language, options }) => ({
  text: snippet(language, options),
  variables: environment(options),
}));
process.stdout.write(JSON.stringify({ languages: LANGUAGES.map((it) => it.id), written }));
