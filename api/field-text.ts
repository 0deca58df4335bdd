/** Fields that arrive as text: in a query, or on a command line. */
import type { TSchema } from "@sinclair/typebox";

/** Text stays text where it isn't plainly what the schema wants; then the schema refuses it by name. */
export function coerced(text: string, schema: TSchema): unknown {
  const type: unknown = Reflect.get(schema, "type");
  if (type === "integer" && /^-?[0-9]{1,16}$/.test(text)) return Number(text);
  if (type === "number" && /^[0-9]{1,12}(\.[0-9]{1,6})?$/.test(text)) return Number(text);
  if (type === "boolean" && (text === "true" || text === "false")) return text === "true";
  return text;
}
