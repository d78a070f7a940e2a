import { type AnnotateRequest, CairnError, maxTags } from '@cairn/contract';
import { audit } from './audit.ts';
import type { Actor, EngineContext } from './engine.ts';
import { emit } from './run-work.ts';
import { withRun } from './with-run.ts';

/**
 * Changes the note and the tags of a run. What the request leaves out stays; without a change nothing is recorded.
 *
 * @throws CairnError `not_found`; `wrong_state` when the note is not `ifNote`; `invalid_request` for too many tags
 */
export async function annotateRun(ctx: EngineContext, runId: string, request: AnnotateRequest, actor: Actor): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    const { note: oldNote, tags: oldTags } = await run.tx.run.findUniqueOrThrow({
      where: { id: runId },
      select: { note: true, tags: true },
    });
    if (request.ifNote !== undefined && request.ifNote !== (oldNote ?? ''))
      throw new CairnError('wrong_state', `The note of ${run.name} was changed meanwhile`, {
        details: { remedy: 'Read it again, and put what you wrote and the new note together.', note: oldNote ?? '' },
      });
    const note = request.note === undefined ? oldNote : request.note.trim() === '' ? null : request.note;
    const tags = [...new Set([...oldTags, ...request.addTags])].filter((tag) => !request.removeTags.includes(tag));
    if (tags.length > maxTags)
      throw new CairnError('invalid_request', `A run has at most ${maxTags} tags; ${run.name} would have ${tags.length}`, {
        details: { remedy: 'Remove one of its tags first.' },
      });
    const added = tags.filter((tag) => !oldTags.includes(tag));
    const removed = oldTags.filter((tag) => !tags.includes(tag));
    const isNoteNew = note !== oldNote;
    if (!isNoteNew && added.length + removed.length === 0) return;
    await run.tx.run.update({
      where: { id: runId },
      data: { tags, ...(isNoteNew ? { note, noteBy: note === null ? null : actor.name, noteAt: note === null ? null : run.now } : {}) },
      select: { id: true },
    });
    const change = (value: { note: string | null; tags: readonly string[] }) => ({
      ...(isNoteNew ? { note: value.note } : {}),
      ...(added.length + removed.length > 0 ? { tags: value.tags } : {}),
    });
    await audit(run.tx, actor, {
      ...{ action: 'run.annotate', target: runId },
      ...{ before: change({ note: oldNote, tags: oldTags }), after: change({ note, tags }) },
    });
    const parts = [
      ...(isNoteNew ? [note === null ? 'removed the note' : oldNote === null ? 'wrote a note' : 'changed the note'] : []),
      ...(added.length > 0 ? [`added the ${added.length === 1 ? 'tag' : 'tags'} ${added.join(', ')}`] : []),
      ...(removed.length > 0 ? [`removed the ${removed.length === 1 ? 'tag' : 'tags'} ${removed.join(', ')}`] : []),
    ];
    emit(run, 'note', `${actor.name} ${parts.join(' and ')}`, {});
  });
}
