/** From the settings to what looking back takes. */
import type { ConfigValues } from "../config/settings.js";
import type { FoldLimits } from "./past-folds.js";

const MIB = 1_048_576;

export function foldLimits(values: ConfigValues): FoldLimits {
  return {
    foldsMax: values["past.folds_max"],
    bytesMax: values["past.memory_mb"] * MIB,
    recordsMax: values["past.records_max"],
  };
}
