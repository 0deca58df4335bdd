/** The rules of streams as the configuration has them, changed in place by SIGHUP. What no setting names is the projection's own. */
import { DEFAULT_STREAM_RULES, type StreamRules } from "../../projections/index.js";
import type { ConfigValues } from "./settings.js";

export class LiveStreamRules implements StreamRules {
  readonly nameBytesMax = DEFAULT_STREAM_RULES.nameBytesMax;
  readonly batchMessagesMax = DEFAULT_STREAM_RULES.batchMessagesMax;
  messageBytesMax = DEFAULT_STREAM_RULES.messageBytesMax;
  streamsMax = DEFAULT_STREAM_RULES.streamsMax;
  producersMax = DEFAULT_STREAM_RULES.producersMax;

  apply(values: ConfigValues): void {
    this.messageBytesMax = values["stream.message_bytes_max"];
    this.streamsMax = values["stream.streams_max"];
    this.producersMax = values["stream.producers_max"];
  }
}
