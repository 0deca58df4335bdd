/** Variables beside those of settings. As for these, an empty one counts as not set: compose files and units pass on what is not there. */

/** The value of the first that is set. */
export function firstSet(
  environment: Readonly<Record<string, string | undefined>>,
  ...names: readonly string[]
): string | undefined {
  return names.map((name) => environment[name]).find((text) => text !== undefined && text !== "");
}
