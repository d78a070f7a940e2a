import { Button, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useRouter, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useServices } from '../../app/services.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './sign-in.module.css';

export function SignInPage() {
  const { to = '/' } = useSearch({ from: '/sign-in' });
  const { client, queries, live } = useServices();
  const router = useRouter();
  const [token, setToken] = useState('');
  useTitle('Sign in');
  const signIn = useMutation({
    mutationFn: () => client.startSession(token.trim()),
    onSuccess: () => {
      queries.clear();
      live.announceSession();
      router.history.replace(to);
    },
  });
  return (
    <main className={classes.page}>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate();
        }}
      >
        <h1>Sign in to Cairn</h1>
        <TextInput
          label="Token"
          description="From an admin, or with `cairn up` and the demo in the file admin.token of the service's folder."
          type="password"
          autoComplete="current-password"
          required
          autoFocus
          value={token}
          onChange={(event) => setToken(event.currentTarget.value)}
        />
        <Button type="submit" loading={signIn.isPending}>
          Sign in
        </Button>
        {signIn.error !== null && <ProblemNotice error={signIn.error} />}
      </form>
    </main>
  );
}
