/**
 * The page at `/docs`: Swagger UI in a Fastify of its own that listens nowhere. It is handed requests that the server has
 * taken, answers what it has, and hands back what it doesn't have or can't do.
 * What it finds wrong with a path (a zero byte, a backslash) is a path at which it has nothing.
 */
import type { IncomingMessage } from "node:http";
import helmet from "@fastify/helmet";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import Fastify, { type FastifyReply, type FastifyRequest } from "fastify";

/** Everything the page needs comes from this process; it styles itself inline. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** `document` is the text of the OpenAPI document. The headers of the server's reply go out with the page's answer. */
export async function openDocumentationPage(
  document: string,
): Promise<(request: FastifyRequest, reply: FastifyReply) => void> {
  const page = Fastify();
  const replies = new WeakMap<IncomingMessage, FastifyReply>();
  page.addHook("onSend", async ({ raw }, reply) => void reply.headers(replies.get(raw)?.getHeaders() ?? {}));
  page.setNotFoundHandler(({ raw }, reply) => {
    reply.hijack();
    replies.get(raw)?.callNotFound();
  });
  page.setErrorHandler((error, { raw }, reply) => {
    reply.hijack();
    const asked = replies.get(raw);
    if (isRefusal(error)) asked?.callNotFound();
    else asked?.send(error);
  });
  // The page is the only HTML here, so the only thing that needs a browser's protection. Its own policy stands above;
  // whether to insist on TLS is the business of whoever terminates it.
  page.register(helmet, { hsts: false, contentSecurityPolicy: false });
  page.register(swagger, { mode: "static", specification: { document: JSON.parse(document) } });
  page.register(swaggerUi, { routePrefix: "/docs", staticCSP: PAGE_POLICY });
  await page.ready();
  return (request, reply) => {
    replies.set(request.raw, reply);
    page.routing(request.raw, reply.raw);
  };
}

function isRefusal(error: unknown): boolean {
  const status: unknown = error instanceof Error ? Reflect.get(error, "statusCode") : undefined;
  return typeof status === "number" && status >= 400 && status < 500;
}
