/** What the documents test knows of Markdown: links, headings and their anchors, and text outside of code. */
import { posix } from "node:path";

export interface MarkdownFile {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface LinkFound {
  readonly target: string;
  readonly line: number;
}

/** Blanks fenced code (and spans too, if asked), keeping the lines, so that an example is never taken for a link. */
export function withoutCode(markdown: string, spansToo = true): string {
  let fence: string | undefined;
  const lines = markdown.split("\n").map((line) => {
    const mark = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (fence === undefined && mark !== undefined) {
      fence = mark;
      return "";
    }
    if (fence !== undefined) {
      if (mark?.startsWith(fence) === true) fence = undefined;
      return "";
    }
    return line;
  });
  const text = lines.join("\n");
  return spansToo ? text.replace(/(`+)(?!`)[^\n]*?[^`]\1(?!`)/g, (span) => " ".repeat(span.length)) : text;
}

export function linksOf(markdown: string): LinkFound[] {
  const text = withoutCode(markdown);
  const inline = [...text.matchAll(/\]\(\s*<?([^\s()<>]+(?:\([^\s()]*\))?)>?(?:\s+"[^"]*")?\s*\)/g)];
  const references = [...text.matchAll(/^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)/gm)];
  const html = [...text.matchAll(/\b(?:href|src)="([^"]+)"/g)];
  return [...inline, ...references, ...html].map((match) => ({
    target: match[1] ?? "",
    line: text.slice(0, match.index + match[0].search(/\S/)).split("\n").length,
  }));
}

/** Rows that do not belong where they stand. */
export function raggedRows(file: MarkdownFile): string[] {
  const cellsOf = (row: string): number => row.replaceAll("\\|", "").split("|").length - 2;
  let head: number | undefined;
  return withoutCode(file.text)
    .split("\n")
    .flatMap((text, index) => {
      const cells = text.startsWith("|") ? cellsOf(text.trimEnd()) : undefined;
      head = cells === undefined ? undefined : (head ?? cells);
      return cells === head ? [] : [`${file.path}:${index + 1}: ${cells} cells in a table of ${head}`];
    });
}

/** The anchors that GitHub gives to a file's headings. */
export function anchorsOf(markdown: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const match of withoutCode(markdown, false).matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const slug = (match[1] ?? "")
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-");
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    anchors.add(before === 0 ? slug : `${slug}-${before}`);
  }
  for (const match of markdown.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(match[1] ?? "");
  return anchors;
}

/** `exists` answers for paths from the root; `read` gives a Markdown file's text. */
export function brokenLinks(
  file: MarkdownFile,
  exists: (path: string) => boolean,
  read: (path: string) => string,
): string[] {
  return linksOf(file.text).flatMap(({ target, line }) => {
    const at = `${file.path}:${line} ${target}`;
    if (/^[a-z][a-z0-9+.-]*:/i.test(target)) return [];
    if (target.startsWith("/")) return [`${at}: an absolute path leads nowhere in a repository`];
    const [path = "", anchor] = target.split("#");
    const to =
      path === ""
        ? file.path
        : posix.normalize(posix.join(posix.dirname(file.path), decodeURIComponent(path)));
    if (to.startsWith("..")) return [`${at}: leads out of the repository`];
    if (to !== file.path && !exists(to)) return [`${at}: no such file`];
    if (anchor === undefined || !to.endsWith(".md")) return [];
    return anchorsOf(to === file.path ? file.text : read(to)).has(anchor) ? [] : [`${at}: no such heading`];
  });
}

/** Line numbers go stale with the next edit: documents name things. */
export function lineReferences(file: MarkdownFile): string[] {
  const pattern =
    /\b[\w./-]+\.(?:ts|mts|mjs|js)(?::\d+|#L\d+)|#L\d+|\blines?\s+\d+(?:\s*[-–]\s*\d+)?\s+of\b/g;
  return [...withoutCode(file.text, false).matchAll(pattern)].map((match) => `${file.path}: ${match[0]}`);
}
