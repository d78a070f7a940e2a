import { inTransaction } from '@cairn/db';
import { createSecretKeys } from '@cairn/runtime';
import { afterAll, expect, test } from 'vitest';
import { addSecret, listSecretKeys, openSecrets, replaceSecret, resealSecrets } from './sealed-secrets.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { prisma, ctx } = harness;
const [k1, k2] = [
  { id: 'k1', key: '1'.repeat(32) },
  { id: 'k2', key: '2'.repeat(32) },
];
const withKeys = (...keys: { id: string; key: string }[]) => ({ ...ctx, secretKeys: createSecretKeys(keys) });
const ownerOf = (ownerId: string) => ({ projectId: 'default', ownerId });

test('a key is replaced without losing a secret, and only rows with another key are written', async () => {
  const before = withKeys(k1);
  const during = withKeys(k2, k1);
  for (let index = 0; index < 5; index += 1) await addSecret(before, prisma, ownerOf(`row-${index}`), `secret ${index}`);
  await addSecret(during, prisma, ownerOf('newest'), 'of k2');
  expect(await listSecretKeys(during, 'default')).toEqual({
    items: [
      { keyId: 'k2', state: 'seals', secrets: 1 },
      { keyId: 'k1', state: 'opens', secrets: 5 },
    ],
  });
  await expect(resealSecrets(withKeys(k2), ada)).rejects.toThrow(
    'The secret of row-0 is not resealed: A secret is sealed with the key "k1"',
  );
  expect((await listSecretKeys(withKeys(k2), 'default')).items[1]).toEqual({ keyId: 'k1', state: 'missing', secrets: 5 });

  const untouched = await prisma.sealedSecret.findFirstOrThrow({ where: ownerOf('newest') });
  await resealSecrets(during, ada, { together: 3 });
  await resealSecrets(during, ada, { together: 3 });
  expect(await listSecretKeys(withKeys(k2), 'default')).toEqual({ items: [{ keyId: 'k2', state: 'seals', secrets: 6 }] });
  expect(await openSecrets(withKeys(k2), prisma, ownerOf('row-4'))).toEqual(['secret 4']);
  expect(await prisma.sealedSecret.findFirstOrThrow({ where: ownerOf('newest') })).toEqual(untouched);
  const entries = await prisma.auditEntry.findMany({ where: { action: 'secrets.reseal' }, orderBy: { id: 'asc' } });
  expect(entries.map(({ details }) => details)).toEqual([{ secrets: 3 }, { secrets: 2 }]);
  expect(JSON.stringify(entries, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain('secret 1');
});

test('a row cannot use the secret of another', async () => {
  await addSecret(ctx, prisma, ownerOf('mine'), 'mine');
  await prisma.sealedSecret.updateMany({ where: ownerOf('mine'), data: { ownerId: 'stolen' } });
  await expect(openSecrets(ctx, prisma, ownerOf('stolen'))).rejects.toMatchObject({ code: 'invalid_configuration' });
});

test('a replaced secret is accepted until its end, and there are never more than two', async () => {
  const owner = ownerOf('rotated');
  const replace = (text: string, keepUntil: Date | null) =>
    inTransaction(prisma, (tx) => replaceSecret(ctx, tx, owner, { text, keepUntil }));
  const [past, future] = [new Date(0), new Date('2100-01-01')];
  await addSecret(ctx, prisma, owner, 'first');
  await replace('second', future);
  expect(await openSecrets(ctx, prisma, owner)).toEqual(['second', 'first']);
  await replace('third', future);
  expect(await openSecrets(ctx, prisma, owner)).toEqual(['third', 'second']);
  await replace('fourth', past);
  expect(await openSecrets(ctx, prisma, owner)).toEqual(['fourth']);
  await replace('fifth', null);
  expect(await prisma.sealedSecret.count({ where: owner })).toBe(1);
});
