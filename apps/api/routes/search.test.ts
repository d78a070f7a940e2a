import { pictureSearchView } from '@cairn/contract';
import { plainPng } from '@cairn/testing';
import { storeSearchableModel } from '@cairn/testing/searchable-model';
import { beforeAll, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { api, call, harness, prisma, secrets, store } = await openTestApi();
const picture = (colour: readonly [number, number, number]) => plainPng({ width: 60, height: 40, colour });

beforeAll(async () => {
  const runId = await harness.submit({ name: 'registered' });
  await harness.playAll(runId);
  await storeSearchableModel({ prisma, store }, runId, [
    { id: 'red0', bytes: picture([230, 20, 20]) },
    { id: 'green1', bytes: picture([20, 230, 20]) },
    { id: 'blue2', bytes: picture([20, 20, 230]) },
    { id: 'grey3', bytes: picture([120, 120, 120]) },
  ]);
});

test('a picture finds itself first among the features of a registered model, and nothing else than a picture is searched', async () => {
  const search = (octets: Buffer, query: Record<string, string> = {}) =>
    call('submitter', 'POST', '/v1/search', { octets, query: { model: 'toy', topK: '3', ...query } });
  const { status, json } = await search(picture([20, 20, 230]));
  expect({ status, json }).toMatchObject({ status: 200 });
  const view = pictureSearchView.parse(json);
  expect(view).toMatchObject({ model: 'toy@1', dataset: 'toy@1', galleryRows: 4 });
  expect(view.items.map(({ rank }) => rank)).toEqual([1, 2, 3]);
  expect(view.items[0]).toMatchObject({ imageId: 'blue2', label: 42, score: expect.closeTo(1, 2) });

  expect((await search(Buffer.from('<svg/>'))).json).toMatchObject({ status: 422, code: 'unreadable_image' });
  expect((await search(Buffer.alloc(0))).json).toMatchObject({ status: 400 });
  expect((await search(picture([0, 0, 0]), { model: 'unknown' })).json).toMatchObject({
    status: 404,
    detail: expect.stringContaining('unknown'),
  });
  expect((await call('viewer', 'POST', '/v1/search', { octets: picture([0, 0, 0]), query: { model: 'toy' } })).status).toBe(403);

  await prisma.artifact.updateMany({ where: { kind: 'features' }, data: { bytes: 200_000_000 } });
  expect((await search(picture([20, 20, 230]))).json).toMatchObject({
    ...{ status: 400, detail: expect.stringContaining('200000000 bytes; the service searches at most 100000000') },
    details: { remedy: expect.stringContaining('CAIRN_CACHE_MB') },
  });
});
