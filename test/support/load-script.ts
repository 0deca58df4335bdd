/**
 * Runs a k6 load script's virtual users against a server, where k6 itself is not at hand: `http.get`, `http.post`, `check`,
 * `options.vus`, `__VU` and `__ITER`; a number of iterations instead of a duration. k6 blocks the script at each request;
 * here the script's requests are awaited.
 */
import { compileFunction } from "node:vm";
import type { Answer } from "./http-client.js";

export interface LoadReport {
  readonly users: number;
  readonly requests: number;
  /** By the check's name: how often it held, and how often it did not. */
  readonly checks: Readonly<Record<string, { readonly held: number; readonly failed: number }>>;
}

/** Sends a request to the server under test, whatever host the script names. */
export type Sender = (
  method: string,
  path: string,
  body: string | undefined,
  headers: Readonly<Record<string, string>>,
) => Promise<Answer>;

interface Script {
  readonly options: { readonly vus: number };
  readonly iterate: () => Promise<void>;
}

interface Params {
  readonly headers?: Readonly<Record<string, string>>;
}

export async function runLoadScript(source: string, send: Sender, iterations: number): Promise<LoadReport> {
  const checks: Record<string, { held: number; failed: number }> = {};
  let requests = 0;
  const request = (method: string, url: string, body?: string, params?: Params): Promise<Answer> => {
    requests += 1;
    const { pathname, search } = new URL(url);
    return send(method, pathname + search, body, params?.headers ?? {});
  };
  const http = {
    get: (url: string, params?: Params) => request("GET", url, undefined, params),
    post: (url: string, body?: string, params?: Params) => request("POST", url, body, params),
  };
  const check = (
    answer: Answer,
    conditions: Readonly<Record<string, (answer: Answer) => boolean>>,
  ): boolean => {
    const results = Object.entries(conditions).map(([name, condition]) => {
      const held = condition(answer);
      const { held: before, failed } = checks[name] ?? { held: 0, failed: 0 };
      checks[name] = held ? { held: before + 1, failed } : { held: before, failed: failed + 1 };
      return held;
    });
    return results.every(Boolean);
  };
  const instantiate = compileFunction(asFunctionBody(source), ["http", "check", "__VU", "__ITER"]);
  const script = (user: number, iteration: number): Script => instantiate(http, check, user, iteration);
  const users = script(0, 0).options.vus;
  const use = async (user: number): Promise<void> => {
    for (let iteration = 0; iteration < iterations; iteration += 1) await script(user, iteration).iterate();
  };
  await Promise.all(Array.from({ length: users }, (_, index) => use(index + 1)));
  return { users, requests, checks };
}

/** The module's text as the body of a function that gives back what the module exports. */
function asFunctionBody(source: string): string {
  const body = source
    .replace(/^import .*$/gm, "")
    .replace("export let options", "const options")
    .replace("export default function()", "async function iterate()")
    .replace(/\bhttp\.(get|post)\(/g, "await http.$1(");
  return `${body}\nreturn { options, iterate };`;
}
