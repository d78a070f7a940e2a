import type { SubmitRequestInput } from '@cairn/contract';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { assignmentsOf } from './recipe-text.ts';

type Props = { request: SubmitRequestInput | null; name: string; yaml: string };

/** The command and the call that submit the same. */
export function CopySubmission({ request, name, yaml }: Props) {
  if (request === null) return null;
  const { recipe, set = {}, dataset, until, priority, noReuse } = request;
  const isNamed = typeof recipe === 'string';
  const options = [
    isNamed ? `--recipe ${quoted(recipe)}` : '-f -',
    ...(isNamed ? assignmentsOf(set).map((assignment) => `--set ${quoted(assignment)}`) : []),
    ...(dataset === undefined ? [] : [`--dataset ${quoted(dataset)}`]),
    ...(until === undefined ? [] : [`--until ${quoted(until.join(','))}`]),
    ...(priority === undefined ? [] : [`--priority=${priority}`]),
    ...(Array.isArray(noReuse) ? [`--no-reuse=${quoted(noReuse.join(','))}`] : []),
    ...(name === '' ? [] : [`--name ${quoted(name)}`]),
  ];
  // The text has the changes: a whole recipe is given as it is written.
  const input = isNamed ? '' : ` <<'END_OF_RECIPE'\n${yaml}${yaml.endsWith('\n') ? '' : '\n'}END_OF_RECIPE`;
  return (
    <CopyCall
      cli={`cairn submit ${options.join(' ')}${input}`}
      call={{ method: 'POST', path: '/v1/runs', body: { ...request, ...(name === '' ? {} : { name }) } }}
    />
  );
}
