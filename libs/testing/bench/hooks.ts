import { createHmac, randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { hookAnswer } from '@cairn/contract';
import { sleep } from '@cairn/runtime';
import { waitFor } from '../wait-for.ts';
import { submission } from './control-load.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { show } from './quantiles.ts';

/**
 * Deliveries to a trigger, as a busy code host sends them: so many a minute, every third of them again, at the same moment or a second later.
 * Twice meanwhile the api is killed; what gets no answer is delivered again, as a person does on the page of the webhook. In the end each
 * delivery has one run, and each run one delivery.
 */
const { values: options } = parseArgs({
  options: {
    perMinute: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '60' },
  },
});
const perMinute = Number(options.perMinute);
const seconds = Number(options.seconds);
const total = Math.round((perMinute / 60) * seconds);

type Sent = { answers: number[]; repeats: number; unanswered: number };

async function measure(plane: ControlPlane): Promise<void> {
  const { recipe, dataset } = submission;
  const trigger = await plane.client.addTrigger({ name: 'bench', provider: 'github', run: { recipe, dataset }, group: null });
  const sent: Sent = { answers: [], repeats: 0, unanswered: 0 };
  const begin = performance.now();
  const deliveries = Promise.all(
    Array.from({ length: total }, async (_, index) => {
      await sleep(Math.max(0, begin + (index * 60_000) / perMinute - performance.now()));
      const delivery = signed(trigger, index);
      if (index % 3 > 0) return deliver(delivery, sent);
      sent.repeats += 1;
      const again = index % 2 === 0 ? Promise.resolve() : sleep(1_000);
      await Promise.all([deliver(delivery, sent), again.then(() => deliver(delivery, sent))]);
    }),
  );
  for (const share of [1 / 3, 2 / 3]) {
    await sleep(Math.max(0, begin + seconds * 1_000 * share - performance.now()));
    await plane.restartApi();
  }
  await deliveries;
  await verify(plane);
  console.log(
    `${total} deliveries at ${perMinute} a minute, ${sent.repeats} of them twice, the api killed twice (${sent.unanswered} unanswered)`,
  );
  console.log(`answers, p50 / p99: ${show(sent.answers, 0.5)} / ${show(sent.answers, 0.99)}`);
  console.log('each delivery has one run, and each run one delivery');
}

function signed({ path, secret }: { path: string; secret: string }, index: number) {
  const commit = index.toString(16).padStart(40, 'a');
  const body = JSON.stringify({
    ref: `refs/heads/topic-${index}`,
    before: '0'.repeat(40),
    after: commit,
    repository: { full_name: 'example/landmarks' },
    head_commit: { id: commit },
    commits: [],
  });
  const headers = {
    'content-type': 'application/json',
    'x-github-event': 'push',
    'x-github-delivery': randomUUID() as string,
    'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
  };
  return { path, body, headers };
}

/** Delivers until there is an answer. */
async function deliver({ path, body, headers }: ReturnType<typeof signed>, sent: Sent): Promise<void> {
  for (;;) {
    const begin = performance.now();
    try {
      const response = await fetch(new URL(path, plane.client.url), { method: 'POST', body, headers, signal: AbortSignal.timeout(10_000) });
      if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
      hookAnswer.parse(await response.json());
      sent.answers.push(performance.now() - begin);
      return;
    } catch {
      sent.unanswered += 1;
      await sleep(500);
    }
  }
}

/** What was accepted when the api was killed is started by the leader. */
async function verify({ prisma }: ControlPlane): Promise<void> {
  await waitFor(async () => (await prisma.hookDelivery.count({ where: { outcome: 'accepted' } })) === 0, {
    timeoutMs: 120_000,
    message: 'every accepted delivery to be started',
  });
  const deliveries = await prisma.hookDelivery.findMany({ select: { id: true, outcome: true, runId: true } });
  const runs = await prisma.run.findMany({ select: { id: true, origin: true } });
  const startedBy = new Set(runs.map(({ origin }) => JSON.stringify(origin)));
  const wrong = [
    ...(deliveries.length === total ? [] : [`${deliveries.length} deliveries are recorded, not ${total}`]),
    ...(runs.length === total ? [] : [`there are ${runs.length} runs, not ${total}`]),
    ...(startedBy.size === runs.length ? [] : [`${runs.length - startedBy.size} deliveries started two runs`]),
    ...deliveries.filter(({ outcome }) => outcome !== 'started').map(({ id, outcome }) => `${id} was ${outcome}`),
    ...(new Set(deliveries.map(({ runId }) => runId)).size === total ? [] : ['two deliveries have the same run']),
  ];
  if (wrong.length > 0) throw new Error(wrong.slice(0, 10).join('\n'));
}

const plane = await startControlPlane('postgres', 4096);
try {
  await measure(plane);
} finally {
  await plane.close();
}
