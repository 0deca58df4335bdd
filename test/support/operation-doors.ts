/** Sends one input of an operation through the envelope or through one of its REST routes, and says which cases go where. */
import { type Operation, pathFields, type RestBinding, takesBody } from "../../api/operations/operation.js";
import type { OperationCase } from "./cases/case.js";

/** JSON text, so that digits arrive as they were written. */
export function inputText(row: OperationCase): string {
  return typeof row.input === "string" ? row.input : JSON.stringify(row.input);
}

/** False for a case that cannot be told at this route. */
export function goesThrough(row: OperationCase, binding: RestBinding): boolean {
  return row.envelopeOnly !== true && (row.bodyOnly !== true || takesBody(binding));
}

type Headers = Readonly<Record<string, string>>;

/** A server in this process or in one of its own. */
interface Asked<Answer> {
  request(method: string, path: string, body?: string, headers?: Headers): Promise<Answer>;
}

const JSON_TYPE = { "content-type": "application/json" };

export function askEnvelope<Answer>(
  server: Asked<Answer>,
  command: string,
  input: string,
  headers: Headers = {},
): Promise<Answer> {
  const body = `{"command":"${command}","request_id":"r","payload":${input}}`;
  return server.request("POST", "/api/v1/command", body, { ...JSON_TYPE, ...headers });
}

/** The same input as a REST request: path, query or body. */
export function askRest<Answer>(
  server: Asked<Answer>,
  binding: RestBinding,
  input: string,
  headers: Headers = {},
): Promise<Answer> {
  const fields: Record<string, unknown> = JSON.parse(input);
  const inPath = pathFields(binding.path);
  const path = pathWith(binding, fields);
  if (takesBody(binding)) {
    let body = input;
    // The path's fields leave the body, the digits of the rest stay as they are.
    for (const name of inPath) body = body.replace(new RegExp(`"${name}":"[^"]*",?`), "");
    return server.request(binding.method, path, body.replace(",}", "}"), { ...JSON_TYPE, ...headers });
  }
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields))
    if (!inPath.includes(name)) query.set(name, String(value));
  return server.request(binding.method, query.size === 0 ? path : `${path}?${query}`, undefined, headers);
}

export function pathWith(binding: RestBinding, fields: Readonly<Record<string, unknown>>): string {
  return binding.path.replace(/\{(\w+)\}/g, (_all, name) => encodeURIComponent(String(fields[name] ?? "")));
}

/** Each success, and each documented error of its own, that no case of an operation shows through one of its doors. */
export function unreachedBy(cases: readonly OperationCase[], operations: readonly Operation[]): string[] {
  return operations
    .filter(({ envelope }) => envelope !== false)
    .flatMap((operation) => {
      const rows = cases.filter((row) => row.operation === operation.name);
      const doors: readonly (readonly [string, readonly OperationCase[]])[] = [
        [`${operation.name} in the envelope`, rows],
        ...operation.rest.map((binding): [string, OperationCase[]] => [
          `${operation.name} at ${binding.method} ${binding.path}`,
          rows.filter((row) => goesThrough(row, binding)),
        ]),
      ];
      return doors.flatMap(([door, through]) =>
        [undefined, ...operation.errors]
          .filter((code) => through.every(({ error }) => error !== code))
          .map((code) => `${door}: ${code ?? "never succeeds"}`),
      );
    });
}
