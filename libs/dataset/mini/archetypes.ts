import { castle, church, domed, temple, triumphalArch } from './halls.ts';
import { highRise, lighthouse, pagoda, stepped, windmill } from './towers.ts';

/** The kinds of buildings that landmarks are. */
export const archetypes = { church, castle, temple, domed, pagoda, lighthouse, highRise, stepped, triumphalArch, windmill } as const;
export type ArchetypeName = keyof typeof archetypes;
