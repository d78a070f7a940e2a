import type { Rgb } from './solids.ts';

/** A number as it stands in a drawing: two decimals are a hundredth of a pixel, and the same text on every machine. */
export function px(value: number): string {
  const rounded = Math.round(value * 100) / 100;
  return Object.is(rounded, -0) ? '0' : String(rounded);
}

export function rgb(color: Rgb): string {
  const channel = (value: number): number => Math.min(255, Math.max(0, Math.round(value)));
  return `rgb(${channel(color[0])},${channel(color[1])},${channel(color[2])})`;
}

/** Path data of one closed polygon. */
export function outline(points: readonly (readonly [number, number])[]): string {
  return `M${points.map(([x, y]) => `${px(x)} ${px(y)}`).join('L')}Z`;
}

export function path(data: string, fill: string, opacity = 1): string {
  return `<path d="${data}" fill="${fill}"${opacity < 1 ? ` fill-opacity="${px(opacity)}"` : ''}/>`;
}

export function ellipse(x: number, y: number, rx: number, ry: number, fill: string, opacity = 1): string {
  const faded = opacity < 1 ? ` fill-opacity="${px(opacity)}"` : '';
  return `<ellipse cx="${px(x)}" cy="${px(y)}" rx="${px(rx)}" ry="${px(ry)}" fill="${fill}"${faded}/>`;
}

export function rect(x: number, y: number, width: number, height: number, fill: string): string {
  return `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" fill="${fill}"/>`;
}

/** A picture of the given size in pixels. */
export function svg(width: number, height: number, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${body}</svg>`;
}
