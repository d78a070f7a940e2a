import { z } from 'zod';

/**
 * Whether a field of a step's settings changes the step's result. Only `result` fields enter a step's memo key: loader
 * threads must not retrain a model. Every field carries a mark (`x-affects` in the JSON Schema); a test fails on an unmarked one.
 */
export const settingMark = z.enum(['result', 'operational']);
export type SettingMark = z.infer<typeof settingMark>;

export const result = <T extends z.ZodType>(schema: T, description: string): T => schema.meta({ description, 'x-affects': 'result' });
export const operational = <T extends z.ZodType>(schema: T, description: string): T =>
  schema.meta({ description, 'x-affects': 'operational' });

/** The mark of a settings field, or null when it carries none. */
export function markOf(schema: z.ZodType): SettingMark | null {
  return settingMark.safeParse(schema.meta()?.['x-affects']).data ?? null;
}
