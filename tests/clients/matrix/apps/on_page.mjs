// A web page on the official Node client. Node is no browser: so what a browser adds to a request
// and what it keeps from a page (the Fetch Standard's CORS protocol) is played here.

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { WebSocket as NodeWebSocket } from "ws";

const plan = JSON.parse(readFileSync(0, "utf8"));
const SIMPLE = ["accept", "accept-language", "content-language"];
const SHOWN = ["cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"];
const words = (text) => (text ?? "").toLowerCase().split(/\s*,\s*/);

/** Fetch as the page of an origin does: ask first, and see no answer and no field that is not for it. */
const fetchFrom = (origin) => async (url, init) => {
  const asked = [...new Headers(init.headers).keys()].filter((name) => !SIMPLE.includes(name));
  const preflight = await fetch(url, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": init.method,
      "access-control-request-headers": asked.sort().join(","),
    },
  });
  const allowed = words(preflight.headers.get("access-control-allow-headers"));
  mayRead(preflight, origin);
  const refused = asked.filter((name) => !allowed.includes(name));
  if (!preflight.ok || refused.length) throw new TypeError(`the preflight refused ${refused}`);
  const headers = new Headers(init.headers);
  headers.set("origin", origin);
  const answer = await fetch(url, { ...init, headers });
  mayRead(answer, origin);
  const shown = [...SHOWN, ...words(answer.headers.get("access-control-expose-headers"))];
  const seen = [...answer.headers].filter(([name]) => shown.includes("*") || shown.includes(name));
  return new Response(answer.body, { status: answer.status, headers: seen });
};

function mayRead(answer, origin) {
  if (!["*", origin].includes(answer.headers.get("access-control-allow-origin"))) {
    throw new TypeError("Failed to fetch");
  }
}

/** A browser's WebSocket: it tells its origin and subprotocols, and can set no field; TLS is left out. */
globalThis.WebSocket = class extends NodeWebSocket {
  constructor(url, protocols) {
    const { hostname: host, port } = new URL(process.env.OPENAI_BASE_URL);
    super(url, protocols, { origin: plan.origin, createConnection: () => connect({ host, port }) });
  }
};

const client = (apiKey, origin = plan.origin) =>
  new OpenAI({ apiKey, dangerouslyAllowBrowser: true, fetch: fetchFrom(origin), maxRetries: 0 });
const page = client(plan.token);
const messages = [{ role: "user", content: plan.question }];
const ask = (from, model = plan.model) => from.chat.completions.create({ model, messages });

async function streamed() {
  let text = "";
  for await (const chunk of await page.chat.completions.create({ model: plan.model, messages, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  return text;
}

async function spoken() {
  const connection = new OpenAIRealtimeWebSocket({ model: plan.voice }, page);
  const done = new Promise((resolve, reject) => {
    connection.on("response.done", (event) => resolve(event.response));
    connection.on("error", reject);
  });
  connection.socket.addEventListener("open", () =>
    connection.send({ type: "response.create", response: { output_modalities: ["text"] } }),
  );
  const { status, output } = await done;
  connection.close();
  return [status, output[0].content[0].text];
}

/** Return the class, status and code of the error that this brings. */
async function failure(asking) {
  try {
    await asking;
  } catch (error) {
    return [error.constructor.name, error.status ?? null, error.code ?? null];
  }
  return [];
}

async function models() {
  const found = [];
  for await (const model of page.models.list()) found.push(model.id);
  return found;
}

const whole = await ask(page);
const seen = {
  text: whole.choices[0].message.content,
  id: whole._request_id,
  streamed: await streamed(),
  response: (await page.responses.create({ model: plan.model, input: plan.question })).output_text,
  spoken: await spoken(),
  models: await models(),
  failures: {
    "another model": await failure(ask(page, plan.other)),
    files: await failure(page.files.list()),
    "a token that was cut": await failure(ask(client(plan.token.slice(0, -9)))),
    "a key": await failure(ask(client(plan.key))),
    "another page": await failure(ask(client(plan.token, "https://elsewhere.example.com"))),
    "a spent limit": [await failure(ask(client(plan.narrow))), await failure(ask(client(plan.narrow)))],
    "an old token": await failure(setTimeout(plan.brief_ms).then(() => ask(client(plan.brief)))),
  },
};
process.stdout.write(JSON.stringify(seen));
