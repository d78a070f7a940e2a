import { isCairnError, maxNoteCharacters, maxTags, type RunNote, type RunView, runTag } from '@cairn/contract';
import { Button, Textarea, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Icon } from '../../parts/icon.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './run.module.css';

type AnnotateInput = Parameters<ReturnType<typeof useServices>['client']['annotateRun']>[1];

/** What people wrote about a run: its tags and its note, and the fields to change them. */
export function RunNotes({ run }: { run: RunView }) {
  const mayAnnotate = useMay('run.annotate');
  const { client, queries } = useServices();
  const [draft, setDraft] = useState<{ text: string; of: string } | null>(null);
  const annotate = useMutation({
    mutationFn: (change: AnnotateInput) => client.annotateRun(run.id, change),
    onSuccess: (view) => queries.setQueryData(keys.run(run.id), view),
  });
  if (!mayAnnotate && run.tags.length === 0 && run.note === null) return null;
  const note = run.note?.text ?? '';
  const save = async ({ text, of }: { text: string; of: string }): Promise<void> => {
    await annotate.mutateAsync({ note: text, ifNote: of });
    setDraft(null);
  };
  return (
    <section className={classes.notes} aria-label="Notes and tags">
      <div className={classes.tags}>
        {run.tags.map((tag) => (
          <span key={tag} className={classes.tag}>
            <Link to="/runs" search={{ tag: [tag] }}>
              {tag}
            </Link>
            {mayAnnotate && (
              <button type="button" aria-label={`Remove the tag ${tag}`} onClick={() => annotate.mutate({ removeTags: [tag] })}>
                <Icon name="cross" size={10} />
              </button>
            )}
          </span>
        ))}
        {mayAnnotate && run.tags.length < maxTags && <AddTag onAdd={(tag) => annotate.mutate({ addTags: [tag] })} />}
        {mayAnnotate && draft === null && (
          <Button variant="default" size="compact-xs" onClick={() => setDraft({ text: note, of: note })}>
            {run.note === null ? 'Write a note' : 'Change the note'}
          </Button>
        )}
      </div>
      {annotate.error !== null && <ProblemNotice error={annotate.error} />}
      {draft === null ? (
        run.note !== null && <Note note={run.note} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            // What is wrong is shown above; what was written stays in the field.
            void save(draft).catch(() => undefined);
          }}
        >
          <Textarea
            label="Note"
            autosize
            minRows={3}
            maxRows={16}
            maxLength={maxNoteCharacters}
            value={draft.text}
            onChange={(event) => setDraft({ ...draft, text: event.currentTarget.value })}
          />
          {isCairnError(annotate.error, 'wrong_state') && (
            <div>
              <strong>The note now:</strong>
              {run.note === null ? <p>It was removed.</p> : <Note note={run.note} />}
              <Button variant="default" size="compact-xs" onClick={() => setDraft({ ...draft, of: note })}>
                I have taken it into account
              </Button>
            </div>
          )}
          <div className={classes.noteButtons}>
            <Button type="submit" loading={annotate.isPending}>
              Save the note
            </Button>
            <Button
              variant="default"
              onClick={() => {
                annotate.reset();
                setDraft(null);
              }}
            >
              Discard
            </Button>
          </div>
        </form>
      )}
    </section>
  );
}

function Note({ note: { text, by, at } }: { note: RunNote }) {
  return (
    <>
      <p className={classes.note}>{text}</p>
      <p className={classes.dim}>
        {by}, <Ago at={at} />
      </p>
    </>
  );
}

/** Enter adds the tag; what no tag can be is said before it is sent. */
function AddTag({ onAdd }: { onAdd: (tag: string) => void }) {
  const [text, setText] = useState('');
  const parsed = runTag.safeParse(text.trim());
  const fault = text.trim() === '' || parsed.success ? null : (parsed.error.issues[0]?.message ?? 'This cannot be a tag');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (!parsed.success) return;
        onAdd(parsed.data);
        setText('');
      }}
    >
      <TextInput
        size="xs"
        aria-label="Add a tag"
        placeholder="add a tag"
        maxLength={40}
        value={text}
        error={fault}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </form>
  );
}
