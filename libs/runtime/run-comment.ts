import { firstOf, type RunView, type StepView, type StoredJudgement } from '@cairn/contract';
import { formatDuration, formatInterval, formatNumber, formatPercent, plural, secondsBetween } from './units.ts';

/** What became of a run's gate: its judgement, or why it was not judged; both null without a gate, and where the run did not succeed. */
export type GateOutcome = { judgement: StoredJudgement | null; refusal: string | null };

type CommentOptions = GateOutcome & {
  /** The service's address, for the command that shows the run; null where it is not known. */
  url: string | null;
  /** The run's page in the dashboard. */
  page: string | null;
  now: Date;
};

/** With these a comment stays below the 65,536 characters that GitHub accepts, whatever was said. */
const most = { steps: 150, failures: 5, message: 2_000 };

/** The state and the outcome of a run, as a comment for a pull request. Text from others is escaped. */
export function runComment(run: RunView, { judgement, refusal, url, page, now }: CommentOptions): string {
  const title = judgement !== null ? `gate ${judgement.verdict}` : refusal !== null ? 'gate not judged' : run.state;
  const name = markdownText(run.name);
  return `${[
    `### ${page === null ? name : `[${name}](${page})`}: ${title}`,
    '',
    ...(refusal === null ? [] : [markdownText(refusal), '']),
    ...(judgement === null
      ? []
      : [markdownCode(judgement.gate), '', markdownText(judgement.reason), '', ...lostTable(judgement, page === null ? null : url)]),
    ...(judgement?.promotion == null ? [] : [markdownText(judgement.promotion.reason), '']),
    ...(run.cause === null ? [] : [markdownText(run.cause), '']),
    ...run.stepViews
      .filter((step) => step.state === 'failed')
      .slice(0, most.failures)
      .flatMap(failureLines),
    summaryOf(run, now),
    '',
    '<details><summary>Steps</summary>',
    '',
    ...markdownTable(
      ['step', 'kind', 'state', 'time', 'mAP@100'],
      run.stepViews.map((step) => stepRow(step, now)),
    ),
    '',
    '</details>',
    '',
    `${markdownCode(`cairn show ${run.name}`)}${url === null ? '' : ` at ${markdownText(url)}`}`,
  ].join('\n')}\n`;
}

function summaryOf(run: RunView, now: Date): string {
  const took = formatDuration(secondsBetween(run.startedAt ?? run.createdAt, run.finishedAt, now));
  const { done, total, reused } = run.steps;
  const figures = [
    `${markdownText(run.recipe)} on ${markdownText(run.dataset)}`,
    took,
    ...(run.finishedAt === null ? [`${done} of ${plural(total, 'step')} done`] : []),
    `${reused} of ${plural(total, 'step')} reused`,
    ...(run.gpuSeconds > 0 ? [`${formatNumber(run.gpuSeconds / 3600)} GPU-hours`] : []),
  ];
  return `${figures.join(', ')}.`;
}

/** The failure, what was done about it, and what to do. */
function failureLines({ name, failure, failureCard: card }: StepView): string[] {
  const said = card?.message ?? failure?.message;
  return [
    `**${markdownText(name)} failed**${said === undefined ? '' : `: ${markdownText(firstOf(said, most.message))}`}`,
    '',
    ...(card === null ? [] : [markdownText([...card.done, card.remedy].join(' ')), '']),
  ];
}

function stepRow(step: StepView, now: Date): string[] {
  const { name, kind, state, progress, startedAt, finishedAt, scores } = step;
  const share =
    state === 'active' && progress !== null && progress.total > 0 ? ` (${Math.floor((100 * progress.done) / progress.total)} %)` : '';
  const score = scores.mapAt100;
  return [
    markdownText(name),
    kind,
    `${state}${share}`,
    startedAt === null ? '' : formatDuration(secondsBetween(startedAt, finishedAt, now)),
    score === undefined ? '' : `${formatPercent(score)}${formatInterval(scores['mapAt100.low'], scores['mapAt100.high'])}`,
  ];
}

/** Each query leads to its picture and what was found for it, with both models, where the address of the dashboard is known. */
function lostTable({ verdict, lost, evaluation, baseline }: StoredJudgement, dashboard: string | null): string[] {
  if (verdict === 'passed' || lost.length === 0) return [];
  const linked = (queryId: string): string => {
    if (dashboard === null || baseline === null) return markdownCode(queryId);
    const search = new URLSearchParams({ of: evaluation.id, against: baseline.evaluationId, query: queryId });
    return `[${markdownCode(queryId)}](<${dashboard}/evaluation?${search}>)`;
  };
  const rows = lost.map(({ queryId, a, b }) => [linked(queryId), formatPercent(a), formatPercent(b)]);
  return ['Queries that lost most:', '', ...markdownTable(['query', 'AP before', 'AP now'], rows), ''];
}

/**
 * Text from others in Markdown: readable, on one line, and without being interpreted as Markdown or HTML. A code host notifies nobody
 * because of it: an escape does not prevent a mention, but a space of no width behind the sign does.
 */
export function markdownText(text: string): string {
  const line = oneLine(text);
  const url = /^https?:\/\/\S+$/.test(line) ? URL.parse(line) : null;
  // Escapes inside an address would become part of it: it is normalized, which leaves no brackets in it.
  if (url !== null && !/[<>]/.test(url.href)) return `<${url.href}>`;
  return line
    .replace(/[\\`*_[\]|~$#!]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/(?<!\w)@(?=\w)/g, '@&#8203;');
}

/** Text from others as code: fenced by more backticks than it has in a row. */
export function markdownCode(text: string): string {
  const line = oneLine(text);
  const fence = '`'.repeat(Math.max(0, ...(line.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  return line.includes('`') ? `${fence} ${line} ${fence}` : `${fence}${line}${fence}`;
}

/** A table whose cells are Markdown already, except that nothing in them ends a cell or a row. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => oneLine(cell).replace(/(\\*)\|/g, escapedPipe)).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)];
}

/** A pipe behind an odd number of backslashes is escaped already. */
const escapedPipe = (pipe: string, { length }: string): string => (length % 2 === 1 ? pipe : `${pipe.slice(0, -1)}\\|`);

/** Without line ends, control characters, direction marks and lone surrogates. */
function oneLine(text: string): string {
  return text
    .replace(/[\s\u0085]+/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '')
    .trim();
}
