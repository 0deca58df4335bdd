/** The HTTP classes alone, under Node's own server: what arrives and what leaves is what it was, in fewer steps. */
import { createServer, type Server, type ServerOptions, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WireRequest, WireResponse, wireOf } from "../../api/doors/wire.js";

type Handler = (request: WireRequest, response: WireResponse) => void;

describe("WireRequest and WireResponse", () => {
  let server: Server;
  let handler: Handler;
  let socket: Socket;
  let received = "";

  beforeEach(async () => {
    server = createServer(
      { IncomingMessage: WireRequest, ServerResponse: WireResponse },
      (request, response) => handler(wireOf(request), response),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    received = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
    });
    socket.on("error", () => undefined);
  });
  afterEach(() => {
    socket.destroy();
    server.closeAllConnections();
    server.close();
  });

  const ask = (method: string, path: string, rest = "\r\n"): void => {
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${rest}`);
  };
  const settled = async (wanted: () => boolean): Promise<void> => {
    await expect.poll(wanted, { interval: 2 }).toBe(true);
  };

  test("a body that is collected arrives whole, in order and with its end, whatever its framing", async () => {
    const bodies: string[] = [];
    handler = (request, response) => {
      let text = "";
      request.collect(
        (chunk) => {
          text += chunk.toString("latin1");
        },
        () => {
          bodies.push(text);
          response.end("ok");
        },
      );
    };
    ask("POST", "/", "Content-Length: 6\r\n\r\nab");
    await new Promise((resolve) => setTimeout(resolve, 20));
    socket.write("cdef");
    ask("POST", "/", "Transfer-Encoding: chunked\r\n\r\n2\r\ngh\r\n3\r\nijk\r\n0\r\n\r\n");
    ask("POST", "/", "Content-Length: 0\r\n\r\n");
    await settled(() => bodies.length === 3);
    expect(bodies).toEqual(["abcdef", "ghijk", ""]);
    await settled(() => received.split("\r\n\r\nok").length === 4);
  });

  test("a request that nobody collects is a stream like any other", async () => {
    const bodies: string[] = [];
    handler = (request, response) => {
      setImmediate(async () => {
        const chunks = await request.toArray();
        bodies.push(Buffer.concat(chunks).toString());
        response.end();
      });
    };
    ask("POST", "/", "Content-Length: 3\r\n\r\nabc");
    await settled(() => bodies.length === 1);
    expect(bodies).toEqual(["abc"]);
  });

  test("a body whose first part came before somebody collected it arrives whole, an empty one with its end", async () => {
    const bodies: string[] = [];
    const later: (() => void)[] = [];
    handler = (request, response) => {
      if (request.url === "/ignored") request.ignore();
      let text = "";
      later.push(() => {
        const take = (chunk: Buffer): void => {
          text += chunk.toString("latin1");
        };
        request.collect(take, () => {
          bodies.push(text);
          response.end();
        });
      });
    };
    ask("POST", "/", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    await settled(() => later.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    later[0]?.();
    socket.write("3\r\ncde\r\n0\r\n\r\n");
    await settled(() => bodies.length === 1);
    for (const path of ["/ignored", "/streamed"]) {
      ask("POST", path, "Content-Length: 0\r\n\r\n");
      const before = later.length;
      await settled(() => later.length === before + 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      later.at(-1)?.();
      await settled(() => bodies.length === before + 1);
    }
    expect(bodies).toEqual(["abcde", "", ""]);
  });

  test("a body that is ignored is gone, and the connection takes the next request", async () => {
    const paths: string[] = [];
    handler = (request, response) => {
      paths.push(request.url ?? "");
      request.ignore();
      response.end();
    };
    ask("POST", "/1", `Content-Length: 200000\r\n\r\n${"x".repeat(200_000)}`);
    ask("GET", "/2");
    await settled(() => paths.length === 2);
    expect(paths).toEqual(["/1", "/2"]);
  });

  test("a client that goes in the middle of a body it said it would send is an error, not an end", async () => {
    const heard: string[] = [];
    handler = (request) => {
      request.on("error", (error: NodeJS.ErrnoException) => heard.push(error.code ?? ""));
      request.collect(
        () => heard.push("piece"),
        () => heard.push("end"),
      );
    };
    ask("POST", "/", "Content-Length: 6\r\n\r\nab");
    await settled(() => heard.length === 1);
    socket.destroy();
    await settled(() => heard.length === 2);
    expect(heard).toEqual(["piece", "ECONNRESET"]);
  });

  test("an answer with a length leaves in one write", async () => {
    const writes: string[] = [];
    handler = (_request, response) => {
      const { socket: own } = response;
      if (own === null) return;
      const { _write, _writev } = own;
      own._write = (chunk, encoding, done) => {
        writes.push("write");
        _write.call(own, chunk, encoding, done);
      };
      own._writev = (chunks, done) => {
        writes.push(`writev of ${chunks.length}`);
        _writev?.call(own, chunks, done);
      };
      response.writeHead(200, ["Content-Length", "2"]);
      response.end("ok", "latin1");
    };
    ask("GET", "/");
    await settled(() => received.endsWith("\r\n\r\nok"));
    expect(writes).toEqual(["write"]);
  });

  test("whole lines of a head come before its other lines, once, whatever writes it", async () => {
    handler = (request, response) => {
      response.lines = "X-Told: 1\r\n";
      response.setHeader("X-Set", "2");
      if (request.url === "/pieces") response.write("piece");
      if (request.url === "/nothing") response.writeHead(204);
      response.end();
    };
    for (const path of ["/", "/nothing", "/pieces"]) ask("GET", path);
    await settled(() => received.endsWith("piece\r\n0\r\n\r\n"));
    expect(received.match(/^X-\w+: \d\r$|^HTTP.*\r$/gm)?.join("")).toBe(
      ["200 OK", "204 No Content", "200 OK"]
        .map((status) => `HTTP/1.1 ${status}\rX-Told: 1\rX-Set: 2\r`)
        .join(""),
    );
  });

  test("'finish' comes once, when the bytes were handed on; 'end' may be called with nothing, or twice", async () => {
    const heard: string[] = [];
    handler = (request, response) => {
      response.on("finish", () => heard.push(`${request.url} ${response.writableFinished}`));
      response.end(request.url === "/text" ? "text" : undefined, () => heard.push("called back"));
      response.end();
    };
    ask("GET", "/text");
    ask("GET", "/none");
    await settled(() => heard.length === 4);
    expect(heard).toEqual(["/text true", "called back", "/none true", "called back"]);
  });

  test("answers to pipelined requests keep their order, though the later are ready first", async () => {
    const waiting: (() => void)[] = [];
    handler = (request, response) => {
      waiting.unshift(() => response.end(`<${request.url}>`));
      if (waiting.length === 3) for (const answer of waiting) answer();
    };
    for (const path of ["/1", "/2", "/3"]) ask("GET", path);
    await settled(() => received.includes("</3>"));
    expect(received.match(/<\/\d>/g)).toEqual(["</1>", "</2>", "</3>"]);
  });
});

test("every kind of answer is the same bytes as from Node's own classes", async () => {
  const own = await conversation({ IncomingMessage: WireRequest, ServerResponse: WireResponse });
  expect(own).toEqual(await conversation({}));
  expect(own.match(/HTTP\/1\.1 /g)).toHaveLength(2 * ANSWERS.length - 1);
});

const ANSWERS: readonly ((response: ServerResponse) => void)[] = [
  (response) => response.end(),
  (response) => response.end("text, with its length known at the end"),
  (response) => response.end("gänzlich Unicode – 🙂", "utf8"),
  (response) => response.writeHead(200, ["Content-Length", "3"]).end("\u00e4bc", "latin1"),
  (response) => response.writeHead(200, { "Content-Length": "3" }).end(Buffer.from("abc")),
  (response) => response.writeHead(200, ["X-Chunked", "yes"]).end("in one chunk"),
  (response) => response.writeHead(204).end(),
  (response) => response.writeHead(304, ["ETag", '"7"']).end(),
  (response) => {
    response.write("one,");
    response.write("two,");
    response.end("three");
  },
  (response) => {
    response.writeHead(200, { "Content-Length": "10" });
    response.write("first");
    response.end("after");
  },
  (response) => {
    response.writeHead(200, { Trailer: "X-Sum", "Transfer-Encoding": "chunked" });
    response.addTrailers({ "X-Sum": "1" });
    response.end("x".repeat(100_000));
  },
  (response) => response.writeHead(413, { Connection: "close" }).end("no more"),
];

/** All that a client hears which asks for every answer, by HEAD and by GET, one behind the other. */
async function conversation(classes: ServerOptions): Promise<string> {
  const server = createServer(classes, (request, response) => {
    ANSWERS[Number(request.url?.slice(1))]?.(response.setHeader("Date", "now"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1").setEncoding("latin1");
  const last = ANSWERS.length - 1;
  for (const number of ANSWERS.keys()) {
    if (number < last) socket.write(`HEAD /${number} HTTP/1.1\r\nHost: a\r\n\r\n`);
    socket.write(`GET /${number} HTTP/1.1\r\nHost: a\r\n\r\n`);
  }
  let text = "";
  for await (const piece of socket) text += piece;
  server.close();
  return text;
}
