/** What a checker throws: which promise was broken, and by what. */
export class PromiseBroken extends Error {
  constructor(promise: string, evidence: string) {
    super(`${promise}: ${evidence}`);
    this.name = "PromiseBroken";
  }
}
