import type { CallerAction } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { meQuery } from './queries.ts';
import { useServices } from './services.ts';

/** Who is signed in. */
export function useMe() {
  const { client } = useServices();
  return useQuery(meQuery(client));
}

/** Whether the role allows an action: a button that it does not allow is not shown. */
export const useMay = (action: CallerAction): boolean => useMe().data?.actions.includes(action) ?? false;
