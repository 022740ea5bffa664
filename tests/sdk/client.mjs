// The openai package for Node, as it comes: says what it got as one JSON object on standard output.
// Usage: node client.mjs BASE_URL KEY MODEL
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];

async function streamed(stream, pick) {
  let text = "";
  for await (const event of stream) text += pick(event.choices[0]) ?? "";
  return text;
}

async function failure(work) {
  try {
    await work();
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
  }
  return null;
}

const chat = await client.chat.completions.create({ model, messages });
const completion = await client.completions.create({ model, prompt: "a" });
const embeddings = await client.embeddings.create({ model, input: ["a", "b"], encoding_format: "float" });
const models = await client.models.list();
const wrong = new OpenAI({ baseURL, apiKey: "sk-wrong", maxRetries: 0 });

console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    chatStreamed: await streamed(
      await client.chat.completions.create({ model, messages, stream: true }),
      (choice) => choice.delta.content,
    ),
    completion: completion.choices[0].text,
    completionStreamed: await streamed(
      await client.completions.create({ model, prompt: "a", stream: true }),
      (choice) => choice.text,
    ),
    embeddings: embeddings.data.map((row) => row.embedding),
    models: models.data.map((row) => row.id),
    missing: await failure(() => client.chat.completions.create({ model: "nothing", messages })),
    unauthorised: await failure(() => wrong.models.list()),
    bad: await failure(() => client.chat.completions.create({ model, messages: [] })),
  }),
);
