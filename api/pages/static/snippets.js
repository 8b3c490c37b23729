/** A request as a program, with the key left out: it comes from the environment. */

const MAX_SHOWN_CHARS = 400; // of a text without spaces: base64 of a file

/** A body with the contents of files shortened. */
function abridge(body) {
  if (typeof body === "string") {
    const long = body.length > MAX_SHOWN_CHARS && !/\s/.test(body);
    return long ? `${body.slice(0, 40)}…` : body;
  }
  if (Array.isArray(body)) return body.map(abridge);
  if (body && typeof body === "object") {
    return Object.fromEntries(Object.entries(body).map(([name, value]) => [name, abridge(value)]));
  }
  return body;
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function python(value, indent) {
  const inner = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) {
    return `[\n${value.map((each) => `${inner}${python(each, inner)},\n`).join("")}${indent}]`;
  }
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([name, each]) =>
      `${inner}${JSON.stringify(name)}: ${python(each, inner)},\n`);
    return `{\n${pairs.join("")}${indent}}`;
  }
  return JSON.stringify(value); // of a text: escapes that Python reads as JSON does
}

const curl = (url, body) => `curl -s ${url} \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -d ${shell(JSON.stringify(body, null, 2))}
`;

const urllib = (url, body) => `import json
import os
from urllib.request import Request, urlopen

body = ${python(body, "")}
request = Request(
    ${JSON.stringify(url)},
    data=json.dumps(body).encode(),
    headers={
        "Authorization": "Bearer " + os.environ["KEY"],
        "Content-Type": "application/json",
    },
)
with urlopen(request, timeout=60) as response:
    print(json.dumps(json.load(response), indent=2))
`;

const javascript = (url, body) => `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
console.log(JSON.stringify(await response.json(), null, 2));
`;

const LANGUAGES = { curl, Python: urllib, JavaScript: javascript };

export const languages = Object.keys(LANGUAGES);

/** The program that sends a body to an address. */
export const snippet = (language, url, body) => LANGUAGES[language](url, abridge(body));
