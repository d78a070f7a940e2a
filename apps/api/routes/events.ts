import { Readable } from 'node:stream';
import { attentionView, CairnError, fleetView, fleetWork, topic, writtenText } from '@cairn/contract';
import { loadFleet, loadFleetWork, readAttention, readRunsPosition } from '@cairn/db';
import { z } from 'zod';
import { authenticate, credentialOf } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { decodePositions, eventStream, type Positions } from '../events/stream.ts';
import { type App, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';

const maxTopics = 50;

const eventsQuery = z.strictObject({
  topics: z
    .string()
    .max(maxTopics * 40)
    .transform((text) => [...new Set(text.split(',').filter((part) => part !== ''))])
    .pipe(z.array(topic).min(1, 'name at least one topic').max(maxTopics, `name at most ${maxTopics} topics`))
    .describe(`Comma-separated, at most ${maxTopics}: \`runs\`, \`fleet\`, \`run:<id>\`.`),
});
const eventsHeaders = z.looseObject({
  'last-event-id': writtenText(4_000).optional().describe('The id of the last message of an earlier stream, to resume after it.'),
});

const messages = z
  .custom<Readable>((value) => value instanceof Readable)
  .meta({ type: 'string', description: 'Messages in the text/event-stream format.' });

const description = `Server-sent events.

- \`run:<id>\` delivers every event of the run as \`event\`, in order and without gaps, and \`hint\`s that its progress, metrics, logs or shards
  changed. It starts with the run's first event; with Last-Event-ID it resumes after that event. A Last-Event-ID without a position of the run, or
  one past its end, gets a \`reset\`, and the run's events from the first.
- \`runs\` and \`fleet\` deliver \`hint\`s to fetch the list again, at most one a second, and a \`reset\` at every connect: fetch it then, unless the
  list of runs was read with the \`position\` of the reset.

The id of a message is a position in all runs of the stream (\`run_a.12~run_b.40\`), so any replica can resume where another stopped. A comment
comes at least every 15 seconds; a stream that is silent for longer is dead. A client that takes nothing for 30 seconds is cut off.`;

export function eventRoutes(app: App, { prisma, feed, load, heartbeatMs }: ApiDeps): void {
  app.get(
    '/v1/events',
    {
      config: { role: 'viewer', load: 'watch' },
      schema: {
        operationId: 'streamEvents',
        tags: ['events'],
        summary: 'Follow events and changes',
        description,
        querystring: eventsQuery,
        headers: eventsHeaders,
        response: { 200: { description: 'The stream.', content: { 'text/event-stream': { schema: messages } } }, ...problems },
      },
    },
    async (request, reply) => {
      const { topics } = request.query;
      const lastEventId = request.headers['last-event-id'];
      const given = lastEventId === undefined ? null : decodePositions(lastEventId);
      const { projectId } = callerOf(request);
      const { positions, resets } = await findPositions(topics, given, projectId);
      const stream = eventStream({
        prisma,
        feed,
        reads: load.watchReads,
        topics: new Set(topics),
        positions,
        resets,
        runsPosition: () => load.watchReads(`runs ${projectId}`, () => readRunsPosition(prisma, projectId)),
        heartbeatMs,
        isAllowed: () =>
          authenticate(prisma, load.firstReads, { credential: credentialOf(request), address: request.ip }).then(
            () => true,
            () => false,
          ),
        onStall: () => reply.raw.destroy(),
        signal: closedSignal(reply),
      });
      // no-transform and x-accel-buffering keep proxies from holding messages back.
      return reply
        .headers({ 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' })
        .send(Readable.from(stream));
    },
  );

  /** Where each run of the stream resumes, and the topics without a known position. */
  async function findPositions(topics: readonly string[], given: Positions | null, projectId: string) {
    const runIds = topics.flatMap((one) => (one.startsWith('run:') ? [one.slice(4)] : []));
    const runs =
      runIds.length === 0
        ? []
        : await load.watchReads(['positions', projectId, ...runIds].join(' '), () =>
            prisma.run.findMany({ where: { id: { in: runIds }, projectId }, select: { id: true, seq: true } }),
          );
    const missing = runIds.find((id) => !runs.some((run) => run.id === id));
    if (missing !== undefined) throw new CairnError('not_found', `Run ${missing} not found`);
    const positions = new Map<string, number>();
    const resets = topics.filter((one) => !one.startsWith('run:'));
    for (const { id, seq } of runs) {
      const position = given?.get(id);
      const isKnown = position !== undefined && position <= seq;
      if (isKnown) positions.set(id, position);
      if (given !== null && !isKnown) resets.push(`run:${id}`);
    }
    return { positions, resets };
  }
}

export function fleetRoutes(app: App, { prisma, admission }: ApiDeps): void {
  app.get(
    '/v1/fleet',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getFleet',
        tags: ['fleet'],
        summary: 'Show the leader and how busy the pools are',
        response: { 200: fleetView, ...problems },
      },
    },
    () => loadFleet(prisma, admission),
  );

  app.get(
    '/v1/fleet/work',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getFleetWork',
        tags: ['fleet'],
        summary: 'Show who holds slots, what waits for them and why, and the queues',
        description: 'At most 200 attempts and 200 waiting steps, with the totals.',
        response: { 200: fleetWork, ...problems },
      },
    },
    () => loadFleetWork(prisma, admission),
  );

  app.get(
    '/v1/attention',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getAttention',
        tags: ['fleet'],
        summary: 'List what needs a person',
        description:
          'Runs that failed in the last week, held runs and held deliveries, spent budgets, steps that have waited for 15 minutes, attempts and ' +
          'nodes that are not well, and a controller that is not there. At most 50 of each.',
        response: { 200: attentionView, ...problems },
      },
    },
    (request) => readAttention(prisma, { projectId: callerOf(request).projectId, admission }),
  );
}
