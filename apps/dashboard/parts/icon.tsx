/** Shapes of 16 x 16 pixels, drawn as strokes unless filled. */
const shapes = {
  check: <path d="M3 8.5l3.2 3.2L13 4.8" />,
  cross: <path d="M4 4l8 8M12 4l-8 8" />,
  play: <path d="M5 3.2v9.6l7.6-4.8z" fill="currentColor" />,
  clock: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="M8 4.8V8l2.2 1.4" />
    </>
  ),
  pause: <path d="M5.5 3.5v9M10.5 3.5v9" />,
  stop: <rect x="4" y="4" width="8" height="8" />,
  ban: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="M4.2 4.2l7.6 7.6" />
    </>
  ),
  lock: (
    <>
      <rect x="3.8" y="7.2" width="8.4" height="5.8" rx="1" />
      <path d="M5.6 7V5.2a2.4 2.4 0 0 1 4.8 0V7" />
    </>
  ),
  recycle: <path d="M13 8a5 5 0 1 1-1.6-3.7M13 2.6v2.9h-2.9" />,
  question: (
    <>
      <path d="M5.4 6a2.6 2.6 0 1 1 3.8 2.3C8.4 8.8 8 9.3 8 10.2" />
      <circle cx="8" cy="12.8" r="0.6" fill="currentColor" />
    </>
  ),
  info: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="M8 7.4v3.4M8 5.1v.2" />
    </>
  ),
  warning: (
    <>
      <path d="M8 2.5L14.2 13H1.8z" />
      <path d="M8 6.4v3M8 11.2v.2" />
    </>
  ),
  rocket: <path d="M8 13V4M4.5 7L8 3.3 11.5 7" />,
  copy: (
    <>
      <rect x="5.5" y="5.5" width="8" height="8" rx="1" />
      <path d="M10.5 3.5v-1h-8v8h1" />
    </>
  ),
  sun: (
    <>
      <circle cx="8" cy="8" r="2.8" />
      <path d="M8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M3.4 12.6l1.1-1.1M11.5 4.5l1.1-1.1" />
    </>
  ),
  moon: <path d="M13 9.5A5.6 5.6 0 1 1 6.5 3a4.5 4.5 0 0 0 6.5 6.5z" />,
  up: <path d="M8 13V3.5M4 7.2L8 3.2l4 4" />,
  down: <path d="M8 3v9.5M4 8.8l4 4 4-4" />,
  chevron: <path d="M3.5 6l4.5 4.5L12.5 6" />,
  search: (
    <>
      <circle cx="7" cy="7" r="4.2" />
      <path d="M10.2 10.2L14 14" />
    </>
  ),
  columns: <path d="M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10" />,
  user: (
    <>
      <circle cx="8" cy="5.4" r="2.6" />
      <path d="M2.8 13.6a5.3 5.3 0 0 1 10.4 0" />
    </>
  ),
} as const;

export type IconName = keyof typeof shapes;

/** A picture beside a text that says the same: it has no name of its own. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      style={{ flex: 'none' }}
    >
      {shapes[name]}
    </svg>
  );
}
