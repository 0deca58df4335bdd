/** What ships for Prometheus and Grafana names series that there are, and says what the documents say. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { AnnalsCommand } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const textOf = (name: string): string => readFileSync(path(name), "utf8");

const groups = (parse(textOf("ops/deploy/alerts.yml")) as { groups: { rules: Rule[] }[] }).groups;
const rules = groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(textOf("ops/deploy/dashboard.json")) as { panels: Panel[] };
const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

const directory = mkdtempSync(join(tmpdir(), "annals-watching-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Every series that a server of a set shows that archives, and every one that a command writes for the node exporter. */
let known: readonly string[] = [];
beforeAll(async () => {
  const set = ["--role", "master", "--replica-listen", "127.0.0.1:0"];
  const server = new AnnalsCommand(["serve", "--port", "0", "--data-dir", join(directory, "data"), ...set], {
    environment: { ANNALS_ARCHIVE_URL: join(directory, "archive") },
  });
  try {
    const client = new HttpClient(await server.port(), 1);
    const page = await client.send("GET", "/metrics");
    client.close();
    const shown = [...page.text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => String(name));
    const pages = textOf("ops/docs/backup.md") + textOf("ops/docs/restore.md");
    const written = [...pages.matchAll(/`(annals_(?:backup|drill)_[a-z_]+)`/g)].map(([, name]) =>
      String(name),
    );
    known = [...shown, ...written];
  } finally {
    await server.end();
  }
  expect(known.length).toBeGreaterThan(100);
});

const seriesIn = (query: string): string[] =>
  [...query.matchAll(/\bannals_[a-z0-9_]+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, ""));

const anchorsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    String(title)
      .toLowerCase()
      .replace(/[^a-z0-9 -]/g, "")
      .replaceAll(" ", "-"),
  );

const promtool = spawnSync("promtool", ["--version"]).error === undefined;
const run = (...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync("promtool", args, { encoding: "utf8" });
  return status === 0 ? "sound" : `${stdout}${stderr}`;
};

describe("the alerts", () => {
  it("ask for series that there are", () => {
    for (const { alert, expr } of rules)
      for (const name of seriesIn(expr)) expect(known, alert).toContain(name);
  });

  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    "%s says whom to wake and what to do",
    (_, rule) => {
      expect(["critical", "warning"]).toContain(rule.labels["severity"]);
      expect(rule.annotations["summary"]).toMatch(/\{\{ \$labels\.(instance|job) }}/);
      expect(rule.annotations["description"]).toMatch(/\.$/);
      const [file = "", anchor] = rule.annotations["runbook"]?.split("#") ?? [];
      const text = textOf(file);
      if (anchor !== undefined) expect(anchorsOf(text)).toContain(anchor);
    },
  );

  it("have names of their own", () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });

  it("are those that the page on replication lists", () => {
    const [, table = ""] = textOf("ops/docs/replication.md").split("| alert | expression | means |");
    const listed = [...table.matchAll(/^\| [^|]+ \| `([^`]+)`/gm)].map(([, expr]) => String(expr));
    expect(listed.length).toBeGreaterThan(10);
    const written = rules.map(({ expr }) => expr);
    for (const expr of listed)
      expect(
        written.filter((one) => one.includes(expr)),
        expr,
      ).toHaveLength(1);
  });

  it.skipIf(!promtool)(
    "fire when they should, and not before (skipped where promtool is not installed)",
    () => {
      expect(run("check", "rules", path("ops/deploy/alerts.yml"))).toBe("sound");
      expect(run("test", "rules", path("test/ops/alerts.promtool.yml"))).toBe("sound");
    },
  );
});

describe("the dashboard", () => {
  it("asks for series that there are", () => {
    expect(queries.length).toBeGreaterThan(30);
    for (const query of queries) for (const name of seriesIn(query)) expect(known, query).toContain(name);
  });

  it("has panels of their own numbers and titles", () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(panels.filter(({ type, targets }) => type !== "row" && targets === undefined)).toEqual([]);
  });

  it.skipIf(!promtool)(
    "asks in words that Prometheus takes (skipped where promtool is not installed)",
    () => {
      const directory = mkdtempSync(join(tmpdir(), "annals-dashboard-"));
      try {
        const file = join(directory, "queries.yml");
        const asked = queries.map((query, index) => ({
          record: `query:${index}`,
          expr: query.replaceAll("$__rate_interval", "5m").replaceAll("$instance", "db1"),
        }));
        writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules: asked }] }));
        expect(run("check", "rules", file)).toBe("sound");
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
});
