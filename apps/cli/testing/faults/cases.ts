import { type RunEvent, stepOfEvent } from '@cairn/contract';
import type { Played } from './play-run.ts';
import { scenarios } from './scenarios.ts';
import { type Backend, backends, type Servers, type Strike, strikeOf } from './strike.ts';
import { allFaults, type Fault, nameOf, packFaults, sampleFaults, type Victim, victims } from './transitions.ts';

/** One run to play; it counts as `weight` cases, all of which pass or fail with it. */
export type Case = {
  title: string;
  backend: Backend;
  controllers: number;
  weight: number;
  strikes(servers: Servers): readonly Strike[];
  verdict(played: Played, reference: Played): string[];
};

export type Wanted = {
  seed: number;
  /** Pairs of a program and a transition, for each backend. */
  counts: Readonly<Record<Backend, number>>;
  perRun: number;
  /** Every pair instead of a sample. */
  all: boolean;
  /** Only these pairs by their names, on each backend that has a count. */
  only: string | undefined;
  /** Programs that are struck once more each. */
  strike: string;
  /** Parts of scenarios' names, separated by semicolons; all for an empty text. */
  scenarios: string;
};

/**
 * The runs to play.
 * @throws Error naming an unknown program or scenario
 */
export function casesOf(wanted: Wanted): Case[] {
  if (wanted.only !== undefined) return backends.flatMap((backend) => pairCases(backend, wanted));
  return [...backends.flatMap((backend) => pairCases(backend, wanted)), ...oneMoreCase(wanted), ...scenarioCases(wanted.scenarios)];
}

function pairCases(backend: Backend, { seed, counts, perRun, all, only }: Wanted): Case[] {
  if (counts[backend] === 0) return [];
  const names = only === undefined ? null : new Set(only.split(';').map((name) => name.trim()));
  // A checkpoint is reported once it is stored: on S3 that takes longer than the few remaining steps, and the ranks have ended.
  const possible = allFaults.filter(({ victim, moment }) => backend !== 'redis and s3' || victim !== 'rank' || moment !== 'checkpoint');
  const taken = (): readonly Fault[] => {
    if (names) return possible.filter((fault) => names.has(nameOf(fault)));
    // Another sample on each backend.
    return all ? possible : sampleFaults(seed + backends.indexOf(backend), counts[backend], possible);
  };
  return packFaults(taken(), perRun).map((pack) => caseOf(backend, pack));
}

/** One run on PostgreSQL in which each of the programs is struck. */
function oneMoreCase({ seed, strike }: Wanted): Case[] {
  if (strike === '') return [];
  const programs = strike.split(',').map((name) => {
    const victim = victims.find((one): one is Victim => one === name.trim());
    if (victim === undefined) throw new Error(`--strike: no program ${name}; use one of ${victims.join(', ')}.`);
    return victim;
  });
  // Each at its own transition: a run is struck once at a time.
  const pack: Fault[] = [];
  for (const program of programs) {
    const isFree = (fault: Fault) => !pack.some(({ step, moment }) => step === fault.step && moment === fault.moment);
    const free = allFaults.filter((fault) => fault.victim === program && isFree(fault));
    pack.push(...sampleFaults(seed + backends.length, 1, free));
  }
  return packFaults(pack, pack.length).map((faults) => caseOf('postgres', faults));
}

function caseOf(backend: Backend, pack: readonly Fault[]): Case {
  return {
    title: pack.map(nameOf).join(', '),
    backend,
    controllers: 1,
    weight: pack.length,
    strikes: () => pack.map(strikeOf),
    verdict: (played, reference) => [...judge(played, reference), ...resumedFromNewest(played.events)],
  };
}

