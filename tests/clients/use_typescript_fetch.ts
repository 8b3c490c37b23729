/** Uses a client made by openapi-generator's typescript-fetch, as it comes out. */

import { strict as assert } from "node:assert";
import {
  BatchesApi, ClassifyApi, Configuration, FilesApi, TrainApi, UploadsApi, instanceOfBatchObject,
} from "./client";

const ROWS = "id,text\n1,a red rose\n2,a green leaf\n";
const LABELS = ["red", "green"];
const configuration = new Configuration({
  basePath: process.env.URL,
  accessToken: process.env.KEY,
});

async function main(): Promise<void> {
  for (const input of [["a red rose"], "a red rose", [{ text: "a red rose" }]]) {
    const sorted = await new ClassifyApi(configuration).classify({
      classifyBody: { input, labels: LABELS },
    });
    assert.ok("data" in sorted && LABELS.includes(String(sorted.data[0].prediction)));
  }

  const trained = await new TrainApi(configuration).train({
    trainBody: { input: LABELS.map((label) => ({ label, text: `something ${label}` })) },
  });
  assert.deepEqual(trained.labels, LABELS);

  const files = new FilesApi(configuration);
  const sent = await files.sendFile({ file: new File([ROWS], "rows.csv"), purpose: "batch" });
  assert.equal(sent.bytes, ROWS.length);

  const uploads = new UploadsApi(configuration);
  const upload = await uploads.createUpload({
    newUploadBody: { bytes: ROWS.length, filename: "rows.csv", purpose: "batch" },
  });
  const part = await uploads.sendUploadPart({ uploadId: upload.id, data: new Blob([ROWS]) });
  const whole = await uploads.completeUpload({
    uploadId: upload.id,
    completeUploadBody: { partIds: [part.id] },
  });

  const batches = new BatchesApi(configuration);
  const batch = await batches.createBatch({
    batchBody: {
      inputFileId: whole.file?.id,
      classify: { labels: LABELS },
      outputFormat: "parquet",
    },
  });
  assert.ok(instanceOfBatchObject(batch));
  const events = await batches.followBatch({ batchId: batch.id });
  assert.ok(events?.includes('"status":"completed"'));
  const done = await batches.getBatch({ batchId: batch.id });
  assert.equal(done.requestCounts.completed, 2);
  const output = await files.getFileContent({ fileId: String(done.outputFileId) });
  assert.equal((await output.text()).slice(0, 4), "PAR1");
}

main().catch((reason) => {
  console.error(reason);
  process.exit(1);
});
