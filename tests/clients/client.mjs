// An app on the official Node client: does what its plan on standard input says, and prints what it
// saw as JSON. Nothing but the standard two variables leads it to the gateway.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const plan = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI();
const chat = (body) => client.chat.completions.create(body);

/** Read a stream into `seen`: what it says, how it ends, which usage it tells. */
async function read(stream, seen) {
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.finish = choice.finish_reason ?? seen.finish;
    }
    if (chunk.usage) seen.usage.push(chunk.usage.total_tokens);
  }
  return seen;
}

const nothing = () => ({ text: "", finish: null, usage: [] });
const streamed = async (body) => read(await chat({ ...body, stream: true }), nothing());

/** Return what an error tells. */
function told(error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  const names = ["x-should-retry", "x-headworks-call"];
  return {
    class: error.constructor.name,
    status: error.status ?? null,
    code: error.code ?? null,
    request_id: error.requestID ?? null,
    headers: Object.fromEntries(names.map((name) => [name, error.headers?.get(name) ?? null])),
  };
}

/** Return how a call fails, {} if it does not. */
async function failure({ key, body }) {
  try {
    await client.withOptions({ apiKey: key }).chat.completions.create(body);
  } catch (error) {
    return told(error);
  }
  return {};
}

/** Return what came of a stream before it failed, and how it failed. */
async function broken(model) {
  const seen = nothing();
  try {
    await read(await chat({ ...plan.body, model, stream: true }), seen);
  } catch (error) {
    Object.assign(seen, told(error));
  }
  return seen;
}

/** Return the calls' results by name, one after the other. */
async function each(names, call) {
  const results = {};
  for (const name of names) results[name] = await call(name);
  return results;
}

const { data: whole, response, request_id } = await chat(plan.body).withResponse();
const asked = await chat({ ...plan.body, tools: plan.tools });
const [call] = asked.choices[0].message.tool_calls;
const result = { role: "tool", tool_call_id: call.id, content: "182" };
const turns = [...plan.body.messages, asked.choices[0].message, result];
const answered = await chat({ model: plan.body.model, messages: turns });
const shaped = await chat({ ...plan.body, response_format: plan.format });
const events = [];
for await (const event of await client.responses.create({ ...plan.response, stream: true })) {
  events.push(event);
}

const seen = {
  version: VERSION,
  text: whole.choices[0].message.content,
  tokens: whole.usage.total_tokens,
  ids: [whole._request_id, response.headers.get("x-headworks-call"), request_id],
  streamed: await streamed(plan.body),
  streamed_with_usage: await streamed({ ...plan.body, stream_options: { include_usage: true } }),
  tool: [call.function.name, JSON.parse(call.function.arguments), turns],
  answered: answered.choices[0].message.content,
  shaped: JSON.parse(shaped.choices[0].message.content),
  vectors: (await client.embeddings.create(plan.texts)).data.map((one) => one.embedding),
  response: (await client.responses.create(plan.response)).output_text,
  events: events.map((event) => [event.sequence_number, event.type]),
  event_text: events.at(-1).response.output.at(-1).content[0].text,
  models: (await client.models.list()).data.map((model) => model.id),
  failures: await each(Object.keys(plan.failures), (name) => failure(plan.failures[name])),
  broken: await each(plan.broken, broken),
};
process.stdout.write(JSON.stringify(seen));
