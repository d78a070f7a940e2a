import type { ServerResponse } from 'node:http';
import { isCairnError } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ConnectionChange, createClient, type StreamMessage } from './index.ts';
import { anEvent, idFor, type StubApi, sendEndlessly, sendProblem, startStubApi } from './testing/stub-api.ts';

const topic = `run:${idFor('run', 1)}`;
let api: StubApi;
let stop: AbortController;
beforeEach(async () => {
  api = await startStubApi();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await api.close();
});

const open = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });
const send = (response: ServerResponse, seq: number) =>
  response.write(`id: c${seq}\nevent: event\ndata: ${JSON.stringify(anEvent(seq))}\n\n`);

/** Reads `count` messages of the stream, then leaves it. */
async function read(count: number, options: { silentMs?: number; onConnection?: (change: ConnectionChange) => void } = {}) {
  const messages: StreamMessage[] = [];
  for await (const message of createClient({ url: api.url }).events({ topics: [topic], signal: stop.signal, ...options })) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}
const seqs = (messages: StreamMessage[]) => messages.map((message) => (message.type === 'event' ? message.event.seq : message.type));

test('events, hints and resets are returned by type; messages of other kinds and heartbeats are skipped', async () => {
  api.on('GET', '/v1/events', (_, response) => {
    open(response).write(': heartbeat\n\n');
    send(response, 1);
    response.write('event: weather\ndata: {"sun":true}\n\n');
    response.write(`id: c2\nevent: hint\ndata: {"topic":"${topic}","what":"progress","stepId":"${idFor('stp', 1)}"}\n\n`);
    response.write(`event: reset\ndata: {"topic":"${topic}"}\n\n`);
  });
  const messages = await read(3);
  expect(messages.map((message) => [message.type, message.id])).toEqual([
    ['event', 'c1'],
    ['hint', 'c2'],
    // By the specification of event streams the last id stays in force.
    ['reset', messages[2]?.id],
  ]);
  expect(api.requests[0]?.query.get('topics')).toBe(topic);
});

test('a stream that breaks continues after the last message, with none missing or repeated', async () => {
  api.on('GET', '/v1/events', ({ headers }, response) => {
    const after = Number(String(headers['last-event-id'] ?? 'c0').slice(1));
    open(response);
    for (let seq = after + 1; seq <= after + 2; seq += 1) send(response, seq);
    // Two messages per connection; half of a third is lost with it.
    response.write(`id: c${after + 3}\nevent: event\ndata: {"ru`);
    setImmediate(() => response.socket?.destroy());
  });
  const changes: string[] = [];
  const messages = await read(6, { onConnection: (change) => changes.push(change.state) });
  expect(seqs(messages)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(changes).toEqual(['open', 'lost', 'open', 'lost', 'open']);
});

test('a character split by the network arrives whole', async () => {
  const bytes = Buffer.from(`id: c1\nevent: event\ndata: ${JSON.stringify(anEvent(1, { message: 'Zürich' }))}\n\n`);
  const middle = bytes.indexOf('ü') + 1;
  // On a socket the two pieces may arrive as one.
  const pieces = ReadableStream.from([bytes.subarray(0, middle), bytes.subarray(middle)]);
  const inPieces = async () => new Response(pieces, { headers: { 'content-type': 'text/event-stream' } });
  const { value: message } = await createClient({ url: api.url, fetch: inPieces })
    .events({ topics: [topic], signal: stop.signal })
    .next();
  expect(message?.type === 'event' && message.event.message).toBe('Zürich');
});

test('a silent stream is reopened; one with heartbeats is not', async () => {
  let connections = 0;
  api.on('GET', '/v1/events', (_, response) => {
    connections += 1;
    open(response).flushHeaders();
    if (connections === 1) return;
    let beats = 0;
    const beat = setInterval(() => {
      beats += 1;
      // Only heartbeats for three times as long as a stream may be silent.
      if (beats < 15) response.write(':\n\n');
      else send(response, 1);
    }, 20);
    response.on('close', () => clearInterval(beat));
  });
  expect(seqs(await read(1, { silentMs: 100 }))).toEqual([1]);
  expect(connections).toBe(2);
});

test('a reader that is busy for longer than the server may be silent keeps its connection', async () => {
  const [silentMs, beatMs] = [100, 20];
  let connections = 0;
  let beats = 0;
  api.on('GET', '/v1/events', (_, response) => {
    connections += 1;
    open(response);
    send(response, 1);
    const beat = setInterval(() => {
      beats += 1;
      if (beats === 20) send(response, 2);
      else response.write(':\n\n');
    }, beatMs);
    response.on('close', () => clearInterval(beat));
  });
  const block = () => {
    const end = performance.now() + 2 * silentMs;
    while (performance.now() < end);
  };
  const seen: (number | string)[] = [];
  for await (const message of createClient({ url: api.url }).events({ topics: [topic], signal: stop.signal, silentMs })) {
    seen.push(...seqs([message]));
    if (seen.length === 2) break;
    // During the message, until the server has beaten for twice as long, and then while it waits for the next one.
    await waitUntil(() => beats * beatMs >= 2 * silentMs);
    setImmediate(block);
  }
  expect({ seen, connections }).toEqual({ seen: [1, 2], connections: 1 });
});

test('the stream reconnects to a server that comes back at the same address', async () => {
  let lost = 0;
  api.on('GET', '/v1/events', (_, response) => void send(open(response), 1));
  const port = Number(new URL(api.url).port);
  const reading = read(2, {
    onConnection: (change) => {
      if (change.state === 'lost') lost += 1;
      if (lost === 1 && change.state === 'lost') void restart();
    },
  });
  async function restart() {
    api = await startStubApi(port);
    api.on('GET', '/v1/events', (_, response) => void send(open(response), 2));
  }
  await waitUntil(() => api.requests.length === 1);
  await api.close();
  expect(seqs(await reading)).toEqual([1, 2]);
  expect(api.requests[0]?.headers['last-event-id']).toBe('c1');
});

test('a refused stream is not retried', async () => {
  api.on('GET', '/v1/events', (_, response) => sendProblem(response, 'unauthenticated', 'no'));
  await expect(read(1)).rejects.toSatisfy((error) => isCairnError(error, 'unauthenticated'));
  expect(api.requests).toHaveLength(1);
});

test('a message without an end is given up before it fills the memory, and not asked for again', async () => {
  api.on('GET', '/v1/events', (_, response) => {
    open(response).write('event: event\ndata: ');
    sendEndlessly(response);
  });
  await expect(read(1)).rejects.toSatisfy((error) => isCairnError(error, 'protocol_mismatch'));
  expect(api.requests).toHaveLength(1);
});

test('leaving the loop and aborting the signal both close the connection', async () => {
  let closed = 0;
  api.on('GET', '/v1/events', (_, response) => {
    send(open(response), 1);
    response.on('close', () => {
      closed += 1;
    });
  });
  await read(1);
  await waitUntil(() => closed === 1);
  const reading = read(2);
  await waitUntil(() => api.requests.length === 2);
  stop.abort();
  expect((await reading).length).toBeLessThan(2);
  await waitUntil(() => closed === 2);
});

const waitUntil = (condition: () => boolean) => expect.poll(condition, { interval: 5, timeout: 45_000 }).toBe(true);
