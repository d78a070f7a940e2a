/** Numbers for people, with their units. */

import { gpuHoursText } from '@cairn/contract';

const locale = 'en-GB';
const count = new Intl.NumberFormat(locale);
const oneDecimal = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });

export const formatCount = (value: number): string => count.format(value);
/** `1 run`, `2 runs`: of nouns whose plural has an s. */
export const formatCounted = (count: number, noun: string): string => `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
/** 0.12345 as `12.3 %`. */
export const formatShare = (share: number): string => `${oneDecimal.format(share * 100)} %`;
/** mAP@100, which is between 0 and 1, in percent with one decimal, as the command line and publications of the dataset give it. */
export const formatMap = (value: number): string => `${(value * 100).toFixed(1)} %`;

/** GPU-seconds as GPU-hours: `0.02 GPU h`, `4.1 GPU h`, `1,204 GPU h`. */
export const formatGpuHours = (gpuSeconds: number): string => `${gpuHoursText(gpuSeconds / 3600)} GPU h`;

const money = new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
/** In the currency of the prices of pools, which has no name here. */
export const formatMoney = (amount: number | null): string => (amount === null ? '-' : money.format(amount));

const byteUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
export function formatBytes(bytes: number): string {
  const power = Math.min(byteUnits.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${oneDecimal.format(bytes / 1000 ** power)} ${byteUnits[power]}`;
}

/** A duration by its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return pair(minutes, 'min', seconds % 60, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, 'h', minutes % 60, 'min');
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}
const pair = (large: number, largeUnit: string, small: number, smallUnit: string): string =>
  small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;

/** How long until then, by the largest unit alone: `in 12 s`, `in 5 min`, `in 3 h`, `in 4 d`; `now` when it is due. */
export const formatUntil = (ms: number): string => (ms < 1000 ? 'now' : `in ${formatAge(ms).replace(' ago', '')}`);

/** How long ago, by the largest unit alone: `12 s ago`, `5 min ago`, `3 h ago`, `4 d ago`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${count.format(Math.floor(seconds / 86_400))} d ago`;
}
