import { type Call, quoted } from '../../parts/copy-call.tsx';
import { parametersOf, type RunsFilter } from './runs-query.ts';

/** The command and the call that list the same runs as the table. */
export function callsOf(filter: RunsFilter): { cli: string; call: Call } {
  const parameters = new URLSearchParams();
  const given = parametersOf(filter, Date.now());
  for (const [key, value] of Object.entries(given)) {
    for (const one of Array.isArray(value) ? value : [value]) parameters.append(key, String(one));
  }
  const options = [
    ...(filter.q === undefined ? [] : ['--search', quoted(filter.q)]),
    ...(['state', 'recipe', 'owner', 'label', 'tag'] as const).flatMap((key) =>
      (filter[key] ?? []).flatMap((value) => [`--${key}`, quoted(value)]),
    ),
    ...(given.createdAfter === undefined ? [] : ['--created-after', given.createdAfter]),
    ...(filter.sort === undefined ? [] : [`--sort=${filter.sort}`]),
  ];
  return { cli: ['cairn runs', ...options].join(' '), call: { path: `/v1/runs?${parameters}` } };
}
