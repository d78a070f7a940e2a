import { attemptFileList } from '@cairn/contract';
import { keepTensorBoardFiles, tensorBoardFolders } from '@cairn/storage';
import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, store, call, callAsAttempt, openReplica, secrets } = await openTestApi();
const name = 'events.out.tfevents.1767322985.7';

/** A running attempt at a training stage that has staged its curves. */
async function attemptWithCurves(): Promise<string> {
  const runId = await harness.submit();
  await harness.play(runId, 'prepare');
  const [id = ''] = await harness.startAttempts(runId, 'first');
  await store.put(`${tensorBoardFolders(id).staged}/${name}`, Buffer.from([0, 255, 10]));
  return id;
}
const trained = await attemptWithCurves();

test("an attempt's event files can be listed and downloaded, even after its staging folder is removed", async () => {
  const check = async () => {
    const list = await call('viewer', 'GET', `/v1/attempts/${trained}/tensorboard`);
    const file = await call('viewer', 'GET', `/v1/attempts/${trained}/tensorboard/${name}`);
    expect(attemptFileList.parse(list.json).items).toMatchObject([{ name, bytes: 3 }]);
    expect(file).toMatchObject({ status: 200, headers: { 'content-type': 'application/octet-stream', 'content-length': '3' } });
  };
  await check();
  await keepTensorBoardFiles(store, trained);
  await store.removePrefix(`staging/${trained}`);
  await check();
});

test('a missing file, a file outside the folder, and an unknown attempt are rejected', async () => {
  const base = `/v1/attempts/${trained}/tensorboard`;
  expect((await call('viewer', 'GET', `${base}/other`)).json).toMatchObject({
    code: 'not_found',
    detail: expect.stringContaining('no event file other'),
  });
  expect((await call('viewer', 'GET', `${base}/..%2Fcheckpoint.pt`)).status).toBe(400);
  expect((await call(null, 'GET', base)).status).toBe(401);
  expect((await call('viewer', 'GET', '/v1/attempts/att_01kaz4m8q2v7c9x3t5b6n8w0yd/tensorboard')).status).toBe(404);
});
