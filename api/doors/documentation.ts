/** The OpenAPI document at `/openapi.json` and a page to read and try it at `/docs`, all from this process. */
import type { FastifyInstance } from "fastify";
import { openApiDocument } from "../openapi.js";
import { type Door, JSON_CONTENT } from "./door.js";
import { textBody } from "./outbox.js";
import { wireResponseOf } from "./wire.js";

export function registerDocumentation(server: FastifyInstance, door: Door): void {
  // A start does without both: the document takes 10 ms to make, what makes the page 50 ms to load.
  let made: string | undefined;
  const text = (): string => {
    made ??= JSON.stringify(openApiDocument(door.options.version));
    return made;
  };
  server.get("/openapi.json", (request, reply) => {
    door.send(request, reply, 200, [], textBody(JSON_CONTENT, text()));
  });
  let page: ReturnType<typeof loadPage> | undefined;
  for (const url of ["/docs", "/docs/*"]) {
    server.route({
      method: "GET",
      url,
      // The page answers past our doors, so it is measured by a hook that the rest of the server does without.
      onResponse: async (request, reply) => {
        if (!request.answered) door.note(request, reply.statusCode);
      },
      handler: (request, reply) => {
        reply.header("X-Request-Id", request.id);
        wireResponseOf(reply.raw).lines = door.lineage.of() + door.cors.linesFor(request);
        page ??= loadPage(text());
        page.then((show) => show(request, reply)).catch((error: unknown) => reply.send(error));
      },
    });
  }
}

async function loadPage(document: string) {
  const { openDocumentationPage } = await import("./documentation-page.js");
  return openDocumentationPage(document);
}
