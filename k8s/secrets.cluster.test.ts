// CI runs this when k8s changes, else one time in three; it takes about 5 s.
import { expect, test } from 'vitest';
import { changed, dataOf, environmentOf, everything, minimal, of, podSpecs, render, secretsOf } from './testing/chart.ts';

test('no secret stands outside a Secret', async () => {
  const { manifests } = await render(everything);
  const others = JSON.stringify(manifests.filter(({ kind }) => kind !== 'Secret'));
  for (const secret of secretsOf(manifests)) {
    expect(others).not.toContain(secret);
    expect(others).not.toContain(Buffer.from(secret).toString('base64'));
  }
  expect(secretsOf(manifests)).toEqual(
    expect.arrayContaining([
      'postgres://cairn:password-of-the-database@db:5432/cairn',
      'rediss://:password-of-redis@redis:6379',
      'key-id-of-storage',
      'secret-of-storage',
      'server-key-with-at-least-32-characters',
      'k1:key-for-secrets-of-at-least-32-characters',
      'admin-token-with-24-characters',
    ]),
  );
});

test('with existing Secrets the chart makes none, and pods refer to theirs', async () => {
  const existing = (name: string) => ({ existingSecret: { name, key: 'value' } });
  const { manifests } = await render(
    changed(minimal, {
      database: { url: '', ...existing('db') },
      queue: existing('redis'),
      storage: { existingSecret: 'objects' },
      serverKey: existing('server'),
      secretsKeys: existing('sealing'),
      adminToken: existing('admin'),
    }),
  );
  expect(of(manifests, 'Secret')).toEqual([]);
  const api = environmentOf(manifests, 'cairn-api');
  expect(api.CAIRN_DATABASE_URL).toEqual({ secretKeyRef: { name: 'db', key: 'value' } });
  expect(api.CAIRN_SERVER_KEY).toEqual({ secretKeyRef: { name: 'server', key: 'value' } });
  expect(api.CAIRN_SECRETS_KEYS).toEqual({ secretKeyRef: { name: 'sealing', key: 'value' } });
  expect(environmentOf(manifests, 'cairn-controller').CAIRN_SECRETS_KEYS).toEqual(api.CAIRN_SECRETS_KEYS);
  expect(environmentOf(manifests, 'cairn-task-worker')).not.toHaveProperty('CAIRN_SECRETS_KEYS');
  expect(api.CAIRN_ADMIN_TOKEN).toEqual({ secretKeyRef: { name: 'admin', key: 'value' } });
  expect(environmentOf(manifests, 'cairn-task-worker').CAIRN_QUEUE_URL).toEqual({ secretKeyRef: { name: 'redis', key: 'value' } });
  expect(environmentOf(manifests, 'cairn-migrate').CAIRN_DATABASE_URL).toEqual({ secretKeyRef: { name: 'db', key: 'value' } });
});

test('keys that nobody gives are made at random, long enough, and are the same in every program', async () => {
  const [first, second] = [await render(), await render()].map(({ manifests }) => dataOf(manifests, 'cairn'));
  expect(first?.['server-key']).toMatch(/^[A-Za-z0-9]{48}$/);
  expect(first?.['admin-token']).toMatch(/^cairn_[A-Za-z0-9]{48}$/);
  expect(first?.['secrets-keys']).toMatch(/^k1:[A-Za-z0-9]{48}$/);
  expect(second?.['server-key']).not.toBe(first?.['server-key']);
});

test('a changed secret starts the pods again, and nothing else does', async () => {
  const key = {
    serverKey: { value: 'k'.repeat(32) },
    secretsKeys: { value: `k1:${'s'.repeat(32)}` },
    adminToken: { value: 't'.repeat(32) },
  };
  const [before, same, after] = await Promise.all(
    [{}, {}, { database: { url: 'postgres://cairn:another@db:5432/cairn' } }].map(async (change) =>
      podSpecs((await render(changed(changed(minimal, key), change))).manifests).map(({ annotations }) => annotations['cairn.dev/secrets']),
    ),
  );
  expect(same).toEqual(before);
  // A digest whose digits could be read as a number would be refused by the API server once in a while.
  expect(before?.[0]).toMatch(/^sha256-[0-9a-f]{16}$/);
  expect(after?.[0]).not.toBe(before?.[0]);
});
