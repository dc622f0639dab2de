export type StopReason = 'deadline' | 'signal';

/** Why a run should end early. Looked at between batches; what waits for the outside world listens to the signal. */
export class Stop {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  reason?: StopReason;

  request(reason: StopReason): void {
    this.reason ??= reason;
    this.#controller.abort();
  }
}
