/**
 * The few elements of a bucket's answers that are needed. Their texts are flat and of a known form, so each is cut out by its
 * name; what has another form is as if it were not there, and the caller says that it misses it.
 */

export interface ListedPage {
  readonly objects: readonly { readonly key: string; readonly bytes: number; readonly changedAt: number }[];
  /** To ask for the next page with; undefined at the end. */
  readonly next: string | undefined;
}

export const errorCodeOf = (xml: string): string | undefined =>
  /<Error[\s>]/.test(xml) ? (textOf(xml, "Code") ?? "") : undefined;

export const uploadIdOf = (xml: string): string | undefined => textOf(xml, "UploadId");

/** Undefined when this is no page of a list. Keys were asked for percent-encoded: XML cannot hold every one. */
export function listedPage(xml: string): ListedPage | undefined {
  if (!/<ListBucketResult[\s>]/.test(xml)) return undefined;
  const isEncoded = textOf(xml, "EncodingType") === "url";
  const objects = [...xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)].map(([, content = ""]) => {
    const key = textOf(content, "Key") ?? "";
    return {
      key: isEncoded ? decodeURIComponent(key.replaceAll("+", " ")) : key,
      bytes: Number(textOf(content, "Size")),
      changedAt: Date.parse(textOf(content, "LastModified") ?? ""),
    };
  });
  if (objects.some(({ key, bytes }) => key === "" || !Number.isSafeInteger(bytes))) return undefined;
  const isCut = textOf(xml, "IsTruncated") === "true";
  const next = textOf(xml, "NextContinuationToken");
  if (isCut && next === undefined) return undefined;
  return { objects, next: isCut ? next : undefined };
}

export function completion(parts: readonly { readonly number: number; readonly tag: string }[]): Uint8Array {
  const items = parts.map(
    ({ number, tag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${escaped(tag)}</ETag></Part>`,
  );
  return Buffer.from(`<CompleteMultipartUpload>${items.join("")}</CompleteMultipartUpload>`);
}

function textOf(xml: string, name: string): string | undefined {
  const found = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return found === undefined ? undefined : plain(found);
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

const plain = (text: string): string =>
  text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(lt|gt|quot|apos|amp));/gi, (_, decimal, hex, name) =>
    name === undefined
      ? String.fromCodePoint(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal))
      : (ENTITIES[String(name).toLowerCase()] ?? ""),
  );

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
