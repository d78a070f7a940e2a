import type { MeView } from '@cairn/contract';
import { Button, useMantineColorScheme } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, Outlet, useLocation, useNavigate, useRouter } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { Dropdown } from '../parts/dropdown.tsx';
import { Icon } from '../parts/icon.tsx';
import { liveLooks } from '../parts/looks.ts';
import { ProblemNotice } from '../parts/problem.tsx';
import { StateBadge } from '../parts/state-badge.tsx';
import { clockTime } from '../parts/time.tsx';
import classes from './layout.module.css';
import { useMe } from './me.ts';
import { useTimeZone } from './preferences.ts';
import { useServices } from './services.ts';

/** The pages that one link of the header stands for. */
const automationPages = /^\/(schedules|triggers|webhooks|code-hosts)(\/|$)/;

/** The header, and the page below it, for someone who is signed in. */
export function Layout() {
  const { live } = useServices();
  const me = useMe();
  const isSignedIn = me.data !== undefined;
  const pathname = useLocation({ select: ({ pathname: path }) => path });
  const nav = useRef<HTMLElement>(null);
  // In a narrow window the links scroll: the one of this page is in sight.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the path decides which link is current, the account how much room there is.
  useEffect(() => {
    nav.current?.querySelector('[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
  }, [pathname, isSignedIn]);
  useEffect(() => (isSignedIn ? live.start() : undefined), [live, isSignedIn]);
  return (
    <>
      <a className={classes.skip} href="#page">
        Skip to the page
      </a>
      <header className={classes.header}>
        <Link to="/" className={classes.brand} aria-label="Cairn: home">
          <img src="/favicon.svg" alt="" width="20" height="20" />
          <span>Cairn</span>
        </Link>
        <nav ref={nav} aria-label="Pages" className={classes.nav}>
          <Link to="/" activeOptions={{ exact: true }}>
            Home
          </Link>
          <Link to="/runs">Runs</Link>
          <Link to="/models">Models</Link>
          <Link to="/datasets">Datasets</Link>
          <Link to="/fleet">Fleet</Link>
          <Link to="/try">Try</Link>
          <Link to="/ledger">Ledger</Link>
          <Link to="/schedules" {...(automationPages.test(pathname) ? { 'aria-current': 'page' } : {})}>
            Automation
          </Link>
        </nav>
        <div className={classes.end}>
          {isSignedIn && <GoTo />}
          <LiveBadge />
          {me.data !== undefined && <UserMenu me={me.data} />}
        </div>
      </header>
      <Banners />
      <main className={classes.main} id="page" tabIndex={-1}>
        {me.error !== null && me.data === undefined ? (
          <ProblemNotice error={me.error} onRetry={() => void me.refetch()} />
        ) : (
          isSignedIn && <Outlet />
        )}
      </main>
    </>
  );
}

const Palette = lazy(() => import('./palette.tsx'));

/** Ctrl+K, or the button: a field to jump anywhere. Its code is loaded when it is first opened. */
function GoTo() {
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const open = (event: KeyboardEvent): void => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
      // Not over another dialog, whose question is not answered yet.
      if (document.querySelector('dialog[open]') === null) setOpen(true);
      event.preventDefault();
    };
    document.addEventListener('keydown', open);
    return () => document.removeEventListener('keydown', open);
  }, []);
  return (
    <>
      <Button variant="default" aria-label="Go to (Ctrl+K)" title="Go to (Ctrl+K)" onClick={() => setOpen(true)}>
        <Icon name="search" />
      </Button>
      {isOpen && (
        <Suspense>
          <Palette onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}

const useLiveStatus = () => {
  const { live } = useServices();
  return useSyncExternalStore(live.onStatus, live.status);
};

function LiveBadge() {
  const { state } = useLiveStatus();
  return (
    <span role="status" className={classes.live} title={state === 'open' ? 'The pages are kept up to date.' : undefined}>
      <StateBadge look={liveLooks[state]} />
    </span>
  );
}

/** What holds for every page: that its data is no longer kept up to date, and that there is a newer release of it. */
function Banners() {
  const status = useLiveStatus();
  const [zone] = useTimeZone();
  const isOutdated = useNewRelease(status.state === 'open' ? status.since : null);
  return (
    <div role="status">
      {status.state === 'lost' && (
        <p className={classes.banner} data-colour="orange">
          As of {clockTime(status.since, zone)}: the connection to the service was lost, and is being opened again. {status.why}
        </p>
      )}
      {isOutdated && (
        <p className={classes.banner} data-colour="blue">
          A new release of the dashboard is available.{' '}
          <Button size="compact-xs" variant="default" onClick={() => window.location.reload()}>
            Reload
          </Button>
        </p>
      )}
    </div>
  );
}

function UserMenu({ me }: { me: MeView }) {
  const { client, queries, live } = useServices();
  const navigate = useNavigate();
  const router = useRouter();
  const [zone, setZone] = useTimeZone();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const signOut = useMutation({
    mutationFn: () => client.endSession(),
    onSuccess: async () => {
      await navigate({ to: '/sign-in', search: { to: router.latestLocation.href } });
      queries.clear();
      live.announceSession();
    },
  });
  return (
    <Dropdown icon="user" label={<span className={classes.role}>{me.role}</span>} name={`Account and display: ${me.tokenName}, ${me.role}`}>
      <p className={classes.who}>
        Signed in with the token <strong>{me.tokenName}</strong>, role <strong>{me.role}</strong>.
      </p>
      <p className={classes.admin}>
        <Link to="/retention">Retention</Link>
        {me.actions.includes('secret.manage') && <Link to="/secrets">Secrets</Link>}
        {me.actions.includes('token.manage') && <Link to="/tokens">Tokens</Link>}
        {me.actions.includes('audit.read') && <Link to="/audit">Audit</Link>}
      </p>
      <Choice
        name="Theme"
        value={colorScheme}
        options={[
          { value: 'auto', label: "The system's" },
          { value: 'light', label: 'Light' },
          { value: 'dark', label: 'Dark' },
        ]}
        onChoose={setColorScheme}
      />
      <Choice
        name="Times"
        value={zone}
        options={[
          { value: 'local', label: 'Local' },
          { value: 'utc', label: 'UTC' },
        ]}
        onChoose={setZone}
      />
      <Button variant="default" fullWidth mt="xs" onClick={() => signOut.mutate()} disabled={signOut.isPending}>
        Sign out
      </Button>
      {signOut.error !== null && <ProblemNotice error={signOut.error} />}
    </Dropdown>
  );
}

type ChoiceProps<T extends string> = {
  name: string;
  value: T;
  options: readonly { value: T; label: string }[];
  onChoose: (value: T) => void;
};

function Choice<T extends string>({ name, value, options, onChoose }: ChoiceProps<T>) {
  return (
    <fieldset className={classes.choice}>
      <legend>{name}</legend>
      {options.map((option) => (
        <label key={option.value}>
          <input type="radio" name={name} checked={option.value === value} onChange={() => onChoose(option.value)} />
          {option.label}
        </label>
      ))}
    </fieldset>
  );
}

const checkMs = 10 * 60_000;

/**
 * True when the service serves another build of the dashboard than when this tab was opened. It asks when the page is opened or shown
 * again, and when the connection is back, because a release restarts the service.
 *
 * @param openSince when the connection was opened; null while there is none
 */
function useNewRelease(openSince: number | null): boolean {
  const { client } = useServices();
  const served = useQuery({
    queryKey: ['release', openSince],
    queryFn: ({ signal }) => client.getVersion({ signal }),
    staleTime: checkMs,
    // `npm run dev` has no build.
    enabled: import.meta.env.PROD && openSince !== null,
  });
  const build = served.data?.build;
  const [opened, setOpened] = useState<string>();
  if (opened === undefined && build !== undefined) setOpened(build);
  return build !== undefined && opened !== undefined && build !== opened;
}
