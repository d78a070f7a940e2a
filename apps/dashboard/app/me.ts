import type { CallerAction } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { keys } from './query-keys.ts';
import { useServices } from './services.ts';

/** Who is signed in. */
export function useMe() {
  const { client } = useServices();
  return useQuery({ queryKey: keys.me, queryFn: ({ signal }) => client.getMe({ signal }), staleTime: 60_000 });
}

/** Whether the role allows an action: a button that it does not allow is not shown. */
export const useMay = (action: CallerAction): boolean => useMe().data?.actions.includes(action) ?? false;
