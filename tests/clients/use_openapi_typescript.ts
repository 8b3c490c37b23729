/** Uses the types made by openapi-typescript, with openapi-fetch. */

import { strict as assert } from "node:assert";
import createClient from "openapi-fetch";
import type { components, paths } from "./types";

const ROWS = "id,text\n1,a red rose\n2,a green leaf\n";
const LABELS = ["red", "green"];
const client = createClient<paths>({
  baseUrl: process.env.URL,
  headers: { Authorization: `Bearer ${process.env.KEY}` },
});

async function main(): Promise<void> {
  const texts: components["schemas"]["ClassifyBody"]["input"] = ["a red rose"];
  const sorted = await client.POST("/v1/classify", { body: { input: texts, labels: LABELS } });
  assert.ok(sorted.data && "data" in sorted.data, JSON.stringify(sorted.error));
  assert.equal(sorted.data.data[0].object, "classification");

  const trained = await client.POST("/v1/train", {
    body: { input: LABELS.map((label) => ({ label, text: `something ${label}` })) },
  });
  assert.ok(trained.data && "version" in trained.data, JSON.stringify(trained.error));

  const sent = await client.POST("/v1/files", {
    body: { file: ROWS, purpose: "batch" },
    bodySerializer: (body) => {
      const form = new FormData();
      form.append("file", new Blob([body.file]), "rows.csv");
      form.append("purpose", body.purpose);
      return form;
    },
  });
  assert.ok(sent.data, JSON.stringify(sent.error));

  const batch = await client.POST("/v1/batches", {
    body: { input_file_id: sent.data.id, classify: { labels: LABELS }, output_format: "parquet" },
  });
  assert.ok(batch.data && "input_file_id" in batch.data, JSON.stringify(batch.error));
  const batch_id = batch.data.id;
  const events = await client.GET("/v1/batches/{batch_id}/events", {
    params: { path: { batch_id } },
    parseAs: "text",
  });
  assert.ok(events.data?.includes('"status":"completed"'));
  const done = await client.GET("/v1/batches/{batch_id}", { params: { path: { batch_id } } });
  const output = await client.GET("/v1/files/{file_id}/content", {
    params: { path: { file_id: String(done.data?.output_file_id) } },
    parseAs: "arrayBuffer",
  });
  assert.ok(output.data);
  assert.equal(Buffer.from(output.data).toString("latin1", 0, 4), "PAR1");
}

main().catch((reason) => {
  console.error(reason);
  process.exit(1);
});
