// Apps on the official Node client and on the AI SDK; the argument says which, `openai` or `ai`.
// Each finds the provider by the standard two variables alone.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
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
  async streamed(model, heard) {
    const body = { model, messages, stream: true, stream_options: { include_usage: true } };
    const said = { usage: null, finish: null, id: null };
    for await (const chunk of await client().chat.completions.create(body)) {
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
  async streamed(model, heard) {
    let last = null;
    for await (const event of await client().responses.create({ model, input: QUESTION, stream: true })) {
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

/** Return a way to ask by the AI SDK: `pick` chooses the kind of model. */
function byAI(pick) {
  const model = (name, key) => pick(createOpenAI({ apiKey: key ?? process.env.OPENAI_API_KEY }))(name);
  const usage = (told) => [told.inputTokens, told.outputTokens, told.totalTokens];
  return {
    async whole(name, key) {
      const { text, usage: told, finishReason, response } = await generateText({ model: model(name, key), prompt: QUESTION });
      return { text, usage: usage(told), finish: finishReason, id: response.headers["x-request-id"] };
    },
    async streamed(name, heard) {
      const result = streamText({ model: model(name), prompt: QUESTION, onError() {} });
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

async function take(way) {
  const heard = [];
  const seen = { whole: await tried(way.whole(plan.model, plan.key)), streamed: await tried(way.streamed(plan.model, heard)) };
  seen.pieces = heard.join("");
  for (const name of ["tool", "shaped", "vectors"]) if (way[name]) seen[name] = await tried(way[name](plan));
  seen.failures = await each(plan.failures, (one) => failure(way, one));
  seen.broken = await each(plan.broken, (one) => broken(way, one));
  return seen;
}

const locked = (name) => JSON.parse(readFileSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url))).version;
const isOfficial = process.argv[2] === "openai";
const ways = isOfficial
  ? { chat, responses }
  : { chat: byAI((made) => made.chat), responses: byAI((made) => made.responses) };
const seen = { version: isOfficial ? VERSION : locked("ai"), ways: await each(ways, take) };
process.stdout.write(JSON.stringify(seen));
