import { createDatabase } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { inTransaction, isUniqueViolation, openDatabase, type Transaction } from './client.ts';
import { migrate } from './migrate.ts';

const database = await createDatabase({ template: { key: 'cairn', migrate: (url) => migrate(url).then(() => undefined) } });
const { prisma, close } = openDatabase({ url: database.url });
afterAll(async () => {
  await close();
  await database.drop();
});

const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (error: unknown) => error,
  );

test('a unique violation is recognized by its code, in typed and in raw statements', async () => {
  const typed = await caught(prisma.project.create({ data: { id: 'default' } }));
  const raw = await caught(prisma.$executeRaw`insert into project (id) values ('default')`);
  expect([typed, raw].map(isUniqueViolation)).toEqual([true, true]);
  // Another error, with the code in its message.
  const words = await caught(prisma.$executeRaw`select 1 / 0 as "23505"`);
  expect([words, new Error('23505')].map(isUniqueViolation)).toEqual([false, false]);
});

test('a transaction is retried after a deadlock, but not after another failure', async () => {
  let runs = 0;
  const failOnceWith = (code: string) => async (tx: Transaction) => {
    runs += 1;
    if (runs === 1) await tx.$executeRawUnsafe(`do $$ begin raise 'an error' using errcode = '${code}'; end $$`);
    return 'done';
  };
  expect(await inTransaction(prisma, failOnceWith('40P01'))).toBe('done');
  runs = 0;
  await expect(inTransaction(prisma, failOnceWith('22012'))).rejects.toThrow('an error');
  expect(runs).toBe(1);
});
