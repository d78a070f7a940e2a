import { join } from 'node:path';
import { sha256 } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { literal, openDatabase } from '../duckdb.ts';
import { testFolder } from '../testing/hand-made-collection.ts';
import { planDifference } from './plan-difference.ts';

test('of a list it finds what a feature set has of the same files, the parts with it, and the shards that are the same', async () => {
  await using folder = await testFolder();
  const database = await openDatabase();
  const write = async (name: string, select: string) => {
    const path = join(folder.path, name);
    await database.run(`copy (${select}) to ${literal(path)} (format parquet)`);
    return path;
  };
  const listOf = (name: string, rows: [id: string, changedMs: number][]) =>
    write(
      name,
      `select id as image_id, id || '.jpg' as path, row_number() over () - 1 as image_number, 10 as file_bytes, changed as file_changed_ms
       from (values ${rows.map(([id, changed]) => `('${id}', ${changed})`).join(', ')}) v(id, changed)`,
    );
  const idsOf = (name: string, ids: string[]) => write(name, `select unnest([${ids.map(literal).join(', ')}]) as image_id`);
  const earlierList = await listOf('earlier.parquet', [
    ...(['a', 'b', 'c', 'd', 'e', 'gone'] as const).map((id): [string, number] => [id, 1]),
  ]);
  // c was replaced, f is new.
  const list = await listOf('now.parquet', [
    ['a', 1],
    ['b', 1],
    ['c', 2],
    ['d', 1],
    ['e', 1],
    ['f', 1],
  ]);
  const metadata = [await idsOf('metadata_00000.parquet', ['a', 'b']), await idsOf('metadata_00001.parquet', ['c', 'e', 'gone'])];
  const rejected = [await write('rejected_00001.parquet', `select 'd' as image_id, 'd.jpg' as path, 'too bad' as reason`)];
  const out = join(folder.path, 'known.parquet');
  const plan = { list, earlierList, metadata, rejected, out, shardRows: 2 };
  const known = () => database.rows(`select * from ${literal(out)}`);
  const row = (number: number, id: string, part: number | null, at: number | null, reason: string | null = null) => ({
    image_number: number,
    image_id: id,
    part,
    row: at,
    reason,
  });

  expect(await planDifference({ ...plan, keepsRejected: true })).toEqual({
    ...{ images: 6, known: 4, missing: 1, firstMissing: 'gone' },
    parts: [
      { part: 0, first: 0, last: 1 },
      { part: 1, first: 4, last: 4 },
    ],
    whole: [{ index: 0, rows: 2, idsSha256: sha256('a\nb\n') }],
  });
  expect(await known()).toEqual([row(0, 'a', 0, 0), row(1, 'b', 0, 1), row(3, 'd', null, null, 'too bad'), row(4, 'e', 1, 1)]);
  expect(await planDifference({ ...plan, keepsRejected: false })).toMatchObject({ known: 3 });
  expect((await known()).map(({ image_id }) => image_id)).toEqual(['a', 'b', 'e']);

  // Lists that do not tell their files say nothing about what has changed.
  const bare = await idsOf('bare.parquet', ['a', 'b']);
  expect(await planDifference({ ...plan, keepsRejected: true, earlierList: bare })).toMatchObject({ known: 0, missing: 0 });
  const damaged = planDifference({ ...plan, keepsRejected: true, metadata: [list, join(folder.path, 'none.parquet')] });
  await expect(damaged).rejects.toMatchObject({ code: 'corrupt_artifact' });
  database.close();
});
