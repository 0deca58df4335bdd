/**
 * The entry of the thread that looks back: folds the log of a directory up to the offsets that it is asked for, and answers. It
 * reads files only; what that costs, memory and time, the thread that serves does not feel.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert, realFileSystem } from "../../log/index.js";
import { LiveSettings } from "../config/rooms.js";
import { DirectorySource } from "./fold-source.js";
import { PastService } from "./past-service.js";
import { foldLimits } from "./past-settings.js";
import type { PastThreadSettings, ToThread } from "./question.js";

assert(parentPort !== null, "this file is the entry of a thread");
const port = parentPort;
const { version, dataDirectory, values } = workerData as PastThreadSettings;
const { rules, limits } = new LiveSettings(values);
const service = new PastService({
  source: new DirectorySource({ files: realFileSystem, dataDirectory, rules }),
  foldLimits: foldLimits(values),
  limits,
  version,
  queuesEnabled: values["queue.enabled"],
  random: Math.random,
  post: (message) => port.postMessage(message),
});
port.on("message", (message: ToThread) => service.hear(message));
