// Apps on the official Node client and on the AI SDK; the argument says which, `openai` or `ai`.
// Each finds the provider by the standard two variables alone.

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { ResponsesWS } from "openai/resources/responses/ws";
import { VERSION } from "openai/version";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const plan = JSON.parse(readFileSync(0, "utf8"));
const QUESTION = "What does a headworks do?";
const messages = [{ role: "user", content: QUESTION }];

const chatTokens = (usage) => [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens];
const tokens = (usage) => [usage.input_tokens, usage.output_tokens, usage.total_tokens];

const client = (key = process.env.OPENAI_API_KEY) => new OpenAI({ apiKey: key });

const chat = {
  async whole(model, key) {
    const answer = await client(key).chat.completions.create({ model, messages });
    const [choice] = answer.choices;
    return { text: choice.message.content, usage: chatTokens(answer.usage), finish: choice.finish_reason, id: answer._request_id };
  },
  async streamed(model, heard, headers) {
    const body = { model, messages, stream: true, stream_options: { include_usage: true } };
    const said = { usage: null, finish: null, id: null };
    for await (const chunk of await client().chat.completions.create(body, { headers })) {
      for (const choice of chunk.choices) {
        heard.push(choice.delta.content ?? "");
        said.finish = choice.finish_reason ?? said.finish;
      }
      if (chunk.usage) said.usage = chatTokens(chunk.usage);
    }
    return { text: heard.join(""), ...said };
  },
  async tool({ model, tool }) {
    const tools = [{ type: "function", function: tool }];
    const asked = await client().chat.completions.create({ model, messages, tools });
    const said = asked.choices[0].message;
    const [call] = said.tool_calls;
    const result = { role: "tool", tool_call_id: call.id, content: "182" };
    const last = await client().chat.completions.create({ model, messages: [...messages, said, result], tools });
    return { name: call.function.name, arguments: JSON.parse(call.function.arguments), answer: last.choices[0].message.content };
  },
  async shaped({ model, schema }) {
    const form = { type: "json_schema", json_schema: { name: "forecast", strict: true, schema } };
    const answer = await client().chat.completions.create({ model, messages, response_format: form });
    return JSON.parse(answer.choices[0].message.content);
  },
  async vectors({ embedder, texts }) {
    const found = await client().embeddings.create({ model: embedder, input: texts });
    return found.data.map((one) => one.embedding);
  },
};

const responses = {
  async whole(model, key) {
    const answer = await client(key).responses.create({ model, input: QUESTION });
    return { text: answer.output_text, usage: tokens(answer.usage), finish: answer.status, id: answer._request_id };
  },
  async streamed(model, heard, headers) {
    let last = null;
    const body = { model, input: QUESTION, stream: true };
    for await (const event of await client().responses.create(body, { headers })) {
      if (event.type === "response.output_text.delta") heard.push(event.delta);
      last = event.response ?? last;
    }
    return { text: heard.join(""), usage: last?.usage ? tokens(last.usage) : null, finish: last?.status ?? null, id: null };
  },
  async tool({ model, tool }) {
    const tools = [{ type: "function", strict: true, ...tool }];
    const asked = await client().responses.create({ model, input: QUESTION, tools });
    const call = asked.output.find((item) => item.type === "function_call");
    const input = [{ type: "function_call_output", call_id: call.call_id, output: "182" }];
    const last = await client().responses.create({ model, input, tools, previous_response_id: asked.id });
    return { name: call.name, arguments: JSON.parse(call.arguments), answer: last.output_text };
  },
  async shaped({ model, schema }) {
    const text = { format: { type: "json_schema", name: "forecast", strict: true, schema } };
    const answer = await client().responses.create({ model, input: QUESTION, text });
    return JSON.parse(answer.output_text);
  },
};

