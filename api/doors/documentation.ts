/** The OpenAPI document at `/openapi.json` and a page to read and try it at `/docs`, all from this process. */
import helmet from "@fastify/helmet";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import { openApiDocument } from "../openapi.js";
import type { ApiOptions } from "../options.js";
import { JSON_CONTENT, noteAnswer, sendAnswer } from "./answer.js";

export function registerDocumentation(server: FastifyInstance, options: ApiOptions): void {
  const text = JSON.stringify(openApiDocument(options.version));
  server.get("/openapi.json", (request, reply) => {
    sendAnswer(options, request, reply, 200, [], { contentType: JSON_CONTENT, text, encoding: "utf8" });
  });
  server.register(async (scope) => {
    // The page is the only HTML here, so the only thing that needs a browser's protection. Its files go out through
    // Fastify's reply, so they are measured by hooks that the rest of the server does without.
    scope.addHook("onSend", async (request, reply) => void reply.header("X-Request-Id", request.id));
    scope.addHook("onResponse", async (request, reply) => noteAnswer(options, request, reply.statusCode));
    scope.register(helmet, { hsts: false, contentSecurityPolicy: false, enableCSPNonces: false });
    scope.register(swagger, { mode: "static", specification: { document: JSON.parse(text) } });
    scope.register(swaggerUi, { routePrefix: "/docs", staticCSP: true, indexPrefix: "" });
  });
}
