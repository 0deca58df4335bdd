/** Which methods a path takes: asked only when no route matched, to tell "unknown path" from "wrong method". */
interface Pattern {
  /** One entry a path segment; undefined stands for any text. */
  readonly segments: readonly (string | undefined)[];
  readonly methods: readonly string[];
}

export class RouteMap {
  readonly #patterns: Pattern[] = [];

  /** `url` as the router has it: `/kv/get/:key`. */
  add(methods: string | readonly string[], url: string): void {
    const segments = url.split("/").map((segment) => (segment.startsWith(":") ? undefined : segment));
    this.#patterns.push({ segments, methods: typeof methods === "string" ? [methods] : methods });
  }

  methodsFor(path: string): readonly string[] {
    const segments = path.split("/");
    const found = new Set<string>();
    for (const pattern of this.#patterns) {
      if (!matches(pattern.segments, segments)) continue;
      for (const method of pattern.methods) found.add(method);
    }
    return [...found].sort();
  }

  /** Every route, as `METHOD /path`. */
  list(): readonly string[] {
    return this.#patterns.flatMap(({ segments, methods }) => {
      const path = segments.map((segment) => segment ?? "*").join("/");
      return methods.map((method) => `${method} ${path}`);
    });
  }
}

function matches(pattern: readonly (string | undefined)[], segments: readonly string[]): boolean {
  // `/v1/stream/*`: whatever follows.
  if (pattern.at(-1) === "*") {
    const fixed = pattern.length - 1;
    return segments.length > fixed && matches(pattern.slice(0, fixed), segments.slice(0, fixed));
  }
  if (pattern.length !== segments.length) return false;
  return pattern.every((expected, index) => expected === undefined || expected === segments[index]);
}
