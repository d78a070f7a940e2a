/** A duration from seconds: `0.8 s`, `48 s`, `3 min 05 s`, `2 h 14 min`, `3 d 4 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.round(Math.max(0, seconds));
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A running duration, without tenths, which would only flicker. */
export function formatRunning(seconds: number): string {
  return seconds < 9.95 ? `${Math.floor(Math.max(0, seconds))} s` : formatDuration(seconds);
}

/** How long ago a time was: `just now`, `48 s ago`, `3 min ago`, `2 h ago`, `5 d ago`. */
export function formatAgo(at: string | Date, now: Date): string {
  const seconds = (now.getTime() - new Date(at).getTime()) / 1000;
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** When a time to come is: `now`, `in 48 s`, `in 23 h 59 min`. */
export function formatUntil(at: string | Date, now: Date): string {
  const seconds = (new Date(at).getTime() - now.getTime()) / 1000;
  return seconds < 1 ? 'now' : `in ${formatRunning(seconds)}`;
}

/** Seconds between two times; the second one defaults to now. */
export function secondsBetween(from: string, to: string | null, now: Date): number {
  const end = to === null ? now.getTime() : new Date(to).getTime();
  return Math.max(0, (end - new Date(from).getTime()) / 1000);
}

/** Bytes in decimal units: `812 B`, `12.3 MB`, `1.2 TB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A whole number with thousands separators: `4,925,110`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** A share of 1 in percent: `75.6 %`. */
export function formatPercent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** Two shares as the ends of an interval in percent: `60.2 to 73.5`. */
export function formatRange(low: number, high: number, digits = 1): string {
  return `${(low * 100).toFixed(digits)} to ${(high * 100).toFixed(digits)}`;
}

/** The 95 % interval of a share, to follow it: ` (95 %: 60.2 to 73.5)`; empty where there is none. */
export function formatInterval(low: number | undefined, high: number | undefined, digits = 1): string {
  return low === undefined || high === undefined ? '' : ` (95 %: ${formatRange(low, high, digits)})`;
}

/** A number of things and their name: `1 step`, `11 steps`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** A measured number in about three digits: `6.91`, `68.3`, `1,204`. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1000) return formatCount(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
