/**
 * An error for a person: its message names what was found, what is allowed and the next step. It has no stack, for the
 * engine prints the stack of whatever a provider throws; RINGFENCE_DEBUG brings it back.
 */
export class VisibleError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "VisibleError";
    if (!process.env.RINGFENCE_DEBUG) this.stack = "";
  }
}
