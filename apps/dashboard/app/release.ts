import { useQuery } from '@tanstack/react-query';
import { z } from 'zod';
import { useServices } from './services.ts';

/** What the build wrote: the address of the entry's script, which is different for each build. */
const version = z.object({ entry: z.string() });

const checkMs = 10 * 60_000;

/**
 * True when the server serves another build than the one that runs in this tab. It asks when the page is opened or shown again and when
 * the connection is back (`since`), because a release restarts the server.
 */
export function useNewRelease(since: number): boolean {
  const { release } = useServices();
  const served = useQuery({
    queryKey: ['release', since],
    queryFn: async ({ signal }) => {
      const response = await fetch('/version.json', { signal, cache: 'no-store' });
      return response.ok ? version.parse(await response.json()).entry : release;
    },
    staleTime: checkMs,
    placeholderData: release,
    enabled: release !== null,
  });
  return release !== null && served.data !== undefined && served.data !== release;
}
