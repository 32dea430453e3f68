/** Requests to this server, and what can go wrong with them, told apart by type. */

/** The server has answered that it will not, or cannot. */
export class ServerProblem extends Error {
  /**
   * @param {number} status
   * @param {Details} details
   * @param {number | null} retryAfterSeconds
   *
   * @typedef {object} Details
   * @property {string} [message] The server's own words, in English.
   * @property {string} [code] The kind of error.
   * @property {number} [index] Which of the texts, or of the conditions.
   * @property {string} [field] Which field of the request, where the server says so.
   * @property {number} [position] Where in it, in characters.
   * @property {string} [requestId]
   */
  constructor(status, details, retryAfterSeconds) {
    super(details.message ?? `status ${status}`);
    this.status = status;
    this.details = details;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** No answer came: the server is away, or the network. */
export class NetworkProblem extends Error {}

/** An answer came that is not what the interface says. */
export class AnswerProblem extends Error {}

/** The address of a route. Relative, so that the page also works below a path of a proxy. */
export function addressOf(path) {
  return new URL(path, document.baseURI).href;
}

/**
 * Ask the server.
 *
 * @param {string} path Of the route, without a slash in front.
 * @param {{body?: object, key: string, signal?: AbortSignal}} request Sent by POST where it has a
 *   body.
 * @returns {Promise<{bytes: ArrayBuffer, roundTripMilliseconds: number,
 *   serverMilliseconds: number | null}>}
 * @throws {ServerProblem} The server refused, or failed.
 * @throws {NetworkProblem} No answer came.
 * @throws {DOMException} AbortError: `signal` was aborted.
 */
export async function ask(path, { body, key, signal }) {
  const began = performance.now();
  let response;
  let bytes;
  try {
    response = await fetch(addressOf(path), {
      method: body ? "POST" : "GET",
      headers: {
        ...(body && { "Content-Type": "application/json" }),
        ...(key && { Authorization: `Bearer ${key}` }),
      },
      body: body && JSON.stringify(body),
      signal,
    });
    bytes = await response.arrayBuffer();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NetworkProblem(String(error));
  }
  if (!response.ok) throw serverProblem(response, bytes);
  return {
    bytes,
    roundTripMilliseconds: performance.now() - began,
    serverMilliseconds: serverTime(response.headers.get("Server-Timing")),
  };
}

/** @throws {AnswerProblem} These bytes are no JSON. */
export function readJson(bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError) throw new AnswerProblem(String(error));
    throw error;
  }
}

function serverProblem(response, bytes) {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After"), 10);
  return new ServerProblem(
    response.status,
    problemDetails(response, bytes),
    Number.isNaN(retryAfter) ? null : retryAfter,
  );
}

// A proxy in between answers with pages of its own, which are of no use here.
function problemDetails(response, bytes) {
  const requestId = response.headers.get("X-Request-Id") ?? undefined;
  if (!response.headers.get("Content-Type")?.includes("json")) return { requestId };
  const { error, code, index, field, position, request_id: id } = readJson(bytes);
  return { message: error, code, index, field, position, requestId: id ?? requestId };
}

/** The total, or else the longest, of the durations in a `Server-Timing` header, in milliseconds. */
function serverTime(header) {
  const durations = (header ?? "").split(",").flatMap((entry) => {
    const duration = /;\s*dur\s*=\s*"?([\d.]+)/.exec(entry);
    return duration ? [{ name: entry.split(";")[0].trim(), value: Number(duration[1]) }] : [];
  });
  const total = durations.find(({ name }) => name === "total");
  if (total) return total.value;
  return durations.length ? Math.max(...durations.map(({ value }) => value)) : null;
}
