// The official Node client on streams of every form: reads each that its plan on standard input
// names, and prints what it heard of each as JSON.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const plan = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ maxRetries: 0 });

const ways = {
  async chat(name, heard) {
    const messages = [{ role: "user", content: name }];
    for await (const chunk of await client.chat.completions.create({ model: plan.model, messages, stream: true })) {
      for (const choice of chunk.choices) if (!choice.index) heard.said += choice.delta.content ?? "";
    }
  },
  async responses(name, heard) {
    for await (const event of await client.responses.create({ model: plan.model, input: name, stream: true })) {
      if (event.type === "response.output_text.delta") heard.said += event.delta;
    }
  },
};

const rows = {};
for (const [way, names] of Object.entries(plan.rows)) {
  for (const name of names) {
    const heard = (rows[name] = { said: "", error: null });
    try {
      await ways[way](name, heard);
    } catch (error) {
      if (!(error instanceof OpenAI.APIError)) throw error;
      heard.error = { class: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
    }
  }
}
process.stdout.write(JSON.stringify({ version: VERSION, rows }));
