import type { CairnClient } from '@cairn/client';
import { queryOptions, useQuery } from '@tanstack/react-query';
import { useCallback } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import type { SettingRow } from './setting-rows.ts';

/** Most names of a field. */
const most = 200;

export const modelNamesQuery = (client: CairnClient) =>
  queryOptions({ queryKey: [...keys.models, 'names'], queryFn: ({ signal }) => client.listModels({ limit: most }, { signal }) });
export const weightNamesQuery = (client: CairnClient) =>
  queryOptions({ queryKey: ['weights'], queryFn: ({ signal }) => client.listWeights({ limit: most }, { signal }) });

/** The names that fit a setting: imported weights and matchers, registered models, and what has been trained in other runs by their ids. */
export function useSuggestions(): (row: SettingRow) => readonly string[] {
  const { client } = useServices();
  const weights = useQuery(weightNamesQuery(client));
  const models = useQuery(modelNamesQuery(client));
  const weightNames = weights.data?.items;
  const modelNames = models.data?.items;
  return useCallback(
    ({ path }) => {
      const last = path.at(-1);
      const isMatcher = last === 'matcher';
      if (isMatcher || last === 'weights')
        return ['null', ...(weightNames ?? []).flatMap(({ name, content }) => ((content === 'matcher') === isMatcher ? [name] : []))];
      if (last !== 'registered' && !(last === 'model' && path.includes('inputs'))) return none;
      return (modelNames ?? []).flatMap(({ name, version, aliases }) => [
        name,
        `${name}@${version}`,
        ...aliases.map((one) => `${name}@${one}`),
      ]);
    },
    [weightNames, modelNames],
  );
}

const none: readonly string[] = [];
