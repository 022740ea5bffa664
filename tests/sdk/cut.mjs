// A stream that the upstream cuts: the SDK must throw, never end as if all were well. Usage as client.mjs.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
let thrown = null;
try {
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "hi" }],
    stream: true,
  });
  for await (const event of stream) void event;
} catch (error) {
  thrown = { name: error.constructor.name, message: error.message };
}
console.log(JSON.stringify({ thrown }));
