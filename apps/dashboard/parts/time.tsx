import { useSyncExternalStore } from 'react';
import { type TimeZoneChoice, useTimeZone } from '../app/preferences.ts';
import { formatAge, formatUntil } from './numbers.ts';

const tickMs = 1_000;

/** Calls back every second while the page is visible. */
const everySecond = (listener: () => void): (() => void) => {
  const timer = setInterval(() => document.hidden || listener(), tickMs);
  return () => clearInterval(timer);
};
const nowSeconds = (): number => Math.floor(Date.now() / tickMs);

/** The time in milliseconds, to the second: the component renders again with every second. */
export const useNow = (): number => useSyncExternalStore(everySecond, nowSeconds) * tickMs;

/** `Mon, 30 Nov 2026, 11:08:50 UTC`, in the chosen zone and with its name. */
export function exactTime(at: string, zone: TimeZoneChoice): string {
  return new Intl.DateTimeFormat('en-GB', {
    weekday: 'short',
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
    ...(zone === 'utc' ? { timeZone: 'UTC' } : {}),
  }).format(new Date(at));
}

/** `11:08:50`, of today, in the chosen zone. */
export const clockTime = (ms: number, zone: TimeZoneChoice): string =>
  new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) }).format(ms);

/** How long ago something was; the exact time is shown on hover. It renders again only when its text changes. */
export function Ago({ at }: { at: string }) {
  const [zone] = useTimeZone();
  const text = useSyncExternalStore(everySecond, () => formatAge(Date.now() - Date.parse(at)));
  return (
    <time dateTime={at} title={exactTime(at, zone)}>
      {text}
    </time>
  );
}

/** How long until something is due; the exact time is shown on hover. */
export function Until({ at }: { at: string }) {
  const [zone] = useTimeZone();
  const text = useSyncExternalStore(everySecond, () => formatUntil(Date.parse(at) - Date.now()));
  return (
    <time dateTime={at} title={exactTime(at, zone)}>
      {text}
    </time>
  );
}

/** The exact time as text. */
export function At({ at }: { at: string }) {
  const [zone] = useTimeZone();
  return <time dateTime={at}>{exactTime(at, zone)}</time>;
}
