import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { ada } from '@cairn/engine/testing';
import { newId, sha256 } from '@cairn/runtime';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { openPlayedService } from '../testing/start-test-service.ts';
import { runTestCli } from '../testing/test-cli.ts';

const { harness, store, url, token, playRun, makeFolder } = await openPlayedService();
const { prisma, engine } = harness;
const onnx = Buffer.alloc(300_000, 'an exported graph. ');
const contents = { 'model.onnx': onnx, 'weights.pt': Buffer.from('a pickle'), 'weights.safetensors': Buffer.from('tensors') };

/** A registered version whose model has these files in the storage. */
async function register(files: Record<string, Buffer>) {
  const runId = await harness.submit({ noReuse: ['export'] });
  await playRun(runId, [0.5, 0.6]);
  const { artifact } = await harness.step(runId, 'export');
  const { id = '', prefix = '' } = artifact ?? {};
  for (const [name, bytes] of Object.entries(files)) await store.put(`${prefix}${name}`, bytes);
  const listed = Object.entries(files).map(([name, bytes]) => ({ name, bytes: bytes.length, sha256: sha256(bytes) }));
  await prisma.artifact.update({ where: { id }, data: { files: listed, fileCount: listed.length } });
  return { id, prefix };
}

let first: { id: string; prefix: string };
beforeAll(async () => {
  first = await register(contents);
  await register({ 'model.onnx': Buffer.from('another') });
  await engine.setAlias({ model: 'toy', alias: 'production' }, { version: 1, reason: 'the first' }, ada);
});

const cairn = (args: string[], service = url) => runTestCli(args, { url: service, env: { CAIRN_TOKEN: token } });
const pull = (reference: string, out: string, service?: string) => cairn(['models', 'pull', reference, '--out', out], service);

