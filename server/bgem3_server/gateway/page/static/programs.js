import { addressOf } from "./server.js";

/**
 * A request for other programs. The key is not in it: it would end in a shell's history.
 *
 * @typedef {object} Sent
 * @property {string} path Of the route.
 * @property {object} body
 * @property {boolean} withKey
 */

/** @param {Sent} sent */
export function curlCommand({ path, body, withKey }) {
  const data = JSON.stringify(body).replaceAll("'", "'\\''");
  return [
    `curl -s ${addressOf(path)} \\`,
    ...(withKey ? [`  -H "Authorization: Bearer $BGEM3_API_KEY" \\`] : []),
    "  -H 'Content-Type: application/json' \\",
    `  -d '${data}'`,
  ].join("\n");
}

/**
 * @param {Sent} sent
 * @param {{standard?: string[], other?: string, reading: string}} rest Modules that are imported
 *   beside those that the request needs, of Python's own and other; and what is done with `answer`.
 */
export function pythonProgram({ path, body, withKey }, { standard = [], other, reading }) {
  const modules = ["json", "urllib.request", ...(withKey ? ["os"] : []), ...standard].sort();
  return `${modules.map((name) => `import ${name}\n`).join("")}${other ? `\n${other}\n` : ""}
body = ${pythonLiteral(body)}
request = urllib.request.Request(
    ${JSON.stringify(addressOf(path))},
    json.dumps(body).encode(),
    {
        "Content-Type": "application/json",${
          withKey ? '\n        "Authorization": f"Bearer {os.environ[\'BGEM3_API_KEY\']}",' : ""
        }
    },
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)

${reading}`;
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
