import type { PlotColour } from '../../parts/plot.tsx';
import classes from './compare.module.css';

/** How the runs of a comparison are told apart: by a letter, a colour and the dashes of their lines. At most eight. */
const looks: readonly { colour: PlotColour; dash: readonly number[] }[] = [
  { colour: { light: '#0d6b64', dark: '#5fd0c5' }, dash: [] },
  { colour: { light: '#1d4f91', dark: '#7fb4ff' }, dash: [9, 3] },
  { colour: { light: '#a84b12', dark: '#ffab70' }, dash: [3, 3] },
  { colour: { light: '#6d33a3', dark: '#cfa6ff' }, dash: [12, 3, 3, 3] },
  { colour: { light: '#a31545', dark: '#ff8fb3' }, dash: [6, 6] },
  { colour: { light: '#456f0c', dark: '#a3d65c' }, dash: [2, 5] },
  { colour: { light: '#7c5b00', dark: '#e0c050' }, dash: [15, 5] },
  { colour: { light: '#475569', dark: '#b6c2cf' }, dash: [9, 3, 2, 3, 2, 3] },
];

export const letterOf = (index: number): string => String.fromCharCode(65 + index);
export const lookOf = (index: number): { colour: PlotColour; dash: readonly number[] } =>
  looks[index % looks.length] ?? { colour: { light: '#475569', dark: '#b6c2cf' }, dash: [] };

/** The letter of a run on its colour. */
export function RunMark({ index }: { index: number }) {
  const { light, dark } = lookOf(index).colour;
  return (
    <span className={classes.mark} style={{ background: `light-dark(${light}, ${dark})` }} aria-hidden="true">
      {letterOf(index)}
    </span>
  );
}