/** Passes calls on to the service, and breaks the first answers with a file off after some bytes. */
async function breakingProxy(breaks: number) {
  const ranges: (string | undefined)[] = [];
  let left = breaks;
  const server = createServer(async (request, response) => {
    const headers = {
      authorization: String(request.headers.authorization),
      ...(request.headers.range && { range: request.headers.range }),
    };
    const answer = await fetch(`${url}${request.url}`, { headers });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const { 'content-type': type = '', 'content-range': range } = Object.fromEntries(answer.headers);
    response.writeHead(answer.status, { 'content-type': type, 'content-length': bytes.length, ...(range && { 'content-range': range }) });
    if (!request.url?.endsWith('/model.onnx')) return response.end(bytes);
    ranges.push(request.headers.range);
    left -= 1;
    return left < 0 ? response.end(bytes) : response.write(bytes.subarray(0, 100_000), () => response.socket?.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges };
}

test('an interrupted download goes on from the byte it reached, through broken connections, and a repeated one fetches nothing', async () => {
  const [whole, out] = [await makeFolder('whole'), await makeFolder('pulled')];
  expect((await pull('toy@1', whole)).code).toBe(0);
  // What a killed command leaves.
  await copyFile(join(whole, 'manifest.json'), join(out, 'manifest.json.part'));
  await writeFile(join(out, 'model.onnx.part'), onnx.subarray(0, 100_000));
  const proxy = await breakingProxy(1);
  const pulled = await pull('toy@production', out, proxy.url);
  expect(pulled).toMatchObject({ code: 0, out: expect.stringContaining('toy@1: 2 files') });
  expect(proxy.ranges).toEqual(['bytes=100000-', expect.stringMatching(/^bytes=[12]00000-$/)]);
  // The pickle is left out: the same tensors are there as safetensors.
  expect((await readdir(out)).sort()).toEqual(['card.json', 'card.md', 'manifest.json', 'model.onnx', 'weights.safetensors']);
  expect((await readFile(join(out, 'model.onnx'))).equals(onnx)).toBe(true);
  const manifest = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'));
  expect(manifest).toMatchObject({ model: 'toy', version: 1, files: [{ path: 'model.onnx', sha256: sha256(onnx) }, {}, {}, {}] });
  for (const { path, sha256: digest } of manifest.files) expect(sha256(await readFile(join(out, path)))).toBe(digest);
  expect((await pull('toy@1', out, proxy.url)).err).toContain('model.onnx is already there');
  expect(proxy.ranges).toHaveLength(2);
});

test('versions are never mixed, other folders are left alone, and damaged bytes do not stay', async () => {
  const out = await makeFolder('mixed');
  expect((await pull('toy@1', out)).code).toBe(0);
  const other = await pull('toy@2', out);
  expect(other).toMatchObject({ code: 2, err: expect.stringMatching(/it has toy@1 \(.*\), not toy@2 \(/) });
  const mine = await makeFolder('mine');
  await writeFile(join(mine, 'thesis.tex'), '');
  expect((await pull('toy@1', mine)).err).toContain('it has other files, such as thesis.tex');
  expect((await pull('toy', mine)).err).toContain('toy does not name a version of a model');

  await store.put(`${first.prefix}model.onnx`, Buffer.alloc(onnx.length, 'x'));
  onTestFinished(() => store.put(`${first.prefix}model.onnx`, onnx).then(() => undefined));
  const damaged = join(await makeFolder('damaged'), 'deep');
  await mkdir(damaged);
  expect(await pull('toy@1', damaged)).toMatchObject({ code: 1, err: expect.stringContaining('model.onnx has the SHA-256') });
  expect(await readdir(damaged)).toEqual(['manifest.json.part']);
});

test('a service that sends more than it listed fills no disk: the file is given up and removed, also one that was begun', async () => {
  const proxy = createServer(async (request, response) => {
    if (request.url?.endsWith('/model.onnx')) {
      if (request.headers.range) response.writeHead(206, { 'content-range': `bytes 100000-299999/${onnx.length}` });
      return response.end(Buffer.alloc(2_000_000));
    }
    const answer = await fetch(`${url}${request.url}`, { headers: { authorization: String(request.headers.authorization) } });
    return response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void proxy.close());
  const out = await makeFolder('endless');
  for (const begun of [0, 100_000]) {
    if (begun > 0) await writeFile(join(out, 'model.onnx.part'), onnx.subarray(0, begun));
    const pulled = await pull('toy@1', out, `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    expect(pulled).toMatchObject({ code: 1, err: expect.stringContaining('model.onnx has more than its 300000 bytes; it was removed') });
    expect(await readdir(out)).toEqual(['manifest.json.part']);
  }
});

test('the card of models with more than 2 GiB can be shown', async () => {
  const { id } = await register({ 'model.onnx': Buffer.from('stands for a large one') });
  const bytes = 3 * 1024 ** 3;
  await prisma.artifact.update({ where: { id }, data: { files: [{ name: 'model.onnx', bytes, sha256: sha256('') }] } });
  const { version } = await prisma.model.findFirstOrThrow({ where: { name: 'toy' }, orderBy: { version: 'desc' } });
  expect(JSON.parse((await cairn(['models', 'card', `toy@${version}`, '--json'])).out)).toMatchObject({ bytes, files: [{ bytes }] });
});

test('the card has the data, recipe, scores, licences and aliases, with the text of others escaped', async () => {
  const importAs = async (kind: 'weights' | 'matcher', details: object): Promise<string> => {
    const id = newId('artifact');
    const at = { projectId: 'default', kind, state: 'ready', prefix: `${kind}/${id}/`, stepName: '' };
    await prisma.artifact.create({ data: { id, ...at, details, files: [] } });
    return id;
  };
  const [source, licence] = ['https://example.org/m', 'BSD <3 | clause>'];
  const weights = await importAs('weights', { imported: 'resnet18-f37072fd', backbone: 'resnet18', source: null, licence });
  const matcher = await importAs('matcher', { imported: 'points', backbone: 'lightglue-end2end', source, licence: null });
  const where = { projectId_name_version: { projectId: 'default', name: 'toy', version: 1 } };
  const { artifacts } = await prisma.model.findUniqueOrThrow({ where });
  expect(JSON.parse((await cairn(['models', 'card', 'toy@1', '--json'])).out)).toMatchObject({ startingWeights: [], matcher: null });
  await prisma.model.update({ where, data: { artifacts: { ...(artifacts as object), weights, matcher } } });
  const card = JSON.parse((await cairn(['models', 'card', 'toy@production', '--json'])).out);
  expect(card).toMatchObject({
    ...{ model: 'toy', version: 1, aliases: ['production'], bytes: onnx.length + 7, metrics: { mapAt100: 0.5 } },
    ...{ data: { dataset: 'toy@1' }, run: { recipe: 'small' } },
    startingWeights: [{ name: 'resnet18-f37072fd', licence }],
    matcher: { name: 'points', source, licence: null },
  });
  expect(card.lineage.map(({ role }: { role: string }) => role)).toEqual(
    expect.arrayContaining(['checkpoint', 'evaluation', 'model', 'weights']),
  );
  const { out } = await cairn(['models', 'card', 'toy@1']);
  expect(out).toContain('## Aliases\n\nproduction');
  expect(out).toMatch(/## Dataset\n\ntoy@1, digest `[0-9a-f]{64}`\n/);
  expect(out).toContain('- resnet18-f37072fd: BSD &lt;3 \\| clause&gt;');
  expect(out).toContain('## Matcher\n\n- points from <https://example.org/m>: no licence was given');
  expect(out).toContain('```yaml\nname: small');
  // Features are not served: they would take the service's bandwidth for hours.
  const features = await harness.prisma.artifact.findFirstOrThrow({ where: { kind: 'features' } });
  const refused = await fetch(`${url}/v1/artifacts/${features.id}/files/x.npy`, { headers: { authorization: `Bearer ${token}` } });
  expect(await refused.json()).toMatchObject({ status: 400, detail: expect.stringContaining('not downloaded through the service') });
});
