export {
  formatAgo,
  formatBytes,
  formatCount,
  formatDuration,
  formatInterval,
  formatNumber,
  formatPercent,
  formatRange,
  formatRunning,
  formatUntil,
  plural,
  secondsBetween,
} from '@cairn/runtime';
