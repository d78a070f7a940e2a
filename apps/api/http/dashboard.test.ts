import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { findDashboard } from './dashboard.ts';

const folder = await mkdtemp(join(tmpdir(), 'cairn-dashboard-'));
afterAll(() => rm(folder, { recursive: true }));
const page = '<!doctype html><script type="module" src="/assets/index-B7f2.js"></script>';
const script = 'console.log("the dashboard");'.repeat(20);
await mkdir(join(folder, 'assets'));
for (const [name, text] of [
  ['index.html', page],
  ['favicon.svg', '<svg/>'],
  ['assets/index-B7f2.js', script],
] as const) {
  await writeFile(join(folder, name), text);
  await writeFile(join(folder, `${name}.br`), brotliCompressSync(text));
  await writeFile(join(folder, `${name}.gz`), gzipSync(text));
}

const { openReplica, api: withoutDashboard, secrets } = await openTestApi();
const dashboard = findDashboard(folder);
const { api } = await openReplica({ dashboard });
const navigation = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };
const get = (url: string, headers: Record<string, string> = {}) => api.inject({ url, headers });

describe('the page', () => {
  test.each(['/', '/runs', '/runs/run_1?tab=logs', '/index.html'])(
    'is served at %s, under a strict policy, and asked for again',
    async (url) => {
      const { statusCode, body, headers } = await get(url, navigation);
      expect([statusCode, body]).toEqual([200, page]);
      expect(headers).toMatchObject({
        'content-type': expect.stringContaining('text/html'),
        'cache-control': 'no-cache',
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringContaining("script-src 'self';"),
      });
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("style-src 'self' 'unsafe-inline'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe-eval');
    },
  );

  test('is not sent again while it has not changed', async () => {
    const { headers } = await get('/', navigation);
    const again = await get('/', { ...navigation, 'if-none-match': String(headers.etag) });
    expect([again.statusCode, again.body]).toEqual([304, '']);
  });

  test.each([
    ['GET', '/v1/nothing', navigation],
    ['GET', '/docs/nothing', navigation],
    ['GET', '/internal/v1/attempts/att_1', navigation],
    ['GET', '/assets/index-old.js', navigation],
    ['GET', '/nothing', { accept: 'application/json' }],
    ['GET', '/nothing', {}],
    ['POST', '/runs', navigation],
  ] as const)('is not the answer to %s %s with %j', async (method, url, headers) => {
    const answer = await api.inject({ method, url, headers });
    expect(answer.statusCode).toBe(404);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.json()).toMatchObject({ code: 'not_found' });
  });

  test('leaves the API as it is', async () => {
    expect((await get('/v1/me', navigation)).statusCode).toBe(401);
    expect((await get('/v1/me', { authorization: `Bearer ${secrets.viewer}` })).headers['cache-control']).toBe('no-store');
    expect((await api.inject({ method: 'DELETE', url: '/v1/me' })).json()).toMatchObject({ code: 'method_not_allowed' });
    expect((await get('/healthz')).json()).toEqual({ status: 'ok' });
    expect((await get('/docs/', navigation)).body).toContain('Cairn API');
    expect(Object.keys((await get('/openapi.json')).json().paths)).not.toContain('/assets/index-B7f2.js');
  });

  test('is absent where the dashboard is not built', async () => {
    expect(findDashboard(join(folder, 'assets'))).toBeNull();
    expect((await withoutDashboard.inject({ url: '/', headers: navigation })).json()).toMatchObject({ code: 'not_found' });
  });
});

describe('a file named by its content', () => {
  const url = '/assets/index-B7f2.js';
  test.each([
    ['br, gzip', 'br', brotliDecompressSync],
    ['gzip', 'gzip', gunzipSync],
  ] as const)('is sent compressed to a browser that accepts %s, and kept for a year', async (accepted, encoding, decompress) => {
    const answer = await get(url, { 'accept-encoding': accepted });
    expect(answer.headers).toMatchObject({
      'content-encoding': encoding,
      'content-type': expect.stringContaining('javascript'),
      'cache-control': 'public, max-age=31536000, immutable',
      vary: expect.stringMatching(/accept-encoding/i),
    });
    expect(decompress(answer.rawPayload).toString()).toBe(script);
  });

  test('is sent as it is to others', async () => {
    const answer = await get(url, {});
    expect(answer.headers['content-encoding']).toBeUndefined();
    expect(answer.body).toBe(script);
  });

  test('is not found outside the folder', async () => {
    for (const path of ['/assets/../../package.json', '/assets/%2e%2e/%2e%2e/package.json', '/assets/..%2findex.html', '/index.html.br'])
      expect((await get(path)).statusCode, path).toBe(404);
  });
});

test('the build changes with the page', async () => {
  const first = (await get('/version.json')).json();
  expect(first).toEqual({ build: dashboard?.build });
  await writeFile(join(folder, 'index.html'), `${page}\n`);
  expect(findDashboard(folder)?.build).not.toBe(first.build);
});
