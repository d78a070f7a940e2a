import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type ChildJobOf, suspectFile } from '../child/messages.ts';
import { ChildEndedError } from '../child/start-child.ts';
import type { AskChild } from '../fleet/run-shards.ts';
import { computeWithCare, type ShardCrashes } from './compute-shard.ts';

const images = Array.from({ length: 40 }, (_, index) => `image${index}`);
const ended = () => new ChildEndedError('was killed by SIGSEGV', '');

type Machine = {
  /** The images that end the child. */
  poison?: readonly string[];
  /** What ends it at a picture of its own. */
  probe?: () => void;
  /** Jobs at which it ends for another reason, by their number. */
  accidents?: readonly number[];
  /** What earlier holders of the shard have seen. */
  before?: ShardCrashes;
};

/** Has a shard extracted by children of a machine. Returns what they rejected and the jobs that they got. */
async function computeOn({ poison = [], probe = () => undefined, accidents = [], before }: Machine) {
  const journals = mkdtempSync(join(tmpdir(), 'cairn-care-'));
  onTestFinished(() => rmSync(journals, { recursive: true }));
  const jobs: ChildJobOf<'extractShard'>[] = [];
  const notes: string[] = [];
  const ask: AskChild = async (job, answer) => {
    if (job.kind === 'probe') {
      probe();
      return answer.parse(null);
    }
    if (job.kind !== 'extractShard') throw new Error(`unexpected ${job.kind}`);
    jobs.push(job);
    if (accidents.includes(jobs.length)) throw ended();
    const rejected = new Set(job.rejects.map(({ imageId }) => imageId));
    const at = images.find((id) => poison.includes(id) && !rejected.has(id));
    if (at !== undefined) {
      if (job.isOneByOne) writeFileSync(join(journals, suspectFile(0)), at);
      throw ended();
    }
    const rejectedImages = job.rejects.map(({ imageId, reason }) => ({ imageId, path: imageId, reason }));
    const seconds = { read: 0, decode: 0, infer: 0, write: 0, total: 0 };
    const counts = { rows: images.length - rejected.size, rejected: rejected.size };
    return answer.parse([{ ...counts, rejectedImages, files: [], idsSha256: '', seconds }]);
  };
  const reporter = {
    log: () => undefined,
    metric: () => undefined,
    progress: () => undefined,
    report: (item: { type: string }) => void ('message' in item && notes.push(String(item.message))),
    poke: () => undefined,
    flush: async () => undefined,
    end: async () => undefined,
    close: () => undefined,
  };
  const shard = { index: 0, from: 0, count: images.length, tries: 1, resumeFrom: null };
  const signal = new AbortController().signal;
  const remembered: ShardCrashes[] = [];
  const work = {
    ...{ shard, ask, place: 0, isBackup: false, onProgress: () => undefined, signal, context: { reporter }, journals, sets: [0] },
    before: before ?? null,
    remember: async (crashes: ShardCrashes) => void remembered.push(crashes),
  };
  const outcome = await computeWithCare(work).then(
    ([answer]) => answer?.rejectedImages.map(({ imageId, reason }) => `${imageId}: ${reason}`) ?? [],
    (error: unknown) => error,
  );
  return { outcome, jobs, notes, remembered };
}

test('the images that end their child are found and rejected, and no other', async () => {
  const { outcome, jobs } = await computeOn({ poison: ['image7', 'image30'] });
  const reason = 'crashes the decoder: alone in a process, which was killed by SIGSEGV, 2 times';
  expect(outcome).toEqual([`image7: ${reason}`, `image30: ${reason}`]);
  expect(jobs.map(({ isOneByOne }) => isOneByOne)).toEqual([false, false, false, true, true, true, true, true]);
});

test('children of earlier holders count: a shard goes on where they left off, and an image needs one more end', async () => {
  const first = await computeOn({ poison: ['image7'], accidents: [1] });
  expect(first.remembered.map(({ ends }) => ends)).toEqual([1, 2, 3, 3, 3]);
  expect(first.remembered.at(-1)?.suspicion).toEqual({ image7: 2 });
  const second = await computeOn({ before: { ends: 2, suspicion: {} }, poison: ['image7'] });
  expect(second.jobs.map(({ isOneByOne }) => isOneByOne)).toEqual([false, true, true, true]);
  const third = await computeOn({ before: { ends: 3, suspicion: { image7: 1 } }, poison: ['image7'] });
  expect(third.jobs.map(({ isOneByOne }) => isOneByOne)).toEqual([true, true]);
  expect(third.outcome).toEqual(second.outcome);
});

test('what a machine suspects that is at fault itself is nothing to the next one', async () => {
  const { remembered } = await computeOn({ poison: images });
  expect(remembered.at(-1)).toEqual({ ends: 3, suspicion: {} });
});

test('a child that ends by accident goes on, and nothing is rejected', async () => {
  const { outcome, jobs, notes } = await computeOn({ accidents: [1, 2, 3, 4] });
  expect(outcome).toEqual([]);
  expect(jobs.map(({ isOneByOne }) => isOneByOne)).toEqual([false, false, false, true, true]);
  expect(notes[0]).toBe('Shard 0: the compute process was killed by SIGSEGV; another one goes on behind its last finished batch');
});

test.each<[string, Machine, RegExp]>([
  [
    'a picture of its own too',
    {
      poison: images,
      probe: () => {
        throw ended();
      },
    },
    /also with a picture of its own, so no image is at fault\. Check memory/,
  ],
  ['more images than can be bad', { poison: images }, /more than 10 images end the compute process/],
  ['no image', { accidents: [1, 2, 3, 4, 5] }, /at none of its images/],
])('a machine that ends its children at %s is at fault itself', async (_, machine, message) => {
  expect((await computeOn(machine)).outcome).toMatchObject({ code: 'program_failed', message: expect.stringMatching(message) });
});

test('a child that cannot even be opened is no matter of the shard', async () => {
  const opening = ended().whileOpening();
  const { outcome } = await computeOn({
    accidents: [1, 2, 3],
    probe: () => {
      throw opening;
    },
    poison: ['image0'],
  });
  expect(outcome).toBe(opening);
});
