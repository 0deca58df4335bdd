/** Runs the public reference server of Durable Streams, file-backed, as a process of its own: `node durable-peer.js PACKAGE DIR PORT`. */
const [packagePath = "", dataDir = "", port = ""] = process.argv.slice(2);

interface ReferenceServer {
  start(): Promise<unknown>;
}
interface ReferencePackage {
  readonly DurableStreamTestServer: new (options: {
    port: number;
    host: string;
    dataDir: string;
  }) => ReferenceServer;
}

async function main(): Promise<void> {
  const loaded = (await import(packagePath)) as ReferencePackage;
  await new loaded.DurableStreamTestServer({ port: Number(port), host: "127.0.0.1", dataDir }).start();
}

void main();
