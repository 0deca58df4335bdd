/** The release that runs, as its package.json says; found upwards, because sources and dist lie at different depths. */
import { readFileSync } from "node:fs";
import { errnoOf } from "../log/index.js";

export const version: string = findVersion(new URL("./package.json", import.meta.url));

function findVersion(candidate: URL): string {
  try {
    const manifest: unknown = JSON.parse(readFileSync(candidate, "utf8"));
    if (isManifest(manifest) && manifest.name === "annals") return manifest.version;
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  const parent = new URL("../package.json", candidate);
  return parent.pathname === candidate.pathname ? "unknown" : findVersion(parent);
}

function isManifest(value: unknown): value is { name: string; version: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    "version" in value &&
    typeof value.version === "string"
  );
}