function scenarioCases(names: string): Case[] {
  if (names === 'none') return [];
  const parts = names.split(';').map((part) => part.trim());
  const absent = parts.filter((part) => !scenarios.some(({ name }) => name.includes(part)));
  if (absent.length > 0) throw new Error(`--scenarios: no scenario's name contains "${absent.join('", "')}".`);
  return scenarios
    .filter(({ name }) => parts.some((part) => name.includes(part)))
    .map(({ name, backend, controllers = 1, strikes, judge: judgeScenario }) => ({
      title: name,
      backend,
      controllers,
      weight: 1,
      strikes,
      verdict: (played, reference) => [...judge(played, reference), ...judgeScenario(played, reference)],
    }));
}

/** The errors of an interrupted run, compared with an uninterrupted one; empty for the same end. */
export function judge(played: Played, reference: Played): string[] {
  return [
    ...sameEnd(played, reference),
    ...played.missed.map((name) => `${name} never happened`),
    ...noStepTwice(played.events),
    ...countsProven(played),
    ...historyWhole(played.events),
  ];
}

function sameEnd(played: Played, reference: Played): string[] {
  const faults: string[] = [];
  if (played.mapAt100 !== reference.mapAt100) faults.push(`mAP@100 is ${played.mapAt100}, without faults it is ${reference.mapAt100}`);
  if (played.submissionDigest !== reference.submissionDigest) faults.push('submission.csv differs from that of the run without faults');
  for (const [step, digest] of Object.entries(reference.digests))
    if (played.digests[step] !== digest) faults.push(`${step} made something else than in the run without faults`);
  return faults;
}

/** A step that succeeded gets no further attempt, and succeeds once. */
function noStepTwice(events: readonly RunEvent[]): string[] {
  const done = new Set<string>();
  const faults: string[] = [];
  for (const event of events) {
    const step = stepOfEvent(event);
    if (step === null) continue;
    if (event.type === 'attempt' && event.data.state === 'created' && done.has(step)) faults.push(`${step} ran again after it was done`);
    if (event.type !== 'step' || event.data.state !== 'succeeded') continue;
    if (done.has(step)) faults.push(`${step} succeeded twice`);
    done.add(step);
  }
  return faults;
}

function countsProven({ run }: Played): string[] {
  return run.stepViews
    .filter(({ shards }) => shards !== null)
    .flatMap(({ name, shards }) =>
      shards && shards.committed === shards.total && shards.rows > 0 ? [] : [`${name}: not every shard is committed`],
    );
}

/** The stream missed and repeated nothing, whatever was killed. */
function historyWhole(events: readonly RunEvent[]): string[] {
  const gap = events.findIndex((event, index) => event.seq !== index + 1);
  return gap < 0 ? [] : [`event ${events[gap]?.seq} came in place of ${gap + 1}`];
}

/** A training attempt after one that saved checkpoints resumes from the newest. */
function resumedFromNewest(events: readonly RunEvent[]): string[] {
  const newest = new Map<string, number>();
  const attempts = new Map<string, number>();
  const resumed = new Set<string>();
  const faults: string[] = [];
  for (const event of events) {
    const step = stepOfEvent(event);
    if (step === null) continue;
    if (event.type === 'attempt' && event.data.state === 'created') attempts.set(step, (attempts.get(step) ?? 0) + 1);
    if (event.type === 'checkpoint') newest.set(step, event.data.at);
    if (event.type === 'attempt' && event.data.checkpointId !== undefined) {
      resumed.add(step);
      if (event.data.at !== newest.get(step))
        faults.push(`${step} resumed from step ${event.data.at}, although ${newest.get(step)} was saved`);
    }
  }
  const lostBefore = (step: string): boolean => {
    const saved = events.findIndex((event) => event.type === 'checkpoint' && event.data.step === step);
    const again = events.findLastIndex((event) => event.type === 'attempt' && event.data.step === step && event.data.state === 'created');
    return saved >= 0 && again > saved;
  };
  for (const [step, count] of attempts)
    if (count > 1 && lostBefore(step) && !resumed.has(step)) faults.push(`${step} started over although it had saved a checkpoint`);
  return faults;
}