const account = {
  /** Upload a file, find it, read it and delete it. */
  async files({ content }) {
    const { files } = client();
    const sent = await files.create({ file: await toFile(Buffer.from(content), "weir.jsonl"), purpose: "batch" });
    const found = await files.retrieve(sent.id);
    const listed = [];
    for await (const one of files.list({ purpose: "batch" })) listed.push(one.id);
    const read = await (await files.content(sent.id)).text();
    const { deleted } = await files.delete(sent.id);
    const gone = await files.retrieve(sent.id).catch((error) => error.status);
    const is_listed = listed.length === 1 && listed[0] === sent.id;
    return { name: found.filename, bytes: found.bytes, is_listed, content: read, is_deleted: deleted, gone };
  },
  /** Have the plan's lines answered as a batch, which is waited for; cancel a second one. */
  async batch({ lines, long }) {
    const { batches, files } = client();
    const ordered = async (text) => {
      const sent = await files.create({ file: await toFile(Buffer.from(text), "lines.jsonl"), purpose: "batch" });
      return batches.create({ input_file_id: sent.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
    };
    let batch = await ordered(lines);
    const first = batch.status;
    while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
      await setTimeout(100);
      batch = await batches.retrieve(batch.id);
    }
    const results = await (await files.content(batch.output_file_id)).text();
    const answers = results.trim().split("\n").map((line) => JSON.parse(line));
    const other = await ordered(long);
    const cancelled = await batches.cancel(other.id);
    const listed = [];
    for await (const one of batches.list()) listed.push(one.id);
    return {
      statuses: [first, batch.status],
      answers: Object.fromEntries(answers.map((one) => [one.custom_id, one.response.body.choices[0].message.content])),
      counts: batch.request_counts,
      are_listed: listed.toSorted().join() === [batch.id, other.id].toSorted().join(),
      cancelled: ["cancelling", "cancelled"].includes(cancelled.status),
    };
  },
  /** Talk over a Realtime connection, in text. */
  async realtime({ voice: model }) {
    const connection = new OpenAIRealtimeWS({ model, options: { createConnection: unencrypted } }, client());
    const content = [{ type: "input_text", text: QUESTION }];
    return spoken(connection, "response.done", [
      { type: "conversation.item.create", item: { type: "message", role: "user", content } },
      { type: "response.create", response: { output_modalities: ["text"] } },
    ]);
  },
  /** Ask for a response over a connection. */
  async socket({ model }) {
    return spoken(new ResponsesWS(client()), "response.completed", [{ type: "response.create", model, input: QUESTION }]);
  },
};

/** Connect where TLS would end: for Realtime this client knows `wss:` alone, whatever its base URL says. */
const unencrypted = () => {
  const { hostname: host, port } = new URL(process.env.OPENAI_BASE_URL);
  return connect({ host, port });
};

/** Send these events as soon as a connection is open; return what is said until the last one comes. */
async function spoken(connection, end, events) {
  let text = "";
  const done = new Promise((resolve, reject) => {
    connection.on("event", (event) => {
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === end) resolve(event.response);
    });
    connection.on("error", reject);
  });
  connection.socket.once("open", () => events.forEach((event) => connection.send(event)));
  try {
    const { usage, output } = await done;
    return { text, whole: output.at(-1).content[0].text, usage: tokens(usage) };
  } finally {
    connection.close();
  }
}

