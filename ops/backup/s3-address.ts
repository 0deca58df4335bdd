/** Where a bucket is and who asks: from the address of a repository and the environment, to what the client needs. */
import { firstSet } from "../config/environment.js";
import { BackupError } from "./errors.js";

/** What a store may need of the process: credentials of a bucket. */
export type StoreEnvironment = Readonly<Record<string, string | undefined>>;

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
}

export interface S3Address {
  /** As an operator would write it. Holds no secret. */
  readonly url: string;
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Before every name: empty, or ends with a slash. */
  readonly prefix: string;
  readonly credentials: S3Credentials;
}

const OPTIONS: ReadonlySet<string> = new Set(["endpoint", "region"]);
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/**
 * `s3://bucket/prefix?endpoint=&region=`. The endpoint is that of the address, of ANNALS_S3_ENDPOINT, AWS_ENDPOINT_URL_S3 or
 * AWS_ENDPOINT_URL, or else Amazon's of the region; the bucket is always the first part of the path.
 * @throws BackupError BACKUP_TARGET_INVALID.
 */
export function s3Address(text: string, environment: StoreEnvironment): S3Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !BUCKET.test(url.hostname)) throw invalid(text, "expected s3://bucket/prefix");
  if (url.username !== "" || url.password !== "")
    throw invalid(
      `s3://${url.host}${url.pathname}`,
      "credentials belong into the environment, not into the address",
    );
  for (const name of url.searchParams.keys())
    if (!OPTIONS.has(name)) throw invalid(text, `it knows ?endpoint= and ?region=, not ${name}`);
  const path = decodeURIComponent(url.pathname)
    .split("/")
    .filter((part) => part !== "");
  if (path.includes("..") || path.includes(".")) throw invalid(text, "a prefix has no . or ..");
  const region =
    url.searchParams.get("region") ??
    firstSet(environment, "AWS_REGION", "AWS_DEFAULT_REGION") ??
    "us-east-1";
  return {
    url: text,
    endpoint: endpointOf(text, url.searchParams.get("endpoint"), region, environment),
    region,
    bucket: url.hostname,
    prefix: path.length === 0 ? "" : `${path.join("/")}/`,
    credentials: credentialsOf(text, environment),
  };
}

function endpointOf(
  text: string,
  asked: string | null,
  region: string,
  environment: StoreEnvironment,
): string {
  const endpoint =
    asked ??
    firstSet(environment, "ANNALS_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") ??
    `https://s3.${region}.amazonaws.com`;
  const parsed = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (parsed === undefined || (parsed.protocol !== "http:" && parsed.protocol !== "https:"))
    throw invalid(text, `the endpoint ${endpoint} is no http:// or https:// address`);
  return endpoint.replace(/\/+$/, "");
}

function credentialsOf(text: string, environment: StoreEnvironment): S3Credentials {
  const accessKeyId = environment["AWS_ACCESS_KEY_ID"] ?? "";
  const secretAccessKey = environment["AWS_SECRET_ACCESS_KEY"] ?? "";
  if (accessKeyId === "" || secretAccessKey === "")
    throw invalid(text, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in the environment");
  return { accessKeyId, secretAccessKey, sessionToken: firstSet(environment, "AWS_SESSION_TOKEN") };
}

function invalid(url: string, why: string): BackupError {
  return new BackupError("BACKUP_TARGET_INVALID", `${url} cannot be used as a repository: ${why}`, { url });
}
