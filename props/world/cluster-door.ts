/** The way to other nodes' HTTP in a simulated set: a request may be lost on the way there, its answer on the way back. */
import type { NodeAnswer, SwitchoverDoor } from "../../ops/replication/switchover.js";
import { sleep } from "../../replication/pace.js";
import type { Switchover } from "./cluster-history.js";
import type { SimulatedMachine } from "./simulated-machine.js";
import type { SimulatedNetwork } from "./simulated-network.js";

interface AskedNode {
  readonly machine: SimulatedMachine;
  readonly serving: object | undefined;
  /** What it answers is lost on the way. */
  readonly isMute: boolean;
  told(command: string, body: Readonly<Record<string, unknown>>, by: Switchover): Promise<NodeAnswer>;
}

interface DoorSurroundings {
  readonly clock: SwitchoverDoor["clock"];
  readonly network: SimulatedNetwork;
  readonly called: (http: string) => AskedNode | undefined;
}

export function doorOf(
  machine: SimulatedMachine,
  by: Switchover,
  { clock, network, called }: DoorSurroundings,
): SwitchoverDoor {
  const wait = (ms: number): Promise<void> => sleep(clock, ms);
  const lost = new Promise<never>(() => undefined);
  const ask = async (http: string, command: string, body: object): Promise<NodeAnswer> => {
    const node = called(http);
    await wait(network.delay());
    if (node === undefined || network.isCut(machine, node.machine)) return await lost;
    if (node.serving === undefined) return { ok: false, body: { error: "no connection" } };
    const answer = await node.told(command, { ...body }, by);
    await wait(network.delay());
    return node.isMute || network.isCut(node.machine, machine) ? await lost : answer;
  };
  return {
    clock,
    tell: (http, command, body, msMax) => {
      const inTime = wait(msMax).then(() => ({ ok: false, body: { error: "no answer in time" } }));
      return Promise.race([ask(http, command, body), inTime]);
    },
  };
}
