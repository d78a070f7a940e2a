import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLogger } from '@cairn/runtime';
import { ApiException, KubeConfig, Watch } from '@kubernetes/client-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { type WatchedList, type WatchedListOptions, watchedList } from './watched-list.ts';

const thing = z.object({ metadata: z.object({ name: z.string(), uid: z.string() }) });
type Thing = z.infer<typeof thing>;
const named = (name: string, resourceVersion = '1') => ({ metadata: { name, uid: name, resourceVersion } });

/** An API of one kind of object: its list, and the open watches. */
let things: object[];
let watches: ServerResponse[];
let lists: number;
let refusal: number | null;
let watchStatus: number;
let warnings: string[];
let server: Server;
let list: WatchedList<Thing>;

beforeEach(async () => {
  things = [named('a')];
  watches = [];
  lists = 0;
  refusal = null;
  watchStatus = 200;
  warnings = [];
  server = createServer((_request, response) => {
    response.writeHead(watchStatus, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (watchStatus !== 200) return void response.end();
    watches.push(response);
    response.on('close', () => {
      watches = watches.filter((open) => open !== response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  await list.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function open(change: Partial<WatchedListOptions<Thing>> = {}): WatchedList<Thing> {
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'fake', server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, skipTLSVerify: true },
    { name: 'nobody' },
  );
  list = watchedList<Thing>({
    name: 'Things',
    watch: new Watch(config),
    path: '/things',
    query: {},
    list: async () => {
      lists += 1;
      if (refusal !== null) throw new ApiException(refusal, 'refused', {}, {});
      return { items: things.map((object) => thing.parse(object)), resourceVersion: '1' };
    },
    parse: (object) => thing.parse(object),
    log: createLogger({ name: 'test', destination: { write: (line) => void warnings.push(line) } }),
    retry: { baseMs: 10, maxMs: 20 },
    ...change,
  });
  return list;
}

const send = (type: string, object: object) => watches.at(-1)?.write(`${JSON.stringify({ type, object })}\n`);
const names = () => list.items().map((object) => object.metadata.name);
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 45_000, interval: 5 });
const opened = () => eventually(() => watches.length).toBe(1);

test('lists, then follows what is added, changed and deleted', async () => {
  const changes: string[] = [];
  open({ onChange: (object, gone) => changes.push(`${gone ? '-' : '+'}${object.metadata.name}`) });
  await list.answered(AbortSignal.timeout(5_000));
  expect(names()).toEqual(['a']);
  await opened();
  await eventually(() => list.isCurrent()).toBe(true);
  send('ADDED', named('b', '2'));
  send('MODIFIED', named('a', '3'));
  send('BOOKMARK', { metadata: { resourceVersion: '4' } });
  send('DELETED', named('a', '5'));
  await eventually(names).toEqual(['b']);
  expect(changes).toEqual(['+a', '+b', '+a', '-a']);
});

test('a socket that breaks: everything is listed again, including missed changes', async () => {
  const gone: string[] = [];
  open({ onChange: (object, isGone) => void (isGone && gone.push(object.metadata.name)) });
  await opened();
  things = [named('c')];
  for (let round = 2; round < 6; round += 1) {
    watches.at(-1)?.destroy();
    await eventually(() => lists).toBeGreaterThanOrEqual(round);
    await opened();
  }
  expect(names()).toEqual(['c']);
  expect(gone).toEqual(['a']);
});

test('a watch whose position the server no longer knows is restarted', async () => {
  open();
  await opened();
  things = [named('d')];
  send('ERROR', { kind: 'Status', code: 410, message: 'too old resource version' });
  watches.at(-1)?.end();
  await eventually(names).toEqual(['d']);
});

test('a change that a silent watch lost is found by the next list', async () => {
  open({ relistMs: 50 });
  await opened();
  things = [named('e')];
  await eventually(names).toEqual(['e']);
  await eventually(() => lists).toBeGreaterThan(3);
  expect(warnings).toEqual([]);
});

test('neither a listener that throws nor an unreadable change stops the list', async () => {
  open({
    onChange: () => {
      throw new Error('an error of the listener');
    },
  });
  await opened();
  send('ADDED', { metadata: { resourceVersion: '2' } });
  watches.at(-1)?.write('no JSON\n');
  send('ADDED', named('f', '3'));
  await eventually(names).toEqual(['a', 'f']);
});

test('while the server is away the list is not current, and it is again once the server is back', async () => {
  refusal = 503;
  open();
  await eventually(() => lists).toBeGreaterThan(3);
  expect(list.isCurrent()).toBe(false);
  await expect(list.answered(AbortSignal.timeout(50))).rejects.toMatchObject({ name: 'TimeoutError' });
  refusal = null;
  await eventually(() => list.isCurrent()).toBe(true);
  expect(names()).toEqual(['a']);
});

test('a list without an open watch is not current', async () => {
  watchStatus = 500;
  open();
  await eventually(() => lists).toBeGreaterThan(3);
  expect([names(), list.isCurrent()]).toEqual([['a'], false]);
});

test('objects that may not be read are denied, which is an answer', async () => {
  refusal = 403;
  open();
  await list.answered(AbortSignal.timeout(5_000));
  expect([list.isDenied(), list.isCurrent()]).toEqual([true, false]);
});

test('closing ends the watch, and the loop with it', async () => {
  open();
  await opened();
  await list.close();
  await eventually(() => watches.length).toBe(0);
  expect(lists).toBe(1);
});
