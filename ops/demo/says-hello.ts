/** Who dialled a replication link, by the first words that it sent. */

/** For `ProxyFaults.silences`. The HELLO of a node begins with a map that tells its name before any other's. */
export function saysHelloAs(name: string): (opening: Uint8Array) => boolean {
  const field = Buffer.concat([Buffer.of(0xa4), Buffer.from("name")]);
  const said = Buffer.concat([field, Buffer.of(0xa0 | name.length), Buffer.from(name)]);
  return (opening) => {
    const words = Buffer.from(opening.buffer, opening.byteOffset, opening.length);
    const at = words.indexOf(field);
    return at >= 0 && words.subarray(at).indexOf(said) === 0;
  };
}
