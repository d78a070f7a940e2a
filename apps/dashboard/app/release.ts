import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useServices } from './services.ts';

const checkMs = 10 * 60_000;

/**
 * True when the service serves another build of the dashboard than when this tab was opened. It asks when the page is opened or shown
 * again, and when the connection is back, because a release restarts the service.
 *
 * @param openSince when the connection was opened; null while there is none
 */
export function useNewRelease(openSince: number | null): boolean {
  const { client } = useServices();
  const served = useQuery({
    queryKey: ['release', openSince],
    queryFn: ({ signal }) => client.getVersion({ signal }),
    staleTime: checkMs,
    // `npm run dev` has no build.
    enabled: import.meta.env.PROD && openSince !== null,
  });
  const build = served.data?.build;
  const [opened, setOpened] = useState<string>();
  if (opened === undefined && build !== undefined) setOpened(build);
  return build !== undefined && opened !== undefined && build !== opened;
}
