import { type ShardGrid, type ShardState, shardState } from '@cairn/contract';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import { Icon } from '../../parts/icon.tsx';
import type { Look } from '../../parts/looks.ts';
import classes from './extraction.module.css';

export const shardLooks = {
  pending: { label: 'Open', icon: 'clock', colour: 'gray' },
  leased: { label: 'In work', icon: 'play', colour: 'blue' },
  committed: { label: 'Committed', icon: 'check', colour: 'green' },
} as const satisfies Record<ShardState, Look>;

type Shard = {
  index: number;
  state: ShardState;
  /** The ordinal of the attempt that has it. */
  worker: number | null;
  seconds: number | null;
  rejected: number;
  tries: number;
};

/** One shard of a grid. */
export function shardOf(grid: ShardGrid, index: number): Shard {
  const worker = grid.attempts[grid.workers[index] ?? -1];
  const tenths = grid.tenths[index] ?? -1;
  return {
    index,
    state: shardState.options[grid.states[index] ?? 0] ?? 'pending',
    worker: worker?.ordinal ?? null,
    seconds: tenths < 0 ? null : tenths / 10,
    rejected: grid.rejected[index] ?? 0,
    tries: grid.tries[index] ?? 0,
  };
}

/** A shard as a sentence: `Shard 12: committed by worker 3 in 41.2 s, 2 images rejected, after 2 tries`. */
function describeShard({ index, state, worker, seconds, rejected, tries }: Shard): string {
  const parts = [`Shard ${index}: ${shardLooks[state].label.toLowerCase()}${worker === null ? '' : ` by worker ${worker}`}`];
  if (seconds !== null) parts[0] += ` in ${seconds.toFixed(1)} s`;
  if (rejected > 0) parts.push(`${rejected} ${rejected === 1 ? 'image' : 'images'} rejected`);
  if (tries > 1) parts.push(`after ${tries} tries`);
  return parts.join(', ');
}

export const colourings = { state: 'by state', worker: 'by worker', time: 'by time' } as const;

type ShardCanvasProps = {
  grid: ShardGrid;
  colouring: keyof typeof colourings;
  selected: number;
  onSelect: (shard: number) => void;
};

const largestCell = 22;
const smallestCell = 5;
const maxHeight = 420;
/** Cells of this size have glyphs. */
const glyphCell = 12;
const workerColours = ['green', 'blue', 'violet', 'orange', 'red', 'gray'] as const;

/** The largest cells with which all shards fit. */
function cellOf(width: number, count: number): number {
  for (let cell = largestCell; cell > smallestCell; cell -= 1) {
    if (Math.ceil(count / Math.max(1, Math.floor(width / cell))) * cell <= maxHeight) return cell;
  }
  return smallestCell;
}

/**
 * All shards as cells: open ones are empty, those in work have a dot, committed ones are full, with a notch where images were rejected and
 * a ring where it took several tries. The arrow keys move from one to the next, and each is described in words.
 */
export function ShardCanvas({ grid, colouring, selected, onSelect }: ShardCanvasProps) {
  const { ref, width } = useElementSize();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scheme = useComputedColorScheme();
  const count = grid.states.length;
  const cell = cellOf(width, count);
  const columns = Math.max(1, Math.floor(width / cell));
  // Before the width is known, a column of cells would be the height of the page many times over.
  const height = width === 0 ? 0 : Math.ceil(count / columns) * cell;
  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (context && width > 0) draw(context, { grid, colouring, selected, cell, columns, width, height, scheme });
  }, [grid, colouring, selected, cell, columns, width, height, scheme]);

  const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -count, End: count };
  return (
    <>
      <div
        ref={ref}
        className={classes.grid}
        role="slider"
        tabIndex={0}
        aria-label="Shard"
        aria-valuemin={0}
        aria-valuemax={count - 1}
        aria-valuenow={selected}
        aria-valuetext={describeShard(shardOf(grid, selected))}
        onKeyDown={(event) => {
          const by = moves[event.key];
          if (by === undefined) return;
          event.preventDefault();
          onSelect(Math.max(0, Math.min(count - 1, selected + by)));
        }}
        onClick={(event) => {
          const { left, top } = event.currentTarget.getBoundingClientRect();
          const at = Math.floor((event.clientY - top) / cell) * columns + Math.min(columns - 1, Math.floor((event.clientX - left) / cell));
          if (at < count) onSelect(at);
        }}
      >
        <canvas ref={canvas} style={{ width: '100%', height }} />
      </div>
      <p className={classes.selected}>{describeShard(shardOf(grid, selected))}</p>
      <ul className={classes.legend}>
        {Object.values(shardLooks).map((look) => (
          <li key={look.label} data-colour={look.colour}>
            <Icon name={look.icon} size={12} /> {look.label}
          </li>
        ))}
        <li data-colour="orange">
          <span className={classes.notch} /> Images rejected
        </li>
        <li data-colour="red">
          <span className={classes.ring} /> Several tries
        </li>
      </ul>
    </>
  );
}

