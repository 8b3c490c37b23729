/** Uses the SDK of OpenAI for JavaScript: files, batches, their event stream, messages of errors. */

import { strict as assert } from "node:assert";
import OpenAI, { toFile } from "openai";
import { Stream } from "openai/streaming";

const ROWS = "id,text\n1,a red rose\n2,a green leaf\n";
const OURS = { classify: { labels: ["red", "green"] }, id_column: "id", output_format: "csv" };
const client = new OpenAI({
  baseURL: `${process.env.URL}/v1`,
  apiKey: process.env.KEY,
  maxRetries: 0,
});

type View = { id: string; status: string; request_counts: { completed: number } };

async function main(): Promise<void> {
  const file = await client.files.create({
    file: await toFile(Buffer.from(ROWS), "rows.csv"),
    purpose: "batch",
  });
  const asked = {
    input_file_id: file.id,
    endpoint: "/v1/classify",
    completion_window: "24h",
    ...OURS,
  };
  const batch = await client.batches.create(asked as unknown as OpenAI.BatchCreateParams);

  const views: View[] = [];
  const events = (await client.get(`/batches/${batch.id}/events`, {
    stream: true,
  })) as Stream<View>;
  for await (const view of events) views.push(view);
  assert.deepEqual([...new Set(views.map((view) => view.id))], [batch.id]);
  assert.equal(views.at(-1)?.status, "completed");
  assert.equal(views.at(-1)?.request_counts.completed, 2);

  const done = await client.batches.retrieve(batch.id);
  const output = await client.files.content(String(done.output_file_id));
  assert.match(await output.text(), /^id,text,prediction/);

  for (const path of ["/classify", "/train"]) {
    await assert.rejects(client.post(path, { body: { input: 7 } }), (error) => {
      assert.ok(error instanceof OpenAI.APIError);
      assert.match(error.message, /input/);
      return true;
    });
  }
  await assert.rejects(client.batches.retrieve("none"), OpenAI.NotFoundError);
}

main().catch((reason) => {
  console.error(reason);
  process.exit(1);
});
