/** A page of metrics, read as Prometheus reads it. */
import { expect } from "vitest";
import type { HttpClient } from "./http-client.js";

/** Values by name and labels. */
export type Samples = ReadonlyMap<string, number>;

export async function scrape(client: HttpClient): Promise<Samples> {
  const page = await client.send("GET", "/metrics");
  expect(page.status).toBe(200);
  expect(page.headers["content-type"]).toMatch(/^text\/plain; version=0\.0\.4/);
  const samples = new Map<string, number>();
  for (const line of page.text.split("\n")) {
    const found = /^([a-zA-Z_:][^ ]*(?:\{.*\})?) (\S+)$/.exec(line);
    if (found !== null && !line.startsWith("#")) samples.set(found[1]!, Number(found[2]));
  }
  return samples;
}

/** The sum of every sample of this name whose labels contain all of `labels`. */
export function total(samples: Samples, name: string, labels: readonly string[] = []): number {
  let sum = 0;
  for (const [sample, value] of samples) {
    const isNamed = sample === name || sample.startsWith(`${name}{`);
    if (isNamed && labels.every((label) => sample.includes(label))) sum += value;
  }
  return sum;
}
