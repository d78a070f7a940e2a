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
  plural,
  secondsBetween,
} from '@cairn/runtime';
