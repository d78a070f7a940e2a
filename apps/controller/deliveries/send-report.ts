import { awaitsVerdict, isEndedRun, type RunView } from '@cairn/contract';
import { getRun, listJudgements, type PrismaClient } from '@cairn/db';
import type { ClaimedDelivery } from '@cairn/engine';
import { reportBody } from '@cairn/engine';
import { plural, runComment } from '@cairn/runtime';
import { z } from 'zod';
import { CallFailed, type CodeHostCalls, type Comment, type CommitStatus } from './code-host.ts';
import type { Try } from './outcome.ts';

export type ReportOptions = {
  prisma: PrismaClient;
  calls: CodeHostCalls;
  /** The address of the service for people; null where it is not set. */
  publicUrl: string | null;
  clock(): Date;
  /** True while nobody else may be sending this report. */
  mayCreate(): Promise<boolean>;
};

/** A comment is changed at most this often. */
const commentPauseMs = 60_000;
/** Code hosts accept 1,000 statuses of a commit and context. Progress leaves the last of them for how runs end. */
const mostPendingStatuses = 900;

/** Sends the newest state of the run that a report is about. */
export async function sendReport(delivery: ClaimedDelivery, options: ReportOptions): Promise<Try> {
  const about = reportBody.parse(delivery.body);
  const run = await getRun(options.prisma, { projectId: delivery.projectId, runId: about.runId });
  const page = options.publicUrl === null ? null : `${options.publicUrl}/runs/${run.id}`;
  try {
    if (delivery.event === 'status') return await sendStatus(delivery, about, { ...options, run, page });
    return await sendComment(delivery, about, { ...options, run, page });
  } catch (error) {
    if (error instanceof CallFailed) return error.tried;
    throw error;
  }
}

type About = z.output<typeof reportBody>;
type Shown = ReportOptions & { run: RunView; page: string | null };

const sentStatus = z.object({ sent: z.string(), posted: z.number().int() });

async function sendStatus({ remote }: ClaimedDelivery, { commit, context }: About, { calls, run, page }: Shown): Promise<Try> {
  const status = { ...statusOf(run), context: `cairn/${context}`, url: page };
  const before = sentStatus.safeParse(remote).data ?? { sent: '', posted: 0 };
  const sent = JSON.stringify(status);
  if (sent === before.sent) return { end: 'done', status: null, message: 'the commit status is as it was' };
  if (status.state === 'pending' && before.posted >= mostPendingStatuses)
    return { end: 'done', status: null, message: `the commit has had ${before.posted} statuses, so only how runs end is still sent` };
  await calls.setStatus(commit, status);
  return { end: 'done', status: 201, message: `${status.state}: ${status.description}`, remote: { sent, posted: before.posted + 1 } };
}

/** A run as a commit status. */
export function statusOf(
  run: Pick<RunView, 'name' | 'state' | 'verdict' | 'cause' | 'steps' | 'gate'>,
): Pick<CommitStatus, 'state' | 'description'> {
  const { name, state, verdict, cause, steps, gate } = run;
  const because = cause === null ? '' : `: ${cause}`;
  if (!isEndedRun(state)) {
    const reused = steps.reused === 0 ? '' : `, ${steps.reused} reused`;
    return { state: 'pending', description: `${name} is ${state}, ${plural(steps.total, 'step')}${reused}` };
  }
  if (state !== 'succeeded') return { state: 'error', description: `${name} ${state === 'failed' ? 'failed' : 'was cancelled'}${because}` };
  if (awaitsVerdict(run)) return { state: 'pending', description: `${name} succeeded, its gate is being judged` };
  if (gate?.state === 'refused') return { state: 'error', description: `${name} succeeded, its gate was not judged: ${gate.problem}` };
  if (verdict === 'none') return { state: 'success', description: `${name} succeeded` };
  // As `cairn submit --gate` exits: by default only a gate that passed lets a change through.
  const isLetThrough = verdict === 'passed' || (verdict === 'inconclusive' && gate?.onInconclusive === 'pass');
  return { state: isLetThrough ? 'success' : 'failure', description: `${name} succeeded, its gate ${gateWords[verdict]}` };
}

const gateWords = { passed: 'passed', failed: 'failed', inconclusive: 'is inconclusive' } as const;

const sentComment = z.object({ comment: z.number().int() });

async function sendComment(delivery: ClaimedDelivery, about: About, shown: Shown): Promise<Try> {
  const { pullRequest, context } = about;
  const { prisma, calls, run, page, publicUrl: url, clock, mayCreate } = shown;
  if (pullRequest === null) return { end: 'refused', status: 0, message: 'the report has no pull request' };
  const { uid } = await prisma.project.findUniqueOrThrow({ where: { id: delivery.projectId }, select: { uid: true } });
  const marker = `<!-- cairn ${uid} ${encodeURIComponent(context)} -->`;
  const { projectId } = delivery;
  const [judgement = null] = run.verdict === 'none' ? [] : await listJudgements(prisma, { projectId, runId: run.id });
  const refusal = run.gate?.state === 'refused' ? run.gate.problem : null;
  const text = `${marker}\n${runComment(run, { judgement, refusal, url, page, now: clock() })}`;
  const done = (id: number, what: string): Try => {
    return { end: 'done', status: 200, message: `${what} comment ${id}`, remote: { comment: id }, pauseMs: commentPauseMs };
  };
  // After a try whose end is not known there may be a comment that nobody remembers.
  const known = delivery.failures > 0 ? undefined : sentComment.safeParse(delivery.remote).data?.comment;
  if (known !== undefined && (await changed(calls, pullRequest, known, text))) return done(known, 'changed');
  const [own, ...others] = await findComments(calls, pullRequest, marker);
  // Where the token's user is unknown, another program's comment may look like one of these.
  for (const { id, isCertain } of others) if (isCertain) await calls.removeComment(pullRequest, id);
  if (own !== undefined) {
    if (own.body !== text) await calls.changeComment(pullRequest, own.id, text);
    return done(own.id, 'changed');
  }
  if (!(await mayCreate())) return { end: 'later', status: null, message: 'another controller sends this report', until: null };
  return done(await calls.addComment(pullRequest, text), 'wrote');
}

/** False when the comment does not exist any more. */
async function changed(calls: CodeHostCalls, pullRequest: number, id: number, text: string): Promise<boolean> {
  try {
    await calls.changeComment(pullRequest, id, text);
    return true;
  } catch (error) {
    if (error instanceof CallFailed && (error.tried.status === 404 || error.tried.status === 410)) return false;
    throw error;
  }
}

/** Pages of 100 comments that are searched. */
const mostPages = 30;

/** The service's own comments with the marker, oldest first. Comments of others that copied the marker are left alone. */
async function findComments(calls: CodeHostCalls, pullRequest: number, marker: string) {
  const found: Comment[] = [];
  for (let page = 1; page <= mostPages; page += 1) {
    const comments = await calls.listComments(pullRequest, page);
    found.push(...comments.filter(({ body, isOwn }) => isOwn && body.startsWith(marker)));
    if (comments.length < 100) break;
  }
  return found;
}
