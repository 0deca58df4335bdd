/** `annals promote`, `follow`, `resync`, `switchover`, `forget`: what an operator commands a running node of a replicated set. */
import type { Command } from "commander";
import { CliFailure, exitCodes } from "./failure.js";
import { askNode } from "./node-door.js";
import { counted, talk, writeJson, writeLine } from "./output.js";
import { DEFAULT_SERVER, serverArgument } from "./server-argument.js";

interface Flags {
  readonly json?: boolean;
}

const NODE = [
  "[node]",
  "address of the node, such as http://db2:15500",
  serverArgument,
  DEFAULT_SERVER,
] as const;
const JSON_FLAG = ["--json", "its answer as one JSON object"] as const;

export function addPromote(program: Command): void {
  program
    .command("promote")
    .description("make a replica the primary: the others are told first, and only then does it take writes")
    .argument(...NODE)
    .option("--force", "also when not every replica can be reached, or another one has more")
    .option(...JSON_FLAG)
    .action(async (node: string, flags: Flags & { readonly force?: boolean }) => {
      const body = await command(node, "promote", { force: flags.force === true });
      if (flags.json === true) return writeJson(body);
      writeLine(
        `${node} is the primary: epoch ${show(body["epoch"])} begins at offset ${show(body["offset"])}`,
      );
      writeLine(`told: ${list(body["reached"])}; not reached: ${list(body["not_reached"])}`);
      if (body["verified_from"] !== null)
        writeLine(`its log was verified from offset ${show(body["verified_from"])} on`);
      const left = Number(body["may_be_lost"]);
      if (left > 0)
        talk(
          `left behind: ${counted(left, "record")} at least that other nodes were heard to have; whoever has them keeps them under diverged/`,
        );
      if (Array.isArray(body["warnings"])) for (const warning of body["warnings"]) talk(String(warning));
    });
}

export function addFollow(program: Command): void {
  program
    .command("follow")
    .description("let a node follow another one from now on, without a restart")
    .argument("<address>", "replication address of the one to follow, such as db1:15501")
    .argument(...NODE)
    .option(...JSON_FLAG)
    .action(async (address: string, node: string, flags: Flags) => {
      const body = await command(node, "follow", { address });
      if (flags.json === true) return writeJson(body);
      writeLine(`${node} follows ${address}`);
    });
}

export function addResync(program: Command): void {
  program
    .command("resync")
    .description("let a replica fetch everything anew from the node that it follows")
    .argument(...NODE)
    .option(...JSON_FLAG)
    .action(async (node: string, flags: Flags) => {
      const body = await command(node, "resync", {});
      if (flags.json === true) return writeJson(body);
      const words =
        body["begun"] === false ? "is fetching everything already, and goes on" : "fetches everything anew";
      writeLine(`${node} ${words}; annals status shows how far it is`);
    });
}

export function addForget(program: Command): void {
  program
    .command("forget")
    .description("strike a node that does not come back off the primary's list")
    .argument("<lost>", "its name, id, replication or HTTP address")
    .argument("[node]", "address of the primary", serverArgument, DEFAULT_SERVER)
    .option(...JSON_FLAG)
    .action(async (lost: string, node: string, flags: Flags) => {
      const body = await command(node, "forget", { node: lost });
      if (flags.json === true) return writeJson(body);
      writeLine(`${lost} is forgotten: no promotion asks it, and it counts for no quorum`);
    });
}

export function addSwitchover(program: Command): void {
  program
    .command("switchover")
    .description("hand the lead over as planned: nothing answered is lost, writes pause for a moment")
    .argument("[node]", "address of the primary", serverArgument, DEFAULT_SERVER)
    .requiredOption("--to <node>", "name, id, replication or HTTP address of the replica that is to lead")
    .option(...JSON_FLAG)
    .action(async (node: string, flags: Flags & { readonly to: string }) => {
      const body = await command(node, "switchover", { to: flags.to });
      if (flags.json === true) return writeJson(body);
      writeLine(
        `${show(body["to"])} is the primary: epoch ${show(body["epoch"])}, writes were held ${show(body["held_ms"])} ms`,
      );
      const left = body["not_repointed"];
      if (Array.isArray(left) && left.length > 0)
        talk(`tell these to follow it (annals follow): ${list(left)}`);
    });
}

/** @throws CliFailure with what the node says when it refuses; also what has changed all the same, if anything has. */
async function command(
  node: string,
  name: string,
  input: object,
): Promise<Readonly<Record<string, unknown>>> {
  const { status, body } = await askNode(node, `/api/replication/${name}`, input);
  if (status === 200) return body;
  throw new CliFailure(exitCodes.failed, `${node}: ${show(body["error_code"])}: ${show(body["error"])}`);
}

const show = (value: unknown): string => String(value);
const list = (value: unknown): string =>
  Array.isArray(value) && value.length > 0 ? value.join(", ") : "none";
