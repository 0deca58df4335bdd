/**
 * A consumer, as a process of its own: takes jobs, does them, acknowledges them, until its parent lets go of it or kills it,
 * at whatever point. `consumer.js NAME URL [ACKS]`: what it does is on so many replicas before it goes on. Later addresses of the server come
 * from the parent.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { doneBy, QUEUE } from "./jobs.js";
import { RefusedError, StoreClient } from "./store-client.js";

const JOBS_AT_ONCE = 20;
const WAIT_SECS = 1;
const RETRY_MS = 20;

const [, , name = "", first = "", acks] = process.argv;
const clientOf = (url: string): StoreClient =>
  new StoreClient(url, acks === undefined ? undefined : Number(acks));
let client = clientOf(first);
process.on("message", (message: { readonly url: string }) => {
  client = clientOf(message.url);
});
process.on("disconnect", () => process.exit(0));
// The parent may have let go while this file was being loaded: then nothing was there to hear it.
if (!process.connected) process.exit(0);

/** Until there is an answer. A job done twice and an ack repeated change nothing, so no request is ever given up. */
async function asked<T>(request: (client: StoreClient) => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await request(client);
    } catch (error) {
      if (error instanceof RefusedError && !error.mayPass) throw error;
      await sleep(RETRY_MS);
    }
  }
}

async function consume(): Promise<never> {
  for (;;) {
    const wanted = { consumer: name, count: JOBS_AT_ONCE, waitSecs: WAIT_SECS };
    const taken = await asked((server) => server.consume(QUEUE, wanted));
    if (taken.length === 0) continue;
    process.send?.({ taken: taken.length });
    await asked((server) => server.setMany(taken.map(({ payload }) => doneBy(payload))));
    // One that is stale by now comes again, to whomever.
    await asked((server) => server.ackMany(QUEUE, taken));
  }
}

void consume();
