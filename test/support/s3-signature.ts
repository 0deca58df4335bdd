/** Checks the signature of a request to a bucket (AWS Signature Version 4, in the header), from the specification. */
import { createHash, createHmac } from "node:crypto";

export interface SignedRequest {
  readonly method: string;
  /** As sent: path and query, still encoded. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Uint8Array;
}

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
const CLOCK_SKEW_MS = 15 * 60_000;

const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
const hmac = (key: Uint8Array | string, text: string): Buffer =>
  createHmac("sha256", key).update(text).digest();

/** The service's error code, or undefined when the request is signed as it should be. */
export function signatureFault(request: SignedRequest, keys: Keys): string | undefined {
  const header = (name: string): string => String(request.headers[name] ?? "");
  const match = AUTHORIZATION.exec(header("authorization"));
  if (match === null) return "AccessDenied";
  const [, id = "", date = "", region = "", names = "", signature = ""] = match;
  if (id !== keys.accessKeyId) return "InvalidAccessKeyId";
  if (region !== keys.region) return "AuthorizationHeaderMalformed";
  const stamp = header("x-amz-date");
  const time = Date.parse(stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (!stamp.startsWith(date) || !(Math.abs(Date.now() - time) < CLOCK_SKEW_MS))
    return "RequestTimeTooSkewed";
  const signed = names.split(";");
  // Without these a request could be replayed elsewhere, or changed.
  if (!signed.includes("host")) return "AccessDenied";
  for (const name of Object.keys(request.headers))
    if ((name.startsWith("x-amz-") || name.startsWith("if-")) && !signed.includes(name))
      return "AccessDenied";
  const bodyHash = header("x-amz-content-sha256");
  if (bodyHash !== sha256(request.body)) return "XAmzContentSHA256Mismatch";

  const [path = "", query = ""] = request.target.split("?");
  const canonical = [
    request.method,
    path,
    canonicalQuery(query),
    ...signed.map((name) => `${name}:${header(name).trim().replace(/\s+/g, " ")}`),
    "",
    names,
    bodyHash,
  ].join("\n");
  const scope = `${date}/${region}/s3/aws4_request`;
  const key = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${keys.secretAccessKey}`, date), region));
  const expected = hmac(key, ["AWS4-HMAC-SHA256", stamp, scope, sha256(canonical)].join("\n")).toString(
    "hex",
  );
  return expected === signature ? undefined : "SignatureDoesNotMatch";
}

function canonicalQuery(query: string): string {
  if (query === "") return "";
  return query
    .split("&")
    .map((pair) => (pair.includes("=") ? pair : `${pair}=`))
    .sort((a, b) => (a < b ? -1 : 1))
    .join("&");
}
