/** Health, readiness, information and metrics: what operators and their machines ask. */
import { Type } from "@sinclair/typebox";
import { refusal } from "../errors.js";
import type { Json, JsonObject } from "../json-write.js";
import type { ApiOptions, ReadinessCheck } from "../options.js";
import { closed } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type Answered, shown } from "./reply.js";

const Nothing = Type.Object({}, closed);

function failingChecks(options: ApiOptions): readonly ReadinessCheck[] {
  const failing = options.health.readiness().filter((check) => !check.ok);
  return options.health.draining()
    ? [...failing, { name: "draining", ok: false, detail: "the server is shutting down" }]
    : failing;
}

function reasons(checks: readonly ReadinessCheck[]): Json {
  return checks.map(({ name, detail }) => ({ name, detail }));
}

export const health = defineOperation({
  name: "admin.health",
  kind: "read",
  summary: "Is this process well?",
  description:
    "`healthy`; `degraded` when it lives but is not ready; 503 `unhealthy` when only a restart helps. `components` says `ok` of each, or what is wrong with it: also of one that is no reason to ask another node, such as a full disk.",
  input: Nothing,
  output: Type.Object({
    status: Type.Union([Type.Literal("healthy"), Type.Literal("degraded"), Type.Literal("unhealthy")]),
    service: Type.Literal("annals"),
    version: Type.String(),
    role: Type.String(),
    uptime_secs: Type.Integer(),
    log: Type.Object({ end_offset: Type.Integer(), durable_offset: Type.Integer() }),
    components: Type.Record(Type.String(), Type.String()),
  }),
  errors: [],
  rest: [{ method: "GET", path: "/health" }],
  envelope: false,
  badNewsStatus: 503,
  whileDraining: true,
  ofNow: true,
  run(_input, { desk }): Answered {
    const { options, startedAt } = desk;
    const live = options.health.live();
    const status = !live ? "unhealthy" : failingChecks(options).length > 0 ? "degraded" : "healthy";
    const components: Record<string, string> = {};
    for (const { name, ok, impaired, detail } of options.health.readiness())
      components[name] = ok && impaired !== true ? "ok" : detail;
    const payload = {
      status,
      service: "annals",
      version: options.version,
      role: options.role(),
      uptime_secs: Math.floor((options.stopwatch() - startedAt) / 1000),
      log: { end_offset: options.log.endOffset, durable_offset: options.log.durableOffset },
      components,
    };
    return { type: "answered", payload, status: live ? 200 : 503 };
  },
});

export const live = defineOperation({
  name: "admin.livez",
  kind: "read",
  summary: "Should this process be restarted?",
  description: "503 only when a restart is what helps; a full disk or a shutdown is no reason.",
  input: Nothing,
  output: Type.Object({ status: Type.Union([Type.Literal("ok"), Type.Literal("failing")]) }),
  errors: [],
  rest: [{ method: "GET", path: "/livez" }],
  envelope: false,
  badNewsStatus: 503,
  whileDraining: true,
  ofNow: true,
  run(_input, { desk }): Answered {
    const ok = desk.options.health.live();
    return { type: "answered", payload: { status: ok ? "ok" : "failing" }, status: ok ? 200 : 503 };
  },
});

export const ready = defineOperation({
  name: "admin.readyz",
  kind: "read",
  summary: "Should this process get requests?",
  description: "503 with the reasons when not. `?verbose` lists every check.",
  input: Type.Object({ verbose: Type.Optional(Type.String({ description: "Any value." })) }, closed),
  output: Type.Object({
    status: Type.Union([Type.Literal("ready"), Type.Literal("not ready")]),
    reasons: Type.Array(Type.Object({ name: Type.String(), detail: Type.String() })),
    error_code: Type.Optional(Type.Literal("API_NOT_READY")),
    checks: Type.Optional(
      Type.Array(Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.String() })),
    ),
  }),
  errors: ["API_NOT_READY"],
  rest: [{ method: "GET", path: "/readyz" }],
  envelope: false,
  badNewsStatus: 503,
  whileDraining: true,
  ofNow: true,
  run({ verbose }, { desk }): Answered {
    const failing = failingChecks(desk.options);
    const ok = failing.length === 0;
    const payload: JsonObject = {
      status: ok ? "ready" : "not ready",
      reasons: reasons(failing),
      error_code: ok ? undefined : "API_NOT_READY",
      checks:
        verbose === undefined
          ? undefined
          : desk.options.health.readiness().map(({ name, ok, detail }) => ({ name, ok, detail })),
    };
    return { type: "answered", payload, status: ok ? 200 : 503 };
  },
});

export const info = defineOperation({
  name: "info",
  kind: "read",
  summary: "What this server is and how it does",
  input: Type.Object(
    { section: Type.Optional(Type.String({ description: "One section, or `all` (the default)." })) },
    closed,
  ),
  output: Type.Record(Type.String(), Type.Unknown()),
  errors: ["API_SECTION_UNKNOWN"],
  rest: [{ method: "GET", path: "/info" }],
  ofNow: true,
  run({ section }, { desk }) {
    const sections = new Map(Object.entries(desk.options.info()));
    if (section === undefined || section === "all") return shown(plain(Object.fromEntries(sections)));
    const found = sections.get(section);
    if (found !== undefined) return shown(plain({ [section]: found }));
    return refusal("API_SECTION_UNKNOWN", `the sections are ${[...sections.keys(), "all"].join(", ")}`);
  },
});

/** Facts that `ops/` collects, of whatever type, as JSON. */
function plain(value: unknown): Json {
  if (
    value === null ||
    typeof value === "string" ||
    typeof value === "number" ||
    typeof value === "boolean"
  ) {
    return value;
  }
  if (typeof value === "bigint") return value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
  }
  return value === undefined ? null : String(value);
}

export const metrics = defineOperation({
  name: "admin.metrics",
  kind: "read",
  summary: "Measurements for Prometheus",
  input: Nothing,
  output: Type.String({ description: "Text exposition format." }),
  errors: [],
  rest: [{ method: "GET", path: "/metrics" }],
  envelope: false,
  whileDraining: true,
  ofNow: true,
  async run(_input, { desk }): Promise<Answered> {
    const page = await desk.options.metrics();
    return { type: "answered", payload: page.text, contentType: page.contentType };
  },
});

export const adminOperations = [health, live, ready, info, metrics];
