// Snippets: the call of a form as a program. They follow from the contract, so a new RPC or field
// needs no change here. They read secret fields from the environment, and never hold their values.

import { callOf } from "./call.js";
import { cpp } from "./cpp.js";
import { go } from "./go.js";
import { java } from "./java.js";
import { python } from "./python.js";
import { rust } from "./rust.js";
import { cli, grpcurl } from "./shell.js";
import { typescript } from "./typescript.js";

const WRITERS = { grpcurl, cli, python, typescript, go, java, rust, cpp };
const LABELS = ["grpcurl", "Command line", "Python", "TypeScript", "Go", "Java", "Rust", "C++"];

export const LANGUAGES = Object.keys(WRITERS).map((id, at) => ({ id, label: LABELS[at] }));

/** The program that makes a call. */
export const snippet = (id, options) => WRITERS[id](callOf(options));

/** The variables of the environment that it reads. */
export const environment = (options) => callOf(options).variables;
