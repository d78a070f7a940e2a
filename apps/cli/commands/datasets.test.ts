import { mkdir, mkdtemp, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

/** A home whose service refuses every dataset, and a folder next to it. */
async function openHome() {
  const server = createServer((_, response) => {
    response.writeHead(422, { 'content-type': 'application/problem+json' });
    response.end(JSON.stringify({ type: 'x', title: 'x', status: 422, code: 'missing_file', detail: 'not there', retry: false }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'cairn-datasets-')));
  onTestFinished(() => rm(folder, { recursive: true }));
  const home = join(folder, 'home');
  await mkdir(home);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await writeFile(join(home, 'client.json'), JSON.stringify({ url, token: 'secret' }));
  const roots = async () => JSON.parse(await readFile(join(home, 'dataset-roots.json'), 'utf8'));
  return { folder, home, url, roots };
}

test('the owner of a home allows folders for its datasets by their real paths', async () => {
  const { folder, home, roots } = await openHome();
  await mkdir(join(folder, 'images'));
  await mkdir(join(folder, 'other disk'));
  await symlink('images', join(folder, 'link'));
  const add = (...more: string[]) =>
    runTestCli(['dataset', 'add', 'glr', '--root', join(folder, 'link'), '--metadata', join(folder, 'nowhere'), ...more], {
      env: { CAIRN_HOME: home },
    });
  expect((await add()).err).toContain('not there');
  expect(await roots()).toEqual([join(folder, 'images')]);
  await add('--allow', join(folder, 'other disk'));
  expect(await roots()).toEqual([join(folder, 'images'), join(folder, 'other disk')]);
  expect((await stat(join(home, 'dataset-roots.json'))).mode & 0o777).toBe(0o600);
});

test('a service given by its address reads only what its operator allows', async () => {
  const { folder, home, url, roots } = await openHome();
  await runTestCli(['dataset', 'add', 'glr', '--root', folder, '--metadata', folder], { url, env: { CAIRN_HOME: home } });
  await expect(roots()).rejects.toThrow('ENOENT');
});

test('an address is the place of everything, and its settings belong to the home that allows it', async () => {
  const bodies: unknown[] = [];
  const server = createServer((request, response) => {
    request.on('data', (data) => bodies.push(JSON.parse(String(data))));
    request.on('end', () => response.writeHead(422, { 'content-type': 'application/problem+json' }).end('{"status":422}'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { home, roots } = await openHome();
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await writeFile(join(home, 'client.json'), JSON.stringify({ url, token: 'secret' }));
  const address = 's3://landmarks/gldv2';
  await runTestCli(['dataset', 'add', 'glr', `${address}?endpoint=https://minio:9000`], { env: { CAIRN_HOME: home } });
  expect(await roots()).toEqual([`${address}?endpoint=https://minio:9000`]);
  expect(bodies).toEqual([{ name: 'glr', source: { kind: 'tars', root: address, metadata: address, countries: null } }]);
  const without = await runTestCli(['dataset', 'add', 'glr'], { env: { CAIRN_HOME: home } });
  expect(without.err).toContain('cairn dataset add NAME s3://bucket/prefix');
});
