/** The OpenAPI document at `/openapi.json` and a page to read and try it at `/docs`, all from this process. */
import helmet from "@fastify/helmet";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import { openApiDocument } from "../openapi.js";
import { type Door, JSON_CONTENT } from "./door.js";
import { textBody } from "./outbox.js";

/** Everything the page needs comes from this process; it styles itself inline. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

export function registerDocumentation(server: FastifyInstance, door: Door): void {
  const text = JSON.stringify(openApiDocument(door.options.version));
  server.get("/openapi.json", (request, reply) => {
    door.send(request, reply, 200, [], textBody(JSON_CONTENT, text));
  });
  server.register(async (scope) => {
    // The page is the only HTML here, so the only thing that needs a browser's protection. Its files go out through
    // Fastify's reply, so they are measured by hooks that the rest of the server does without.
    scope.addHook("onSend", async (request, reply) => void reply.header("X-Request-Id", request.id));
    scope.addHook("onResponse", async (request, reply) => door.note(request, reply.statusCode));
    // The page's own policy stands below; whether to insist on TLS is the business of whoever terminates it.
    scope.register(helmet, { hsts: false, contentSecurityPolicy: false });
    scope.register(swagger, { mode: "static", specification: { document: JSON.parse(text) } });
    scope.register(swaggerUi, { routePrefix: "/docs", staticCSP: PAGE_POLICY });
  });
}
