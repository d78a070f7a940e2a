import { useEffect } from 'react';
import { useServices } from './services.ts';

/**
 * Keeps the cached answers of these topics up to date while the component is shown. Follow `run:<id>` only of a run that was read: the
 * stream of a run that does not exist is refused.
 */
export function useFollow(...topics: readonly string[]): void {
  const { live } = useServices();
  const list = topics.join(',');
  useEffect(() => (list === '' ? undefined : live.follow(list.split(','))), [live, list]);
}
