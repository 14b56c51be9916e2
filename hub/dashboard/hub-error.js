/**
 * What can go wrong with a request to the hub, as one error: a refusal, or no answer at all.
 */

/** The hub answered, but not with success. `status` 0: it did not answer at all. */
export class HubError extends Error {
  constructor(status, problem, retryAfter = 0) {
    super(problem.detail || problem.title || (status ? `The hub answered ${status}.` : "The hub does not answer."));
    this.name = "HubError";
    this.status = status;
    /** The RFC 9457 problem, or `{}`. */
    this.problem = problem;
    /** Seconds that the hub asked to wait. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may work a little later. 507 is not among them: a full disk stays full. */
  get passing() {
    return [0, 502, 503, 504].includes(this.status);
  }
}
