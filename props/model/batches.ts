/** Operations as steps of a batch, for models and workloads. */
import type { BatchCommand, Decider, Step } from "../../projections/index.js";

export function stepOf<Command, Answer>(decide: Decider<Command, Answer>, command: Command): Step<unknown> {
  return { decide: (state, context, rules) => decide(state, command, context, rules) };
}

export function batchOf(steps: readonly Step<unknown>[]): BatchCommand<unknown> {
  return { preconditions: [], steps: steps.map((step, index) => ({ name: `step ${index}`, step })) };
}