type Drawing = Omit<ShardCanvasProps, 'onSelect'> & { cell: number; columns: number; width: number; height: number; scheme: string };

function draw(context: CanvasRenderingContext2D, { grid, colouring, selected, cell, columns, width, height }: Drawing): void {
  const scale = window.devicePixelRatio;
  const { canvas } = context;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  const colours = coloursOf(canvas);
  const slowest = Math.max(1, ...grid.tenths);
  const size = cell - (cell > 8 ? 3 : 1);
  for (let index = 0; index < grid.states.length; index++) {
    const { state, rejected, tries } = shardOf(grid, index);
    const [x, y] = [(index % columns) * cell, Math.floor(index / columns) * cell];
    const worker = grid.workers[index] ?? -1;
    const byWorker = worker < 0 ? 'gray' : (workerColours[worker % workerColours.length] ?? 'gray');
    const colour = colours[colouring === 'worker' ? byWorker : shardLooks[state].colour];
    context.globalAlpha = colouring === 'time' && state === 'committed' ? 0.2 + (0.8 * (grid.tenths[index] ?? 0)) / slowest : 1;
    context.fillStyle = colour;
    context.strokeStyle = colour;
    // Thousands of open shards must not outshine the others.
    if (state === 'pending') context.globalAlpha = 0.4;
    if (state === 'committed') context.fillRect(x, y, size, size);
    else context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    if (state === 'leased') context.fillRect(x + size / 4, y + size / 4, size / 2, size / 2);
    context.globalAlpha = 1;
    if (colouring === 'worker' && worker >= 0 && cell >= glyphCell + 4) {
      context.fillStyle = state === 'committed' ? colours.surface : colour;
      context.font = '9px sans-serif';
      context.textAlign = 'center';
      context.fillText(String(grid.attempts[worker]?.ordinal ?? ''), x + size / 2, y + size / 2 + 3);
    }
    if (rejected > 0) {
      context.fillStyle = colours.orange;
      context.beginPath();
      context.moveTo(x + size, y);
      context.lineTo(x + size, y + size / 2);
      context.lineTo(x + size / 2, y);
      context.fill();
    }
    if (tries > 1) {
      context.strokeStyle = colours.red;
      context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    }
  }
  const [x, y] = [(selected % columns) * cell, Math.floor(selected / columns) * cell];
  // Larger than the cell, so that it is seen among thousands.
  const margin = Math.max(0, (glyphCell - size) / 2);
  for (const [colour, lineWidth] of [
    [colours.surface, 5],
    [colours.text, 2],
  ] as const) {
    context.strokeStyle = colour;
    context.lineWidth = lineWidth;
    context.strokeRect(x - margin, y - margin, size + 2 * margin, size + 2 * margin);
  }
}

/** The colours of the theme, as a canvas takes them: the browser resolves them. */
function coloursOf(canvas: HTMLCanvasElement): Record<(typeof workerColours)[number] | 'surface' | 'text', string> {
  const resolved = (value: string): string => {
    canvas.style.color = value;
    return getComputedStyle(canvas).color;
  };
  const look = (name: (typeof workerColours)[number]): string => resolved(`var(--look-${name}-text)`);
  const colours = {
    ...{ green: look('green'), blue: look('blue'), violet: look('violet'), orange: look('orange'), red: look('red'), gray: look('gray') },
    surface: resolved('var(--surface)'),
    text: resolved('var(--mantine-color-text)'),
  };
  canvas.style.color = '';
  return colours;
}
