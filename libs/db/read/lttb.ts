/** Points of one curve: equally long arrays. */
export type Points = { steps: number[]; values: number[]; times: number[] };

/**
 * Largest-triangle-three-buckets (S. Steinarsson, "Downsampling Time Series for Visual Representation", 2013): keeps the first and the last
 * point and from each bucket between them the one that forms the largest triangle with the previously kept point and the next bucket's
 * mean, so that peaks stay visible. `steps` must ascend; at most `maxPoints` (>= 2) remain.
 */
export function lttb(points: Points, maxPoints: number): Points {
  const { steps, values } = points;
  const count = steps.length;
  if (count <= maxPoints) return points;
  const kept = [0];
  const buckets = maxPoints - 2;
  const size = (count - 2) / buckets;
  const edge = (bucket: number) => Math.floor(bucket * size) + 1;
  for (let bucket = 0, previous = 0; bucket < buckets; bucket += 1) {
    const next = mean(points, edge(bucket + 1), bucket + 1 < buckets ? edge(bucket + 2) : count);
    let best = edge(bucket);
    let bestArea = -1;
    for (let index = edge(bucket); index < edge(bucket + 1); index += 1) {
      const area = Math.abs(
        (at(steps, previous) - next.step) * (at(values, index) - at(values, previous)) -
          (at(steps, previous) - at(steps, index)) * (next.value - at(values, previous)),
      );
      if (area > bestArea) {
        bestArea = area;
        best = index;
      }
    }
    kept.push(best);
    previous = best;
  }
  kept.push(count - 1);
  return { steps: pick(steps, kept), values: pick(values, kept), times: pick(points.times, kept) };
}

function mean({ steps, values }: Points, from: number, to: number): { step: number; value: number } {
  let step = 0;
  let value = 0;
  for (let index = from; index < to; index += 1) {
    step += at(steps, index);
    value += at(values, index);
  }
  return { step: step / (to - from), value: value / (to - from) };
}

const at = (numbers: readonly number[], index: number): number => numbers[index] ?? 0;
const pick = (numbers: readonly number[], indices: readonly number[]): number[] => indices.map((index) => at(numbers, index));
