/**
 * Where a stream stands: the sequence number of the newest event that was sent, by run. As text it is the id of every
 * message, `run_x.12~run_y.40`, and comes back as Last-Event-ID.
 */
export type Positions = ReadonlyMap<string, number>;

export function encodePositions(positions: Positions): string {
  return [...positions].map(([runId, seq]) => `${runId}.${seq}`).join('~');
}

/** The positions in a Last-Event-ID; what is none of ours is left out, so that a stranger's id is as good as no position. */
export function decodePositions(text: string): Positions {
  const positions = new Map<string, number>();
  for (const part of text.split('~')) {
    const match = /^(run_[0-9a-hjkmnp-tv-z]{26})\.(\d{1,9})$/.exec(part);
    if (match?.[1] !== undefined && match[2] !== undefined) positions.set(match[1], Number(match[2]));
  }
  return positions;
}
