import { idOf, safeName } from '@cairn/contract';
import { z } from 'zod';

/** Names and ids in paths: none can leave its folder, and none ever touches a file. */
export const runParams = z.object({ id: idOf('run') });
export const stepParams = z.object({ id: idOf('run'), name: safeName });
export const attemptParams = z.object({ id: idOf('attempt') });
export const nameParams = z.object({ name: safeName });