/** Return a way to ask by the AI SDK: `pick` chooses the kind of model. */
function byAI(pick) {
  const model = (name, key) => pick(createOpenAI({ apiKey: key ?? process.env.OPENAI_API_KEY }))(name);
  const usage = (told) => [told.inputTokens, told.outputTokens, told.totalTokens];
  return {
    async whole(name, key) {
      const { text, usage: told, finishReason, response } = await generateText({ model: model(name, key), prompt: QUESTION });
      return { text, usage: usage(told), finish: finishReason, id: response.headers["x-request-id"] };
    },
    async streamed(name, heard, headers) {
      const result = streamText({ model: model(name), prompt: QUESTION, headers, onError() {} });
      for await (const part of result.fullStream) {
        if (part.type === "text-delta") heard.push(part.text);
        if (part.type === "error") throw part.error;
      }
      return { text: await result.text, usage: usage(await result.usage), finish: await result.finishReason, id: null };
    },
    async tool({ model: name, tool: about }) {
      const calls = [];
      const execute = async (given) => {
        calls.push(given);
        return "182";
      };
      const described = { description: about.description, inputSchema: jsonSchema(about.parameters) };
      const tools = { [about.name]: tool({ ...described, execute }) };
      const result = await generateText({ model: model(name), prompt: QUESTION, tools, stopWhen: stepCountIs(4) });
      return { name: about.name, arguments: calls[0], answer: result.text };
    },
    async shaped({ model: name, schema }) {
      const result = await generateObject({ model: model(name), prompt: QUESTION, schema: jsonSchema(schema) });
      return result.object;
    },
    async vectors({ embedder, texts }) {
      const kind = createOpenAI().textEmbeddingModel(embedder);
      return (await embedMany({ model: kind, values: texts })).embeddings;
    },
  };
}

/** Return what an error tells: itself, or the last one that it stands for. */
function told(error) {
  const cause = error.lastError ?? error.cause ?? {};
  const inner = error.data?.error ?? cause.data?.error ?? error.error ?? {};
  return {
    class: error.constructor?.name ?? "",
    says: String(error.message ?? JSON.stringify(error)).slice(0, 500),
    status: error.status ?? error.statusCode ?? cause.statusCode ?? null,
    code: error.code ?? inner.code ?? null,
    id: error.requestID ?? (error.responseHeaders ?? cause.responseHeaders)?.["x-request-id"] ?? null,
  };
}

async function failure(way, [model, key]) {
  try {
    await way.whole(model, key);
  } catch (error) {
    return told(error);
  }
  return {};
}

async function broken(way, model) {
  const heard = [];
  let error = {};
  try {
    await way.streamed(model, heard);
  } catch (raised) {
    error = told(raised);
  }
  return { text: heard.join(""), ...error };
}

/** Return the results of calls by name, one after the other. */
async function each(cases, call) {
  const results = {};
  for (const [name, one] of Object.entries(cases)) results[name] = await call(one);
  return results;
}

/** Return what a call brings, or `{raised: …}`. */
async function tried(asking) {
  try {
    return await asking;
  } catch (error) {
    return { raised: told(error) };
  }
}

/** Return what comes of what an app can do of these things. */
async function tryAll(able, names) {
  const seen = {};
  for (const name of names) if (able?.[name]) seen[name] = await tried(able[name](plan));
  return seen;
}

async function take([name, way]) {
  const [pieces, words] = [[], []];
  const seen = {
    whole: await tried(way.whole(plan.model, plan.key)),
    streamed: await tried(way.streamed(plan.model, pieces)),
    pieces,
    buffered: await tried(way.streamed(plan.model, words, plan.buffer)),
    words,
    late: await tried(way.streamed(plan.late, [])),
    recovered: await tried(way.whole(plan.recovers[name], plan.key)),
    ...(await tryAll(way, ["tool", "shaped", "vectors"])),
    failures: await each(plan.failures, (one) => failure(way, one)),
    broken: await each(plan.broken, (one) => broken(way, one)),
  };
  return [name, seen];
}

const locked = (name) => JSON.parse(readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url))).version;
const isOfficial = process.argv[2] === "openai";
const ways = isOfficial
  ? { chat, responses }
  : { chat: byAI((made) => made.chat), responses: byAI((made) => made.responses) };
const taken = Object.fromEntries(await Promise.all(Object.entries(ways).map(take)));
const also = isOfficial ? await tryAll(account, Object.keys(account)) : {};
const seen = { version: isOfficial ? VERSION : locked("ai"), ways: taken, also };
process.stdout.write(JSON.stringify(seen));
