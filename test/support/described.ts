/** Holds requests and answers to what the OpenAPI document says of them, by a validator that knows nothing of how it was made. */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { openApiDocument } from "../../api/openapi.js";
import type { Answer } from "./test-server.js";

const document = JSON.parse(JSON.stringify(openApiDocument("0.0.0")));
const validator = new Ajv2020({ strict: false, validateFormats: false }).addSchema(document, "document");
/** By the schema's text: nine in ten answers are described by one of two. */
const compiled = new Map<string, ValidateFunction | undefined>();

/** What is wrong with the answer, by the document; undefined when nothing is. */
export function undescribed(method: string, path: string, answer: Answer): string | undefined {
  const [type = ""] = (answer.headers.get("content-type") ?? "").split(";");
  const place = ["responses", String(answer.status), "content", type];
  return mistakes([path, method.toLowerCase(), ...place], answer.json);
}

/** The same of a request's JSON body. */
export function undescribedRequest(method: string, path: string, body: unknown): string | undefined {
  return mistakes([path, method.toLowerCase(), "requestBody", "content", "application/json"], body);
}

function mistakes(place: readonly string[], value: unknown): string | undefined {
  const steps = ["paths", ...place, "schema"];
  const text = JSON.stringify(steps.reduce((part, step) => part?.[step], document)) ?? "";
  if (!compiled.has(text)) {
    compiled.set(text, validator.getSchema(`document#/${steps.map(escaped).join("/")}`));
  }
  const validate = compiled.get(text);
  if (validate === undefined) return `nothing is said of ${place.join(" ")}`;
  if (validate(value)) return undefined;
  return `${place.join(" ")}: ${JSON.stringify(value)} is not as described: ${validator.errorsText(validate.errors)}`;
}

function escaped(step: string): string {
  return encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1"));
}
