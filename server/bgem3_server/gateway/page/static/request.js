/** The one request that the page makes, and the same request for other programs. */

/** The server has answered with something else than the embeddings. */
export class ServerProblem extends Error {
  /**
   * @param {number} status
   * @param {{message?: string, index?: number, requestId?: string}} details
   * @param {number | null} retryAfterSeconds
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

// Relative, so that the page also works below a path of a reverse proxy.
const endpoint = () => new URL("embed", document.baseURI).href;

/**
 * The body for these texts. Options that the server has as its defaults are left out.
 *
 * @param {string[]} texts The query first.
 * @param {{maxLength: number, truncate: boolean}} options
 */
export function requestBody(texts, { maxLength, truncate }) {
  return {
    texts,
    mode: ["dense", "sparse", "colbert"],
    ...(maxLength !== 8192 && { max_length: maxLength }),
    ...(!truncate && { truncate }),
    return_tokens: true,
    encoding_format: "base64_float16",
  };
}

/**
 * Send the request.
 *
 * @returns {Promise<{bytes: ArrayBuffer, roundTripMilliseconds: number,
 *   serverMilliseconds: number | null}>}
 * @throws {ServerProblem} The server refused, or failed.
 * @throws {NetworkProblem} No answer came.
 * @throws {DOMException} AbortError: `signal` was aborted.
 */
export async function send(body, key, signal) {
  const began = performance.now();
  let response;
  let bytes;
  try {
    response = await fetch(endpoint(), {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(key && { Authorization: `Bearer ${key}` }),
      },
      body: JSON.stringify(body),
      signal,
    });
    bytes = await response.arrayBuffer();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NetworkProblem(String(error));
  }
  if (!response.ok) throw serverProblem(response, new TextDecoder().decode(bytes));
  return {
    bytes,
    roundTripMilliseconds: performance.now() - began,
    serverMilliseconds: serverTime(response.headers.get("Server-Timing")),
  };
}

function serverProblem(response, text) {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After"), 10);
  return new ServerProblem(
    response.status,
    problemDetails(response, text),
    Number.isNaN(retryAfter) ? null : retryAfter,
  );
}

// A proxy in between answers with pages of its own, which are of no use here.
function problemDetails(response, text) {
  const requestId = response.headers.get("X-Request-Id") ?? undefined;
  if (!response.headers.get("Content-Type")?.includes("json")) return { requestId };
  const { error, index, request_id: id } = JSON.parse(text);
  return { message: error, index, requestId: id ?? requestId };
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

/** The request for a shell. The key is not in it: it would end in the shell's history. */
export function curlCommand(body, withKey) {
  const data = JSON.stringify(body).replaceAll("'", "'\\''");
  return [
    `curl -s ${endpoint()} \\`,
    ...(withKey ? [`  -H "Authorization: Bearer $BGEM3_API_KEY" \\`] : []),
    "  -H 'Content-Type: application/json' \\",
    `  -d '${data}'`,
  ].join("\n");
}

/** The request as a Python program, which reads the answer too. */
export function pythonProgram(body, withKey) {
  return `import base64
import json
${withKey ? "import os\n" : ""}import urllib.request

import numpy as np

body = ${pythonLiteral(body)}
request = urllib.request.Request(
    ${JSON.stringify(endpoint())},
    json.dumps(body).encode(),
    {
        "Content-Type": "application/json",${
          withKey
            ? '\n        "Authorization": f"Bearer {os.environ[\'BGEM3_API_KEY\']}",'
            : ""
        }
    },
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)


def decode(base64_float16):
    return np.frombuffer(base64.b64decode(base64_float16), "<f2").astype(np.float32)


dense = np.stack([decode(vector) for vector in answer["embeddings"]])
sparse = [text["lexical_weights"] for text in answer["sparse_embeddings"]]
colbert = [decode(text["data"]).reshape(text["shape"]) for text in answer["colbert_embeddings"]]
print(dense[1:] @ dense[0])
`;
}

// Strings, lists of strings, numbers and booleans; JSON's strings are Python's as well.
function pythonLiteral(value, indent = "") {
  const inner = `${indent}    `;
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    const line = JSON.stringify(value);
    if (line.length < 60) return line.replaceAll('","', '", "');
    const items = value.map((item) => `${inner}${pythonLiteral(item, inner)},\n`).join("");
    return `[\n${items}${indent}]`;
  }
  if (typeof value === "object") {
    const items = Object.entries(value).map(
      ([name, item]) => `${inner}${JSON.stringify(name)}: ${pythonLiteral(item, inner)},\n`,
    );
    return `{\n${items.join("")}${indent}}`;
  }
  return JSON.stringify(value);
}
