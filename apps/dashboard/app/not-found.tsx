import { Link } from '@tanstack/react-router';

export function NotFound() {
  return (
    <main style={{ padding: '2rem' }}>
      <h1>This page does not exist</h1>
      <p>
        Check the address, or go to the <Link to="/runs">runs</Link>.
      </p>
    </main>
  );
}
