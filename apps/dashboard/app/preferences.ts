import { useSyncExternalStore } from 'react';
import { z } from 'zod';

const zoneKey = 'cairn-time-zone';
const timeZone = z.enum(['local', 'utc']);
export type TimeZoneChoice = z.infer<typeof timeZone>;

const read = (): TimeZoneChoice => timeZone.catch('local').parse(localStorage.getItem(zoneKey));

const subscribe = (listener: () => void): (() => void) => {
  // `storage` comes from other tabs only; this tab sends one to itself.
  window.addEventListener('storage', listener);
  return () => window.removeEventListener('storage', listener);
};

/** How times are shown: in the browser's zone or in UTC. Kept in this browser, for all tabs. */
export function useTimeZone(): [TimeZoneChoice, (choice: TimeZoneChoice) => void] {
  const choice = useSyncExternalStore(subscribe, read);
  return [
    choice,
    (next) => {
      localStorage.setItem(zoneKey, next);
      window.dispatchEvent(new StorageEvent('storage', { key: zoneKey }));
    },
  ];
}
